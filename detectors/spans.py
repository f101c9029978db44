"""Which tokens of a text are marked under `gumbel`: intervals with a family-wise level.

For each nonce and each bet L in `BETS` the scored tokens have increments
``x = L s + ln(1 - L)``, the logarithm of a likelihood ratio of a marked token (s
exponential of rate 1 - L) to a null one (rate 1). The evidence of a span is its sum;
the text's best span is the greatest rise of the cumulative sum over its running minimum
(the CUSUM C_t), found in O(n).

How likely is a rise of y or more somewhere in n null tokens? With s exponential under a
random key, exactly:

* A walk from 0 steps to its next maximum by an exponential of mean L, as the
  exponential has no memory. With E e^x = 1 such a step comes with probability 1 - L, so
  the walk ever rises by y with probability (1 - L) e^-y. Starting anew at each i with
  C_i = 0, a union over those i is a bound.
* C_i has the law of the walk's maximum over i steps (time reversed), so P(C_i = 0)
  falls to 1 - (1 - L) = L, and the sum over i < n is at most n L + E[tau; tau < inf],
  tau the time of the first maximum. Tilted by e^S, where s has rate 1 - L and x the
  mean d = L / (1 - L) + ln(1 - L) > 0, Wald's identities turn that into L / d.
* It is enough to count rises that come before the walk returns to 0. Tilted, the walk
  never returns with probability g = 1 / E tau = 1 + (1 - L) ln(1 - L) / L, and it
  exceeds y before it returns with probability at most ``g / (1 - (1 - L) e^-y)``: from
  y upwards it returns with probability at most E e^-(y + overshoot) = (1 - L) e^-y.

Together, as L / d = (1 - L) / g,

    P(max C >= y)  <=  (n L g + 1 - L) (1 - L) e^-y / (1 - (1 - L) e^-y).

That is 2.6 to 4.1 nats less than n e^-y, and reached as y grows (Iglehart 1972). Words
are rounded down, so real terms are at most exponential, and C with them. Bets and
nonces are counted (Bonferroni).

The same level holds for every span, found first or last: null tokens between marked
ones, put one after another, are at most n null tokens, and hold each segment that lies
wholly between marked ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark.detectors.terms import terms
from watermark.keys import KeyRecord

# Each is best for terms of mean 1 / (1 - L), about 0.3, 0.6 and 1.1 nats a token.
BETS = (0.2, 0.35, 0.5)
REFINEMENTS = 3  # of a span's ends; they hardly move after two


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens that are marked.

    The ends are estimates, a few tokens off. The fresh prefix of a sequence, which is
    sampled without the key, lies before the span.

    Attributes:
        start: index of the first token, the beginning of the first context.
        end: index after the last token.
        ln_p: the chance that unmarked tokens show such a span anywhere in the text,
            natural logarithm, adjusted for all that was tried.
        nonce: the nonce of the sequence.
    """

    start: int
    end: int
    ln_p: float
    nonce: int


def find(
    tokens: Any, record: KeyRecord, alpha: float = 1e-3, skip: int = 0
) -> list[Span]:
    """The marked spans of a text, in order, not overlapping.

    Args:
        tokens: ids, any integer sequence in [0, 2**32).
        record: of the scheme `gumbel`.
        alpha: family-wise error: the probability that any of the spans lies wholly in
            tokens that were not marked is at most this.
        skip: tokens of prompt at the start, not scored.

    Raises:
        ValueError: alpha is not between 0 and 1, or skip not in 0 to ``len(tokens)``.
    """
    positions, found = terms(tokens, record, skip)
    width = int(record.parameters["width"])
    spans: list[Span] = []
    for begin, stop, ln_p, nonce in segments(found, alpha):
        start = int(positions[begin]) - width
        if spans:
            start = max(start, spans[-1].end)
        spans.append(Span(start, int(positions[stop - 1]) + 1, ln_p, nonce))
    return spans


def segments(
    found: NDArray[np.float64], alpha: float
) -> list[tuple[int, int, float, int]]:
    """The marked segments of scored tokens: (begin, stop, ln_p, nonce), in order.

    The best segment of all, then the best on either side of it, and so on.

    Args:
        found: terms float64 (n, nonces), independent exponentials where unmarked.
        alpha: as for `find`.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha!r}, expected a number between 0 and 1")
    n, nonces = found.shape
    tried = math.log(nonces * len(BETS))
    marked: list[tuple[int, int, float, int]] = []
    unsearched = [(0, n)]
    while unsearched:
        low, high = unsearched.pop()
        ln_p, begin, stop, nonce = _best(found, low, high)
        if ln_p + tried > math.log(alpha):
            continue
        begin, stop = _ends(found[:, nonce], begin, stop, low, high)
        marked.append((begin, stop, ln_p + tried, nonce))
        unsearched += [(low, begin), (stop, high)]
    return sorted(marked)


def ln_rise(y: float, n: int, bet: float) -> float:
    """Ln of the bound on P(max C >= y) over n null tokens: see the head of the file."""
    if y <= 0 or n <= 0:
        return 0.0
    never = 1 + (1 - bet) * math.log1p(-bet) / bet
    ln_kept = math.log1p(-bet) - y
    starts = math.log(n * bet * never + 1 - bet)
    return min(0.0, starts + ln_kept - math.log1p(-math.exp(ln_kept)))


def _best(
    found: NDArray[np.float64], low: int, high: int
) -> tuple[float, int, int, int]:
    """The least likely segment in ``low..high``: (ln p, begin, stop, nonce)."""
    best = (0.0, low, low, 0)
    n, nonces = found.shape
    for nonce in range(nonces):  # one column at a time: together they are a copy
        column = np.ascontiguousarray(found[low:high, nonce])
        for bet in BETS:
            walk = _walk(column, bet)
            rise = walk - np.minimum.accumulate(walk)
            stop = int(np.argmax(rise))
            ln_p = ln_rise(float(rise[stop]), n, bet)
            if ln_p < best[0]:
                begin = int(np.argmin(walk[: stop + 1]))
                best = ln_p, low + begin, low + stop, nonce
    return best


def _walk(column: NDArray[np.float64], bet: float) -> NDArray[np.float64]:
    """Cumulative sums of the increments, from 0: float64 (n + 1,)."""
    walk = np.zeros(len(column) + 1)
    np.cumsum(bet * column + math.log1p(-bet), out=walk[1:])
    return walk


def _ends(
    column: NDArray[np.float64], begin: int, stop: int, low: int, high: int
) -> tuple[int, int]:
    """Both ends as posterior medians, all ends in ``low..high`` equally likely before.

    With the bet that fits the segment best; closer than the ends of the greatest rise,
    which run on for as long as chance favours them.
    """
    for _ in range(REFINEMENTS):
        mean = float(column[begin:stop].mean())
        walk = _walk(column[low:high], min(max(1 - 1 / max(mean, 1.0), 0.05), 0.8))
        middle = (begin + stop) // 2
        begin = low + _median(-walk[: middle - low + 1])
        stop = max(middle + _median(walk[middle - low :]), begin + 1)
    return begin, stop


def _median(log_weights: NDArray[np.float64]) -> int:
    total = np.cumsum(np.exp(log_weights - log_weights.max()))
    return int(np.searchsorted(total, 0.5 * total[-1]))
