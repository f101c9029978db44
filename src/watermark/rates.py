"""Realised rates: their exact intervals, and that of a mean over keys."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from statistics import NormalDist

import numpy as np

from watermark.detectors.stats import ln_binomial_tail

CONFIDENCE = 0.95  # of every interval here; each end errs with half of the rest


def clopper_pearson(hits: int, n: int) -> tuple[float, float]:
    """The exact two-sided interval of a binomial rate, at `CONFIDENCE`.

    Clopper and Pearson, Biometrika 26 (1934): the rates under which a count so high,
    or so low, has half of the error each. (0, 1) if n is 0.
    """
    return _lower(hits, n), 1 - _lower(n - hits, n)


@cache
def _lower(hits: int, n: int) -> float:
    if hits == 0:
        return 0.0
    target = math.log((1 - CONFIDENCE) / 2)
    low, high = 0.0, 1.0
    while low < (middle := (low + high) / 2) < high and high - low > 1e-15:
        if ln_binomial_tail(hits, n, middle) < target:
            low = middle
        else:
            high = middle
    return low


def mean_interval(hits: Sequence[int], n: int) -> tuple[float, float]:
    """Student's interval of the mean rate, over keys: documents share their luck.

    An approximation. It is widened to the exact interval of independent documents, so
    that no hit at all is not taken for certainty. Counts are skewed to the right, so
    the lower end, the one that could accuse a p-value, errs to the safe side.
    """
    keys = len(hits)
    if keys < 2:
        return 0.0, 1.0
    rates = np.asarray(hits) / n
    half = _student(keys - 1) * float(rates.std(ddof=1)) / math.sqrt(keys)
    low, high = clopper_pearson(sum(hits), keys * n)
    mean = float(rates.mean())
    return max(0.0, min(low, mean - half)), min(1.0, max(high, mean + half))


def _student(freedom: int) -> float:
    """The two-sided quantile at `CONFIDENCE` (Abramowitz and Stegun 26.7.5)."""
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    return z + (z**3 + z) / 4 / freedom + second / freedom**2
