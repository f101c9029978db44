"""`noise` finds what it marked, where it is, and through a ledger's nonces."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray

from watermark.detectors import noise, signs
from watermark.errors import InvalidSignal
from watermark.keys import Key, KeyRecord
from watermark.schemes import SCHEMES
from watermark.schemes.noise import Code, mark

Array = NDArray[np.float32]
SHAPE = (4, 16, 16)


def records(count: int, seed: int, **parameters: Any) -> Iterator[KeyRecord]:
    """Records of `count` keys, the same in each run, so that no test is flaky."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield SCHEMES["noise"].record(Key(rng.bytes(32)), **parameters)


def one(seed: int, **parameters: Any) -> KeyRecord:
    [record] = records(1, seed, **parameters)
    return record


def registry(seed: int) -> KeyRecord:
    record = one(seed)
    return replace(record, parameters={**record.parameters, "registry": 1})


def draw(shape: tuple[int, ...], seed: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def seen(marked: NDArray[np.floating], rho: float, seed: int) -> Array:
    """The channel of an inversion that keeps `rho` of the noise."""
    other = draw(marked.shape, seed)
    return np.asarray(rho * marked + math.sqrt(1 - rho * rho) * other, np.float32)


# --- power ---------------------------------------------------------------------------


def recover(shape: tuple[int, ...], rho: float, bits: int, seed: int) -> None:
    record, other = records(2, seed, nonce_bits=bits)
    code = Code(record, shape)
    marked, nonce, mark_id = mark(draw(shape, seed), code)
    blurred = rho * marked + math.sqrt(1 - rho * rho) * draw(shape, seed + 1000)
    score = noise.score(blurred, code)
    stranger = noise.score(blurred, Code(other, shape))

    assert (score.payload, score.nonce) == (mark_id, nonce)
    assert score.log10_p() < -6
    assert stranger.payload is None
    assert stranger.log10_p() > -3


@pytest.mark.parametrize("seed", range(10, 15))
def test_a_faint_mark_is_read_and_a_wrong_key_finds_nothing(seed: int) -> None:
    recover((4, 32, 32), 0.3, 8, seed)


@pytest.mark.parametrize("seed", range(20, 24))
def test_a_fainter_mark_is_read_from_a_larger_latent(seed: int) -> None:
    recover((4, 64, 64), 0.2, 8, seed)


def test_a_mark_is_read_at_the_default_of_twenty_nonce_bits() -> None:
    recover((4, 32, 32), 0.4, 20, 30)


@pytest.mark.parametrize("shape", [(4096,), (16, 5, 8, 8), (8, 600)])
def test_a_mark_is_read_from_latents_of_any_rank(shape: tuple[int, ...]) -> None:
    recover(shape, 0.6, 6, 40)


@pytest.mark.parametrize("scale", [1e-6, 0.18215, 1.0, 13.0, 1e6])
def test_scale_is_of_no_account(scale: float) -> None:
    code = Code(one(50, nonce_bits=4), SHAPE)
    marked, _, mark_id = mark(draw(SHAPE, 51), code)

    assert noise.score(marked * np.float32(scale), code).payload == mark_id


def test_outliers_do_not_drown_a_mark() -> None:
    code = Code(one(52, nonce_bits=4), (4, 32, 32))
    marked, _, mark_id = mark(draw((4, 32, 32), 53), code)
    marked.reshape(-1)[::500] = 60.0

    assert noise.score(marked, code).payload == mark_id


def test_another_epoch_finds_nothing() -> None:
    key = Key(bytes((*range(8, 39), 7)))
    old, new = (
        SCHEMES["noise"].record(key, epoch=epoch, nonce_bits=4) for epoch in (0, 1)
    )
    marked, _, _ = mark(draw(SHAPE, 54), Code(old, SHAPE))

    assert noise.score(marked, Code(old, SHAPE)).log10_p() < -6
    assert noise.score(marked, Code(new, SHAPE)).log10_p() > -3


# --- edges ---------------------------------------------------------------------------


def test_latents_of_nothing_are_no_evidence() -> None:
    score = noise.score(np.zeros(SHAPE, np.float32), Code(one(60, nonce_bits=4), SHAPE))

    assert (score.ln_p, score.log10_p(), score.payload) == (0.0, 0.0, None)


def test_one_number_is_no_evidence() -> None:
    latents = np.zeros(SHAPE, np.float32)
    latents[0, 0, 0] = 5
    for record in records(5, 61, nonce_bits=4):
        assert noise.score(latents, Code(record, SHAPE)).log10_p() == 0.0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_latents_that_are_not_finite_are_refused(bad: float) -> None:
    latents = draw(SHAPE, 62)
    latents[1, 2, 3] = bad
    with pytest.raises(InvalidSignal, match="NaN or infinity"):
        noise.score(latents, Code(one(63, nonce_bits=4), SHAPE))


@pytest.mark.parametrize("shape", [(4, 16, 15), (1024,), (1, 4, 16, 16)])
def test_latents_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidSignal, match="shape"):
        noise.score(np.zeros(shape, np.float32), Code(one(64, nonce_bits=4), SHAPE))


