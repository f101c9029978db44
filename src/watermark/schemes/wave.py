"""`wave`: a keyed spread spectrum for finished sound, whoever made it.

The mark lives in a lapped cosine transform (MDCT; Princen and Bradley 1986) of the
sound at 16 kHz: frames of 16 ms, bins from 250 Hz to 5 kHz. Each coefficient is moved
by plus or minus an amplitude that follows the spectrum around it, so that loud parts
hide it. The signs are a sign code (`watermark.schemes.signs`) over a tile of 2.048
seconds, repeated for as long as the sound lasts; nonce and mark id are an HMAC of the
samples. A synchronisation template, keyed signs of the same tile that hold a fifth of
the energy, tells a detector where in a tile a cut begins, to the sample.

At 30 dB below the sound the statistic of ten seconds is 28 to 90 (music and speech,
235 clips), and 64 kbit/s MP3 takes 2 % of it. The tile repeats, so that who averages a
long recording tile by tile can learn and subtract the mark of that one recording; the
template is the same in all recordings of a key, and who averages many loses it to
cuts. A changed speed or pitch is not searched for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import uniform_filter
from scipy.signal import resample_poly

from watermark.errors import InvalidSignal
from watermark.kernels import stream
from watermark.keys import KeyRecord, Parameter
from watermark.prf import state, tag
from watermark.schemes.base import Scheme, within
from watermark.schemes.signs import MARK_ID_BYTES, SignCode

RATE = 16_000  # samples a second at which the mark is made and looked for
HOP = 256  # samples of a frame
BINS = slice(8, 160)  # of 31.25 Hz each
SHAPE = (128, BINS.stop - BINS.start)  # frames and bins of a tile
PERIOD = SHAPE[0] * HOP  # samples of a tile: 2.048 seconds
TEMPLATE = 0.2  # of the mark's energy
AROUND = (3, 9)  # frames and bins whose mean power an amplitude follows
EXPONENT = 0.6  # of that power's root: 1 hides best, 0 is found best
QUIET = 1e-5  # of full scale: below the steps of 16 bits nothing can be hidden
LEAST_SECONDS, MOST_SECONDS = 1, 3600
RATES = range(8_000, 384_001)
BLOCK = 8 * SHAPE[0]  # frames that are in memory at once: whole tiles

Samples = NDArray[np.float64]


def _check(parameters: Mapping[str, Parameter]) -> None:
    within(parameters, "nonce_bits", 0, 24)
    within(parameters, "decibels", 20, 60)


SCHEME = Scheme("wave", 1, "samples", {"nonce_bits": 16, "decibels": 32}, _check)


@dataclass(frozen=True)
class Code:
    """Everything keyed that marking and finding share, made once for a key record."""

    record: KeyRecord

    @cached_property
    def signs(self) -> SignCode:
        """The sign code of one tile, of shape (128, 152)."""
        return SignCode(self.record, SHAPE)

    @cached_property
    def template(self) -> NDArray[np.int8]:
        """The synchronisation template: int8 (128, 152), +1 or -1."""
        count = SHAPE[0] * SHAPE[1]
        words = stream(state(self.record, "template", SHAPE), 0, count // 32)
        bits = np.unpackbits(np.frombuffer(words, np.uint8), bitorder="little")
        return (1 - 2 * bits.astype(np.int8)).reshape(SHAPE)

    def chips(self, nonce: int, mark_id: bytes) -> Samples:
        """What each coefficient of a tile is moved by, in amplitudes."""
        coded = self.signs.signs(nonce, mark_id)
        return math.sqrt(1 - TEMPLATE) * coded + math.sqrt(TEMPLATE) * self.template

    def identify(self, samples: NDArray[np.floating], rate: int) -> tuple[int, bytes]:
        """(nonce, mark id) of a sound: an HMAC of its rate, shape and samples."""
        about = ",".join(map(str, (rate, samples.dtype.str, *samples.shape))).encode()
        digest = tag(self.record, "mark-id", about, samples.tobytes())
        nonce_bits = int(self.record.parameters["nonce_bits"])
        nonce = int.from_bytes(digest[8:12], "little") & ((1 << nonce_bits) - 1)
        return nonce, digest[:MARK_ID_BYTES]


def mark(
    samples: NDArray[np.floating],
    rate: int,
    code: Code,
    mark_id: bytes | None = None,
) -> tuple[NDArray[np.floating], int, bytes]:
    """`samples` with a mark, of the same shape and dtype.

    Args:
        samples: floats in [-1, 1], (n,) or (n, channels), one second to an hour.
        rate: samples a second, 8,000 to 384,000.
        code: the code of a key record of this scheme.
        mark_id: 8 bytes, or None for an HMAC of the samples.

    Returns:
        (marked, nonce, mark id). Every channel is given the same mark, `decibels` of
        the record below the mean of the channels. Peaks are clipped to 1, or to those
        of the sound where they are higher.

    Raises:
        InvalidSignal: another shape or rate, NaN or infinity, too short or too long,
            or nothing but silence.
        ValueError: the mark id does not have 8 bytes.
    """
    mono = mixed(samples, rate)
    nonce, own = code.identify(samples, rate)
    if mark_id is None:
        mark_id = own
    if len(mark_id) != MARK_ID_BYTES:
        raise ValueError(f"the mark id has {len(mark_id)} bytes, expected 8")
    low = at(mono, rate, RATE)
    added = _synthesised(low, code.chips(nonce, mark_id))
    power, change = float(np.mean(low * low)), float(np.mean(added * added))
    if power <= QUIET * QUIET or change == 0.0:
        raise InvalidSignal("the sound is silent: there is nothing to hide a mark in")
    decibels = float(code.record.parameters["decibels"])
    added *= math.sqrt(power / change) * 10 ** (-decibels / 20)
    back = at(added, RATE, rate)[: len(mono)]
    back = np.pad(back, (0, len(mono) - len(back)))
    marked = samples + (back if samples.ndim == 1 else back[:, None])
    peak = max(1.0, float(np.abs(samples).max()))
    return np.clip(marked, -peak, peak).astype(samples.dtype), nonce, mark_id


def mixed(samples: NDArray[np.floating], rate: int) -> Samples:
    """The mean of the channels, float64 (n,).

    Raises:
        InvalidSignal: as `mark`.
    """
    if samples.dtype.kind != "f" or samples.ndim not in (1, 2) or not samples.size:
        raise InvalidSignal(
            f"found sound of shape {samples.shape} and dtype {samples.dtype}, expected "
            "floats of shape (n,) or (n, channels)"
        )
    if rate not in RATES:
        raise InvalidSignal(
            f"found {rate} samples a second, expected {RATES[0]:,} to {RATES[-1]:,}"
        )
    seconds = len(samples) / rate
    if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
        raise InvalidSignal(
            f"found {seconds:.2f} seconds of sound, expected {LEAST_SECONDS} to "
            f"{MOST_SECONDS:,}"
        )
    mono = np.asarray(samples, np.float64)
    mono = mono if mono.ndim == 1 else mono.mean(1)
    if not np.isfinite(mono).all():
        raise InvalidSignal("the sound holds NaN or infinity")
    return mono


def at(mono: Samples, rate: int, wanted: int) -> Samples:
    """`mono` at another rate (polyphase filter)."""
    if rate == wanted:
        return mono
    common = math.gcd(rate, wanted)
    resampled: Samples = resample_poly(mono, wanted // common, rate // common)
    return resampled


def spectra(low: Samples) -> Iterator[tuple[int, Samples, Samples]]:
    """Coefficients and what surrounds them, some frames at a time.

    Args:
        low: float64 (n,), at `RATE`.

    Yields:
        (index of the first frame, coefficients (frames, 152), root mean power around
        each). Frame i covers the samples ``(i - 1) * HOP`` to ``(i + 1) * HOP``.
    """
    frames = len(low) // HOP + 1
    for first in range(0, frames, BLOCK):
        last = min(first + BLOCK, frames)
        start, stop = (first - 1) * HOP, last * HOP
        piece = low[max(start, 0) : stop]
        piece = np.pad(piece, (max(-start, 0), 0))
        piece = np.pad(piece, (0, stop - start - len(piece)))
        coefficients = _mdct(piece)[:, BINS]
        power = uniform_filter(coefficients * coefficients, AROUND, mode="nearest")
        around = np.sqrt(np.maximum(power, 0.0))
        yield first, coefficients, around


def _synthesised(low: Samples, chips: Samples) -> Samples:
    """The mark of a sound before it is scaled: float64, as long as `low`."""
    out = np.zeros((len(low) // HOP + 2) * HOP)
    for first, _, around in spectra(low):
        index = (first + np.arange(len(around))) % SHAPE[0]
        amplitudes = np.where(around > QUIET, around, 0.0) ** EXPONENT
        piece = inverse(amplitudes * chips[index])
        out[first * HOP : first * HOP + len(piece)] += piece
    return out[HOP : HOP + len(low)]


_WINDOW = np.sin(np.pi * (np.arange(2 * HOP) + 0.5) / (2 * HOP))


def _mdct(piece: Samples) -> Samples:
    """(frames + 1) * HOP samples to (frames, HOP) coefficients, orthonormal."""
    pieces = piece.reshape(-1, HOP)
    frames = np.concatenate([pieces[:-1], pieces[1:]], axis=1) * _WINDOW
    a, b, c, d = np.split(frames, 4, axis=1)
    folded = np.concatenate([-c[:, ::-1] - d, a - b[:, ::-1]], axis=1)
    found: Samples = fft.dct(folded, type=4, norm="ortho", axis=1)
    return found


def inverse(coefficients: Samples) -> Samples:
    """Coefficients (frames, 152) to (frames + 1) * HOP samples; ends are not whole."""
    whole = np.zeros((len(coefficients), HOP))
    whole[:, BINS] = coefficients
    folded = fft.dct(whole, type=4, norm="ortho", axis=1)
    left, right = np.split(folded, 2, axis=1)
    frames = (
        np.concatenate([right, -right[:, ::-1], -left[:, ::-1], -left], axis=1)
        * _WINDOW
    )
    out = np.zeros((len(frames) + 1, HOP))
    out[:-1] += frames[:, :HOP]
    out[1:] += frames[:, HOP:]
    return out.reshape(-1)
