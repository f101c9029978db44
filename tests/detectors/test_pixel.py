"""Found where it is, after what pictures go through; nothing under other keys."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from PIL import Image, ImageDraw
from tests.pictures import Pixels, jpeg, photograph

from watermark.detectors import geometry, pixel, signs
from watermark.detectors.geometry import Geometry
from watermark.errors import InvalidSignal
from watermark.kernels import pixel_coefficients
from watermark.keys import Key
from watermark.schemes import SCHEMES
from watermark.schemes.pixel import Code, mark

RNG = np.random.default_rng


def code(seed: int, bits: int = 16, epoch: int = 0) -> Code:
    key = Key(RNG(seed).bytes(32))
    return Code(SCHEMES["pixel"].record(key, epoch=epoch, nonce_bits=bits))


ONE = code(1)


# --- false positives -----------------------------------------------------------------


def text() -> Pixels:
    page = Image.new("RGB", (256, 256), "white")
    drawing = ImageDraw.Draw(page)
    for line in range(16):
        drawing.text((8, 16 * line), "The quick brown fox jumps over it all", "black")
    return np.asarray(page)


def checkerboard() -> Pixels:
    board = np.indices((256, 256)).sum(0) // 3 % 2
    return np.repeat(255 * board[..., None], 3, -1).astype(np.uint8)


def gradient() -> Pixels:
    ramp = np.add.outer(np.arange(256), np.arange(256)) // 2
    return np.repeat(ramp[..., None], 3, -1).astype(np.uint8)


UNMARKED: dict[str, Callable[[], Pixels]] = {
    "photograph": lambda: photograph(2),
    "another's mark": lambda: mark(photograph(3), code(99))[0],
    "text": text,
    "checkerboard": checkerboard,
    "gradient": gradient,
    "noise": lambda: RNG(4).integers(0, 256, (256, 256, 3), dtype=np.uint8),
    "one block": lambda: np.pad(
        photograph(5)[:8, :8], ((0, 248), (0, 248), (0, 0)), constant_values=128
    ),
}


@pytest.mark.parametrize("name", UNMARKED)
def test_the_bound_holds_under_random_keys(name: str) -> None:
    """Of one nonce: the bound at the pilot of 250 keys, on one fixed picture."""
    keys = 250
    pixels = UNMARKED[name]()
    found = []
    for seed in range(keys):
        one = code(1000 + seed)
        pilot = pixel.weights(pixels, one)[one.signs.pilot]
        total = int(pilot @ one.signs.pilot_signs(7))
        found.append(signs.ln_tail(total, pilot))
    for alpha in (0.3, 1e-1, 1e-2):
        hits = sum(value <= math.log(alpha) for value in found)

        assert hits <= scipy.stats.binom.ppf(0.999, keys, alpha), alpha


@pytest.mark.parametrize("name", UNMARKED)
def test_the_whole_search_is_valid_under_random_keys(name: str) -> None:
    pixels = UNMARKED[name]()
    scores = [pixel.score(pixels, code(2000 + seed, bits=6)) for seed in range(10)]
    for alpha in (0.3, 1e-1, 1e-2):
        hits = sum(score.log10_p() <= math.log10(alpha) for score in scores)

        assert hits <= scipy.stats.binom.ppf(0.999, len(scores), alpha)
    assert all(score.payload is None for score in scores)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_flat_picture_is_no_evidence(level: int) -> None:
    score = pixel.score(np.full((128, 128, 3), level, np.uint8), ONE)

    assert (score.ln_p, score.log10_p(), score.payload) == (0.0, 0.0, None)


# --- power ---------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(256, 256), (261, 331), (1100, 264)])
def test_a_mark_is_read_and_a_wrong_key_finds_nothing(size: tuple[int, int]) -> None:
    marked, nonce, mark_id = mark(photograph(6, *size), ONE)
    score, stranger = pixel.score(marked, ONE), pixel.score(marked, code(7))

    assert (score.payload, score.nonce) == (mark_id, nonce)
    assert score.log10_p() < -20
    assert stranger.payload is None
    assert stranger.log10_p() > -3
    assert pixel.score(marked, code(1, epoch=1)).log10_p() > -3


@pytest.mark.parametrize("quality", [75, 50, 25])
def test_a_mark_outlives_jpeg(quality: int) -> None:
    for seed in range(8, 12):
        marked, _, mark_id = mark(photograph(seed, 384, 384), ONE, b"\0\xffmark id"[:8])

        assert pixel.score(jpeg(marked, quality), ONE).payload == mark_id


def test_twenty_levels_brighter_and_half_the_contrast() -> None:
    marked, _, mark_id = mark(photograph(12), ONE)
    changed = np.clip(marked * 0.5 + 20, 0, 255).astype(np.uint8)

    assert pixel.score(changed, ONE).payload == mark_id


def test_what_is_left_of_a_picture_still_tells() -> None:
    """The left half is someone else's picture."""
    marked, _, mark_id = mark(photograph(13, 384, 384), ONE)
    marked[:, :192] = photograph(14, 384, 192)

    assert pixel.score(marked, ONE).payload == mark_id


