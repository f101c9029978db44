"""Pages of Ogg (RFC 3533): read, checked, and packets laid into pages anew."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import BinaryIO

from watermark.assets import DamagedAsset
from watermark.labels.containers.streams import PACKETS, Span, counted, length, take

CONTINUED, FIRST, LAST = 1, 2, 4
NO_PACKET_ENDS = -1  # granule position of such a page
_HEAD = struct.Struct("<4sBBqIIIB")
_CHECKSUM = slice(22, 26)
_SEGMENTS = 255  # of a page, and bytes of a segment, at most
# The checksum is zlib's on bytes with their bits in the other order, from 0.
_MIRRORED = bytes(int(f"{n:08b}"[::-1], 2) for n in range(256))
_ALL = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Page:
    """One page.

    Attributes:
        flags: continued packet, first page, last page.
        granule: position on the media's clock.
        serial: of the stream.
        number: of the page in its stream.
        lacing: bytes of each segment.
        start: of the page in the file.
        body: its segments, once they are read.
    """

    flags: int
    granule: int
    serial: int
    number: int
    lacing: bytes
    start: int = 0
    body: bytes = field(default=b"", repr=False)

    @property
    def span(self) -> Span:
        """Where it lies in the file."""
        size = _HEAD.size + len(self.lacing) + sum(self.lacing)
        return Span(self.start, self.start + size)

    @property
    def whole(self) -> bool:
        """Whether there are packets on it, and the last ends there."""
        return bool(self.lacing) and self.lacing[-1] < _SEGMENTS

    def encode(self) -> bytes:
        """Its bytes, with their checksum."""
        head = (b"OggS", 0, self.flags, self.granule, self.serial, self.number)
        page = bytearray(_HEAD.pack(*head, 0, len(self.lacing)))
        page += self.lacing + self.body
        page[_CHECKSUM] = struct.pack("<I", checksum(page))
        return bytes(page)


def checksum(data: bytes | bytearray) -> int:
    """CRC-32 of polynomial 04c11db7, bits not mirrored, begun at 0 (RFC 3533, 6)."""
    value = zlib.crc32(data.translate(_MIRRORED), _ALL) ^ _ALL
    return int.from_bytes(value.to_bytes(4, "little").translate(_MIRRORED), "big")


def pages(source: BinaryIO) -> Iterator[Page]:
    """The pages that fill a file, without their segments.

    Raises:
        DamagedAsset: they do not.
    """
    place, end, count = 0, length(source), 0
    while place < end:
        count = counted(count, PACKETS)
        head = take(source, place, min(_HEAD.size, end - place))
        if len(head) < _HEAD.size or head[:5] != b"OggS\0":
            raise DamagedAsset(
                f"{head[:5]!r} found at byte {place}, expected an Ogg page: OggS and "
                "version 0"
            )
        _, _, flags, granule, serial, number, _, count = _HEAD.unpack(head)
        lacing = take(source, place + _HEAD.size, count)
        page = Page(flags, granule, serial, number, lacing, place)
        place = page.span.end
        if place > end:
            raise DamagedAsset(
                f"a page at byte {page.start} ends at byte {place} of {end}: the file "
                "is cut off"
            )
        yield page


def loaded(source: BinaryIO, page: Page) -> Page:
    """The page with its segments.

    Raises:
        DamagedAsset: its checksum is another.
    """
    data = take(source, page.start, len(page.span))
    full = replace(page, body=data[_HEAD.size + len(page.lacing) :])
    if full.encode()[_CHECKSUM] != data[_CHECKSUM]:
        raise DamagedAsset(
            f"the Ogg page at byte {page.start} has checksum "
            f"{data[_CHECKSUM].hex()}, expected {full.encode()[_CHECKSUM].hex()}"
        )
    return full


def packets(run: Sequence[Page]) -> list[bytes]:
    """The packets of pages that begin and end with whole ones."""
    found, start, place = [], 0, 0
    body = b"".join(page.body for page in run)
    for size in b"".join(page.lacing for page in run):
        place += size
        if size < _SEGMENTS:
            found.append(body[start:place])
            start = place
    return found


def laid_out(row: Sequence[bytes], first: Page, last: Page) -> list[Page]:
    """Packets of a header as pages, numbered from `first` on; flags as `last` has them.

    As their granule position such pages have 0, or -1 where no packet ends.
    """
    lacing = b"".join(
        bytes([_SEGMENTS]) * (len(packet) // _SEGMENTS)
        + bytes([len(packet) % _SEGMENTS])
        for packet in row
    )
    body, place, made = b"".join(row), 0, list[Page]()
    for start in range(0, len(lacing), _SEGMENTS):
        piece = lacing[start : start + _SEGMENTS]
        going_on = start > 0 and lacing[start - 1] == _SEGMENTS
        ends = any(size < _SEGMENTS for size in piece)
        made.append(
            Page(
                flags=CONTINUED if going_on else 0,
                granule=0 if ends else NO_PACKET_ENDS,
                serial=first.serial,
                number=first.number + len(made),
                lacing=piece,
                body=body[place : place + sum(piece)],
            )
        )
        place += sum(piece)
    made[-1] = replace(made[-1], flags=made[-1].flags | last.flags & LAST)
    return made
