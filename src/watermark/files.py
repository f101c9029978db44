"""Writing files so that a crash leaves the old one or the new one, never a half."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from pathlib import Path


def write_atomically(
    path: Path, data: bytes, *, mode: int = 0o666, replace: bool = False
) -> None:
    """Write `data` under a temporary name, flush it to disk, then give it its name.

    Args:
        path: the final name; its folder must exist.
        data: the whole content.
        mode: permission bits of the new file, less the process's umask.
        replace: whether an existing file may be replaced.

    Raises:
        FileExistsError: `path` exists and `replace` is false.
        OSError: the disk refuses; nothing is left behind.
    """
    path = Path(path)
    temporary = path.parent / f".{path.name[:64]}.{secrets.token_hex(8)}"
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(temporary, path)
        else:
            os.link(temporary, path)  # fails if the name is taken, unlike rename
            os.unlink(temporary)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    if sys.platform == "win32":  # a folder cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file at `path`: other processes wait (no lock on Windows)."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if sys.platform != "win32":
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def read_private(path: Path) -> bytes:
    """The bytes of a file that only its owner may read.

    Raises:
        PermissionError: group or others can read or write it.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if sys.platform != "win32" and mode & 0o077:
            raise PermissionError(
                f"{path} has mode {mode:04o}: others can read this secret. Run: "
                f"chmod 600 {path}"
            )
        return file.read()
