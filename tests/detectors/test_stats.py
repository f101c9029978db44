"""Tails against mpmath, scipy and exact enumeration, far into where p underflows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import mpmath
import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from watermark.detectors.base import Score
from watermark.detectors.stats import (
    SIGN_BOUND,
    ln_binomial_tail,
    ln_gamma_tail,
    ln_normal_tail,
    ln_sign_tail,
)


@pytest.fixture(autouse=True)
def _digits() -> None:
    mpmath.mp.dps = 50


def close(found: float, exact: float) -> bool:
    """To 12 digits of ln p, and to 9 of p."""
    return math.isclose(found, exact, rel_tol=1e-12, abs_tol=1e-9)


# --- Gamma ---------------------------------------------------------------------------

GAMMA = [
    (n, n * factor)
    for n in (1, 2, 3, 10, 100, 109, 1000, 5000, 50_000)
    for factor in (1e-3, 0.1, 0.5, 0.9, 0.999, 1.0, 1.001, 1.1, 1.5, 2.0, 5.0)
] + [(1, 20_000.0), (50, 20_500.0), (1000, 26_000.0), (5000, 38_000.0)]


@pytest.mark.parametrize(("n", "x"), GAMMA)
def test_gamma_tail_is_exact(n: int, x: float) -> None:
    exact = mpmath.log(mpmath.gammainc(n, x, mpmath.inf, regularized=True))

    assert close(ln_gamma_tail(n, x), float(exact))


def test_gamma_tail_reaches_far_beyond_underflow() -> None:
    assert ln_gamma_tail(1, 20_000.0) == -20_000.0
    assert ln_gamma_tail(50, 20_500.0) < -20_000


@pytest.mark.parametrize("n", [1, 7, 60, 800])
def test_gamma_tail_agrees_with_scipy(n: int) -> None:
    for x in np.linspace(0.01, 2.5 * n, 40):
        expected = float(scipy.stats.gamma.logsf(x, n))

        assert math.isclose(ln_gamma_tail(n, x), expected, rel_tol=1e-9, abs_tol=1e-12)


@pytest.mark.parametrize(("n", "x"), [(0, 0.0), (0, 5.0), (5, 0.0), (5, -1.0)])
def test_gamma_tail_of_nothing_is_one(n: int, x: float) -> None:
    assert ln_gamma_tail(n, x) == 0.0


@given(st.integers(1, 3000), st.floats(1e-6, 2e4), st.floats(0, 10))
def test_gamma_tail_falls_with_x_and_is_a_probability(
    n: int, x: float, more: float
) -> None:
    low, high = ln_gamma_tail(n, x + more), ln_gamma_tail(n, x)

    assert low <= high + 1e-9 <= 1e-9


@given(st.integers(1, 3000), st.floats(1e-6, 2e4))
def test_gamma_tail_rises_with_n(n: int, x: float) -> None:
    assert ln_gamma_tail(n, x) <= ln_gamma_tail(n + 1, x) + 1e-9


# --- binomial ------------------------------------------------------------------------


def exact_binomial(k: int, n: int, sixteenths: int) -> float:
    """ln P(X >= k), Bin(n, sixteenths / 16), in whole numbers."""
    terms = (
        math.comb(n, i) * sixteenths**i * (16 - sixteenths) ** (n - i)
        for i in range(k, n + 1)
    )
    return float(mpmath.log(mpmath.mpf(sum(terms)) / mpmath.mpf(16) ** n))


@pytest.mark.parametrize("sixteenths", [1, 4, 8, 15])
@pytest.mark.parametrize("n", [1, 2, 17, 150, 700])
def test_binomial_tail_is_exact(n: int, sixteenths: int) -> None:
    for k in sorted({1, 2, n // 8, n // 4, n // 4 + 1, n // 2, 9 * n // 10, n - 1, n}):
        if 0 < k <= n:
            found = ln_binomial_tail(k, n, sixteenths / 16)

            assert close(found, exact_binomial(k, n, sixteenths))


def test_binomial_tail_reaches_far_beyond_underflow() -> None:
    assert math.isclose(ln_binomial_tail(10_000, 10_000, 0.125), 1e4 * math.log(0.125))
    assert ln_binomial_tail(10_000, 10_000, 0.125) < -20_000


@pytest.mark.parametrize("q", [0.0625, 0.25, 0.9375])
def test_binomial_tail_agrees_with_scipy(q: float) -> None:
    for n in (5, 64, 1000):
        for k in range(1, n + 1, max(1, n // 50)):
            expected = float(scipy.stats.binom.logsf(k - 1, n, q))
            if expected > -600:  # further down scipy has no more digits
                found = ln_binomial_tail(k, n, q)

                assert math.isclose(found, expected, rel_tol=1e-8, abs_tol=1e-12)


@pytest.mark.parametrize(
    ("k", "n", "expected"),
    [(0, 0, 0.0), (0, 9, 0.0), (-3, 9, 0.0), (1, 0, -math.inf), (10, 9, -math.inf)],
)
def test_binomial_tail_at_its_ends(k: int, n: int, expected: float) -> None:
    assert ln_binomial_tail(k, n, 0.25) == expected


@given(st.integers(1, 2000), st.data(), st.integers(1, 15))
def test_binomial_tail_falls_with_k_and_is_a_probability(
    n: int, data: st.DataObject, sixteenths: int
) -> None:
    k = data.draw(st.integers(0, n))
    q = sixteenths / 16

    assert ln_binomial_tail(k + 1, n, q) <= ln_binomial_tail(k, n, q) <= 0


# --- normal, and signs ---------------------------------------------------------------


@pytest.mark.parametrize(
    "t", [-40, -5, -1, 0, 0.5, 1, 5.6, 12.4, 29.9, 29.999999, 30, 30.1, 40, 100, 200.5]
)
def test_normal_tail_is_exact(t: float) -> None:
    exact = mpmath.log(mpmath.erfc(mpmath.mpf(t) / mpmath.sqrt(2)) / 2)

    assert close(ln_normal_tail(t), float(exact))
    assert math.isclose(ln_normal_tail(t), scipy.stats.norm.logsf(t), rel_tol=1e-9)


@given(st.floats(-50, 300), st.floats(0, 1))
def test_normal_tail_falls_and_is_a_probability(t: float, more: float) -> None:
    assert ln_normal_tail(t + more) <= ln_normal_tail(t) <= 0


WEIGHTS: dict[str, Callable[[int], list[int]]] = {
    "equal": lambda n: [1] * n,
    "one": lambda n: [1] + [0] * (n - 1),
    "two": lambda n: [1, 1] + [0] * (n - 2),
    "powers": lambda n: [1 << i for i in range(n)],
    "slow": lambda n: [100 + i for i in range(n)],
    "fast": lambda n: [3**i for i in range(n)],
    "dominant": lambda n: [10] + [3] * (n - 1),
    "random": lambda n: np.random.default_rng(n).integers(1, 1025, n).tolist(),
    "heavy": lambda n: (
        (np.random.default_rng(n).pareto(1.0, n) * 50 + 1).astype(int).tolist()
    ),
}


def exact_sign_tails(weights: list[int]) -> list[tuple[float, float]]:
    """(t, P(sum >= t ||w||)) for every value that the sum can take."""
    sums = np.zeros(1, dtype=np.int64)
    for weight in weights:
        sums = np.concatenate([sums + weight, sums - weight])
    values, counts = np.unique(sums, return_counts=True)
    tails = np.cumsum(counts[::-1])[::-1] / len(sums)
    norm = math.sqrt(sum(weight * weight for weight in weights))
    return [(float(v) / norm, float(p)) for v, p in zip(values, tails, strict=True)]


@pytest.mark.parametrize("n", [2, 3, 5, 8, 11, 14])
@pytest.mark.parametrize("shape", WEIGHTS)
def test_sign_bound_holds_for_every_sign_pattern(shape: str, n: int) -> None:
    for t, exact in exact_sign_tails(WEIGHTS[shape](n)):
        assert exact <= math.exp(ln_sign_tail(t)) * (1 + 1e-9), f"at T = {t}"


def test_sign_bound_is_nearly_reached() -> None:
    """Two equal weights: 1/4 at T = sqrt 2, the case that sets the constant."""
    constant = 0.25 / float(mpmath.erfc(1) / 2)

    assert constant <= SIGN_BOUND < constant * 1.001


def test_sign_bound_is_close_for_many_equal_signs() -> None:
    """Otherwise a bound of 1 would pass."""
    ratios = [
        math.exp(ln_sign_tail(t)) / p for t, p in exact_sign_tails([1] * 14) if t > 1
    ]

    assert max(ratios) < 6


def test_sign_bound_falls_and_is_a_probability() -> None:
    found = [ln_sign_tail(t) for t in np.linspace(-5, 60, 500)]

    assert found[0] == 0.0
    assert all(b <= a for a, b in itertools.pairwise(found))


# --- Score ---------------------------------------------------------------------------


def test_adjustment_counts_own_hypotheses_and_tests() -> None:
    score = Score(ln_p=-50 * math.log(10), hypotheses=1000, n=1, statistic=0.0)

    assert math.isclose(score.log10_p(), -47)
    assert math.isclose(score.log10_p(100), -45)


def test_an_adjusted_p_value_is_at_most_one() -> None:
    score = Score(ln_p=math.log(0.5), hypotheses=2**84, n=1, statistic=0.0)

    assert score.log10_p(7) == 0.0


def test_adjustment_does_not_underflow() -> None:
    score = Score(ln_p=-20_000.0, hypotheses=2**85, n=1, statistic=0.0)

    assert -8700 < score.log10_p() < -8600
