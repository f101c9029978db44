"""The model-weighted test: right by simulation, right far out by tilted simulation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from benchmarks import sources
from numpy.typing import NDArray

from watermark.detectors import gumbel, weighted
from watermark.detectors.terms import terms
from watermark.errors import InvalidSignal
from watermark.keys import KeyRecord

DRAWS = 200_000  # so that 1e-4 is 20 of them


def one(seed: int, **parameters: int) -> KeyRecord:
    return next(sources.records(1, seed, **parameters))


def probabilities(count: int, nats: float, seed: int) -> NDArray[np.float64]:
    return sources.text(count, nats, np.random.default_rng(seed)).probabilities


def null_sums(p: NDArray[np.float64], draws: int, seed: int) -> NDArray[np.float64]:
    """The statistic of `draws` random keys."""
    rng = np.random.default_rng(seed)
    sums = np.zeros(draws)
    for value in p:
        terms = rng.exponential(size=(1, draws))
        sums += weighted.log_ratios(terms, np.asarray([value]))[0]
    return sums


def critical(p: NDArray[np.float64], alpha: float, low: float) -> float:
    def excess(total: float) -> float:
        return weighted.ln_tail(p, total) - math.log(alpha)

    return float(scipy.optimize.brentq(excess, low, 200.0, xtol=1e-6))


# --- the null ------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "nats"), [(60, 1.0), (100, 0.4)])
def test_p_is_uniform_under_random_keys(count: int, nats: float) -> None:
    """Within the margin: never more often than stated, and hardly less."""
    p = probabilities(count, nats, 1)
    sums = null_sums(p, DRAWS, 2)
    for alpha in (0.3, 1e-1, 1e-2, 1e-3, 1e-4):
        hits = int((sums >= critical(p, alpha, float(sums.min()))).sum())
        print(f"{nats} nats: {alpha:g}: {hits / DRAWS:g}")

        assert hits <= scipy.stats.binom.ppf(0.999, DRAWS, alpha)
        assert hits >= scipy.stats.binom.ppf(0.001, DRAWS, 0.7 * alpha)


@pytest.mark.parametrize(("count", "nats"), [(60, 1.0), (200, 1.0), (150, 0.4)])
def test_the_tail_is_right_far_out(count: int, nats: float) -> None:
    """Tilted by t = 1 a key chooses tokens: P(X >= x) = E_1[e^-X; X >= x]."""
    p = probabilities(count, nats, 3)
    rng = np.random.default_rng(4)
    draws = 20_000
    sums = np.zeros(draws)
    for value in p:
        log_u = np.log(rng.random(draws))
        log_u = np.where(rng.random(draws) < weighted.FREE, log_u, value * log_u)
        s = -np.log(-np.expm1(log_u))
        sums += weighted.log_ratios(s[None], np.asarray([value]))[0]
    for quantile in (0.1, 0.5, 0.9):
        total = float(np.quantile(sums, quantile))
        weights = np.exp(total - sums) * (sums >= total)
        exact = math.log(float(weights.mean())) - total
        noise = float(weights.std()) / float(weights.mean()) / math.sqrt(draws)
        found = weighted.ln_tail(p, total)
        print(f"ln p {exact:.2f}: {found - exact:+.3f} nats, noise {noise:.3f}")

        assert exact < -8
        assert -3 * noise < found - exact < 3 * noise + 0.25


@pytest.mark.parametrize("p", [[0.5], [1e-3], [0.2, 0.6], [0.1] * 3, [0.02, 0.9, 0.5]])
def test_of_few_tokens_the_tail_is_a_bound(p: list[float]) -> None:
    values = np.asarray(p)
    sums = null_sums(values, 30_000, 5)
    for total in np.quantile(sums, [0.01, 0.3, 0.7, 0.9, 0.99, 0.9999]):
        hits = int((sums >= total).sum())
        stated = math.exp(weighted.ln_tail(values, float(total)))

        assert hits <= scipy.stats.binom.ppf(0.9999, 30_000, min(1.0, stated))


def test_the_tail_has_no_end() -> None:
    """The largest score there is: every u at its highest."""
    p = np.full(5000, 1e-3)
    largest = float(weighted.log_ratios(np.full((5000, 1), 22.18), p).sum())
    found = weighted.ln_tail(p, largest)

    assert -5000 * 22.2 < found < -10_000 * math.log(10)
    assert weighted.ln_tail(p, largest / 2) > found
    assert weighted.ln_tail(np.ones(50), 0.0) == 0.0
    assert weighted.ln_tail(np.empty(0), 0.0) == 0.0


@pytest.mark.parametrize("kind", ["right", "wrong", "extreme"])
def test_no_probabilities_make_the_test_invalid(kind: str) -> None:
    rng = np.random.default_rng(6)
    text = sources.text(60, 1.0, rng)
    given: Any = text.probabilities
    if kind == "wrong":
        given = rng.random(60)
    if kind == "extreme":
        given = 10.0 ** -rng.integers(0, 300, 60)
    found = np.asarray(
        [
            weighted.score(text.tokens, record, given).log10_p()
            for record in sources.records(250, 7)
        ]
    )
    for alpha in (0.3, 1e-1, 1e-2):
        hits = int((found <= math.log10(alpha)).sum())
        print(f"{kind}: {alpha:g}: {hits / 250:g}")

        assert hits <= scipy.stats.binom.ppf(0.999, 250, alpha)


def test_the_log_ratio_is_finite_and_rises_with_u() -> None:
    found = np.asarray([[0.0, 1e-9, 0.1, 1.0, 5.0, 22.18]]).repeat(5, axis=0)
    p = np.asarray([1.0, 1 - 1e-12, 0.5, 1e-3, 2.0**-32])
    ratios = weighted.log_ratios(found, p)

    assert np.isfinite(ratios).all()
    assert (np.diff(ratios, axis=1) >= 0).all()
    assert np.abs(ratios[0]).max() < 1e-12
    assert math.isclose(ratios[2, 0], math.log(weighted.FREE))


# --- power ---------------------------------------------------------------------------


def test_half_as_many_tokens_decide_as_without_the_model() -> None:
    """1 nat a token: 100 tokens at 1e-6, where the model-free test finds 3 of 4."""
    [record] = sources.records(1, 8)
    rng = np.random.default_rng(8)
    texts = [sources.text(100, 1.0, rng, record, i % 16) for i in range(60)]
    scores = [weighted.score(t.tokens, record, t.probabilities) for t in texts]
    alone = [gumbel.score(t.tokens, record) for t in texts]
    found, free = ([s.log10_p() <= -6 for s in several] for several in (scores, alone))
    print(f"with the model {np.mean(found):.2f}, without {np.mean(free):.2f}")

    assert sum(found) >= 57
    assert sum(free) < 55
    assert sum(s.nonce == i % 16 for i, s in enumerate(scores)) >= 57


def test_edits_cost_no_more_than_their_share() -> None:
    """Every twelfth token replaced: of twelve contexts five are gone."""
    record = one(9)
    rng = np.random.default_rng(9)
    found = []
    for i in range(20):
        text = sources.text(240, 1.0, rng, record, i % 16)
        edited = text.tokens.copy()
        edited[::12] = sources.noise(20, rng)
        given = text.probabilities.copy()
        given[::12] = 1e-4
        found.append(weighted.score(edited, record, given).log10_p() <= -6)

    assert sum(found) >= 18


# --- input ---------------------------------------------------------------------------


def test_unknown_and_impossible_tokens_are_left_out() -> None:
    record = one(10)
    text = sources.text(80, 1.0, np.random.default_rng(10), record, 5)
    given = text.probabilities.copy()
    given[10], given[20] = math.nan, 0.0
    score = weighted.score(text.tokens, record, given)

    assert score.n == 74
    assert weighted.score(text.tokens, record, np.full(80, math.nan)).log10_p() == 0.0


def test_a_prompt_has_no_probabilities_and_does_not_count() -> None:
    record = one(11)
    text = sources.text(120, 1.0, np.random.default_rng(11), record, 5)
    tokens = np.concatenate([text.tokens, text.tokens])

    assert weighted.score(tokens, record, text.probabilities, skip=120).n == 0
    assert len(terms(tokens, record, skip=120)[0]) == 0


@pytest.mark.parametrize("length", range(6))
def test_a_text_without_context_is_no_evidence(length: int) -> None:
    score = weighted.score(np.arange(length), one(12), np.full(length, 0.5))

    assert score.n == max(0, length - 4)
    assert score.log10_p() == 0.0


@pytest.mark.parametrize("bad", [[0.5] * 9, [0.5] * 11, [-0.1] * 10, [1.1] * 10])
def test_other_probabilities_are_refused(bad: list[float]) -> None:
    with pytest.raises(InvalidSignal, match="found"):
        weighted.score(np.arange(10), one(13), bad)
