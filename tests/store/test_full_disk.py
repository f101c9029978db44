"""A ledger on a full disk is read, tells of it, and goes on once there is room."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from watermark.errors import LedgerCorrupt, StoreError
from watermark.store.checkpoint import LogKey
from watermark.store.ledger import Ledger


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("only root may mount a small file system")
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True)
    if done.returncode:
        pytest.skip(f"root may not mount here: {done.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """A file that takes all the room there is."""
    path = disk / "filling"
    with path.open("ab", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                continue
    assert shutil.disk_usage(disk).free == 0
    return path


def filled(disk: Path, key: LogKey, make: Any) -> Ledger:
    ledger = Ledger.create(disk / "ledger.db", origin=key.name, key=key)
    ledger.append([make.generated("a"), make.published("b")])
    return ledger


def read(ledger: Ledger, key: LogKey) -> int:
    """Ask everything there is to ask; the number of entries."""
    rows = list(ledger.rows())
    for row in rows:
        ledger.inclusion(row.idx).verify(row.body, verifier=key.public)
    assert ledger.manifest("urn:c2pa:b") == b"manifest of b"
    assert ledger.verify().signed == len(rows)
    return len(rows)


def until_full(ledger: Ledger, make: Any) -> StoreError:
    """Append until it is refused."""
    acknowledged = ledger.size
    try:
        for n in range(1000):
            ledger.append([make.published(str(n), manifest=os.urandom(4000))])
            acknowledged += 1
    except StoreError as error:
        assert ledger.size == acknowledged
        return error
    raise AssertionError("the disk was not full after 4 MB")


def test_a_disk_that_fills_up(disk: Path, key: LogKey, make: Any) -> None:
    with filled(disk, key, make) as ledger:
        error, count = until_full(ledger, make), ledger.size
        assert "disk is full" in str(error)
        assert not isinstance(error, LedgerCorrupt)
        fill(disk)
        assert read(ledger, key) == count > 2
        with Ledger.open(ledger.path) as other:
            assert read(other, key) == count


def test_a_ledger_that_is_opened_on_a_full_disk(
    disk: Path, key: LogKey, make: Any
) -> None:
    """Nothing is beside the file then, and there is no room for what SQLite shares."""
    filled(disk, key, make).close()
    filling = fill(disk)
    with Ledger.open(disk / "ledger.db", key=key) as ledger:
        assert read(ledger, key) == 2
        with ThreadPoolExecutor(4) as threads:
            assert list(threads.map(lambda _: read(ledger, key), range(8))) == [2] * 8
        with pytest.raises(StoreError, match="disk") as caught:
            ledger.append([make.generated("c")])
        assert not isinstance(caught.value, LedgerCorrupt)
        with Ledger.open(disk / "ledger.db") as other:  # nobody is kept out for long
            assert (read(other, key), read(ledger, key)) == (2, 2)
        filling.unlink()
        ledger.append([make.generated("c")])
        assert read(ledger, key) == 3


def test_what_is_written_meanwhile_is_told(disk: Path, key: LogKey, make: Any) -> None:
    """Without a lock, what was read may be of two states: nobody is accused for it."""
    filled(disk, key, make).close()
    filling = fill(disk)
    with Ledger.open(disk / "ledger.db") as reader:
        rows = reader._database.reading()
        connection = rows.__enter__()
        connection.exec_driver_sql("SELECT * FROM entry").fetchone()
        filling.unlink()
        with Ledger.open(disk / "ledger.db", key=key) as writer:
            writer.append([make.generated("c")])
        error = LedgerCorrupt("found in what was half new")
        with pytest.raises(StoreError, match="read it again") as caught:
            rows.__exit__(LedgerCorrupt, error, None)
        assert not isinstance(caught.value, LedgerCorrupt)
        assert read(reader, key) == 3


def test_no_ledger_is_made_on_a_full_disk(disk: Path, key: LogKey) -> None:
    fill(disk)

    with pytest.raises(StoreError, match="disk"):
        Ledger.create(disk / "ledger.db", origin=key.name, key=key)
    assert not (disk / "ledger.db").exists()
