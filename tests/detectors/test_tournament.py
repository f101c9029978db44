"""The tail of `tournament` is right, its rates hold, and marked texts are found."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import scipy.stats
from benchmarks import sources

from watermark.detectors import tournament
from watermark.keys import Key, KeyRecord
from watermark.schemes import SCHEMES

KEYS = 4000


def records(count: int, seed: int, **parameters: Any) -> Iterator[KeyRecord]:
    """Records of `count` keys, the same in each run, so that no test is flaky."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield SCHEMES["tournament"].record(Key(rng.bytes(32)), **parameters)


# --- the tail ------------------------------------------------------------------------


def exact_ln_tail(n: int, weights: list[int], total: float) -> float:
    """By adding up layer after layer: weights are integers, so T is one too."""
    p = np.ones(1)
    for w in weights:
        longer = np.zeros(len(p) + 2 * w * n)
        for k in range(n + 1):
            longer[2 * w * k : 2 * w * k + len(p)] += p * math.comb(n, k) / 2.0**n
        p = longer
    first = math.ceil(total - 1e-9 + n * sum(weights))
    return math.log(p[first:].sum())


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.5, 0.7])
@pytest.mark.parametrize(("n", "layers"), [(8, 12), (20, 12), (8, 30), (20, 30)])
def test_the_tail_is_nearly_exact(n: int, layers: int, share: float) -> None:
    weights = [int(w) for w in tournament.odds(layers)]
    total = share * n * sum(weights)
    found = tournament.ln_tail(n, tournament.odds(layers), total)

    assert abs(found - exact_ln_tail(n, weights, total)) < 0.03


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.8, 1.0])
@pytest.mark.parametrize(("n", "layers"), [(1, 30), (7, 20), (40, 1), (20, 2), (8, 11)])
def test_the_tail_of_few_bits_is_a_bound(n: int, layers: int, share: float) -> None:
    weights = [int(w) for w in tournament.odds(layers)]
    total = share * n * sum(weights)
    exact = exact_ln_tail(n, weights, total)

    assert exact - 1e-9 <= tournament.ln_tail(n, tournament.odds(layers), total)
    assert tournament.ln_tail(n, tournament.odds(layers), total) < exact + 4


@pytest.mark.parametrize("weights", [tournament.odds(30), tournament.linear(30)])
def test_the_tail_is_that_of_the_null(weights: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    counts = rng.binomial(60, 0.5, (80_000, 30))
    totals = (2 * counts - 60) @ weights
    for rate in (0.5, 0.1, 1e-2, 1e-3):
        cut = np.quantile(totals, 1 - rate)
        spread = 4 / math.sqrt(80_000 * rate)

        assert (
            abs(tournament.ln_tail(60, weights, float(cut)) - math.log(rate)) < spread
        )


def test_the_tail_reaches_far_down_and_ends_where_all_bits_are_one() -> None:
    weights = tournament.odds(30)
    most = 100 * float(weights.sum())
    tails = [
        tournament.ln_tail(100, weights, share * most) for share in (0.5, 0.9, 1.0)
    ]

    assert 0 > tails[0] > tails[1] > tails[2]
    assert tails[2] == pytest.approx(-3000 * math.log(2), rel=0.01)
    assert tournament.ln_tail(100, weights, 0.0) == pytest.approx(
        math.log(0.5), abs=0.01
    )
    assert tournament.ln_tail(100, weights, -most) == pytest.approx(0.0, abs=1e-9)


# --- rates ---------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [tournament.odds, tournament.linear])
def test_p_values_at_one_nonce_are_uniform_under_random_keys(
    weights: Callable[[int], Any],
) -> None:
    tokens = np.tile(sources.noise(80, np.random.default_rng(2)), 2)
    found = [
        tournament.score(tokens, r, weights=weights).ln_p
        for r in records(KEYS, 3, nonce_bits=0)
    ]

    assert scipy.stats.kstest(np.exp(found), "uniform").pvalue > 1e-4


def test_adjusted_p_values_are_valid_under_random_keys() -> None:
    for length in (8, 60):
        tokens = sources.noise(length, np.random.default_rng(4))
        found = np.asarray(
            [tournament.score(tokens, r).log10_p() for r in records(KEYS, 5)]
        )
        for rate in (0.1, 0.03, 0.01, 1e-3):
            hits = int((found <= math.log10(rate)).sum())

            assert hits <= scipy.stats.binom.ppf(0.999, KEYS, rate)


# --- power ---------------------------------------------------------------------------


def test_a_marked_text_is_found_under_its_key_and_nonce_alone() -> None:
    [record, other] = records(2, 6)
    for nonce in (0, 7, 15):
        rng = np.random.default_rng(nonce)
        tokens = sources.text(300, 1.2, rng, record, nonce).tokens
        score = tournament.score(tokens, record)
        plain = tournament.score(tokens, record, weights=tournament.linear)

        assert score.log10_p() < -6
        assert (score.nonce, score.hypotheses, plain.nonce) == (nonce, 16, nonce)
        assert plain.log10_p() < -6
        assert tournament.score(tokens, other).log10_p() > -3


def test_the_hits_of_the_table_are_those_of_the_source() -> None:
    """By ``3/4 - E sum p^2 / 4`` of the probabilities before each layer."""
    rng = np.random.default_rng(7)
    log_p = np.stack(list(itertools.islice(sources.rows(1.0, rng), 20_000)))
    p = np.exp(log_p)
    for hit in tournament.HITS:
        expected = 0.75 - 0.25 * float((p**2).sum(1).mean())

        assert abs(hit / 10_000 - expected) < 0.004
        bits = rng.integers(0, 2, p.shape)
        p = p * (1 + bits - (p * bits).sum(1, keepdims=True))


def test_fewer_layers_than_the_table_has_are_its_first() -> None:
    assert np.array_equal(tournament.odds(10), tournament.odds(32)[:10])
    assert (np.diff(tournament.odds(32)) < 0).all()


# --- the text ------------------------------------------------------------------------


@pytest.mark.parametrize("length", range(5))
def test_a_text_without_context_is_no_evidence(length: int) -> None:
    [record] = records(1, 8)
    score = tournament.score(np.arange(length), record)

    assert (score.n, score.ln_p, score.log10_p()) == (0, 0.0, 0.0)


def test_a_prompt_does_not_count() -> None:
    [record] = records(1, 9)
    rng = np.random.default_rng(9)
    prompt, text = sources.noise(50, rng), sources.noise(80, rng)
    both = np.concatenate([prompt, text])

    assert tournament.score(both, record, 50) == tournament.score(text, record)
    assert tournament.score(np.tile(text, 2), record, 80).n == 0
