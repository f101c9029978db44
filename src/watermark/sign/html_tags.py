"""Tags of an HTML page, read in one pass over its bytes (HTML, 13.2.5).

Python's own parser takes minutes for a quarter of a megabyte of tags that do not end.
The expressions here never go back over what they have passed: each is linear.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Container, Iterator
from typing import NamedTuple

# HTML, 13.2.5.32 to 38: a quote is one after an equals sign only.
_NAME, _VALUE = rb"[^\s/>][^\s/>=]*+", rb"\"[^\"]*+\"|'[^']*+'|(?![\"'])[^\s>]*+"
_REST = re.compile(
    rb"(?:[\s/]++|" + _NAME + rb"(?:\s*+=\s*+(?:" + _VALUE + rb")|(?!\s*+=)))*+>"
)
_ATTRIBUTE = re.compile(rb"(" + _NAME + rb")(?:\s*+=\s*+(" + _VALUE + rb"))?+")


class Unended(Exception):
    """A comment, a tag or an element of a page does not end: which, as a sentence."""


class Tag(NamedTuple):
    """Bytes `start` to `end` of a page.

    Attributes:
        start: of the tag.
        end: of the tag.
        name: in small letters; ``/`` before that of an end tag.
        rest: attributes, and the angle bracket after them.
        close: where the end tag of an element begins whose content is passed over, or
            the end of the page if there is none; for other tags `end`.
    """

    start: int
    end: int
    name: bytes
    rest: bytes
    close: int

    @property
    def attributes(self) -> dict[bytes, bytes]:
        """Names, in small letters, and values; of two with one name the first counts.

        References such as ``&amp;`` stand in the values as they are in the page.
        """
        found: dict[bytes, bytes] = {}
        for name, value in _ATTRIBUTE.findall(self.rest):
            quoted = value[:1] in (b'"', b"'")
            found.setdefault(name.lower(), value[1:-1] if quoted else value)
        return found


def starts(names: bytes) -> re.Pattern[bytes]:
    """What begins a comment, or a tag of `names`: an expression for `tags`."""
    return re.compile(rb"<!--|<(" + names + rb")(?=[\s/>])", re.IGNORECASE)


def tags(data: bytes, start: re.Pattern[bytes], raw: Container[bytes]) -> Iterator[Tag]:
    """Each tag of a page that is in no comment and in no raw element.

    Args:
        data: the page, in an encoding that has ASCII in it.
        start: from `starts`: other tags are not seen.
        raw: names of elements whose content is passed over.

    Raises:
        Unended: something begins that does not end; of an element, after its tag.
    """
    at = 0
    while found := start.search(data, at):
        if found[0] == b"<!--":
            at = data.find(b"-->", found.end())
            if at < 0:
                raise Unended("a comment does not end")
            continue
        rest = _REST.match(data, found.end())
        if rest is None:
            raise Unended("a tag does not end")
        name, end = found[1].lower(), rest.end()
        if name not in raw:
            at = end
            yield Tag(found.start(), end, name, rest[0], at)
            continue
        closed = _end_tag(name).search(data, end)
        at = closed.start() if closed else len(data)
        yield Tag(found.start(), end, name, rest[0], at)
        if closed is None:
            raise Unended("an element does not end")


@functools.cache
def _end_tag(name: bytes) -> re.Pattern[bytes]:
    return re.compile(rb"</" + name + rb"(?=[\s/>])", re.IGNORECASE)
