"""`tournament` in plain Python: layers of keyed bits, as SynthID-Text draws them.

Layer l (1, 2, ...) of a candidate is one bit g of its `token_word`, the top bit first.
Each layer doubles the chance of the candidates with g = 1 against those with 0, as far
as the total allows: ``p <- p (1 + g - sum p g)`` (Dathathri et al., Nature 2024).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark.kernels.reference import Numbers, integers, token_word, token_words


def tournament_scale(
    p: Any, tokens: Numbers, state: bytes, nonce: int, layers: int
) -> None:
    """Replace the probabilities of the candidates by those after all layers, in place.

    Args:
        p: float64 (n,), probabilities that sum to 1.
        tokens: the candidates' ids, (n,).
        state: 16 bytes from `context_state`.
        nonce: 0 to 2**32 - 1.
        layers: 1 to 32.
    """
    drawn = [token_word(state, token, nonce) for token in integers(tokens)]
    for layer in range(1, layers + 1):
        bits = [(word >> (32 - layer)) & 1 for word in drawn]
        mean = 0.0
        for value, bit in zip(p, bits, strict=True):
            mean += float(value) * bit
        for i, bit in enumerate(bits):
            p[i] = float(p[i]) * (1.0 + bit - mean)


def tournament_bits(
    tokens: Numbers,
    key: bytes,
    width: int,
    nonce_bits: int,
    layers: int,
    skip: int = 0,
) -> tuple[int, NDArray[np.int64]]:
    """How often each layer's bit is 1 over distinct contexts, for each nonce.

    Args:
        tokens: ids in [0, 2**32).
        key: 16-byte SipHash key.
        width: tokens of context.
        nonce_bits: 2**nonce_bits nonces are counted, 0 to 8.
        layers: 1 to 32.
        skip: tokens of prompt, as for `gumbel_score`.

    Returns:
        (n, counts): distinct contexts, and int64 (nonces, layers), each 0 to n.
    """
    _, drawn = token_words(tokens, key, width, nonce_bits, skip)
    counts = [
        [
            sum((word >> (32 - layer)) & 1 for word in column)
            for layer in range(1, layers + 1)
        ]
        for column in drawn.T.tolist()
    ]
    return len(drawn), np.asarray(counts, np.int64).reshape(1 << nonce_bits, layers)
