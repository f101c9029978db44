"""Tails in log space: no underflow, no normal approximation.

Every function returns the natural logarithm of a probability, at most 0. The Gamma,
binomial and normal tails are exact, `ln_sign_tail` and `ln_chernoff_tail` are bounds,
and `ln_saddlepoint_tail` is an approximation whose error is stated.
"""

from __future__ import annotations

import math
from collections.abc import Callable

# A cumulant generating function: t to (K(t), K'(t), K''(t)).
Cgf = Callable[[float], tuple[float, float, float]]

# SIGN_BOUND Q(T) bounds P(sum w_i s_i >= T ||w||) for independent fair signs s and any
# fixed weights w: Bentkus and Dzindzalieta, Bernoulli 21 (2015), Theorem 1.1.
# 3.178655..., that is 1 / (4 Q(sqrt 2)), rounded up: two equal weights reach it.
SIGN_BOUND = 3.17866


def ln_gamma_tail(n: int, x: float) -> float:
    """Ln P(X >= x) for X ~ Gamma(n, 1), n a positive integer.

    ``Q(n, x) = e^-x sum_{k<n} x^k / k!`` summed downwards from its largest term; below
    the mean through the complement.
    """
    if n <= 0 or x <= 0:
        return 0.0
    log_x = math.log(x)
    if x < n:  # complement: P(n, x) = e^-x x^n / n! (1 + x/(n+1) + ...)
        total, term, k = 1.0, 1.0, n + 1
        while term > 1e-18 * total:
            term *= x / k
            total += term
            k += 1
        below = math.exp(n * log_x - x - math.lgamma(n + 1) + math.log(total))
        return math.log1p(-min(below, 1.0 - 2.0**-53))
    total, term = 1.0, 1.0
    for k in range(n - 1, 0, -1):
        term *= k / x
        total += term
        if term < 1e-18 * total:
            break
    return min(0.0, (n - 1) * log_x - x - math.lgamma(n) + math.log(total))


def ln_binomial_tail(k: int, n: int, q: float) -> float:
    """Ln P(X >= k) for X ~ Binomial(n, q), 0 < q < 1."""
    if k <= 0:
        return 0.0
    if k > n:
        return -math.inf
    odds = q / (1 - q)
    if k <= n * q:  # complement: sum downwards from k - 1
        total, term = 1.0, 1.0
        for i in range(k - 1, 0, -1):
            term *= i / ((n - i + 1) * odds)
            total += term
            if term < 1e-18 * total:
                break
        below = math.exp(_ln_binomial_pmf(k - 1, n, q) + math.log(total))
        return math.log1p(-min(below, 1.0 - 2.0**-53))
    total, term = 1.0, 1.0
    for i in range(k, n):
        term *= (n - i) * odds / (i + 1)
        total += term
        if term < 1e-18 * total:
            break
    return min(0.0, _ln_binomial_pmf(k, n, q) + math.log(total))


def _ln_binomial_pmf(k: int, n: int, q: float) -> float:
    choose = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return choose + k * math.log(q) + (n - k) * math.log1p(-q)


def ln_normal_tail(t: float) -> float:
    """Ln Q(t) for a standard normal."""
    if t < 30:
        return math.log(0.5 * math.erfc(t / math.sqrt(2)))
    fraction = t  # Laplace's continued fraction t + 1/(t + 2/(t + ...))
    for k in range(60, 0, -1):
        fraction = t + k / fraction
    return -0.5 * t * t - 0.5 * math.log(2 * math.pi) - math.log(fraction)


def ln_sign_tail(t: float) -> float:
    """Upper bound of ln P(T >= t), T a normalised sum of fairly signed weights."""
    return min(0.0, math.log(SIGN_BOUND) + ln_normal_tail(t))


