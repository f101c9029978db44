"""The little DER that certificates and time-stamps need: read one element, write one.

ITU-T X.690. Only definite lengths and tags below 31, which is all that X.509, CMS and
RFC 3161 use; the order of a SET is not checked, because time-stamp authorities get it
wrong. Nothing recurses, so no input can exhaust the stack.
"""

from __future__ import annotations

from dataclasses import dataclass

BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, NULL, OID = 1, 2, 3, 4, 5, 6
UTF8_STRING, GENERALIZED_TIME, SEQUENCE, SET = 0x0C, 0x18, 0x30, 0x31

MAX_OID_BYTES = 64  # the longest in use have 11


class Malformed(ValueError):
    """These bytes are not the DER that was expected."""


@dataclass(frozen=True, slots=True)
class Element:
    """One element: its tag byte, its content, and both with the length as they came."""

    tag: int
    content: bytes
    encoded: bytes

    def children(self) -> list[Element]:
        """The elements of a SEQUENCE, a SET or an explicit tag.

        Raises:
            Malformed: the content is no row of elements.
        """
        return elements(self.content)


def element(data: bytes, tag: int | None = None) -> Element:
    """The one element that `data` is.

    Raises:
        Malformed: another tag than `tag`, or bytes left over or missing.
    """
    found = elements(data)
    if len(found) != 1 or (tag is not None and found[0].tag != tag):
        raise Malformed(f"found {len(found)} elements, expected one of tag {tag}")
    return found[0]


def elements(data: bytes) -> list[Element]:
    """All elements that `data` is a row of.

    Raises:
        Malformed: bytes are missing, or a length is indefinite.
    """
    found, at = [], 0
    while at < len(data):
        start, tag = at, data[at]
        length, at = _length(data, at + 1)
        if tag & 31 == 31 or at + length > len(data):
            raise Malformed(f"the element at byte {start} does not fit")
        at += length
        found.append(Element(tag, data[at - length : at], data[start:at]))
    return found


def _length(data: bytes, at: int) -> tuple[int, int]:
    if at >= len(data):
        raise Malformed("the length is missing")
    first = data[at]
    if first < 128:
        return first, at + 1
    count = first & 127
    if not 1 <= count <= 4 or at + 1 + count > len(data):
        raise Malformed(f"a length of {count} bytes")
    return int.from_bytes(data[at + 1 : at + 1 + count], "big"), at + 1 + count


def encode(tag: int, *parts: bytes) -> bytes:
    """One element whose content is `parts` joined.

    >>> encode(SEQUENCE, encode(NULL)).hex()
    '30020500'
    """
    content = b"".join(parts)
    if len(content) < 128:
        return bytes([tag, len(content)]) + content
    size = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes([tag, 128 | len(size)]) + size + content


def integer(value: int) -> bytes:
    """A non-negative INTEGER."""
    return encode(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def number(found: Element) -> int:
    """The value of an INTEGER.

    Raises:
        Malformed: something else, or empty.
    """
    if found.tag != INTEGER or not found.content:
        raise Malformed(f"found tag {found.tag}, expected an INTEGER")
    return int.from_bytes(found.content, "big", signed=True)


def oid(dotted: str) -> bytes:
    """An OBJECT IDENTIFIER.

    >>> oid("1.2.840.113549").hex()
    '06062a864886f70d'
    """
    first, second, *rest = map(int, dotted.split("."))
    content = b""
    for arc in (40 * first + second, *rest):
        septets = [arc & 127]
        while arc := arc >> 7:
            septets.append(arc & 127 | 128)
        content += bytes(reversed(septets))
    return encode(OID, content)


def dotted(found: Element) -> str:
    """The dotted form of an OBJECT IDENTIFIER.

    >>> dotted(element(oid("2.16.840.1")))
    '2.16.840.1'

    Raises:
        Malformed: something else, or a broken one.
    """
    content = found.content
    if found.tag != OID or not 0 < len(content) <= MAX_OID_BYTES or content[-1] > 127:
        raise Malformed(f"found tag {found.tag}, expected an OBJECT IDENTIFIER")
    arcs, arc = [], 0
    for byte in content:
        arc = arc << 7 | byte & 127
        if byte < 128:
            arcs.append(arc)
            arc = 0
    top = min(arcs[0] // 40, 2)
    return ".".join(map(str, (top, arcs[0] - 40 * top, *arcs[1:])))
