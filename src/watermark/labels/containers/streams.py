"""Pieces of a container: read within bounds, and put together without being held.

A new file is a row of parts: spans of the old one, and bytes that are new.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import BinaryIO, NamedTuple

from watermark.assets import DamagedAsset

NAME = b"AIGC"  # how every container but pictures calls the label
HELD = 64 << 20  # bytes of metadata held at once; of a film of ten hours, 20 MiB
ENTRIES = 1 << 18  # boxes or chunks on one level: ten hours in fragments have fewer
PACKETS = 1 << 22  # tags, pages or blocks that are walked over: ten hours have fewer
_COPIED = 1 << 20
_ZEROS = 1 << 16  # that may follow what a container holds


class Span(NamedTuple):
    """Bytes ``start`` to ``end`` of the source, the end left out."""

    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start


Part = Span | bytes


def length(source: BinaryIO) -> int:
    """Of the whole file, in bytes."""
    return source.seek(0, io.SEEK_END)


def take(source: BinaryIO, start: int, count: int) -> bytes:
    """Exactly `count` bytes from `start`.

    Raises:
        DamagedAsset: the file ends before, or these are more than `HELD`.
    """
    if not 0 <= count <= HELD:
        raise DamagedAsset(
            f"metadata of {count} bytes found at byte {start}, expected at most {HELD}"
        )
    source.seek(start)
    data = source.read(count)
    if len(data) != count:
        raise DamagedAsset(
            f"the file ends at byte {start + len(data)}, expected "
            f"{count - len(data)} bytes more: it is cut off"
        )
    return data


def only_zeros(source: BinaryIO, start: int, end: int, most: int = _ZEROS) -> bool:
    """Whether nothing but zeros lies there, and no more than `most`."""
    return end - start <= most and not any(take(source, start, end - start))


def assemble(source: BinaryIO, target: BinaryIO, parts: Iterable[Part]) -> None:
    """Write the parts one after the other, from the target's start.

    Raises:
        DamagedAsset: the source ends before a span does.
    """
    target.seek(0)
    for part in parts:
        if isinstance(part, bytes):
            target.write(part)
            continue
        for start in range(part.start, part.end, _COPIED):
            target.write(take(source, start, min(_COPIED, part.end - start)))
    target.truncate()


def total(parts: Iterable[Part]) -> int:
    """How many bytes the parts are together."""
    return sum(map(len, parts))


def is_label(name: bytes) -> bool:
    """Whether an entry of this name is the label; live files also write it small."""
    return name.strip(b"\0 ").upper() == NAME


def counted(count: int, most: int = ENTRIES) -> int:
    """One more than `count`.

    Raises:
        DamagedAsset: more than `most`.
    """
    if count >= most:
        raise DamagedAsset(f"more than {most} entries found on one level of this file")
    return count + 1
