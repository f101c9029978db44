"""Keys: what is kept comes back, what is secret stays so, what is damaged says so."""

from __future__ import annotations

import base64
import copy
import json
import pickle
import stat
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from watermark.errors import KeyFileError, WatermarkError, WeakKey
from watermark.keys import Key, KeyRecord, KeyRing, RingEntry

SECRET = bytes(range(100, 132))
PASSPHRASE = "correct horse battery staple"


@pytest.fixture
def key() -> Key:
    return Key(SECRET)


@pytest.fixture
def saved(tmp_path: Path, key: Key) -> Path:
    key.save(tmp_path / "a.key")
    return tmp_path / "a.key"


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An encrypted key file: scrypt is slow on purpose, so made once."""
    path = tmp_path_factory.mktemp("sealed") / "a.key"
    Key(SECRET).save(path, passphrase=PASSPHRASE)
    return path.read_bytes()


def private(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    path.chmod(0o600)
    return path


def edit(path: Path, **changes: Any) -> Path:
    """The file with some fields replaced; None takes a field out."""
    data = json.loads(path.read_text())
    data |= changes
    path.write_text(json.dumps({k: v for k, v in data.items() if v is not None}))
    return path


# --- making --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "secret",
    [
        pytest.param(7, id="int"),
        pytest.param(True, id="bool"),
        pytest.param("x" * 32, id="str"),
        pytest.param(None, id="none"),
        pytest.param(list(range(32)), id="list"),
        pytest.param(b"", id="empty"),
        pytest.param(SECRET[:31], id="short"),
        pytest.param(SECRET + b"!", id="long"),
        pytest.param(bytes(32), id="zeros"),
        pytest.param(b"password" * 4, id="words"),
        pytest.param(bytes(range(19)) + bytes(13), id="19-distinct"),
    ],
)
def test_a_key_that_could_be_guessed_is_refused(secret: Any) -> None:
    with pytest.raises(WeakKey, match=r"Key\.generate"):
        Key(secret)


def test_a_refused_key_is_not_quoted() -> None:
    secret = b"hunter" * 4  # not in the line that a traceback quotes
    with pytest.raises(WeakKey) as caught:
        Key(secret)

    assert "hunterhunter" not in "".join(traceback.format_exception(caught.value))


def test_generated_keys_differ() -> None:
    assert len({Key.generate().kid for _ in range(50)}) == 50


def test_the_public_name_of_a_key_is_pinned(key: Key) -> None:
    """It stands in manifests and ledgers: another derivation would lose them."""
    assert key.kid == "k" + reference_hkdf("watermark/1/kid//0", 8).hex()


# --- deriving ------------------------------------------------------------------------


def reference_hkdf(info: str, length: int) -> bytes:
    """The library `cryptography`, as a witness of its own."""
    hkdf = HKDF(hashes.SHA256(), length, salt=b"watermark-sdk", info=info.encode())
    return hkdf.derive(SECRET)


@pytest.mark.parametrize("length", [1, 16, 32, 33, 64, 100])
def test_derive_is_hkdf_sha256_of_rfc_5869(key: Key, length: int) -> None:
    expected = reference_hkdf("watermark/1/context/gumbel.1/3", length)

    assert key.derive("context", "gumbel.1", 3, length=length) == expected


def test_every_purpose_scheme_and_epoch_has_its_own_sub_key(key: Key) -> None:
    found = {
        key.derive(purpose, scheme, epoch)
        for purpose in ("context", "nonce", "kid")
        for scheme in ("", "gumbel.1", "gumbel.2", "noise.1")
        for epoch in range(4)
    }

    assert len(found) == 3 * 4 * 4
    assert not any(SECRET in sub or sub in SECRET for sub in found)


def test_a_record_derives_under_its_scheme_version_and_epoch(key: Key) -> None:
    record = KeyRecord(kid=key.kid, scheme="gumbel", version=2, epoch=5, key=key)

    assert record.derive("tag/x") == reference_hkdf("watermark/1/tag/x/gumbel.2/5", 32)


# --- files ---------------------------------------------------------------------------


def test_a_saved_key_loads_as_it_was(key: Key, saved: Path) -> None:
    loaded = Key.load(saved)

    assert loaded == key
    assert loaded.kid == key.kid
    assert loaded.derive("context") == key.derive("context")


def test_a_key_file_is_for_its_owner_alone(saved: Path) -> None:
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600


def test_an_encrypted_key_loads_with_its_passphrase(key: Key, tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    key.save(path, passphrase=PASSPHRASE)
    text = path.read_text()

    assert Key.load(path, passphrase=PASSPHRASE) == key
    assert base64.b64encode(SECRET).decode() not in text
    assert SECRET.hex() not in text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_two_encryptions_of_one_key_share_nothing(key: Key, tmp_path: Path) -> None:
    """One salt or nonce twice would give the key stream away."""
    for name in "ab":
        key.save(tmp_path / name, passphrase=PASSPHRASE)
    a, b = (json.loads((tmp_path / name).read_text()) for name in "ab")

    assert all(a[field] != b[field] for field in ("salt", "nonce", "sealed"))


@pytest.mark.parametrize("passphrase", ["wrong", "", None])
def test_a_wrong_passphrase_is_refused(
    sealed: bytes, tmp_path: Path, passphrase: str | None
) -> None:
    path = private(tmp_path / "a.key", sealed)
    with pytest.raises(KeyFileError, match="passphrase") as caught:
        Key.load(path, passphrase=passphrase)

    assert PASSPHRASE not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o777])
def test_a_key_file_that_others_can_reach_is_refused(saved: Path, mode: int) -> None:
    saved.chmod(mode)
    with pytest.raises(KeyFileError, match="chmod 600"):
        Key.load(saved)


def test_a_key_file_is_never_overwritten(saved: Path) -> None:
    before = saved.read_bytes()
    with pytest.raises(KeyFileError, match="never overwritten"):
        Key.generate().save(saved)

    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def test_a_key_without_a_folder_is_not_saved(key: Key, tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="cannot be written"):
        key.save(tmp_path / "none" / "a.key")


def test_a_missing_key_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="does not exist"):
        Key.load(tmp_path / "none")


def test_a_folder_is_no_key_file(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError):
        Key.load(tmp_path)


def test_a_key_under_another_name_was_altered(saved: Path) -> None:
    with pytest.raises(KeyFileError, match="altered"):
        Key.load(edit(saved, kid="k0000000000000000"))


def test_another_secret_under_this_name_was_altered(saved: Path) -> None:
    other = base64.b64encode(bytes(range(32))).decode()
    with pytest.raises(KeyFileError, match="altered"):
        Key.load(edit(saved, secret=other))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"schema": "watermark.key/2"}, id="schema"),
        pytest.param({"schema": None}, id="no-schema"),
        pytest.param({"kid": None}, id="no-kid"),
        pytest.param({"secret": None}, id="no-secret"),
        pytest.param({"secret": "AAAA"}, id="short-secret"),
        pytest.param({"secret": base64.b64encode(bytes(32)).decode()}, id="zeros"),
        pytest.param({"secret": "no base64!"}, id="not-base64"),
        pytest.param({"secret": "é"}, id="not-ascii"),
        pytest.param({"secret": 5}, id="number"),
        pytest.param({"secret": ["AAAA"]}, id="list"),
    ],
)
def test_a_damaged_key_file_is_refused(saved: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(KeyFileError):
        Key.load(edit(saved, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"sealed": "00" * 48}, id="sealed"),
        pytest.param({"sealed": "zz"}, id="not-hex"),
        pytest.param({"nonce": "00"}, id="short-nonce"),
        pytest.param({"salt": 4}, id="salt"),
        pytest.param({"kid": "k0000000000000000"}, id="kid"),
        pytest.param({"kid": None}, id="no-kid"),
        pytest.param({"kdf": "md5"}, id="kdf"),
        pytest.param({"n": 0}, id="n-0"),
        pytest.param({"n": 3}, id="n-3"),
        pytest.param({"n": -65536, "r": -8}, id="negative"),
        pytest.param({"n": "65536"}, id="n-str"),
        pytest.param({"n": 1 << 40}, id="n-huge"),
        pytest.param({"n": 65536.0}, id="n-float"),
        pytest.param({"p": 1 << 30}, id="p-huge"),
    ],
)
def test_a_damaged_encrypted_file_is_refused(
    sealed: bytes, tmp_path: Path, changes: dict[str, Any]
) -> None:
    path = private(tmp_path / "a.key", sealed)
    with pytest.raises(KeyFileError):
        Key.load(edit(path, **changes), passphrase=PASSPHRASE)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[]", id="list"),
        pytest.param(b"{}", id="object"),
        pytest.param(b"\xff\xfe", id="not-utf8"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(SECRET, id="raw"),
    ],
)
def test_what_is_no_key_file_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(KeyFileError):
        Key.load(private(tmp_path / "a.key", data))


def test_a_key_file_cut_short_is_refused_at_every_length(saved: Path) -> None:
    data = saved.read_bytes()
    for length in range(len(data) - 2):  # the last two are the brace and the newline
        saved.write_bytes(data[:length])
        with pytest.raises(KeyFileError) as caught:
            Key.load(saved)
        shown = "".join(traceback.format_exception(caught.value))
        assert base64.b64encode(SECRET).decode() not in shown


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(position=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_an_altered_byte_never_gives_another_key(
    key: Key, saved: Path, position: int, byte: int
) -> None:
    good = saved.read_bytes()
    data = bytearray(good)
    data[position % len(data)] = byte
    saved.write_bytes(data)
    try:
        loaded = Key.load(saved)
    except KeyFileError:
        return
    finally:
        saved.write_bytes(good)

    assert loaded == key


# --- secrecy -------------------------------------------------------------------------


def _ring(key: Key) -> KeyRing:
    return KeyRing.of(key)


def _record(key: Key) -> KeyRecord:
    return KeyRecord(kid=key.kid, scheme="gumbel", key=key)


HOLDERS: list[Any] = [
    pytest.param(lambda key: key, id="Key"),
    pytest.param(_record, id="KeyRecord"),
    pytest.param(_ring, id="KeyRing"),
    pytest.param(RingEntry, id="RingEntry"),
]
SHOWN = [SECRET.hex(), base64.b64encode(SECRET).decode(), repr(SECRET)[2:-1]]


@pytest.mark.parametrize("hold", HOLDERS)
def test_no_text_shows_the_secret(key: Key, hold: Callable[[Key], Any]) -> None:
    holder = hold(key)
    for text in (repr(holder), str(holder), f"{holder}", f"{[holder]}"):
        assert key.kid in text
        assert not any(form in text for form in SHOWN)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("hold", HOLDERS)
def test_pickling_is_refused(
    key: Key, hold: Callable[[Key], Any], protocol: int
) -> None:
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(hold(key), protocol)


@pytest.mark.parametrize("hold", HOLDERS)
def test_json_is_refused(key: Key, hold: Callable[[Key], Any]) -> None:
    with pytest.raises(TypeError) as caught:
        json.dumps(hold(key))

    assert not any(form in str(caught.value) for form in SHOWN)


def test_a_record_writes_no_secret(key: Key) -> None:
    text = json.dumps(_record(key).to_dict())

    assert not any(form in text for form in SHOWN)


def test_copies_of_a_key_are_the_key(key: Key) -> None:
    """Hosts copy their settings deeply: a copied secret is one more to lose."""
    assert copy.copy(key) is key
    assert copy.deepcopy({"key": key})["key"] is key


def test_keys_are_equal_by_secret(key: Key) -> None:
    assert key == Key(bytearray(SECRET))  # type: ignore[arg-type]  # taken, as bytes
    assert hash(key) == hash(Key(SECRET))
    assert key != Key.generate()
    assert key != SECRET


# --- records -------------------------------------------------------------------------


def test_a_record_round_trips_through_json(key: Key) -> None:
    record = KeyRecord(
        kid=key.kid,
        scheme="greenlist",
        version=3,
        epoch=2,
        parameters={"width": 4, "delta": 2.0, "mode": "x"},
        vocab_size=1000,
        tokenizer="ab" * 32,
        key=key,
    )
    again = KeyRecord.from_dict(json.loads(json.dumps(record.to_dict())), key=key)

    assert again == record
    assert again.to_dict() == record.to_dict()
    assert again.derive("context") == record.derive("context")


def test_the_form_of_a_record_is_pinned() -> None:
    """Homes of every release hold these: a changed field name would lose them."""
    expected = {
        "schema": "watermark.keyrecord/1",
        "kid": "k1",
        "scheme": "noise",
        "version": 1,
        "epoch": 0,
        "parameters": {"nonce_bits": 20},
        "vocab_size": None,
        "tokenizer": None,
    }
    record = KeyRecord(kid="k1", scheme="noise", parameters={"nonce_bits": 20})

    assert record.to_dict() == expected


def test_a_record_without_its_key_derives_nothing() -> None:
    record = KeyRecord(kid="k1", scheme="gumbel")
    with pytest.raises(KeyFileError, match="not at hand"):
        record.derive("context")


def test_a_record_takes_no_other_key(key: Key) -> None:
    with pytest.raises(WeakKey, match="k1"):
        KeyRecord(kid="k1", scheme="gumbel", key=key)


def test_parameters_of_a_record_cannot_change() -> None:
    given = {"width": 4}
    record = KeyRecord(kid="k1", scheme="gumbel", parameters=given)
    given["width"] = 5
    with pytest.raises(TypeError):
        record.parameters["width"] = 6  # type: ignore[index]  # what is tested

    assert record.parameters["width"] == 4


def test_records_are_one_test_when_their_bits_are_the_same() -> None:
    base = KeyRecord(kid="k1", scheme="gumbel", parameters={"a": 1, "b": 2})
    same = KeyRecord(
        kid="k1",
        scheme="gumbel",
        parameters={"b": 2, "a": 1},
        vocab_size=9,
        tokenizer="ab" * 32,
    )
    others = [
        KeyRecord(kid="k2", scheme="gumbel", parameters=base.parameters),
        KeyRecord(kid="k1", scheme="greenlist", parameters=base.parameters),
        KeyRecord(kid="k1", scheme="gumbel", version=2, parameters=base.parameters),
        KeyRecord(kid="k1", scheme="gumbel", epoch=1, parameters=base.parameters),
        KeyRecord(kid="k1", scheme="gumbel", parameters={"a": 1, "b": 3}),
    ]

    assert same.test == base.test
    assert same != base
    assert len({base.test, *(other.test for other in others)}) == 6


def test_an_option_that_is_off_is_no_test_of_its_own() -> None:
    old, new, on = (
        KeyRecord(kid="k1", scheme="gumbel", parameters={"width": 4, **more}).test
        for more in ({}, {"dual": 0, "payload_bits": 0}, {"dual": 1})
    )

    assert old == new
    assert on != new


def test_strength_is_no_part_of_a_test() -> None:
    """Detection needs no delta: one test for every strength, paid for once."""
    tests = {
        KeyRecord(
            kid="k1", scheme="greenlist", parameters={"width": 4, "delta": d}
        ).test
        for d in (1.0, 2.0)
    }

    assert len(tests) == 1


@pytest.mark.parametrize(
    "data",
    [
        pytest.param({}, id="empty"),
        pytest.param({"schema": "watermark.keyrecord/2"}, id="schema"),
        pytest.param({"schema": "watermark.keyrecord/1", "kid": "k"}, id="no-scheme"),
        pytest.param(
            {"schema": "watermark.keyrecord/1", "kid": "k", "scheme": "s", "new": 1},
            id="unknown-field",
        ),
        pytest.param(
            {"schema": "watermark.keyrecord/1", "kid": "k", "scheme": "s", "key": 1},
            id="key-smuggled",
        ),
        pytest.param(
            {
                "schema": "watermark.keyrecord/1",
                "kid": "k",
                "scheme": "s",
                "parameters": [1],
            },
            id="parameters",
        ),
        pytest.param([], id="list"),
    ],
)
def test_a_record_that_cannot_be_read_says_so(data: Any) -> None:
    with pytest.raises(KeyFileError):
        KeyRecord.from_dict(data)


# --- rings ---------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def states(ring: KeyRing) -> list[tuple[str, str, int]]:
    return [(e.key.kid, e.state, e.epoch) for e in ring]


def rows(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "ring.json").read_text())["keys"]
    return found


def rewrite(folder: Path, keys: Any) -> None:
    text = json.dumps({"schema": "watermark.keyring/1", "keys": keys})
    (folder / "ring.json").write_text(text)


def test_a_new_ring_is_for_its_owner_alone(folder: Path) -> None:
    KeyRing.create(folder)

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(p.stat().st_mode) for p in folder.iterdir()} == {0o600}


def test_ring_json_holds_no_secret(folder: Path) -> None:
    ring = KeyRing.create(folder)
    secret = json.loads((folder / f"{ring[0].key.kid}.json").read_text())["secret"]

    assert secret not in (folder / "ring.json").read_text()


def test_a_ring_loads_as_it_was(folder: Path) -> None:
    ring = KeyRing.create(folder)

    assert list(KeyRing.load(folder)) == list(ring)


def test_a_rotated_ring_marks_with_the_new_key_and_verifies_with_both(
    folder: Path,
) -> None:
    ring = KeyRing.create(folder)
    old = ring.newest.key
    new = ring.rotate().key
    loaded = KeyRing.load(folder)

    assert states(loaded) == [(old.kid, "retired", 0), (new.kid, "active", 0)]
    assert [e.key for e in loaded] == [old, new]
    assert loaded.newest.key == new


def test_an_advanced_ring_has_another_sub_key_under_the_same_name(folder: Path) -> None:
    ring = KeyRing.create(folder)
    kid = ring.newest.key.kid

    assert ring.advance().epoch == 1
    assert states(KeyRing.load(folder)) == [(kid, "active", 1)]


def test_a_revoked_key_never_marks_again(folder: Path) -> None:
    ring = KeyRing.create(folder)
    old = ring.newest.key.kid
    new = ring.rotate().key.kid
    ring.revoke(old)
    third = ring.rotate().key.kid
    expected = [(old, "revoked", 0), (new, "retired", 0), (third, "active", 0)]

    assert states(KeyRing.load(folder)) == expected
    ring.revoke(third)
    with pytest.raises(KeyFileError, match="rotate"):
        _ = KeyRing.load(folder).newest


def test_an_unknown_key_is_not_revoked(folder: Path) -> None:
    ring = KeyRing.create(folder)
    with pytest.raises(KeyFileError, match=ring[0].key.kid):
        ring.revoke("k1")


def test_an_encrypted_ring_needs_its_passphrase(folder: Path) -> None:
    ring = KeyRing.create(folder, passphrase=PASSPHRASE)

    assert list(KeyRing.load(folder, passphrase=PASSPHRASE)) == list(ring)
    with pytest.raises(KeyFileError, match="passphrase"):
        KeyRing.load(folder)


def test_an_encrypted_ring_never_writes_a_key_in_the_clear(folder: Path) -> None:
    """A rotation that forgets the passphrase encrypts all the same, or raises."""
    ring = KeyRing.create(folder, passphrase=PASSPHRASE)
    try:
        ring.rotate()
    except WatermarkError:
        return
    clear = [
        path.name for path in folder.glob("k*.json") if "secret" in path.read_text()
    ]

    assert clear == []


def test_a_ring_is_never_overwritten(folder: Path) -> None:
    """Its old keys verify everything marked so far."""
    ring = KeyRing.create(folder)
    with pytest.raises(KeyFileError):
        KeyRing.create(folder)

    assert list(KeyRing.load(folder)) == list(ring)


@pytest.mark.parametrize("keys", [[], {}, None, 3, "k1", [1], [{}], [None]])
def test_a_damaged_ring_is_refused(folder: Path, keys: Any) -> None:
    KeyRing.create(folder)
    rewrite(folder, keys)
    with pytest.raises(KeyFileError):
        KeyRing.load(folder)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"state": "banana"}, id="state"),
        pytest.param({"state": None}, id="no-state"),
        pytest.param({"epoch": "x"}, id="epoch"),
        pytest.param({"epoch": -1}, id="epoch-negative"),
        pytest.param({"epoch": 1e400}, id="epoch-infinite"),
        pytest.param({"kid": "k0000000000000000"}, id="missing-key"),
    ],
)
def test_a_ring_with_a_damaged_row_is_refused(
    folder: Path, changes: dict[str, Any]
) -> None:
    KeyRing.create(folder)
    rewrite(folder, [rows(folder)[0] | changes])
    with pytest.raises(KeyFileError):
        KeyRing.load(folder)


@pytest.mark.parametrize(
    "kid", ["../a", "/etc/passwd", "..", ".", "", "a/b", "a\\b", "a\0b", "c:a", "~root"]
)
def test_a_ring_cannot_point_outside_its_folder(folder: Path, kid: str) -> None:
    KeyRing.create(folder)
    Key(SECRET).save(folder.parent / "a.json")
    rewrite(folder, [rows(folder)[0] | {"kid": kid}])
    with pytest.raises(KeyFileError, match="not a key id"):
        KeyRing.load(folder)


def test_a_ring_that_others_can_read_is_refused(folder: Path) -> None:
    KeyRing.create(folder)
    (folder / "ring.json").chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod"):
        KeyRing.load(folder)


def test_an_empty_ring_is_an_error_and_not_a_ring_that_finds_nothing() -> None:
    with pytest.raises(KeyFileError, match="at least one"):
        KeyRing.of()


def test_a_key_stands_once_in_a_ring(key: Key) -> None:
    with pytest.raises(KeyFileError, match="twice"):
        KeyRing.of(key, Key(SECRET))


def test_a_ring_in_memory_rotates_without_a_folder(key: Key) -> None:
    ring = KeyRing.of(key)
    ring.rotate()

    assert len(ring) == 2
    assert ring.newest.key != key


def test_a_key_file_leads_to_the_marks_of_every_epoch(tmp_path: Path) -> None:
    ring = KeyRing.create(tmp_path)
    kid = ring.newest.key.kid
    ring.advance()
    ring.advance()

    assert RingEntry.load(tmp_path / f"{kid}.json").epoch == 2
    assert KeyRing.load(tmp_path).newest.epoch == 2


def test_two_processes_cannot_lose_each_others_keys(tmp_path: Path) -> None:
    """A ring that was read before another changed it is read again before it writes."""
    stale = KeyRing.create(tmp_path)
    made = KeyRing.load(tmp_path).rotate()
    stale.revoke(stale[0].key.kid)
    kids = [entry.key.kid for entry in KeyRing.load(tmp_path)]

    assert kids[-1] == made.key.kid
    assert [entry.key.kid for entry in stale] == kids
