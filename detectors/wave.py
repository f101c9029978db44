"""Detect `wave`: find where a tile begins by the template, then read the sign code.

The coefficients are divided by what surrounds them, clipped, and summed over all tiles:
a function of the sound alone, so the sign code's tail holds for any sound. The template
has a sub-key of its own; where it points to does not depend on the code's signs, so a
place tried is one hypothesis more, however it was found.
"""

from __future__ import annotations

from collections.abc import Iterator

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
        samples: floats, (n,) or (n, channels), one second to an hour.
        rate: samples a second.
        code: the code of the key record.

    Returns:
        The best score of all places tried, which its `hypotheses` count.

    Raises:
        InvalidSignal: another shape or rate, NaN or infinity, too short or too long.
    """
    low = at(mixed(samples, rate), rate, RATE)
    scores = []
    for start, polarity in ((0, 1), *_places(low, code)):
        # What comes before the first whole tile is the end of another one.
        whole = np.pad(low, (-start % PERIOD, 0))
        w = signs.weights(polarity * _tile(whole))
        found = signs.candidates(w[code.signs.pilot], code.signs, None)
        scores.append(signs.judged(w, code.signs, found, 1 + PLACES))
    return min(scores, key=Score.log10_p)


def _whitened(low: Samples) -> Iterator[tuple[int, Samples]]:
    for first, coefficients, around in spectra(low):
        loud = around > QUIET
        ratio = np.divide(coefficients, around, where=loud, out=np.zeros_like(around))
        yield first, np.clip(ratio, -CLIP, CLIP)


def _tile(low: Samples) -> Samples:
    """All tiles in one, (128, 152), the first frame at the beginning of `low`."""
    total = np.zeros(SHAPE)
    for _, values in _whitened(low):  # a block is a whole number of tiles
        rest = -len(values) % SHAPE[0]
        tiles = np.pad(values, ((0, rest), (0, 0))).reshape(-1, *SHAPE)
        total += tiles.sum(0)
    return total


def _places(low: Samples, code: Code) -> list[tuple[int, int]]:
    """Where a tile may begin, and whether the sound is upside down (1 or -1).

    Most likely first, `PLACES` of them. Turning a sound upside down is not heard.
    """
    heard = np.zeros(PERIOD)
    for _, values in _whitened(low):  # a block is a whole number of tiles
        piece = inverse(values)
        tiles = np.pad(piece, (0, -len(piece) % PERIOD)).reshape(-1, PERIOD)
        heard += tiles.sum(0)
    heard = np.roll(heard, -HOP)  # the first frame begins one hop before the sound
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
