"""Scores without a p-value of their own: the tail of a normal that is fitted to others.

Far out that is an extrapolation, widened by what a fit to so few leaves open: the next
draw of a normal, of which n were seen, is Student's t with n - 1 degrees of freedom.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import norm, shapiro
from scipy.stats import t as student

LEAST = 1e-300  # no smaller p is told
MOST = 5000  # scores that the test of Shapiro and Wilk takes


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


def threshold(null: Sequence[float], p: float) -> float:
    """The score whose tail is `p`, by `log10_tails`."""
    wide = float(np.std(null, ddof=1)) * math.sqrt(1 + 1 / len(null))
    return float(np.mean(null) + wide * student.isf(p, len(null) - 1))


def held_out(null: Sequence[float], place: int) -> float | None:
    """log10 p of one of them by a fit to the rest, or None where that is no fit.

    What a fit is worth shows in these: they are uniform where it holds.
    """
    rest = [*null[:place], *null[place + 1 :]]
    return log10_tails([null[place]], rest)[0] if can_be_fitted(rest) else None


def why_not(groups: Sequence[Sequence[float]], level: float) -> str:
    """Why scores are no independent draws of one normal, or "".

    Args:
        groups: of each thing its scores under keys that did not mark it, at least two
            different ones in all.
        level: of two tests together: whether scores of one thing are alike, and
            whether all are normal (Shapiro-Wilk, which sees tails that a test of
            p-values held out does not).
    """
    null = [score for group in groups for score in group]
    x = (np.asarray(null) - np.mean(null)) / np.std(null)
    ends = np.cumsum([len(group) for group in groups])[:-1]
    each = np.split(x, ends)
    pairs = sum(len(own) * (len(own) - 1) for own in each) / 2
    products = sum(float(own.sum() ** 2 - own @ own) for own in each) / 2
    if pairs and norm.sf(products / math.sqrt(pairs)) < level / 2:
        return f"scores of one thing are alike: correlation {products / pairs:.2f}"
    if len(null) > 2 and (p := float(shapiro(x[:MOST]).pvalue)) < level / 2:
        return f"scores are not normal: Shapiro-Wilk p {p:.1g}"
    return ""
