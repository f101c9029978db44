"""Fingerprints of texts: which of several records is this text of?

A mark of 16 bits leads to as many records as share its value. What each was made with
is remembered as a sketch of its words (Broder 1997, "On the resemblance and containment
of documents"; b bits of each minimum: Li and Koenig 2010), by which they are ranked. It
tells how much two texts have in common, and nothing of what they say, though who has a
text can tell that a sketch is of it.
"""

from __future__ import annotations

import hashlib
import re
import struct
import unicodedata

import numpy as np
from numpy.typing import NDArray

VERSION = 1
WORDS = 3  # in a shingle
MINIMA = 256
HEAD = struct.Struct(">BI")  # version, number of distinct shingles
BYTES = HEAD.size + MINIMA
MAX_CHARACTERS = 1_000_000
_CHUNK = 4096
# A word; or one character of a script that puts no spaces between words.
_WORD = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
    "\U00020000-\U0003ffff]|[^\\W_]+"
)
_CHANCE = 1 / 256  # that two minima agree in their last eight bits
# Fewer agreeing minima say nothing: of two texts that share no words, 1 in 100,000 has
# as many (Poisson, mean 1). Of lengths far apart, each would count for very much.
_LEAST = 8

Hashes = NDArray[np.uint64]


def fingerprint(text: str) -> bytes:
    """A sketch of the words of a text, whatever their case and the signs between.

    Args:
        text: at most the first million characters count.

    Returns:
        261 bytes: version, number of distinct runs of three words, and the last byte of
        the least hash of all runs under each of 256 hash functions; empty for a text
        without words.
    """
    plain = unicodedata.normalize("NFKC", text[:MAX_CHARACTERS]).casefold()
    shingles = _shingles(_WORD.findall(plain))
    if not len(shingles):
        return b""
    least = np.full(MINIMA, np.iinfo(np.uint64).max, np.uint64)
    for start in range(0, len(shingles), _CHUNK):
        part = shingles[start : start + _CHUNK, None]
        np.minimum(least, _mixed(part * _MULTIPLY + _ADD).min(axis=0), out=least)
    last = (least & np.uint64(0xFF)).astype(np.uint8)
    return HEAD.pack(VERSION, min(len(shingles), 0xFFFFFFFF)) + last.tobytes()


def similarity(kept: bytes, seen: bytes) -> float:
    """How much of the shorter text is in the other, about, 0 to 1.

    From the resemblance r, which agreeing minima estimate with a standard error of at
    most 0.032: r (a + b) / (1 + r) runs are common to both, of the a and b that each
    has. So an excerpt of a record's text is like that text, and so is a text that
    quotes it whole: `share` tells the two apart. An excerpt of less than about three
    hundredths is not told from other texts.

    Raises:
        ValueError: not two fingerprints of this version.
    """
    common, count, other = _common(kept, seen)
    return min(1.0, common / min(count, other))


def share(kept: bytes, seen: bytes) -> float:
    """How much of the text `seen` is in the text `kept`, about, 0 to 1.

    Raises:
        ValueError: as `similarity`.
    """
    common, _, other = _common(kept, seen)
    return min(1.0, common / other)


def _common(kept: bytes, seen: bytes) -> tuple[float, int, int]:
    """How many runs two texts share, about, and how many each has."""
    (count, minima), (other, others) = _read(kept), _read(seen)
    agreeing = int(np.count_nonzero(minima == others))
    if agreeing < _LEAST:
        return 0.0, count, other
    alike = (agreeing / MINIMA - _CHANCE) / (1 - _CHANCE)
    return alike * (count + other) / (1 + alike), count, other


def _read(data: bytes) -> tuple[int, NDArray[np.uint8]]:
    if len(data) != BYTES or data[0] != VERSION:
        raise ValueError(
            f"found a text's fingerprint of {len(data)} bytes, expected {BYTES} of "
            f"version {VERSION}"
        )
    _, count = HEAD.unpack_from(data)
    return max(1, count), np.frombuffer(data, np.uint8, offset=HEAD.size)


def _shingles(words: list[str]) -> Hashes:
    """A hash of each distinct run of three words; a shorter text is one run."""
    known = {word: _hash(word) for word in set(words)}
    hashes = np.array([known[word] for word in words], np.uint64)
    runs = max(1, len(words) - WORDS + 1) if words else 0
    found = np.zeros(runs, np.uint64)
    for n in range(min(WORDS, len(words))):
        found = _mixed(found * np.uint64(0x9E3779B97F4A7C15) + hashes[n : n + runs])
    return np.unique(found)


def _hash(word: str) -> int:
    data = word.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


def _mixed(values: Hashes) -> Hashes:
    """SplitMix64's finaliser (Steele, Lea and Flood 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


_NUMBERS = np.frombuffer(
    hashlib.shake_256(b"watermark text fingerprint 1").digest(16 * MINIMA), ">u8"
).astype(np.uint64)
_MULTIPLY, _ADD = _NUMBERS[:MINIMA] | np.uint64(1), _NUMBERS[MINIMA:]
