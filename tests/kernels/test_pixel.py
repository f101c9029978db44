"""Pixel kernels: equal to their reference; what they do to a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.fft
from numpy.typing import NDArray
from tests.pictures import photograph

from watermark.kernels import pixel_coefficients, pixel_embed
from watermark.kernels import reference_pixel as reference

SIZES = [(8, 8), (24, 40), (33, 71), (7, 90), (100, 15)]
KINDS = ["photograph", "noise", "flat", "stripes"]


def picture(kind: str, size: tuple[int, int], seed: int) -> NDArray[np.uint8]:
    height, width = size
    rng = np.random.default_rng(seed)
    if kind == "photograph":
        whole = photograph(seed, 128, 128)
        return np.ascontiguousarray(whole[:height, :width])
    if kind == "noise":
        return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    if kind == "flat":
        return np.full((height, width, 3), rng.integers(256), np.uint8)
    stripes = 255 * (np.arange(width) // 4 % 2)
    return np.tile(stripes[:, None].astype(np.uint8), (height, 1, 3))


def chips(seed: int, rows: int, columns: int) -> NDArray[np.int8]:
    drawn = np.random.default_rng(seed).integers(0, 2, (rows, columns, 9))
    return (2 * drawn - 1).astype(np.int8)


def template(seed: int, height: int, width: int) -> NDArray[np.int16]:
    drawn = np.random.default_rng(seed).integers(-400, 400, (height, width))
    return drawn.astype(np.int16)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES)
def test_coefficients(kind: str, size: tuple[int, int]) -> None:
    pixels = picture(kind, size, 1)
    found = pixel_coefficients(pixels)

    assert found.dtype == np.int16
    assert found.shape == (size[0] // 8, size[1] // 8, 9)
    assert np.array_equal(found, reference.pixel_coefficients(pixels))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("budget", [0, 200_000, 1 << 40])
def test_embed(kind: str, size: tuple[int, int], budget: int) -> None:
    pixels = picture(kind, size, 2)
    inputs = (
        pixels,
        pixel_coefficients(pixels),
        chips(3, 2, 3),
        template(4, 5, 7),
        3277,
        budget,
    )

    assert np.array_equal(pixel_embed(*inputs), reference.pixel_embed(*inputs))


def test_coefficients_are_the_cosine_transform_of_the_luma() -> None:
    pixels = photograph(5, 64, 64)
    luma = np.rint(pixels @ np.asarray([0.299, 0.587, 0.114]))
    found = pixel_coefficients(pixels) / 16
    for i in range(8):
        for j in range(8):
            block = luma[8 * i : 8 * i + 8, 8 * j : 8 * j + 8]
            whole = scipy.fft.dctn(block, norm="ortho")
            expected = [whole[v, u] for v, u in reference.ZIGZAG]

            # Weights of the luma are rounded to 1/256, a thousandth of 255 levels.
            assert np.abs(found[i, j] - expected).max() < 4


def test_flat_blocks_have_no_coefficients() -> None:
    for level in range(256):
        flat = np.full((8, 8, 3), level, np.uint8)

        assert not pixel_coefficients(flat).any()


def test_coefficients_reach_their_largest_without_overflow() -> None:
    for sign in (1, -1):
        for v, u in reference.ZIGZAG:
            wave = np.outer(reference.BASIS[v], reference.BASIS[u]) * sign
            pixels = np.repeat(np.where(wave > 0, 255, 0)[..., None], 3, -1)
            found = pixel_coefficients(pixels.astype(np.uint8))[0, 0]
            k = reference.ZIGZAG.index((v, u))

            assert found[k] * sign == np.abs(found.astype(int)).max()
            assert found[k] * sign > 10_000


def test_the_budget_is_kept_and_nearly_spent() -> None:
    pixels = photograph(6, 128, 128)
    nothing = np.zeros((8, 8), np.int16)
    for mean_square in (0.5, 2.0):
        budget = int(mean_square * 256 * 128 * 128)
        marked = pixel_embed(
            pixels, pixel_coefficients(pixels), chips(7, 16, 16), nothing, 0, budget
        )
        spent = float(np.mean((marked.astype(float) - pixels) ** 2))

        assert 0.75 * mean_square < spent < mean_square + 1 / 12 + 0.05


def test_all_channels_change_alike_and_agreement_rises() -> None:
    pixels = picture("photograph", (64, 64), 8) // 2 + 64  # nothing is clipped
    signs = chips(9, 8, 8)
    before = pixel_coefficients(pixels)
    marked = pixel_embed(pixels, before, signs, np.zeros((1, 1), np.int16), 0, 1 << 40)
    change = marked.astype(int) - pixels
    gain = (pixel_coefficients(marked).astype(int) - before) * signs

    assert (change == change[..., :1]).all()
    assert gain.mean() > 30  # two units
    assert (gain > -48).all()  # rounding to whole grey levels, no more


BAD: list[tuple[str, dict[str, Any]]] = [
    ("channels", {"pixels": np.zeros((8, 8, 4), np.uint8)}),
    ("blocks", {"coefficients": np.zeros((2, 1, 9), np.int16)}),
    ("chips", {"chips": np.ones((0, 4, 9), np.int8)}),
    ("chips", {"chips": np.ones((4, 4, 8), np.int8)}),
    ("template", {"template": np.zeros((0, 5), np.int16)}),
]


@pytest.mark.parametrize(("problem", "change"), BAD)
def test_wrong_shapes_are_refused(problem: str, change: dict[str, Any]) -> None:
    inputs: dict[str, Any] = {
        "pixels": np.zeros((8, 8, 3), np.uint8),
        "coefficients": np.zeros((1, 1, 9), np.int16),
        "chips": np.ones((4, 4, 9), np.int8),
        "template": np.zeros((4, 4), np.int16),
    } | change
    with pytest.raises(ValueError, match=problem):
        pixel_embed(**inputs, faint=0, budget=0)
