"""HEIF, HEIC and AVIF: XMP is an item about the picture (ISO/IEC 23008-12, Annex A).

A packet goes to the end of the file. The box that names the items grows; what lies
behind it moves, and every offset to there with it.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

from watermark.assets import DamagedAsset
from watermark.errors import UnsupportedFormat
from watermark.labels import elements, xmp
from watermark.labels.containers import ifd
from watermark.labels.containers.isobmff import Box, boxes, inside, payload
from watermark.labels.containers.isobmff import moved as shifted
from watermark.labels.containers.items import (
    EXIF,
    IN_BOX,
    IN_FILE,
    XMP,
    Extent,
    Item,
    Meta,
)
from watermark.labels.containers.patching import patched
from watermark.labels.containers.streams import Span, length, take

_NARROW = 1 << 31  # bytes of a file whose offsets fit into 32 bits, whatever is added
_TRACKS = (b"moov", b"moof", b"mfra")  # of image sequences


def read(source: BinaryIO) -> list[bytes]:
    """Labels in XMP, and in EXIF."""
    where, meta = _meta(source)
    found: list[bytes] = []
    held = 0
    for number in (*meta.of_type(XMP), *meta.of_type(EXIF)):
        content = _content(source, where, meta, number)
        held += len(content)
        if held > elements.MAX_BYTES:  # items may all lie at one place
            raise DamagedAsset(
                f"more than {elements.MAX_BYTES} bytes of metadata in this HEIF file"
            )
        if meta.types[number] == XMP:
            found += xmp.labels(content)
        else:
            skipped = 4 + int.from_bytes(content[:4], "big")  # ISO/IEC 23008-12, A.2.1
            found += ifd.labels(content[skipped:])
    return found


def write(source: BinaryIO, target: BinaryIO, label: bytes) -> None:
    """The label goes into XMP."""
    write_xmp(source, target, xmp.with_label(read_xmp(source), label))


def read_xmp(source: BinaryIO) -> bytes | None:
    """The first packet, or None."""
    where, meta = _meta(source)
    numbers = meta.of_type(XMP)
    return _content(source, where, meta, numbers[0]) if numbers else None


def write_xmp(source: BinaryIO, target: BinaryIO, packet: bytes) -> None:
    """The packet takes the place of the file's own, which becomes zeros."""
    where, meta = _meta(source)
    file = _boxes(source)
    end = length(source)
    numbers = meta.of_type(XMP)
    _check_outside(meta, where)
    zeros: list[tuple[int, int]] = []
    if numbers:
        zeros = _pieces(source, where, meta, numbers[0])
    number = numbers[0] if numbers else meta.add(XMP)
    meta.items[number] = Item(IN_FILE, 0, [Extent(0, 0, len(packet))])
    wide = end >= _NARROW
    moved = len(meta.encode(wide)) - (where.body.end - where.start)
    for item in meta.items.values():
        if item.method == IN_FILE and item.reference == 0:
            item.extents = [
                e._replace(offset=e.offset + moved * (e.offset >= where.body.end))
                for e in item.extents
            ]
    meta.items[number].extents = [Extent(0, end + moved + 8, len(packet))]
    changes = [(where.start, where.body.end, meta.encode(wide))]
    outside = [(a, b) for a, b in zeros if not where.start < a < where.body.end]
    changes += [(a, b, b"\0" * (b - a)) for a, b in outside]
    for box in file:
        if box.kind in _TRACKS:
            data = take(source, box.start, len(box.span))
            changes.append((*box.span, shifted(data, moved, where.body.end)))
    last = file[-1]
    if take(source, last.start, 4) == b"\0\0\0\0" and last.kind != b"meta":
        changes.append((last.start, last.start + 4, _size(len(last.span))))
    data = struct.pack(">I4s", len(packet) + 8, b"mdat") + packet
    patched(source, target, [*changes, (end, end, data)])


def _check_outside(meta: Meta, where: Box) -> None:
    """Return if no item is found by its place in the box that grows.

    Raises:
        UnsupportedFormat: one is, and would lie elsewhere in it then.
    """
    for number, item in meta.items.items():
        if item.method != IN_FILE or item.reference:
            continue
        for each in item.extents:
            behind = each.offset + each.length
            if where.start < behind and each.offset < where.body.end and each.length:
                raise UnsupportedFormat(
                    f"item {number} of this HEIF file lies within the box that names "
                    "it: write the file anew"
                )


def _size(count: int) -> bytes:
    if count >> 32:
        raise UnsupportedFormat("the last box of this HEIF file is too large to close")
    return struct.pack(">I", count)


def _boxes(source: BinaryIO) -> list[Box]:
    """The file's own boxes."""
    found = list(boxes(source, Span(0, length(source))))
    if not found or found[0].kind != b"ftyp":
        raise DamagedAsset("this is no HEIF file: it does not begin as one")
    return found


def _meta(source: BinaryIO) -> tuple[Box, Meta]:
    found = [box for box in _boxes(source) if box.kind == b"meta"]
    if len(found) != 1:
        raise DamagedAsset(
            f"{len(found)} meta boxes found in this HEIF file, expected one"
        )
    where = found[0]
    return where, Meta.parse(take(source, where.body.start, len(where.body)))


def _pieces(
    source: BinaryIO, where: Box, meta: Meta, number: int
) -> list[tuple[int, int]]:
    """From where to where in the file an item lies."""
    item = meta.items.get(number)
    if item is None or item.reference or item.method not in (IN_FILE, IN_BOX):
        raise DamagedAsset(f"item {number} of this HEIF file lies where none is read")
    start, end = 0, length(source)
    if item.method == IN_BOX:
        start, end = _inside(source, where)
    pieces = []
    for extent in item.extents:
        first = start + extent.offset
        behind = first + extent.length if extent.length else end
        if behind > end:
            raise DamagedAsset(f"item {number} of this HEIF file is cut off")
        pieces.append((first, behind))
    if sum(b - a for a, b in pieces) > elements.MAX_BYTES:
        raise DamagedAsset(f"item {number} of this HEIF file is too large")
    return pieces


def _inside(source: BinaryIO, where: Box) -> tuple[int, int]:
    """From where to where the `idat` box has its content."""
    content = take(source, where.body.start, len(where.body))
    at = where.body.start + 4
    for name, data in inside(content, 4):
        if name == b"idat":
            return at + len(data) - len(payload(data)), at + len(data)
        at += len(data)
    raise DamagedAsset("this HEIF file lacks the box that its items lie in")


def _content(source: BinaryIO, where: Box, meta: Meta, number: int) -> bytes:
    if number in meta.packed:
        raise DamagedAsset(f"item {number} of this HEIF file is packed, and not read")
    pieces = _pieces(source, where, meta, number)
    return b"".join(take(source, a, b - a) for a, b in pieces)
