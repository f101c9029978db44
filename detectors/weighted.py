"""Detect `gumbel` with the model at hand: each token weighs what it could tell.

A token that the model was sure of carries no mark; one that it found unlikely carries a
strong one. Given the probability p of each token, the most powerful test of "chosen by
the key" against "chosen without it" sums the logarithm of the likelihood ratio of
u = the keyed uniform: ``r u^(r - 1)`` with r = 1/p (Neyman and Pearson; the winner of
``max u_i^(1/p_i)`` has ``u ~ V^p``, V uniform). At 1 nat a token half as many tokens
decide as without the model.

The p-value holds for any probabilities, right or wrong, that were made without the key:
they only shape the statistic. Its tail is a saddlepoint approximation, with a Chernoff
bound where too few tokens decide for that to be close.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark.detectors.base import Score
from watermark.detectors.stats import ln_chernoff_tail, ln_saddlepoint_tail, saddlepoint
from watermark.detectors.terms import terms
from watermark.errors import InvalidSignal
from watermark.keys import KeyRecord

# The share of tokens that the key is taken not to have chosen: the fresh prefix,
# repeated contexts, edits. It bounds what one token can cost, at ln 0.2. From 0.05 to
# 0.3 power hardly changes on clean text; the larger values lose less to edits.
FREE = 0.2
NODES = 48  # of the quadrature: M(t) to 1e-9 for 0 <= t <= STEEPEST
STEEPEST = 10.0  # marked text lies near t = 1; steeper scores get the bound at this t
UNLIKELY = 2.0**-32  # the resolution of u: smaller probabilities tell nothing more
# The saddlepoint approximation understates ln p by at most 0.6 nats over the number of
# tokens that the tilted variance is spread over, where that is 4 or more, and by 1.6
# nats where one token decides (1,050 tails of 5 to 30 tokens, against convolution).
SPREAD = 4.0
MARGIN = 1.0  # nats over that number: added, so that it errs towards "not marked"


def score(tokens: Any, record: KeyRecord, probabilities: Any, skip: int = 0) -> Score:
    """Test token ids under one key record, with the model's probabilities.

    Args:
        tokens: ids, any integer sequence in [0, 2**32).
        record: of the scheme `gumbel`.
        probabilities: one for each token after the first `skip`: what the model gave
            it where it was sampled, after temperature and truncation. NaN where that is
            unknown, 0 where the model could not have sampled it: such tokens are left
            out.
        skip: tokens of prompt at the start, not scored.

    Raises:
        InvalidSignal: another number of probabilities, or one outside 0 to 1.
        ValueError: skip is not in 0 to ``len(tokens)``.
    """
    given = np.asarray(probabilities, dtype=np.float64).reshape(-1)
    if len(given) != len(tokens) - skip:
        raise InvalidSignal(
            f"found {len(given)} probabilities for {len(tokens) - skip} tokens, "
            "expected one for each"
        )
    if ((given < 0) | (given > 1)).any():
        raise InvalidSignal("found a probability outside 0 to 1")
    positions, found = terms(tokens, record, skip)
    p = given[positions.astype(np.int64) - skip]
    known = p > 0
    p, found = np.maximum(p[known], UNLIKELY), found[known]
    sums = log_ratios(found, p).sum(axis=0)
    best = int(np.argmax(sums))
    return Score(
        ln_p=ln_tail(p, float(sums[best])),
        hypotheses=len(sums),
        n=len(p),
        statistic=float(sums[best]),
        nonce=best,
    )


def log_ratios(
    found: NDArray[np.float64], p: NDArray[np.float64]
) -> NDArray[np.float64]:
    """``ln(FREE + (1 - FREE) r u^(r - 1))`` of terms (m, nonces) and p (m,).

    Rises with u, so that u rounded down makes every ratio at most what it should be.
    """
    odds = 1 / p[:, None] - 1
    with np.errstate(divide="ignore", invalid="ignore"):  # u = 0: ln u is -inf
        spread = -np.log(-np.expm1(-found)) * odds
    spread = np.where(odds > 0, spread, 0.0)  # p = 1 tells nothing, at u = 0 either
    return _log_ratio(spread, p[:, None])


def _log_ratio(
    spread: NDArray[np.float64], p: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The log-ratio by ``spread = -(r - 1) ln u``, an exponential of mean r - 1."""
    return np.asarray(np.log(FREE + (1 - FREE) / p * np.exp(-spread)))


def ln_tail(p: NDArray[np.float64], total: float) -> float:
    """Ln P(sum of log-ratios >= total) under a random key, tokens of probability p."""
    informed = p[p < 1 - 1e-9]
    if not len(informed):
        return 0.0
    null = _Null(informed)
    if total <= null(0.0)[1]:
        return 0.0
    t = saddlepoint(null, total, STEEPEST)
    spread = null.spread(t)
    if spread < SPREAD or null(t)[1] < total - 1e-6:
        return ln_chernoff_tail(null, total, STEEPEST)
    return min(0.0, ln_saddlepoint_tail(null, total) + MARGIN / spread)


class _Null:
    """Cumulants of the sum of log-ratios under a random key, by quadrature.

    ``M(t) = E e^(t l(s))`` with s exponential of mean r - 1: Gauss-Legendre over
    0 <= s <= L, denser towards 0 (s = L x^2), and the mass beyond L, where l is ln FREE
    to every digit, as one more node.
    """

    def __init__(self, p: NDArray[np.float64]) -> None:
        x, weights = np.polynomial.legendre.leggauss(NODES)
        x = (x + 1) / 2
        mean = (1 / p - 1)[:, None]
        # Either the density has ended or the ratio has: e^-36 and e^-40 are nothing.
        length = np.minimum(36.0 - np.log(FREE * p[:, None]), 40.0 * mean)
        s = length * x * x
        mass = length * x * weights * np.exp(-s / mean) / mean
        rest = np.maximum(1.0 - mass.sum(axis=1, keepdims=True), 0.0)
        self._mass = np.hstack([mass, rest])
        values = _log_ratio(s, p[:, None])
        self._values = np.hstack([values, np.full_like(rest, np.log(FREE))])

    def _moments(
        self, t: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Ln M, tilted mean and tilted variance of each token."""
        peak = self._values.max(axis=1, keepdims=True) * t
        tilted = self._mass * np.exp(t * self._values - peak)
        total = tilted.sum(axis=1)
        tilted /= total[:, None]
        mean = (tilted * self._values).sum(axis=1)
        variance = (tilted * (self._values - mean[:, None]) ** 2).sum(axis=1)
        return np.log(total) + peak[:, 0], mean, variance

    def __call__(self, t: float) -> tuple[float, float, float]:
        ln_m, mean, variance = self._moments(t)
        return float(ln_m.sum()), float(mean.sum()), float(variance.sum())

    def spread(self, t: float) -> float:
        """Over how many tokens the tilted variance is spread: (sum v)^2 / sum v^2."""
        variance = self._moments(t)[2]
        square = float((variance**2).sum())
        return float(variance.sum()) ** 2 / square if square > 0 else 0.0
