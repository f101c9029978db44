"""Cross-reference tables of PDF (ISO 32000-2, 7.5.4): read as they are written.

pypdf makes good what it cannot read, and takes what an older table says instead: a
document whose newest table is damaged would then be its own earlier version.
"""

from __future__ import annotations

import re
from typing import BinaryIO

from watermark.assets import DamagedAsset
from watermark.labels.containers.streams import HELD, length, take

_TABLE = re.compile(rb"\s*xref\s")
_PREVIOUS = re.compile(rb"/Prev\s+(\d{1,15})\b")
_COMMENT = re.compile(rb"%[^\r\n]*")
_NUMBER = re.compile(rb"\d{1,10}")
_WINDOW, _TRAILER = 1 << 16, 1 << 16  # bytes that are read at once, and of a trailer
_SECTIONS = 1 << 12  # a document that was changed more often is not read


def is_table(head: bytes) -> bool:
    """Whether a cross-reference section with these first bytes is a table."""
    return _TABLE.match(head) is not None


def check(source: BinaryIO, start: int, number: int) -> None:
    """Return if the newest table that names an object, and those behind it, are whole.

    A section that is a stream ends the search: its rows say nothing twice, and pypdf
    drops those that point to no object.

    Args:
        source: the file.
        start: of the last section.
        number: of the object.

    Raises:
        DamagedAsset: a row cannot be read, or a subsection has fewer than it says.
    """
    seen = set[int]()
    while start not in seen and len(seen) < _SECTIONS:
        seen.add(start)
        head = take(source, start, min(32, max(0, length(source) - start)))
        if not is_table(head):
            return
        table, trailer = _section(source, start)
        if _names(table, number):
            return
        previous = _PREVIOUS.search(trailer)
        if previous is None or not int(previous[1]):
            return
        start = int(previous[1])
    raise DamagedAsset("the cross-reference tables of this PDF lead round in a circle")


def _section(source: BinaryIO, start: int) -> tuple[bytes, bytes]:
    """The rows, and the trailer behind them."""
    end = length(source)
    data = bytearray()
    while (at := data.find(b"trailer", max(0, len(data) - _WINDOW - 7))) < 0:
        if start + len(data) >= end or len(data) > HELD:
            raise DamagedAsset(f"the table at byte {start} of this PDF has no trailer")
        place = start + len(data)
        data += take(source, place, min(_WINDOW, end - place))
    place = start + at
    return bytes(data[:at]), take(source, place, min(_TRAILER, end - place)).partition(
        b"startxref"
    )[0]


def _names(table: bytes, number: int) -> bool:
    """Whether a table has a row of this object; all of its rows are checked."""
    words = _COMMENT.sub(b"", table).split()[1:]
    found, at = False, 0
    while at < len(words):
        first, count = _numbers(words[at : at + 2], 2)
        at += 2
        rows = words[at : at + 3 * count]
        _numbers(rows[::3], count)
        _numbers(rows[1::3], count)
        if len(rows) != 3 * count or not {b"n", b"f"}.issuperset(rows[2::3]):
            raise DamagedAsset("a row of a table of this PDF is neither in use nor free")
        found = found or first <= number < first + count
        at += 3 * count
    return found


def _numbers(words: list[bytes], count: int) -> list[int]:
    if len(words) != count or not all(map(_NUMBER.fullmatch, words)):
        raise DamagedAsset("a table of this PDF cannot be read: expected numbers in it")
    return [int(word) for word in words]
