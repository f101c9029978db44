"""Detect `unigram`: an exact hypergeometric test on the distinct tokens.

Over a random key the green tokens are a random set of G of the V, so of m distinct
tokens the number of greens is hypergeometric, whatever the text. Counting repeats, as
the engine's plain detector does, is no test: common words have one colour under a key,
and then every text has too many greens, or too few.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from watermark.detectors.base import Score
from watermark.detectors.foreign import rank
from watermark.errors import VocabularyMismatch
from watermark.keys import KeyRecord
from watermark.schemes.foreign import unigram

# Distinct tokens, as for `greenlist`; not measured for this scheme.
ENOUGH = 320


def score(tokens: Any, record: KeyRecord, skip: int = 0) -> Score:
    """Test token ids under one key record.

    Args:
        tokens: ids, any integer sequence in [0, 2**32).
        record: of the scheme `unigram`, with its vocabulary size.
        skip: tokens of prompt at the start: a token that occurs there does not count.

    Raises:
        ValueError: skip is not in 0 to ``len(tokens)``.
        VocabularyMismatch: the record has no vocabulary size.
        KeyFileError: the record was read without its key.
    """
    ids = np.ascontiguousarray(tokens, dtype=np.uint32)
    if not 0 <= skip <= len(ids):
        raise ValueError(f"skip is {skip}, expected 0 to {len(ids)}")
    if record.vocab_size is None:
        raise VocabularyMismatch(
            "the record of unigram has no vocabulary size, and every size has a green "
            "list of its own: give the width of the model's logits"
        )
    green = unigram.green(record)
    distinct = np.setdiff1d(ids[skip:], ids[:skip])
    distinct = distinct[distinct < record.vocab_size]
    n, hits = len(distinct), int(green[distinct].sum())
    return Score(
        ln_p=ln_hypergeometric_tail(hits, n, int(green.sum()), len(green)),
        hypotheses=1,
        n=n,
        statistic=float(hits),
    )


def proven(record: KeyRecord, n: int) -> float:
    """Ln of the least p that holds, but for a factor of e, whatever the text."""
    return rank.ln_counted(n, record.vocab_size or 2, 1 << 32)  # lists


def ln_hypergeometric_tail(k: int, n: int, good: int, total: int) -> float:
    """Ln P(X >= k), X good ones among n drawn of `total` without putting back."""
    least, most = max(0, n - (total - good)), min(n, good)
    if k <= least:
        return 0.0
    if k > most:
        return -math.inf

    def ln_pmf(x: int) -> float:
        return (
            _ln_choose(good, x) + _ln_choose(total - good, n - x) - _ln_choose(total, n)
        )

    def odds(x: int) -> float:  # P(x + 1) / P(x)
        return (good - x) * (n - x) / ((x + 1) * (total - good - n + x + 1))

    summed, term = 1.0, 1.0
    if k > n * good / total:
        for x in range(k, most):
            term *= odds(x)
            summed += term
            if term < 1e-18 * summed:
                break
        return min(0.0, ln_pmf(k) + math.log(summed))
    for x in range(k - 1, least, -1):
        term /= odds(x - 1)
        summed += term
        if term < 1e-18 * summed:
            break
    below = math.exp(ln_pmf(k - 1) + math.log(summed))
    return math.log1p(-min(below, 1.0 - 2.0**-53))


def _ln_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
