"""Marks in a picture: every layer is looked at, and the best of each key is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from watermark.assets import DamagedAsset, image
from watermark.assets.loading import Asset
from watermark.detectors.base import Score
from watermark.errors import InvalidSignal, UnsupportedFormat, UnsupportedPipeline
from watermark.keys import KeyRecord
from watermark.report import Evidence, Reason
from watermark.schemes.base import option
from watermark.schemes.signs import MARK_ID_BYTES
from watermark.verification.content import picture
from watermark.verification.geometry import CUTS, DEGREES, Candidate
from watermark.verification.looks import LAYERS, NEEDS_PIPELINE, Look
from watermark.verification.setting import (
    GEOMETRY,
    Findings,
    Setting,
    binding,
    decides,
    mark_evidence,
)

# The best evidence of each key record, by its `test`, and the frame of that look.
Best = dict[tuple[Any, ...], tuple[Evidence, Candidate | None]]

# Pixels a side below which a cut-out of a marked picture is often not found.
SURE_SIDE = 256


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
                if isinstance(look, Reason):
                    found.notes.append(look)
                    continue
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
            "outputs of this pipeline with this key, as they are; of its usual size, "
            "also after one of: a flip, a quarter turn, a turn by up to "
            f"{DEGREES:g} degrees, a cut to {CUTS[-1]:.0%} of the sides or more, "
            "another size (most, not all)"
            if setting.effort in GEOMETRY
            else "unresized outputs of this pipeline with this key (after resizing, "
            "cropping or rotation: none; effort 'thorough' tries many)"
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
        score, frame = look.score(record)
        evidence = mark_evidence(record, score, tests / look.share, setting)
        evidence = replace(
            evidence,
            payload=_read(evidence, score, setting),
            detail=f"{evidence.detail}, {frame.told() if frame else look.name}",
            codes=(*evidence.codes, *["other-geometry"] * look.changed),
        )
        before = best.get(record.test)
        if before is None or (evidence.log10_p or 0.0) < (before[0].log10_p or 0.0):
            best[record.test] = evidence, frame


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
