"""What happens to pictures in the comparisons: rows of `benchmarks.attacks.image`.

Each takes uint8 RGB pixels (height, width, 3) and a seed. Strengths are usual ones of
the field, scaled to pictures of 128 x 128 where they have a length.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.attacks import image
from benchmarks.attacks.image import Pixels

Attack = Callable[[Pixels, int], Pixels]  # (picture, seed)

NOISE = 0.05  # standard deviation, of the range of pixels
BLUR = 1.0  # radius in pixels
ENHANCE = 1.5  # factor of brightness, of contrast
CROP = 0.75  # of each side
DEGREES = 5.0
STRENGTHS = (0.2, 0.4)  # of img2img


def seeded(change: Callable[..., Pixels], *strength: float, **more: Any) -> Attack:
    """An attack of `benchmarks.attacks.image` whose generator is made of a seed."""

    def attack(pixels: Pixels, seed: int) -> Pixels:
        return change(pixels, np.random.default_rng(seed), *strength, **more)

    return attack


def none(pixels: Pixels, seed: int) -> Pixels:
    """As it is."""
    return pixels


def compress(quality: int, kind: str) -> Attack:
    """Through a file of the kind ``JPEG`` or ``WEBP``."""
    return seeded(image.compressed, quality, kind=kind)


resize = seeded(image.resized, 0.5)
noise = seeded(image.noise, NOISE)
blur = seeded(image.blurred, BLUR)
brightness = seeded(image.enhanced, ENHANCE, what="Brightness")
contrast = seeded(image.enhanced, ENHANCE, what="Contrast")
flip = seeded(image.flipped)
turn = seeded(image.quarter)
rotate = seeded(image.rotated, DEGREES)
half = seeded(image.rescaled, 0.5)
crop = seeded(image.cropped, CROP)
crop_centre = seeded(image.cropped, CROP, centred=True)


def listed(pipe: Any, steps: int) -> dict[str, Attack]:
    """Every attack, by the name of its row.

    Args:
        pipe: the generator, for what is done with a model.
        steps: of its denoising.
    """
    return {
        "none": none,
        **{f"JPEG {q}": compress(q, kind="JPEG") for q in (90, 75, 50, 25)},
        "WebP 50": compress(50, kind="WEBP"),
        "resize 0.5": resize,
        f"Gaussian noise {NOISE:g}": noise,
        f"blur {BLUR:g} px": blur,
        f"brightness {ENHANCE:g}": brightness,
        f"contrast {ENHANCE:g}": contrast,
        f"crop {CROP:.0%}, centre": crop_centre,
        f"crop {CROP:.0%}, anywhere": crop,
        "flip": flip,
        "quarter turn": turn,
        f"rotation {DEGREES:g} degrees": rotate,
        "VAE round trip": seeded(image.through_vae, pipe=pipe),
        **{
            f"img2img {s:g}": seeded(image.regenerated, s, pipe=pipe, steps=steps)
            for s in STRENGTHS
        },
    }
