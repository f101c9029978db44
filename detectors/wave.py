"""Detect `wave`: find where a tile begins by the template, then read the sign code.

The coefficients are divided by what surrounds them, clipped, and summed over all tiles:
a function of the sound alone, so the sign code's tail holds for any sound. The template
has a sub-key of its own; where it points to does not depend on the code's signs, so a
place tried is one hypothesis more, however it was found.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from watermark.detectors import signs
from watermark.detectors.base import Score
from watermark.schemes.wave import (
    HOP,
    PERIOD,
    QUIET,
    RATE,
    SHAPE,
    Code,
    Samples,
    at,
    inverse,
    mixed,
    spectra,
)

CLIP = 2.0  # times what surrounds a coefficient
PLACES = 4  # that the template ranks highest, with a polarity each


def score(samples: NDArray[np.floating], rate: int, code: Code) -> Score:
    """Test a sound under a key record of `wave`, cut anywhere, of either polarity.

    Args:
        samples: floats, (n,) or (n, channels), one second to four hours.
        rate: samples a second.
        code: the code of the key record.

    Returns:
        The best score of all places tried, which its `hypotheses` count.

    Raises:
        InvalidSignal: another shape or rate, NaN or infinity, too short or too long.
    """
    low = at(mixed(samples, rate), rate, RATE)
    tried = (
        signs.score(signs.weights(polarity * _tile(low[start:])), code.signs)
        for start, polarity in ((0, 1), *_places(low, code))
    )
    best = min(tried, key=lambda found: found.log10_p())
    return replace(best, hypotheses=best.hypotheses * (1 + PLACES))


def _whitened(low: Samples) -> Iterator[tuple[int, Samples]]:
    for first, coefficients, around in spectra(low):
        loud = around > QUIET
        ratio = np.divide(coefficients, around, where=loud, out=np.zeros_like(around))
        yield first, np.clip(ratio, -CLIP, CLIP)


def _tile(low: Samples) -> Samples:
    """All tiles in one, (128, 152), the first frame at the beginning of `low`."""
    total = np.zeros(SHAPE)
    for first, values in _whitened(low):
        np.add.at(total, (first + np.arange(len(values))) % SHAPE[0], values)
    return total


def _places(low: Samples, code: Code) -> list[tuple[int, int]]:
    """Where a tile may begin, and whether the sound is upside down (1 or -1).

    Most likely first, `PLACES` of them. Turning a sound upside down is not heard.
    """
    heard = np.zeros(PERIOD)
    for first, values in _whitened(low):
        piece = inverse(values)
        places = ((first - 1) * HOP + np.arange(len(piece))) % PERIOD
        np.add.at(heard, places, piece)
    # One tile of the template as a sound that goes round: its last frame laps over.
    piece = inverse(code.template.astype(np.float64))
    known = np.zeros(PERIOD)
    np.add.at(known, (np.arange(len(piece)) - HOP) % PERIOD, piece)
    fits = np.fft.irfft(np.fft.rfft(heard) * np.conj(np.fft.rfft(known)), PERIOD)
    found = []
    for _ in range(PLACES):
        place = int(np.argmax(np.abs(fits)))
        found.append((place, 1 if fits[place] >= 0 else -1))
        # Its neighbours are the same place, heard a little out of step.
        fits[(place + np.arange(-2, 3)) % PERIOD] = 0.0
    return found
