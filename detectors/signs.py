"""The sign code's statistic: find the nonce by the pilot, read the mark id, bound it.

For any fixed array and a random key the signs are independent and fair, so the
normalised correlation T has ``P(T >= t) <= 3.178 Q(t)`` (Bentkus and Dzindzalieta 2015)
whatever the content. The pilot statistic pays for 2**b nonces, the joint one for
2**(b + 64) pairs of nonce and mark id (a union bound); using the better of the two
doubles the price.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from watermark.detectors.base import LN10, Score
from watermark.detectors.stats import ln_sign_tail
from watermark.errors import InvalidSignal
from watermark.kernels import pilot_search, trellis_decode
from watermark.schemes.signs import MARK_ID_BYTES, SignCode

CANDIDATES = 16  # nonces whose mark id is decoded
CLIP = 4.0  # standard deviations; heavier tails are damage, not signal
UNIT = 256  # integer steps per standard deviation
PAYLOAD_LOG10_P = -6.0  # the mark id is told only where the joint statistic decides


def weights(values: NDArray[np.floating]) -> NDArray[np.int32]:
    """`values` as integers: standardised by their RMS, clipped, in steps of 1/256.

    Raises:
        InvalidSignal: NaN or infinity.
    """
    values = np.asarray(values, dtype=np.float64).reshape(-1)
    if not np.isfinite(values).all():
        raise InvalidSignal("the array holds NaN or infinity: nothing can be tested")
    largest = float(np.max(np.abs(values))) if values.size else 0.0
    if largest == 0.0:
        return np.zeros(values.size, dtype=np.int32)
    values = values / largest  # so that no square overflows
    rms = math.sqrt(float(np.mean(values * values)))
    scaled = np.clip(values / rms, -CLIP, CLIP) * UNIT
    return np.rint(scaled).astype(np.int32)


def score(w: NDArray[np.int32], code: SignCode) -> Score:
    """Test integer weights against every nonce and mark id of a code.

    Args:
        w: int32 (code.size,): a function of the content alone, |w| <= 1024.
        code: of the key record.

    Returns:
        A score whose `payload` is the mark id where the joint statistic alone decides
        at p <= 1e-6, else None.
    """
    nonce_bits = int(code.record.parameters["nonce_bits"])
    pilot, data = w[code.pilot], w[code.data]
    found = pilot_search(pilot, code.pilot_state, nonce_bits, CANDIDATES)
    sums = []
    for pilot_sum, nonce in found:
        values = np.ascontiguousarray(data * code.data_signs(nonce))
        data_sum, mark_id = trellis_decode(code.masks, values)
        sums.append((pilot_sum + data_sum, nonce, mark_id))
    joint_sum, joint_nonce, mark_id = max(sums)
    pilot_ln, joint_ln = ln_tail(found[0][0], pilot), ln_tail(joint_sum, w)
    by_pilot, by_joint = 2 << nonce_bits, 2 << (nonce_bits + 8 * MARK_ID_BYTES)
    decided = joint_ln + math.log(by_joint) <= PAYLOAD_LOG10_P * LN10
    if joint_ln + math.log(by_joint) <= pilot_ln + math.log(by_pilot):
        ln_p, hypotheses, nonce, total, used = (
            joint_ln,
            by_joint,
            joint_nonce,
            joint_sum,
            w,
        )
    else:
        ln_p, hypotheses, nonce = pilot_ln, by_pilot, found[0][1]
        total, used = found[0][0], pilot
    return Score(
        ln_p=ln_p,
        hypotheses=hypotheses,
        n=int(np.count_nonzero(used)),
        statistic=_normalised(total, used),
        payload=mark_id if decided else None,
        nonce=nonce,
    )


def _normalised(total: int, w: NDArray[np.int32]) -> float:
    norm = math.sqrt(float(np.sum(w.astype(np.int64) ** 2)))
    return total / norm if norm else 0.0


def ln_tail(total: int, w: NDArray[np.int32]) -> float:
    """Ln of the bound of P(signed sum of `w` >= `total`) over fair signs."""
    return ln_sign_tail(_normalised(total, w)) if w.any() else 0.0
