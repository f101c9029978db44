"""`wave` is found in what is left of a sound, and in nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
from benchmarks.sounds import RATE, music
from numpy.typing import NDArray
from scipy.signal import resample_poly

from watermark.detectors import wave as detector
from watermark.errors import InvalidSignal
from watermark.keys import Key
from watermark.schemes import SCHEMES
from watermark.schemes.wave import Code, mark

Sound = NDArray[np.floating]
SMOOTH = np.sin(np.pi * np.arange(1, 8) / 8) ** 2


def code(seed: int, **parameters: Any) -> Code:
    key = Key(np.random.default_rng(seed).bytes(32))
    return Code(SCHEMES["wave"].record(key, **parameters))


def noisy(sound: Sound) -> Sound:
    noise = np.random.default_rng(1).standard_normal(len(sound))
    return sound + 10 ** (-26 / 20) * float(sound.std()) * noise


def filtered(sound: Sound) -> Sound:
    return np.convolve(sound, SMOOTH / SMOOTH.sum(), "same")


CHANGES: dict[str, Callable[[Sound], Sound]] = {
    "none": lambda s: s,
    "the second half": lambda s: s[len(s) // 2 :],
    "five seconds from anywhere": lambda s: s[37_123 : 37_123 + 5 * RATE],
    "half as loud": lambda s: 0.5 * s,
    "upside down": lambda s: -s[5:],
    "eight bits": lambda s: np.rint(s * 127) / 127,
    "noise": noisy,
    "low-pass": filtered,
    "silence before": lambda s: np.concatenate([np.zeros(777), s]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_mark_survives(name: str) -> None:
    one = code(1, nonce_bits=8)
    marked, nonce, mark_id = mark(music(10), RATE, one)
    found = detector.score(CHANGES[name](marked), RATE, one)

    assert (found.payload, found.nonce) == (mark_id, nonce)
    assert found.log10_p() < -6


@pytest.mark.parametrize(("rate", "heard"), [(48_000, 16_000), (44_100, 22_050)])
def test_a_mark_survives_another_rate_and_another_channel(
    rate: int, heard: int
) -> None:
    one = code(2, nonce_bits=8)
    sound = np.stack([music(i, seconds=5, rate=rate) for i in (11, 12)], axis=1)
    marked, _, mark_id = mark(sound, rate, one)
    other = resample_poly(marked, 1, rate // heard)

    assert detector.score(other, heard, one).payload == mark_id


def test_the_default_of_sixteen_nonce_bits() -> None:
    one = code(3)
    marked, nonce, mark_id = mark(music(13), RATE, one)
    found = detector.score(marked[20_001:], RATE, one)

    assert (found.payload, found.nonce) == (mark_id, nonce)


def test_another_key_finds_nothing() -> None:
    marked, _, _ = mark(music(14), RATE, code(4, nonce_bits=8))
    for seed in range(100, 105):
        found = detector.score(marked, RATE, code(seed, nonce_bits=8))

        assert found.payload is None
        assert found.log10_p() > -3


UNMARKED = {
    "music": music(15, seconds=3),
    "noise": np.random.default_rng(2).standard_normal(3 * RATE) / 10,
    "tone": np.sin(np.arange(3 * RATE) * 0.3),
    # Less than a tile: at most places most of one is nothing but padding.
    "less than a tile": music(15, seconds=2)[:20_811],
}


@pytest.mark.parametrize("name", UNMARKED)
def test_p_values_hold_under_random_keys(name: str) -> None:
    """No nonces, so that the bound is as tight as it gets."""
    sound = UNMARKED[name]
    keys = 40
    tails = [
        detector.score(sound, RATE, code(1000 + i, nonce_bits=0)).log10_p()
        for i in range(keys)
    ]
    for alpha in (0.3, 0.1, 0.01):
        hits = sum(tail <= np.log10(alpha) for tail in tails)

        assert hits <= scipy.stats.binom.ppf(0.999, keys, alpha)


def test_silence_is_no_evidence() -> None:
    assert detector.score(np.zeros(2 * RATE), RATE, code(5)).log10_p() == 0


@pytest.mark.parametrize("samples", [np.ones(9), np.full(RATE, np.nan)])
def test_what_is_no_sound_is_refused(samples: Sound) -> None:
    with pytest.raises(InvalidSignal):
        detector.score(samples, RATE, code(6))
