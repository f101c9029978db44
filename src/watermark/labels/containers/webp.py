"""WebP: the label is in the chunk of XMP (TC260-PG-20259A; RFC 9649, 2.7.1.4).

A file without the extended header gets one; the picture's own chunk stays as it is.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

from watermark.assets import DamagedAsset
from watermark.labels import xmp
from watermark.labels.containers import ifd, riff
from watermark.labels.containers.riff import FORM, HEAD, Chunk
from watermark.labels.containers.streams import Part, assemble, length, only_zeros, take

_XMP, _EXIF, _EXTENDED = b"XMP ", b"EXIF", b"VP8X"
_PICTURES = (b"VP8 ", b"VP8L", b"ANMF")
_HAS_XMP, _HAS_ALPHA = 0x04, 0x10  # flags of the extended header
_LOSSLESS = 0x2F  # the byte that VP8L begins with
_START = b"\x9d\x01\x2a"  # of a key frame of VP8
_SIDE = (1 << 14) - 1  # fourteen bits of width or height


def read(source: BinaryIO) -> list[bytes]:
    """Labels in XMP, and in EXIF.

    Raises:
        DamagedAsset: the chunks do not fill the file, or there is no picture.
    """
    found: list[bytes] = []
    for chunk in _chunks(source):
        if chunk.name == _XMP:
            found += xmp.labels(_payload(source, chunk))
        elif chunk.name == _EXIF:
            found += ifd.labels(_payload(source, chunk))
    return found


def write(source: BinaryIO, target: BinaryIO, label: bytes) -> None:
    """Copy the file, with this label in XMP in place of any there were.

    Raises:
        DamagedAsset: as for `read`.
        UnsupportedFormat: the file would be larger than RIFF can say.
    """
    _copy(source, target, xmp.with_label(read_xmp(source), label), labels=False)


def read_xmp(source: BinaryIO) -> bytes | None:
    """The XMP packet, or None.

    Raises:
        DamagedAsset: as for `read`.
    """
    packets = (_payload(source, c) for c in _chunks(source) if c.name == _XMP)
    return next(packets, None)


def write_xmp(source: BinaryIO, target: BinaryIO, packet: bytes) -> None:
    """Copy the file with this XMP packet in place of its own.

    Raises:
        DamagedAsset: as for `read`.
        UnsupportedFormat: the file would be larger than RIFF can say.
    """
    _copy(source, target, packet, labels=True)


def _copy(source: BinaryIO, target: BinaryIO, packet: bytes, *, labels: bool) -> None:
    """The file with this packet; without labels in EXIF, unless they stay."""
    row = _chunks(source)
    parts: list[Part] = [riff.chunk(_EXTENDED, _header(source, row[0]))]
    left: bytes | None = packet
    for chunk in row:
        if chunk.name == _XMP:
            parts += [riff.chunk(_XMP, left)] if left is not None else []
            left = None
        elif chunk.name == _EXIF and not labels:
            parts.append(riff.chunk(_EXIF, ifd.blanked(_payload(source, chunk))))
        elif chunk.name != _EXTENDED:
            parts += riff.padded(chunk)
    if left is not None:
        parts.append(riff.chunk(_XMP, left))
    assemble(source, target, riff.riff(b"WEBP", parts))


def _chunks(source: BinaryIO) -> list[Chunk]:
    name, size, form = struct.unpack("<4sI4s", take(source, 0, FORM))
    end, stop = length(source), HEAD + size
    if name != b"RIFF" or form != b"WEBP" or not FORM <= stop <= end:
        raise DamagedAsset(
            f"{name!r} of form {form!r} and {size} bytes found in a file of {end}, "
            "expected RIFF of form WEBP that ends in it"
        )
    row = list(riff.chunks(source, FORM, stop))
    names = [chunk.name for chunk in row]
    if names[:1] not in [[_EXTENDED], *([name] for name in _PICTURES[:2])]:
        raise DamagedAsset(f"{names[:1]} found first in a WebP, expected VP8X or VP8")
    if not set(names) & set(_PICTURES) or not only_zeros(source, stop, end):
        raise DamagedAsset("a WebP without a picture, or with more behind it, found")
    return row


def _payload(source: BinaryIO, chunk: Chunk) -> bytes:
    return take(source, chunk.start + HEAD, chunk.size)


def _header(source: BinaryIO, first: Chunk) -> bytes:
    """What the extended header says, that of a simple file made from its picture."""
    if first.name == _EXTENDED:
        body = _payload(source, first)
        if len(body) != 10:
            raise DamagedAsset(f"a WebP header of {len(body)} bytes, expected 10")
        return bytes([body[0] | _HAS_XMP]) + body[1:]
    data = take(source, first.start + HEAD, min(first.size, 10))
    if first.name == b"VP8L" and len(data) >= 5 and data[0] == _LOSSLESS:
        bits = int.from_bytes(data[1:5], "little")
        width, height = bits & _SIDE, bits >> 14 & _SIDE
        alpha = _HAS_ALPHA if bits >> 28 & 1 else 0
    elif first.name == b"VP8 " and data[3:6] == _START and len(data) == 10:
        width, height = (n & _SIDE for n in struct.unpack("<HH", data[6:]))
        width, height, alpha = width - 1, height - 1, 0
    else:
        raise DamagedAsset(f"no size found in the picture {first.name!r} of this WebP")
    if min(width, height) < 0:
        raise DamagedAsset("a WebP picture of no size found")
    sides = width.to_bytes(3, "little") + height.to_bytes(3, "little")
    return bytes([_HAS_XMP | alpha, 0, 0, 0]) + sides
