"""Exact tails in log space: no underflow, no normal approximation.

Every function returns the natural logarithm of a probability, at most 0.
"""

from __future__ import annotations

import math

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
