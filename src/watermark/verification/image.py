"""Marks in a picture, layer by layer: each has its own way to look."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from watermark.assets import DamagedAsset, image
from watermark.assets.loading import Asset
from watermark.detectors import latent as latent_detector
from watermark.detectors import noise as noise_detector
from watermark.detectors import pixel as pixel_detector
from watermark.detectors.base import Score
from watermark.detectors.signs import Registry
from watermark.errors import InvalidSignal, UnsupportedFormat, UnsupportedPipeline
from watermark.keys import KeyRecord
from watermark.report import Evidence, Reason
from watermark.schemes import latent, noise, pixel
from watermark.schemes.base import option
from watermark.schemes.signs import MARK_ID_BYTES
from watermark.verification.content import picture
from watermark.verification.geometry import MOST, Candidate, candidates, whole
from watermark.verification.setting import (
    GEOMETRY,
    GEOMETRY_STEPS,
    LOOKS,
    Encoder,
    Findings,
    Setting,
    StartingInverter,
    binding,
    decides,
    mark_evidence,
)

Pixels = NDArray[np.uint8]


# The best evidence of each key record, by its `test`, and the frame of that look.
Best = dict[tuple[Any, ...], tuple[Evidence, Candidate | None]]

# Pixels a side below which a cut-out of a marked picture is often not found.
SURE_SIDE = 256


class Look(NamedTuple):
    """One look at a picture.

    Attributes:
        name: what was looked at.
        share: of the error budget.
        score: of a key record.
        changed: whether the picture was turned, cut or resized before.
        frame: the picture as it lay when it was marked, if the mark is here; None
            where a mark tells nothing of that.
    """

    name: str
    share: float
    score: Callable[[KeyRecord], Score]
    changed: bool = False
    frame: Candidate | None = None


# The nonces on file of each registry's key record, by its `test`.
Files = Mapping[tuple[Any, ...], Registry]
# The looks of one layer, made one after the other until one decides.
Layer = Callable[[Pixels, Setting, Files], Iterator[Look]]


def image_marks(asset: Asset, setting: Setting, found: Findings) -> None:
    """Test every key record on the layer of its scheme.

    Every layer is looked at, so that marks of two providers are seen in whatever layers
    they lie; each key record of a layer is one test.
    """
    records = {r.test: r for r in setting.records if r.scheme in LAYERS}
    if not records:
        names = ", ".join(LAYERS)
        found.open.append(Reason("no-key", f"no key record of {names} is at hand"))
        return
    try:
        pixels = image.to_rgb8(picture(asset))
    except (DamagedAsset, UnsupportedFormat) as error:
        found.open.append(Reason("unreadable", str(error)))
        return
    looked: list[str] = []
    for scheme, layer in LAYERS.items():
        own = [r for r in records.values() if r.scheme == scheme]
        if own and setting.inverter is None and scheme in NEEDS_PIPELINE:
            reason = Reason("no-pipeline", NEEDS_PIPELINE[scheme])
            if reason.code not in {each.code for each in found.open}:
                found.open.append(reason)
            continue
        files = setting.files.of(own, setting.ledger)
        listed = [r for r in own if option(r.parameters, "registry")]
        absent = [r for r in listed if r.test not in files]
        if absent:
            found.open.append(
                Reason(
                    "no-registry",
                    f"marks of {len(absent)} key records are found by nonces that "
                    "their provider's ledger has on file, and none are at hand: verify "
                    "in the provider's home",
                )
            )
        own = [r for r in own if r not in absent]
        if not own:
            continue
        best: Best = {}
        try:
            for look in layer(pixels, setting, files):
                _test(look, own, len(records), setting, best)
                if any(decides(evidence, setting) for evidence, _ in best.values()):
                    break
            looked.append(scheme)
        except (InvalidSignal, UnsupportedPipeline, RuntimeError, ValueError) as error:
            # The picture's size is the file's choice; a size the model refuses is
            # content. What earlier looks saw still counts.
            text = f"{scheme}: {type(error).__name__}: {str(error)[:200]}"
            code = "not-invertible" if scheme in NEEDS_PIPELINE else "too-small"
            found.open.append(Reason(code, text))
        for evidence, frame in best.values():
            found.evidence.append(evidence)
            if frame is not None:
                found.frames[evidence] = frame
            if setting.ledger and decides(evidence, setting) and not evidence.payload:
                found.notes.append(
                    Reason(
                        "content-not-compared",
                        "the mark is too faint for its id to be read: which record it "
                        "leads to is not known",
                    )
                )
    least = min(pixels.shape[:2])
    if "pixel" in looked and least < SURE_SIDE:
        found.open.append(
            Reason(
                "too-small",
                f"a part of {least} pixels a side may hold too little of a mark: "
                f"expected {SURE_SIDE}",
            )
        )
    if looked:
        found.power.append(Reason("power", _power(looked, setting)))


def _power(looked: Sequence[str], setting: Setting) -> str:
    """What would have been found by the layers that were looked at."""
    told = []
    if {"latent", "noise"} & {*looked}:
        told.append(
            "unresized outputs of this pipeline with this key (after a flip, a quarter "
            "turn, a crop or another size: some)"
            if setting.effort in GEOMETRY
            else "unresized outputs of this pipeline with this key (after resizing, "
            "cropping or rotation: none; effort 'thorough' tries some)"
        )
    if "pixel" in looked:
        told.append(
            "pictures that were marked as finished media, as they are and after JPEG 50"
            + ", turned, resized or cut" * (setting.effort in GEOMETRY)
        )
    return (
        f"expected to find {'; '.join(told)}. How often, `python -m benchmarks "
        "diffusion` measures"
    )


def _test(
    look: Look,
    records: Sequence[KeyRecord],
    tests: int,
    setting: Setting,
    best: Best,
) -> None:
    """Keep the best evidence of each record in `best`, with the frame of its look."""
    for record in records:
        score = look.score(record)
        evidence = mark_evidence(record, score, tests / look.share, setting)
        evidence = replace(
            evidence,
            payload=_read(evidence, score, setting),
            detail=f"{evidence.detail}, {look.name}",
            codes=(*evidence.codes, *["other-geometry"] * look.changed),
        )
        before = best.get(record.test)
        if before is None or (evidence.log10_p or 0.0) < (before[0].log10_p or 0.0):
            best[record.test] = evidence, look.frame


def _read(evidence: Evidence, score: Score, setting: Setting) -> bytes | None:
    """The mark id: read beyond doubt, or the likeliest, where the ledger knows it.

    A mark that decides may be too faint for every byte of its id to be sure. The id
    that fits best is then right or any of 2**64: that a wrong one is on file has
    probability 2**-64 for each that is.
    """
    if evidence.payload is not None or score.decoded is None or not setting.ledger:
        return evidence.payload
    if len(score.decoded) != MARK_ID_BYTES or not decides(evidence, setting):
        return None
    on_record = setting.ledger.by_binding(binding(evidence), score.decoded)
    return score.decoded if on_record else None


def _noise(pixels: Pixels, setting: Setting, files: Files) -> Iterator[Look]:
    """The initial noise, by inverting the pipeline: more and more steps."""
    inverter = setting.inverter
    assert inverter is not None
    starts: Sequence[float] = (1.0,)
    if isinstance(inverter, StartingInverter):
        starts = inverter.starts
    for steps, share in LOOKS[setting.effort]:
        for start in starts:
            if start < 1 and isinstance(inverter, StartingInverter):
                estimate = inverter.noise(pixels, steps=steps, start=start)
            else:
                estimate = inverter.noise(pixels, steps=steps)
            name = f"{steps} steps" + f" from {start:g}" * (start < 1)
            score = _of_noise(estimate, files)
            yield Look(name, share / len(starts), score, frame=whole(name, pixels))
    for candidate, share in _changed(pixels, setting):
        try:
            estimate = inverter.noise(candidate.pixels, steps=GEOMETRY_STEPS)
        except UnsupportedPipeline:
            continue  # a size that this pipeline cannot have made
        score = _of_noise(candidate.masked(estimate), files)
        yield Look(candidate.name, share, score, changed=True, frame=candidate)


def _of_noise(
    estimate: NDArray[np.float32], files: Files
) -> Callable[[KeyRecord], Score]:
    return lambda r: noise_detector.score(
        estimate, noise.Code(r, estimate.shape), files.get(r.test)
    )


def _latent(pixels: Pixels, setting: Setting, files: Files) -> Iterator[Look]:
    """The final latents, by encoding the picture: no denoiser is run."""
    encoder = setting.inverter
    if not isinstance(encoder, Encoder):
        raise UnsupportedPipeline("this inverter encodes no pictures")
    share = 1 - GEOMETRY.get(setting.effort, 0.0)
    score = _of_latents(encoder.latents(pixels), None)
    yield Look("encoded", share, score, frame=whole("encoded", pixels))
    for candidate, share in _changed(pixels, setting):
        try:
            found = encoder.latents(candidate.pixels)
        except UnsupportedPipeline:
            continue
        score = _of_latents(found, candidate)
        yield Look(candidate.name, share, score, changed=True, frame=candidate)


def _of_latents(
    latents: NDArray[np.float32], candidate: Candidate | None
) -> Callable[[KeyRecord], Score]:
    white = latent.whiten(latents)
    g = white if candidate is None else candidate.masked(white)
    return lambda r: latent_detector.score_whitened(g, latent.Code(r, g.shape))


def _pixel(pixels: Pixels, setting: Setting, files: Files) -> Iterator[Look]:
    """The picture itself: nothing but a key is needed."""
    share = GEOMETRY.get(setting.effort, 0.0)
    yield Look(
        "as it is", 1 - share, lambda r: pixel_detector.score(pixels, pixel.Code(r))
    )
    if share:
        yield Look(
            *("turned back", share),
            lambda r: pixel_detector.turned(pixels, pixel.Code(r)),
            changed=True,
        )


def _changed(pixels: Pixels, setting: Setting) -> Iterator[tuple[Candidate, float]]:
    """(the picture as it may have been, its share of the error budget)."""
    if setting.effort not in GEOMETRY:
        return
    native = getattr(setting.inverter, "native", None)
    for candidate in candidates(pixels, native):
        yield candidate, GEOMETRY[setting.effort] / MOST


# In the order in which they are looked at: what is cheap comes first.
LAYERS: dict[str, Layer] = {"pixel": _pixel, "latent": _latent, "noise": _noise}
NEEDS_PIPELINE = {
    "latent": "a mark in the latents is read with the pipeline's autoencoder: name the "
    "pipeline that could have made this",
    "noise": "a mark in the noise is read by inverting the pipeline: name the one that "
    "could have made this",
}
