"""Configuration files: read once, bounded, and only where they are files."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from watermark.errors import ConfigError, KeyFileError

MAX_FILE = 1 << 20  # bytes
# Each is there on some systems only.
NO_WAIT = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def json_file(path: Path) -> Mapping[str, Any]:
    """The object in a JSON file.

    Raises:
        KeyFileError: it cannot be read, or holds something else.
        ConfigError: a name stands twice in one object.
    """
    return parsed(read(path)[0], str(path))


def is_json(source: Any) -> bool:
    """Whether it is a configuration itself, not the name of one: never shown then."""
    return isinstance(source, str) and source.lstrip().startswith("{")


def parsed(data: bytes | str, name: str) -> Mapping[str, Any]:
    """The object in JSON text; `name` is what a message calls it."""
    try:
        found = json.loads(data, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise KeyFileError(
            f"{name} cannot be read as JSON ({type(error).__name__}); a YAML file has "
            "to be written as JSON, which YAML includes"
        ) from None
    if not isinstance(found, Mapping):
        raise KeyFileError(f"{name} holds no object, expected a configuration")
    return found


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object, if each of its names stands once: of two nobody knows which holds."""
    found = dict(pairs)
    if len(found) < len(pairs):
        [(twice, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise ConfigError(f"{twice:.80}", "stands twice in one object")
    return found


def read(path: Path) -> tuple[bytes, Callable[[], None]]:
    """A file's bytes, and what refuses them where others can read that very file."""
    try:
        # Without waiting: nobody may ever write to a pipe.
        descriptor = os.open(path, os.O_RDONLY | NO_WAIT)
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise KeyFileError(f"{path} is no file, expected one")
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise KeyFileError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:  # a name with a zero byte or half a character in it
        raise KeyFileError(f"{str(path)!a} is no file's name ({error})") from None
    if len(data) > MAX_FILE:
        raise KeyFileError(f"{path} is larger than {MAX_FILE >> 20} MiB")

    def private() -> None:
        permissions = stat.S_IMODE(mode)
        if sys.platform != "win32" and permissions & 0o077:
            raise KeyFileError(
                f"{path} has mode {permissions:04o}: others can read this secret. "
                f"Run: chmod 600 {path}"
            )

    return data, private
