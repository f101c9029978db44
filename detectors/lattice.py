"""The tail of a weighted sum of counts that have one distribution, to every digit.

By convolution, in one Fourier transform for each weight: every distribution is first
tilted towards the sum that was found (each probability times ``e^(t y)``, t at the
saddlepoint), so that what a transform rounds away is small against what is asked for,
however far out that is.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from watermark.detectors.stats import ln_chernoff_tail, saddlepoint

Floats = NDArray[np.float64]

LARGEST = 1 << 22  # values of the sum: 200 MB of transforms
STEEPEST = 60.0  # e^-60: all of the tilted mass lies on the largest value


def ln_count_tail(p: Floats, weights: NDArray[np.int64], total: int) -> float:
    """Ln P(sum_l w_l c_l >= total) for independent counts c_l of one distribution.

    Right to 1e-8 of p (tests/detectors). Of a sum with more than `LARGEST` values, as
    of a long text made of one state, it is Chernoff's upper bound.

    Args:
        p: float64 [k], the probabilities of the counts 0 to k - 1; some may be 0.
        weights: whole and positive, one for each count.
        total: a whole number.
    """
    counts = np.flatnonzero(p > 0)
    low, high = (int(c) * int(weights.sum()) for c in (counts[0], counts[-1]))
    if total <= low:
        return 0.0
    if total > high:
        return -math.inf
    if total == high:
        return len(weights) * math.log(p[counts[-1]])
    distinct, repeats = np.unique(weights, return_counts=True)
    values = np.outer(distinct, counts).astype(np.float64)
    ln_p = np.log(p[counts])

    def tilted(t: float) -> tuple[Floats, Floats]:
        """Logarithms of the moment generating functions, and the tilted masses."""
        exponents = ln_p + t * values
        peak = exponents.max(axis=1, keepdims=True)
        masses = np.exp(exponents - peak)
        sums = masses.sum(axis=1, keepdims=True)
        return (peak + np.log(sums))[:, 0], masses / sums

    def cgf(t: float) -> tuple[float, float, float]:
        ln_m, masses = tilted(t)
        mean = (masses * values).sum(axis=1)
        variance = (masses * (values - mean[:, None]) ** 2).sum(axis=1)
        return (
            float(repeats @ ln_m),
            float(repeats @ mean),
            float(repeats @ variance),
        )

    if high - low >= LARGEST:
        return ln_chernoff_tail(cgf, float(total))
    t = 0.0
    if total > cgf(0.0)[1]:
        t = min(saddlepoint(cgf, float(total), STEEPEST), STEEPEST)
    size = 1 << (high - low).bit_length()
    spectrum = np.ones(size // 2 + 1, np.complex128)
    for weight, times, masses in zip(distinct, repeats, tilted(t)[1], strict=True):
        row = np.zeros(size)
        row[weight * (counts - counts[0])] = masses
        spectrum *= np.fft.rfft(row) ** times
    beyond = np.fft.irfft(spectrum, size)[total - low : high - low + 1]
    mass = float((beyond * np.exp(-t * np.arange(len(beyond)))).sum())
    # Beside the largest sum the tilted mass all lies on it, and the rest may be lost.
    least = len(weights) * math.log(p[counts[-1]])
    ln_tail = cgf(t)[0] - t * total + math.log(mass) if mass > 0 else least
    return min(0.0, max(least, ln_tail))
