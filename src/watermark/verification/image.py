"""Marks in a picture: invert the pipeline, look at the noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark.assets import DamagedAsset
from watermark.assets.loading import Asset
from watermark.detectors import noise as noise_detector
from watermark.errors import InvalidSignal, UnsupportedFormat, UnsupportedPipeline
from watermark.keys import KeyRecord
from watermark.report import Evidence, Reason
from watermark.schemes.noise import Code
from watermark.verification.setting import (
    LOOKS,
    Findings,
    Setting,
    decides,
    mark_evidence,
)


def image_marks(asset: Asset, setting: Setting, found: Findings) -> None:
    """Invert the pipeline, and test every key record on the noise that it finds."""
    tests = {r.test: r for r in setting.records if r.scheme == "noise"}
    if not tests:
        found.open.append(Reason("no-key", "no key record of scheme noise is at hand"))
        return
    try:
        pixels = _pixels(asset)
    except (DamagedAsset, UnsupportedFormat) as error:
        found.open.append(Reason("unreadable", str(error)))
        return
    if setting.inverter is None:
        found.open.append(
            Reason(
                "no-pipeline",
                "a mark in the noise is read by inverting the pipeline: name the one "
                "that could have made this",
            )
        )
        return
    try:
        for evidence in _look(pixels, list(tests.values()), setting):
            found.evidence.append(evidence)
    except (InvalidSignal, UnsupportedPipeline, RuntimeError, ValueError) as error:
        # The picture's size is the file's choice; a size the model refuses is content.
        found.open.append(
            Reason("not-invertible", f"{type(error).__name__}: {str(error)[:200]}")
        )
        return
    found.power.append(
        Reason(
            "power",
            "expected to find unresized outputs of this pipeline with this key; how "
            "often, `python -m benchmarks diffusion` measures. After resizing, "
            "cropping or rotation this test finds nothing",
        )
    )


def _pixels(asset: Asset) -> NDArray[np.uint8]:
    from watermark.assets import image

    if asset.picture is None:
        return image.to_rgb8(image.decode(asset.data or b""))
    return image.to_rgb8(image.loaded(asset.picture))


def _look(
    pixels: NDArray[np.uint8], records: Sequence[KeyRecord], setting: Setting
) -> list[Evidence]:
    best: dict[tuple[Any, ...], Evidence] = {}
    if setting.inverter is None:
        return []
    for steps, share in LOOKS[setting.effort]:
        estimate = setting.inverter.noise(pixels, steps=steps)
        for record in records:
            score = noise_detector.score(estimate, Code(record, estimate.shape))
            evidence = mark_evidence(record, score, len(records) / share, setting)
            evidence = replace(evidence, detail=f"{evidence.detail}, {steps} steps")
            before = best.get(record.test)
            if before is None or (evidence.log10_p or 0.0) < (before.log10_p or 0.0):
                best[record.test] = evidence
        if any(decides(evidence, setting) for evidence in best.values()):
            break
    return list(best.values())
