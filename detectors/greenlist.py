"""Detect `greenlist`: an exact binomial test on distinct (context, token) pairs.

Where the record has an entropy gate and the model is at hand, only those tokens are
counted that the model's entropy opened the gate for: the others were sampled without a
bias, and add nothing but noise. Which they are does not depend on the key, so the test
stays exact.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark.detectors.base import Score
from watermark.detectors.stats import ln_binomial_tail
from watermark.errors import InvalidSignal
from watermark.kernels import context_state, greenlist_count, words
from watermark.keys import KeyRecord
from watermark.prf import context_key
from watermark.schemes.greenlist import gate

# Distinct pairs for 90 % power at p = 1e-6 at 1 nat a token, gamma 1/4, delta 2
# (simulated on synthetic token distributions, not measured on a model).
ENOUGH = 320


def score(
    tokens: Any, record: KeyRecord, entropies: Any = None, skip: int = 0
) -> Score:
    """Test token ids under one key record.

    Args:
        tokens: ids, any integer sequence in [0, 2**32).
        record: of the scheme `greenlist`.
        entropies: of the model, nats, one for each token after the first `skip`: of the
            distribution that it was sampled from, before the bias. NaN where unknown:
            the token is left out. None: every token counts.
        skip: tokens of prompt at the start: pairs of context and token that occur there
            are not counted.

    Raises:
        InvalidSignal: another number of entropies.
        ValueError: skip is not in 0 to ``len(tokens)``.
    """
    ids = np.ascontiguousarray(tokens, dtype=np.uint32)
    gamma16 = int(record.parameters["gamma16"])
    width = int(record.parameters["width"])
    key = context_key(record)
    if entropies is None:
        n, green = greenlist_count(ids, key, width, gamma16, skip)
    else:
        n, green = _count_open(ids, record, np.asarray(entropies, np.float64), skip)
    return Score(
        ln_p=ln_binomial_tail(green, n, gamma16 / 16),
        hypotheses=1,
        n=n,
        statistic=float(green),
    )


def _count_open(
    ids: NDArray[np.uint32],
    record: KeyRecord,
    entropies: NDArray[np.float64],
    skip: int,
) -> tuple[int, int]:
    """Distinct pairs whose step the gate was open for at least once, and green ones."""
    if not 0 <= skip <= len(ids):
        raise ValueError(f"skip is {skip}, expected 0 to {len(ids)}")
    if entropies.shape != (len(ids) - skip,):
        raise InvalidSignal(
            f"found entropies of shape {entropies.shape} for {len(ids) - skip} tokens, "
            "expected one for each"
        )
    width = int(record.parameters["width"])
    gamma16 = int(record.parameters["gamma16"])
    key = context_key(record)
    pair = [tuple(ids[i - width : i + 1].tolist()) for i in range(width, len(ids))]
    prompt = set(pair[: max(0, skip - width)])
    is_open = entropies > gate(record)
    counted = {
        pair[i - width]
        for i in range(skip + width, len(ids))
        if is_open[i - skip] and pair[i - width] not in prompt
    }
    green = 0
    for *context, token in counted:
        state = context_state(key, np.asarray(context, np.uint32))
        word = words(state, token >> 5, 0)[(token >> 3) & 3]
        green += (word >> (4 * (token & 7))) & 15 < gamma16
    return len(counted), green
