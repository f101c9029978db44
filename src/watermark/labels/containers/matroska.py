"""Matroska and WebM: a SimpleTag of the name AIGC (TC260-PG-20257A; RFC 9559, 5.1.8).

What lies from the first cluster on never moves, so that indexes stay true. The tags lie
in front of it where Void elements give the room, or else at the end, and the SeekHead
says where. A recording without an index has them in front.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

from watermark.assets import DamagedAsset
from watermark.errors import UnsupportedFormat
from watermark.labels.containers import ebml, matroska_tags
from watermark.labels.containers.ebml import Element
from watermark.labels.containers.matroska_tree import (
    CLUSTER,
    CUES,
    FILLERS,
    POSITION,
    SEEK_HEAD,
    TAGS,
    Segment,
    body,
    encode_seeks,
    parse,
    seeks,
)
from watermark.labels.containers.streams import (
    HELD,
    Part,
    Span,
    assemble,
    length,
    total,
)

_SMALLEST_VOID = 2


def read(source: BinaryIO) -> list[bytes]:
    """The value of every SimpleTag of this name.

    Raises:
        DamagedAsset: the elements do not fill the file, or the tags cannot be read.
    """
    segment = parse(source)
    return [
        value
        for each in (*segment.head, *segment.rest)
        if each.id == TAGS
        for value in matroska_tags.values(body(source, each))
    ]


def write(source: BinaryIO, target: BinaryIO, label: bytes) -> None:
    """Copy the file, with this label in place of any there were.

    Raises:
        DamagedAsset: as for `read`.
        UnsupportedFormat: an index points to tags that have to move.
    """
    segment = parse(source)
    old = [each for each in (*segment.head, *segment.rest) if each.id == TAGS]
    if (held := sum(len(each.body) for each in old)) > HELD:
        raise DamagedAsset(f"tags of {held} bytes found, expected at most {HELD}")
    tags = matroska_tags.labelled([body(source, each) for each in old], label)
    inside = _laid_out(source, segment, tags)
    element = segment.element
    parts: list[Part] = [Span(0, element.body.start)]
    if not element.unknown:
        wide = len(Span(element.start, element.body.start)) - 4
        head = ebml.head(element.id, total(inside), wide)
        parts = [Span(0, element.start), head]
    after = Span(element.body.end, length(source))
    assemble(source, target, [*parts, *inside, after])


def _laid_out(source: BinaryIO, segment: Segment, tags: bytes) -> list[Part]:
    """What the segment holds, with these tags alone."""
    room, rest = segment.room, _emptied(segment.rest)
    listed = any(each.id == SEEK_HEAD for each in segment.head)
    head = _head(source, segment, tags, in_front=True)
    left = room - total(head)
    if _fills(left) or _movable(source, segment):
        return [*head, ebml.void(max(left, 0) if _fills(left) else 0), *rest]
    if listed:
        head = _head(source, segment, tags, in_front=False, at=room + total(rest))
        if _fills(left := room - total(head)):
            return [*head, ebml.void(left), *rest, tags]
    if any(number == TAGS for number, _ in _entries(source, segment.head)):
        raise UnsupportedFormat(
            "this file's index of elements has no room for where its tags would lie: "
            "remux it"
        )
    return [*_emptied(segment.head, last=False), *rest, tags]


def _fills(left: int) -> bool:
    """Whether Void elements can be this long."""
    return left == 0 or left >= _SMALLEST_VOID


def _head(
    source: BinaryIO, segment: Segment, tags: bytes, *, in_front: bool, at: int = 0
) -> list[Part]:
    """The elements in front of the first cluster without gaps, and their SeekHead.

    Args:
        source: the file.
        segment: its elements.
        tags: the new element of tags.
        in_front: whether it lies here.
        at: otherwise where it lies, from the start of what the segment holds.
    """
    dropped = FILLERS | {TAGS, SEEK_HEAD}
    kept = [each for each in segment.head if each.id not in dropped]
    listed = any(each.id == SEEK_HEAD for each in segment.head)
    entries = [e for e in _entries(source, segment.head) if e[0] not in dropped]
    wide = (length(source) + len(tags)).bit_length() // 8 + 1
    size = len(encode_seeks([*entries, (TAGS, 0)], wide)) if listed else 0
    base, place = segment.element.body.start, size
    places = dict[int, int]()
    for each in kept:
        places[each.start - base] = place
        place += len(each.span)
    _check_others(source, segment, places)
    moved = [(number, places.get(old, old)) for number, old in entries]
    row = [*moved, (TAGS, place if in_front else at)]
    parts: list[Part] = [encode_seeks(row, wide)] if listed else []
    return [*parts, *(each.span for each in kept), *([tags] if in_front else [])]


def _entries(source: BinaryIO, row: Sequence[Element]) -> list[tuple[int, int]]:
    return [e for x in row if x.id == SEEK_HEAD for e in seeks(body(source, x))]


def _check_others(source: BinaryIO, segment: Segment, places: dict[int, int]) -> None:
    """A second SeekHead behind the clusters points to nothing that moves."""
    for number, old in _entries(source, segment.rest):
        if number == TAGS or places.get(old, old) != old:
            raise UnsupportedFormat(
                "a second index behind the clusters points to what has to move for "
                "the label: remux the file"
            )


def _movable(source: BinaryIO, segment: Segment) -> bool:
    """Whether nothing says where in the file a cluster is: a recording as it came."""
    row = segment.rest
    if any(each.id == CUES for each in (*segment.head, *row)):
        return False
    if any(each.id not in FILLERS | {CLUSTER, TAGS} for each in row):
        return False
    if any(old >= segment.room for _, old in _entries(source, segment.head)):
        return False
    clusters = (each for each in row if each.id == CLUSTER)
    return not any(_says_position(source, each) for each in clusters)


def _says_position(source: BinaryIO, cluster: Element) -> bool:
    """Whether the cluster says its own place; it does among its first elements."""
    place, end = cluster.body.start, cluster.body.end
    for _ in range(3):
        if place >= end:
            break
        each = ebml.element_at(source, place, end)
        if each.id == POSITION:
            return any(body(source, each))
        place = each.body.end
    return False


def _emptied(row: Sequence[Element], *, last: bool = True) -> list[Part]:
    """The elements with Void in place of tags; tags at the end leave if `last`."""
    end = len(row) - 1 if last and row and row[-1].id == TAGS else len(row)
    return [
        ebml.void(len(each.span)) if each.id == TAGS else each.span
        for each in row[:end]
    ]
