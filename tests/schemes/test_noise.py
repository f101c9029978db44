"""A marked draw is as the user made it: magnitudes kept, signs fair, N(0, I)."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray

from watermark.errors import InvalidSignal
from watermark.keys import Key
from watermark.schemes import SCHEMES
from watermark.schemes.noise import Code, mark

SHAPE = (4, 16, 16)


def code(seed: int, shape: tuple[int, ...] = SHAPE, **parameters: Any) -> Code:
    key = Key(np.random.default_rng(seed).bytes(32))
    return Code(SCHEMES["noise"].record(key, **parameters), shape)


def draw(seed: int, shape: tuple[int, ...] = SHAPE) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# --- what the user sees --------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_magnitudes_are_kept_bit_for_bit(dtype: Any) -> None:
    z = draw(1).astype(dtype)
    before = z.copy()
    marked, _, _ = mark(z, code(1))

    assert marked.dtype == dtype
    assert marked.shape == z.shape
    assert np.abs(marked).tobytes() == np.abs(z).tobytes()
    assert z.tobytes() == before.tobytes()  # the caller's own array is left alone


def test_about_half_of_the_signs_change() -> None:
    z = draw(2, (64, 64))
    marked, _, _ = mark(z, code(2, (64, 64)))
    kept = int((np.signbit(marked) == np.signbit(z)).sum())

    assert scipy.stats.binomtest(kept, z.size).pvalue > 1e-4


def test_signs_are_fair_and_independent_of_place() -> None:
    """Over keys: each coordinate's sign, and each pair of neighbours, is fair."""
    z = np.ones(SHAPE, np.float32)
    signs = np.stack([mark(z, code(seed))[0].reshape(-1) for seed in range(400)])
    totals = signs.sum(axis=0)
    pairs = (signs[:, 1:] * signs[:, :-1]).sum(axis=0)

    for sums in (totals, pairs):  # each is 400 fair coins: variance 400
        assert abs(float((sums**2).mean()) / 400 - 1) < 0.2
        assert float(np.abs(sums).max()) < 20 * 5.5


def test_a_marked_draw_is_normal_over_keys() -> None:
    """One coordinate of one draw per key, so that the sample is independent."""
    found = [
        float(mark(draw(seed), code(seed + 10_000))[0].reshape(-1)[seed % 1024])
        for seed in range(1500)
    ]

    assert scipy.stats.kstest(found, "norm").pvalue > 1e-3


def test_one_key_gives_normal_noise_too() -> None:
    """With at most 500 draws per key: more would show its pilot patterns repeat."""
    one = code(3)
    found = np.concatenate([mark(draw(seed), one)[0].reshape(-1) for seed in range(50)])

    assert scipy.stats.kstest(found, "norm").pvalue > 1e-3
    assert abs(float(found.mean())) < 5 / np.sqrt(found.size)


# --- nonce and mark id ---------------------------------------------------------------


def test_the_same_key_and_draw_give_the_same_image() -> None:
    a, b = mark(draw(4), code(4)), mark(draw(4), code(4))

    assert a[0].tobytes() == b[0].tobytes()
    assert a[1:] == b[1:]


def test_each_draw_has_its_own_mark_id_and_nonce() -> None:
    one = code(5)
    found = [one.identify(np.abs(draw(seed))) for seed in range(500)]

    assert len({mark_id for _, mark_id in found}) == 500
    assert len({nonce for nonce, _ in found}) > 490  # of 2**20: a repeat is rare
    assert max(nonce for nonce, _ in found) < 1 << 20


def test_each_key_gives_its_own_mark_id() -> None:
    magnitudes = np.abs(draw(6))

    assert len({code(seed).identify(magnitudes)[1] for seed in range(200)}) == 200


def test_the_signs_of_the_draw_do_not_enter() -> None:
    z = draw(7)

    assert mark(-z, code(7))[0].tobytes() == mark(z, code(7))[0].tobytes()


def test_a_marked_draw_marks_as_itself() -> None:
    once = mark(draw(8), code(8))[0]

    assert mark(once, code(8))[0].tobytes() == once.tobytes()


def test_half_precision_gives_the_same_mark() -> None:
    """torch's fp16 draw is the fp32 draw rounded: the image must be the same."""
    one = code(9)
    same = 0
    for seed in range(500):
        magnitudes = np.abs(draw(seed))
        rounded = magnitudes.astype(np.float16)
        same += one.identify(rounded) == one.identify(magnitudes)

    assert same > 0.99 * 500


