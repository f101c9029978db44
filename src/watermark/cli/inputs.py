"""Files, folders, stdin and texts: what the command line names, and reading it."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from watermark.cli.terminal import Code, Failure

if TYPE_CHECKING:
    from watermark.assets.loading import Asset

STDIN = "-"


@dataclass(frozen=True, slots=True)
class Input:
    """Something to verify: a file, `STDIN` or a text, and what to call it."""

    name: str
    source: Path | str


def named(files: Sequence[Path], text: str | None) -> Iterator[Input]:
    """Each input that the command line names, folders with all that is in them."""
    if (text is None) == (not files):
        raise Failure("expected files, folders or -, or else --text", Code.USAGE)
    if [str(file) for file in files].count(STDIN) > 1:
        raise Failure("stdin can be read only once: found - twice", Code.USAGE)
    if text is not None:
        yield Input("--text", text)
    for file in files:
        if not file.is_dir():
            yield Input(str(file), file)
            continue
        found = False
        for path in _within(file):
            found = True
            yield Input(str(path), path)
        if not found:  # or a gate would pass because it was pointed at nothing
            raise Failure(f"no files in {file}", Code.UNREADABLE)


def _within(folder: Path) -> Iterator[Path]:
    """The files below `folder`, in order of name; no links to folders are followed."""
    failed: list[OSError] = []
    for parent, folders, names in os.walk(folder, onerror=failed.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(parent, name)
            if not name.startswith(".") and path.suffix != ".c2pa" and _is_file(path):
                yield path
    for problem in failed:  # reading it fails again, and is then told
        yield Path(problem.filename)


def _is_file(path: Path) -> bool:
    """False only for sockets and the like; what cannot be read is told later."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return True


def load(source: Path | str) -> Asset:
    """The asset; content that is no good is one too.

    Raises:
        OSError: it cannot be read.
    """
    from watermark.assets import loading

    if isinstance(source, str):
        return loading.load(source)
    if str(source) == STDIN:
        return _read(sys.stdin.buffer)
    if source.is_file():
        return loading.load(source)
    with source.open("rb") as stream:  # a pipe, such as the shell's <(command)
        return _read(stream)


def _read(stream: BinaryIO) -> Asset:
    from watermark.assets import MEDIA_BYTES
    from watermark.assets.loading import Asset, load

    data = stream.read(MEDIA_BYTES + 1)
    if len(data) > MEDIA_BYTES:
        problem = f"the input is larger than {MEDIA_BYTES >> 20} MiB"
        return Asset(kind="unknown", problem=problem)
    return load(data)
