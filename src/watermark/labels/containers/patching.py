"""A file with some of its bytes replaced; the rest is copied as it is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import BinaryIO

from watermark.assets import DamagedAsset
from watermark.labels.containers.streams import Part, Span, assemble, length

Change = tuple[int, int, bytes]  # from where, to where, by what


def patched(source: BinaryIO, target: BinaryIO, changes: Iterable[Change]) -> None:
    """Copy a file with these changes.

    Args:
        source: the file.
        target: for the new one.
        changes: in any order; several may put something in at one place, and do so in
            the order they have.

    Raises:
        DamagedAsset: two of them overlap: the file says that one thing lies in another.
    """
    parts: list[Part] = []
    at = 0
    for start, end, new in sorted(changes, key=lambda change: change[:2]):
        if start < at:
            raise DamagedAsset(f"what lies at byte {start} overlaps what precedes it")
        parts += [Span(at, start), new]
        at = end
    assemble(source, target, [*parts, Span(at, length(source))])
