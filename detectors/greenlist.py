"""Detect `greenlist`: an exact binomial test on distinct (context, token) pairs."""

from __future__ import annotations

from typing import Any

import numpy as np

from watermark.detectors.base import Score
from watermark.detectors.stats import ln_binomial_tail
from watermark.kernels import greenlist_count
from watermark.keys import KeyRecord
from watermark.prf import context_key

# Distinct pairs for 90 % power at p = 1e-6 at 1 nat a token, gamma 1/4, delta 2
# (simulated on synthetic token distributions, not measured on a model).
ENOUGH = 320


def score(tokens: Any, record: KeyRecord) -> Score:
    """Test token ids (any integer sequence, ids in [0, 2**32)) under one key record."""
    ids = np.ascontiguousarray(tokens, dtype=np.uint32)
    gamma16 = int(record.parameters["gamma16"])
    n, green = greenlist_count(
        ids, context_key(record), int(record.parameters["width"]), gamma16
    )
    return Score(
        ln_p=ln_binomial_tail(green, n, gamma16 / 16),
        hypotheses=1,
        n=n,
        statistic=float(green),
    )
