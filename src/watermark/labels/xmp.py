"""Properties of XMP packets (ISO 16684-1): found, and set without touching the rest.

Only properties of the file itself count, those right below ``rdf:RDF``'s descriptions;
what a packet says of the ingredients of a picture is not said of the picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple
from xml.sax.saxutils import escape, quoteattr

from watermark.assets import DamagedAsset
from watermark.errors import LabelError
from watermark.labels import elements
from watermark.labels.aigc import CHARACTERS
from watermark.labels.elements import Element

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"


class Property(NamedTuple):
    """A property's name, and the prefix it is written with."""

    prefix: str
    namespace: str
    name: str


# GB 45438-2025's label, as the image guide TC260-PG-20259A places it.
AIGC = Property("TC260", "http://www.tc260.org.cn/ns/AIGC/1.0/", "AIGC")
# IPTC Photo Metadata 2025.1.
DIGITAL_SOURCE_TYPE = Property("Iptc4xmpExt", _IPTC, "DigitalSourceType")
AI_SYSTEM_USED = Property("Iptc4xmpExt", _IPTC, "AISystemUsed")
AI_SYSTEM_VERSION_USED = Property("Iptc4xmpExt", _IPTC, "AISystemVersionUsed")

_NEW = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="' + _RDF.encode() + b'">'
    b"</rdf:RDF></x:xmpmeta>\n"
    b'<?xpacket end="w"?>'
)


def get(packet: bytes, wanted: Property) -> list[str]:
    """Every value of a property, as attribute or element, in the packet's order.

    Raises:
        DamagedAsset: the packet cannot be read.
    """
    root = _parse(packet)
    return [found.value for found in _find(_rdf(root), [wanted])]


def labels(packet: bytes | None) -> list[bytes]:
    """Every AIGC label of a packet, raw; none of no packet.

    Raises:
        DamagedAsset: the packet cannot be read.
    """
    return [] if packet is None else [value.encode() for value in get(packet, AIGC)]


def put(packet: bytes | None, values: Mapping[Property, str]) -> bytes:
    """The packet with these values in place of what the properties had.

    Everything else in it stays byte for byte; the new properties stand in a description
    of their own, at the end.

    Args:
        packet: UTF-8; None for a new one.
        values: simple values, as text.

    Raises:
        DamagedAsset: the packet cannot be read.
        ValueError: a value that XML cannot hold.
    """
    data = (_NEW if packet is None else packet).rstrip(b"\0")
    rdf = _rdf(elements.parse(data))
    changes = list(_removals(data, rdf, list(values)))
    new = _description(rdf, values)
    if rdf.closed:
        tag = data[rdf.start : rdf.end]
        name = f"{rdf.prefix}:RDF" if rdf.prefix else "RDF"
        opened = tag[:-2].rstrip() + b">" + new + f"</{name}>".encode()
        changes.append((rdf.start, rdf.end, opened))
    else:
        changes.append((rdf.close, rdf.close, new))
    changed = elements.spliced(data, changes)
    try:
        found = {wanted: get(changed, wanted) for wanted in values}
    except DamagedAsset as error:
        raise ValueError(f"XML cannot hold these values: {error}") from error
    if found != {wanted: [value] for wanted, value in values.items()}:
        raise ValueError("XML cannot hold these values as they are")
    return changed


def with_label(packet: bytes | None, label: bytes) -> bytes:
    """The packet with this AIGC label and no other.

    Raises:
        DamagedAsset: the packet cannot be read.
        LabelError: the label has a character that XML cannot hold: a platform's, with
            a producer's values as it found them.
    """
    try:
        return put(packet, {AIGC: label.decode()})
    except ValueError as error:
        raise LabelError(CHARACTERS, str(error)) from error


class _Found(NamedTuple):
    value: str
    description: Element
    element: Element | None  # None: an attribute of the description
    wanted: Property


def _parse(packet: bytes) -> Element:
    return elements.parse(packet.rstrip(b"\0"))


def _rdf(root: Element) -> Element:
    """The ``rdf:RDF`` of a packet, at its top or in ``x:xmpmeta``."""
    for element in (root, *root.children):
        if element.name == (_RDF, "RDF"):
            return element
    raise DamagedAsset("XMP without rdf:RDF found")


def _find(rdf: Element, wanted: list[Property]) -> Iterator[_Found]:
    for description in rdf.children:
        for one in wanted:
            for name, value in description.attributes.items():
                if _is(name, one):
                    yield _Found(value, description, None, one)
            for element in description.children:
                if _is(element.name, one):
                    yield _Found(_value(element), description, element, one)


def _is(name: elements.Name, wanted: Property) -> bool:
    """Whether it is this property; the label's namespace has several spellings."""
    if name[1] != wanted.name:
        return False
    spelt = wanted == AIGC and "tc260.org.cn" in name[0].lower()
    return spelt or name[0] == wanted.namespace


def _value(element: Element) -> str:
    return element.attributes.get((_RDF, "resource"), element.text.strip())


def _removals(
    data: bytes, rdf: Element, wanted: list[Property]
) -> Iterator[tuple[int, int, bytes]]:
    """What has to go; a description that held nothing else goes as a whole."""
    by_description: dict[int, list[_Found]] = {}
    for found in _find(rdf, wanted):
        by_description.setdefault(id(found.description), []).append(found)
    for group in by_description.values():
        whole = group[0].description
        gone = {id(found.element) for found in group if found.element is not None}
        names = [name for name in whole.attributes if name[1] != "about"]
        attributes = {n for n in names for f in group if _is(n, f.wanted)}
        if len(attributes) == len(names) and len(gone) == len(whole.children):
            yield whole.start, whole.end, b""
            continue
        for found in group:
            if found.element is not None:
                yield found.element.start, found.element.end, b""
        for name in attributes:
            yield *elements.attribute(data, whole, name), b""


def _description(rdf: Element, values: Mapping[Property, str]) -> bytes:
    about = ""
    if rdf.children:  # all descriptions of a packet are about the same
        first = rdf.children[0].attributes
        about = first.get((_RDF, "about"), first.get(("", "about"), ""))
    own = "" if rdf.prefix == "rdf" else f' xmlns:rdf="{_RDF}"'
    spaces = {wanted.prefix: wanted.namespace for wanted in values}
    declared = "".join(f' xmlns:{p}="{namespace}"' for p, namespace in spaces.items())
    inner = "".join(
        f"<{p.prefix}:{p.name}>{escape(value)}</{p.prefix}:{p.name}>"
        for p, value in values.items()
    )
    head = f"<rdf:Description{own} rdf:about={quoteattr(about)}{declared}>"
    return f"{head}{inner}</rdf:Description>".encode()
