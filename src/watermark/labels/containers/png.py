"""PNG (third edition): XMP lies in an iTXt chunk before the picture (11.3.3.4)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from watermark.assets import DamagedAsset
from watermark.labels import elements, xmp
from watermark.labels.containers import ifd
from watermark.labels.containers.patching import Change, patched
from watermark.labels.containers.streams import HELD, is_label, length, take

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_XMP = b"XML:com.adobe.xmp"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_CHUNKS = 1 << 16
_HEAD, _CRC = 8, 4  # bytes before and behind a chunk's content


class _Chunk(NamedTuple):
    """Bytes `start` to `end`; texts and EXIF are read."""

    name: bytes
    start: int
    end: int
    content: bytes

    @property
    def keyword(self) -> bytes:
        """Of a text, else empty."""
        if self.name not in _TEXTS:
            return b""
        return self.content.partition(b"\0")[0]


def read(source: BinaryIO) -> list[bytes]:
    """Labels in XMP, in texts named AIGC (TC260-PG-20259A, Annex B), and in EXIF."""
    found: list[bytes] = []
    left = elements.MAX_BYTES  # texts of a few bytes may unpack to as many each
    for chunk in _chunks(source):
        if chunk.keyword == _XMP or is_label(chunk.keyword):
            text = _text(chunk, left)
            left -= len(text)
            found += xmp.labels(text) if chunk.keyword == _XMP else [text]
        elif chunk.name == b"eXIf":
            found += ifd.labels(chunk.content)
    return found


def write(source: BinaryIO, target: BinaryIO, label: bytes) -> None:
    """The label goes into XMP; those elsewhere go."""
    chunks = list(_chunks(source))
    packet = xmp.with_label(_packet(chunks), label)
    _copy(source, target, chunks, packet, labels=False)


def read_xmp(source: BinaryIO) -> bytes | None:
    """The packet, unpacked where it was packed."""
    return _packet(list(_chunks(source)))


def write_xmp(source: BinaryIO, target: BinaryIO, packet: bytes) -> None:
    """The packet takes the place of the file's own."""
    _copy(source, target, list(_chunks(source)), packet, labels=True)


def _packet(chunks: list[_Chunk]) -> bytes | None:
    return next((_text(chunk) for chunk in chunks if chunk.keyword == _XMP), None)


def _copy(
    source: BinaryIO,
    target: BinaryIO,
    chunks: list[_Chunk],
    packet: bytes,
    *,
    labels: bool,
) -> None:
    """The file with this packet; without labels in other places, unless they stay."""
    own = next((chunk.start for chunk in chunks if chunk.keyword == _XMP), None)
    place = next(chunk.start for chunk in chunks if chunk.name == b"IDAT")
    text = _chunk(b"iTXt", _XMP + b"\0" * 5 + packet)
    changes: list[Change] = [(place, place, text)]
    for chunk in chunks:
        if chunk.start == own or (not labels and is_label(chunk.keyword)):
            changes.append((chunk.start, chunk.end, b""))
        elif not labels and chunk.name == b"eXIf":
            exif = _chunk(b"eXIf", ifd.blanked(chunk.content))
            changes.append((chunk.start, chunk.end, exif))
    patched(source, target, changes)


def _chunk(name: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + check


def _chunks(source: BinaryIO) -> Iterator[_Chunk]:
    """Every chunk up to IEND; the first picture data among them at least."""
    if take(source, 0, len(_SIGNATURE)) != _SIGNATURE:
        raise DamagedAsset("this is no PNG: it does not begin as one")
    at, end, pictures, held = len(_SIGNATURE), length(source), 0, 0
    for number in range(_CHUNKS):
        size, name = struct.unpack(">I4s", take(source, at, _HEAD))
        behind = at + _HEAD + size + _CRC
        if behind > end:
            raise DamagedAsset(
                f"chunk {name!r} at byte {at} of this PNG reaches behind its end: it "
                "is cut off"
            )
        if (number == 0) != (name == b"IHDR"):
            raise DamagedAsset(f"chunk {name!r} found at byte {at}, where it cannot be")
        pictures += name == b"IDAT"
        content = b""
        if name != b"IDAT":
            content = _checked(source, at, size)
        if name not in (*_TEXTS, b"eXIf"):
            content = b""
        held += len(content)
        if held > HELD:
            raise DamagedAsset(f"more than {HELD} bytes of texts found in this PNG")
        yield _Chunk(name, at, behind, content)
        at = behind
        if name == b"IEND":
            if not pictures:
                raise DamagedAsset("this PNG holds no picture")
            return
    raise DamagedAsset(f"more than {_CHUNKS} chunks found in this PNG")


def _checked(source: BinaryIO, at: int, size: int) -> bytes:
    """A chunk's content; a name or a content that was changed is not believed."""
    data = take(source, at + 4, 4 + size + _CRC)
    if data[-_CRC:] != struct.pack(">I", zlib.crc32(data[:-_CRC])):
        raise DamagedAsset(f"the checksum of the chunk at byte {at} does not fit")
    return data[4:-_CRC]


def _text(chunk: _Chunk, most: int = elements.MAX_BYTES) -> bytes:
    """The text itself, unpacked (11.3.3.2 to 11.3.3.4), of `most` bytes at most."""
    rest = chunk.content.partition(b"\0")[2]
    if chunk.name == b"tEXt":
        return _bounded(rest, most)
    if chunk.name == b"zTXt":
        return _unpacked(rest[:1], rest[1:], most)
    packed, method, text = rest[:1], rest[1:2], rest[2:].split(b"\0", 2)
    if len(text) != 3 or packed not in (b"\0", b"\1"):
        raise DamagedAsset("an international text of this PNG cannot be read")
    if packed == b"\1":
        return _unpacked(method, text[2], most)
    return _bounded(text[2], most)


def _bounded(text: bytes, most: int) -> bytes:
    if len(text) > most:
        raise DamagedAsset("the texts of this PNG are larger than is read")
    return text


def _unpacked(method: bytes, data: bytes, most: int) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        text = _bounded(unpacker.decompress(data, most + 1), most)
    except zlib.error as error:
        raise DamagedAsset(f"a text of this PNG cannot be unpacked: {error}") from error
    if method != b"\0" or not unpacker.eof:
        raise DamagedAsset("a text of this PNG cannot be unpacked: it is cut off")
    return text
