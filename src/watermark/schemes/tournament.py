"""`tournament`: the candidates' probabilities meet in keyed rounds (SynthID-Text).

Layer l gives each candidate x a keyed bit g, and then ``p <- p (1 + g - sum_y p_y
g_y)``: over a random key the distribution is the model's after every layer (Dathathri
et al., Nature 634 (2024), two leaves). The token is then sampled by the host, so some
of its own randomness is left, and more tokens are needed than under `gumbel`.

Only candidates that survive top-k and top-p take part. Which tokens are marked, and the
nonce of a sequence, are as under `gumbel` (`gumbel.Sequencer`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark import kernels
from watermark.errors import InvalidSignal
from watermark.keys import KeyRecord, Parameter
from watermark.schemes.base import Scheme, within


def _check(parameters: Mapping[str, Parameter]) -> None:
    within(parameters, "width", 1, 63)
    within(parameters, "nonce_bits", 0, 8)
    within(parameters, "layers", 1, 32)


SCHEME = Scheme(
    "tournament", 1, "tokens", {"width": 4, "nonce_bits": 4, "layers": 30}, _check
)


def scale(p: Any, tokens: Any, state: bytes, nonce: int, layers: int) -> None:
    """Run the tournament of one context on the survivors' probabilities, in place.

    Args:
        p: float64 [n], the survivors' probabilities, summing to 1.
        tokens: uint32 [n], their ids, in ascending order.
        state: 16 bytes of the context.
        nonce: the nonce of the sequence.
        layers: rounds, 1 to 32.
    """
    kernels.tournament_scale(p, tokens, state, nonce, layers)
    np.maximum(
        p, 0.0, out=p
    )  # a layer that all mass agrees in leaves -1e-17 of the rest


def reweigh(
    logits: NDArray[np.float32], state: bytes, nonce: int, record: KeyRecord
) -> NDArray[np.float32]:
    """One row of logits after the tournament: float32 log-probabilities.

    Args:
        logits: float32 [vocab], -inf where a token did not survive.
        state: 16 bytes of the context.
        nonce: the nonce of the sequence.
        record: the key record.

    Raises:
        InvalidSignal: NaN or +inf in the row, or nothing finite.
    """
    tokens = np.flatnonzero(logits != -np.inf).astype(np.uint32)
    kept = logits[tokens].astype(np.float64)
    if kept.size == 0:
        raise InvalidSignal("every logit is -inf: no token can be sampled")
    if not np.isfinite(kept).all():
        raise InvalidSignal(
            "the logits hold NaN or +inf: the model or an earlier logits processor is "
            "broken, and nothing was sampled from them"
        )
    p = np.exp(kept - kept.max())
    p /= p.sum()
    scale(p, tokens, state, nonce, int(record.parameters["layers"]))
    out = np.full(logits.shape, -np.inf, dtype=np.float32)
    with np.errstate(divide="ignore"):
        out[tokens] = np.log(p)
    return out
