"""The sign code's statistic: find the nonce by the pilot, read the mark id, bound it.

For any fixed array and a random key the signs are independent and fair, whatever the
content, so the normalised correlation T has the tail of a signed sum of fixed weights
(`watermark.detectors.rademacher`; at most ``3.178 Q(T)``). The pilot statistic pays for
2**b nonces, the joint one for 2**(b + 64) pairs of nonce and mark id (a union bound);
using the better of the two doubles the price. In registry mode the union counts the
nonces on file instead, and where the ledger also knows their mark ids nothing else
(`Registry`).

**A wrong mark id.** That the joint statistic decides says that there is a mark, not
that every byte of the id is right. The likeliest mistakes are the 2,040 ids that differ
in one byte. With sums normally distributed about what the marked share of the whole
array makes of them (the order of the coordinates is keyed, so every byte has its fair
part of a damage), the likelihood ratio of an id whose sum is D lower is
``e^-(D S / sum w^2)``, S the sum of the best. Three times the total of these is the
stated probability of a wrong id: mistakes in several bytes are about as many again
where marks are faintest (`python -m benchmarks diffusion --only code` counts them).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from watermark.detectors.base import LN10, Score
from watermark.detectors.rademacher import ln_signed_tail
from watermark.errors import InvalidSignal
from watermark.kernels import (
    listed_search,
    pilot_search,
    trellis_decode,
    trellis_rivals,
)
from watermark.schemes.signs import MARK_ID_BYTES, NONCE_BYTES, SignCode

CANDIDATES = 16  # nonces whose mark id is decoded
PLAIN = 12.0  # standard deviations of a pilot that leave no doubt about its nonce
CLIP = 4.0  # standard deviations; heavier tails are damage, not signal
UNIT = 256  # integer steps per standard deviation, in arrays up to 2**20 numbers
LARGEST = (1 << 28) - 1  # size times steps: the kernels sum 4 of it in 31 bits
MOST = 1 << 26  # numbers of an array
PAYLOAD_LOG10_P = -6.0  # the mark id is told only where the joint statistic decides
PAYLOAD_LN_ERROR = -3 * LN10  # and where it is wrong once in 1,000
LN_SEVERAL = math.log(3.0)  # mistakes in several bytes, beside those in one

Weights = NDArray[np.int32]
MarkIds = Callable[[bytes], bytes | None]


@dataclass(frozen=True, slots=True)
class Registry:
    """The nonces that a ledger has on file: 12 bytes of memory each.

    Attributes:
        packed: the nonces, little-endian, each once.
        mark_id_of: the mark id that was given with a nonce, or None where it is not on
            file any more; it is asked for the few that fit best. None: mark ids are
            not on file.
    """

    packed: bytes
    mark_id_of: MarkIds | None = field(default=None, repr=False)

    @classmethod
    def of(
        cls,
        nonces: Iterable[bytes],
        mark_id_of: MarkIds | None = None,
    ) -> Self:
        """Of nonces as `Mark.nonce` and `Ledger.values` have them, each once.

        Raises:
            InvalidSignal: a nonce has not 12 bytes.
        """
        packed = bytearray()
        for nonce in nonces:
            if len(nonce) != NONCE_BYTES:
                raise InvalidSignal(
                    f"found a nonce of {len(nonce)} bytes, expected {NONCE_BYTES}"
                )
            packed += nonce
        return cls(bytes(packed), mark_id_of)

    def __len__(self) -> int:
        return len(self.packed) // NONCE_BYTES

    def nonce(self, place: int) -> int:
        """The nonce at a place of the list."""
        at = NONCE_BYTES * place
        return int.from_bytes(self.packed[at : at + NONCE_BYTES], "little")

    def known(self, nonces: Iterable[int]) -> Mapping[int, bytes]:
        """The mark ids of those nonces whose mark id is on file.

        Raises:
            InvalidSignal: a mark id has not 8 bytes.
        """
        if self.mark_id_of is None:
            return {}
        asked = [
            (n, self.mark_id_of(n.to_bytes(NONCE_BYTES, "little"))) for n in nonces
        ]
        ids = {nonce: mark_id for nonce, mark_id in asked if mark_id is not None}
        if any(len(mark_id) != MARK_ID_BYTES for mark_id in ids.values()):
            raise InvalidSignal(f"found a mark id that has not {MARK_ID_BYTES} bytes")
        return ids


Nonces = Iterable[int] | Mapping[int, bytes] | Registry


def weights(values: NDArray[np.floating]) -> Weights:
    """`values` as integers: standardised by their RMS, clipped, in steps of 1/256.

    Of more than 2**20 numbers the steps are wider, so that sums stay below 2**30.

    Raises:
        InvalidSignal: NaN or infinity, or more than 2**26 numbers.
    """
    if np.size(values) > MOST:
        raise InvalidSignal(
            f"the array holds {np.size(values)} numbers, expected at most {MOST}"
        )
    values = np.asarray(values, dtype=np.float64).reshape(-1)
    if not np.isfinite(values).all():
        raise InvalidSignal("the array holds NaN or infinity: nothing can be tested")
    largest = float(np.max(np.abs(values))) if values.size else 0.0
    if largest == 0.0:
        return np.zeros(values.size, dtype=np.int32)
    unit = min(UNIT, LARGEST // values.size)
    values = values / largest  # so that no square overflows
    rms = math.sqrt(float(np.mean(values * values)))
    scaled = np.clip(values / rms, -CLIP, CLIP) * unit
    return np.rint(scaled).astype(np.int32)


def score(w: Weights, code: SignCode, nonces: Nonces | None = None) -> Score:
    """Test integer weights against every nonce and mark id of a code.

    Args:
        w: int32 (code.size,): a function of the content alone, |w| <= 1024.
        code: of the key record.
        nonces: in registry mode those on file, or those on file and the mark id of
            each (a mapping, or a `Registry`); each is a hypothesis.

    Returns:
        A score whose `payload` is the mark id where the joint statistic alone decides
        at p <= 1e-6, and where the id is wrong with probability 1e-3 at most; else
        None. `decoded` is the id that fits best, `ln_error` that probability.

    Raises:
        InvalidSignal: a registry's record without nonces, another with some, or a nonce
            or mark id of the wrong size.
    """
    return judged(w, code, candidates(w[code.pilot], code, nonces))


@dataclass(frozen=True, slots=True)
class Candidates:
    """The nonces that fit a pilot best.

    Attributes:
        found: (sum over the pilot, nonce), the best first.
        tried: how many nonces were searched.
        known: of each nonce on file its mark id, where the ledger knows them.
    """

    found: list[tuple[int, int]]
    tried: int
    known: Mapping[int, bytes] = field(default_factory=dict)


def candidates(pilot: Weights, code: SignCode, nonces: Nonces | None) -> Candidates:
    """Search the nonces; `pilot` may be the beginning of the pilot's weights.

    Raises:
        InvalidSignal: as `score`.
    """
    if code.registry:
        registry = _on_file(nonces)
        places = listed_search(pilot, code.pilot_state, registry.packed, CANDIDATES)
        found = [(total, registry.nonce(place)) for total, place in places]
        tried, known = len(registry), registry.known(nonce for _, nonce in found)
        if registry.mark_id_of is not None:
            found = [(total, nonce) for total, nonce in found if nonce in known]
    elif nonces is not None:
        raise InvalidSignal("nonces are listed for records with registry=1 alone")
    else:
        nonce_bits = int(code.record.parameters["nonce_bits"])
        found = pilot_search(pilot, code.pilot_state, nonce_bits, CANDIDATES)
        tried, known = 1 << nonce_bits, {}
    if found and normalised(found[0][0], pilot) >= PLAIN:
        found = found[:1]
    return Candidates(found, tried, known)


def judged(w: Weights, code: SignCode, of: Candidates, tests: int = 1) -> Score:
    """The score of all weights, of the candidates among the nonces that were tried.

    Args:
        w: as for `score`.
        code: of the key record.
        of: `candidates` of the pilot of these weights.
        tests: arrays that were tried in place of this one; each is a hypothesis.
    """
    if not of.found:
        return Score(ln_p=0.0, hypotheses=1, n=0, statistic=0.0)
    pilot, data = w[code.pilot], w[code.data]
    sums = []
    for pilot_sum, nonce in of.found:
        values = np.ascontiguousarray(data * code.data_signs(nonce))
        if of.known:
            mark_id = of.known[nonce]
            data_sum = int(np.sum(values * code.coded(mark_id), dtype=np.int64))
        else:
            data_sum, mark_id = trellis_decode(code.masks, values)
        sums.append((pilot_sum + data_sum, nonce, mark_id))
    joint_sum, joint_nonce, mark_id = max(sums)
    pilot_sum, pilot_nonce = of.found[0]
    pilot_ln, joint_ln = ln_tail(pilot_sum, pilot), ln_tail(joint_sum, w)
    by_pilot = 2 * of.tried * tests
    by_joint = by_pilot if of.known else by_pilot << 8 * MARK_ID_BYTES
    decided = joint_ln + math.log(by_joint) <= PAYLOAD_LOG10_P * LN10
    joint = joint_ln + math.log(by_joint) <= pilot_ln + math.log(by_pilot)
    total, used = (joint_sum, w) if joint else (pilot_sum, pilot)
    ln_error = 0.0
    if decided:
        ln_error = joint_ln + math.log(by_joint)
        if not of.known:
            rivals = _ln_rivals(data, code, joint_nonce, mark_id, joint_sum, w)
            ln_error = min(0.0, float(np.logaddexp(ln_error, rivals)))
    return Score(
        ln_p=joint_ln if joint else pilot_ln,
        hypotheses=by_joint if joint else by_pilot,
        n=int(np.count_nonzero(used)),
        statistic=normalised(total, used),
        payload=mark_id if decided and ln_error <= PAYLOAD_LN_ERROR else None,
        nonce=joint_nonce if joint else pilot_nonce,
        # One that is on file and does not decide says nothing of which mark it is.
        decoded=mark_id if joint or not of.known else None,
        ln_error=ln_error,
    )


def ln_mark_id(w: Weights, code: SignCode, nonce: int, mark_id: bytes) -> float:
    """Ln of the bound for a mark id alone, its nonce found by the pilot.

    The signs that carry the id are independent of the pilot's, so this tells ids on
    file apart where no id could be read: each that is tried is a hypothesis.

    Args:
        w: as for `score`.
        code: of the key record.
        nonce: of the mark.
        mark_id: 8 bytes, chosen without `w`.
    """
    data = w[code.data]
    carried = code.data_signs(nonce) * code.coded(mark_id)
    return ln_tail(int(np.sum(data * carried, dtype=np.int64)), data)


def _ln_rivals(
    data: Weights,
    code: SignCode,
    nonce: int,
    mark_id: bytes,
    joint_sum: int,
    w: Weights,
) -> float:
    """Ln of the likelihood of all ids that differ in a byte, against this one's."""
    values = np.ascontiguousarray(data * code.data_signs(nonce))
    sums = np.asarray(trellis_rivals(code.masks, values, mark_id), dtype=np.float64)
    own = np.arange(MARK_ID_BYTES), np.frombuffer(mark_id, dtype=np.uint8)
    scale = joint_sum / float(np.sum(w.astype(np.int64) ** 2))
    ratios = scale * (sums - sums[own][0])
    ratios[own] = -np.inf
    return LN_SEVERAL + float(np.logaddexp.reduce(ratios, axis=None))


