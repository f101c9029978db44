"""Sound: how often the mark of `wave` is found after what happens to sounds.

Recordings come from ``audio/`` in the folder of public data (`--data`); without it,
music is made on the spot. MP3, Vorbis and Opus need the package soundfile.
"""

from __future__ import annotations

import io
import math
import statistics
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from benchmarks.options import Options, seeded, seeded_key
from benchmarks.rates import Rate
from benchmarks.report import Cell, Part, Table, Target
from benchmarks.sounds import RATE, music, recordings
from watermark.detectors import wave as detector
from watermark.schemes import SCHEMES, wave

Sound = NDArray[np.floating]
Change = Callable[[Sound, np.random.Generator], Sound]
FPR = 1e-6
SECONDS = 10
# compression_level of libsndfile that makes 64.7 kbit/s of 16 kHz mono
MP3_LEVEL = 0.62


def _half(sound: Sound, rng: np.random.Generator) -> Sound:
    start = int(rng.integers(len(sound) // 2))
    return sound[start : start + len(sound) // 2]


def _noise(sound: Sound, rng: np.random.Generator) -> Sound:
    return sound + 10 ** (-25 / 20) * float(sound.std()) * rng.standard_normal(
        len(sound)
    )


def _half_rate(sound: Sound, rng: np.random.Generator) -> Sound:
    return np.asarray(resample_poly(resample_poly(sound, 1, 2), 2, 1))


CHANGES: dict[str, Change] = {
    "none": lambda sound, rng: sound,
    "50 % cut out": _half,
    "noise at 25 dB": _noise,
    "8 kHz and back": _half_rate,
    "half as loud, upside down": lambda sound, rng: -0.5 * sound,
}


def _codecs() -> dict[str, Change]:
    """What soundfile can write here."""
    try:
        import soundfile
    except ImportError:
        return {}

    def through(format: str, subtype: str, level: float, **more: Any) -> Change:
        def change(sound: Sound, rng: np.random.Generator) -> Sound:
            data = io.BytesIO()
            soundfile.write(
                *(data, sound, RATE),
                **{"format": format, "subtype": subtype, "compression_level": level},
                **more,
            )
            data.seek(0)
            return np.asarray(soundfile.read(data)[0])

        return change

    mp3 = through(*("MP3", "MPEG_LAYER_III", MP3_LEVEL), bitrate_mode="CONSTANT")
    return {
        "MP3, 64 kbit/s": mp3,
        "50 % cut out, then MP3, 64 kbit/s": lambda s, rng: mp3(_half(s, rng), rng),
        "Vorbis, level 0.8": through("OGG", "VORBIS", 0.8),
        "Opus, level 0.8": through("OGG", "OPUS", 0.8),
    }


def measure(options: Options) -> Part:
    """Rates after every change, and what marking and finding cost."""
    wanted = options.count(10, 200)
    folder = None if options.data is None else options.data / "audio"
    if folder is not None and folder.is_dir():
        source, sounds = "recordings", list(recordings(folder, SECONDS))
        step = max(1, len(sounds) // wanted)
        sounds = sounds[::step][:wanted]
    else:
        source = "music made on the spot"
        sounds = [(str(i), music(i, SECONDS)) for i in range(wanted)]
    changes = {**CHANGES, **_codecs()}
    rows: dict[str, list[Any]] = {name: [] for name in changes}
    loudness, embedding, finding = [], [], []
    for name, sound in options.track(sounds, "wave"):
        code = wave.Code(SCHEMES["wave"].record(seeded_key("wave", options.seed, name)))
        _ = code.signs.masks, code.template
        start = perf_counter()
        marked, _, mark_id = wave.mark(sound, RATE, code)
        embedding.append(perf_counter() - start)
        loudness.append(_decibels(sound, marked))
        for change, make in changes.items():
            draw = seeded("wave", options.seed, name, change)
            rng = np.random.default_rng(int.from_bytes(draw[:8], "little"))
            heard = make(marked, rng)
            start = perf_counter()
            score = detector.score(heard, RATE, code)
            finding.append(perf_counter() - start)
            found = score.log10_p() <= math.log10(FPR)
            rows[change].append((found, score.payload == mark_id, score.statistic))
    rates = {
        name: Rate(sum(found for found, _, _ in seen), len(seen))
        for name, seen in rows.items()
    }
    least = {"50 % cut out": 0.99, "MP3, 64 kbit/s": 0.99}
    shown: list[tuple[Cell, ...]] = [
        (
            name,
            str(rates[name]),
            str(Rate(sum(exact for _, exact, _ in seen), len(seen))),
            min(statistic for _, _, statistic in seen),
            statistics.median(statistic for _, _, statistic in seen),
        )
        for name, seen in rows.items()
    ]
    columns = ("change", "found", "mark id exact", "least T", "median T")
    cost: list[tuple[Cell, ...]] = [
        ("marking", 1e3 * statistics.median(embedding)),
        ("finding", 1e3 * statistics.median(finding)),
    ]
    return Part(
        parameters={"sounds": len(sounds), "sounds are": source},
        targets=(
            Target(
                name="wave: least signal-to-mark ratio, dB",
                target=">= 30",
                measured=min(loudness),
                reached=min(loudness) >= 30,
            ),
            *(
                Target.of_rate(f"wave: {name}: found at 1e-6", rates[name], rate)
                for name, rate in least.items()
                if name in rates
            ),
        ),
        tables=(
            Table(
                f"Sound: found at 1e-6, {SECONDS} seconds of 16 kHz mono",
                columns,
                tuple(shown),
                "A new key for every sound; nonces, mark ids and places are counted.",
            ),
            Table("Sound: ms for ten seconds", ("what", "median ms"), tuple(cost)),
        ),
    )


def _decibels(before: Sound, after: Sound) -> float:
    change = float(np.mean((after - before) ** 2))
    return 10 * math.log10(float(np.mean(before**2)) / change)
