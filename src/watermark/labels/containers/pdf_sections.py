"""Cross-reference sections of PDF (ISO 32000-2, 7.5.4 and 7.5.8), as they are written.

pypdf makes good what it cannot read, and takes what an older section says instead: a
document whose newest section is damaged would then be its own earlier version.
"""

from __future__ import annotations

import re
from typing import Any, BinaryIO, NamedTuple

from watermark.assets import DamagedAsset
from watermark.labels.containers.streams import HELD, length, take

FREE, IN_USE, PACKED = 0, 1, 2  # types of rows (7.5.8.3)
_TABLE = re.compile(rb"\s*xref\s")
_STREAM = re.compile(rb"\s*\d+\s+\d+\s+obj\b")
_PREVIOUS = re.compile(rb"/Prev\s+(\d{1,15})\b")
_COMMENT = re.compile(rb"%[^\r\n]*")
_NUMBER = re.compile(rb"\d{1,10}")
_WINDOW = 1 << 16  # bytes that are read at once, and of a trailer
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
        DamagedAsset: this section or one behind it cannot be read as it is written.
    """
    seen = set[int]()
    while start not in seen and len(seen) < _SECTIONS:
        seen.add(start)
        read = _table if is_table(source, start) else _stream
        row, previous = read(source, reader, start, number)
        if row is not None or not previous:
            return row
        start = previous
    raise DamagedAsset(
        "the cross-reference sections of this PDF lead round in a circle"
    )


def _table(
    source: BinaryIO, reader: Any, start: int, number: int
) -> tuple[Row | None, int]:
    """The row of an object, and where the section before begins, or 0."""
    end, data = length(source), bytearray()
    while (at := data.find(b"trailer", max(0, len(data) - _WINDOW - 7))) < 0:
        place = start + len(data)
        if place >= end or len(data) > HELD:
            raise DamagedAsset(f"the table at byte {start} of this PDF has no trailer")
        data += take(source, place, min(_WINDOW, end - place))
    place = start + at
    trailer = take(source, place, min(_WINDOW, end - place)).partition(b"startxref")[0]
    previous = _PREVIOUS.search(trailer)
    row = _row(_COMMENT.sub(b"", data[:at]).split()[1:], number)
    return row, int(previous[1]) if previous else 0


def _row(words: list[bytes], number: int) -> Row | None:
    """The row of an object in a table; all of its rows are checked."""
    found, at = None, 0
    while at < len(words):
        first, count = _numbers(words[at : at + 2], 2)
        at += 2
        rows = words[at : at + 3 * count]
        places = _numbers(rows[::3], count)
        generations = _numbers(rows[1::3], count)
        if len(rows) != 3 * count or not {b"n", b"f"}.issuperset(rows[2::3]):
            raise DamagedAsset(
                "a row of a table of this PDF is neither in use nor free"
            )
        if first <= number < first + count:
            n = number - first
            kind = IN_USE if rows[3 * n + 2] == b"n" else FREE
            found = Row(kind, places[n], generations[n])
        at += 3 * count
    return found


def _numbers(words: list[bytes], count: int) -> list[int]:
    if len(words) != count or not all(map(_NUMBER.fullmatch, words)):
        raise DamagedAsset("a table of this PDF cannot be read: expected numbers in it")
    return [int(word) for word in words]


def _stream(
    source: BinaryIO, reader: Any, start: int, number: int
) -> tuple[Row | None, int]:
    """As `_table`."""
    from pypdf.generic import read_object

    source.seek(start)
    reader.read_object_header(source)
    section: Any = read_object(source, reader)
    widths = [int(each) for each in section["/W"]]
    pairs = [int(each) for each in section.get("/Index", [0, section["/Size"]])]
    data: bytes = section.get_data()
    starts, counts = pairs[::2], pairs[1::2]
    sound = len(widths) == 3 and len(pairs) % 2 == 0 and min(*widths, *pairs) >= 0
    if not sound or len(data) != sum(widths) * sum(counts):
        raise DamagedAsset(
            f"a cross-reference stream of {len(data)} bytes found in this PDF, "
            f"expected {sum(counts)} rows of {sum(widths)}"
        )
    found, before = None, 0
    for first, count in zip(starts, counts, strict=True):
        if first <= number < first + count:
            found = _fields(data, before + number - first, widths)
        before += count
    return found, int(section.get("/Prev", 0))


def _fields(data: bytes, row: int, widths: list[int]) -> Row:
    at = row * sum(widths)
    values = []
    for wide in widths:
        values.append(int.from_bytes(data[at : at + wide], "big"))
        at += wide
    return Row(values[0] if widths[0] else IN_USE, values[1], values[2])
