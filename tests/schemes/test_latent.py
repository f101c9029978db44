"""`latent` moves every number by a small step, as much as its reading needs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from watermark.errors import InvalidSignal
from watermark.keys import Key, KeyRecord
from watermark.schemes import SCHEMES
from watermark.schemes.latent import TARGET, Code, mark, strength, whiten

SHAPE = (4, 32, 32)
Array = NDArray[np.float32]


def record(seed: int = 0, **parameters: Any) -> KeyRecord:
    key = Key(np.random.default_rng(seed).bytes(32))
    return SCHEMES["latent"].record(key, **parameters)


def smooth(seed: int, shape: tuple[int, ...] = SHAPE) -> Array:
    """Latents as a picture's: neighbours alike, some places rough."""
    rng = np.random.default_rng(seed)
    waves = np.cumsum(np.cumsum(rng.standard_normal(shape), -1), -2)
    fine = rng.standard_normal(shape) * (rng.random(shape[-2:]) < 0.3)
    return np.asarray(waves / waves.std() + 0.2 * fine, dtype=np.float32)


@pytest.mark.parametrize("shape", [(2048,), (64, 100), SHAPE, (4, 3, 16, 16)])
def test_every_number_moves_along_its_sign(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    latents = rng.standard_normal(shape).astype(np.float32)
    before = latents.copy()
    code = Code(record(delta=100), shape)
    marked, nonce, mark_id = mark(latents, code)
    step, _ = strength(latents, code)

    assert marked.dtype == np.float32
    assert np.array_equal(latents, before)
    change = (marked - latents) * code.signs(nonce, mark_id)
    assert (change > 0).all()
    assert np.sqrt(np.mean(change**2)) == pytest.approx(step, rel=1e-3)
    assert len(mark_id) == 8
    assert nonce < 1 << 16


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_tensors_are_marked_as_arrays_are(dtype: torch.dtype) -> None:
    tensor = torch.from_numpy(smooth(2)).to(dtype)
    code = Code(record(), SHAPE)
    marked, nonce, mark_id = mark(tensor, code)
    expected, *same = mark(tensor.float().numpy(), code)

    assert (marked.dtype, marked.device) == (tensor.dtype, tensor.device)
    assert [nonce, mark_id] == same
    assert np.allclose(marked.float().numpy(), expected, atol=0.02)


def test_numbers_move_more_where_the_image_is_flat() -> None:
    rng = np.random.default_rng(12)
    latents = rng.standard_normal(SHAPE).astype(np.float32)
    latents[:, :, 16:] *= 0.1
    marked, *_ = mark(latents, Code(record(), SHAPE))
    change = np.abs(marked - latents)

    assert change[:, :, 20:].mean() > 1.3 * change[:, :, :12].mean()


def test_half_of_the_numbers_are_the_pilot() -> None:
    code = Code(record(), SHAPE)

    assert len(code.pilot) == len(code.data) == 2048
    assert not set(code.pilot) & set(code.data)


def test_delta_limits_the_step() -> None:
    latents = np.random.default_rng(3).standard_normal(SHAPE).astype(np.float32)
    for delta in (20, 50, 200):
        step, statistic = strength(latents, Code(record(delta=delta), SHAPE))

        assert step == pytest.approx(delta / 1000 * latents.std(), rel=1e-5)
        assert statistic < TARGET


def test_large_latents_are_hardly_changed() -> None:
    shape = (16, 96, 96)
    step, statistic = strength(smooth(4, shape), Code(record(), shape))

    assert TARGET <= statistic < TARGET * 1.5
    assert step < 0.05


def test_each_output_and_key_has_its_own_mark() -> None:
    code = Code(record(), SHAPE)
    by_output = [code.identify(smooth(seed)) for seed in range(50)]
    by_key = [Code(record(seed), SHAPE).identify(smooth(0)) for seed in range(50)]

    for found in (by_output, by_key):
        assert len({mark_id for _, mark_id in found}) == 50
        assert len({nonce for nonce, _ in found}) > 45
    assert code.identify(smooth(7)) == by_output[7]


def test_whitening_takes_away_what_neighbours_share() -> None:
    latents = smooth(8)
    white = whiten(latents)
    before, after = (
        float(np.corrcoef(a[..., 1:].reshape(-1), a[..., :-1].reshape(-1))[0, 1])
        for a in (latents, white)
    )

    assert before > 0.8
    assert abs(after) < 0.5
    assert np.allclose(whiten(latents + 5), white, atol=1e-3)
    assert not whiten(np.full(SHAPE, 3.0)).any()


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1e3, 1e30])
def test_scale_is_of_no_account(scale: float) -> None:
    latents = smooth(9).astype(np.float64)
    code = Code(record(), SHAPE)

    assert np.isfinite(whiten(latents * scale)).all()
    plain, scaled = strength(latents, code), strength(latents * scale, code)
    assert scaled[0] / scale == pytest.approx(plain[0], rel=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    latents = smooth(10)
    latents[1, 2, 3] = bad
    with pytest.raises(InvalidSignal, match="NaN or infinity"):
        mark(latents, Code(record(), SHAPE))


def test_what_cannot_be_marked_is_refused() -> None:
    code = Code(record(), SHAPE)
    with pytest.raises(InvalidSignal, match="all latents are equal"):
        mark(np.ones(SHAPE, np.float32), code)
    with pytest.raises(InvalidSignal, match="expected"):
        mark(smooth(11)[:3], code)
    for integers in (np.ones(SHAPE, np.int32), torch.ones(SHAPE, dtype=torch.int32)):
        with pytest.raises(InvalidSignal, match="floats"):
            mark(integers, code)
    with pytest.raises(ValueError, match="delta"):
        record(delta=0)
