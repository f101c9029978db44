"""What is done to marked pictures: uint8 (height, width, 3) in and out."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Attack = Callable[[Pixels, np.random.Generator], Pixels]


def compressed(kind: str, quality: int) -> Attack:
    """Written as JPEG or WebP at Pillow's defaults, and read again."""

    def change(pixels: Pixels, _: np.random.Generator) -> Pixels:
        data = io.BytesIO()
        Image.fromarray(pixels).save(data, kind, quality=quality)
        data.seek(0)
        return np.asarray(Image.open(data).convert("RGB"))

    return change


def _scaled(factor: float) -> Attack:
    def change(pixels: Pixels, _: np.random.Generator) -> Pixels:
        size = (round(pixels.shape[1] * factor), round(pixels.shape[0] * factor))
        return np.asarray(
            Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
        )

    return change


def _down_and_up(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    return _scaled(2)(_scaled(0.5)(pixels, rng), rng)


def _noise(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    noisy = pixels + rng.normal(0, 10, pixels.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def _blur(pixels: Pixels, _: np.random.Generator) -> Pixels:
    return np.asarray(scipy.ndimage.gaussian_filter(pixels, (1, 1, 0)))


def _brighter(pixels: Pixels, _: np.random.Generator) -> Pixels:
    return np.clip(np.rint(1.2 * pixels.astype(np.float64)), 0, 255).astype(np.uint8)


def _crop(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    side = [round(0.866 * n) for n in pixels.shape[:2]]  # three quarters of the area
    top, left = (
        int(rng.integers(n - s + 1)) for n, s in zip(pixels.shape, side, strict=False)
    )
    return np.ascontiguousarray(pixels[top : top + side[0], left : left + side[1]])


def _flip(pixels: Pixels, _: np.random.Generator) -> Pixels:
    return np.ascontiguousarray(pixels[:, ::-1])


def _quarter(pixels: Pixels, _: np.random.Generator) -> Pixels:
    return np.ascontiguousarray(np.rot90(pixels))


def _rotated(degrees: float) -> Attack:
    def change(pixels: Pixels, _: np.random.Generator) -> Pixels:
        turned = Image.fromarray(pixels).rotate(degrees, Image.Resampling.BICUBIC)
        return np.asarray(turned)

    return change


ATTACKS: dict[str, Attack] = {
    "none": lambda pixels, _: pixels,
    "JPEG 90": compressed("JPEG", 90),
    "JPEG 75": compressed("JPEG", 75),
    "JPEG 50": compressed("JPEG", 50),
    "JPEG 25": compressed("JPEG", 25),
    "WebP 50": compressed("WEBP", 50),
    "noise 10": _noise,
    "blur 1": _blur,
    "brightness 1.2": _brighter,
    "resize 0.5 and back": _down_and_up,
    "resize 0.5": _scaled(0.5),
    "resize 1.5": _scaled(1.5),
    "crop 75 %": _crop,
    "flip": _flip,
    "quarter turn": _quarter,
    "rotation 5": _rotated(5),
}
GEOMETRIC = frozenset(
    ("resize 0.5", "resize 1.5", "crop 75 %", "flip", "quarter turn", "rotation 5")
)
