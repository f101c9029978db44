"""The segment of a Matroska file: its elements, and its SeekHead (RFC 9559)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

from watermark.assets import DamagedAsset
from watermark.labels.containers import ebml
from watermark.labels.containers.ebml import CRC32, VOID, Element
from watermark.labels.containers.streams import PACKETS, Span, counted, length, take

SEEK_HEAD, TAGS, CUES, CLUSTER = 0x114D9B74, 0x1254C367, 0x1C53BB6B, 0x1F43B675
FILLERS = frozenset((VOID, CRC32))
POSITION = 0xA7  # of a cluster, as it says itself
_HEADER, _SEGMENT, _DOC_TYPE = 0x1A45DFA3, 0x18538067, 0x4282
_DOC_TYPES = (b"matroska", b"webm")
_INFO, _TRACKS, _CHAPTERS = 0x1549A966, 0x1654AE6B, 0x1043A770
_ATTACHMENTS = 0x1941A469
_TOP = FILLERS | {SEEK_HEAD, TAGS, CUES, CLUSTER}
_TOP |= {_INFO, _TRACKS, _CHAPTERS, _ATTACHMENTS}
# Of a cluster: its time and sizes, silent tracks, and blocks.
_IN_CLUSTER = FILLERS | {POSITION, 0xE7, 0xAB, 0x5854, 0xA3, 0xA0, 0xAF}
_SEEK, _SEEK_ID, _SEEK_POSITION = 0x4DBB, 0x53AB, 0x53AC


@dataclass(frozen=True, slots=True)
class Segment:
    """The segment of a file, and what is in it on the first level.

    Attributes:
        element: the segment itself.
        head: elements in front of the first cluster.
        rest: the first cluster and all behind it.
    """

    element: Element
    head: tuple[Element, ...]
    rest: tuple[Element, ...]

    @property
    def room(self) -> int:
        """Bytes in front of the first cluster."""
        return sum(len(each.span) for each in self.head)


def parse(source: BinaryIO) -> Segment:
    """The one segment of a file.

    Raises:
        DamagedAsset: the elements do not fill the file, or one is not of Matroska.
    """
    end = length(source)
    header = ebml.element_at(source, 0, end)
    if header.id != _HEADER or header.unknown:
        raise DamagedAsset(f"element {header.id:x} found at byte 0, expected EBML")
    kinds = [
        value for n, value, _ in ebml.inside(body(source, header)) if n == _DOC_TYPE
    ]
    if [kind.rstrip(b"\0") for kind in kinds] not in [[kind] for kind in _DOC_TYPES]:
        raise DamagedAsset(f"document type {kinds!r} found, expected matroska or webm")
    row = list(ebml.elements(source, Span(header.body.end, end), {_SEGMENT}))
    segments = [each for each in row if each.id == _SEGMENT]
    others = [each for each in row if each.id not in FILLERS]
    if len(segments) != 1 or others != segments:
        raise DamagedAsset(
            f"{[f'{each.id:x}' for each in others[:4]]} found in this file, expected "
            f"one segment, {_SEGMENT:x}"
        )
    inside = tuple(_inside(source, segments[0]))
    first = next((n for n, x in enumerate(inside) if x.id == CLUSTER), None)
    if first is None:
        raise DamagedAsset(
            "no cluster found in this file, expected some: it is cut off"
        )
    return Segment(segments[0], inside[:first], inside[first:])


def body(source: BinaryIO, element: Element) -> bytes:
    """What an element holds."""
    return take(source, element.body.start, len(element.body))


def seeks(data: bytes) -> list[tuple[int, int]]:
    """Identifier and position of each entry of a SeekHead, from what it holds."""
    found = []
    for number, entry, _ in ebml.inside(data):
        values = {n: value for n, value, _ in ebml.inside(entry)}
        if number != _SEEK or not {_SEEK_ID, _SEEK_POSITION} <= set(values):
            raise DamagedAsset("an entry of this file's SeekHead cannot be read")
        place = int.from_bytes(values[_SEEK_POSITION], "big")
        found.append((int.from_bytes(values[_SEEK_ID], "big"), place))
    return found


def encode_seeks(entries: Sequence[tuple[int, int]], wide: int) -> bytes:
    """A SeekHead with positions of `wide` bytes."""
    row = [
        ebml.encode(
            _SEEK,
            ebml.encode(_SEEK_ID, ebml.name_of(number))
            + ebml.encode(_SEEK_POSITION, place.to_bytes(wide, "big")),
        )
        for number, place in entries
    ]
    return ebml.checked(SEEK_HEAD, b"".join(row))


def _inside(source: BinaryIO, segment: Element) -> Iterator[Element]:
    place, end, count, blocks = segment.body.start, segment.body.end, 0, 0
    while place < end:
        count = counted(count)
        each = ebml.element_at(source, place, end)
        if each.id not in _TOP or (each.unknown and each.id != CLUSTER):
            raise DamagedAsset(
                f"element {each.id:x} found at byte {place}, expected one of a segment"
            )
        if each.unknown:  # it ends where something begins that is not of a cluster
            stop = each.body.start
            while stop < end:
                inner = ebml.element_at(source, stop, end)
                if inner.id not in _IN_CLUSTER:
                    break
                if inner.unknown:  # it would take all that follows with it
                    raise DamagedAsset(f"element {inner.id:x} at {stop} says no size")
                blocks = counted(blocks, PACKETS)
                stop = inner.body.end
            each = replace(each, body=Span(each.body.start, stop))
        yield each
        place = each.body.end
