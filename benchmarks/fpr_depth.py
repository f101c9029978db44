"""How deep p-values are right: log10 p down to -10,000, against other arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import mpmath
import numpy as np

from benchmarks.options import Options
from benchmarks.report import Part, Table, Target
from watermark.detectors import tournament
from watermark.detectors.base import LN10
from watermark.detectors.stats import (
    ln_binomial_tail,
    ln_gamma_tail,
    ln_normal_tail,
    ln_saddlepoint_tail,
    saddlepoint,
)

DEPTHS = (1, 10, 100, 1_000, 10_000)  # of -log10 p
DIGITS = 50
GREEN = 0.25
WEIGHTS = tuple(range(1, 11))  # of exponential variables
MODULUS = 1 << 18  # of the convolution: 11 standard deviations and more
LAYERS = 30


@dataclass(frozen=True, slots=True)
class Case:
    """One tail function, and the same tail by other means: natural logarithms.

    Attributes:
        name: of the tail.
        ours: the package's.
        exact: the other, mpmath where it can.
        scores: one for each depth, as far as the tail reaches.
        error: of log10 p, at most: what the tail's documentation states.
    """

    name: str
    ours: Callable[[float], float]
    exact: Callable[[float], Any]
    scores: tuple[float, ...]
    error: float


def compare(_: Options) -> Part:
    """Every tail at every depth."""
    rows, targets = [], []
    for case in cases():
        worst = 0.0
        for x in case.scores:
            exact = float(case.exact(x) / LN10)
            error = case.ours(x) / LN10 - exact
            worst = max(worst, abs(error))
            rows.append((case.name, x, exact, error))
        name = f"{case.name}: error of log10 p down to {exact:,.0f}"
        targets.append(Target.at_most(name, worst, case.error))
    return Part(
        targets=tuple(targets),
        tables=(
            Table(
                "Depth of p-values",
                ("tail", "statistic", "log10 p", "error"),
                tuple(rows),
                f"Against mpmath at {DIGITS} digits; the tournament's against a tilted "
                "convolution. An error of 0.01 is 2.3 % of p.",
            ),
        ),
    )


def cases() -> Iterator[Case]:
    """Every tail that a detector of text or noise ends in."""
    exact = 1e-6
    for n in (1, 20, 200, 10_000):
        yield _case(
            f"Gamma, {n:,} terms",
            partial(ln_gamma_tail, n),
            partial(ln_gamma, n),
            (n, 60_000.0),
            exact,
        )
    for n in (400, 20_000):
        yield _case(
            f"binomial, {n:,} trials",
            partial(_binomial, n),
            partial(ln_binomial, n),
            (n * GREEN, n),
            exact,
            whole=True,
        )
    yield _case("normal", ln_normal_tail, ln_normal, (0.0, 300.0), exact)
    yield _case(
        "saddlepoint, 200 equal exponentials",
        partial(ln_saddlepoint_tail, partial(_exponentials, (1,) * 200), upper=1.0),
        partial(ln_gamma, 200),
        (200.0, 60_000.0),
        math.log10(1.001),
    )
    steepest = 1 / max(WEIGHTS)
    yield _case(
        "saddlepoint, exponentials of weights 1 to 10",
        partial(ln_saddlepoint_tail, partial(_exponentials, WEIGHTS), upper=steepest),
        ln_weighted,
        (float(sum(WEIGHTS)), 600_000.0),
        math.log10(1.085),
    )
    weights = tournament.odds(LAYERS)
    for n in (8, 1_500):
        yield _case(
            f"tournament, {n:,} contexts",
            partial(tournament.ln_tail, n, weights),
            partial(ln_tournament, n),
            (0.0, n * float(weights.sum())),
            math.log10(1.03),
            whole=True,
            step=2,
        )


def _case(
    name: str,
    ours: Callable[[float], float],
    exact: Callable[[float], Any],
    between: tuple[float, float],
    error: float,
    *,
    whole: bool = False,
    step: int = 1,
) -> Case:
    """The case at the scores where p falls below each depth, by bisection of our tail.

    Args:
        name: of the tail.
        ours: the package's.
        exact: the other.
        between: scores above 1/10 and below every depth, or as deep as it reaches.
        error: stated.
        whole: whether scores are whole numbers.
        step: between values of the statistic, `between[1]` being one.
    """
    scores = []
    for depth in DEPTHS:
        low, high = between
        if ours(0.999 * high) > -depth * LN10:
            break
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (
                (middle, high) if ours(middle) > -depth * LN10 else (low, middle)
            )
        if whole:
            high = between[1] - step * math.floor((between[1] - high) / step)
        scores.append(high)
    return Case(name, ours, exact, tuple(scores), error)


def _binomial(n: int, score: float) -> float:
    return ln_binomial_tail(round(score), n, GREEN)


# --- the same by other means ---------------------------------------------------------


def ln_gamma(n: int, x: float) -> Any:
    """Ln P(Gamma(n, 1) >= x)."""
    with mpmath.workdps(DIGITS):
        return mpmath.log(mpmath.gammainc(n, mpmath.mpf(x), regularized=True))


def ln_binomial(n: int, score: float) -> Any:
    """Ln P(Bin(n, 1/4) >= score): whole numbers over 4^n, added up and rounded once."""
    k = round(score)
    term = math.comb(n, k) * 3 ** (n - k)
    total = 0
    for i in range(k, n + 1):
        total += term
        term = term * (n - i) // ((i + 1) * 3)
    with mpmath.workdps(DIGITS):
        return mpmath.log(mpmath.mpf(total)) - n * mpmath.log(4)


def ln_normal(x: float) -> Any:
    """Ln Q(x)."""
    with mpmath.workdps(DIGITS):
        return mpmath.log(mpmath.erfc(mpmath.mpf(x) / mpmath.sqrt(2)) / 2)


def ln_weighted(x: float) -> Any:
    """Ln P(sum w_i E_i >= x) of exponential E_i and distinct w_i: partial fractions."""
    with mpmath.workdps(300):  # the terms cancel
        w = [mpmath.mpf(weight) for weight in WEIGHTS]
        parts = [
            mpmath.exp(-mpmath.mpf(x) / a)
            / mpmath.fprod(1 - b / a for b in w if b != a)
            for a in w
        ]
        return mpmath.log(mpmath.fsum(parts))


def ln_tournament(n: int, x: float) -> float:
    """Ln P(T >= x) of whole weights: a convolution of the tilted law, by Fourier.

    T is ``2 Y - n sum w``, Y the sum of the weights of all ones. Tilted so that the
    mean of T is x, the law of Y is known to 1e-8 where it matters, and
    ``P(T >= x) = e^(K(t) - t x) sum_j e^(-2 t j) P_t(Y = y + j)``.
    """
    weights = tournament.odds(LAYERS)
    t = saddlepoint(partial(_signs, n, weights), x)
    angle = 2 * math.pi * np.arange(MODULUS // 2 + 1) / MODULUS
    law = np.ones(len(angle), dtype=complex)
    for w in weights.tolist():
        ones = 0.5 + 0.5 * math.tanh(w * t)
        law *= 1 - ones + ones * np.exp(-1j * w * angle)
    masses = np.fft.irfft(law**n, MODULUS)  # P_t(Y = y), y modulo MODULUS
    y = (round(x) + n * round(weights.sum())) // 2
    j = np.arange(MODULUS // 2)
    above = float(masses[(y + j) % MODULUS] @ np.exp(-2 * t * j))
    return _signs(n, weights, t)[0] - t * x + math.log(above)


def _signs(n: int, weights: Any, t: float) -> tuple[float, float, float]:
    """Cumulants of n sums of signed weights: K, K' and K''."""
    k, slope, curvature = 0.0, 0.0, 0.0
    for w in weights.tolist():
        k += abs(w * t) + math.log1p(math.exp(-2 * abs(w * t))) - math.log(2.0)
        slope += w * math.tanh(w * t)
        curvature += w * w * (1 - math.tanh(w * t) ** 2)
    return n * k, n * slope, n * curvature


def _exponentials(weights: tuple[int, ...], t: float) -> tuple[float, float, float]:
    """Cumulants of a weighted sum of exponential variables: K, K' and K''."""
    shares = [w / (1 - w * t) for w in weights]
    k = -sum(math.log1p(-w * t) for w in weights)
    return k, sum(shares), sum(share * share for share in shares)
