"""Detect `gumbel`: an exact Gamma test on the first token after each distinct context.

Under a random key each such token's ``-log(1 - u)`` is exponential, and they are
independent, for any text chosen without access to the key: no assumption about language
is made. Later tokens after the same context are left out because the generator samples
them freely: scoring them too would be as valid, and only add noise.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from watermark.detectors.base import Score
from watermark.detectors.stats import ln_gamma_tail
from watermark.kernels import gumbel_score
from watermark.keys import KeyRecord
from watermark.prf import context_key

# Distinct contexts for 90 % power at p = 1e-6, 1 nat a token, 4 nonce bits searched
# (109, simulated on synthetic distributions of one entropy), and the fresh prefix,
# which is scored but not marked. Texts that run in circles need more.
ENOUGH = 125


def score(tokens: Any, record: KeyRecord) -> Score:
    """Test token ids (any integer sequence, ids in [0, 2**32)) under one key record."""
    ids = np.ascontiguousarray(tokens, dtype=np.uint32)
    nonce_bits = int(record.parameters["nonce_bits"])
    n, sums = gumbel_score(
        ids, context_key(record), int(record.parameters["width"]), nonce_bits
    )
    best = max(range(len(sums)), key=sums.__getitem__)
    return Score(
        ln_p=ln_gamma_tail(n, sums[best]),
        hypotheses=len(sums),
        n=n,
        statistic=sums[best],
        nonce=best,
    )
