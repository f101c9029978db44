"""The synchronisation template: keyed waves that say how a picture was turned.

A sum of 48 faint sinusoids whose frequencies are keyed and lie on the grid of 1/1024 of
a cycle a pixel, so the sum repeats every 1,024 pixels. Turning, flipping and scaling a
picture moves the peaks of its spectrum by the same linear map; cropping and shifting
changes their phases. `watermark.detectors.geometry` reads both.

It carries nothing and is the same in all pictures of a key record. Whoever averages
many of them learns it and can erase it; forging a mark needs the other sub-keys.
Pereira and Pun (IEEE Trans. Image Processing 9, 2000) hide a template this way.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from watermark.kernels import stream
from watermark.keys import KeyRecord
from watermark.prf import state

PERIOD = 1024  # pixels after which the template repeats
WAVES = 48
# Cycles in 1,024 pixels: below, natural pictures are loud; above, JPEG is coarse and a
# picture at half its size has nothing left.
SLOWEST, FASTEST = 80, 210
ENERGY = 0.2  # mean square of the template, in squared grey levels: 55 dB
UNIT = 256  # steps of one grey level


@lru_cache(maxsize=8)
def _drawn(seed: bytes) -> tuple[tuple[int, int, int], ...]:
    found: dict[tuple[int, int], int] = {}
    words = np.frombuffer(stream(seed, 0, 4096), dtype="<u4").astype(np.int64)
    for word in words.tolist():
        across = (word & 0xFFF) % (FASTEST + 1)
        down = (word >> 12 & 0xFFF) % (2 * FASTEST + 1) - FASTEST
        inside = SLOWEST**2 <= across**2 + down**2 <= FASTEST**2
        if inside and across > 0 and len(found) < WAVES:
            found.setdefault((across, down), word >> 24)
    return tuple((across, down, phase) for (across, down), phase in found.items())


def waves(record: KeyRecord) -> NDArray[np.int64]:
    """The template's waves: (across, down, phase), int64 (48, 3).

    Frequencies are in cycles per 1,024 pixels, of the half plane that speaks for a real
    spectrum; phases in 1/256 of a turn, at the origin.
    """
    return np.asarray(_drawn(state(record, "template", ())), dtype=np.int64)


def tile(record: KeyRecord) -> NDArray[np.int16]:
    """One period of the template: int16 (1024, 1024) in 1/256 of a grey level."""
    spectrum = np.zeros((PERIOD, PERIOD), np.complex128)
    amplitude = UNIT * math.sqrt(2 * ENERGY / WAVES)
    for across, down, phase in waves(record).tolist():
        turn = np.exp(2j * np.pi * phase / 256)
        spectrum[down, across] += amplitude * turn
    # The real part alone is wanted, so the other half of the spectrum may stay empty.
    return np.rint(np.fft.ifft2(spectrum).real * PERIOD**2).astype(np.int16)
