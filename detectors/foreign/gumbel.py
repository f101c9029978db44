"""Detect the Gumbel-max marks of vLLM, SGLang and TextSeal: exact sums of terms.

Under a random key the terms ``-log(1 - u)`` of distinct contexts are independent, and
each at most an exponential variable. Where it is known which key chose each token, as
with one key and with SGLang's two, their sum has a Gamma tail. TextSeal's terms depend
on one another where the text is regular; how much is measured on the text, under other
keys, and widens the tail (`textseal.dispersion`). A text that was built against the
short hash of SGLang or TextSeal is found out by trying other keys on it (`rank`).

Where a coin that nobody can toss again chose between two keys, each token has a term
under either, weighed by its key's share as vLLM weighs them. The sum of such terms is
no Gamma variable, and one fitted to its first two moments makes p 1.1 to 3 times too
small. Here its tail is a saddlepoint approximation, raised by more than its error.
"""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np

from watermark.detectors.base import Score
from watermark.detectors.foreign import rank
from watermark.detectors.stats import ln_gamma_tail, ln_saddlepoint_tail
from watermark.keys import KeyRecord
from watermark.schemes.foreign import engine_numbers, sglang, textseal, vllm

# Distinct contexts for 90 % power at p = 1e-6 at 1 nat a token, simulated on the
# synthetic source: 80 with one key; 95, 110 and 130 with a coin of 0.1, 0.2 and 0.5.
ENOUGH = 100
ENGINES: dict[str, ModuleType] = {
    module.SCHEME.name: module for module in (vllm, sglang, textseal)
}
# The saddlepoint approximation makes p at most 2 % too small (tests/detectors).
MARGIN = 0.03


def score(tokens: Any, record: KeyRecord, skip: int = 0) -> Score:
    """Test token ids under one key record.

    Args:
        tokens: ids, any integer sequence in [0, 2**32).
        record: of the scheme `vllm-gumbel`, `sglang-gumbel` or `textseal`.
        skip: tokens of prompt at the start: they are not scored. SGLang's and
            TextSeal's contexts begin in them, vLLM's do not. Pairs of context and token
            that occur there are not counted.

    Returns:
        Its statistic is the weighted sum of terms, in nats.

    Raises:
        KeyFileError: the record was read without its key.
        ValueError: skip is not in 0 to ``len(tokens)``.
    """
    ids = np.ascontiguousarray(tokens, dtype=np.uint32)
    engine = ENGINES[record.scheme]
    n, totals = engine.totals(ids, record, skip)
    if not n:
        return Score(ln_p=0.0, hypotheses=1, n=0, statistic=0.0)
    b = engine.share(record)
    total = float((1 - b) * totals[0] + b * totals[-1])
    # A sum that varies more has the mean and the variance of fewer, larger terms.
    scale = textseal.dispersion(ids, record, skip) if engine is textseal else 1.0
    ln_p = ln_mixed_tail(math.ceil(n / scale), 1 - b, b, total / scale)
    if engine is not vllm and ln_p <= math.log(rank.TRIED_FROM):
        others = engine.others(ids, record, skip)
        ln_p = max(ln_p, rank.ln_p(total, others, engine_numbers(record), n))
    return Score(ln_p=ln_p, hypotheses=1, n=n, statistic=total)


def proven(record: KeyRecord, n: int) -> float:
    """Ln of the least p that holds for texts built against the hash: see `rank`."""
    return -math.inf if record.scheme == "vllm-gumbel" else -math.log(rank.most(n) + 1)


def ln_mixed_tail(n: int, a: float, b: float, x: float) -> float:
    """Upper bound of ln P(a G + b H >= x), G and H independent and Gamma(n, 1).

    At most 10 % above the exact p (tests/detectors); exact where a and b are equal, or
    one of them is 0. a + b is 1.
    """
    if a == b or not a or not b:  # b is 0 with one key
        return ln_gamma_tail(2 * n if a == b else n, x / max(a, b))

    def cgf(t: float) -> tuple[float, float, float]:
        p, q = a / (1 - a * t), b / (1 - b * t)
        k = -n * (math.log1p(-a * t) + math.log1p(-b * t))
        return k, n * (p + q), n * (p * p + q * q)

    return min(0.0, ln_saddlepoint_tail(cgf, x, 1 / max(a, b)) + MARGIN)
