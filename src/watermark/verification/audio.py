"""Marks in a sound: the spectrum, under key records of `wave`, and learned marks."""

from __future__ import annotations

import numpy as np

from watermark.assets import DamagedAsset, audio
from watermark.assets.loading import Asset
from watermark.detectors import wave as wave_detector
from watermark.errors import InvalidSignal, UnsupportedFormat
from watermark.report import Reason
from watermark.schemes.wave import Code
from watermark.verification import learned
from watermark.verification.setting import Findings, Setting, mark_evidence

# Below these a mark that is there is often not found.
SURE_SECONDS, SURE_LOUD = 5, 0.003


def audio_marks(asset: Asset, setting: Setting, found: Findings) -> None:
    """Test `wave` and what learned marks there are; no pipeline is inverted."""
    if setting.inverter is not None:
        found.open.append(
            Reason(
                "not-invertible",
                "no pipeline that makes sound can be inverted yet: a mark in the noise "
                "of a generated sound was not looked for. An estimate of that noise is "
                "looked at if it is given as Latents(noise, initial=True)",
            )
        )
    records = {r.test: r for r in setting.records if r.scheme == "wave"}
    others = {r.test: r for r in setting.records if learned.is_for(r, sound=True)}
    tests = len(records) + len(others)
    if not tests:
        found.open.append(Reason("no-key", "no key record of scheme wave is at hand"))
        return
    try:
        samples, rate = audio.decode(asset.data or b"")
        scores = []
        for record in records.values():
            score = wave_detector.score(samples, rate, Code(record))
            scores.append(mark_evidence(record, score, tests, setting))
    except (DamagedAsset, InvalidSignal, UnsupportedFormat) as error:
        found.open.append(Reason("unreadable", str(error)))
        return
    found.evidence += scores
    about = samples, rate, list(others.values()), tests
    learned.sound_marks(*about, setting, found)
    if not records:
        return
    seconds, loud = len(samples) / rate, float(np.sqrt(np.mean(samples**2)))
    if seconds < SURE_SECONDS or loud < SURE_LOUD:
        found.open.append(
            Reason(
                "too-short",
                f"{seconds:.1f} seconds of sound at {loud:.1g} of full scale may hold "
                f"too little of a mark: expected {SURE_SECONDS} seconds at {SURE_LOUD}",
            )
        )
    found.power.append(
        Reason(
            "power",
            "expected to find music or speech that was marked at the default strength, "
            "cut anywhere, after MP3 at 64 kbit/s; how often, `python -m benchmarks "
            "diffusion --only wave` measures. A changed speed or pitch is not searched "
            "for, nor a mark in the noise that a sound was generated from",
        )
    )
