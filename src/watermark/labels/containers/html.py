"""HTML: a meta element in the head, as several services write it.

No guide names a place; see TC260-PG-20258A for the formats that have one.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from watermark.assets import TEXT_BYTES, DamagedAsset
from watermark.labels.containers.patching import patched
from watermark.labels.containers.streams import is_label

_TAGS, _TAG_BYTES = 10_000, 1 << 18  # of a head, and of one of its tags
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
# The expressions below never go back over what they have passed: each is linear.
_START = re.compile(
    rb"<!--|<(!doctype|/?(?:html|head|body|meta|script|style|title|textarea|noscript"
    rb"|template))(?=[\s/>])",
    re.IGNORECASE,
)
# HTML, 13.2.5.32 to 38: a quote is one after an equals sign only.
_NAME, _VALUE = rb"[^\s/>][^\s/>=]*+", rb"\"[^\"]*+\"|'[^']*+'|(?![\"'])[^\s>]*+"
_REST = re.compile(
    rb"(?:[\s/]++|" + _NAME + rb"(?:\s*+=\s*+(?:" + _VALUE + rb")|(?!\s*+=)))*+>"
)
_ATTRIBUTE = re.compile(rb"(" + _NAME + rb")(?:\s*+=\s*+(" + _VALUE + rb"))?+")
_RAW = {  # hold no elements, up to this
    name: re.compile(rb"</" + name + rb"(?=[\s/>])", re.IGNORECASE)
    for name in (b"script", b"style", b"title", b"textarea", b"noscript", b"template")
}


class _Tag(NamedTuple):
    """Bytes `start` to `end` of a page; `name` in small letters, with its slash."""

    name: bytes
    start: int
    end: int
    rest: bytes


def read(source: BinaryIO) -> list[bytes]:
    """The contents of meta elements named AIGC in the head."""
    return [_content(tag) for tag in _head(_page(source)) if _is_label(tag)]


def write(source: BinaryIO, target: BinaryIO, label: bytes) -> None:
    """The element goes to the end of the head: a charset has to come first."""
    data = _page(source)
    tags = list(_head(data))
    escaped = html.escape(label.decode()).encode("ascii", "xmlcharrefreplace")
    new = b'<meta name="AIGC" content="' + escaped + b'">'
    place = max((tag.end for tag in tags), default=_begin(data))
    for tag in tags:
        if tag.name in (b"/head", b"body"):
            place = tag.start
    gone = [(tag.start, tag.end, b"") for tag in tags if _is_label(tag)]
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


def _is_label(tag: _Tag) -> bool:
    return tag.name == b"meta" and is_label(_attributes(tag).get(b"name", b""))


def _content(tag: _Tag) -> bytes:
    content = _attributes(tag).get(b"content", b"")
    return html.unescape(content.decode("utf-8", "replace")).encode("utf-8", "replace")


def _attributes(tag: _Tag) -> dict[bytes, bytes]:
    """Names, in small letters, and values; of two with one name the first counts."""
    found: dict[bytes, bytes] = {}
    for name, value in _ATTRIBUTE.findall(tag.rest):
        quoted = value[:1] in (b'"', b"'")
        found.setdefault(name.lower(), value[1:-1] if quoted else value)
    return found


def _head(data: bytes) -> Iterator[_Tag]:
    """Tags up to the end of the head, that one too.

    Raises:
        DamagedAsset: something begins in the head that does not end.
    """
    at = count = 0
    while start := _START.search(data, at):
        if start[0] == b"<!--":
            at = data.find(b"-->", start.end()) + 3
            if at < 3:
                raise DamagedAsset("this page is cut off: a comment does not end")
            continue
        rest = _REST.match(data, start.end())
        if rest is None:
            raise DamagedAsset("this page is cut off: a tag in its head does not end")
        count += 1
        if count > _TAGS or rest.end() - start.end() > _TAG_BYTES:
            raise DamagedAsset("more found in the head of this page than is read")
        name, at = start[1].lower(), rest.end()
        raw = _RAW.get(name)
        if raw is not None:
            ended = raw.search(data, at)
            if ended is None:
                raise DamagedAsset("this page is cut off: an element does not end")
            at = data.find(b">", ended.end()) + 1 or len(data)
        yield _Tag(name, start.start(), at, rest[0])
        if name in (b"/head", b"body"):
            return
