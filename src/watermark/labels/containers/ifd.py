"""Directories of TIFF 6.0 and BigTIFF files, of which EXIF is one without a picture."""

from __future__ import annotations

import io
import struct
from typing import BinaryIO, NamedTuple

from watermark.assets import DamagedAsset
from watermark.labels import aigc
from watermark.labels.containers.streams import length, take

MAX_ENTRIES = 4096
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
SIZES |= {13: 4, 16: 8, 17: 8, 18: 8}  # IFD; BigTIFF's

_PREFIX = b"Exif\0\0"  # that belongs into JPEG, and is met in WebP and PNG as well

IMAGE_DESCRIPTION, EXIF_IFD, USER_COMMENT = 0x010E, 0x8769, 0x9286
_CODE = 8  # bytes that name a UserComment's encoding


class Form(NamedTuple):
    """How a file writes its numbers.

    Attributes:
        order: ``<`` or ``>``.
        big: BigTIFF, with offsets of 64 bits.
        first: offset of the first directory.
    """

    order: str
    big: bool
    first: int

    @property
    def offset(self) -> str:
        """Of `struct`: an offset."""
        return self.order + ("Q" if self.big else "I")

    @property
    def width(self) -> int:
        """Bytes of an offset."""
        return 8 if self.big else 4


class Entry(NamedTuple):
    """One field.

    Attributes:
        tag: which.
        type: of its values.
        values: how many.
        at: where the entry lies.
        start: where its values lie: in the entry, if they fit there.
        size: of its values, in bytes.
    """

    tag: int
    type: int
    values: int
    at: int
    start: int
    size: int


class Directory(NamedTuple):
    """One directory, from `start` to `end` with the offset of the next one."""

    entries: list[Entry]
    start: int
    end: int

    def find(self, tag: int) -> Entry | None:
        """The field of this tag, or None."""
        return next((entry for entry in self.entries if entry.tag == tag), None)


class Text(NamedTuple):
    """A label in a text field, and from where to where its text lies."""

    value: bytes
    start: int
    end: int


def form(source: BinaryIO) -> Form:
    """The header of a TIFF file.

    Raises:
        DamagedAsset: it is none.
    """
    head = take(source, 0, 8)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None:
        raise DamagedAsset(f"{head[:2]!r} found, expected II or MM: this is no TIFF")
    (version,) = struct.unpack(order + "H", head[2:4])
    if version == 42:
        return Form(order, False, struct.unpack(order + "I", head[4:])[0])
    if version == 43 and struct.unpack(order + "HH", head[4:]) == (8, 0):
        return Form(order, True, struct.unpack(order + "Q", take(source, 8, 8))[0])
    raise DamagedAsset(f"version {version} found, expected TIFF's 42 or BigTIFF's 43")


def directory(source: BinaryIO, form: Form, start: int) -> Directory:
    """The directory at an offset; one without fields where an EXIF block says nothing.

    Raises:
        DamagedAsset: it does not lie in the file.
    """
    counted, each = (8, 20) if form.big else (2, 12)
    (count,) = struct.unpack(
        form.order + ("Q" if form.big else "H"), take(source, start, counted)
    )
    if count > MAX_ENTRIES:
        raise DamagedAsset(f"a directory of {count} fields found in this TIFF")
    at = start + counted
    data = take(source, at, count * each + form.width)
    entries = []
    for place in range(0, count * each, each):
        tag, kind = struct.unpack_from(form.order + "HH", data, place)
        (number,) = struct.unpack_from(form.offset, data, place + 4)
        size = number * SIZES.get(kind, 1)
        value = place + 4 + form.width
        held = at + value
        if size > form.width:
            (held,) = struct.unpack_from(form.offset, data, value)
        entries.append(Entry(tag, kind, number, at + place, held, size))
    return Directory(entries, start, at + len(data))


def texts(source: BinaryIO) -> list[Text]:
    """Labels in the fields where some cameras and services put them.

    They are UserComment (TC260-PG-20259A, Annex B) and ImageDescription.

    Args:
        source: a TIFF file, or an EXIF block as one.

    Raises:
        DamagedAsset: it cannot be read.
    """
    read = form(source)
    first = directory(source, read, read.first)
    if not first.entries and length(source) > first.end:
        raise DamagedAsset("a directory without fields found, and more in its block")
    fields = [(first.find(IMAGE_DESCRIPTION), 0)]
    pointer = first.find(EXIF_IFD)
    if pointer is not None:
        exif = directory(source, read, _offset(source, read, pointer))
        fields.append((exif.find(USER_COMMENT), _CODE))
    found = []
    for entry, skipped in fields:
        if entry is None or not skipped < entry.size <= 2 * aigc.MAX_BYTES:
            continue
        value = take(source, entry.start, entry.size)[skipped:].rstrip(b"\0 ")
        if _is_label(value):
            start = entry.start + skipped
            found.append(Text(value, start, start + len(value)))
    return found


def labels(block: bytes) -> list[bytes]:
    """Labels in an EXIF block, raw; see `texts`.

    Raises:
        DamagedAsset: it cannot be read.
    """
    return [text.value for text in texts(io.BytesIO(block.removeprefix(_PREFIX)))]


def blanked(block: bytes) -> bytes:
    """An EXIF block with spaces in place of labels; nothing in it moves.

    Raises:
        DamagedAsset: it cannot be read.
    """
    data = block.removeprefix(_PREFIX)
    before = block[: len(block) - len(data)]
    for text in texts(io.BytesIO(data)):
        data = data[: text.start] + b" " * len(text.value) + data[text.end :]
    return before + data


def _offset(source: BinaryIO, form: Form, pointer: Entry) -> int:
    """The one offset in a field."""
    code = {4: "I", 13: "I", 16: "Q", 18: "Q"}.get(pointer.type)
    if code is None or pointer.values != 1:
        raise DamagedAsset(f"field {pointer.tag} of this TIFF holds no offset")
    data = take(source, pointer.start, pointer.size)
    return int(struct.unpack(form.order + code, data)[0])


def _is_label(value: bytes) -> bool:
    """Whether a text is a label where nothing else says that it is one."""
    found = aigc.parse(value)
    return found.label is not None and (
        "wrapped" in found.deviations or found.label.content_producer != ""
    )
