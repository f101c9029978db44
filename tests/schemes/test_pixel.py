"""Marked pictures: who they look like, whose they are, what they must not change."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
from tests.pictures import photograph, psnr

from watermark.errors import InvalidSignal
from watermark.kernels import reference_pixel
from watermark.keys import Key
from watermark.schemes import SCHEMES, pixel, template
from watermark.schemes.pixel import Code, mark


def code(seed: int, epoch: int = 0, **parameters: Any) -> Code:
    key = Key(np.random.default_rng(seed).bytes(32))
    return Code(SCHEMES["pixel"].record(key, epoch=epoch, **parameters))


ONE = code(1)


# --- what is seen --------------------------------------------------------------------


@pytest.mark.parametrize("size", [(96, 96), (256, 256), (133, 211), (96, 1500)])
def test_marked_pictures_have_42_decibels(size: tuple[int, int]) -> None:
    pixels = photograph(2, *size)
    before = pixels.copy()
    marked, _, _ = mark(pixels, ONE)

    assert marked.shape == pixels.shape
    assert marked.dtype == np.uint8
    assert 42 < psnr(pixels, marked) < 47
    assert np.array_equal(pixels, before)  # the caller's own array is left alone


@pytest.mark.parametrize("level", [0, 7, 128, 255])
def test_flat_pictures_get_less(level: int) -> None:
    flat = np.full((128, 128, 3), level, np.uint8)

    assert psnr(flat, mark(flat, ONE)[0]) > 43


def test_a_budget_can_be_given_and_is_kept_to() -> None:
    pixels = photograph(2, 256, 256)
    loud, usual, faint = (mark(pixels, ONE, psnr=db) for db in (38, pixel.PSNR, 46))
    found = [psnr(pixels, marked) for marked, _, _ in (loud, usual, faint)]

    assert found == pytest.approx([38, pixel.PSNR, 46], abs=0.3)
    assert np.array_equal(usual[0], mark(pixels, ONE)[0])
    assert loud[1:] == faint[1:]  # nonce and mark id are the picture's


@pytest.mark.parametrize("db", [29.9, 55.1, float("nan")])
def test_budgets_out_of_range_are_refused(db: float) -> None:
    with pytest.raises(ValueError, match="expected 30 to 55 dB"):
        mark(photograph(2, 96, 96), ONE, psnr=db)


def test_busy_blocks_get_more_than_flat_ones() -> None:
    pixels = np.full((256, 256, 3), 128, np.uint8)
    busy = np.random.default_rng(3).normal(128, 8, (128, 256, 1))
    pixels[:128] = np.clip(np.rint(busy), 0, 255).astype(np.uint8)
    change = (mark(pixels, ONE)[0].astype(float) - pixels) ** 2

    assert change[:128].mean() > 1.3 * change[128:].mean()


# --- nonce and mark id ---------------------------------------------------------------


def test_the_same_key_and_picture_give_the_same_mark() -> None:
    pixels = photograph(4, 128, 128)
    first, second = mark(pixels, code(5)), mark(pixels, code(5))

    assert np.array_equal(first[0], second[0])
    assert first[1:] == second[1:]


def test_every_picture_has_its_own_nonce_and_mark_id() -> None:
    pixels = photograph(6, 96, 96)
    found = set()
    for i in range(50):
        pixels[i, i, 0] ^= 1
        found.add(ONE.identify(pixels))
    nonces, mark_ids = zip(*found, strict=True)

    assert len(set(mark_ids)) == 50
    assert len(set(nonces)) >= 48  # of 2**16: a repeat is rare
    assert max(nonces) < 1 << 16
    assert ONE.identify(pixels) != ONE.identify(pixels.reshape(48, 192, 3))
    assert ONE.identify(pixels) != code(1, epoch=1).identify(pixels)
    assert ONE.identify(pixels) != code(7).identify(pixels)


def test_a_mark_id_can_be_given_and_changes_the_picture() -> None:
    pixels = photograph(8, 128, 128)
    own, nonce, _ = mark(pixels, ONE)
    given, same, mark_id = mark(pixels, ONE, b"mark id!")

    assert (same, mark_id) == (nonce, b"mark id!")
    assert not np.array_equal(own, given)


@pytest.mark.parametrize("bits", [0, 1, 8, 24])
def test_nonces_lie_in_their_range(bits: int) -> None:
    other = code(9, nonce_bits=bits)
    pixels = photograph(10, 96, 96)
    nonces = set()
    for i in range(40):
        pixels[i] ^= 1
        nonces.add(other.identify(pixels)[0])

    assert max(nonces) < 1 << bits
    assert bits < 8 or len(nonces) > 30


# --- what is keyed -------------------------------------------------------------------


def test_chips_repeat_after_1024_pixels_and_not_before() -> None:
    """Tiles have signs of their own, so averaging them shows nothing."""
    chips = ONE.chips(5, bytes(8)).astype(int)
    first = chips[:32, :32]

    assert chips.shape == (128, 128, 9)
    for i in range(0, 128, 32):
        for j in range(0, 128, 32):
            agreement = float((first * chips[i : i + 32, j : j + 32]).mean())

            assert abs(agreement) < 0.06 or (i, j) == (0, 0)  # 5 sigma of 9,216 coins


def test_chips_without_tile_signs_are_the_sign_code() -> None:
    chips = ONE.chips(5, b"mark id!") * ONE.spread
    signs = ONE.signs.signs(5, b"mark id!")

    assert np.array_equal(chips, np.tile(signs, (4, 4, 1)))


def test_the_template_lies_in_its_band_and_has_its_energy() -> None:
    laid = template.waves(ONE.record)
    radius = np.hypot(laid[:, 0], laid[:, 1])

    assert len({(x, y) for x, y, _ in laid.tolist()}) == len(laid) == template.WAVES
    assert (radius >= template.SLOWEST).all()
    assert (radius <= template.FASTEST).all()
    assert (laid[:, 0] > 0).all()
    energy = float(np.mean((ONE.template / template.UNIT) ** 2))
    assert abs(energy / template.ENERGY - 1) < 0.01
    assert not np.array_equal(laid, template.waves(code(11).record))
    assert not np.array_equal(laid, template.waves(code(1, epoch=1).record))


def test_every_key_finds_enough_waves() -> None:
    for seed in range(200):
        assert len(template.waves(code(seed).record)) == template.WAVES


def test_the_bits_never_change() -> None:
    """Golden: another value is another version of the scheme."""
    golden = Code(pixel.SCHEME.record(Key(bytes((*range(1, 32), 0)))))
    pixels = (np.arange(96 * 104 * 3) * 37 % 251).astype(np.uint8).reshape(96, 104, 3)
    nonce, mark_id = golden.identify(pixels)
    chips = golden.chips(nonce, mark_id)
    marked = reference_pixel.pixel_embed(
        pixels,
        reference_pixel.pixel_coefficients(pixels),
        chips,
        np.zeros((1, 1), np.int16),
        3277,
        10**8,
    )
    digests = [
        hashlib.sha256(np.ascontiguousarray(part).tobytes()).hexdigest()[:16]
        for part in (chips, template.waves(golden.record).astype("<i8"), marked)
    ]

    assert (nonce, mark_id.hex(), *digests) == GOLDEN


GOLDEN = (
    53079,
    "b4eaa185604adacf",
    "61c7ab2eebcbcfd4",
    "ef36f7ca849b679f",
    "94f65e92d2a20153",
)


# --- refusals ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape",
    [(1, 1, 3), (65_500, 1, 3), (95, 500, 3), (0, 0, 3), (96, 96), (96, 96, 4), (3,)],
)
def test_pictures_that_cannot_hold_a_code_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidSignal, match="expected"):
        mark(np.zeros(shape, np.uint8), ONE)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.int8, bool])
def test_other_dtypes_are_refused(dtype: Any) -> None:
    with pytest.raises(InvalidSignal, match="uint8"):
        mark(np.zeros((96, 96, 3), dtype), ONE)


@pytest.mark.parametrize("mark_id", [b"", b"1234567", b"123456789"])
def test_mark_ids_of_another_length_are_refused(mark_id: bytes) -> None:
    with pytest.raises(ValueError, match="8"):
        mark(photograph(12, 96, 96), ONE, mark_id)


def test_views_are_marked_like_copies() -> None:
    whole = photograph(13, 256, 256)
    view = whole[::2, ::-2]

    assert np.array_equal(mark(view, ONE)[0], mark(view.copy(), ONE)[0])


def test_a_code_shows_no_key() -> None:
    assert np.random.default_rng(1).bytes(32).hex() not in repr(ONE)
    assert "Key(" not in repr(ONE)


@pytest.mark.parametrize("bits", [-1, 25, 1.5, "8"])
def test_parameters_outside_their_range_are_refused(bits: Any) -> None:
    with pytest.raises(ValueError, match="nonce_bits"):
        code(14, nonce_bits=bits)
