"""A synthetic source of tokens with the uneven entropy of real text.

Each token's entropy is drawn from a Gamma distribution of shape 0.6 around the mean: 19
% of the tokens of a 1-nat source have less than 0.1 nat, 29 % of a 0.5-nat source. Its
distribution is Zipf's, ``p_i ~ i**-a`` over 100 candidates, with the exponent that has
this entropy; the candidates are consecutive ids from a random start, in random order.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark.keys import Key, KeyRecord
from watermark.schemes import SCHEMES
from watermark.schemes import gumbel as scheme

CANDIDATES = 100
SHAPE = 0.6
VOCAB = 4096


@dataclass(frozen=True, slots=True)
class Text:
    """Tokens, and for each the probability of the source that it drew.

    `first` is the first token that a key chose, ``len(tokens)`` where none did.
    """

    tokens: NDArray[np.uint32]
    probabilities: NDArray[np.float64]
    first: int


@functools.cache
def _levels() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Entropies in nats, ascending, and the log-probabilities of each."""
    exponents = np.geomspace(20.0, 1e-3, 1024)[:, None]
    log_p = -exponents * np.log(np.arange(1, CANDIDATES + 1))
    log_p -= np.log(np.exp(log_p).sum(axis=1, keepdims=True))
    return -(np.exp(log_p) * log_p).sum(axis=1), log_p


@functools.cache
def _scale(nats: float) -> float:
    """Scale of the Gamma distribution whose mean is `nats` below the ceiling ln 100."""
    draws = np.random.default_rng(0).gamma(SHAPE, size=20_000)
    low, high = 0.0, 100.0
    for _ in range(50):
        scale = 0.5 * (low + high)
        mean = float(np.minimum(scale * draws, math.log(CANDIDATES)).mean())
        low, high = (scale, high) if mean < nats else (low, scale)
    return low


def rows(nats: float, rng: np.random.Generator) -> Iterator[NDArray[np.float64]]:
    """Endless log-probabilities float64[100], of `nats` of entropy on average."""
    entropies, log_p = _levels()
    while True:
        entropy = rng.gamma(SHAPE, _scale(nats))
        yield log_p[min(int(np.searchsorted(entropies, entropy)), len(log_p) - 1)]


def text(
    length: int,
    nats: float,
    rng: np.random.Generator,
    record: KeyRecord | None = None,
    nonce: int = 0,
    payload: bytes = b"",
) -> Text:
    """`length` tokens of the source, marked under `record` as an adapter marks them."""
    order = None if record is None else scheme.Sequencer(record, nonce, payload)
    tokens: list[int] = []
    probabilities: list[float] = []
    logits = np.full(VOCAB, -np.inf, dtype=np.float32)
    spent, first = 0.0, length
    for log_p in rows(nats, rng):
        if len(tokens) == length:
            break
        ids = (rng.integers(VOCAB) + rng.permutation(CANDIDATES)) % VOCAB
        choice = None if order is None else order.choose(tokens, spent)
        if choice is None:
            p = np.exp(log_p)
            drawn = min(int(np.searchsorted(np.cumsum(p), rng.random())), len(p) - 1)
            tokens.append(int(ids[drawn]))
            spent -= math.log(float(p @ p))
        else:
            logits[ids] = log_p
            tokens.append(scheme.select(logits, *choice))
            logits[ids] = -np.inf
            first = min(first, len(tokens) - 1)
            drawn = int(np.flatnonzero(ids == tokens[-1])[0])
        probabilities.append(math.exp(log_p[drawn]))
    return Text(
        np.asarray(tokens, dtype=np.uint32),
        np.asarray(probabilities, dtype=np.float64),
        first,
    )


def noise(length: int, rng: np.random.Generator) -> NDArray[np.uint32]:
    """`length` tokens chosen without a key, nearly every context its own."""
    return rng.integers(0, VOCAB, length).astype(np.uint32)


def records(count: int, seed: int, **parameters: Any) -> Iterator[KeyRecord]:
    """Records of `count` keys, the same in each run, so that no test is flaky."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield SCHEMES["gumbel"].record(Key(rng.bytes(32)), **parameters)