def _on_file(nonces: Nonces | None) -> Registry:
    """Each nonce once, and the mark ids that are known."""
    if nonces is None:
        raise InvalidSignal(
            "this key record is a registry's (registry=1): its marks are found with "
            "the nonces that the ledger has on file, and none were given"
        )
    if isinstance(nonces, Registry):
        return nonces
    listed = list(dict.fromkeys(nonces))
    if any(not 0 <= nonce < 1 << 8 * NONCE_BYTES for nonce in listed):
        raise InvalidSignal(f"found a nonce that has not {8 * NONCE_BYTES} bits")
    known = {}
    if isinstance(nonces, Mapping):
        known = {n.to_bytes(NONCE_BYTES, "little"): i for n, i in nonces.items()}
    return Registry.of(
        (nonce.to_bytes(NONCE_BYTES, "little") for nonce in listed),
        known.__getitem__ if known else None,
    )


def normalised(total: int, w: Weights) -> float:
    """`total` in standard deviations of the signed sum of `w`; 0 where w is 0."""
    norm = math.sqrt(float(np.sum(w.astype(np.int64) ** 2)))
    return total / norm if norm else 0.0


def ln_tail(total: int, w: Weights) -> float:
    """Ln of the bound of P(signed sum of `w` >= `total`) over fair signs."""
    return ln_signed_tail(total, w)
