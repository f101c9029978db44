"""JPEG (ITU-T T.81, Annex B): XMP lies in an APP1 segment (ISO 16684-3).

Everything that says something of the picture lies before its scans, which are copied.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

from watermark.assets import DamagedAsset
from watermark.errors import UnsupportedFormat
from watermark.labels import xmp
from watermark.labels.containers import ifd
from watermark.labels.containers.patching import Change, patched
from watermark.labels.containers.streams import HELD, NAME, length, take

_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
_EXTENSION_HEAD = len(_EXTENSION) + 32 + 4 + 4  # and its digest, length and offset
_EXIF = b"Exif\0\0"
_READ = (_XMP, _EXTENSION, _EXIF, NAME)
_SEGMENT = 65_533  # bytes of content at most
_SEGMENTS = 8192
_FILL = 64  # bytes before a marker that mean nothing

_SOI, _EOI, _SCAN, _APP0, _APP1, _APP15 = 0xD8, 0xD9, 0xDA, 0xE0, 0xE1, 0xEF
_ALONE = {0x01, *range(0xD0, 0xD8)}  # TEM and RST: no length, no content


class _Segment(NamedTuple):
    """Bytes `start` to `end`, and the content where a label may lie in it."""

    marker: int
    start: int
    end: int
    content: bytes


def read(source: BinaryIO) -> list[bytes]:
    """Labels in XMP, in segments of their own, and in EXIF."""
    segments = list(_segments(source))
    found: list[bytes] = []
    for segment in segments:
        content = segment.content
        if content.startswith(_XMP):
            found += xmp.labels(content[len(_XMP) :])
        elif content.startswith(NAME):
            found.append(content)
        elif content.startswith(_EXIF):
            found += ifd.labels(content)
    for packet in _extensions(segments):
        found += xmp.labels(packet)
    return found


def write(source: BinaryIO, target: BinaryIO, label: bytes) -> None:
    """The label goes into XMP; those elsewhere go."""
    segments = list(_segments(source))
    packet = xmp.with_label(_packet(segments), label)
    _copy(source, target, segments, packet, labels=False)


def read_xmp(source: BinaryIO) -> bytes | None:
    """The standard packet; what did not fit into it is not read."""
    return _packet(_segments(source))


def write_xmp(source: BinaryIO, target: BinaryIO, packet: bytes) -> None:
    """The packet takes the place of the file's own."""
    _copy(source, target, list(_segments(source)), packet, labels=True)


def _packet(segments: Iterable[_Segment]) -> bytes | None:
    for segment in segments:
        if segment.content.startswith(_XMP):
            return segment.content[len(_XMP) :]
    return None


def _copy(
    source: BinaryIO,
    target: BinaryIO,
    segments: list[_Segment],
    packet: bytes,
    *,
    labels: bool,
) -> None:
    """The file with this packet; without labels in other places, unless they stay."""
    own = next((s.start for s in segments if s.content.startswith(_XMP)), None)
    place = own if own is not None else _place(segments)
    changes: list[Change] = [(place, place, _segment(_XMP + packet))]
    for segment in segments:
        content = segment.content
        if segment.start == own or (not labels and content.startswith(NAME)):
            changes.append((segment.start, segment.end, b""))
        elif not labels and content.startswith(_EXIF):
            exif = _segment(ifd.blanked(content))
            changes.append((segment.start, segment.end, exif))
    patched(source, target, changes)


def _place(segments: list[_Segment]) -> int:
    """Of a new packet: behind JFIF's and EXIF's segments, which come first."""
    for segment in segments:
        exif = segment.content.startswith(_EXIF)
        if segment.marker != _SOI and segment.marker != _APP0 and not exif:
            return segment.start
    raise DamagedAsset("this JPEG holds no picture")


def _segment(content: bytes) -> bytes:
    if len(content) > _SEGMENT:
        raise UnsupportedFormat(
            f"{len(content)} bytes of XMP found, expected at most {_SEGMENT}: a JPEG "
            "holds no more in one segment; take something out of its XMP"
        )
    return b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content


def _segments(source: BinaryIO) -> Iterator[_Segment]:
    """Every segment up to the first scan, which is the last one."""
    if take(source, 0, 2) != b"\xff\xd8":
        raise DamagedAsset("this is no JPEG: it does not begin as one")
    yield _Segment(_SOI, 0, 2, b"")
    at, end, held = 2, length(source), 0
    for _ in range(_SEGMENTS):
        start = at
        if take(source, at, 1) != b"\xff":
            raise DamagedAsset(f"no marker found at byte {at} of this JPEG")
        fill = take(source, at + 1, min(_FILL, end - at - 1))
        at += len(fill) - len(fill.lstrip(b"\xff"))
        marker = take(source, at + 1, 1)[0]
        at += 2
        if marker in _ALONE:
            continue
        if marker in (_EOI, 0x00, _SOI, 0xFF):
            raise DamagedAsset(
                f"marker {marker:02X} found before any scan of this JPEG"
            )
        (size,) = struct.unpack(">H", take(source, at, 2))
        if size < 2:
            raise DamagedAsset(f"a segment of {size} bytes found at byte {at}")
        app = _APP0 <= marker <= _APP15
        content = take(source, at + 2, size - 2) if app else b""
        if not content.startswith(_READ):
            content = b""
        held += len(content)
        if held > HELD:
            raise DamagedAsset(f"more than {HELD} bytes of metadata in this JPEG")
        at += size
        yield _Segment(marker, start, at, content)
        if marker == _SCAN:
            if at > end:
                raise DamagedAsset("this JPEG is cut off before its first scan")
            return
    raise DamagedAsset(f"more than {_SEGMENTS} segments found in this JPEG")


def _extensions(segments: list[_Segment]) -> Iterator[bytes]:
    """Packets that did not fit into one segment, put together by their digests."""
    pieces: dict[bytes, list[tuple[int, int, bytes]]] = {}
    for segment in segments:
        content = segment.content
        if content.startswith(_EXTENSION) and len(content) >= _EXTENSION_HEAD:
            head = content[len(_EXTENSION) : _EXTENSION_HEAD]
            digest, size, offset = struct.unpack(">32sII", head)
            piece = offset, size, content[_EXTENSION_HEAD:]
            pieces.setdefault(digest, []).append(piece)
    for found in pieces.values():
        size = 0
        for offset, _, part in sorted(found):
            if offset != size:
                raise DamagedAsset("the extended XMP of this JPEG lacks a piece")
            size += len(part)
        if size != found[0][1]:
            raise DamagedAsset("the extended XMP of this JPEG is not complete")
        yield b"".join(part for _, _, part in sorted(found))
