"""Manifests in HTML: a script or a link element in the head (C2PA 2.4, A.7)."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

from watermark.errors import UnsupportedFormat
from watermark.sign.manifest import MAX_TEXT
from watermark.sign.place import Linked, Located, Place, Unusable, is_store

MULTIPLE = "manifest.html.multipleManifests"

_OPEN, _CLOSE = b'<script type="application/c2pa">', b"</script>"
_TAG = re.compile(
    rb"<!--|<(/?)(html|head|body|script|style|title|textarea|noscript|template|link)"
    rb"(?=[\s/>])((?:[^>\"']|\"[^\"]*\"|'[^']*')*)>",
    re.IGNORECASE,
)
_RAW = frozenset({b"script", b"style", b"title", b"textarea"})  # hold no elements
_SCRIPT = re.compile(rb"\s*type\s*=\s*([\"']?)application/c2pa\1\s*", re.IGNORECASE)
_LINK = re.compile(rb"rel\s*=\s*[\"']?c2pa-manifest(?=[\"'\s/]|$)", re.IGNORECASE)
_HREF = re.compile(rb"href\s*=\s*(?:\"([^\"]*)\"|'([^']*)')", re.IGNORECASE)
# Exactly what is written here and by others, so that an element with more in it, such
# as an event handler, is nothing that may stay unsigned.
_PLAIN = re.compile(rb"<script\s+type=\"application/c2pa\">")


def write(content: bytes, store: bytes) -> tuple[bytes, int, int]:
    """The page with a script element at the end of its head, and what is excluded.

    Raises:
        UnsupportedFormat: the page has no ``</head>``.
    """
    place = next((at for at, _, name, _ in _tags(content) if name == b"/head"), None)
    if place is None:
        raise UnsupportedFormat(
            "found no </head> in this page: write one, or use 'sidecar'"
        )
    element = _OPEN + base64.b64encode(store) + _CLOSE
    return content[:place] + element + content[place:], place, len(element)


def locate(data: bytes) -> Place | None:
    """The manifest of a page, if it has one in its head."""
    if b"c2pa" not in data or b"<" not in data:
        return None
    found: list[Place] = []
    for start, end, name, attributes in _tags(data):
        if name in (b"/head", b"body"):
            break
        if name == b"script" and _SCRIPT.search(attributes):
            found.append(_script(data, start, end))
        elif name == b"link" and _LINK.search(attributes):
            href = _HREF.search(attributes)
            url = (href[1] or href[2] or b"") if href else b""
            found.append(Linked(url[:MAX_TEXT].decode("utf-8", "replace")))
    if len(found) > 1:
        return Unusable(MULTIPLE)
    return found[0] if found else None


def _script(data: bytes, start: int, end: int) -> Place:
    stop = data.find(_CLOSE, end)
    if stop < 0:
        return Unusable()
    encoded = data[end:stop].strip()
    try:
        store = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return Unusable()
    if not is_store(store) or base64.b64encode(store) != encoded:
        return Unusable()
    length = stop + len(_CLOSE) - start
    plain = _PLAIN.fullmatch(data[start:end])
    return Located(store, data, frozenset({(start, length)} if plain else ()))


def _tags(data: bytes) -> Iterator[tuple[int, int, bytes, bytes]]:
    """Start, end, name (``/`` before that of an end tag) and attributes of each tag."""
    place = 0
    while tag := _TAG.search(data, place):
        place = tag.end()
        if tag[0] == b"<!--":
            place = data.find(b"-->", place)
            if place < 0:
                return
            continue
        slash, name = tag[1], tag[2].lower()
        yield tag.start(), tag.end(), slash + name, tag[3]
        if not slash and name in _RAW:
            close = re.compile(rb"</" + name + rb"(?=[\s/>])", re.IGNORECASE)
            ended = close.search(data, place)
            if ended is None:
                return
            place = ended.start()
