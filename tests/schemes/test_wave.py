"""`wave`: what marking a sound does to it, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from benchmarks.sounds import RATE, music

from watermark.errors import InvalidSignal
from watermark.keys import Key
from watermark.schemes import SCHEMES, wave
from watermark.schemes.wave import Code, mark


def code(seed: int = 0, **parameters: Any) -> Code:
    key = Key(np.random.default_rng(seed).bytes(32))
    return Code(SCHEMES["wave"].record(key, **parameters))


def decibels(before: Any, after: Any) -> float:
    change = np.mean((np.asarray(after, float) - before) ** 2)
    return float(10 * np.log10(np.mean(np.asarray(before, float) ** 2) / change))


def test_the_transform_gives_back_what_it_took() -> None:
    """In the band that is kept; frames at both ends lack a neighbour."""
    low = music(1, seconds=2)
    pieces = [wave.inverse(found) for _, found, _ in wave.spectra(low)]
    [piece] = pieces
    kept = piece[wave.HOP : wave.HOP + len(low)]
    spectrum = np.fft.rfft(low)
    frequency = np.fft.rfftfreq(len(low), 1 / RATE)
    spectrum[(frequency < 500) | (frequency > 4_500)] = 0
    middle = slice(2 * wave.HOP, -2 * wave.HOP)
    band = np.fft.irfft(spectrum, len(low))
    again = np.fft.rfft(kept)
    again[(frequency < 500) | (frequency > 4_500)] = 0
    heard = np.fft.irfft(again, len(low))

    assert decibels(band[middle], heard[middle]) > 35


def test_blocks_leave_no_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    low, one = music(2, seconds=3), code()
    whole, _, _ = mark(low, RATE, one)
    monkeypatch.setattr(wave, "BLOCK", 50)
    parts, _, _ = mark(low, RATE, one)

    assert decibels(whole - low, parts - low) > 10


@pytest.mark.parametrize("wanted", [30, 32, 40])
def test_the_mark_is_as_loud_as_was_asked_for(wanted: int) -> None:
    low = music(3)
    marked, _, _ = mark(low, RATE, code(decibels=wanted))

    assert decibels(low, marked) == pytest.approx(wanted, abs=0.05)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("channels", [0, 1, 2])
def test_shape_and_dtype_stay(rate: int, channels: int) -> None:
    mono = music(4, seconds=2, rate=rate)
    given = mono if channels == 0 else np.stack([mono] * channels, axis=1)
    marked, _, _ = mark(given.astype(np.float32), rate, code())

    assert marked.shape == given.shape
    assert marked.dtype == np.float32
    assert 30 < decibels(given, marked) < 36
    assert float(np.abs(marked).max()) <= 1


def test_a_sound_has_a_nonce_and_a_mark_id_of_its_own() -> None:
    first, second, one = music(5), music(6), code()

    assert mark(first, RATE, one)[1:] == mark(first, RATE, one)[1:]
    assert mark(first, RATE, one)[2] != mark(second, RATE, one)[2]
    assert mark(first, RATE, one)[2] != mark(first, RATE, code(1))[2]
    assert mark(first, RATE, one, b"12345678")[2] == b"12345678"


def test_quiet_passages_stay_quiet() -> None:
    low = music(7, seconds=6)
    low[2 * RATE : 4 * RATE] = 0
    marked, _, _ = mark(low, RATE, code())

    assert np.abs(marked[int(2.1 * RATE) : int(3.9 * RATE)]).max() < 1e-9


@pytest.mark.parametrize(
    ("samples", "rate", "message"),
    [
        (np.zeros(RATE * 2), RATE, "silent"),
        (np.ones(100), RATE, "0.01 seconds"),
        (np.ones((2, 3, 4)), RATE, "shape"),
        (np.ones(0), RATE, "shape"),
        (np.ones(RATE, np.int16), RATE, "int16"),
        (np.full(RATE * 2, np.nan), RATE, "NaN"),
        (np.full(RATE * 2, np.inf), RATE, "infinity"),
        (np.ones(RATE * 2), 100, "100 samples"),
        (np.ones(RATE * 2), 10**9, "1000000000 samples"),
    ],
)
def test_what_is_no_sound_is_refused(samples: Any, rate: int, message: str) -> None:
    with pytest.raises(InvalidSignal, match=message):
        mark(samples, rate, code())


def test_a_mark_id_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="7 bytes"):
        mark(music(8), RATE, code(), b"1234567")
