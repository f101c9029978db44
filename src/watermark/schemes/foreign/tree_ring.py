"""`tree_ring`: a pattern in the low frequencies of the initial noise, as published.

Wen et al., "Tree-Ring Watermarks" (NeurIPS 2023, arXiv 2305.20030), in the layout of
their ``optim_utils.py`` at commit 3015283: in one channel a disc of the Fourier
coefficients is replaced by a key's. For research and migration, weak as published:

- The noise is no longer N(0, I): one pattern lies in every image of a key, and an
  average of some images, or of their noise, shows it to anybody.
- There is no message and no nonce: one key, one pattern.
- The rings hold `radius` secret complex numbers, ten by default.
- Only the real part of the changed noise is kept: half the energy is lost wherever the
  pattern is not the spectrum of a real image (rings, and the edge of the disc, whose
  centre lies one row beside frequency 0).

The key is the Gaussian draw that their code makes the pattern of. Kinds: ``ring``,
constant in each ring (the paper's default, it stands rotation); ``rand``, the spectrum
of the draw; ``zeros``, which holds no secret at all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from watermark.errors import InvalidSignal

KINDS = ("ring", "rand", "zeros")
CHANNEL, RADIUS = 3, 10  # as in their scripts; their package takes channel 0


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """What one key puts into the spectrum of one channel.

    Attributes:
        draw: float (C, H, W), H = W: their ``gt_init``, secret.
        kind: one of `KINDS`.
        channel: which one carries the pattern.
        radius: of the disc, in coefficients.
    """

    draw: NDArray[np.floating] = field(repr=False)
    kind: str = "ring"
    channel: int = CHANNEL
    radius: int = RADIUS

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"found kind {self.kind!r}, expected {', '.join(KINDS)}")
        shape = self.draw.shape
        if len(shape) != 3 or shape[1] != shape[2]:
            raise InvalidSignal(f"found a draw of shape {shape}, expected (C, H, H)")
        if not 0 <= self.channel < shape[0] or not 0 < self.radius < shape[1] // 2:
            raise InvalidSignal(
                f"channel {self.channel} and radius {self.radius} do not fit in a draw "
                f"of shape {shape}"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) of the samples."""
        return self.draw.shape

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """The disc: bool (H, W), frequency 0 at (H/2, W/2)."""
        return disc(self.shape[-1], self.radius)

    @cached_property
    def patch(self) -> NDArray[np.complex128]:
        """The whole spectrum (H, W) that the disc is cut from."""
        own = spectrum(self.draw[self.channel])
        if self.kind == "zeros":
            return np.zeros_like(own)
        if self.kind == "ring":
            values = own[0].copy()
            for radius in range(self.radius, 0, -1):
                own[disc(len(own), radius)] = values[radius]
        return own


@lru_cache(maxsize=64)
def disc(size: int, radius: int) -> NDArray[np.bool_]:
    """Their ``circle_mask``: bool (size, size), not to be written.

    Rows are counted from below, so it lies one row high.
    """
    rows, columns = np.ogrid[size - 1 : -1 : -1, :size]
    centre = size // 2
    inside: NDArray[np.bool_] = (columns - centre) ** 2 + (
        rows - centre
    ) ** 2 <= radius**2
    inside.flags.writeable = False
    return inside


def spectrum(channel: NDArray[np.floating]) -> NDArray[np.complex128]:
    """Fourier coefficients of one channel, frequency 0 in the middle, not scaled."""
    return np.fft.fftshift(np.fft.fft2(channel.astype(np.float64)))


def mark(z: NDArray[np.floating], pattern: Pattern) -> NDArray[np.floating]:
    """`z` with the pattern in its spectrum; same dtype, other channels as they were.

    Args:
        z: a draw from N(0, I), of the pattern's shape.
        pattern: of the key.

    Raises:
        InvalidSignal: NaN, infinity, or another shape.
    """
    check(z, pattern)
    own = spectrum(z[pattern.channel])
    own[pattern.mask] = pattern.patch[pattern.mask]
    marked = z.copy()
    marked[pattern.channel] = np.fft.ifft2(np.fft.ifftshift(own)).real
    return marked


def check(z: NDArray[np.floating], pattern: Pattern) -> None:
    """Nothing.

    Raises:
        InvalidSignal: `z` holds NaN or infinity, or is not of the pattern's shape.
    """
    if z.dtype.kind != "f" or z.shape != pattern.shape:
        raise InvalidSignal(
            f"found {z.dtype} noise of shape {z.shape}, expected floats of "
            f"{pattern.shape}"
        )
    if not np.isfinite(z).all():
        raise InvalidSignal("the noise holds NaN or infinity")
