"""Manifests that say of a text in them that it is longer than they are.

The native library reserves as many bytes as a CBOR string is said to have before it
reads them (0.38.1): five changed bytes in a file of 5 KB cost 4 GB and three seconds.
So the lengths are looked at first. Nothing else is judged here; but what a manifest
holds where it cannot be looked at, such as in compressed boxes, is not let through.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Iterator

from watermark.sign.splice import GIF, deframed

# Items of CBOR that are read: a manifest written here has 300, and a large archive of
# signed pictures one in each 100 bytes or so.
MAX_ITEMS, BYTES_PER_ITEM = 1 << 19, 64
MAX_FRAMES = 64  # of ID3 that hold a file; disc jockeys' programs write ten
MAX_STORES = 1 << 15
_START = b"jumdc2pa\x00\x11\x00\x10\x80\x00\x00\xaa\x008\x9bq"
_TO_START = 12  # bytes of a store before that: its own head, and one of a description
_COMPRESSED = b"brob"  # box of a compressed manifest: Brotli
_XML = re.compile(rb"(?:\xef\xbb\xbf)?\s*<")
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{64,}={0,2}")
_BYTES, _TEXT = 2, 3  # major types of CBOR (RFC 8949, 3.1)

_SCAN, _END, _APP11 = 0xDA, 0xD9, 0xEB  # JPEG markers
_BOX, _MORE = 8, 16  # of an APP11 segment: where its box starts, and a later part of it
_KIND = slice(24, 28)  # of a first segment: the type in the description box


class _Hidden(Exception):
    """There may be a manifest, and it cannot be looked at."""


def overlong(data: bytes) -> bool:
    """Whether a string in a manifest of this file, or in this store, is too long.

    Also where a manifest cannot be looked at as the native library would read it.
    """
    left = MAX_ITEMS + len(data) // BYTES_PER_ITEM
    try:
        for form in _forms(data):
            for content in _contents(form):
                left -= 1 + _items(content, left)
    except _Hidden:
        return True
    return False


def _forms(data: bytes) -> list[bytes]:
    """The file, as its manifest lies in it in one piece."""
    if data[:2] == b"\xff\xd8":
        return [_jpeg(data)]
    if data[:3] == b"GIF":
        if data.count(GIF) > 1:  # which one is read?
            raise _Hidden
        return [deframed(data)]
    if data[:3] == b"ID3":
        _look_for_compressed_frames(data)
    if _XML.match(data):  # SVG: the element may have any prefix, and comments in it
        return [data, *_decoded(data)]
    return [data]


def _contents(form: bytes) -> Iterator[bytes]:
    """What the boxes with CBOR hold, of all stores; of one that is not whole, nothing.

    Raises:
        _Hidden: a box is compressed, or its length is written in another way.
    """
    for first, end in _regions(form):
        place = form.find(_COMPRESSED, first, end)
        while place >= 0:
            if _box_length(form, place) <= end - place + 4:
                raise _Hidden
            place = form.find(_COMPRESSED, place + 1, end)
        place = form.find(b"cbor", first, end)
        while place >= 0:
            length = _box_length(form, place)
            if length < 2:  # up to the end, or a length of 64 bits
                raise _Hidden
            whole = 8 <= length <= end - place + 4
            yield form[place + 4 : place - 4 + length] if whole else b""
            place = form.find(b"cbor", place + 1, end)


def _box_length(form: bytes, place: int) -> int:
    return int.from_bytes(form[max(place - 4, 0) : place], "big")


def _regions(form: bytes) -> Iterator[tuple[int, int]]:
    """Where stores begin and end; those that lie in each other are one.

    So no byte is looked through twice, and none hides behind a shorter store. A store
    of no plain length goes on to the end.

    Raises:
        _Hidden: there are more than `MAX_STORES`.
    """
    begin = done = -1
    start, count = form.find(_START), 0
    while start >= 0:
        count += 1
        if count > MAX_STORES:
            raise _Hidden
        first = max(start - _TO_START, 0)
        length = _box_length(form, first + 4)
        plain = form[first + 4 : first + 8] == b"jumb" and length >= _TO_START
        end = min(first + length, len(form)) if plain else len(form)
        if first > done:
            if begin >= 0:
                yield begin, done
            begin, done = first, end
        done = max(done, end)
        start = form.find(_START, start + 1)
    if begin >= 0:
        yield begin, done


def _items(content: bytes, limit: int) -> int:
    """How many items this CBOR has, if every string in it ends before it does.

    Heads are read one after the other: arrays, maps and tags have no length in bytes.

    Raises:
        _Hidden: a string does not, or there are more than `limit`.
    """
    place, end = 0, len(content)
    for count in range(limit):
        if place >= end:
            return count
        major, value = content[place] >> 5, content[place] & 31
        place += 1
        if 24 <= value <= 27:
            size = 1 << (value - 24)
            value = int.from_bytes(content[place : place + size], "big")
            place += size
        elif value > 27:  # of no length that is said
            continue
        if major in (_BYTES, _TEXT):
            place += value
            if place > end:
                break
    raise _Hidden


def _jpeg(data: bytes) -> bytes:
    """The store in the APP11 segments, if they follow each other as writers leave them.

    In another order the native library could put it together in another way.
    """
    parts: list[bytes] = []
    last, ended = b"", False
    for segment in _app11(data):
        follows = segment[2:4] == last[2:4] and _number(segment) == _number(last) + 1
        if segment[_KIND] == b"c2pa":
            if parts:
                raise _Hidden
            parts, last = [segment[_BOX:]], segment
        elif parts and follows and not ended:
            parts.append(segment[_MORE:])
            last = segment
        elif parts:
            ended = True  # what comes now is another box, and no part of this one
            if segment[2:4] == last[2:4]:
                raise _Hidden
    return b"".join(parts)


def _number(segment: bytes) -> int:
    return int.from_bytes(segment[4:_BOX], "big")


def _app11(data: bytes) -> Iterator[bytes]:
    """What the APP11 segments before the picture hold (T.81, B.1.1)."""
    place = 2
    while data[place : place + 1] == b"\xff":
        while data[place + 1 : place + 2] == b"\xff":  # fill bytes
            place += 1
        marker = data[place + 1 : place + 2]
        if marker in (b"", bytes([_SCAN]), bytes([_END])):
            return
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        if marker[0] == _APP11:
            yield data[place + 4 : end]
        place = max(end, place + 2)
    if _START[:8] in data[place:]:  # a marker was expected here
        raise _Hidden


def _decoded(data: bytes) -> Iterator[bytes]:
    """Stores in base64, from one character that is none to the next."""
    for found in _BASE64.finditer(data):
        if _START in base64.b64decode(found[0][:64]):
            try:
                yield base64.b64decode(found[0])
            except binascii.Error:  # the library decodes it no better
                continue


def _look_for_compressed_frames(data: bytes) -> None:
    """ID3v2: the library unpacks a frame, after up to six bytes of its own."""
    place, count = data.find(b"GEOB"), 0
    while place >= 0:
        count += 1
        if count > MAX_FRAMES:
            raise _Hidden
        for start in range(place + 10, place + 17):
            if b"c2pa" in _inflated(data[start : start + 512]):
                raise _Hidden
        place = data.find(b"GEOB", place + 1)


def _inflated(data: bytes) -> bytes:
    """The first bytes of compressed data, or none."""
    try:
        return zlib.decompressobj().decompress(data, 512)
    except zlib.error:
        return b""
