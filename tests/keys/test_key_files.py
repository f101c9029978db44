"""Key files: what is kept comes back, and what is damaged says so."""

from __future__ import annotations

import base64
import json
import stat
import traceback
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.keys.conftest import PASSPHRASE, SECRET

from watermark.errors import KeyFileError
from watermark.keys import Key, KeyRing, RingEntry


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
    other = base64.b64encode(bytes((*range(1, 32), 0))).decode()
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


def test_a_key_file_leads_to_the_marks_of_every_epoch(tmp_path: Path) -> None:
    ring = KeyRing.create(tmp_path)
    kid = ring.newest.key.kid
    ring.advance()
    ring.advance()

    assert RingEntry.load(tmp_path / f"{kid}.json").epoch == 2
    assert KeyRing.load(tmp_path).newest.epoch == 2
