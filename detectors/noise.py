"""Detect `noise`: the sign code of an estimate of the initial noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from watermark.detectors import signs
from watermark.detectors.base import Score
from watermark.errors import InvalidSignal
from watermark.schemes.noise import Code


def one_nonce(latents: NDArray[np.floating], code: Code, nonce: int) -> float:
    """Ln of the pilot's tail bound for one nonce fixed beforehand."""
    pilot = signs.weights(latents)[code.pilot]
    return signs.ln_tail(int(pilot @ code.pilot_signs(nonce)), pilot)


def score(latents: NDArray[np.floating], code: Code) -> Score:
    """Test one latent (of the code's shape) under the code's key record.

    Returns:
        A score whose `payload` is the mark id where the joint statistic alone decides
        at p <= 1e-6, else None.

    Raises:
        InvalidSignal: NaN or infinity, or another shape.
    """
    if tuple(latents.shape) != code.shape:
        raise InvalidSignal(
            f"found latents of shape {tuple(latents.shape)}, expected {code.shape}"
        )
    return signs.score(signs.weights(latents), code)
