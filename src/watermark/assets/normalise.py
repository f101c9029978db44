"""Undo what hides a text from a detector, and say what was undone.

A tokenizer reads other tokens where a character was swapped for its look-alike or where
an invisible one was put in. `normalise` gives the text as a reader sees it. It is one
view more, and no replacement: what it changed may have been meant, so a detector scores
both views and counts both.

Joiners, word breaks and variation selectors stay where they have a job: in emoji, after
letters of scripts that join or that put no spaces between words, after ideographs and
symbols. Which look-alikes become Latin letters: `watermark.assets.homoglyphs`.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from watermark.assets.codepoints import (
    Codes,
    Mask,
    codes,
    mapped,
    present,
    string,
    those,
    within,
)
from watermark.assets.homoglyphs import HOMOGLYPHS, STYLED, disguised

# UAX #15, section 12 (stream-safe text): no language stacks more marks. The limit also
# bounds sorting them, which is quadratic in CPython (ten seconds for 80 kB).
MARKS = 30

_ZWSP, _ZWNJ, _ZWJ, _CGJ, _KEYCAP = 0x200B, 0x200C, 0x200D, 0x34F, 0x20E3
# What is taken out wherever it stands.
_HIDDEN = {
    0xAD: "soft-hyphen",
    **dict.fromkeys((0x61C, 0x200E, 0x200F), "bidi"),
    **dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A)), "bidi"),
    **dict.fromkeys((*range(0x2060, 0x2066), *range(0x206A, 0x2070)), "zero-width"),
    **dict.fromkeys((0xFEFF, 0xFFF9, 0xFFFA, 0xFFFB), "zero-width"),
    **dict.fromkeys((0x115F, 0x1160, 0x3164, 0xFFA0), "zero-width"),  # Hangul fillers
}
# What is taken out where it has no job.
_JOINERS = ((_ZWSP, _ZWJ), (_CGJ, _CGJ), (0x180E, 0x180E))
_SELECTORS = ((0xFE00, 0xFE0F), (0xE0100, 0xE01EF), (0x180B, 0x180D), (0x180F, 0x180F))
_TAGS = (0xE0000, 0xE007F)
# The three flags that tags spell: England, Scotland and Wales (UTS #51).
_FLAG = re.compile(
    "\U0001f3f4(?:"
    + "|".join(
        "".join(chr(0xE0000 + ord(letter)) for letter in region)
        for region in ("gbeng", "gbsct", "gbwls")
    )
    + ")\U000e007f"
)
_SPACES = {
    **dict.fromkeys((0xA0, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000), ord(" ")),
    **dict.fromkeys((0x2028, 0x2029), ord("\n")),
}

# Scripts by what an invisible character does in them.
_JOINING = (  # cursive or Brahmic: joiners choose the form of a letter
    *((0x600, 0x7FF), (0x840, 0xDFF), (0xF00, 0x109F), (0x1700, 0x18AF)),
    *((0x1A20, 0x1BFF), (0x1CD0, 0x1CFF), (0xA800, 0xA82F), (0xA840, 0xA8FF)),
    *((0xA930, 0xA9FF), (0xAA00, 0xAAFF), (0xABC0, 0xABFF), (0xFB50, 0xFDFF)),
    *((0xFE70, 0xFEFC), (0x11000, 0x11FFF), (0x1E900, 0x1E95F)),
)
_UNSPACED = (  # a zero-width space parts words
    *((0xE00, 0x109F), (0x1780, 0x17FF), (0x1950, 0x19FF), (0x1A20, 0x1AAF)),
    *((0x1B00, 0x1B7F), (0xA980, 0xA9DF), (0xAA60, 0xAADF)),
)
_MONGOLIAN = (0x1820, 0x18AA)
_HEBREW = (0x591, 0x5F4)
_EAST_ASIAN = (  # without the full-width letters, which may become Latin
    *((0x1100, 0x11FF), (0x2E80, 0x2FFF), (0x3001, 0x9FFF), (0xA960, 0xA97F)),
    *((0xAC00, 0xD7FF), (0xF900, 0xFAFF), (0xFE30, 0xFE4F), (0xFF01, 0xFF20)),
    *((0xFF3B, 0xFF40), (0xFF5B, 0xFFEF), (0x1B000, 0x1B16F), (0x20000, 0x3FFFF)),
)
_MORE_EMOJI = frozenset((0x203C, 0x2049, 0x2139, 0x3030, 0x303D))


@dataclass(frozen=True, slots=True)
class Normalised:
    """A text as a reader sees it.

    Attributes:
        text: the new text.
        changes: how many characters were changed, by kind. Taken out: `zero-width`,
            `bidi`, `soft-hyphen`, `variation-selector`, `tag` and `mark`; replaced:
            `space`, `homoglyph` and `styled`; `composed` counts the sequences brought
            to Unicode normal form C. Kinds that do not occur are not named.
        offsets: int64, ``len(text) + 1``: where what became each character begins in
            the original, and the original's length. They never decrease.
    """

    text: str
    changes: Mapping[str, int]
    offsets: NDArray[np.int64] = field(repr=False, compare=False)

    def span(self, start: int, stop: int) -> tuple[int, int]:
        """The part of the original that ``text[start:stop]`` was made of.

        What was taken out directly after it is part of it.

        Raises:
            ValueError: not ``0 <= start < stop <= len(text)``.
        """
        if not 0 <= start < stop <= len(self.text):
            raise ValueError(
                f"found the span {start}:{stop}, expected 0 <= start < stop <= "
                f"{len(self.text)}"
            )
        last = self.offsets[stop - 1]  # several characters can come from one
        after = int(np.searchsorted(self.offsets[:-1], last, side="right"))
        return int(self.offsets[start]), int(self.offsets[after])


def normalise(text: str) -> Normalised:
    """`text` in normal form C, without what hides it from a detector.

    Any string will do, lone surrogates and NUL included. Time and memory are linear in
    its length. Normalising twice changes nothing more.
    """
    draft = _Draft(codes(text), np.arange(len(text), dtype=np.int64), Counter())
    if not text.isascii():
        # Composed first, so that it is known what an invisible character stands after.
        _compose(draft)
        _drop_hidden(draft)
        _drop_tags(draft)
        _drop_idle(draft)
        _mend_spaces(draft)
        _compose(draft)
        _undisguise(draft)
        _compose(draft)
    return Normalised(
        string(draft.codes),
        MappingProxyType(dict(sorted(draft.changes.items()))),
        np.append(draft.offsets, np.int64(len(text))),
    )


@dataclass(slots=True)
class _Draft:
    """The text on its way, and where each character comes from."""

    codes: Codes
    offsets: NDArray[np.int64]
    changes: Counter[str]

    def drop(self, where: Mask) -> None:
        """Take out the characters of a mask."""
        self._count(where)
        self.codes, self.offsets = self.codes[~where], self.offsets[~where]

    def put(self, where: Mask, table: Mapping[int, int]) -> None:
        """Put for the characters of a mask what the table has for them."""
        self._count(where)
        self.codes[where] = mapped(self.codes[where], table.__getitem__)

    def _count(self, where: Mask) -> None:
        found, counts = np.unique(self.codes[where], return_counts=True)
        for code, count in zip(found.tolist(), counts.tolist(), strict=True):
            self.changes[_kind(code)] += count


def _kind(code: int) -> str:
    """What a character is counted as when it is taken out or replaced."""
    for kind, members in (
        ("space", _SPACES),
        ("homoglyph", HOMOGLYPHS),
        ("styled", STYLED),
    ):
        if code in members:
            return kind
    one = np.array([code], dtype=np.uint32)
    for kind, ranges in (
        ("zero-width", _JOINERS),
        ("variation-selector", _SELECTORS),
        ("tag", (_TAGS,)),
    ):
        if within(one, *ranges).any():
            return kind
    return _HIDDEN.get(code, "mark")


# --- normal form C -------------------------------------------------------------------


def _compose(draft: _Draft) -> None:
    """Normal form C, and no stack of more than `MARKS` marks before or after it."""
    _cut_marks(draft)
    if not unicodedata.is_normalized("NFC", string(draft.codes)):
        _normalise_sequences(draft)
        _cut_marks(draft)  # one mark can become two


def _cut_marks(draft: _Draft) -> None:
    marks = those(draft.codes, _is_mark)
    index = np.arange(marks.size)
    base = np.maximum.accumulate(np.where(marks, -1, index))
    draft.drop(marks & (index - base > MARKS))


def _is_mark(code: int) -> bool:
    return unicodedata.combining(chr(code)) > 0


def _normalise_sequences(draft: _Draft) -> None:
    """Normal form C of each sequence, so that it is known what came from where.

    A character that does not occur in the text is put before each sequence. It composes
    with nothing, so it parts the normal forms as well.
    """
    old = draft.codes
    first = ~those(old, lambda code: _is_mark(code) or code in _second_halves())
    first[0] = True
    starts = np.flatnonzero(first)
    parting = int(np.flatnonzero(~present(old)[0xE000:])[0]) + 0xE000
    parted = string(np.insert(old, starts, parting))
    normal = codes(unicodedata.normalize("NFC", parted))
    sizes = np.diff(np.append(np.flatnonzero(normal == parting), normal.size)) - 1
    new = normal[normal != parting]

    sequence = np.repeat(np.arange(starts.size), sizes)
    place = np.arange(new.size) - (np.cumsum(sizes) - sizes)[sequence]
    changed = sizes != np.diff(np.append(starts, old.size))
    same_place = np.minimum(starts[sequence] + place, old.size - 1)
    changed[sequence[old[same_place] != new]] = True
    draft.changes["composed"] += int(changed.sum())
    # Each character of a changed sequence comes from the whole of it.
    origin = starts[sequence] + np.where(changed[sequence], 0, place)
    draft.codes, draft.offsets = new, draft.offsets[origin]


@cache
def _second_halves() -> frozenset[int]:
    """What stands second in a canonical pair, Hangul vowels and finals included."""
    pairs = (unicodedata.decomposition(chr(code)) for code in range(0x30000))
    second = {int(p.split()[1], 16) for p in pairs if " " in p and p[0] != "<"}
    return frozenset(second | set(range(0x1161, 0x1176)) | set(range(0x11A8, 0x11C3)))


# --- what cannot be seen -------------------------------------------------------------


def _drop_hidden(draft: _Draft) -> None:
    draft.drop(those(draft.codes, _HIDDEN.__contains__))


def _drop_tags(draft: _Draft) -> None:
    """Tags spell hidden letters, except in the three flags."""
    tags = within(draft.codes, _TAGS)
    if tags.any():
        for flag in _FLAG.finditer(string(draft.codes)):
            tags[flag.start() : flag.end()] = False
        draft.drop(tags)


def _drop_idle(draft: _Draft) -> None:
    """Take out joiners, word breaks and variation selectors that have no job.

    In a run of them two can have one: a selector directly after its base, and the first
    joiner that suits what stands before and after the run.
    """
    joiners = within(draft.codes, *_JOINERS)
    where = np.flatnonzero(joiners | within(draft.codes, *_SELECTORS))
    if not where.size:
        return
    run = np.cumsum(np.r_[False, np.diff(where) > 1])
    first = np.flatnonzero(np.r_[True, np.diff(run) > 0])  # of each run, in `where`
    last = np.r_[first[1:] - 1, where.size - 1]
    around = np.r_[draft.codes, np.uint32(0)]  # also what stands before the first
    left, right = around[where[first] - 1][run], around[where[last] + 1][run]
    job = _has_job(draft.codes[where], left, right)
    joiner = joiners[where]
    suiting = np.cumsum(job & joiner)
    earlier: NDArray[np.int64] = suiting - (job & joiner)
    job &= np.where(joiner, earlier == earlier[first][run], where == where[first][run])
    idle = np.zeros(draft.codes.size, dtype=bool)
    idle[where[~job]] = True
    draft.drop(idle)


def _has_job(codes: Codes, left: Codes, right: Codes) -> Mask:
    """Whether each invisible character means something between its neighbours."""
    joining, east_asian = within(left, *_JOINING), within(left, *_EAST_ASIAN)
    symbol, next_symbol = those(left, _is_symbol), those(right, _is_symbol)
    key = within(left, (0x30, 0x39), (ord("#"), ord("#")), (ord("*"), ord("*")))
    jobs = (
        ((_ZWJ, _ZWJ), joining | (symbol & next_symbol)),
        ((_ZWNJ, _ZWNJ), joining),
        ((_ZWSP, _ZWSP), within(left, *_UNSPACED)),
        ((_CGJ, _CGJ), within(left, _HEBREW)),
        ((0x180B, 0x180F), within(left, _MONGOLIAN)),
        ((0xFE00, 0xFE0D), joining | east_asian | symbol),
        ((0xFE0E, 0xFE0F), symbol | (key & (right == _KEYCAP))),
        ((0xE0100, 0xE01EF), east_asian),
    )
    found = np.zeros(codes.size, dtype=bool)
    for reach, job in jobs:
        found |= within(codes, reach) & job
    return found


def _is_symbol(code: int) -> bool:
    """Whether it can stand in an emoji sequence; skin tones are category Sk."""
    if code in _MORE_EMOJI or 0x1F3FB <= code <= 0x1F3FF:
        return True
    return unicodedata.category(chr(code)) in ("So", "Sm")


# --- what looks like something else --------------------------------------------------


def _mend_spaces(draft: _Draft) -> None:
    """Odd spaces to a space; the ideographic one stays beside East Asian text."""
    odd = those(draft.codes, _SPACES.__contains__)
    beside = np.r_[False, within(draft.codes, *_EAST_ASIAN), False]
    odd &= (draft.codes != 0x3000) | ~(beside[:-2] | beside[2:])
    draft.put(odd, _SPACES)


def _undisguise(draft: _Draft) -> None:
    draft.put(disguised(draft.codes), HOMOGLYPHS | STYLED)
