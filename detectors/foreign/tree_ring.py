"""Detect `tree_ring`: an exact test over the key's draw, and the paper's fitted one.

The paper compares the mean distance of the disc's coefficients from the pattern with a
threshold. How far an unmarked image lies from a pattern depends on the images, so that
threshold is fitted (`Fitted`) and nothing it says is a p-value. The p-value that their
code offers takes the noise found for Gaussian, which no real image's is, and counts
both of each pair of conjugate coefficients, which about squares it.

`score` turns the question round: the noise found is fixed, the key's draw is Gaussian,
and their correlation is exactly normal, whatever the image. With rings it cannot go
deep: no more than `radius` complex numbers are drawn, so T stays below their length,
about 4.5 (p about 1e-6) for ten rings. ``rand`` patterns have no such limit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from watermark.detectors.base import LN10, Score
from watermark.detectors.stats import ln_normal_tail
from watermark.errors import InvalidSignal
from watermark.schemes.foreign.tree_ring import Pattern, check, disc, spectrum


def score(latents: NDArray[np.floating], pattern: Pattern) -> Score:
    """Test one estimate of the initial noise: exact over a Gaussian `pattern.draw`.

    Args:
        latents: of the pattern's shape.
        pattern: of the key, ``ring`` or ``rand``.

    Raises:
        InvalidSignal: NaN, infinity, another shape, or a pattern without a secret.
    """
    check(latents, pattern)
    if pattern.kind == "zeros":
        raise InvalidSignal("a pattern of zeros holds no secret: it has no p-value")
    found = spectrum(_unit(latents[pattern.channel]))
    # The correlation with the pattern as a linear function of the key's draw: put each
    # coefficient found where the draw's own is read, and go back to the draw's domain.
    placed = np.zeros_like(found)
    if pattern.kind == "rand":
        placed[pattern.mask] = found[pattern.mask]
    else:
        inner = np.zeros_like(pattern.mask)
        for radius in range(1, pattern.radius + 1):
            outer = disc(len(found), radius)
            placed[0, radius] = found[outer & ~inner].sum()
            inner = outer
    weights = np.fft.ifft2(np.fft.ifftshift(placed)).real
    norm = float(np.linalg.norm(weights))
    if norm == 0.0:
        return Score(ln_p=0.0, hypotheses=1, n=0, statistic=0.0)
    t = float(np.sum(weights * pattern.draw[pattern.channel])) / norm
    n = int(np.count_nonzero(placed))
    return Score(ln_p=min(0.0, ln_normal_tail(t)), hypotheses=1, n=n, statistic=t)


def distance(latents: NDArray[np.floating], pattern: Pattern) -> float:
    """The paper's statistic: mean |found - pattern| over the disc; small when marked.

    Raises:
        InvalidSignal: NaN or infinity, or another shape.
    """
    check(latents, pattern)
    found = spectrum(latents[pattern.channel])[pattern.mask]
    return float(np.abs(found - pattern.patch[pattern.mask]).mean())


@dataclass(frozen=True, slots=True)
class Fitted:
    """Distances of unmarked images, taken for normal: a fit, not a p-value.

    It holds for images like those it was fitted on, and beyond their number it is an
    extrapolation.

    Attributes:
        mean: of the distances.
        std: their standard deviation.
        n: how many there were.
    """

    mean: float
    std: float
    n: int

    @classmethod
    def of(cls, distances: Sequence[float]) -> Self:
        """The fit of unmarked images' distances.

        Raises:
            ValueError: fewer than two, or all equal.
        """
        values = np.asarray(distances, dtype=np.float64)
        std = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        if not std > 0:
            raise ValueError(f"{len(values)} distances, not two different ones")
        return cls(float(values.mean()), std, len(values))

    def log10_tail(self, distance: float) -> float:
        """log10 of the fitted share of unmarked images at most this far."""
        return ln_normal_tail((self.mean - distance) / self.std) / LN10


def _unit(channel: NDArray[np.floating]) -> NDArray[np.float64]:
    """Scaled to a largest magnitude of 1, so that no square overflows."""
    values = channel.astype(np.float64)
    largest = float(np.max(np.abs(values)))
    return values / largest if largest > 0 and math.isfinite(largest) else values
