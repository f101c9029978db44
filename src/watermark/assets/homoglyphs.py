"""Letters that look like Latin ones, and whether their word was meant to be Latin.

A letter alone does not tell: Cyrillic, Greek and Armenian are written with the same
shapes. What decides is its word, and the words around it:

* a word changes only if all its letters then are Latin. A genuine mixture, such as a
  Latin abbreviation with a Russian ending, nearly always holds a letter that has no
  Latin twin, and stays;
* a word with Latin letters in it changes where Latin words are no fewer than words of
  other scripts, among the `WINDOW` words on either side and itself;
* a word of look-alikes alone, which may be a Russian or Greek word, changes only where
  at least `SURE` of them are Latin and none is of another script;
* Greek letters that serve as symbols in Latin text (alpha, nu, rho) change only inside
  a word, and a single letter in mathematical dress is a symbol as well.

So a quotation of one such word in English is changed, and so are look-alikes in a line
too short to tell. Latin letters put into Cyrillic or Greek words are not undone.
"""

from __future__ import annotations

import unicodedata
from functools import cache

import numpy as np
from numpy.typing import NDArray

from watermark.assets.codepoints import Codes, Mask, mapped

WINDOW = 12  # words on either side; a line or two of prose
SURE = 3  # Latin words among them before a word of look-alikes alone is Latin too

# Letters that print like a Latin one in common typefaces (a choice from UTS #39). Those
# that only resemble one, as small ka and te do, are no disguise.
_PAIRS = (
    ("аеорсухіјѕһԁԛԝӏѵү", "aeopcyxijshdqwlvy"),  # noqa: RUF001  Cyrillic
    ("АВЕКМНОРСТУХІЈЅҮԚԜԌѴӀ", "ABEKMHOPCTYXIJSYQWGVI"),
    ("οϲϳΑΒΕΖΗΙΚΜΝΟΡΤΥΧϹͿ", "ocjABEZHIKMNOPTYXCJ"),  # noqa: RUF001  Greek
    ("հոսցօյՍՏՕԼ", "hnugojUSOL"),  # Armenian
)
_SYMBOL_PAIRS = ("αγηικνρυχ", "aynikvpux")
_DRESSES = ((0xFF21, 0xFF5A), (0x1D400, 0x1D6A3), (0x2102, 0x2149))
_LATIN = (
    *((0x41, 0x5A), (0x61, 0x7A), (0xAA, 0xAA), (0xBA, 0xBA), (0xC0, 0xD6)),
    *((0xD8, 0xF6), (0xF8, 0x2AF), (0x1D00, 0x1D25), (0x1E00, 0x1EFF)),
    *((0x2C60, 0x2C7F), (0xA722, 0xA787), (0xFB00, 0xFB06)),
)


def _table(*pairs: tuple[str, str]) -> dict[int, int]:
    return {
        ord(letter): ord(latin)
        for letters, latins in pairs
        for letter, latin in zip(letters, latins, strict=True)
    }


_SYMBOLS = _table(_SYMBOL_PAIRS)
HOMOGLYPHS = _table(*_PAIRS) | _SYMBOLS
# Latin letters in other dress: full width, mathematical alphabets, letter-like symbols.
STYLED = {
    code: ord(plain)
    for low, high in _DRESSES
    for code in range(low, high + 1)
    for plain in [unicodedata.normalize("NFKC", chr(code))]
    if len(plain) == 1 and plain.isascii() and plain.isalpha()
}
# Latin letters that something looks like. They do not tell that a word is Latin: what
# a word says must not change when its look-alikes are replaced.
_TWINS = frozenset(HOMOGLYPHS.values())

# What a character says of its word.
_PART, _LATIN_LETTER, _CLEAR, _OTHER, _TWIN, _SYMBOL, _DRESSED = (
    1 << bit for bit in range(7)
)


def disguised(codes: Codes) -> Mask:
    """Which characters stand for a Latin letter: see the head of this file."""
    says = mapped(codes, _says)
    letters = np.flatnonzero(says)
    if not (says & (_TWIN | _DRESSED)).any():
        return np.zeros(codes.size, dtype=bool)
    starts = np.flatnonzero(np.r_[True, np.diff(letters) > 1])
    sizes = np.diff(np.append(starts, letters.size))
    word = np.bitwise_or.reduceat(says[letters], starts)
    edges = says[letters[starts]] | says[letters[starts + sizes - 1]]

    clear, other = (word & _CLEAR) > 0, (word & _OTHER) > 0
    for_latin, for_other = _around(clear & ~other), _around(other & ~clear)
    wanted = np.where(
        (word & _LATIN_LETTER) > 0,
        for_latin >= for_other,
        (for_latin >= SURE) & (for_other == 0),
    )
    wanted &= ~other & ((edges & _SYMBOL) == 0)
    wanted &= ((word & _DRESSED) == 0) | (sizes > 1)
    found = np.zeros(codes.size, dtype=bool)
    found[letters] = np.repeat(wanted, sizes)
    return found & ((says & (_TWIN | _DRESSED)) > 0)


def _around(votes: Mask) -> NDArray[np.int64]:
    """How many of the words around each, and itself, have a vote."""
    total = np.zeros(votes.size + 1, dtype=np.int64)
    np.cumsum(votes, out=total[1:])
    index = np.arange(votes.size)
    found: NDArray[np.int64] = total[np.minimum(index + WINDOW + 1, votes.size)]
    found -= total[np.maximum(index - WINDOW, 0)]
    return found


@cache
def _says(code: int) -> int:
    """A sum of flags; 0 for what is in no word."""
    if code in HOMOGLYPHS:
        return _PART | _TWIN | (_SYMBOL if code in _SYMBOLS else 0)
    if code in STYLED:
        return _says(STYLED[code]) | _DRESSED
    category = unicodedata.category(chr(code))
    if category[0] in "MN":
        return _PART
    if category[0] != "L":
        return 0
    if not any(low <= code <= high for low, high in _LATIN):
        return _PART | _OTHER
    base = ord(unicodedata.normalize("NFD", chr(code))[0])  # without its marks
    return _PART | _LATIN_LETTER | (0 if base in _TWINS else _CLEAR)
