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
    Cgf,
    ln_binomial_tail,
    ln_chernoff_tail,
    ln_gamma_tail,
    ln_normal_tail,
    ln_saddlepoint_tail,
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
# log10 p = -10,000 and below
GAMMA += [(1, 23_100.0), (200, 24_200.0), (5000, 47_000.0), (50_000, 129_000.0)]


@pytest.mark.parametrize(("n", "x"), GAMMA)
def test_gamma_tail_is_exact(n: int, x: float) -> None:
    exact = mpmath.log(mpmath.gammainc(n, x, mpmath.inf, regularized=True))

    assert close(ln_gamma_tail(n, x), float(exact))


def test_gamma_tail_reaches_far_beyond_underflow() -> None:
    assert ln_gamma_tail(1, 20_000.0) == -20_000.0
    assert ln_gamma_tail(50, 20_500.0) < -20_000
    assert all(ln_gamma_tail(n, x) < -10_000 * math.log(10) for n, x in GAMMA[-4:])


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


# --- saddlepoint and Chernoff --------------------------------------------------------


def exponentials(weights: list[float]) -> Cgf:
    """Of a weighted sum of standard exponential variables."""
    w = np.asarray(weights)

    def cgf(t: float) -> tuple[float, float, float]:
        scaled = w / (1 - t * w)
        return (
            float(-np.log1p(-t * w).sum()),
            float(scaled.sum()),
            float(scaled @ scaled),
        )

    return cgf


def binomial(n: int, q: float) -> Cgf:
    def cgf(t: float) -> tuple[float, float, float]:
        if t > 0:  # by the failures, so that nothing overflows
            failed = (1 - q) * math.expm1(-t)
            k, tilted = t + math.log1p(failed), q / (1 + failed)
        else:
            grown = q * math.expm1(t)
            k, tilted = math.log1p(grown), q * math.exp(t) / (1 + grown)
        return n * k, n * tilted, n * tilted * (1 - tilted)

    return cgf


def hypoexponential_tail(weights: list[float], x: float) -> float:
    """Ln P(sum >= x), all weights different: the closed form by partial fractions."""
    with mpmath.workdps(300):
        w = [mpmath.mpf(repr(weight)) for weight in weights]
        parts = (
            mpmath.exp(-x / a) / mpmath.fprod(1 - b / a for b in w if b != a) for a in w
        )
        return float(mpmath.log(mpmath.fsum(parts)))


def uniform_tail(n: int, x: float) -> float:
    """Ln P(sum of n uniform variables >= x): Irwin and Hall's closed form."""
    with mpmath.workdps(200):
        terms = (
            (-1) ** k * mpmath.binomial(n, k) * (n - mpmath.mpf(x) - k) ** n
            for k in range(math.floor(n - x) + 1)
        )
        return float(mpmath.log(mpmath.fsum(terms) / mpmath.factorial(n)))


def uniforms(n: int) -> Cgf:
    def cgf(t: float) -> tuple[float, float, float]:
        if abs(t) < 1e-3:
            return n * (t / 2 + t * t / 24), n * (0.5 + t / 12), n / 12
        k = math.log(math.expm1(t) / t)
        slope = 1 / -math.expm1(-t) - 1 / t
        return n * k, n * slope, n * (1 / t**2 - 1 / (4 * math.sinh(t / 2) ** 2))

    return cgf


def error(found: float, exact: float) -> float:
    """Of p, relative."""
    return math.expm1(found - exact)


DEPTHS = (0.3, 0.9, 0.99, 1.0, 1.001, 1.01, 1.05, 1.5, 3.0, 20.0, 400.0)


@pytest.mark.parametrize(
    ("n", "stated"), [(1, 0.085), (2, 0.043), (10, 0.009), (100, 0.001), (2000, 5e-5)]
)
def test_saddlepoint_of_gamma_is_off_by_what_is_stated(n: int, stated: float) -> None:
    errors = [
        error(
            ln_saddlepoint_tail(exponentials([1.0] * n), n * depth, 1.0),
            ln_gamma_tail(n, n * depth),
        )
        for depth in DEPTHS
    ]
    deep = ln_saddlepoint_tail(exponentials([1.0] * n), n + 26_000.0, 1.0)
    errors.append(error(deep, ln_gamma_tail(n, n + 26_000.0)))

    assert -5e-4 < min(errors) <= max(errors) < stated


@pytest.mark.parametrize("n", [2, 5, 12, 40])
def test_saddlepoint_of_weighted_exponentials_is_as_close(n: int) -> None:
    weights = [round(0.1 + 0.9 * (i + 0.5) / n, 4) for i in range(n)]
    cgf, upper = exponentials(weights), 1 / max(weights)
    for x in [sum(weights) * depth for depth in DEPTHS if depth > 0.3] + [26_000.0]:
        exact = hypoexponential_tail(weights, x)

        assert -0.02 < error(ln_saddlepoint_tail(cgf, x, upper), exact) < 0.085
    assert exact < -10_000 * math.log(10)


@pytest.mark.parametrize("n", [3, 10, 60])
def test_saddlepoint_of_uniforms_agrees_with_the_closed_form(n: int) -> None:
    for share in (0.2, 0.45, 0.5, 0.501, 0.6, 0.8, 0.95):
        found = ln_saddlepoint_tail(uniforms(n), share * n)

        assert abs(error(found, uniform_tail(n, share * n))) < 0.1 / n


@pytest.mark.parametrize(("n", "q"), [(60, 0.25), (1000, 0.5), (20_000, 0.0625)])
def test_saddlepoint_on_a_lattice_agrees_with_the_binomial(n: int, q: float) -> None:
    mean = n * q
    for k in {int(mean * f) for f in (0.5, 0.97, 1, 1.02, 1.3, 2)} | {round(mean) + 1}:
        if k <= 0.9 * n:
            found = ln_saddlepoint_tail(binomial(n, q), k, step=1.0)

            assert abs(error(found, ln_binomial_tail(k, n, q))) < 0.02
    deep = ln_saddlepoint_tail(binomial(n, q), 0.9 * n, step=1.0)

    assert abs(error(deep, ln_binomial_tail(round(0.9 * n), n, q))) < 0.5 / math.sqrt(n)


@pytest.mark.parametrize("n", [1, 10, 300])
def test_saddlepoint_is_smooth_through_the_mean(n: int) -> None:
    scores = np.linspace(n - 0.1 * math.sqrt(n), n + 0.1 * math.sqrt(n), 400)
    found = [ln_saddlepoint_tail(exponentials([1.0] * n), x, 1.0) for x in scores]
    steps = np.diff(found)

    assert steps.max() < 0
    assert steps.min() > 1.5 * steps.mean()


def test_saddlepoint_outside_the_range_is_certain_or_impossible() -> None:
    assert ln_saddlepoint_tail(binomial(9, 0.5), 9.5, step=1.0) == -math.inf
    assert ln_saddlepoint_tail(binomial(9, 0.5), -1.0, step=1.0) == 0.0
    assert ln_saddlepoint_tail(lambda t: (0.0, 0.0, 0.0), 0.0) == 0.0
    assert ln_saddlepoint_tail(lambda t: (0.0, 0.0, 0.0), 1.0) == -math.inf


@pytest.mark.parametrize("n", [1, 10, 300])
def test_chernoff_is_a_bound_and_not_a_loose_one(n: int) -> None:
    for depth in DEPTHS:
        found = ln_chernoff_tail(exponentials([1.0] * n), n * depth, 1.0)
        exact = ln_gamma_tail(n, n * depth)

        assert exact <= found <= min(0.0, exact + 2 + math.log(1 - exact))


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
