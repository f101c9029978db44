"""Manifests in HTML: a script or a link element in the head (C2PA 2.4, A.7)."""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
from collections.abc import Iterator

from watermark.errors import UnsupportedFormat
from watermark.sign.html_tags import Tag, Unended, starts, tags
from watermark.sign.manifest import MAX_TEXT
from watermark.sign.place import Linked, Located, Place, Unusable, is_meant, is_store

MULTIPLE = "manifest.html.multipleManifests"

_OPEN, _CLOSE = b'<script type="application/c2pa">', b"</script>"
_START = starts(
    rb"/?(?:html|head|body|script|style|title|textarea|noscript|template|link)"
)
_RAW = (b"script", b"style", b"title", b"textarea")
# Exactly what is written here and by others, so that an element with more in it, such
# as an event handler, is nothing that may stay unsigned.
_PLAIN = re.compile(rb"<script\s+type=\"application/c2pa\">")


def write(content: bytes, store: bytes) -> tuple[bytes, int, int]:
    """The page with a script element at the end of its head, and what is excluded.

    Raises:
        UnsupportedFormat: the page has no ``</head>``.
    """
    return _inserted(content, _OPEN + base64.b64encode(store) + _CLOSE)


def link(content: bytes, url: str) -> bytes:
    """The page with a link element at the end of its head; nothing is excluded.

    Raises:
        UnsupportedFormat: the page has no ``</head>``.
    """
    return _inserted(content, b'<link rel="c2pa-manifest" href="%b">' % url.encode())[0]


def _inserted(content: bytes, element: bytes) -> tuple[bytes, int, int]:
    place = next((t.start for t in _tags(content) if t.name == b"/head"), None)
    if place is None:
        raise UnsupportedFormat(
            "found no </head> in this page: write one, or use 'sidecar'"
        )
    return content[:place] + element + content[place:], place, len(element)


def locate(data: bytes) -> Place | None:
    """The manifest of a page, if it has one in its head."""
    if b"c2pa" not in data or b"<" not in data:
        return None
    found: list[Place] = []
    for tag in _tags(data):
        if tag.name in (b"/head", b"body"):
            break
        if b"c2pa" not in tag.rest.lower():  # most tags: no need to look closer
            continue
        if tag.name == b"script":
            if tag.attributes.get(b"type", b"").lower() == b"application/c2pa":
                found.append(_script(data, tag))
        elif tag.name == b"link":
            attributes = tag.attributes
            if b"c2pa-manifest" in attributes.get(b"rel", b"").lower().split():
                url = attributes.get(b"href", b"")[:MAX_TEXT]
                found.append(Linked(url.decode("utf-8", "replace")))
    if len(found) > 1:
        manifests = (p for p in found if not isinstance(p, Linked))
        meant = any(isinstance(p, Located) or p.meant for p in manifests)
        return Unusable(MULTIPLE, meant=meant)
    return found[0] if found else None


def _script(data: bytes, tag: Tag) -> Place:
    encoded = data[tag.end : tag.close].strip()
    if not data.startswith(_CLOSE, tag.close):
        return Unusable(meant=is_meant(encoded))
    try:
        store = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return Unusable(meant=is_meant(encoded))
    if not is_store(store) or base64.b64encode(store) != encoded:
        return Unusable(meant=is_meant(encoded))
    length = tag.close + len(_CLOSE) - tag.start
    plain = _PLAIN.fullmatch(data[tag.start : tag.end])
    return Located(store, data, frozenset({(tag.start, length)} if plain else ()))


def _tags(data: bytes) -> Iterator[Tag]:
    """Each tag of a name that tells where the head is and what is in it.

    Nothing follows a tag, a comment or a script that does not end.
    """
    with contextlib.suppress(Unended):
        yield from tags(data, _START, _RAW)
