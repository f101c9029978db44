"""Marks in a picture: every layer is looked at, and what would have been found."""

from __future__ import annotations

from collections.abc import Sequence

from watermark.assets import DamagedAsset, image
from watermark.assets.loading import Asset
from watermark.errors import UnsupportedFormat
from watermark.report import Reason
from watermark.verification.content import picture
from watermark.verification.geometry import CUTS, DEGREES
from watermark.verification.layers import Layers, look_at
from watermark.verification.looks import LAYERS, NEEDS_PIPELINE
from watermark.verification.setting import GEOMETRY, Findings, Setting, decides

# Pixels a side below which a cut-out of a marked picture is often not found.
SURE_SIDE = 256


def image_marks(asset: Asset, setting: Setting, found: Findings) -> None:
    """Test every key record on the layer of its scheme."""
    try:
        pixels = image.to_rgb8(picture(asset))
    except (DamagedAsset, UnsupportedFormat) as error:
        found.open.append(Reason("unreadable", str(error)))
        return
    looked = look_at(pixels, Layers(LAYERS, NEEDS_PIPELINE), setting, found)
    _tell_frames(asset, setting, found)
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


def _tell_frames(asset: Asset, setting: Setting, found: Findings) -> None:
    """Say so where a picture moves: its first frame is all that was looked at."""
    count = image.frames(asset.picture or asset.data or b"")
    if count > 1:
        reason = Reason(
            "first-frame",
            f"the picture has {count} frames, and only the first was looked at: give "
            "them as a list of pictures to have all of them looked at",
        )
        marked = any(decides(evidence, setting) for evidence in found.evidence)
        (found.notes if marked else found.open).append(reason)


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
