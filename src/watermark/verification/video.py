"""Marks in a film: its frames as pictures, and its latents and noise as a whole.

A film is looked at where its frames are given: no video file is decoded here. What is
looked at depends on the number and sizes of the frames alone, so that all of it can be
counted beforehand:

- `pixel`, and `latent` where the autoencoder is one of pictures, in `FRAMES` frames at
  equal distances. Frames are alike, and so are their tests; each is one more hypothesis
  (Bonferroni), which holds however they depend.
- `noise`, and `latent` where the autoencoder is one of films, in the whole, with frames
  missing or re-ordered (`watermark.verification.frames`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark.assets.loading import Asset
from watermark.detectors import pixel as pixel_detector
from watermark.errors import UnsupportedPipeline
from watermark.keys import KeyRecord
from watermark.report import Reason
from watermark.schemes import latent, noise, pixel
from watermark.verification import frames
from watermark.verification.frames import Time
from watermark.verification.layers import Layers, look_at
from watermark.verification.looks import (
    NEEDS_PIPELINE,
    Files,
    Layer,
    Look,
    Seen,
    inverted,
    kept,
)
from watermark.verification.setting import Encoder, Findings, Setting

Film = NDArray[np.uint8]

FRAMES = {"quick": 2, "normal": 8, "thorough": 32}  # looked at as pictures


def film_marks(asset: Asset, setting: Setting, found: Findings) -> None:
    """Test every key record on the layer of its scheme."""
    if asset.frames is None:
        found.open.append(
            Reason(
                "no-detector",
                "the pictures of a video file are not decoded here: decode it, and "
                "give its frames (a list of PIL images, or an array)",
            )
        )
        return
    looked = look_at(asset.frames, Layers(LAYERS, NEEDS_PIPELINE), setting, found)
    if looked:
        found.power.append(Reason("power", _power(looked, setting)))


def _power(looked: Sequence[str], setting: Setting) -> str:
    """What would have been found by the layers that were looked at."""
    told = []
    if {"latent", "noise"} & {*looked}:
        told.append(
            "unresized films of this pipeline with this key, of all their frames"
            + (
                "; or of a part of them, or in another order, where as many were made "
                "as came or as the pipeline makes by default (where it compresses "
                "time, in whole groups of frames)"
            )
            * (setting.effort in frames.MISSING)
        )
    if "pixel" in looked:
        told.append("frames that were marked as finished pictures, as they are")
    return f"expected to find {'; '.join(told)}"


def _chosen(count: int, effort: str) -> list[int]:
    """Some of `count` frames, at equal distances, the middle one first."""
    few = min(count, FRAMES[effort])
    places = [(2 * i + 1) * count // (2 * few) for i in range(few)]
    return sorted(places, key=lambda place: abs(2 * place - count))


def _pixel(film: Film, setting: Setting, files: Files) -> Iterator[Look]:
    """Some frames, each as a picture and each a test.

    All of them, so that of a film spliced from two providers' every key is seen.
    """
    codes: dict[Any, pixel.Code] = {}

    def look(place: int) -> Look:
        def score(record: KeyRecord) -> Seen:
            code = codes.setdefault(record.test, pixel.Code(record))
            return Seen(pixel_detector.score(film[place], code))

        return Look(f"frame {place}", 1.0, score)

    yield _together([look(place) for place in _chosen(len(film), setting.effort)])


def _together(looks: Sequence[Look]) -> Look:
    """Several looks as one: the best of them, each one more hypothesis."""

    def score(record: KeyRecord) -> Seen:
        seen = [(look.name, look.score(record)) for look in looks]
        name, best = min(seen, key=lambda one: one[1].score.log10_p())
        tried = best.score.hypotheses * len(looks)
        counted = replace(best.score, hypotheses=tried)
        return best._replace(score=counted, told=best.told or name)

    return Look("frames", 1.0, score)


def _latent(film: Film, setting: Setting, files: Files) -> Iterator[Look | Reason]:
    """The final latents: of the whole film, or of some frames, each by itself."""
    encoder = setting.inverter
    if not isinstance(encoder, Encoder):
        raise UnsupportedPipeline("this inverter encodes no pictures")
    codes = kept(latent.Code)
    chosen = _chosen(len(film), setting.effort)
    # One of films has an axis of time, of length 1 for a picture.
    films = encoder.latents(film[chosen[0]]).ndim > 3
    if films:
        white = latent.whiten(encoder.latents(film))
        time = Time.of(white.shape, len(film), _native(setting))
        args = white, time, setting.effort, codes, files
        yield from frames.looks("encoded", 1.0, *args)
        return
    looks = []
    for place in chosen:
        white = latent.whiten(encoder.latents(film[place]))
        args = 1.0, white, Time(()), codes, files
        looks.append(frames.plain(f"frame {place}, encoded", *args))
    yield _together(looks)


def _noise(film: Film, setting: Setting, files: Files) -> Iterator[Look | Reason]:
    """The initial noise, by inverting the pipeline: more and more steps."""
    codes = kept(noise.Code)
    plain = frames.PLAIN[setting.effort]
    last: tuple[str, NDArray[np.float32], Time] | None = None
    for name, share, start, seen in inverted(film, setting):
        time = Time.of(seen.shape, len(film), _native(setting))
        yield frames.plain(name, plain * share, seen, time, codes, files)
        if start == 1.0:
            last = name, seen, time
    if last is not None:
        name, seen, time = last
        args = seen, time, setting.effort, codes, files
        yield from frames.rearranged(name, 1 - plain, *args)


def _native(setting: Setting) -> int | None:
    """How many frames the pipeline makes by default, if its inverter says so."""
    own = getattr(setting.inverter, "native_frames", None)
    return own if isinstance(own, int) and own > 0 else None


# In the order in which they are looked at: what is cheap comes first.
LAYERS: dict[str, Layer[Film]] = {"pixel": _pixel, "latent": _latent, "noise": _noise}
