"""A tournament keeps the distribution over keys, and what is excluded excluded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from watermark.errors import InvalidSignal
from watermark.kernels import context_state, words
from watermark.keys import Key, KeyRecord
from watermark.prf import context_key
from watermark.schemes import SCHEMES, gumbel, tournament

P = np.asarray([0.5, 0.25, 0.15, 0.07, 0.03])
TOKENS = np.asarray([3, 17, 40, 41, 90], np.uint32)


def record(seed: int = 0, **parameters: Any) -> KeyRecord:
    key = Key(np.random.default_rng(seed).bytes(32))
    return SCHEMES["tournament"].record(key, **parameters)


def states(one: KeyRecord, count: int) -> list[bytes]:
    key = context_key(one)
    return [
        context_state(key, np.asarray([i, 1, 2, 3], np.uint32)) for i in range(count)
    ]


def scaled(state: bytes, nonce: int, layers: int) -> np.ndarray:
    p = P.copy()
    tournament.scale(p, TOKENS, state, nonce, layers)
    return p


@pytest.mark.parametrize(("layers", "nonce"), [(1, 0), (5, 6), (30, 13)])
def test_the_distribution_is_kept_over_contexts(layers: int, nonce: int) -> None:
    found = np.stack([scaled(s, nonce, layers) for s in states(record(1), 8000)])
    error = found.std(axis=0) / np.sqrt(len(found))

    assert np.allclose(found.sum(axis=1), 1)
    assert (found >= 0).all()
    assert (np.abs(found.mean(axis=0) - P) < 4 * error).all()
    assert (error > 0).all()


def test_one_layer_is_the_formula() -> None:
    for state in states(record(2), 20):
        word = [words(state, int(x), 6 >> 2)[6 & 3] for x in TOKENS]
        g = np.asarray([w >> 31 for w in word])

        assert np.allclose(scaled(state, 6, 1), P * (1 + g - (P * g).sum()))


def test_layers_concentrate_the_distribution() -> None:
    found = [
        np.mean([(scaled(s, 0, m) ** 2).sum() for s in states(record(3), 300)])
        for m in (1, 3, 10, 30)
    ]

    assert found == sorted(found)
    assert found[-1] > 0.9


def test_a_row_keeps_what_is_excluded() -> None:
    one = record(4)
    logits = np.full(200, -np.inf, np.float32)
    logits[TOKENS] = np.log(P) + 5
    for state in states(one, 50):
        row = tournament.reweigh(logits, state, 3, one)
        expected = scaled(state, 3, 30)
        alive = expected > 1e-30

        assert row.dtype == np.float32
        assert np.isneginf(np.delete(row, TOKENS)).all()
        assert np.allclose(np.exp(row[TOKENS][alive]), expected[alive], rtol=1e-5)


def test_one_candidate_stays_certain() -> None:
    logits = np.full(20, -np.inf, np.float32)
    logits[7] = 3.0
    row = tournament.reweigh(logits, bytes(16), 0, record())

    assert np.flatnonzero(np.isfinite(row)).tolist() == [7]
    assert row[7] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        ([0.0, np.nan, 1.0], "NaN"),
        ([0.0, np.inf], "NaN or"),
        ([-np.inf, -np.inf], "no token"),
        ([], "no token"),
    ],
)
def test_broken_logits_are_refused(logits: list[float], message: str) -> None:
    with pytest.raises(InvalidSignal, match=message):
        tournament.reweigh(np.asarray(logits, np.float32), bytes(16), 0, record())


def test_its_words_are_not_those_of_gumbel() -> None:
    other = SCHEMES["gumbel"].record(record().secret)
    choice = gumbel.Sequencer(record(), 0).choose([1, 2, 3, 4], 99.0)
    plain = gumbel.Sequencer(other, 0).choose([1, 2, 3, 4], 99.0)

    assert choice is not None
    assert plain is not None
    assert choice.state != plain.state
