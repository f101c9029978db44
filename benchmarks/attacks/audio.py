"""Sound: functions of mono samples, float64 (n,) in [-1, 1], at `RATE` a second."""

from __future__ import annotations

import functools
import io
import shutil
import subprocess
from fractions import Fraction
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, resample_poly, sosfiltfilt

from benchmarks.attacks import Attack, named, swept, untouched
from benchmarks.sounds import RATE

Sound = NDArray[np.float64]
Rng = np.random.Generator

# compression_level of libsndfile for a rate of 16 kHz mono, by what was measured: MP3
# at .62 makes 64.7 kbit/s.
MP3_LEVELS = {64.0: 0.62, 32.0: 0.85}


def cut(sound: Sound, rng: Rng, share: float) -> Sound:
    """A piece that has `share` of the length, from anywhere."""
    length = round(len(sound) * share)
    start = int(rng.integers(len(sound) - length + 1))
    return sound[start : start + length]


def noisy(sound: Sound, rng: Rng, decibels: float) -> Sound:
    """White noise so many decibels below the sound."""
    level = 10 ** (-decibels / 20) * float(sound.std())
    return sound + level * rng.standard_normal(len(sound))


def resampled(sound: Sound, rng: Rng, rate: float) -> Sound:
    """To so many samples a second, and back."""
    up = Fraction(round(rate), RATE)
    low = resample_poly(sound, up.numerator, up.denominator)
    return np.asarray(resample_poly(low, up.denominator, up.numerator))[: len(sound)]


def faster(sound: Sound, rng: Rng, factor: float) -> Sound:
    """Played faster: pitch and length change."""
    step = Fraction(factor).limit_denominator(1000)
    return np.asarray(resample_poly(sound, step.denominator, step.numerator))


def lowpassed(sound: Sound, rng: Rng, hertz: float) -> Sound:
    """Without what is above a frequency (Butterworth, 6th order, both ways)."""
    return np.asarray(sosfiltfilt(butter(6, hertz, fs=RATE, output="sos"), sound))


def quantised(sound: Sound, rng: Rng, bits: float) -> Sound:
    """To so many bits a sample."""
    steps = 2 ** (round(bits) - 1)
    return np.asarray(np.clip(np.rint(sound * steps), -steps, steps - 1) / steps)


def louder(sound: Sound, rng: Rng, factor: float) -> Sound:
    """Times a factor, clipped."""
    return np.clip(sound * factor, -1, 1)


def inverted(sound: Sound, rng: Rng) -> Sound:
    """Upside down, as through a plug that is wired wrongly."""
    return -sound


def echoed(sound: Sound, rng: Rng, level: float) -> Sound:
    """With one echo after 120 ms."""
    out = sound.copy()
    delay = round(0.12 * RATE)
    out[delay:] += level * sound[:-delay]
    return np.clip(out, -1, 1)


def mp3(sound: Sound, rng: Rng, kilobits: float) -> Sound:
    """Through an MP3 file of constant bitrate (libsndfile, LAME)."""
    return _through_file(
        *(sound, "MP3", "MPEG_LAYER_III", MP3_LEVELS[kilobits]),
        bitrate_mode="CONSTANT",
    )


def vorbis(sound: Sound, rng: Rng, level: float) -> Sound:
    """Through an Ogg Vorbis file; 0 is best, 1 smallest."""
    return _through_file(sound, "OGG", "VORBIS", level)


def opus(sound: Sound, rng: Rng, level: float) -> Sound:
    """Through an Opus file; 0 is best, 1 smallest."""
    return _through_file(sound, "OGG", "OPUS", level)


def aac(sound: Sound, rng: Rng, kilobits: float) -> Sound:
    """Through ffmpeg's AAC encoder and back."""
    pcm = np.clip(np.rint(sound * 32767), -32768, 32767).astype("<i2").tobytes()
    raw = ("-f", "s16le", "-ar", str(RATE), "-ac", "1")
    rate = f"{round(kilobits)}k"
    packed = _ffmpeg(pcm, *raw, "-i", "-", "-c:a", "aac", "-b:a", rate, "-f", "adts")
    heard = np.frombuffer(_ffmpeg(packed, "-f", "aac", "-i", "-", *raw), "<i2")
    return heard / 32767.0


def _ffmpeg(data: bytes, *arguments: str) -> bytes:
    command = ["ffmpeg", "-hide_banner", "-loglevel", "error", *arguments, "-"]
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout


def _through_file(
    sound: Sound, format: str, subtype: str, level: float, **more: Any
) -> Sound:
    import soundfile

    data = io.BytesIO()
    written = {"format": format, "subtype": subtype, "compression_level": level, **more}
    soundfile.write(data, sound, RATE, **written)
    data.seek(0)
    return np.asarray(soundfile.read(data)[0], np.float64)


def table() -> dict[str, Attack[Sound]]:
    """Every attack by its name: codecs as far as they are installed."""
    attacks: list[Attack[Sound]] = [
        Attack("none", untouched),
        *swept("cut to", cut, (0.75, 0.5, 0.25)),
        *swept("noise, dB", noisy, (35, 25, 20, 15)),
        *swept("resampled, Hz", resampled, (11_025, 8_000)),
        *swept("low-pass, Hz", lowpassed, (4_000, 2_000)),
        *swept("bits", quantised, (8,)),
        *swept("loudness", louder, (0.25, 0.5, 2.0, 4.0)),
        Attack("upside down", inverted),
        *swept("echo", echoed, (0.3,)),
        *swept("speed", faster, (1.01, 1.05)),
    ]
    if find_spec("soundfile") is not None:
        attacks += [
            *swept("MP3, kbit/s", mp3, sorted(MP3_LEVELS, reverse=True)),
            *swept("Vorbis, level", vorbis, (0.5, 0.8)),
            *swept("Opus, level", opus, (0.5, 0.8)),
            Attack("half cut out, MP3 64 kbit/s", functools.partial(_half_mp3)),
        ]
    if shutil.which("ffmpeg"):
        attacks += swept("AAC, kbit/s", aac, (64, 32))
    return named(attacks)


def _half_mp3(sound: Sound, rng: Rng) -> Sound:
    return mp3(cut(sound, rng, 0.5), rng, 64.0)
