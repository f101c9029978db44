"""`greenlist`: a soft bias towards a keyed part of the vocabulary.

Each token is green with probability gamma16 / 16, independently for every context and
token: one keyed nibble decides, so membership costs O(1) and its null distribution is
exactly binomial (after Kirchenbauer et al. 2023, who fix the list's size instead).
`delta` nats are added to green logits. It changes the distribution; it is for greedy
decoding, beam search and hosts that only offer raw logits.

`gate100` is for code: hundredths of a nat of the model's entropy, below which a step is
left alone, since a bias there breaks the program or does nothing (SWEET, Lee et al.,
ACL 2024). It always costs power where the detector has no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from watermark.errors import InvalidSignal
from watermark.kernels import context_state, greenlist_bias
from watermark.keys import KeyRecord, Parameter
from watermark.prf import context_key
from watermark.schemes.base import Scheme, option, within


def _check(parameters: Mapping[str, Parameter]) -> None:
    within(parameters, "width", 1, 63)
    within(parameters, "gamma16", 1, 15)
    if not 0 <= option(parameters, "gate100") <= 1000:
        raise ValueError(
            f"gate100 is {parameters['gate100']!r}, expected hundredths of a nat in "
            "0..1000"
        )
    delta = parameters["delta"]
    if not isinstance(delta, float | int) or not 0 < delta <= 20:
        raise ValueError(f"delta is {delta!r}, expected nats in (0, 20]")


SCHEME = Scheme(
    "greenlist",
    1,
    "tokens",
    {"width": 4, "gamma16": 4, "delta": 2.0, "gate100": 0},
    _check,
)


def gate(record: KeyRecord) -> float:
    """Nats of entropy that a step must exceed to be biased; 0 where the gate is off."""
    return option(record.parameters, "gate100") / 100


def entropy(logits: Any) -> float:
    """Nats of the softmax of one row of logits, -inf excluded; NaN where it is broken.

    Taken in float64, before the bias: detection with the model computes it again.
    """
    row = np.asarray(logits)
    kept = row[row != -np.inf].astype(np.float64)
    if kept.size == 0 or not np.isfinite(kept).all():
        return float("nan")
    kept -= kept.max()
    p = np.exp(kept)
    total = float(p.sum())
    return float(np.log(total) - p @ kept / total)


def state(
    record: KeyRecord, output: Sequence[int], *, key: bytes | None = None
) -> bytes | None:
    """The state of the green list for the next token, or None: too little context.

    Args:
        record: the key record.
        output: the tokens generated so far, or at least the last `width` of them.
        key: the record's context key, where the caller keeps it between steps.
    """
    width = int(record.parameters["width"])
    if len(output) < width:
        return None
    context = np.asarray(output[-width:], dtype=np.uint32)
    return context_state(context_key(record) if key is None else key, context)


def bias(logits: Any, state: bytes, record: KeyRecord) -> int:
    """Add delta to the green logits of one float32 row, in place, if the gate is open.

    Returns:
        How many candidates the row has: with one, a bias changes nothing. 0 where the
        gate left the row as it was.

    Raises:
        InvalidSignal: NaN or +inf in the row.
    """
    threshold = gate(record)
    if threshold and entropy(logits) <= threshold:
        return 0
    gamma16 = int(record.parameters["gamma16"])
    delta = float(record.parameters["delta"])
    count = greenlist_bias(logits, state, gamma16, delta)
    if count < 0:
        raise InvalidSignal(
            "the logits hold NaN or +inf: the model or an earlier logits processor is "
            "broken"
        )
    return count
