"""A picture is known again after editing as a whole, and told from another."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from scipy.ndimage import gaussian_filter
from tests.pictures import jpeg

from watermark.assets import likeness
from watermark.assets.fingerprint import BYTES, fingerprint

Pixels = NDArray[np.uint8]
SIDE = 192


def scene(seed: int) -> Pixels:
    """Smooth blobs of colour with some texture: coarse structure as a photograph's."""
    rng = np.random.default_rng(seed)
    blobs = gaussian_filter(rng.standard_normal((SIDE, SIDE, 3)), (18, 18, 0))
    values = 128 + 45 * blobs / blobs.std() + 6 * rng.standard_normal((SIDE, SIDE, 3))
    return np.asarray(np.clip(values, 0, 255), np.uint8)


def product(seed: int, wide: bool) -> Pixels:
    """Something on a ground of pure white."""
    pixels = np.full((SIDE, SIDE, 3), 255, np.uint8)
    part = np.s_[70:130, 16:176] if wide else np.s_[16:176, 70:130]
    pixels[part] = scene(seed)[part] // 2
    return pixels


def apart(one: Pixels, other: Pixels, part: likeness.Part = likeness.WHOLE) -> float:
    return likeness.distance(fingerprint(one), other, part)


def enhanced(kind: str, factor: float) -> Callable[[Pixels], Pixels]:
    how = getattr(ImageEnhance, kind)
    return lambda p: np.asarray(how(Image.fromarray(p)).enhance(factor), np.uint8)


def gamma(value: float) -> Callable[[Pixels], Pixels]:
    return lambda p: np.asarray(np.rint(255 * (p / 255) ** value), np.uint8)


def warm(pixels: Pixels) -> Pixels:
    tinted = np.clip(pixels * np.array([1.15, 1.0, 0.85]), 0, 255)
    return np.asarray(tinted, np.uint8)


def trimmed(pixels: Pixels) -> Pixels:
    """Three pixels of each edge cut off, and enlarged again."""
    part = Image.fromarray(pixels[3:-3, 3:-3])
    return np.asarray(part.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def turned(pixels: Pixels) -> Pixels:
    rotated = Image.fromarray(pixels).rotate(2, Image.Resampling.BICUBIC)
    return np.asarray(rotated)


def shifted(pixels: Pixels) -> Pixels:
    out = np.zeros_like(pixels)
    out[2:, 3:] = pixels[:-2, :-3]
    return out


EDITS: dict[str, Callable[[Pixels], Pixels]] = {
    "JPEG 25": lambda p: jpeg(p, 25),
    "darker": enhanced("Brightness", 0.5),
    "brighter": enhanced("Brightness", 1.5),
    "brighter, then JPEG 50": lambda p: jpeg(enhanced("Brightness", 1.5)(p), 50),
    "more contrast": enhanced("Contrast", 1.5),
    "grey": enhanced("Color", 0.0),
    "more colour": enhanced("Color", 1.5),
    "gamma 0.6": gamma(0.6),
    "gamma 1.6": gamma(1.6),
    "warmer": warm,
    "trimmed": trimmed,
    "turned by two degrees": turned,
    "shifted": shifted,
    "brighter and trimmed": lambda p: trimmed(enhanced("Brightness", 1.5)(p)),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_of_the_whole_is_the_same_picture(name: str) -> None:
    for seed in range(3):
        one, other = scene(seed), scene(seed + 10)

        assert apart(one, EDITS[name](one)) <= likeness.LIMIT
        assert apart(other, EDITS[name](one)) > 2 * likeness.LIMIT


def test_what_was_not_touched_is_nothing_apart() -> None:
    for pixels in (scene(0), product(0, True), np.full((9, 9, 3), 255, np.uint8)):
        assert apart(pixels, pixels) < 1e-6


def test_other_pictures_are_told_apart() -> None:
    scenes = [scene(seed) for seed in range(4)]
    found = [apart(a, b) for a in scenes for b in scenes if a is not b]

    assert min(found) > 2 * likeness.LIMIT
    assert apart(scenes[0], 255 - scenes[0]) > 2 * likeness.LIMIT
    assert apart(scenes[0], np.full_like(scenes[0], 128)) > likeness.LIMIT
    assert apart(np.full_like(scenes[0], 128), scenes[0]) > likeness.LIMIT


def test_a_white_ground_hides_nothing() -> None:
    """All of a cell that is white was as bright; where it was dark, it was another."""
    one, other = product(1, True), product(2, False)
    painted = scene(3)
    painted[:, 40:] = 255

    assert apart(one, enhanced("Brightness", 1.3)(one)) <= likeness.LIMIT
    assert apart(one, other) > 2 * likeness.LIMIT
    assert apart(scene(3), painted) > 2 * likeness.LIMIT


def test_a_picture_clipped_all_over_is_not_judged() -> None:
    """Black and white in every cell, and unlike: it may be either."""
    rng = np.random.default_rng(0)
    one = np.where(rng.random((SIDE, SIDE, 1)) < 0.5, 0, 255).astype(np.uint8)
    one = np.repeat(one, 3, axis=2)
    one[:, : SIDE // 2] //= 2
    other = np.ascontiguousarray(one[:, ::-1])
    other[other > 100] = 255

    assert apart(one, one) < 1e-6
    with pytest.raises(ValueError, match="black or white"):
        apart(one, other)


def test_of_several_the_nearest_counts_and_what_is_unread_may_be_it() -> None:
    scenes = [scene(seed) for seed in range(3)]
    kept = [fingerprint(pixels) for pixels in scenes]

    assert likeness.nearest(kept, scenes[1]) < 1e-6
    assert likeness.nearest([*kept, b"?"], scenes[1]) < 1e-6
    assert likeness.nearest(kept[:1], scenes[1]) > likeness.LIMIT
    with pytest.raises(ValueError, match="fingerprint"):
        likeness.nearest([kept[0], b"?"], scenes[1])


@pytest.mark.parametrize("data", [b"", b"\1", bytes(BYTES), b"\1" * 400])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="fingerprint"):
        likeness.distance(data, scene(0))


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3, 5), (1000, 2)])
def test_any_size_is_compared(shape: tuple[int, int]) -> None:
    dark = np.full((*shape, 3), 60, np.uint8)

    assert apart(dark, dark) == 0
    assert likeness.distance(fingerprint(scene(0)), dark) > likeness.LIMIT


def test_a_part_is_compared_where_it_is_known() -> None:
    whole, other = scene(6), scene(7)
    mixed = whole.copy()
    mixed[:, SIDE // 2 :] = other[:, SIDE // 2 :]

    assert apart(whole, mixed) > likeness.LIMIT
    assert apart(whole, mixed, (0, 0, 1, 0.5)) < 1e-6
    assert apart(whole, mixed, (0, 0.5, 1, 1)) > likeness.LIMIT


@pytest.mark.parametrize("part", [(0, 0, 0.2, 0.2), (0.3, 0.3, 0.3, 0.3), (1, 1, 0, 0)])
def test_too_small_a_part_is_not_compared(part: likeness.Part) -> None:
    with pytest.raises(ValueError, match="too few to compare"):
        apart(scene(8), scene(8), part)
