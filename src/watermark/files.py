"""Writing files so that a crash leaves the old one or the new one, never a half."""

from __future__ import annotations

import contextlib
import errno
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


def read_private(path: Path, limit: int = 1 << 20) -> bytes:
    """The bytes of a file that only its owner may read.

    Args:
        path: a regular file.
        limit: the most bytes that it may hold.

    Raises:
        PermissionError: group or others can read or write it.
        OSError: it cannot be read, is no regular file, or is larger than `limit`.
    """
    # Without O_NONBLOCK a pipe of that name would block for ever.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "is no regular file", str(path))
        mode = stat.S_IMODE(status.st_mode)
        if sys.platform != "win32" and mode & 0o077:
            raise PermissionError(
                f"{path} has mode {mode:04o}: others can read this secret. Run: "
                f"chmod 600 {path}"
            )
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"holds more than {limit} bytes", str(path))
    return data
