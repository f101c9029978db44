"""Where the elements of an XML document lie in its bytes, with limits.

Documents are changed by cutting into their bytes, so that whatever is not meant to
change stays as somebody else wrote it. Document types are refused: they are how
entities explode and files are fetched, and neither XMP nor Office files have any.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from xml.parsers import expat

from watermark.assets import DamagedAsset

MAX_BYTES = 16 << 20
MAX_ELEMENTS = 20_000
MAX_DEPTH = 100
_TEXT = 4 * MAX_BYTES  # characters held: a text counts on each level that it lies in

Name = tuple[str, str]  # namespace and local name

_ATTRIBUTE = rb"""\s*([^\s=/>]+)\s*=\s*("[^"]*"|'[^']*')"""
_TAG = re.compile(rb"<[^\s/>]+(?:" + _ATTRIBUTE + rb")*\s*/?>")
_HEAD = re.compile(rb"<[^\s/>]+")
_NEXT = re.compile(_ATTRIBUTE)


@dataclass(slots=True)
class Element:
    """One element; all positions are of bytes.

    Attributes:
        name: namespace ("" for none) and local name.
        prefix: as it is written.
        start: of the start tag.
        inner: behind the start tag.
        close: of the end tag; equal to `inner` where the tag ends itself.
        end: behind it all.
        attributes: name to value.
        written: name of an attribute to how it is written, with its prefix.
        children: the elements inside.
        text: all character data inside, that of `children` too.
    """

    name: Name
    prefix: str
    start: int
    inner: int
    close: int = 0
    end: int = 0
    attributes: dict[Name, str] = field(default_factory=dict)
    written: dict[Name, str] = field(default_factory=dict)
    children: list[Element] = field(default_factory=list)
    text: str = ""

    @property
    def closed(self) -> bool:
        """Whether it is one tag, ``<a/>``."""
        return self.inner == self.end


def parse(data: bytes) -> Element:
    """The root element of a UTF-8 document.

    Raises:
        DamagedAsset: not well-formed, with a document type, or beyond the limits.
    """
    if len(data) > MAX_BYTES:
        raise DamagedAsset(f"{len(data)} bytes of XML found, expected {MAX_BYTES}")
    try:
        return _Reader(data).root()
    except expat.ExpatError as error:
        raise DamagedAsset(f"this XML cannot be read: {error}") from error


def attribute(data: bytes, element: Element, name: Name) -> tuple[int, int]:
    """From where to where an attribute lies, with the space before it.

    Args:
        data: the document.
        element: whose attribute it is.
        name: of the attribute.

    Raises:
        KeyError: it has none of this name.
    """
    qname = element.written[name].encode()
    at = element.start + len(_match(_HEAD, data, element.start)[0])
    while found := _NEXT.match(data, at):
        if found[1] == qname:
            return found.span()
        at = found.end()
    raise KeyError(name)


def spliced(data: bytes, changes: Iterable[tuple[int, int, bytes]]) -> bytes:
    """The document with other bytes from and to these places, none overlapping."""
    parts, at = [], 0
    for start, end, new in sorted(changes, key=lambda change: change[:2]):
        parts += [data[at:start], new]
        at = end
    return b"".join((*parts, data[at:]))


def _match(pattern: re.Pattern[bytes], data: bytes, start: int) -> re.Match[bytes]:
    found = pattern.match(data, start)
    if found is None:  # although expat says that an element starts here
        raise DamagedAsset("this XML cannot be read: it is not UTF-8")
    return found


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._open: list[Element] = []
        self._texts: list[list[str]] = []
        self._root: Element | None = None
        self._count = 0
        self._held = 0  # characters of text, on all levels

    def root(self) -> Element:
        parser = expat.ParserCreate("utf-8", " ")
        parser.namespace_prefixes = True
        parser.ordered_attributes = True
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.StartDoctypeDeclHandler = self._doctype
        self._parser = parser
        parser.Parse(self._data, True)
        if self._root is None:
            raise DamagedAsset("this XML cannot be read: it has no element")
        return self._root

    def _start(self, name: str, attributes: list[str]) -> None:
        self._count += 1
        if self._count > MAX_ELEMENTS or len(self._open) >= MAX_DEPTH:
            raise DamagedAsset(
                f"XML of more than {MAX_ELEMENTS} elements or {MAX_DEPTH} levels found"
            )
        start = self._parser.CurrentByteIndex
        own, prefix = _split(name)
        element = Element(own, prefix, start, _match(_TAG, self._data, start).end())
        for key, value in zip(attributes[::2], attributes[1::2], strict=True):
            about, before = _split(key)
            element.attributes[about] = value
            element.written[about] = f"{before}:{about[1]}" if before else about[1]
        if self._open:
            self._open[-1].children.append(element)
        else:
            self._root = element
        self._open.append(element)
        self._texts.append([])

    def _end(self, name: str) -> None:
        element, texts = self._open.pop(), self._texts.pop()
        element.text = "".join(texts)
        self._held += len(element.text)
        if self._held > _TEXT:
            raise DamagedAsset(f"XML with more than {_TEXT} characters of text found")
        if self._texts:
            self._texts[-1].append(element.text)
        if self._data[element.inner - 2 : element.inner] == b"/>":
            element.close = element.end = element.inner
            return
        element.close = self._parser.CurrentByteIndex
        element.end = self._data.index(b">", element.close) + 1

    def _text(self, text: str) -> None:
        if self._texts:
            self._texts[-1].append(text)

    def _doctype(self, *_: object) -> None:
        raise DamagedAsset("XML with a document type found, expected none")


def _split(name: str) -> tuple[Name, str]:
    """From expat's ``namespace local prefix``, of which only local is always there."""
    parts = name.split(" ")
    if len(parts) == 1:
        return ("", parts[0]), ""
    return (parts[0], parts[1]), parts[2] if len(parts) > 2 else ""
