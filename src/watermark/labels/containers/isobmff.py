"""Boxes of ISO/IEC 14496-12 and QuickTime, and where they point into the file."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from watermark.assets import DamagedAsset
from watermark.errors import UnsupportedFormat
from watermark.labels.containers.streams import Span, counted, only_zeros, take

_KIND = re.compile(rb"[\xa9\x20-\x7e][\x20-\x7e]{3}", re.DOTALL)
_NUMBERED = re.compile(rb"\0\0[\0-\xff]{2}", re.DOTALL)  # an item, by its key's number
_ZEROS = 64  # that may close user data in QuickTime; four by its specification
_HOLDERS = frozenset((b"moov", b"trak", b"mdia", b"minf", b"stbl", b"mfra"))
_POINTING = frozenset((b"stco", b"co64", b"saio", b"tfhd", b"tfra"))
_BASE_DATA_OFFSET = 1  # flag of tfhd: the offset follows the track's number
_MOST = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Box:
    """One box: its four characters, and where it and its payload lie."""

    kind: bytes
    start: int
    body: Span

    @property
    def span(self) -> Span:
        """With its header."""
        return Span(self.start, self.body.end)


def boxes(source: BinaryIO, within: Span, *, nested: bool = False) -> Iterator[Box]:
    """The boxes that fill a span.

    Args:
        source: the file.
        within: where they lie.
        nested: in another box. Only at the file's end may one have no size; within
            user data QuickTime's row of boxes may end with zeros.

    Raises:
        DamagedAsset: they do not.
    """
    place, end, count = within.start, within.end, 0
    while place < end:
        count = counted(count)
        if nested and only_zeros(source, place, end, _ZEROS):
            return
        size, kind = struct.unpack(">I4s", take(source, place, 8))
        head = 8
        if size == 1:
            size, head = int.from_bytes(take(source, place + 8, 8), "big"), 16
        elif size == 0 and not nested:
            size = end - place
        known = _KIND.fullmatch(kind) or _NUMBERED.fullmatch(kind)
        if not head <= size <= end - place or not known:
            raise DamagedAsset(
                f"a box {kind!r} of {size} bytes found at byte {place}, expected one "
                f"that ends before byte {end}"
            )
        yield Box(kind, place, Span(place + head, place + size))
        place += size


def inside(data: bytes, skipped: int = 0) -> Iterator[tuple[bytes, bytes]]:
    """Four characters and bytes of the boxes in a payload, headers and all."""
    source = io.BytesIO(data)
    for each in boxes(source, Span(skipped, len(data)), nested=True):
        yield each.kind, data[each.start : each.body.end]


def payload(data: bytes) -> bytes:
    """What the box that `data` is holds."""
    return data[16 if data[:4] == b"\0\0\0\1" else 8 :]


def box(kind: bytes, *parts: bytes) -> bytes:
    """A box of these parts."""
    body = b"".join(parts)
    if 8 + len(body) > _MOST:
        raise UnsupportedFormat(f"a box {kind.decode()} of {len(body)} bytes")
    return struct.pack(">I4s", 8 + len(body), kind) + body


def moved(data: bytes, by: int, behind: int) -> bytes:
    """A box with every file offset in it from `behind` on larger by `by`.

    Chunk offsets (``stco``, ``co64``), of auxiliary data in a sample table (``saio``),
    of fragments (``tfra``) and of their data (``tfhd``).

    Args:
        data: moov, moof or mfra.
        by: bytes, which may be negative.
        behind: the first offset that moves.

    Raises:
        DamagedAsset: a table is not as long as it says.
        UnsupportedFormat: an offset no longer fits into 32 bits.
    """
    changed = bytearray(data)
    source = io.BytesIO(data)
    rows = [(Span(0, len(data)), b"")]
    while rows:
        outer, parent = rows.pop()
        for each in boxes(source, outer, nested=True):
            if each.kind == b"meta":
                check_items(data[each.start : each.body.end])
            elif each.kind in _HOLDERS or each.kind in (b"moof", b"traf"):
                rows.append((each.body, each.kind))
            elif parent in (b"stbl", b"traf", b"mfra"):
                for start, count, wide, step in _tables(each, data, parent):
                    _add(changed, start, count, wide, step, by, behind)
    return bytes(changed)


def check_items(meta: bytes) -> None:
    """Return if this box ``meta`` has no items that lie elsewhere in the file.

    Raises:
        UnsupportedFormat: it has.
    """
    if b"iloc" in meta:
        raise UnsupportedFormat(
            "this file has items that are found by their place in it, and the label "
            "would move them: remux it with its movie header at the end"
        )


def _tables(
    box: Box, data: bytes, parent: bytes
) -> Iterator[tuple[int, int, int, int]]:
    """Start, count, bytes each and distance of the offsets in a box."""
    if box.kind not in _POINTING:
        return
    if len(box.body) < 8:
        raise DamagedAsset(
            f"a table {box.kind.decode()} of {len(box.body)} bytes found, expected at "
            "least 8"
        )
    start = box.body.start + 4
    version, flags = data[start - 4], int.from_bytes(data[start - 3 : start], "big")
    table: tuple[int, int, int, int] | None = None
    if box.kind in (b"stco", b"co64"):
        wide = 4 if box.kind == b"stco" else 8
        table = start + 4, _number(data, start), wide, wide
    elif box.kind == b"saio" and parent == b"stbl":
        start += 8 if flags & 1 else 0
        wide = 8 if version else 4
        table = start + 4, _number(data, start), wide, wide
    elif box.kind == b"tfhd" and flags & _BASE_DATA_OFFSET:
        table = start + 4, 1, 8, 8
    elif box.kind == b"tfra":
        wide = 8 if version else 4
        sizes = _number(data, start + 4)
        numbers = sum((sizes >> shift & 3) + 1 for shift in (4, 2, 0))
        table = start + 12 + wide, _number(data, start + 8), wide, 2 * wide + numbers
    if table is None:
        return
    start, count, wide, step = table
    if count and start + (count - 1) * step + wide > box.body.end:
        raise DamagedAsset(
            f"a table {box.kind.decode()} of {count} entries found in a box of "
            f"{len(box.body)} bytes"
        )
    yield table


def _number(data: bytes, place: int) -> int:
    return int.from_bytes(data[place : place + 4], "big")


def _add(
    data: bytearray, start: int, count: int, wide: int, step: int, by: int, behind: int
) -> None:
    if not count:
        return
    offsets = np.ndarray((count,), f">u{wide}", data, start, (step,))
    values = offsets.astype(np.int64)
    values[values >= behind] += by
    if (values >> (8 * wide) if wide < 8 else values < 0).any():
        raise UnsupportedFormat(
            "the label would push media beyond 4 GiB, where this file's chunk offsets "
            "of 32 bits end: remux it with its movie header at the end"
        )
    offsets[:] = values
