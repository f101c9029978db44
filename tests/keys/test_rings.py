"""Rings: one key marks, the others verify; what is damaged says so."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from tests.keys.conftest import PASSPHRASE, SECRET

from watermark.errors import KeyFileError, WatermarkError
from watermark.keys import Key, KeyRing


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


def test_two_processes_cannot_lose_each_others_keys(tmp_path: Path) -> None:
    """A ring that was read before another changed it is read again before it writes."""
    stale = KeyRing.create(tmp_path)
    made = KeyRing.load(tmp_path).rotate()
    stale.revoke(stale[0].key.kid)
    kids = [entry.key.kid for entry in KeyRing.load(tmp_path)]

    assert kids[-1] == made.key.kid
    assert [entry.key.kid for entry in stale] == kids
