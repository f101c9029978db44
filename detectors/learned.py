"""Detect `learned-<codec>`: how many of the bits that were read are the key's.

The bits read are a function of the content alone. Those of a random key are fair and
independent, whatever the content is, so the number that agree is Binomial(n, 1/2)
exactly: for content that was made without this key, and without anything marked with
it. That last word matters here more than elsewhere: see docs/learned.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from watermark.detectors.base import Score
from watermark.detectors.stats import ln_binomial_tail
from watermark.keys import KeyRecord
from watermark.schemes.learned import Bits, message


def score(read: Sequence[Bits | None], record: KeyRecord) -> Score:
    """Test what was read under a key record.

    Args:
        read: the bits of a picture, or of each piece of a sound in its order; None
            where a decoder said that there are none, which counts for nothing.
        record: of ``learned-<codec>``, with its key.
    """
    said = [(bits, index) for index, bits in enumerate(read) if bits is not None]
    agree = sum(int(np.sum(bits == message(record, at))) for bits, at in said)
    n = sum(len(bits) for bits, _ in said)
    ln_p = ln_binomial_tail(agree, n, 0.5) if n else 0.0
    return Score(ln_p=max(ln_p, -n * math.log(2)), hypotheses=1, n=n, statistic=agree)


def majority(read: Sequence[Bits | None]) -> Bits | None:
    """Each bit as most of several readings have it; a tie is a 1. None: no reading."""
    said = [bits for bits in read if bits is not None]
    if not said:
        return None
    counts: NDArray[np.int64] = np.sum(np.stack(said).astype(np.int64), axis=0)
    return (2 * counts >= len(said)).astype(np.uint8)
