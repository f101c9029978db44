"""Detect SynthID-Text: a weighted count of g values, layer by layer.

`synthid`: under a random key the bits are fair coins, independent between states and
layers, as under our own `tournament`, whose tail serves long texts. Layers with the
same key have the same bits: they count as one, here too.

`hf-synthid`: a layer's bits are read from one table at the text's states plus the
layer's key, modulo 65,536. So nothing has to be assumed: all 65,536 keys are tried, and
the counts that they give on this very text are the distribution of a layer's count
under a random key. It has the table's imbalance in it, the repeats of the text and the
shortage of keys: a layer that fits better than every other key is evidence of 1 in
65,536 and no more. Layers with the same key count as one, with their weights together.

The sum's tail is a convolution, right to every digit. For that the weights, which fall
from layer to layer as the log-odds of a marked bit do, are rounded to whole numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark.detectors.base import Score
from watermark.detectors.lattice import ln_count_tail
from watermark.detectors.tournament import HITS, ln_tail, odds
from watermark.keys import KeyRecord
from watermark.schemes.foreign import engine_numbers, hf_synthid, synthid

# Distinct contexts for 90 % power at p = 1e-6, 30 layers, 1 nat a token (simulated).
ENOUGH = 125
UNIT = 25  # thousandths of a nat: the first layer weighs 14, the thirtieth 4
# Up to so many contexts (2**-n is a number) and bits, fair coins are convolved; beyond,
# the saddlepoint approximation is close enough.
FEW_CONTEXTS, FEW_BITS = 1000, 20_000

Counts = NDArray[np.int64]


def weights(layers: int) -> Counts:
    """Whole weights of the layers, falling: int64 (layers,)."""
    first = np.rint(odds(min(layers, len(HITS))) / UNIT)
    return np.concatenate([first, np.full(layers - len(first), first[-1])]).astype(int)


def score(tokens: Any, record: KeyRecord, skip: int = 0) -> Score:
    """Test token ids under one key record.

    Args:
        tokens: ids, any integer sequence in [0, 2**32).
        record: of the scheme `hf-synthid` or `synthid`.
        skip: tokens of prompt at the start: they are not scored, no context begins in
            them, and pairs of context and token that occur there are not counted.

    Returns:
        Its statistic is the weighted count of ones.

    Raises:
        KeyFileError: the record was read without its key.
        ValueError: skip is not in 0 to ``len(tokens)``.
    """
    ids = np.ascontiguousarray(tokens, dtype=np.uint32)
    if record.scheme == hf_synthid.SCHEME.name:
        return _score_table(ids, record, skip)
    members = hf_synthid.equals([k & synthid.MASK64 for k in engine_numbers(record)])
    bits = synthid.bits(ids, record, skip)[1][:, [which[0] for which in members]]
    n, w = len(bits), _merged(members)
    total = int(bits.sum(axis=0, dtype=np.int64) @ w)
    return Score(
        ln_p=_ln_coin_tail(n, w, total), hypotheses=1, n=n, statistic=float(total)
    )


def proven(record: KeyRecord, n: int) -> float:
    """-inf: under `hf-synthid` p is that of the text itself; `synthid` has 64 bits."""
    return -math.inf


def _merged(members: Sequence[Sequence[int]]) -> Counts:
    """The weight of each distinct layer: of all that it stands for, together."""
    of_layer = weights(sum(map(len, members)))
    return np.asarray([of_layer[list(which)].sum() for which in members])


def _ln_coin_tail(n: int, weights: Counts, total: int) -> float:
    """Ln P of so large a weighted count of ones among fair coins."""
    if not n:
        return 0.0
    if n > FEW_CONTEXTS or n * len(weights) > FEW_BITS:
        excess = 2.0 * total - n * float(weights.sum())
        return ln_tail(n, weights.astype(np.float64), excess)
    p = np.asarray([math.comb(n, k) / (1 << n) for k in range(n + 1)])
    return ln_count_tail(p, weights, total)


def _score_table(ids: NDArray[np.uint32], record: KeyRecord, skip: int) -> Score:
    layers = hf_synthid.layers(record)
    merged = _merged(layers.members)
    bit = hf_synthid.table(
        int(record.parameters["table_size"]), int(record.parameters["table_seed"])
    )
    states = hf_synthid.states(ids, record, skip)[1]
    n = len(states)
    counts = hf_synthid.bits(states, layers.shifts, bit).sum(axis=0, dtype=np.int64)
    total = int(counts @ merged)
    ln_p = ln_count_tail(null(states, bit), merged, total) if n else 0.0
    return Score(ln_p=ln_p, hypotheses=1, n=n, statistic=float(total))


def null(states: NDArray[np.int64], bit: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The distribution of a layer's count under a random key: float64 (n + 1,).

    The count of key k is ``sum_i bit[states_i + k]``: a circular correlation of the
    states' histogram with the table, whole numbers that a transform gives to 1e-6.
    """
    size = len(bit)
    histogram = np.bincount(states, minlength=size).astype(np.float64)
    spectrum = np.conj(np.fft.rfft(histogram)) * np.fft.rfft(bit.astype(np.float64))
    counts = np.rint(np.fft.irfft(spectrum, size)).astype(np.int64)
    return np.bincount(counts, minlength=len(states) + 1) / size
