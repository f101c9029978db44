"""PDF: an entry of the document information dictionary (TC260-PG-20258A, 6.3).

An incremental update (ISO 32000-2, 7.5.6) is put behind the file, which stays as it
is: the dictionary with the entry, and a cross-reference section of the file's sort.
"""

from __future__ import annotations

import io
import logging
import re
import struct
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple, TypeVar

from watermark.assets import DamagedAsset
from watermark.errors import MissingDependency, UnsupportedFormat
from watermark.labels import xmp
from watermark.labels.aigc import NAME
from watermark.labels.containers import pdf_sections
from watermark.labels.containers.patching import patched
from watermark.labels.containers.streams import is_label, length, take

_TAIL = 2048  # bytes at the end, in which the last cross-reference section is named
_START = re.compile(rb"startxref\s+(\d{1,15})\s+%%EOF")
_SPACE = b"\0\t\n\f\r "
_KEY = f"/{NAME}"
_OBJECT = 1 << 20  # bytes of a dictionary that is looked through for an old label
# Hostile files make pypdf talk; without a handler that goes to the terminal.
logging.getLogger("pypdf").addHandler(logging.NullHandler())

T = TypeVar("T")


class _Document(NamedTuple):
    """What of a file is read.

    Attributes:
        trailer: pypdf's dictionary.
        info: the document information dictionary, empty if there is none.
        xmp: the document's XMP packet, or None.
        number: object number of the dictionary; the next free one if there is none.
        size: one more than the largest object number.
        start: of the last cross-reference section.
        stream: whether that is a stream.
        place: of the dictionary in the file; 0 where it is packed, or there is none.
        signed: whether a form field holds a signature.
    """

    trailer: Any
    info: Any
    xmp: bytes | None
    number: tuple[int, int]
    size: int
    start: int
    stream: bool
    place: int
    signed: bool


def read(source: BinaryIO) -> list[bytes]:
    """The entry, and labels in the document's XMP."""
    document = _document(source)
    return _values(document) + xmp.labels(document.xmp)


def write(source: BinaryIO, target: BinaryIO, label: bytes) -> None:
    """The entry takes the place of another, which is blanked in what was before."""
    document = _document(source)
    end = length(source)
    update = b"\n" + _guarded(lambda: _update(document, label, end + 1))
    old = _guarded(lambda: _old(source, document))
    blanks = [(a, b, b" " * (b - a)) for a, b in old]
    patched(source, target, [*blanks, (end, end, update)])


def _values(document: _Document) -> list[bytes]:
    """The texts of entries of this name.

    Raises:
        DamagedAsset: one is no text.
    """
    return _guarded(lambda: [_text(document.info[key]) for key in _keys(document)])


def _keys(document: _Document) -> list[str]:
    return [key for key in document.info if is_label(key[1:].encode())]


def _text(value: Any) -> bytes:
    from pypdf.generic import ByteStringObject, TextStringObject

    if isinstance(value, ByteStringObject):
        return bytes(value)
    if isinstance(value, TextStringObject):
        return str(value).encode("utf-8", "replace")
    raise DamagedAsset(
        f"a label of type {type(value).__name__} found in this PDF, expected a text"
    )


def _guarded(call: Callable[[], T]) -> T:
    """What pypdf's code returns; whatever it raises of hostile files is damage."""
    try:
        return call()
    except (DamagedAsset, UnsupportedFormat, MissingDependency):
        raise
    except Exception as error:
        raise DamagedAsset(
            f"this PDF cannot be read ({type(error).__name__}: {error})"
        ) from error


def _document(source: BinaryIO) -> _Document:
    return _guarded(lambda: _parsed(source))


def _parsed(source: BinaryIO) -> _Document:
    try:
        import pypdf
        from pypdf.generic import DictionaryObject, IndirectObject, NullObject
    except ImportError as error:
        raise MissingDependency("pypdf", "documents") from error
    if take(source, 0, 5) != b"%PDF-":
        raise DamagedAsset("this is no PDF: it does not begin as one")
    start, stream = _section(source)
    source.seek(0)
    reader = pypdf.PdfReader(source)
    if reader.is_encrypted:
        raise UnsupportedFormat(
            "this PDF is encrypted, and its label with it: decrypt it first"
        )
    reader.strict = True  # what it makes good may be the label
    trailer: Any = reader.trailer
    size = max(int(trailer["/Size"]), 1)
    raw = trailer.raw_get("/Info") if "/Info" in trailer else NullObject()
    number, place = (size, 0), 0
    info: Any = DictionaryObject()
    if isinstance(raw, IndirectObject):
        number = raw.idnum, raw.generation
        place = _place(source, reader, start, number)
        info = raw.get_object()
        if place and reader.xref.get(raw.generation, {}).get(raw.idnum) != place:
            raise DamagedAsset("the information of this PDF is not where it should be")
    elif not isinstance(raw, NullObject):
        info = raw
    # Its other dictionaries say what they are, and this has no type (14.3.3).
    if not isinstance(info, DictionaryObject) or "/Type" in info:
        raise DamagedAsset("what this PDF names as its information is something else")
    root = trailer["/Root"].get_object()
    form = root.get("/AcroForm")
    signed = form is not None and bool(form.get_object().get("/SigFlags", 0) & 1)
    metadata = root.get("/Metadata")
    packet = metadata.get_object().get_data() if metadata is not None else None
    size = max(size, number[0] + 1)
    return _Document(trailer, info, packet, number, size, start, stream, place, signed)


