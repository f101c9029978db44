"""FLAC: a Vorbis comment AIGC in the metadata block of comments (RFC 9639, 8.6).

Padding blocks give the room where they have it; then no sound moves in the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from watermark.assets import DamagedAsset
from watermark.errors import UnsupportedFormat
from watermark.labels.containers import id3
from watermark.labels.containers.streams import (
    Part,
    Span,
    assemble,
    counted,
    length,
    take,
)
from watermark.labels.containers.vorbis import Comments

# Kinds of blocks; those above are reserved (RFC 9639, 8.1).
_STREAMINFO, _PADDING, _APPLICATION, _SEEKTABLE = range(4)
_COMMENTS, _CUESHEET, _PICTURE = range(4, 7)
_LAST = 0x80
_HEAD, _STREAMINFO_BYTES = 4, 34
_MOST = (1 << 24) - 1  # bytes of a block
VENDOR = b"watermark"  # of comments where there were none


@dataclass(frozen=True, slots=True)
class Block:
    """One metadata block: its type, and where its payload lies."""

    kind: int
    body: Span


def read(source: BinaryIO) -> list[bytes]:
    """The value of every comment AIGC, and of TXXX frames where an ID3 tag is in front.

    Raises:
        DamagedAsset: the metadata blocks do not lead to a frame of sound.
    """
    tags = id3.leading_tags(source)
    found = id3.labels(tags)
    for block in _blocks(source, tags[-1].end if tags else 0):
        if block.kind == _COMMENTS:
            found += _comments(source, block).labels()
    return found


def write(source: BinaryIO, target: BinaryIO, label: bytes) -> None:
    """Copy the file, with this label in place of any there were.

    Raises:
        DamagedAsset: as for `read`.
        UnsupportedFormat: the comments would be larger than a block can be.
    """
    tags = id3.leading_tags(source)
    start = tags[-1].end if tags else 0
    blocks = _blocks(source, start)
    comments = next((b for b in blocks if b.kind == _COMMENTS), None)
    row: list[tuple[int, Part]] = []
    for block in blocks:
        if block.kind == _COMMENTS:
            new = _comments(source, block).labelled(
                label if block is comments else None
            )
            row.append((_COMMENTS, new.encode()))
        elif block.kind != _PADDING:
            row.append((block.kind, block.body))
        if block.kind == _STREAMINFO and comments is None:
            row.append((_COMMENTS, Comments(VENDOR, ()).labelled(label).encode()))
    sound = blocks[-1].body.end
    left = sound - start - 4 - sum(_HEAD + len(body) for _, body in row)
    if left >= _HEAD:
        row.append((_PADDING, bytes(min(left - _HEAD, _MOST))))
    parts: list[Part] = [*map(id3.encode, tags), b"fLaC"]
    for number, (kind, body) in enumerate(row, 1):
        if len(body) > _MOST:
            raise UnsupportedFormat(
                f"comments of {len(body)} bytes are needed for the label, and a FLAC "
                f"block holds at most {_MOST}"
            )
        last = _LAST if number == len(row) else 0
        parts += [bytes([last | kind]) + len(body).to_bytes(3, "big"), body]
    assemble(source, target, [*parts, Span(sound, length(source))])


def _comments(source: BinaryIO, block: Block) -> Comments:
    comments = Comments.parse(take(source, block.body.start, len(block.body)))
    if any(comments.rest):
        raise DamagedAsset(
            f"{len(comments.rest)} bytes found behind {len(comments.entries)} comments "
            "of this FLAC, expected none"
        )
    return comments


def _blocks(source: BinaryIO, start: int) -> list[Block]:
    """The metadata blocks; a frame of sound follows the last."""
    if (magic := take(source, start, 4)) != b"fLaC":
        raise DamagedAsset(f"{magic!r} found at byte {start}, expected fLaC")
    blocks: list[Block] = []
    place, last = start + 4, False
    while not last:
        head = take(source, place, _HEAD)
        last, kind = bool(head[0] & _LAST), head[0] & ~_LAST
        body = Span(place + _HEAD, place + _HEAD + int.from_bytes(head[1:], "big"))
        if (kind == _STREAMINFO) == bool(blocks) or not _is_sound(source, kind, body):
            raise DamagedAsset(
                f"a block of type {kind} and {len(body)} bytes found at byte {place}, "
                "expected one STREAMINFO of 34 bytes, and others as RFC 9639 has them"
            )
        counted(len(blocks))
        blocks.append(Block(kind, body))
        place = body.end
    sync = take(source, place, 2)
    if sync[0] != 0xFF or sync[1] & 0xFE != 0xF8:
        raise DamagedAsset(f"{sync.hex()} found at byte {place}, expected a FLAC frame")
    return blocks


def _is_sound(source: BinaryIO, kind: int, body: Span) -> bool:
    """Whether a block is what its kind says: comments may hide under another."""
    if kind == _STREAMINFO:
        return len(body) == _STREAMINFO_BYTES
    if kind == _PADDING:
        return not any(take(source, body.start, len(body)))
    if kind == _SEEKTABLE:
        return len(body) % 18 == 0
    if kind != _PICTURE:
        return kind in (_APPLICATION, _COMMENTS, _CUESHEET)
    place = body.start + 4  # RFC 9639, 8.8: two texts, four numbers, and the picture
    for numbers in (0, 16, 0):
        place += 4 + int.from_bytes(take(source, place, 4), "big") + numbers
        if place > body.end:
            return False
    return place == body.end
