"""Detect `gumbel`: an exact Gamma test on the tokens that follow a context's first use.

Under a random key each such token's ``-log(1 - u)`` is exponential, and they are
independent, for any text chosen without access to the key: no assumption about language
is made. Later tokens after the same context are left out because the generator samples
them freely, and those that repeat a phrase of the text because the model was sure of
them (`kernels.reference.fresh_contexts`): scoring them too would be as valid, and only
add noise. What is left out depends on the text alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from watermark.detectors import payload
from watermark.detectors.base import Score
from watermark.detectors.stats import ln_gamma_tail
from watermark.detectors.terms import terms
from watermark.kernels import gumbel_score
from watermark.keys import KeyRecord
from watermark.prf import context_key
from watermark.schemes.base import option

# Distinct contexts for 90 % power at p = 1e-6, 1 nat a token, 4 nonce bits searched
# (109, simulated on synthetic distributions of one entropy), and the fresh prefix,
# which is scored but not marked. Texts that run in circles need more.
ENOUGH = 125


def score(tokens: Any, record: KeyRecord, skip: int = 0) -> Score:
    """Test token ids under one key record.

    Under a dual key each context is scored by the key that owns it, and both halves
    have the sequence's one nonce: the test is as exact as without. With a message, see
    `detectors.payload`.

    Args:
        tokens: ids, any integer sequence in [0, 2**32).
        record: of the scheme `gumbel`.
        skip: tokens of prompt at the start: they are not scored, and their contexts
            count as seen.

    Raises:
        ValueError: skip is not in 0 to ``len(tokens)``.
    """
    if option(record.parameters, "payload_bits"):
        return payload.score(tokens, record, skip)
    ids = np.ascontiguousarray(tokens, dtype=np.uint32)
    if option(record.parameters, "dual"):
        positions, found = terms(ids, record, skip)
        n, sums = len(positions), found.sum(axis=0).tolist()
    else:
        n, sums = gumbel_score(
            ids,
            context_key(record),
            int(record.parameters["width"]),
            int(record.parameters["nonce_bits"]),
            skip,
        )
    best = max(range(len(sums)), key=sums.__getitem__)
    return Score(
        ln_p=ln_gamma_tail(n, sums[best]),
        hypotheses=len(sums),
        n=n,
        statistic=sums[best],
        nonce=best,
    )
