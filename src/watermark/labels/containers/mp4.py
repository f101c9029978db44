"""MP4, MOV and M4A: the key AIGC in ``moov/udta/meta`` (TC260-PG-20257A, -202510A).

Labels elsewhere in the movie's metadata are read, and leave when one is written. Where
the movie header grows in front of the media, a free box behind it gives the room, or
all offsets into the file are moved.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from watermark.assets import DamagedAsset
from watermark.errors import UnsupportedFormat
from watermark.labels.containers import isobmff, mp4_meta
from watermark.labels.containers.isobmff import Box, box, boxes, inside, payload
from watermark.labels.containers.mp4_meta import MDTA, Metadata
from watermark.labels.containers.streams import Part, Span, assemble, length, take

_FREE = (b"free", b"skip", b"wide")
_FOLLOWING = (b"moof", b"mfra")  # what points into the file besides the header
_HEAD, _MOST = 8, 0xFFFFFFFF  # bytes of a box


def read(source: BinaryIO) -> list[bytes]:
    """The value of every label in the movie's metadata.

    Raises:
        DamagedAsset: the boxes do not fill the file, or it has not one movie header.
    """
    row = list(boxes(source, Span(0, length(source))))
    movie = row[_movie(row)]
    return mp4_meta.labels(_metas(_header(source, movie)))


def write(source: BinaryIO, target: BinaryIO, label: bytes) -> None:
    """Copy the file, with this label in place of any there were.

    Raises:
        DamagedAsset: as for `read`.
        UnsupportedFormat: media would have to move, and something that points to it
            cannot follow.
    """
    row = list(boxes(source, Span(0, length(source))))
    number = _movie(row)
    before, movie, behind = row[:number], row[number], row[number + 1 :]
    header = _labelled(_header(source, movie), label)
    parts: list[Part] = [each.span for each in before]
    parts += _placed(source, movie, header, before, behind)
    assemble(source, target, parts)


def _movie(row: Sequence[Box]) -> int:
    """Which of the boxes is the movie header."""
    found = [n for n, each in enumerate(row) if each.kind == b"moov"]
    if len(found) != 1:
        raise DamagedAsset(f"{len(found)} boxes moov found in this file, expected one")
    return found[0]


def _header(source: BinaryIO, movie: Box) -> bytes:
    header = take(source, movie.start, len(movie.span))
    if any(kind == b"cmov" for kind, _ in inside(payload(header))):
        raise DamagedAsset("a compressed movie header found, expected a plain one")
    return header


def _metas(header: bytes) -> Iterator[bytes]:
    """The boxes ``meta`` of a movie header, and of its user data."""
    for kind, raw in inside(payload(header)):
        if kind == b"meta":
            yield raw
        elif kind == b"udta":
            yield from (each for k, each in inside(payload(raw)) if k == b"meta")


def _labelled(header: bytes, label: bytes) -> bytes:
    """The movie header without labels, and with this one in its user data."""
    left: bytes | None = label
    row = []
    for kind, raw in inside(payload(header)):
        if kind == b"udta":
            row.append(_user_data(raw, left))
            left = None
        else:
            row.append(_unlabelled(raw) if kind == b"meta" else raw)
    if left is not None:
        row.append(box(b"udta", mp4_meta.new().labelled(left).encode()))
    return box(b"moov", *row)


def _user_data(data: bytes, label: bytes | None) -> bytes:
    """User data without labels, and with this one in a list of keys.

    iTunes' list stays as it is, and in front: its readers take the first.
    """
    row = []
    left = label
    for kind, raw in inside(payload(data)):
        if kind == b"meta" and left and Metadata.parse(raw).handler == MDTA:
            row.append(Metadata.parse(raw).labelled(left).encode())
            left = None
        else:
            row.append(_unlabelled(raw) if kind == b"meta" else raw)
    if left is not None:
        row.append(mp4_meta.new().labelled(left).encode())
    # QuickTime closes user data with a number 0, which `inside` leaves out.
    closed = len(payload(data)) - sum(len(raw) for _, raw in inside(payload(data)))
    return box(b"udta", *row, bytes(closed))


def _unlabelled(meta: bytes) -> bytes:
    parsed = Metadata.parse(meta)
    return parsed.labelled(None).encode() if parsed.labels() else meta


def _placed(
    source: BinaryIO,
    movie: Box,
    header: bytes,
    before: Sequence[Box],
    behind: Sequence[Box],
) -> Iterator[Part]:
    """The new movie header and all behind it, which moves only where it has to."""
    more = len(header) - len(movie.span)
    free = 0
    while free < len(behind) and behind[free].kind in _FREE:
        free += 1
    rest = behind[free:]
    room = sum(len(each.span) for each in behind[:free])
    moving = False
    if not rest or more == 0:
        yield header
        yield from (each.span for each in behind[:free])
    elif room - more == 0 or _HEAD <= room - more <= _MOST:
        yield header
        if left := room - more:
            end = rest[0].start
            yield struct.pack(">I4s", left, b"free")
            yield Span(end - left + _HEAD, end)
    else:
        _check_movable(source, before, rest)
        yield isobmff.moved(header, more, movie.body.end)
        yield from (each.span for each in behind[:free])
        moving = True
    for each in rest:
        if moving and each.kind in _FOLLOWING:
            data = take(source, each.start, len(each.span))
            yield isobmff.moved(data, more, movie.body.end)
        else:
            yield each.span


def _check_movable(
    source: BinaryIO, before: Sequence[Box], rest: Sequence[Box]
) -> None:
    """Nothing but `isobmff.moved` knows of points to what is behind the header."""
    if any(each.kind == b"sidx" for each in before):
        raise UnsupportedFormat(
            "this file has an index in front of its movie header, and the label would "
            "move what it points to: remux it"
        )
    for each in (*before, *rest):
        if each.kind == b"meta":
            isobmff.check_items(take(source, each.start, len(each.span)))
