"""Manifests that say of a text in them that it is longer than they are.

The native library reserves as many bytes as a CBOR string is said to have before it
reads them (0.38.1): five changed bytes in a file of 5 KB cost 4 GB and three seconds.
So the lengths are looked at first. Nothing else is judged here.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

from watermark.sign.splice import deframed

MAX_ITEMS = 1 << 18  # a manifest written here has 300
_START = b"jumdc2pa\x00\x11\x00\x10\x80\x00\x00\xaa\x008\x9bq"
_SVG = re.compile(rb"<c2pa:manifest[^>]*>([^<]*)<")
_BYTES, _TEXT = 2, 3  # major types of CBOR (RFC 8949, 3.1)


def overlong(data: bytes) -> bool:
    """Whether a string in a manifest of this file, or in this store, is too long."""
    return any(
        not _fits(content) for store in _stores(data) for content in _contents(store)
    )


def _stores(data: bytes) -> Iterator[bytes]:
    """What begins as a manifest store, wherever and however it lies in the file."""
    forms = [data]
    if data[:2] == b"\xff\xd8" or data[:3] == b"GIF":
        forms = [deframed(data)]
    elif b"<c2pa:manifest" in data:
        for found in _SVG.finditer(data):
            try:
                forms.append(base64.b64decode(found[1]))
            except binascii.Error:
                continue
    for form in forms:
        place = form.find(_START)
        while place >= 0:
            start = max(place - 12, 0)
            length = int.from_bytes(form[start : start + 4], "big")
            yield form[start : start + length]
            place = form.find(_START, place + 1)


def _contents(store: bytes) -> Iterator[bytes]:
    """What the boxes with CBOR hold; a box that is not whole is none."""
    place = store.find(b"cbor")
    while place >= 0:
        start = place - 4
        length = int.from_bytes(store[max(start, 0) : place], "big")
        if 8 <= length <= len(store) - start:
            yield store[place + 4 : start + length]
        place = store.find(b"cbor", place + 1)


def _fits(content: bytes) -> bool:
    """Whether every string in this CBOR ends before it does.

    Heads are read one after the other: arrays, maps and tags have no length in bytes.
    """
    place, end = 0, len(content)
    for _ in range(MAX_ITEMS):
        if place >= end:
            return True
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
                return False
    return False