# --- tiles ---------------------------------------------------------------------------


@pytest.mark.parametrize("origin", [(0, 0), (8, 248), (1016, 520)])
def test_weights_are_the_tiles_times_their_signs_clipped_and_summed(
    origin: tuple[int, int],
) -> None:
    pixels = photograph(15, 300, 600)
    coefficients = pixel_coefficients(pixels)
    expected = np.zeros((32, 32, 9), np.int64)
    for i in range(coefficients.shape[0]):
        for j in range(coefficients.shape[1]):
            row, column = i + origin[0] // 8, j + origin[1] // 8
            spread = ONE.spread[row % 128, column % 128].astype(int)
            clipped = np.clip(coefficients[i, j], -128, 128).astype(int)
            expected[row % 32, column % 32] += clipped * spread
    found = pixel.weights(pixels, ONE, origin)

    assert found.dtype == np.int32
    assert np.abs(expected).max() <= 1024
    assert np.array_equal(found, expected.reshape(-1))


def test_weights_of_large_pictures_fit_the_kernels() -> None:
    stripes = np.tile(np.repeat(np.asarray([0, 255], np.uint8), 4), (3000, 100))
    found = pixel.weights(np.repeat(stripes[..., None], 3, -1), ONE)

    assert 512 < np.abs(found).max() <= 1024


@pytest.mark.parametrize("cut", [(8, 16), (264, 40), (40, 1032)])
def test_a_crop_is_read_where_it_lay(cut: tuple[int, int]) -> None:
    marked, _, mark_id = mark(photograph(16, 520, 1300), ONE)
    part = marked[cut[0] : cut[0] + 256, cut[1] : cut[1] + 256]
    known = Geometry((1.0, 0.0, 0.0, 1.0), (float(cut[1] % 1024), float(cut[0])))
    score = pixel.score(part, ONE, geometries=[known])

    assert score.payload == mark_id
    assert pixel.score(part, ONE).payload is None


# --- geometry ------------------------------------------------------------------------


def test_geometries_are_counted() -> None:
    marked, _, _ = mark(photograph(17, 256, 256), ONE)
    known = Geometry((1.0, 0.0, 0.0, 1.0), (0.0, 0.0))
    plain = pixel.score(marked, ONE)
    three = pixel.score(marked, ONE, geometries=[known] * 3)

    assert three == replace(plain, hypotheses=3 * plain.hypotheses)
    assert pixel.search(marked, ONE).hypotheses == 2 * plain.hypotheses
    turned = pixel.search(np.ascontiguousarray(np.rot90(marked)), ONE)
    assert turned.hypotheses == 2 * pixel.GEOMETRIES * plain.hypotheses
    assert turned.log10_p() < -20


def test_a_search_under_another_key_finds_nothing() -> None:
    marked, _, _ = mark(photograph(18), ONE)
    scores = [pixel.search(marked[3:], code(seed, bits=6)) for seed in (40, 41)]

    assert min(score.log10_p() for score in scores) > -2.5
    assert all(score.payload is None for score in scores)


def test_geometries_that_leave_too_little_are_no_evidence() -> None:
    tiny = Geometry((0.1, 0.0, 0.0, 0.1), (0.0, 0.0))
    score = pixel.score(photograph(19, 128, 128), ONE, geometries=[tiny])

    assert score.log10_p() == 0.0


# --- bad input -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape", [(1, 1, 3), (65_500, 1, 3), (95, 96, 3), (128, 128), (128, 128, 4)]
)
def test_pictures_too_small_or_of_another_shape_are_refused(
    shape: tuple[int, ...],
) -> None:
    pixels = np.zeros(shape, np.uint8)
    for look in (pixel.score, pixel.search):
        with pytest.raises(InvalidSignal, match="expected"):
            look(pixels, ONE)
    with pytest.raises(InvalidSignal, match="expected"):
        geometry.estimate(pixels, ONE.record)


def test_pictures_of_another_dtype_are_refused() -> None:
    with pytest.raises(InvalidSignal, match="uint8"):
        pixel.score(np.zeros((128, 128, 3), np.float32), ONE)


def test_memory_is_bounded_by_the_picture() -> None:
    """A strip of 65,500 x 96 pixels, 19 MB: looked at, its geometries too."""
    strip = np.tile(photograph(20, 96, 500), (1, 131, 1))
    pixel.score(strip[:, :500], ONE)  # what the code itself needs
    tracemalloc.start()
    pixel.search(strip, ONE)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 250e6
