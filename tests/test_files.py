"""A file is there whole or not at all, and nobody else can read what is private."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from watermark.files import read_private, write_atomically


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_has_its_content_and_mode(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", b"data", mode=0o640)

    assert (tmp_path / "a").read_bytes() == b"data"
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640
    assert names(tmp_path) == ["a"]


def test_a_private_file_is_private_from_its_first_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The temporary file must not be readable while it is written either."""
    modes = []
    fsync = os.fsync

    def watch(descriptor: int) -> None:
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watch)
    before = os.umask(0)
    try:
        write_atomically(tmp_path / "a", b"secret", mode=0o600)
    finally:
        os.umask(before)

    assert modes[0] == 0o600


def test_content_and_name_are_flushed_to_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed = []
    fsync = os.fsync

    def watch(descriptor: int) -> None:
        flushed.append(stat.S_ISDIR(os.fstat(descriptor).st_mode))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watch)
    write_atomically(tmp_path / "a", b"data")

    assert flushed == [False, True]


def test_an_existing_file_is_kept_unless_asked(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", b"old")
    with pytest.raises(FileExistsError):
        write_atomically(tmp_path / "a", b"new")

    assert (tmp_path / "a").read_bytes() == b"old"
    assert names(tmp_path) == ["a"]

    write_atomically(tmp_path / "a", b"new", replace=True)

    assert (tmp_path / "a").read_bytes() == b"new"


@pytest.mark.parametrize("replace", [False, True])
def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, replace: bool) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        write_atomically(tmp_path / "folder", b"data", replace=replace)

    assert names(tmp_path) == ["folder"]


def test_a_full_disk_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_atomically(tmp_path / "a", b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(tmp_path / "a", b"new", replace=True)

    assert (tmp_path / "a").read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_an_interrupt_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*names: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a", b"new", replace=True)

    assert names(tmp_path) == []


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "none" / "a", b"")


def test_a_private_file_is_read(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", b"data", mode=0o600)

    assert read_private(tmp_path / "a") == b"data"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o602, 0o610, 0o601])
def test_a_file_open_to_others_is_not_read(tmp_path: Path, mode: int) -> None:
    write_atomically(tmp_path / "a", b"data")
    (tmp_path / "a").chmod(mode)
    with pytest.raises(PermissionError, match=f"mode {mode:04o}.*chmod 600"):
        read_private(tmp_path / "a")


def test_a_link_to_an_open_file_is_not_read(tmp_path: Path) -> None:
    """The mode that counts is that of what is read."""
    write_atomically(tmp_path / "a", b"data", mode=0o644)
    (tmp_path / "link").symlink_to("a")
    with pytest.raises(PermissionError):
        read_private(tmp_path / "link")


def test_a_private_file_is_a_small_regular_file(tmp_path: Path) -> None:
    """A pipe would block for ever, and a huge file would fill the memory."""
    pipe, large = tmp_path / "pipe", tmp_path / "large"
    os.mkfifo(pipe, 0o600)
    write_atomically(large, bytes(101), mode=0o600)

    with pytest.raises(OSError, match="no regular file"):
        read_private(pipe)
    with pytest.raises(OSError, match="more than 100 bytes"):
        read_private(large, limit=100)
    assert read_private(large, limit=101) == bytes(101)