def _place(source: BinaryIO, reader: Any, start: int, number: tuple[int, int]) -> int:
    """Where an object lies in the file; 0 where it is packed.

    pypdf looks for one that is not where it should be, and may find an older one.

    Raises:
        DamagedAsset: no section names it, or another object lies there.
    """
    idnum, generation = number
    row = pdf_sections.find(source, reader, start, idnum)
    if row is not None and row.kind == pdf_sections.PACKED:
        if idnum in reader.xref_objStm and generation == 0:
            return 0
    elif row is not None and row.kind == pdf_sections.IN_USE:
        pdf_sections.check(source, reader, idnum, row)
        if row.generation == generation:
            return row.place
    raise DamagedAsset(f"no section of this PDF says where object {idnum} lies")


def _section(source: BinaryIO) -> tuple[int, bool]:
    """Where the last cross-reference section is, and whether it is a stream.

    pypdf makes up a section that is not there; what a cut file lacks would then be
    taken for what the document does not say.
    """
    end = length(source)
    tail = take(source, max(0, end - _TAIL), min(_TAIL, end))
    found = list(_START.finditer(tail))
    if not found or tail[found[-1].end() :].strip(_SPACE):
        raise DamagedAsset("this PDF is cut off: nothing at its end names its contents")
    start = int(found[-1][1])
    return start, not pdf_sections.is_table(source, start)


def _old(source: BinaryIO, document: _Document) -> list[tuple[int, int]]:
    """From where to where a label lies that was written here; others stay in the past.

    A signature covers what was before, so that nothing there may change.
    """
    if _KEY not in document.info or not document.place or document.signed:
        return []
    entry = _KEY.encode() + b" " + _string(_text(document.info[_KEY]))
    data = take(
        source, document.place, min(_OBJECT, length(source) - document.place)
    ).partition(b"endobj")[0]
    at = data.find(entry)
    if at < 0:
        return []
    return [(document.place + at, document.place + at + len(entry))]


def _string(value: bytes) -> bytes:
    """A literal string (7.3.4.2); not ASCII, UTF-16 in hexadecimal (7.9.2.2)."""
    if not value.isascii():
        return b"<FEFF%s>" % value.decode().encode("utf-16-be").hex().encode()
    return b"(" + re.sub(rb"([\\()])", rb"\\\1", value) + b")"


def _update(document: _Document, label: bytes, start: int) -> bytes:
    """The update, which begins at byte `start` of the file."""
    number, generation = document.number
    gone = _keys(document)
    head = f"{number} {generation} obj\n<<".encode()
    entries = b"".join(
        _plain(key) + b" " + _plain(document.info.raw_get(key)) + b"\n"
        for key in document.info
        if key not in gone
    )
    info = head + entries + _KEY.encode() + b" " + _string(label) + b">>\nendobj\n"
    section = _stream_section if document.stream else _table_section
    place = start + len(info)
    return (
        info + section(document, start, place) + f"startxref\n{place}\n%%EOF\n".encode()
    )


def _plain(value: Any) -> bytes:
    stream = io.BytesIO()
    value.write_to_stream(stream)
    return stream.getvalue()


def _trailer(document: _Document, size: int) -> bytes:
    number, generation = document.number
    kept = [
        key.encode() + b" " + _plain(document.trailer.raw_get(key)) + b"\n"
        for key in ("/Root", "/ID")
        if key in document.trailer
    ]
    own = f"/Size {size}\n/Info {number} {generation} R\n/Prev {document.start}\n"
    return b"".join(kept) + own.encode()


def _table_section(document: _Document, info: int, start: int) -> bytes:
    """A table (7.5.4)."""
    number, generation = document.number
    # Some readers number the objects anew if the first row is not object 0's.
    free = "0 1\n0000000000 65535 f \n"
    table = f"xref\n{free}{number} 1\n{info:010d} {generation:05d} n \n".encode()
    return table + b"trailer\n<<" + _trailer(document, document.size) + b">>\n"


def _stream_section(document: _Document, info: int, start: int) -> bytes:
    """A stream, not packed, that names itself as well (7.5.8)."""
    number, generation = document.number
    own = document.size
    rows = b"".join(
        struct.pack(">BQH", 1, at, made)
        for at, made in ((info, generation), (start, 0))
    )
    about = (
        f"{own} 0 obj\n<</Type /XRef /W [1 8 2] /Index [{number} 1 {own} 1] "
        f"/Length {len(rows)}\n"
    ).encode()
    head = about + _trailer(document, own + 1) + b">>\nstream\n"
    return head + rows + b"\nendstream\nendobj\n"
