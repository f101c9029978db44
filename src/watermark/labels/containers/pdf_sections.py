"""Cross-reference sections of PDF (ISO 32000-2, 7.5.4 and 7.5.8), as they are written.

pypdf makes good what it cannot read, and takes what an older section says instead: a
document whose newest section is damaged would then be its own earlier version.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from watermark.assets import DamagedAsset
from watermark.labels.containers.streams import HELD, length, take

FREE, IN_USE, PACKED = 0, 1, 2  # types of rows (7.5.8.3)
_TABLE = re.compile(rb"\s*xref\s")
_STREAM = re.compile(rb"\s*\d+\s+\d+\s+obj\b")
_PREVIOUS = re.compile(rb"/Prev\s+(\d{1,15})\b")
_COMMENT = re.compile(rb"%[^\r\n]*")
_NUMBER = re.compile(rb"\d{1,10}")
_KINDS = {b"n": IN_USE, b"f": FREE}
_WINDOW = 1 << 16  # bytes that are read at once, and of a trailer
_CHECKED = 1 << 10  # rows of a section that are held against what lies there
_SECTIONS = 1 << 12  # a document that was changed more often is not read


class Row(NamedTuple):
    """What a section says of an object.

    Attributes:
        kind: `FREE`, `IN_USE` or `PACKED`.
        place: in the file; of a packed one the number of the stream that holds it.
        generation: of the object; of a packed one its index in that stream.
    """

    kind: int
    place: int
    generation: int


def is_table(source: BinaryIO, start: int) -> bool:
    """Whether the section there is a table; else it is a stream.

    Raises:
        DamagedAsset: it is neither.
    """
    head = take(source, start, min(32, max(0, length(source) - start)))
    if not _TABLE.match(head) and not _STREAM.match(head):
        raise DamagedAsset(
            f"no cross-reference section found at byte {start} of this PDF"
        )
    return _TABLE.match(head) is not None


def find(source: BinaryIO, reader: Any, start: int, number: int) -> Row | None:
    """What the newest section that names an object says of it; None if none does.

    Args:
        source: the file.
        reader: pypdf's.
        start: of the last section.
        number: of the object.

    Raises:
        DamagedAsset: this section or a newer one cannot be read as it is written, or
            says that something lies where it does not.
    """
    seen = set[int]()
    while start not in seen and len(seen) < _SECTIONS:
        seen.add(start)
        read = _table if is_table(source, start) else _stream
        rows, previous = read(source, reader, start)
        found: Row | None = None
        others: list[tuple[int, Row]] = []
        for each, row in rows:
            if each == number:
                if found is not None:
                    raise DamagedAsset(f"object {each} of this PDF stands twice")
                found = row
            elif len(others) < _CHECKED:
                others.append((each, row))
        if found is not None or not previous:
            return found
        for each, row in others:  # a row of the object itself, with a wrong number
            check(source, reader, each, row)
        start = previous
    raise DamagedAsset("the cross-reference sections of this PDF go round in a circle")


def check(source: BinaryIO, reader: Any, number: int, row: Row) -> None:
    """Return if an object lies where a row says, or the row says no place.

    Raises:
        DamagedAsset: it does not.
    """
    if row.kind != IN_USE:
        return
    source.seek(row.place)
    try:
        found = tuple(reader.read_object_header(source))
    except ValueError:
        found = ()
    if found != (number, row.generation):
        raise DamagedAsset(f"object {number} of this PDF is not where its section says")


def _table(
    source: BinaryIO, reader: Any, start: int
) -> tuple[Iterator[tuple[int, Row]], int]:
    """Number and row of each object, and where the section before begins, or 0."""
    end, data = length(source), bytearray()
    while (at := data.find(b"trailer", max(0, len(data) - _WINDOW - 7))) < 0:
        place = start + len(data)
        if place >= end or len(data) > HELD:
            raise DamagedAsset(f"the table at byte {start} of this PDF has no trailer")
        data += take(source, place, min(_WINDOW, end - place))
    place = start + at
    trailer = take(source, place, min(_WINDOW, end - place)).partition(b"startxref")[0]
    previous = _PREVIOUS.search(trailer)
    words = _COMMENT.sub(b"", data[:at]).split()[1:]
    return _rows(words), int(previous[1]) if previous else 0


def _rows(words: list[bytes]) -> Iterator[tuple[int, Row]]:
    at = 0
    while at < len(words):
        first, count = _numbers(words[at : at + 2])
        at += 2
        for number in range(first, first + count):
            place, generation = _numbers(words[at : at + 2])
            kind = _KINDS.get(b"".join(words[at + 2 : at + 3]))
            if kind is None:
                raise DamagedAsset(f"row {number} of this PDF is neither used nor free")
            yield number, Row(kind, place, generation)
            at += 3


def _numbers(words: list[bytes]) -> list[int]:
    if len(words) != 2 or not all(map(_NUMBER.fullmatch, words)):
        raise DamagedAsset("a table of this PDF cannot be read: expected two numbers")
    return [int(word) for word in words]


def _stream(
    source: BinaryIO, reader: Any, start: int
) -> tuple[Iterator[tuple[int, Row]], int]:
    """As `_table`."""
    from pypdf.generic import read_object

    source.seek(start)
    reader.read_object_header(source)
    section: Any = read_object(source, reader)
    widths = [int(each) for each in section["/W"]]
    pairs = [int(each) for each in section.get("/Index", [0, section["/Size"]])]
    data: bytes = section.get_data()
    runs = list(zip(pairs[::2], pairs[1::2], strict=True))
    ordered = all(a + n <= b for (a, n), (b, _) in itertools.pairwise(runs))
    sound = len(widths) == 3 and min(*widths, *pairs) >= 0 and sum(widths) > 0
    if not (ordered and sound) or len(data) != sum(widths) * sum(pairs[1::2]):
        raise DamagedAsset(
            f"a cross-reference stream of {len(data)} bytes found in this PDF, "
            f"expected {sum(pairs[1::2])} rows of {sum(widths)}"
        )
    return _fields(data, runs, widths), int(section.get("/Prev", 0))


def _fields(
    data: bytes, runs: list[tuple[int, int]], widths: list[int]
) -> Iterator[tuple[int, Row]]:
    at = 0
    for first, count in runs:
        for number in range(first, first + count):
            values = []
            for wide in widths:
                values.append(int.from_bytes(data[at : at + wide], "big"))
                at += wide
            kind = values[0] if widths[0] else IN_USE
            yield number, Row(kind, values[1], values[2])
