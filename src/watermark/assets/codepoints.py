"""A text as an array of code points: every step over a whole text is one of NumPy's.

>>> string(codes("caf" + chr(0xE9))) == "caf" + chr(0xE9)
True
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.uint32]
Mask = NDArray[np.bool_]

LIMIT = 0x110000  # code points end before it


def codes(text: str) -> Codes:
    """The code points of any string; lone surrogates are code points here."""
    data = text.encode("utf-32-le", "surrogatepass")
    return np.frombuffer(data, dtype="<u4").astype(np.uint32)


def string(codes: Codes) -> str:
    """The inverse of `codes`."""
    return codes.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")


def present(codes: Codes) -> Mask:
    """bool, one for each of the `LIMIT` code points: whether it occurs."""
    found = np.zeros(LIMIT, dtype=bool)
    found[codes] = True
    return found


def mapped(codes: Codes, what: Callable[[int], int]) -> Codes:
    """``what(code)`` for each code; asked once for each that occurs."""
    if codes.size < LIMIT // 32:  # a table of every code point costs a millisecond
        unique, places = np.unique(codes, return_inverse=True)
        answers = np.array([what(code) for code in unique.tolist()], dtype=np.uint32)
        return answers[places]
    table = np.zeros(LIMIT, dtype=np.uint32)
    for code in np.flatnonzero(present(codes)).tolist():
        table[code] = what(code)
    return table[codes]


def those(codes: Codes, which: Callable[[int], bool]) -> Mask:
    """Whether each code is one of those; asked once for each that occurs."""
    return mapped(codes, which) > 0


def within(codes: Codes, *ranges: tuple[int, int]) -> Mask:
    """Whether each code lies in one of the ranges, ends included."""
    found = np.zeros(codes.size, dtype=bool)
    for low, high in ranges:
        found |= (codes >= low) & (codes <= high)
    return found