@pytest.mark.parametrize("scale", [1e-300, 1e160, 1e300])
def test_latents_of_any_finite_size_are_scored(scale: float) -> None:
    latents = draw(SHAPE, 65).astype(np.float64) * scale
    weights = signs.weights(latents)

    assert np.abs(weights).max() <= 4 * 256
    assert scale < 1 or weights.any()


def test_weights_are_steps_of_the_rms_and_clipped() -> None:
    weights = signs.weights(np.asarray([3.0, -3.0, 0.0] * 10 + [1000.0]))

    assert weights.dtype == np.int32
    assert weights.max() == 4 * 256
    assert (weights[0], weights[2]) == (-weights[1], 0)


# --- registry ------------------------------------------------------------------------


def test_a_mark_is_found_among_the_nonces_on_file() -> None:
    code = Code(registry(70), (4, 32, 32))
    marked, nonce, mark_id = mark(draw((4, 32, 32), 70), code)
    others = [mark(draw((4, 32, 32), 200 + i), code)[1] for i in range(50)]
    score = noise.score(seen(marked, 0.4, 71), code, [*others, nonce, *others])

    assert (score.payload, score.nonce) == (mark_id, nonce)
    assert nonce >> 64  # 96 bits are used
    assert score.hypotheses in (2 * 51, 2 * 51 << 64)  # each nonce on file counts once
    assert score.log10_p() < -6
    assert noise.score(seen(marked, 0.4, 71), code, others).log10_p() > -3


def test_mark_ids_on_file_find_what_is_too_faint_to_read() -> None:
    """Without 2**64 mark ids to pay for."""
    shape = (4, 64, 64)
    found = {True: 0, False: 0}
    for seed in range(72, 78):
        code = Code(registry(seed), shape)
        marked, nonce, mark_id = mark(draw(shape, seed), code)
        file = {nonce: mark_id, 5: b"another1", 1 << 95: b"another2"}
        for known in (True, False):
            score = noise.score(
                seen(marked, 0.09, seed + 50), code, file if known else list(file)
            )
            found[known] += score.log10_p() < -6 and score.nonce == nonce

    assert found[True] == 6
    assert found[False] < 6


def test_a_registry_needs_its_nonces() -> None:
    code = Code(registry(73), SHAPE)
    with pytest.raises(InvalidSignal, match="nonces"):
        noise.score(draw(SHAPE, 1), code)
    with pytest.raises(InvalidSignal, match="96 bits"):
        noise.score(draw(SHAPE, 1), code, [1 << 96])
    with pytest.raises(InvalidSignal, match="8 bytes"):
        noise.score(draw(SHAPE, 1), code, {3: b"short"})
    with pytest.raises(InvalidSignal, match="registry=1"):
        noise.score(draw(SHAPE, 1), Code(one(73), SHAPE), [3])

    assert noise.score(draw(SHAPE, 1), code, []).log10_p() == 0.0


def test_nonces_on_file_are_all_counted() -> None:
    """Over keys, with 40 nonces on file and nothing marked."""
    latents = draw(SHAPE, 3)
    found = []
    for record in records(150, 74):
        code = Code(
            replace(record, parameters={"nonce_bits": 20, "registry": 1}), SHAPE
        )
        file = dict.fromkeys(range(40), b"12345678")
        found.append(noise.score(latents, code, file).log10_p())
    for alpha in (0.3, 0.1, 0.01):
        hits = sum(p <= math.log10(alpha) for p in found)

        assert hits <= scipy.stats.binom.ppf(0.999, len(found), alpha)


