"""Detect `latent`: the sign code of what the autoencoder makes of a picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from watermark.detectors import signs
from watermark.detectors.base import Score
from watermark.errors import InvalidSignal
from watermark.schemes.latent import Code, whiten


def score(latents: NDArray[np.floating], code: Code) -> Score:
    """Test encoded latents (of the code's shape) under the code's key record.

    Returns:
        A score whose `payload` is the mark id where the joint statistic alone decides
        at p <= 1e-6, else None.

    Raises:
        InvalidSignal: NaN or infinity, or another shape.
    """
    if not np.isfinite(latents).all():
        raise InvalidSignal("the latents hold NaN or infinity: nothing can be tested")
    return score_whitened(whiten(latents), code)


def score_whitened(g: NDArray[np.floating], code: Code) -> Score:
    """As `score`, of latents that `whiten` saw and of which parts may be set to 0.

    Raises:
        InvalidSignal: NaN or infinity, or another shape.
    """
    if tuple(g.shape) != code.shape:
        raise InvalidSignal(
            f"found latents of shape {tuple(g.shape)}, expected {code.shape}"
        )
    return signs.score(signs.weights(g), code)
