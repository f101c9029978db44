"""One manifest store in a file in the place of another of the same length.

The native library has laid the file out; only the bytes of the store change, and the
checksums that PNG and ZIP keep over them. Nothing else in the file moves.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Callable, Iterator

from watermark.errors import SigningError
from watermark.sign.jumbf import boxed, boxes

_SUB_BLOCK = 255  # of GIF89a, 15
GIF = b"C2PA_GIF\x01\x00\x00"  # its application extension (A.3.4)
_APP11, _SCAN = 0xEB, 0xDA  # JPEG markers
_SEGMENT_HEAD, _BOX_HEAD = 12, 8  # of a JPEG XT segment: ISO/IEC 18477-3, B.1


def splice(data: bytes, old: bytes, new: bytes) -> bytes:
    """The file with `new` where `old` was.

    Raises:
        SigningError: `old` lies in it in no way that is known.
    """
    if len(old) != len(new):
        raise SigningError(f"a store of {len(new)} bytes cannot replace {len(old)}")
    if data[:2] == b"\xff\xd8":
        return _jpeg(data, old, new)
    for form in (_png, _verbatim, _base64, _sub_blocks, _active):
        before, after = form(old), form(new)
        place = data.find(before)  # it holds a random URN, so it stands there once
        if place >= 0 and before:
            end = place + len(before)
            return _checksums(data[:place] + after + data[end:], old, new)
    raise SigningError("the manifest store was not found in the file just written")


def deframed(data: bytes) -> bytes:
    """What the segments of a JPEG, or the blocks of a GIF, hold of a manifest."""
    if data[:2] == b"\xff\xd8":
        parts = [data[start:end] for start, end in _segments(data)]
        return b"".join(part[_BOX_HEAD if n else 0 :] for n, part in enumerate(parts))
    place, parts = data.find(GIF) + len(GIF), []
    while GIF in data and place < len(data) and data[place]:
        parts.append(data[place + 1 : place + 1 + data[place]])
        place += 1 + data[place]
    return b"".join(parts)


def _png(store: bytes) -> bytes:
    chunk = b"caBX" + store
    return chunk + struct.pack(">I", zlib.crc32(chunk))


def _verbatim(store: bytes) -> bytes:
    return store


_base64: Callable[[bytes], bytes] = base64.b64encode  # SVG


def _sub_blocks(store: bytes) -> bytes:
    parts = [store[n : n + _SUB_BLOCK] for n in range(0, len(store), _SUB_BLOCK)]
    return b"".join(bytes([len(part)]) + part for part in parts)


def _active(store: bytes) -> bytes:
    """The active manifest alone: in ISO files an update stands in a box of its own."""
    try:
        ((_, whole),) = boxes(store)
        *_, active = boxes(whole)
    except (struct.error, ValueError):
        return b""  # no store: it is not found either
    return boxed(*active)


def _checksums(data: bytes, old: bytes, new: bytes) -> bytes:
    if data[:4] != b"PK\3\4":
        return data
    before, after = (struct.pack("<I", zlib.crc32(store)) for store in (old, new))
    name = b"META-INF/content_credential.c2pa"
    changed = bytearray(data)
    # In the local header and in the central directory (APPNOTE 4.3.7 and 4.3.12).
    for signature, crc, start in ((b"PK\3\4", 14, 30), (b"PK\1\2", 16, 46)):
        place = data.find(signature)
        while place >= 0:
            named = data.startswith(name, place + start)
            if named and data[place + crc : place + crc + 4] == before:
                changed[place + crc : place + crc + 4] = after
            place = data.find(signature, place + 1)
    return bytes(changed)


def _jpeg(data: bytes, old: bytes, new: bytes) -> bytes:
    """A store longer than a segment goes on in the next, with its header repeated."""
    changed, done = bytearray(data), 0
    for start, end in _segments(data):
        skip = _BOX_HEAD if done else 0
        room = end - start - skip
        if old[done : done + room] != data[start + skip : end]:
            continue  # of other metadata
        changed[start + skip : end] = new[done : done + room]
        done += room
    if done != len(old):
        raise SigningError("the manifest store was not found in the JPEG just written")
    return bytes(changed)


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Where the payload of each APP11 segment starts and ends."""
    place = 2
    while place + 4 <= len(data) and data[place + 1] != _SCAN:
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        if data[place + 1] == _APP11:
            yield place + _SEGMENT_HEAD, place + 2 + length
        place += 2 + length