# --- where ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "cell"),
    [
        ((4, 64, 64), (4, 8, 8)),
        ((8, 4096), (8, 32)),
        ((16, 9, 30, 52), (16, 2, 2, 4)),
        ((2048,), (256,)),
    ],
)
def test_cells_hold_256_numbers(shape: tuple[int, ...], cell: tuple[int, ...]) -> None:
    code = Code(one(80), shape)
    found = noise.agreement(draw(shape, 80), code, 0, bytes(8))

    assert found.cell == cell
    assert found.ln_p.shape == tuple(
        math.ceil(n / k) for n, k in zip(shape, cell, strict=True)
    )


def test_a_replaced_part_stands_out() -> None:
    shape = (4, 64, 64)
    code = Code(one(81, nonce_bits=8), shape)
    marked, nonce, mark_id = mark(draw(shape, 81), code)
    latents = seen(marked, 0.6, 82)
    latents[:, 16:32, 40:64] = draw((4, 16, 24), 83)
    found = noise.agreement(latents, code, nonce, mark_id)
    foreign = np.zeros((1, 8, 8), bool)
    foreign[:, 2:4, 5:8] = True

    assert not found.marked()[foreign].any()
    assert found.marked()[~foreign].mean() > 0.95
    assert not found.altered()[~foreign].any()
    assert abs(found.correlation[~foreign].mean() - 0.6) < 0.05
    assert abs(found.equal[foreign].mean() - 0.5) < 0.05
    coarse = noise.agreement(latents, code, nonce, mark_id, cell=(4, 16, 8))
    assert [index[1:] for index in np.argwhere(coarse.altered(0.05)).tolist()] == [
        [1, 5],
        [1, 6],
        [1, 7],
    ]


def test_a_replaced_second_of_a_video_stands_out() -> None:
    shape = (4, 12, 16, 16)
    code = Code(one(84, nonce_bits=4), shape)
    marked, nonce, mark_id = mark(draw(shape, 84), code)
    latents = seen(marked, 0.6, 85)
    latents[:, 5:7] = draw((4, 2, 16, 16), 86)
    found = noise.agreement(latents, code, nonce, mark_id, cell=(4, 1, 16, 16))

    assert np.flatnonzero(~found.marked()).tolist() == [5, 6]
    assert np.flatnonzero(found.altered()).tolist() == [5, 6]


def test_unmarked_cells_are_certified_as_seldom_as_stated() -> None:
    """Family-wise, over keys and on content without a mark, at an error of 0.1."""
    latents = draw((4, 32, 32), 87)
    keys = 300
    wrong = sum(
        bool(
            noise.agreement(latents, Code(record, latents.shape), 3, b"12345678")
            .marked(0.1)
            .any()
        )
        for record in records(keys, 88)
    )

    assert wrong <= scipy.stats.binom.ppf(0.999, keys, 0.1)


def test_a_genuine_latent_is_called_altered_as_seldom_as_stated() -> None:
    shape = (4, 32, 32)
    wrong = 0
    for seed, record in enumerate(records(100, 89)):
        code = Code(record, shape)
        marked, nonce, mark_id = mark(draw(shape, seed), code)
        found = noise.agreement(seen(marked, 0.4, seed + 500), code, nonce, mark_id)
        wrong += bool(found.altered(0.05).any())

    assert wrong <= scipy.stats.binom.ppf(0.999, 100, 0.05)


def test_a_map_of_nothing_says_nothing() -> None:
    found = noise.agreement(
        np.zeros(SHAPE, np.float32), Code(one(90), SHAPE), 1, bytes(8)
    )

    assert not found.marked(0.999).any()
    assert not found.altered(0.999).any()


@pytest.mark.parametrize("cell", [(4, 4), (4, 0, 4), (4, 4, 4, 4)])
def test_cells_that_are_none_are_refused(cell: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        noise.agreement(draw(SHAPE, 1), Code(one(91), SHAPE), 1, bytes(8), cell)
