"""Detect `tournament`: a weighted count of keyed bits, layer by layer.

Under a random key the bits of the first token after each distinct context are fair
coins, independent between contexts and layers, for any text chosen without the key. So
for any fixed weights ``T = sum_l w_l (2 c_l - n)``, c_l the ones of layer l, has the
cumulants ``K(t) = n sum_l ln cosh(w_l t)``, and its tail is a saddlepoint
approximation.

Two sets of weights. `odds`, the default: a marked token has g = 1 in layer l with the
probability ``3/4 - E sum p^2 / 4``, p after layer l - 1, and the log-odds of that are
the best weights of a count (the Bayesian score of SynthID-Text where layers are taken
as independent). `linear`: from 10 down to 1, SynthID-Text's weighted mean. On the
synthetic source of 0.5, 1 and 1.5 nats they need the same number of tokens within 3 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark.detectors.base import Score
from watermark.detectors.stats import (
    ln_chernoff_tail,
    ln_saddlepoint_tail,
    ln_sign_tail,
)
from watermark.kernels import tournament_bits
from watermark.keys import KeyRecord
from watermark.prf import context_key

Floats = NDArray[np.float64]

# Distinct contexts for 90 % power at p = 1e-6, 1 nat a token, 4 nonce bits searched,
# and the fresh prefix (simulated on the synthetic source).
ENOUGH = 160
# P(g = 1) of a marked token, in 1/10,000, layer 1 first: simulated on the synthetic
# source of 1 nat (`benchmarks/sources.py`). They only decide the power.
HITS = (
    *(5836, 5810, 5783, 5754, 5728, 5701, 5675, 5648, 5621, 5594, 5569, 5545, 5523),
    *(5499, 5475, 5453, 5432, 5414, 5394, 5373, 5355, 5338, 5320, 5304, 5290, 5275),
    *(5260, 5246, 5235, 5223, 5212, 5202),
)
# Below so many contexts or layers T has too few values for a smooth approximation.
FEW_CONTEXTS, FEW_LAYERS = 8, 12


def odds(layers: int) -> Floats:
    """Log-odds of a one in each layer, in thousandths of a nat."""
    hits = np.asarray(HITS[:layers]) / 10_000
    return np.asarray(np.rint(1000 * np.log(hits / (1 - hits))))


def linear(layers: int) -> Floats:
    """The weighted mean of SynthID-Text: from 10 down to 1."""
    return np.linspace(10.0, 1.0, layers)


def score(
    tokens: Any,
    record: KeyRecord,
    skip: int = 0,
    *,
    weights: Callable[[int], Floats] = odds,
) -> Score:
    """Test token ids under one key record.

    Args:
        tokens: ids, any integer sequence in [0, 2**32).
        record: of the scheme `tournament`.
        skip: tokens of prompt at the start: they are not scored, and their contexts
            count as seen.
        weights: `odds` or `linear`; chosen before the text is seen.

    Raises:
        ValueError: skip is not in 0 to ``len(tokens)``.
    """
    ids = np.ascontiguousarray(tokens, dtype=np.uint32)
    layers = int(record.parameters["layers"])
    n, counts = tournament_bits(
        ids,
        context_key(record),
        int(record.parameters["width"]),
        int(record.parameters["nonce_bits"]),
        layers,
        skip,
    )
    w = weights(layers)
    totals = (2.0 * np.asarray(counts) - n) @ w
    best = int(np.argmax(totals))
    return Score(
        ln_p=ln_tail(n, w, float(totals[best])),
        hypotheses=len(totals),
        n=n,
        statistic=float(totals[best]),
        nonce=best,
    )


def ln_tail(n: int, weights: Floats, total: float) -> float:
    """Ln P(T >= total) over n contexts.

    The saddlepoint approximation of p is off by 3 % at most (tested from 8 contexts of
    12 layers on, near the mean and far from it). Of fewer the better of two bounds.
    """
    if n == 0:
        return 0.0
    layers = len(weights)
    least = -n * layers * math.log(2.0)  # every bit is one

    def cgf(t: float) -> tuple[float, float, float]:
        x = np.abs(weights * t)
        slope = np.tanh(weights * t)
        ln_cosh = x + np.log1p(np.exp(-2 * x)) - math.log(2.0)
        curvature = weights**2 * (1 - slope**2)
        return (
            n * float(ln_cosh.sum()),
            n * float(weights @ slope),
            n * float(curvature.sum()),
        )

    if n >= FEW_CONTEXTS and layers >= FEW_LAYERS:
        return max(least, ln_saddlepoint_tail(cgf, total))
    norm = math.sqrt(n) * float(np.linalg.norm(weights))
    return max(least, min(ln_sign_tail(total / norm), ln_chernoff_tail(cgf, total)))
