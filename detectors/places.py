"""Test one array at many places: where a picture was cut out, its noise has moved.

The nonces are searched at every place by the beginning of the pilot; of all pairs of
place and nonce, those that fit best are tested whole. The union bound counts every
place, nonce and mark id, so the p-value holds whatever is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from watermark.detectors import signs
from watermark.detectors.base import Score
from watermark.detectors.signs import Candidates, Nonces, Registry, Weights
from watermark.schemes.signs import SignCode

HEAD = 1024  # numbers of the pilot by which places are compared
SETTLED = 9.0  # standard deviations of a pilot: among 2**35 nonces and places, the one


def score(
    at: Callable[[int], NDArray[np.floating]],
    places: int,
    code: SignCode,
    nonces: Nonces | None = None,
) -> tuple[Score, int]:
    """The best place of an array, and its index; all places are counted.

    Args:
        at: the array, of the code's shape, at the place of an index; zeros where
            nothing is known. What it gives must not depend on the key.
        places: how many; at least 1.
        code: of the key record.
        nonces: as for `signs.score`; no iterator, since each place reads them.

    Raises:
        InvalidSignal: as `signs.score`.
    """
    if places == 1:
        return signs.score(signs.weights(at(0)), code, nonces), 0
    # A ledger is asked for the mark ids of the few that are tested, not at each place.
    ledger = nonces if isinstance(nonces, Registry) and nonces.mark_id_of else None
    if ledger is not None:
        nonces = replace(ledger, mark_id_of=None)
    found: list[Candidates] = []
    pairs: list[tuple[float, int, int]] = []  # (fit, place, nonce)
    for place in range(places):
        head = _head(signs.weights(at(place))[code.pilot])
        here = signs.candidates(head, code, nonces)
        norm = math.sqrt(float(np.sum(head.astype(np.int64) ** 2))) or 1.0
        pairs += [(total / norm, place, nonce) for total, nonce in here.found]
        found.append(here)
        if here.found and here.found[0][0] >= SETTLED * norm:
            break
    best = Score(ln_p=0.0, hypotheses=1, n=0, statistic=0.0), 0
    likeliest = sorted(pairs, reverse=True)[: signs.CANDIDATES]
    if ledger is not None:
        known = ledger.known({nonce for _, _, nonce in likeliest})
        likeliest = [pair for pair in likeliest if pair[2] in known]
        found = [replace(one, known=known) for one in found]
    for place in dict.fromkeys(place for _, place, _ in likeliest):
        w = signs.weights(at(place))
        kept = [nonce for _, own, nonce in likeliest if own == place]
        of = replace(found[place], found=_summed(kept, w[code.pilot], code))
        judged = signs.judged(w, code, of, places)
        if not best[0].n or judged.log10_p() < best[0].log10_p():
            best = judged, place
    return best


def _head(pilot: Weights) -> Weights:
    """The beginning of it that holds `HEAD` numbers, zeros not counted."""
    known = np.cumsum(pilot != 0)
    return np.ascontiguousarray(pilot[: int(np.searchsorted(known, HEAD)) + 1])


def _summed(
    nonces: Sequence[int], pilot: Weights, code: SignCode
) -> list[tuple[int, int]]:
    """The nonces with their sums over the whole pilot, the best first."""
    sums = [int(pilot @ code.pilot_signs(nonce)) for nonce in nonces]
    return sorted(zip(sums, nonces, strict=True), key=lambda pair: -pair[0])
