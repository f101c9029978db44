"""A ledger on a file system that takes no writes is read, and not called broken."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from watermark.errors import LedgerCorrupt, StoreError
from watermark.store.checkpoint import LogKey
from watermark.store.ledger import Ledger


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A folder that can be made read-only, by `freeze`."""
    folder = tmp_path / "disk"
    folder.mkdir()
    yield folder
    if os.geteuid() == 0:
        while subprocess.run(["umount", folder], capture_output=True).returncode == 0:
            pass
    else:
        folder.chmod(0o700)


def freeze(folder: Path) -> None:
    if os.geteuid() != 0:
        folder.chmod(0o500)
        return
    # Permissions do not bind root: the file system has to.
    commands = (
        ["mount", "--bind", folder, folder],
        ["mount", "-o", "remount,ro,bind", folder],
    )
    for command in commands:
        if not shutil.which("mount"):
            pytest.skip("there is no mount")
        done = subprocess.run([str(part) for part in command], capture_output=True)
        if done.returncode:
            pytest.skip(f"root may not mount here: {done.stderr.decode().strip()}")


def filled(folder: Path, key: LogKey, make: Any) -> Ledger:
    ledger = Ledger.create(folder / "ledger.db", origin=key.name, key=key)
    ledger.append([make.generated("a"), make.published("b")])
    return ledger


@pytest.mark.parametrize("closed", [True, False])
def test_it_is_read_and_not_written(
    closed: bool, mounted: Path, key: LogKey, make: Any
) -> None:
    ledger = filled(mounted, key, make)
    if closed:  # everything is in the one file then; else much is in the log beside it
        ledger.close()
    freeze(mounted)
    with Ledger.open(mounted / "ledger.db", key=key) as frozen:
        assert frozen.size == 2
        assert frozen.manifest("urn:c2pa:b") == b"manifest of b"
        assert frozen.verify().signed == 2
        frozen.inclusion(1).verify(next(frozen.rows(1)).body, verifier=key.public)
        for change in (
            lambda: frozen.append([make.generated("c")]),
            lambda: frozen.hold("case"),
        ):
            with pytest.raises(StoreError, match="read-only") as caught:
                change()
            assert not isinstance(caught.value, LedgerCorrupt)
        assert frozen.size == 2
    ledger.close()
