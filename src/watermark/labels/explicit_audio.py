"""Explicit marks in sound: Morse "AI", or a spoken notice of the caller's.

GB 45438-2025, 5.3: a voice that says so, or the rhythm ``short long, short short``, at
the start, the end or in between. The standard gives neither pitch nor unit; ours are
those of `TONE` and `UNIT`. A sound's own samples stay as they are: the mark is put
before or after them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from watermark.assets import DamagedAsset
from watermark.errors import LabelError

CLAUSE = "GB 45438-2025, 5.3"
TONE = 880.0  # Hz
UNIT = 0.1  # seconds: a short tone, and the gap within a letter
PEAK = 10 ** (-12 / 20)  # of full scale
LOWEST = 8000  # samples a second
RAMP = 0.005  # seconds, so that the tone does not click
PAUSE = 0.3  # seconds of silence between a sound and its mark
_UNITS = (1, 1, 3, 3, 1, 1, 1)  # on, off, on ...: A is short long, I is short short

MIN_SECONDS, MAX_SECONDS = 0.5, 20.0  # a notice is some words, or a sentence
QUIETEST = 10 ** (-30 / 20)  # of full scale: a notice's loudest sample at least
ALIKE = 0.95  # correlation of a notice with what 8 bits a sample leave of it
SEARCHED = 10.0  # seconds at either end that are listened to
_WINDOW, _HOP = 0.02, 0.005  # seconds

Samples = NDArray[np.float32]


def morse(rate: int) -> Samples:
    """The rhythm as float32 (n,) in [-1, 1], 1.1 seconds.

    Args:
        rate: samples per second, at least 8000.

    Raises:
        LabelError: a rate at which it could not be heard well.
    """
    if not LOWEST <= rate <= 768_000:
        raise LabelError(
            CLAUSE, f"found {rate} samples a second, expected {LOWEST} to 768000"
        )
    parts = []
    for index, units in enumerate(_UNITS):
        count = round(units * UNIT * rate)
        time = np.arange(count) / rate
        if index % 2:
            parts.append(np.zeros(count))
            continue
        edge = np.minimum(time, (count - 1) / rate - time) / RAMP
        parts.append(PEAK * np.clip(edge, 0, 1) * np.sin(2 * np.pi * TONE * time))
    return np.concatenate(parts).astype(np.float32)


def is_heard(samples: NDArray[np.floating], rate: int) -> bool:
    """Whether the rhythm sounds within `SEARCHED` seconds of either end.

    At any pitch from 200 to 4000 Hz and any unit from 40 to 400 ms: other people's
    marks have their own.

    Args:
        samples: (n,) or (n, channels).
        rate: samples per second.
    """
    if rate < LOWEST:
        return False
    mono = np.clip(np.nan_to_num(np.asarray(samples, np.float64)), -8, 8)
    mono = mono.mean(axis=1) if mono.ndim == 2 else mono
    count = round(SEARCHED * rate)
    ends = [mono] if len(mono) <= 2 * count else [mono[:count], mono[-count:]]
    return any(_has_rhythm(_tones(end, rate)) for end in ends)


def check_notice(notice: NDArray[np.floating], rate: int) -> None:
    """Return if this is a notice that somebody can hear.

    Args:
        notice: (n,) in [-1, 1].
        rate: samples per second.

    Raises:
        LabelError: not one channel, not finite, too short or long, or silent.
    """
    if notice.ndim != 1 or not np.isfinite(notice).all():
        raise LabelError(
            CLAUSE, f"a notice of shape {notice.shape} found, expected one channel"
        )
    if not MIN_SECONDS <= len(notice) / rate <= MAX_SECONDS:
        raise LabelError(
            CLAUSE,
            f"a notice of {len(notice) / rate:.2f} seconds found, expected "
            f"{MIN_SECONDS:g} to {MAX_SECONDS:g}",
        )
    if np.abs(notice).max() < QUIETEST:
        raise LabelError(
            CLAUSE, "a notice that nobody hears found, expected -30 dBFS at its loudest"
        )


def is_said(
    samples: NDArray[np.floating], notice: NDArray[np.floating], rate: int
) -> bool:
    """Whether a sound begins with this notice.

    Args:
        samples: (n,) or (n, channels).
        notice: (n,), as it was put before them.
        rate: samples per second, of both.
    """
    start = np.asarray(samples[: len(notice)], np.float64)
    start = start.mean(axis=1) if start.ndim == 2 else start
    check_notice(notice, rate)
    if len(start) < len(notice):
        return False
    said = np.clip(np.asarray(notice, np.float64), -1, 1)
    norm = np.sqrt((start @ start) * (said @ said))
    return bool(start @ said > ALIKE * norm)


@dataclass(frozen=True, slots=True)
class _Wav:
    """Where the samples of a WAV file are, and how they are written."""

    form: int  # 1 integers, 3 floats
    channels: int
    rate: int
    bits: int
    start: int
    length: int


def place(
    data: bytes,
    *,
    before: Samples | None = None,
    after: Samples | None = None,
) -> bytes:
    """A WAV file with sound before and after its own; everything else stays.

    Args:
        data: the file.
        before: float32 (n,) in [-1, 1] at the file's rate.
        after: the same.

    Raises:
        LabelError: no PCM, or a mark longer than `MAX_SECONDS`.
        DamagedAsset: the file's chunks do not fit.
    """
    wav = _layout(data)
    pause = np.zeros(round(PAUSE * wav.rate), np.float32)
    head = b"" if before is None else _encode(np.append(before, pause), wav)
    tail = b"" if after is None else _encode(np.append(pause, after), wav)
    body = head + data[wav.start : wav.start + wav.length] + tail
    end = wav.start + wav.length
    rest = data[end + wav.length % 2 :]
    size = struct.pack("<I", len(body))
    out = data[: wav.start - 4] + size + body + b"\0" * (len(body) % 2) + rest
    return out[:4] + struct.pack("<I", len(out) - 8) + out[8:]


def rate_of(data: bytes) -> int:
    """Samples per second of a WAV file.

    Raises:
        LabelError: no PCM.
        DamagedAsset: the file's chunks do not fit.
    """
    return _layout(data).rate


def _layout(data: bytes) -> _Wav:
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise LabelError(
            CLAUSE,
            "no WAV file found, and only those are marked here: mark the sound before "
            "it is compressed, and pass explicit='placed'",
        )
    at, found = 12, None
    while at + 8 <= len(data):
        name, (size,) = data[at : at + 4], struct.unpack_from("<I", data, at + 4)
        if at + 8 + size > len(data):
            break
        if name == b"fmt " and size >= 16:
            found = struct.unpack_from("<HHIIHH", data, at + 8)
            if found[0] == 0xFFFE and size >= 40:  # the form stands in the extension
                found = (struct.unpack_from("<H", data, at + 32)[0], *found[1:])
        if name == b"data" and found is not None:
            form, channels, rate, _, _, bits = found
            if (form, bits) not in _FORMS or not channels or not rate:
                raise LabelError(
                    CLAUSE, f"samples of form {form} and {bits} bits found, not PCM"
                )
            return _Wav(form, channels, rate, bits, at + 8, size)
        at += 8 + size + size % 2
    raise DamagedAsset("the chunks of this WAV file do not fit into it")


_FORMS = {(1, 8), (1, 16), (1, 24), (1, 32), (3, 32), (3, 64)}


def _encode(samples: NDArray[np.floating], wav: _Wav) -> bytes:
    """Samples of one channel as this file writes them, the same in each channel."""
    if samples.ndim != 1 or not np.isfinite(samples).all():
        raise LabelError(
            CLAUSE, f"a notice of shape {samples.shape} found, expected one channel"
        )
    if len(samples) > (MAX_SECONDS + PAUSE) * wav.rate:
        raise LabelError(
            CLAUSE, f"a notice longer than {MAX_SECONDS:g} seconds was given"
        )
    every = np.repeat(np.clip(samples, -1, 1).astype(np.float64), wav.channels)
    if wav.form == 3:
        return bytes(every.astype(f"<f{wav.bits // 8}").tobytes())
    if wav.bits == 8:
        return bytes(np.rint(every * 127 + 128).astype(np.uint8).tobytes())
    whole = np.rint(every * ((1 << (wav.bits - 1)) - 1)).astype("<i4")
    width = wav.bits // 8
    bytes_of = whole.view(np.uint8).reshape(-1, 4)[:, :width]
    return bytes(np.ascontiguousarray(bytes_of).tobytes())


# --- listening ------------------------------------------------------------------------


def _tones(mono: NDArray[np.float64], rate: int) -> list[tuple[bool, int]]:
    """Runs of (a tone sounds, how many hops): one pitch throughout a run."""
    window, hop = round(_WINDOW * rate), max(1, round(_HOP * rate))
    if len(mono) < 2 * window:
        return []
    frames = np.lib.stride_tricks.sliding_window_view(mono, window)[::hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(window), axis=1)) ** 2
    step = rate / window
    low, high = round(200 / step), round(4000 / step)
    band = power[:, low : high + 1]
    peak = band.argmax(axis=1)
    # A Hann window spreads a tone over three lines; between two of them, over four.
    near = np.stack([np.roll(band, shift, axis=1) for shift in (-2, -1, 0, 1, 2)]).sum(
        0
    )
    share = near[np.arange(len(band)), peak] / (power.sum(axis=1) + 1e-12)
    loud = power.sum(axis=1) > 1e-4 * power.sum(axis=1).max()
    state = np.where((share > 0.8) & loud, peak + 1, 0)
    cuts = [0, *(np.flatnonzero(_differs(state)) + 1).tolist(), len(state)]
    return [(bool(state[a]), b - a) for a, b in pairwise(cuts)]


def _differs(state: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Where a run ends; a pitch may wander by one line."""
    out: NDArray[np.bool_] = ((state[1:] > 0) != (state[:-1] > 0)) | (
        np.abs(state[1:] - state[:-1]) > 1
    )
    return out


def _has_rhythm(runs: list[tuple[bool, int]]) -> bool:
    count = len(_UNITS)
    for first in range(len(runs) - count + 1):
        part = runs[first : first + count]
        if [on for on, _ in part] != [n % 2 == 0 for n in range(count)]:
            continue
        # Windows at an edge see half of it: tones seem longer, gaps shorter, alike.
        unit = sum(length for _, length in part) / sum(_UNITS)
        if not 0.04 <= unit * _HOP <= 0.4:
            continue
        if all(
            abs(length / unit - units) <= 0.45
            for (_, length), units in zip(part, _UNITS, strict=True)
        ):
            return True
    return False
