"""HTML: a meta element in the head, as several services write it.

No guide names a place; see TC260-PG-20258A for the formats that have one.
"""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import BinaryIO

from watermark.assets import TEXT_BYTES, DamagedAsset
from watermark.labels.containers.patching import patched
from watermark.labels.containers.streams import is_label
from watermark.sign.html_tags import Tag, Unended, starts, tags

_TAGS, _TAG_BYTES = 10_000, 1 << 18  # of a head, and of one of its tags
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_START = starts(
    rb"!doctype|/?(?:html|head|body|meta|script|style|title|textarea|noscript|template)"
)
_RAW = (b"script", b"style", b"title", b"textarea", b"noscript", b"template")


def read(source: BinaryIO) -> list[bytes]:
    """The contents of meta elements named AIGC in the head."""
    return [_content(tag) for tag in _head(_page(source)) if _is_label(tag)]


def write(source: BinaryIO, target: BinaryIO, label: bytes) -> None:
    """The element goes to the end of the head: a charset has to come first."""
    data = _page(source)
    head = list(_head(data))
    escaped = html.escape(label.decode()).encode("ascii", "xmlcharrefreplace")
    new = b'<meta name="AIGC" content="' + escaped + b'">'
    place = max((tag.end for tag in head), default=_begin(data))
    for tag in head:
        if tag.name in (b"/head", b"body"):
            place = tag.start
    gone = [(tag.start, tag.end, b"") for tag in head if _is_label(tag)]
    patched(source, target, [*gone, (place, place, new)])


def _page(source: BinaryIO) -> bytes:
    """The page, which is a text and no larger than one.

    Raises:
        DamagedAsset: it is larger, or in an encoding that hides its tags.
    """
    source.seek(0)
    data = source.read(TEXT_BYTES + 1)
    if len(data) > TEXT_BYTES:
        raise DamagedAsset(f"a page of more than {TEXT_BYTES} bytes found")
    if data.startswith(_UTF16) or b"\0" in data:
        raise DamagedAsset("this page is UTF-16, or none: expected UTF-8")
    return data


def _begin(data: bytes) -> int:
    return 3 if data.startswith(b"\xef\xbb\xbf") else 0


def _is_label(tag: Tag) -> bool:
    return tag.name == b"meta" and is_label(tag.attributes.get(b"name", b""))


def _content(tag: Tag) -> bytes:
    content = tag.attributes.get(b"content", b"")
    return html.unescape(content.decode("utf-8", "replace")).encode("utf-8", "replace")


def _head(data: bytes) -> Iterator[Tag]:
    """Tags up to the end of the head, that one too.

    Raises:
        DamagedAsset: something begins in the head that does not end.
    """
    try:
        for count, tag in enumerate(tags(data, _START, _RAW)):
            if count >= _TAGS or len(tag.rest) > _TAG_BYTES:
                raise DamagedAsset("more found in the head of this page than is read")
            yield tag
            if tag.name in (b"/head", b"body"):
                return
    except Unended as unended:
        raise DamagedAsset(f"this page is cut off: {unended}") from None
