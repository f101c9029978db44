"""A synthetic source of tokens with the uneven entropy of real text.

Each token's entropy is drawn from a Gamma distribution of shape 0.6 around the mean: 19
% of the tokens of a 1-nat source have less than 0.1 nat, 29 % of a 0.5-nat source. Its
distribution is Zipf's, ``p_i ~ i**-a`` over 100 candidates, with the exponent that has
this entropy; the candidates are consecutive ids from a random start, in random order.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark.keys import Key, KeyRecord
from watermark.prf import context_key
from watermark.schemes import SCHEMES, greenlist, gumbel, tournament

CANDIDATES = 100
SHAPE = 0.6
VOCAB = 4096

Floats = NDArray[np.float64]
# From the tokens so far, float32 logits [VOCAB] with -inf at all but the candidates,
# and the nats of ordinary randomness spent: the token that a key chooses, logits to
# sample from in their place, or None: sample freely.
Mark = Callable[[list[int], NDArray[np.float32], float], Any]


@dataclass(frozen=True, slots=True)
class Text:
    """Tokens, and for each the source's probability of it and entropy before the mark.

    `first` is the first token that a key had a part in, ``len(tokens)`` where none had.
    """

    tokens: NDArray[np.uint32]
    probabilities: Floats
    entropies: Floats
    first: int


@functools.cache
def _levels() -> tuple[Floats, Floats]:
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


def rows(nats: float, rng: np.random.Generator) -> Iterator[Floats]:
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
    *,
    mark: Mark | None = None,
) -> Text:
    """`length` tokens of the source, marked under `record` as an adapter marks them.

    Or marked by `mark`, which is for schemes that have no key record.
    """
    if record is not None:
        mark = marking(record, nonce, payload)
    tokens: list[int] = []
    drawn: list[tuple[float, float]] = []
    logits = np.full(VOCAB, -np.inf, dtype=np.float32)
    spent, first = 0.0, length
    for log_p in rows(nats, rng):
        if len(tokens) == length:
            break
        ids = (rng.integers(VOCAB) + rng.permutation(CANDIDATES)) % VOCAB
        p = np.exp(log_p)
        logits[ids] = log_p
        choice = None if mark is None else mark(tokens, logits, spent)
        logits[ids] = -np.inf
        if choice is None:
            at = _draw(p, rng)
            spent -= math.log(float(p @ p))
        else:
            first = min(first, len(tokens))
            if isinstance(choice, int):
                at = int(np.flatnonzero(ids == choice)[0])
            else:
                weights = np.exp(choice[ids].astype(np.float64))
                at = _draw(weights / weights.sum(), rng)
        tokens.append(int(ids[at]))
        drawn.append((float(p[at]), -float(p @ log_p)))
    columns = np.asarray(drawn, dtype=np.float64).reshape(-1, 2)
    return Text(
        np.asarray(tokens, dtype=np.uint32), columns[:, 0], columns[:, 1], first
    )


def _draw(p: Floats, rng: np.random.Generator) -> int:
    return min(int(np.searchsorted(np.cumsum(p), rng.random())), len(p) - 1)


def marking(record: KeyRecord, nonce: int = 0, payload: bytes = b"") -> Mark:
    """What a key record does to one sequence."""
    key = context_key(record)
    if record.scheme == "greenlist":

        def bias(tokens: list[int], logits: NDArray[np.float32], spent: float) -> Any:
            state = greenlist.state(record, tokens, key=key)
            biased = logits.copy()
            if state is None or not greenlist.bias(biased, state, record):
                return None
            return biased

        return bias

    fresh = gumbel.fresh_nats(record, None)  # a message is each sequence's own
    order = gumbel.Sequencer(record, nonce, payload, fresh)

    def choose(tokens: list[int], logits: NDArray[np.float32], spent: float) -> Any:
        choice = order.choose(tokens, spent)
        if choice is None:
            return None
        if record.scheme == "tournament":
            return tournament.reweigh(logits, choice.state, choice.nonce, record)
        return gumbel.select(logits, *choice)

    return choose


def noise(length: int, rng: np.random.Generator) -> NDArray[np.uint32]:
    """`length` tokens chosen without a key, nearly every context its own."""
    return rng.integers(0, VOCAB, length).astype(np.uint32)


def records(count: int, seed: int, **parameters: Any) -> Iterator[KeyRecord]:
    """Records of `count` keys, the same in each run, so that no test is flaky."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield SCHEMES["gumbel"].record(Key(rng.bytes(32)), **parameters)
