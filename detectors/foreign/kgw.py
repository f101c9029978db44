"""Detect `hf-kgw` and `kgw`: green tokens, each seed and token counted once.

Over a random key a list is a random set of G of the V tokens, and lists of different
seeds are independent. So of the distinct pairs (seed, token) the greens of each seed
are hypergeometric, and their sum is a sum of independent trials of mean ``n G / V``
(Vatutin and Mikhailov, Theory Probab. Appl. 27 (1982)). From one above its mean on, the
tail of such a sum is at most the binomial one (Hoeffding, Ann. Math. Stat. 27 (1956),
Theorem 4); below, the p-value is 1. No assumption about language is made.

Pairs are told apart by seed, not by context: under self-hashing a quarter to a third of
all positions are seeded by their own token alone, and come again in other contexts.
Counted each time they make texts fail by chance far more often than a binomial says.
Seeds that no key changes (token 0 under lefthash) are no evidence and left out.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark.detectors.base import Score
from watermark.detectors.foreign import rank
from watermark.detectors.stats import ln_binomial_tail
from watermark.errors import VocabularyMismatch
from watermark.kernels import mt_mask, mt_members
from watermark.keys import KeyRecord
from watermark.schemes.base import option
from watermark.schemes.foreign import hf_kgw, kgw
from watermark.schemes.foreign.base import engine_numbers

# As for our own `greenlist`: 90 % power at p = 1e-6, 1 nat a token, gamma 1/4, delta 2.
ENOUGH = 320
CACHE = 128 << 20  # bytes of green lists that are kept
SEEN = 1 << 18  # seeds whose number is counted

# Of a list: its seed, the length of the permutation, and of the list.
Name = tuple[int, int, int]


def score(tokens: Any, record: KeyRecord, skip: int = 0) -> Score:
    """Test token ids under one key record.

    Args:
        tokens: ids, any integer sequence in [0, 2**32).
        record: of the scheme `hf-kgw` or `kgw`, with its vocabulary size.
        skip: tokens of prompt at the start: they are contexts, since the engines seed
            by them too, but are not scored, nor is a pair that occurs there.

    Raises:
        ValueError: skip is not in 0 to ``len(tokens)``.
        VocabularyMismatch: the record has no vocabulary size.
        KeyFileError: the record was read without its key.
    """
    size, count = lists(record)
    seeds, found = pairs(tokens, record, skip)
    n = len(found)
    greens = int(_GREEN.members(seeds, found, size, count).sum())
    if option(record.parameters, "legacy"):  # the first V - G entries are red
        greens = n - greens
        share = 1 - count / size
    else:
        share = count / size
    bound = greens >= n * share + 1 and 0 < share < 1
    return Score(
        ln_p=ln_binomial_tail(greens, n, share) if bound else 0.0,
        hypotheses=1,
        n=n,
        statistic=float(greens),
    )


def proven(record: KeyRecord, n: int) -> float:
    """Ln of the least p that holds, but for a factor of e, whatever the text.

    A list follows from 32 bits of its seed; under lm-watermarking's table from fewer.
    """
    known = record.scheme == kgw.SCHEME.name
    states = kgw.states(record.parameters) if known else 1 << 32
    return rank.ln_counted(n, lists(record)[0], states)


def lists(record: KeyRecord) -> tuple[int, int]:
    """Length of the permutations, and how many entries of them are followed.

    Raises:
        VocabularyMismatch: the record has no vocabulary size.
    """
    if record.vocab_size is None:
        raise VocabularyMismatch(
            f"the record of {record.scheme} has no vocabulary size, and every size has "
            "green lists of its own: give the width of the model's logits"
        )
    green = int(record.vocab_size * float(record.parameters["gamma"]))
    if option(record.parameters, "legacy"):
        return record.vocab_size, record.vocab_size - green
    return record.vocab_size, green


def pairs(
    tokens: Any, record: KeyRecord, skip: int = 0
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """The distinct (seed, token) that the key decides, in order of seed and token.

    Tokens that are not below the vocabulary size are in no list and were not generated.

    Args:
        tokens: ids, any integer sequence in [0, 2**32).
        record: of the scheme `hf-kgw` or `kgw`, with its vocabulary size.
        skip: tokens of prompt at the start, whose pairs do not count.

    Returns:
        (seeds, tokens): uint32, of one length.

    Raises:
        ValueError: skip is not in 0 to ``len(tokens)``.
    """
    ids = np.ascontiguousarray(tokens, dtype=np.uint32)
    if not 0 <= skip <= len(ids):
        raise ValueError(f"skip is {skip}, expected 0 to {len(ids)}")
    scheme = hf_kgw if record.scheme == hf_kgw.SCHEME.name else kgw
    width, self_hash = scheme.window(record.parameters)
    first = width - self_hash  # position of the first token with a whole window
    if len(ids) <= first:
        return np.empty(0, np.uint32), np.empty(0, np.uint32)
    windows = np.lib.stride_tricks.sliding_window_view(ids.astype(np.int64), width)
    windows = windows[: len(ids) - first]
    [key] = engine_numbers(record)
    seeds, keyed = scheme.seeds(windows, key, record.parameters)
    scored = ids[first:]
    known = scored < lists(record)[0]
    pair = seeds.astype(np.uint64) << np.uint64(32) | scored
    prompt = max(0, skip - first)
    kept = np.unique(pair[prompt:][(keyed & known)[prompt:]])
    if prompt:
        kept = kept[~np.isin(kept, pair[:prompt])]
    return (kept >> np.uint64(32)).astype(np.uint32), kept.astype(np.uint32)


class GreenLists:
    """Membership in green lists: those that are asked for often are kept.

    The first time a seed comes its tokens are followed through the shuffle, the second
    time the whole list is made. Where there is no room, a list has to come more often
    than the one that was not used for longest. Safe to share between threads.
    """

    def __init__(self, budget: int = CACHE) -> None:
        """Keep at most `budget` bytes of lists."""
        self._budget = budget
        self._held = 0
        self._masks: OrderedDict[Name, bytes] = OrderedDict()
        self._seen: dict[Name, int] = {}
        self._lock = threading.Lock()

    def members(
        self,
        seeds: NDArray[np.uint32],
        tokens: NDArray[np.uint32],
        size: int,
        count: int,
    ) -> NDArray[np.bool_]:
        """Whether each token is among the first `count` of its seed's permutation.

        Args:
            seeds: uint32 [pairs], equal ones side by side.
            tokens: uint32 [pairs], below `size`.
            size: length of the permutations.
            count: length of the lists.
        """
        found: list[int] = []
        new: list[int] = []  # places of pairs whose list is not at hand
        last, mask = -1, None
        pairs = zip(seeds.tolist(), tokens.tolist(), strict=True)
        for place, (seed, token) in enumerate(pairs):
            if seed != last:
                last, mask = seed, self._mask((seed, size, count))
            if mask is None:
                new.append(place)
                found.append(0)
            else:
                found.append(mask[token >> 3] >> (token & 7) & 1)
        green = np.asarray(found, np.bool_)
        if new:
            green[new] = mt_members(seeds[new], tokens[new], size, count) != 0
        return green

    def clear(self) -> None:
        """Drop every list."""
        with self._lock:
            self._masks.clear()
            self._seen.clear()
            self._held = 0

    def _mask(self, name: Name) -> bytes | None:
        """The list of a seed that came often enough, else None."""
        with self._lock:
            if len(self._seen) >= SEEN:  # what came once in a long time is forgotten
                self._seen = {k: n >> 1 for k, n in self._seen.items() if n > 1}
            times = self._seen[name] = self._seen.get(name, 0) + 1
            mask = self._masks.get(name)
            if mask is not None:
                self._masks.move_to_end(name)
                return mask
            if times == 1 or not self._room(times, (name[1] + 7) // 8):
                return None
        mask = mt_mask(*name).tobytes()
        with self._lock:
            if name not in self._masks:
                self._held += len(mask)
            self._masks[name] = mask
        return mask

    def _room(self, times: int, wanted: int) -> bool:
        """Whether a list that came so often may be kept; makes room for it."""
        while self._held + wanted > self._budget:
            oldest = next(iter(self._masks), None)
            if oldest is None or self._seen.get(oldest, 0) >= times:
                return False
            self._held -= len(self._masks.pop(oldest))
        return True


_GREEN = GreenLists()


def forget() -> None:
    """Drop the lists that are kept: to time what a first text costs."""
    _GREEN.clear()
