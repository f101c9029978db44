"""A model of word pairs: what people wrote in the standard library, word by word.

Contexts come again as in real text, which is what an attacker lives on; and a text
costs a millisecond.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from benchmarks.fpr_corpus import texts
from benchmarks.sources import VOCAB, Mark

KINDS = ("prose", "licences")
CANDIDATES = 48  # words that may follow one
PAIRS = 0.85  # weight of what followed this word; the rest is how frequent a word is


@dataclass(frozen=True)
class Bigrams:
    """For each word, which may follow and how likely.

    Attributes:
        ids: int64 [VOCAB, CANDIDATES], distinct in a row.
        log_p: float64, their log-probabilities, which sum to one in a row.
    """

    ids: NDArray[np.int64]
    log_p: NDArray[np.float64]

    def sample(
        self, length: int, rng: np.random.Generator, mark: Mark | None = None
    ) -> list[int]:
        """`length` words, with a mark or as the model says."""
        tokens: list[int] = []
        logits = np.full(VOCAB, -np.inf, np.float32)
        last, spent = int(rng.integers(256)), 0.0
        for _ in range(length):
            ids, log_p = self.ids[last], self.log_p[last]
            logits[ids] = log_p
            choice = None if mark is None else mark(tokens, logits, spent)
            logits[ids] = -np.inf
            if isinstance(choice, int):
                last = choice
            else:
                row = log_p if choice is None else choice[ids].astype(np.float64)
                last = int(ids[drawn(row, rng)])
                if choice is None:
                    spent -= math.log(float(np.exp(2 * log_p).sum()))
            tokens.append(last)
        return tokens


def drawn(log_weights: NDArray[np.float64], rng: np.random.Generator) -> int:
    """An index, drawn with weights that need not sum to one."""
    sums = np.cumsum(np.exp(log_weights - log_weights.max()))
    at = int(np.searchsorted(sums, rng.random() * sums[-1], side="right"))
    return min(at, len(sums) - 1)


@cache
def model() -> Bigrams:
    """Counted once a process."""
    found = texts()
    words = [
        w
        for kind in KINDS
        for w in re.findall(r"[a-z']+|[.,;:]", found.get(kind, "").lower())
    ]
    names, ids = np.unique(words, return_inverse=True)
    frequent = np.argsort(-np.bincount(ids), kind="stable")[:VOCAB]
    place = np.full(len(names), -1)
    place[frequent] = np.arange(len(frequent))
    sequence = place[ids]
    sequence = sequence[sequence >= 0]
    size = len(frequent)
    single = np.bincount(sequence, minlength=VOCAB).astype(np.float64) + 1e-9
    single /= single.sum()
    rows_ids = np.zeros((VOCAB, CANDIDATES), np.int64)
    rows_log = np.zeros((VOCAB, CANDIDATES))
    order = np.lexsort((sequence[1:], sequence[:-1]))
    before, after = sequence[:-1][order], sequence[1:][order]
    starts = np.searchsorted(before, np.arange(size + 1))
    for word in range(VOCAB):
        chances = (1 - PAIRS) * single
        if word < size and starts[word] < starts[word + 1]:
            follow = after[starts[word] : starts[word + 1]]
            chances = chances + PAIRS * np.bincount(follow, minlength=VOCAB) / len(
                follow
            )
        top = np.argsort(-chances, kind="stable")[:CANDIDATES]
        rows_ids[word] = top
        rows_log[word] = np.log(chances[top] / chances[top].sum())
    return Bigrams(rows_ids, rows_log)