@pytest.mark.parametrize("bits", [0, 1, 8, 24])
def test_nonces_lie_in_their_range(bits: int) -> None:
    one = code(10, nonce_bits=bits)
    nonces = [one.identify(np.abs(draw(seed)))[0] for seed in range(60)]

    assert max(nonces) < 1 << bits
    assert bits < 8 or len(set(nonces)) > 40


def test_shape_and_epoch_enter_the_mark_id() -> None:
    key = Key.generate()
    z = np.abs(draw(11))
    found = {
        Code(SCHEMES["noise"].record(key, epoch=epoch), shape).identify(
            z.reshape(shape)
        )
        for epoch in (0, 1)
        for shape in (SHAPE, (1024,), (2, 512), (16, 4, 16))
    }

    assert len(found) == 8


# --- the code ------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1024,), (1025,), (1, 1027), (3, 7, 11, 13)])
def test_every_coordinate_is_pilot_or_data(shape: tuple[int, ...]) -> None:
    one = code(12, shape)
    both = np.concatenate([one.pilot, one.data])

    assert np.array_equal(np.sort(both), np.arange(one.size))
    assert len(one.pilot) == one.size // 4
    assert len(one.masks) == len(one.data)
    assert set(np.unique(one.signs(3, bytes(8)))) == {-1, 1}


def test_nonces_and_mark_ids_have_signs_of_their_own() -> None:
    one = code(13)
    plain = one.signs(0, bytes(8))

    assert 0.4 < float((one.signs(1, bytes(8)) == plain).mean()) < 0.6
    other = one.signs(0, b"\1" + bytes(7))
    assert np.array_equal(other.reshape(-1)[one.pilot], plain.reshape(-1)[one.pilot])
    assert (other != plain).any()


def test_a_zero_gets_a_sign() -> None:
    z = draw(14)
    z[0] = 0
    marked, nonce, mark_id = mark(z, code(14))

    assert (np.sign(marked) == code(14).signs(nonce, mark_id)).all()
    assert float(np.abs(marked[0]).max()) < 1e-37


# --- bits ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "digest"),
    [
        ((1024,), "5bbbcc998469aec3"),
        ((4, 64, 64), "976ce752cec925da"),
        ((3, 7, 11, 13), "7948f6ab5eb1dcb6"),
    ],
)
def test_the_bits_of_version_1_are_pinned(shape: tuple[int, ...], digest: str) -> None:
    one = code(5, shape)
    data = one.order.astype("<i8").tobytes() + one.masks.astype("<u2").tobytes()
    data += one.signs(77, b"12345678").astype("<i4").tobytes()

    assert hashlib.sha256(data).hexdigest()[:16] == digest


def registry(seed: int) -> Code:
    record = code(seed).record
    ours = {**record.parameters, "registry": 1}
    return Code(replace(record, parameters=ours), SHAPE)


def test_a_registrys_nonces_have_96_bits() -> None:
    ours, magnitudes = registry(19), [np.abs(draw(seed)) for seed in range(300)]
    nonces = [ours.identify(z)[0] for z in magnitudes]

    assert len(set(nonces)) == 300
    assert 1 << 92 < max(nonces) < 1 << 96
    assert [ours.identify(z)[1] for z in magnitudes] == [
        code(19).identify(z)[1] for z in magnitudes
    ]  # mark ids stay as they are


def test_all_bits_of_a_registrys_nonce_decide_its_signs() -> None:
    ours, plain = registry(20), code(20)
    base = ours.signs(5, bytes(8))
    others = [ours.signs(5 ^ 1 << bit, bytes(8)) for bit in (0, 20, 32, 63, 64, 95)]

    assert np.array_equal(ours.order, plain.order)
    for other in (*others, plain.signs(5, bytes(8))):
        assert 0.4 < float((other == base).mean()) < 0.6


# --- refusals ------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_noise_that_is_not_finite_is_refused(bad: float) -> None:
    z = draw(15)
    z[3, 2, 1] = bad
    with pytest.raises(InvalidSignal, match="NaN or infinity"):
        mark(z, code(15))


def test_noise_of_another_shape_is_refused() -> None:
    with pytest.raises(InvalidSignal, match="expected"):
        mark(draw(16, (4, 16, 15)), code(16))


def test_integers_are_refused() -> None:
    with pytest.raises(InvalidSignal):
        mark(np.ones(SHAPE, np.int32), code(17))


@pytest.mark.parametrize("shape", [(), (0,), (1023,), (1, 31, 33)])
def test_a_latent_too_small_for_a_code_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidSignal, match="at least 1024"):
        code(18, shape)
