"""TIFF 6.0 and BigTIFF: XMP is field 700 of the first directory (ISO 16684-3).

Pictures lie where offsets say, so nothing moves: a packet, and a directory that needs
one field more, go to the end of the file, and what stood there before becomes zeros.
"""

from __future__ import annotations

import itertools
import struct
from typing import BinaryIO

from watermark.assets import DamagedAsset
from watermark.errors import UnsupportedFormat
from watermark.labels import elements, xmp
from watermark.labels.containers import ifd
from watermark.labels.containers.patching import Change, patched
from watermark.labels.containers.streams import length, take

_XMP = 700
_WIDTH, _HEIGHT = 256, 257
# Where a picture lies: strips, tiles, or the JPEG of TIFF 6.0, 22.
_PLACES = (273, 324, 513)
_WHOLE = (3, 4, 16)  # SHORT, LONG, LONG8
_BYTES = (1, 7)  # BYTE and UNDEFINED
_UNDEFINED = 7


def read(source: BinaryIO) -> list[bytes]:
    """Labels in XMP, and in EXIF."""
    packet = read_xmp(source)
    return xmp.labels(packet) + [text.value for text in ifd.texts(source)]


def write(source: BinaryIO, target: BinaryIO, label: bytes) -> None:
    """The label goes into XMP; those elsewhere become spaces."""
    spaces = [(t.start, t.end, b" " * len(t.value)) for t in ifd.texts(source)]
    _write(source, target, xmp.with_label(read_xmp(source), label), spaces)


def read_xmp(source: BinaryIO) -> bytes | None:
    """The packet, or None."""
    _, first = _first(source)
    entry = first.find(_XMP)
    if entry is None:
        return None
    if entry.type not in _BYTES or entry.size > elements.MAX_BYTES:
        raise DamagedAsset("the XMP of this TIFF cannot be read: it is no row of bytes")
    return take(source, entry.start, entry.size)


def write_xmp(source: BinaryIO, target: BinaryIO, packet: bytes) -> None:
    """The packet takes the place of the file's own."""
    _write(source, target, packet, [])


def _write(
    source: BinaryIO,
    target: BinaryIO,
    packet: bytes,
    changes: list[Change],
) -> None:
    form, first = _first(source)
    end = length(source)
    start = end + end % 2  # offsets are even
    changes.append((end, end, b"\0" * (end % 2) + packet + b"\0" * (len(packet) % 2)))
    behind = start + len(packet) + len(packet) % 2
    if behind + first.end - first.start + 20 >= 1 << (8 * form.width):
        raise UnsupportedFormat("this TIFF is full: a BigTIFF has room for more")
    entry = struct.pack(form.order + "HH", _XMP, _UNDEFINED) + struct.pack(
        form.order + ("QQ" if form.big else "II"), len(packet), start
    )
    if old := first.find(_XMP):
        changes.append((old.at, old.at + len(entry), entry))
        if old.size > form.width:
            changes.append((old.start, old.start + old.size, b"\0" * old.size))
    else:
        changes.append((end, end, _grown(source, form, first, entry)))
        at = 8 if form.big else 4
        pointer = struct.pack(form.offset, behind)
        changes.append((at, at + form.width, pointer))
    patched(source, target, changes)


def _first(source: BinaryIO) -> tuple[ifd.Form, ifd.Directory]:
    """The first directory, which is a picture's; other bytes may look like one.

    Raises:
        DamagedAsset: it gives no size, or no place where a picture lies; or its fields
            are not in the order of their tags, of no known type, or not in the file
            (TIFF 6.0, section 2).
    """
    form = ifd.form(source)
    first = ifd.directory(source, form, form.first)
    tags = [entry.tag for entry in first.entries]
    if any(tag >= after for tag, after in itertools.pairwise(tags)):
        raise DamagedAsset("the fields of this TIFF are not in the order of their tags")
    end = length(source)
    for entry in first.entries:
        if entry.type not in ifd.SIZES or entry.start + entry.size > end:
            raise DamagedAsset(
                f"field {entry.tag} of type {entry.type} and {entry.size} bytes found "
                f"in a TIFF of {end} bytes, expected a type of TIFF 6.0 that fits"
            )
    places = [first.find(tag) for tag in _PLACES]
    sides = [first.find(tag) for tag in (_WIDTH, _HEIGHT)]
    place = next((entry for entry in places if entry), None)
    fields = [entry for entry in (*sides, place) if entry]
    sound = all(entry.type in _WHOLE and entry.values for entry in fields)
    if len(fields) != 3 or not sound:
        raise DamagedAsset("the first directory of this TIFF describes no picture")
    return form, first


def _grown(
    source: BinaryIO, form: ifd.Form, first: ifd.Directory, entry: bytes
) -> bytes:
    """The first directory with one field more; fields are in the order of tags."""
    before = next((e.at for e in first.entries if e.tag > _XMP), first.end - form.width)
    counted = 8 if form.big else 2
    data = take(source, first.start, first.end - first.start)
    count = struct.pack(form.order + ("Q" if form.big else "H"), len(first.entries) + 1)
    cut = before - first.start
    return count + data[counted:cut] + entry + data[cut:]
