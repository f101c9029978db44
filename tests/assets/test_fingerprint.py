"""A picture is known again after re-encoding, and told from another."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from scipy.ndimage import gaussian_filter

from watermark.assets import fingerprint

Pixels = NDArray[np.uint8]


def scene(seed: int, shape: tuple[int, int] = (192, 256)) -> Pixels:
    """Smooth blobs of colour with some texture: coarse structure as a photograph's."""
    rng = np.random.default_rng(seed)
    blobs = gaussian_filter(rng.standard_normal((*shape, 3)), (24, 24, 0))
    values = 128 + 45 * blobs / blobs.std() + 6 * rng.standard_normal((*shape, 3))
    return np.asarray(np.clip(values, 0, 255), np.uint8)


def jpeg(pixels: Pixels, quality: int) -> Pixels:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=quality)
    return np.asarray(Image.open(data).convert("RGB"))


def apart(one: Pixels, other: Pixels) -> float:
    prints = fingerprint.fingerprint(one), fingerprint.fingerprint(other)
    return fingerprint.distance(*prints)


@pytest.mark.parametrize("seed", range(5))
def test_the_same_picture_is_known_again(seed: int) -> None:
    pixels = scene(seed)
    half = Image.fromarray(pixels).resize((128, 96))
    dim = ImageEnhance.Brightness(Image.fromarray(pixels)).enhance(0.8)
    grey = ImageEnhance.Color(Image.fromarray(pixels)).enhance(0.6)

    assert apart(pixels, pixels) == 0
    for other in (jpeg(pixels, 50), jpeg(pixels, 25), *map(np.asarray, (half, dim))):
        assert apart(pixels, other) < fingerprint.LIMIT / 4
    assert apart(pixels, np.asarray(grey)) < fingerprint.LIMIT


def test_other_pictures_are_told_apart() -> None:
    scenes = [scene(seed) for seed in range(6)]
    found = [apart(a, b) for a in scenes for b in scenes if a is not b]

    assert min(found) > 2 * fingerprint.LIMIT
    assert apart(scenes[0], 255 - scenes[0]) > 2 * fingerprint.LIMIT
    assert apart(scenes[0], np.full_like(scenes[0], 128)) > fingerprint.LIMIT


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3, 5), (17, 16)])
def test_any_size_has_a_fingerprint(shape: tuple[int, int]) -> None:
    pixels = np.full((*shape, 3), 200, np.uint8)
    found = fingerprint.fingerprint(pixels)

    assert len(found) == fingerprint.BYTES
    assert fingerprint.distance(found, found) == 0


@pytest.mark.parametrize("data", [b"", b"\1", bytes(fingerprint.BYTES), b"\1" * 400])
def test_other_bytes_are_refused(data: bytes) -> None:
    good = fingerprint.fingerprint(scene(0))
    for pair in ((good, data), (data, good)):
        with pytest.raises(ValueError, match="fingerprint"):
            fingerprint.distance(*pair)
