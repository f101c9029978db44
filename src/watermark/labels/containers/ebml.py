"""Elements of EBML (RFC 8794): an identifier, a size, and what it holds."""

from __future__ import annotations

import io
import zlib
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from watermark.assets import DamagedAsset
from watermark.labels.containers.streams import Span, counted, take

VOID, CRC32 = 0xEC, 0xBF
_ID_BYTES, _SIZE_BYTES = 4, 8


@dataclass(frozen=True, slots=True)
class Element:
    """One element.

    Attributes:
        id: with its marker bit, as it is written.
        start: of its identifier.
        body: what it holds; up to the end of what is around it where `unknown`.
        unknown: whether its size is not said.
    """

    id: int
    start: int
    body: Span
    unknown: bool = False

    @property
    def span(self) -> Span:
        """With its identifier and size."""
        return Span(self.start, self.body.end)


def elements(
    source: BinaryIO, within: Span, open_ended: Container[int] = ()
) -> Iterator[Element]:
    """The elements that fill a span.

    Args:
        source: the file.
        within: where they lie.
        open_ended: identifiers of those whose size may be unknown. Such a one is given
            as reaching to the span's end, and must be the last that is asked for.

    Raises:
        DamagedAsset: they do not.
    """
    place, count = within.start, 0
    while place < within.end:
        count = counted(count)
        each = element_at(source, place, within.end)
        if each.unknown and each.id not in open_ended:
            raise DamagedAsset(f"element {each.id:x} at byte {place} says no size")
        yield each
        place = each.body.end


def element_at(source: BinaryIO, place: int, end: int) -> Element:
    """The element that begins at `place`.

    Raises:
        DamagedAsset: it does not end before `end`.
    """
    head = take(source, place, min(_ID_BYTES + _SIZE_BYTES, end - place))
    id_bytes = _width(head)
    size_bytes = _width(head[id_bytes:])
    wide = id_bytes + size_bytes
    if not id_bytes or id_bytes > _ID_BYTES or not size_bytes or wide > len(head):
        raise DamagedAsset(f"no EBML element found at byte {place}, expected one")
    mask = (1 << 7 * size_bytes) - 1
    size = int.from_bytes(head[id_bytes:wide], "big") & mask
    unknown = size == mask
    stop = end if unknown else place + wide + size
    number = int.from_bytes(head[:id_bytes], "big")
    if stop > end:
        raise DamagedAsset(
            f"element {number:x} of {size} bytes found at byte {place}, expected one "
            f"that ends before byte {end}: the file is cut off"
        )
    return Element(number, place, Span(place + wide, stop), unknown)


def inside(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Identifier, body and all bytes of the elements that `data` is.

    A checksum in front is held against the rest, and left out.

    Raises:
        DamagedAsset: it is another, or the elements do not fill `data`.
    """
    for each in elements(io.BytesIO(data), Span(0, len(data))):
        body = data[each.body.start : each.body.end]
        if each.id == CRC32 and each.start == 0:
            found = zlib.crc32(data[each.body.end :]).to_bytes(4, "little")
            if body != found:
                raise DamagedAsset(f"checksum {body.hex()}, expected {found.hex()}")
        elif each.id not in (CRC32, VOID):
            yield each.id, body, data[each.start : each.body.end]


def encode(number: int, body: bytes) -> bytes:
    """An element of this identifier."""
    return head(number, len(body)) + body


def head(number: int, size: int, wide: int = 0) -> bytes:
    """Identifier and size, in `wide` bytes or in more if it needs them."""
    return name_of(number) + _size_of(size, wide)


def name_of(number: int) -> bytes:
    """The bytes of an identifier."""
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def checked(number: int, body: bytes) -> bytes:
    """An element with a checksum in front of what it holds."""
    crc = zlib.crc32(body).to_bytes(4, "little")
    return encode(number, encode(CRC32, crc) + body)


def void(length: int) -> bytes:
    """An element of nothing, `length` bytes with its head: 0, or 2 and more."""
    if not length:
        return b""
    wide = 1 if length < 100 else _SIZE_BYTES
    return bytes([VOID]) + _size_of(length - 1 - wide, wide) + bytes(length - 1 - wide)


def _width(head: bytes) -> int:
    """Bytes of the number that begins here, or 0."""
    return 9 - head[0].bit_length() if head and head[0] else 0


def _size_of(size: int, wide: int = 0) -> bytes:
    wide = max(wide, 1)
    while size >= (1 << 7 * wide) - 1:  # all ones say that it is unknown
        wide += 1
    return (1 << 7 * wide | size).to_bytes(wide, "big")
