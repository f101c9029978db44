"""Detect `videoshield`: Gaussian Shading's tests, and where frames and places changed.

The whole-video tests are those of `watermark.detectors.foreign.gaussian_shading`, with
exact tails. The paper's maps compare every number's sign with the one embedded, and its
thresholds are fitted; `frames` gives each frame an exact binomial p-value instead.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from watermark.detectors.foreign.gaussian_shading import correlation as correlation
from watermark.detectors.foreign.gaussian_shading import presence as presence
from watermark.detectors.foreign.gaussian_shading import read as read
from watermark.detectors.foreign.gaussian_shading import score as score
from watermark.detectors.stats import ln_binomial_tail
from watermark.errors import InvalidSignal
from watermark.schemes.foreign.gaussian_shading import Code

# By the side of the averaged cubes: a share below the first counts as 0, above the
# second as 1. Their "default" for ModelScope, fitted on it; other models, other limits.
LIMITS = {4: (0.5703, 0.6640), 2: (0.5625, 0.6875), 1: (0.25, 0.75)}


def matches(
    latents: NDArray[np.floating], code: Code, message: NDArray[np.uint8]
) -> NDArray[np.bool_]:
    """Which numbers have the sign embedded: bool (C, F, H, W).

    Raises:
        InvalidSignal: NaN or infinity, another shape, or another number of bits.
    """
    if tuple(latents.shape) != code.shape or len(code.shape) != 4:
        raise InvalidSignal(
            f"found latents of shape {tuple(latents.shape)}, expected {code.shape} "
            "as (C, F, H, W)"
        )
    if not np.isfinite(latents).all():
        raise InvalidSignal("the array holds NaN or infinity: nothing can be tested")
    same: NDArray[np.bool_] = (latents > 0) == (code.signs(message) > 0)
    return same


def frames(
    latents: NDArray[np.floating], code: Code, message: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """Ln p of each latent frame: exact over the key stream, one frame one test.

    Raises:
        InvalidSignal: as `matches`.
    """
    same = matches(latents, code, message)
    each = same[:, 0].size
    counts = same.sum(axis=(0, 2, 3))
    return np.array([ln_binomial_tail(int(count), each, 0.5) for count in counts])


def places(
    latents: NDArray[np.floating],
    code: Code,
    message: NDArray[np.uint8],
    limits: Mapping[int, tuple[float, float]] = LIMITS,
) -> NDArray[np.float64]:
    """Their map of space and time: float (F, H, W), 1 where the mark is, -1 where not.

    The mean over the levels of the share of equal signs in cubes of 4, 2 and 1 a side,
    each first moved to 0 or 1 beyond its limits. Limits are fitted: this is a picture,
    no p-value comes of it.

    Args:
        latents: (C, F, H, W).
        code: of the video.
        message: that it carries.
        limits: by the side of the cubes, the shares that count as 0 and as 1.

    Raises:
        InvalidSignal: as `matches`, or frames and sides that a cube's does not divide.
    """
    share = matches(latents, code, message).mean(axis=0)
    if any(size % side for size in share.shape for side in limits):
        raise InvalidSignal(
            f"frames and sides of {share.shape}, expected multiples of {max(limits)}"
        )
    whole = np.zeros(share.shape)
    for side, (low, high) in limits.items():
        f, h, w = (size // side for size in share.shape)
        cubes = share.reshape(f, side, h, side, w, side).mean(axis=(1, 3, 5))
        cubes[cubes < low] = 0.0
        cubes[cubes > high] = 1.0
        for axis in range(3):
            cubes = np.repeat(cubes, side, axis=axis)
        whole += cubes / len(limits)
    return 2 * whole - 1
