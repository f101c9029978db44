"""Marks in a picture, layer by layer: each has its own way to look."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark.assets import DamagedAsset
from watermark.assets.loading import Asset
from watermark.detectors import latent as latent_detector
from watermark.detectors import noise as noise_detector
from watermark.detectors import pixel as pixel_detector
from watermark.detectors.base import Score
from watermark.errors import InvalidSignal, UnsupportedFormat, UnsupportedPipeline
from watermark.keys import KeyRecord
from watermark.report import Evidence, Reason
from watermark.schemes import latent, noise, pixel
from watermark.verification.geometry import MOST, Candidate, candidates
from watermark.verification.setting import (
    GEOMETRY,
    GEOMETRY_STEPS,
    LOOKS,
    Encoder,
    Findings,
    Setting,
    StartingInverter,
    decides,
    mark_evidence,
)

Pixels = NDArray[np.uint8]
# One look at a picture: (what it was, the share of the error budget, its scores).
Look = tuple[str, float, Callable[[KeyRecord], Score]]
# The looks of one layer, made one after the other until one decides.
Layer = Callable[[Pixels, Setting], Iterator[Look]]


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
        pixels = _pixels(asset)
    except (DamagedAsset, UnsupportedFormat) as error:
        found.open.append(Reason("unreadable", str(error)))
        return
    looked: list[str] = []
    for scheme, layer in LAYERS.items():
        own = [r for r in records.values() if r.scheme == scheme]
        if not own:
            continue
        if setting.inverter is None and scheme in NEEDS_PIPELINE:
            reason = Reason("no-pipeline", NEEDS_PIPELINE[scheme])
            if reason.code not in {each.code for each in found.open}:
                found.open.append(reason)
            continue
        best: dict[tuple[Any, ...], Evidence] = {}
        try:
            for look in layer(pixels, setting):
                _test(look, own, len(records), setting, best)
                if any(decides(evidence, setting) for evidence in best.values()):
                    break
            looked.append(scheme)
        except (InvalidSignal, UnsupportedPipeline, RuntimeError, ValueError) as error:
            # The picture's size is the file's choice; a size the model refuses is
            # content. What earlier looks saw still counts.
            text = f"{scheme}: {type(error).__name__}: {str(error)[:200]}"
            code = "not-invertible" if scheme in NEEDS_PIPELINE else "too-small"
            found.open.append(Reason(code, text))
        found.evidence += best.values()
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
            "pictures of 512 pixels a side and more that were marked as finished media,"
            " as they are and after JPEG 50"
        )
    return (
        f"expected to find {'; '.join(told)}. How often, `python -m benchmarks "
        "diffusion` measures"
    )


def _pixels(asset: Asset) -> Pixels:
    from watermark.assets import image

    if asset.picture is None:
        return image.to_rgb8(image.decode(asset.data or b""))
    return image.to_rgb8(image.loaded(asset.picture))


def _test(
    look: Look,
    records: Sequence[KeyRecord],
    tests: int,
    setting: Setting,
    best: dict[tuple[Any, ...], Evidence],
) -> None:
    """Keep the best evidence of each record in `best`."""
    name, share, score = look
    for record in records:
        evidence = mark_evidence(record, score(record), tests / share, setting)
        evidence = replace(evidence, detail=f"{evidence.detail}, {name}")
        before = best.get(record.test)
        if before is None or (evidence.log10_p or 0.0) < (before.log10_p or 0.0):
            best[record.test] = evidence


def _noise(pixels: Pixels, setting: Setting) -> Iterator[Look]:
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
            yield name, share / len(starts), _of_noise(estimate)
    for candidate, share in _changed(pixels, setting):
        try:
            estimate = inverter.noise(candidate.pixels, steps=GEOMETRY_STEPS)
        except UnsupportedPipeline:
            continue  # a size that this pipeline cannot have made
        yield candidate.name, share, _of_noise(candidate.masked(estimate))


def _of_noise(estimate: NDArray[np.float32]) -> Callable[[KeyRecord], Score]:
    return lambda r: noise_detector.score(estimate, noise.Code(r, estimate.shape))


def _latent(pixels: Pixels, setting: Setting) -> Iterator[Look]:
    """The final latents, by encoding the picture: no denoiser is run."""
    encoder = setting.inverter
    if not isinstance(encoder, Encoder):
        raise UnsupportedPipeline("this inverter encodes no pictures")
    share = 1 - GEOMETRY.get(setting.effort, 0.0)
    yield "encoded", share, _of_latents(encoder.latents(pixels), None)
    for candidate, share in _changed(pixels, setting):
        try:
            found = encoder.latents(candidate.pixels)
        except UnsupportedPipeline:
            continue
        yield candidate.name, share, _of_latents(found, candidate)


def _of_latents(
    latents: NDArray[np.float32], candidate: Candidate | None
) -> Callable[[KeyRecord], Score]:
    white = latent.whiten(latents)
    g = white if candidate is None else candidate.masked(white)
    return lambda r: latent_detector.score_whitened(g, latent.Code(r, g.shape))


def _pixel(pixels: Pixels, setting: Setting) -> Iterator[Look]:
    """The picture itself: nothing but a key is needed."""
    if setting.effort == "quick":
        yield "as it is", 1.0, lambda r: pixel_detector.score(pixels, pixel.Code(r))
    else:
        name = "as it is and turned back"
        yield name, 1.0, lambda r: pixel_detector.search(pixels, pixel.Code(r))


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
