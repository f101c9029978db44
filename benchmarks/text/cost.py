"""What a bias costs: how much less likely its tokens are to the unmarked model.

Where the model gives candidate x the probability p_x and a green list raises its logits
by delta, the token is drawn from ``q_x ~ p_x e^(delta g_x)``, and is on average
``sum_x (q_x - p_x) (-ln p_x)`` nats less likely than a token of the model. That is the
rise of the mean negative log-likelihood at one step; schemes are compared at the same
rise. Distortion-free schemes have none.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MOST = 20.0  # nats: the largest delta of `greenlist`
STEPS = 30  # of the bisection


def rise(
    log_p: Floats, green: NDArray[np.bool_], delta: float, gate: float = 0.0
) -> float:
    """Mean rise in nats a token.

    Args:
        log_p: of the candidates at every step, shape (steps, candidates); -inf where a
            candidate was cut off. Each row sums to one.
        green: whether each is green, the same shape.
        delta: nats added to green logits.
        gate: nats of entropy that a step must exceed to be biased at all.
    """
    p = np.exp(log_p)
    nats = np.where(p > 0, -log_p, 0.0)
    q = p * np.exp(delta * green)
    q /= q.sum(axis=1, keepdims=True)
    biased = (p * nats).sum(axis=1) > gate
    return float((((q - p) * nats).sum(axis=1) * biased).mean())


def delta_for(
    cost: float,
    log_p: Floats,
    gamma: float,
    gate: float = 0.0,
    seed: int = 0,
) -> float:
    """The delta whose mean rise is `cost` nats, in hundredths; at most `MOST`.

    Green lists are drawn once, each candidate green with probability gamma.
    """
    green = np.random.default_rng(seed).random(log_p.shape) < gamma
    low, high = 0.0, MOST
    for _ in range(STEPS):
        middle = (low + high) / 2
        enough = rise(log_p, green, middle, gate) >= cost
        low, high = (low, middle) if enough else (middle, high)
    return round(high, 2)


def measured(texts: Sequence[tuple[Floats, Floats]]) -> tuple[float, float]:
    """The rise that marked texts show, and its standard error between texts.

    The mean of ``-ln p(token) - entropy``, which is zero for tokens of the model.

    Args:
        texts: of each the model's probabilities of its tokens and the entropies of the
            distributions they were drawn from; NaN is left out.
    """
    means = [float(np.nanmean(-np.log(p) - nats)) for p, nats in texts]
    error = statistics.stdev(means) / math.sqrt(len(means)) if len(means) > 1 else 0.0
    return statistics.fmean(means), error
