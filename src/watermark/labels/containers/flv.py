"""FLV: the property AIGC of the script tag onMetaData (TC260-PG-20257A).

Adobe, "Adobe Flash Video File Format Specification 10.1", annex E. Indexes in the
metadata count from the file's start and are moved with what they point to.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from watermark.assets import DamagedAsset
from watermark.errors import UnsupportedFormat
from watermark.labels.containers import amf
from watermark.labels.containers.streams import (
    NAME,
    PACKETS,
    Part,
    Span,
    assemble,
    counted,
    is_label,
    length,
    take,
)

_HEAD, _BACK = 11, 4  # bytes of a tag's header, and of its size behind it
_SOUND, _VIDEO, _SCRIPT = 8, 9, 18
_METADATA = b"onMetaData"
_HELD = 2 << 20  # bytes of metadata; an index of ten hours has 400 KB
_SCRIPTS = 1 << 6  # tags of metadata
_MOST = (1 << 24) - 1  # bytes of a tag's body
_POSITIONS = ((b"keyframes", b"filepositions", b""), (b"lastkeyframelocation",))
_FILE_SIZE = (b"filesize",)


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag with metadata.

    Attributes:
        start: of the tag in the file.
        body: its bytes.
        script: what lies where in it.
    """

    start: int
    body: bytes
    script: amf.Script

    @property
    def span(self) -> Span:
        """The tag in the file, without its size behind it."""
        return Span(self.start, self.start + _HEAD + len(self.body))

    @property
    def labels(self) -> list[Span]:
        """Where properties of this name lie in the body."""
        return [place for name, place in self.script.properties if is_label(name)]


def read(source: BinaryIO) -> list[bytes]:
    """The value of every property AIGC.

    Raises:
        DamagedAsset: the tags do not fill the file, or its metadata cannot be read.
    """
    return [
        amf.text(tag.body[place.start : place.end])
        for tag in _metadata(source)
        for place in tag.labels
    ]


def write(source: BinaryIO, target: BinaryIO, label: bytes) -> None:
    """Copy the file, with this label in place of any there were.

    Raises:
        DamagedAsset: as for `read`.
        UnsupportedFormat: the metadata would be larger than a tag can be.
    """
    tags = _metadata(source)
    entry = struct.pack(">H", len(NAME)) + NAME + amf.string(label)
    parts: list[Part] = []
    place = _first(source)
    if not tags:
        body = amf.array(_METADATA, entry)
        parts = [Span(0, place), _tag_head(bytes([_SCRIPT, *bytes(10)]), body), body]
        parts += [_back(body), Span(place, length(source))]
        assemble(source, target, parts)
        return
    entries = [entry, *(b"" for _ in tags[1:])]
    changes = [
        (tag.span.end, len(added) - sum(map(len, tag.labels)))
        for tag, added in zip(tags, entries, strict=True)
    ]
    place = 0
    for tag, added in zip(tags, entries, strict=True):
        body = _edited(tag, added, changes)
        old_head = take(source, tag.start, _HEAD)
        parts += [Span(place, tag.start), _tag_head(old_head, body), body, _back(body)]
        place = min(tag.span.end + _BACK, length(source))
    assemble(source, target, [*parts, Span(place, length(source))])


def _edited(tag: Tag, entry: bytes, changes: Sequence[tuple[int, int]]) -> bytes:
    """The tag's body without labels, and with this entry; its indexes moved."""
    body = bytearray(tag.body)
    for path, place in tag.script.numbers:
        (value,) = struct.unpack_from(">d", body, place)
        if path == _FILE_SIZE:
            value += sum(by for _, by in changes)
        elif path in _POSITIONS:
            value += sum(by for end, by in changes if value >= end)
        else:
            continue
        struct.pack_into(">d", body, place, value)
    if (at := tag.script.count) is not None:
        (count,) = struct.unpack_from(">I", body, at)
        count += bool(entry) - len(tag.labels)
        struct.pack_into(">I", body, at, max(count, 0))
    parts, start = list[bytes](), 0
    for label in tag.labels:
        parts.append(bytes(body[start : label.start]))
        start = label.end
    end = tag.script.end
    return b"".join([*parts, bytes(body[start:end]), entry, bytes(body[end:])])


def _tag_head(head: bytes, body: bytes) -> bytes:
    if len(body) > _MOST:
        raise UnsupportedFormat(
            f"metadata of {len(body)} bytes is needed for the label, and an FLV tag "
            f"holds at most {_MOST}"
        )
    return head[:1] + len(body).to_bytes(3, "big") + head[4:]


def _back(body: bytes) -> bytes:
    return struct.pack(">I", _HEAD + len(body))


def _first(source: BinaryIO) -> int:
    """Where the first tag begins."""
    head = take(source, 0, 9)
    start = int.from_bytes(head[5:], "big")
    if head[:4] != b"FLV\1" or start < len(head):
        raise DamagedAsset(
            f"{head[:4]!r} and a header of {start} bytes found, expected FLV, version "
            "1, and 9 or more"
        )
    if any(take(source, start, _BACK)):
        raise DamagedAsset("a size found in front of the first FLV tag, expected 0")
    return start + _BACK


def _metadata(source: BinaryIO) -> list[Tag]:
    """The tags onMetaData of a file that tags fill."""
    found: list[Tag] = []
    held = 0
    for start, size in _scripts(source):
        name = take(source, start + _HEAD, min(size, len(amf.string(_METADATA))))
        if amf.name_of(name) != _METADATA:
            continue
        counted(len(found), _SCRIPTS)
        held += size
        if held > _HELD:
            raise DamagedAsset(f"metadata of {held} bytes found, expected <= {_HELD}")
        body = take(source, start + _HEAD, size)
        found.append(Tag(start, body, amf.scan(body)))
    return found


def _scripts(source: BinaryIO) -> Iterator[tuple[int, int]]:
    """Where each script tag starts, and the bytes of its body; all tags are checked."""
    place, end = _first(source), length(source)
    if place >= end:
        raise DamagedAsset("no tag found in this FLV, expected some")
    count = 0
    while place < end:
        count = counted(count, PACKETS)
        head = take(source, place, _HEAD)
        size = int.from_bytes(head[1:4], "big")
        stop = place + _HEAD + size
        if head[0] not in (_SOUND, _VIDEO, _SCRIPT) or any(head[8:]) or stop > end:
            raise DamagedAsset(
                f"a tag of type {head[0]} and {size} bytes found at byte {place}, "
                "expected sound (8), video (9) or a script (18) in the file"
            )
        # Some writers leave the last size out, and some count without the header.
        back = take(source, stop, min(_BACK, end - stop))
        if back and int.from_bytes(back, "big") not in (_HEAD + size, size, 0):
            raise DamagedAsset(
                f"a size of {int.from_bytes(back, 'big')} found behind the tag at byte "
                f"{place}, expected {_HEAD + size}"
            )
        if head[0] == _SCRIPT:
            yield place, size
        place = stop + len(back)