def ln_chernoff_tail(cgf: Cgf, score: float, upper: float = math.inf) -> float:
    """Upper bound of ln P(X >= score): the least ``K(t) - t score``, 0 <= t < upper.

    A bound at whatever t the search stops. Arguments as for `ln_saddlepoint_tail`.
    """
    if score <= cgf(0.0)[1]:
        return 0.0
    t = saddlepoint(cgf, score, upper)
    return min(0.0, cgf(t)[0] - t * score)


def ln_saddlepoint_tail(
    cgf: Cgf, score: float, upper: float = math.inf, step: float = 0.0
) -> float:
    """Approximation of ln P(X >= score) for a sum X of independent variables.

    Lugannani and Rice (1980) in the form of Barndorff-Nielsen (1986): ``Q(r*)`` with
    ``r* = w + ln(v / w) / w``, ``w = sign(t) sqrt(2 (t score - K(t)))`` and
    ``v = t sqrt(K'')`` at the saddlepoint ``K'(t) = score``.

    The error of p is relative and does not grow with depth. For n exponential variables
    p is at most 8.5, 4.3, 0.9 and 0.1 % too large (n = 1, 2, 10, 100) down to
    log10 p = -10,000; weighted, from 2 % too small to 8.5 % too large, as one variable
    decides far out. Nearly discrete sums of a few terms can be off by factors: whoever
    needs a bound takes `ln_chernoff_tail`.

    Args:
        cgf: t to (K, K', K''), for 0 <= t < upper and, where scores below the mean are
            asked for, for t < 0, without overflow up to |t| = 1e9; K(0) = 0, K'' > 0.
        score: inside the range of X.
        upper: where K stops being finite.
        step: the spacing of X's values, of which `score` is one; 0 for a density. Then
            ``v = (1 - e^(-step t)) / step sqrt(K'')`` (Daniels 1987).

    Returns:
        The logarithm, at most 0; -inf where no t below 1e8 reaches the score.
    """
    _, mean, variance = cgf(0.0)
    if variance <= 0:
        return 0.0 if score <= mean else -math.inf
    # Near the mean w and v vanish together and r* is a quotient of rounding errors; it
    # is smooth in the score, so a straight line between two points off the mean serves.
    near = 1e-2 * math.sqrt(variance)
    if abs(score - mean) < near:
        low = _r_star(cgf, mean - near, upper, step)
        high = _r_star(cgf, mean + near, upper, step)
        share = (score - mean + near) / (2 * near)
        return ln_normal_tail(low + share * (high - low))
    r = _r_star(cgf, score, upper, step)
    return -math.inf if r == math.inf else ln_normal_tail(r)


def _r_star(cgf: Cgf, score: float, upper: float, step: float) -> float:
    t = saddlepoint(cgf, score, upper)
    k, slope, curvature = cgf(t)
    if curvature <= 0 or abs(slope - score) > 1e-6 * (1 + abs(score)):
        return math.copysign(math.inf, t)  # outside the range of X, or at its edge
    w = math.copysign(math.sqrt(2 * max(t * score - k, 0.0)), t)
    v = (-math.expm1(-step * t) / step if step else t) * math.sqrt(curvature)
    return w + math.log(v / w) / w


def saddlepoint(cgf: Cgf, score: float, upper: float = math.inf) -> float:
    """The t with ``K'(t) = score``, by Newton's method between bounds that close in.

    K' rises, so each t tried becomes a bound; where Newton leaves the bounds, or the
    interval is still open, the step is a bisection or a doubling. Short of `upper`
    where no t below it reaches the score.
    """
    low, high = -math.inf, upper
    t = 0.0
    for _ in range(200):
        _, slope, curvature = cgf(t)
        if slope < score:
            low = t
        else:
            high = t
        step = (score - slope) / curvature if curvature > 0 else math.inf
        if min(abs(step), high - low) <= 1e-10 * abs(t) or abs(t) > 1e8:
            break
        if low < t + step < high:
            t += step
        elif math.isinf(low) or math.isinf(high):
            t = 2 * t + math.copysign(1.0, score - slope)
        else:
            t = 0.5 * (low + high)
    return t
