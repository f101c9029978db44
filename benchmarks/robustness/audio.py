"""Sounds with the mark of `wave`: recordings in the data folder, or music made here."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.attacks import audio as attacks
from benchmarks.journal import code_version
from benchmarks.options import Options, seeded_key
from benchmarks.robustness.spec import Row, Spec
from benchmarks.robustness.suite import Marks, each, few, generator, kept
from benchmarks.sounds import RATE, files, music, recordings
from watermark import kernels
from watermark.detectors import signs
from watermark.detectors import wave as detector
from watermark.schemes import SCHEMES, wave

SECONDS = 10
EVERY = 3  # of attacks one is also tested with another key, in turn


class AudioSuite(Marks):
    """See `benchmarks.robustness.suite`."""

    def spec(self, options: Options) -> Spec:
        """One scheme; no peer is at hand whose weights travel with its package."""
        table = few(attacks.table(), options)
        source = "recordings" if _recorded(options) else "music made on the spot"
        return Spec(
            name="audio",
            schemes=("wave",),
            unavailable={
                "AudioSeal and others": "their weights have to be downloaded",
            },
            attacks={a.name: (a.family, a.strength) for a in table.values()},
            identity={
                "code": code_version(
                    (detector, signs, wave, kernels),
                    *("sounds.py", "attacks/audio.py", "robustness/audio.py"),
                ),
                "recordings": _digest(options),
                "shown": {"seconds": SECONDS, "sounds": source},
            },
            payloads=frozenset({"wave"}),
            notes=("Sounds: mono at 16 kHz, a new key for each.",),
        )

    def worker(self, options: Options) -> AudioWorker:
        """With the recordings read."""
        return AudioWorker(options)


def _recorded(options: Options) -> bool:
    return options.data is not None and (options.data / "audio").is_dir()


def _digest(options: Options) -> str:
    """Of the recordings, and of what reads, packs and unpacks them; "" of none."""
    digest = hashlib.sha256()
    if options.data is None or not _recorded(options):
        return ""
    for path in files(options.data / "audio"):
        digest.update(path.relative_to(options.data).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


class AudioWorker:
    """Marks, attacks and listens."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.every = attacks.table()
        self.attacks = kept(few(self.every, options), options)
        self.sounds: list[Any] = []
        if options.data is not None and _recorded(options):
            self.sounds = list(recordings(options.data / "audio", SECONDS))

    def _sound(self, index: int) -> NDArray[np.float64]:
        if not self.sounds:
            return music(index, SECONDS)
        # Neighbours are of one recording: samples are spread over all of them.
        sound: NDArray[np.float64] = self.sounds[index * 7919 % len(self.sounds)][1]
        return sound

    def sample(self, subject: str, index: int) -> Row:
        """One sound and what becomes of it."""
        sound = self._sound(index)
        code, other = (
            wave.Code(
                SCHEMES["wave"].record(
                    seeded_key("robustness", self.options.seed, "wave", index, what)
                )
            )
            for what in ("marked", "other")
        )
        marked, _, mark_id = wave.mark(sound, RATE, code)
        places = {name: place for place, name in enumerate(self.attacks)}

        def measure(name: str) -> Row:
            rng = generator(self.options, subject, index, name)
            heard = self.attacks[name].change(np.asarray(marked, np.float64), rng)
            score = detector.score(heard, RATE, code)
            row = {"log10_p": score.log10_p(), "exact": score.payload == mark_id}
            row["told"] = bool(score.payload)
            if (index + places[name]) % EVERY == 0:
                row["null"] = detector.score(heard, RATE, other).log10_p()
            return row

        found = each(self.attacks, measure, False)
        change = float(np.mean((marked - sound) ** 2))
        decibels = 10 * math.log10(float(np.mean(sound**2)) / change)
        return {"attacks": found, "quality": {"signal to mark, dB": decibels}}
