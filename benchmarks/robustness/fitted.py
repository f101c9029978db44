"""Scores without a p-value of their own: the tail of a normal that is fitted to others.

Far out that is an extrapolation, widened by what a fit to so few leaves open: the next
draw of a normal, of which n were seen, is Student's t with n - 1 degrees of freedom.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import t as student

LEAST = 1e-300  # no smaller p is told


def log10(p: float) -> float:
    """Of a p-value."""
    return math.log10(max(p, LEAST))


def can_be_fitted(null: Sequence[float]) -> bool:
    """Whether there are two different ones."""
    return len(set(null)) > 1


def log10_tails(scores: Sequence[float], null: Sequence[float]) -> list[float]:
    """log10 of the chance that another draw like `null` is at least as high.

    Args:
        scores: to judge.
        null: scores of what nobody marked, at least two different ones.
    """
    wide = float(np.std(null, ddof=1)) * math.sqrt(1 + 1 / len(null))
    away = (np.asarray(scores, np.float64) - float(np.mean(null))) / wide
    return [log10(float(p)) for p in student.sf(away, len(null) - 1)]


def held_out(null: Sequence[float], place: int) -> float | None:
    """log10 p of one of them by a fit to the rest, or None where that is no fit.

    What a fit is worth shows in these: they are uniform where it holds.
    """
    rest = [*null[:place], *null[place + 1 :]]
    return log10_tails([null[place]], rest)[0] if can_be_fitted(rest) else None
