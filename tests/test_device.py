"""The torch integer operations equal the kernels, on the CPU and on CUDA."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from watermark import kernels
from watermark.kernels import device, reference

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
KEY = bytes(range(16))


def states(low: torch.Tensor, high: torch.Tensor) -> list[bytes]:
    pairs = zip(low.tolist(), high.tolist(), strict=True)
    return [
        (a % 2**64).to_bytes(8, "little") + (b % 2**64).to_bytes(8, "little")
        for a, b in pairs
    ]


@pytest.mark.parametrize("where", DEVICES)
@pytest.mark.parametrize("width", [1, 2, 3, 4, 7])
def test_context_states(where: str, width: int) -> None:
    contexts = torch.randint(0, 2**32, (50, width), device=where)
    found = states(*device.context_states(KEY, contexts))
    expected = [
        kernels.context_state(KEY, np.asarray(row, np.uint32))
        for row in contexts.tolist()
    ]

    assert found == expected


@pytest.mark.parametrize("where", DEVICES)
def test_gumbel_noise_at_every_bit_length(where: str) -> None:
    rng = np.random.default_rng(0)
    words = [0, 1, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1]
    words += [int(w) for w in rng.integers(0, 2**32, 3000)]
    words += [int(2 ** rng.uniform(0, 32)) for _ in range(3000)]
    found = device.gumbel_noise(torch.tensor(words, device=where))

    assert found.tolist() == [reference.gumbel_noise(word) for word in words]


@pytest.mark.parametrize("where", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_gumbel_select(where: str, dtype: torch.dtype) -> None:
    scores = (4 * torch.randn(30, 500)).to(dtype)
    scores[10:] = scores[10:].masked_fill(scores[10:] < 3, -torch.inf)
    scores[20:] = scores[20:].round()  # ties
    contexts = torch.randint(0, 500, (30, 4), device=where)
    nonce = torch.randint(0, 64, (30,), device=where)
    symbol = torch.randint(-1, 256, (30,), device=where)
    symbol[::2] = -1
    low, high = device.context_states(KEY, contexts)
    rows = scores.float().to(where)
    tokens, fit = device.gumbel_select(rows, low, high, nonce, symbol)
    plain, _ = device.gumbel_select(rows, low, high, nonce)
    expected = [
        kernels.gumbel_select(row.float().numpy(), state, n, c)
        for row, state, n, c in zip(
            scores, states(low, high), nonce.tolist(), symbol.tolist(), strict=True
        )
    ]

    assert tokens.tolist() == expected
    assert plain[::2].tolist() == expected[::2]
    assert bool(fit.all())


@pytest.mark.parametrize("where", DEVICES)
@pytest.mark.parametrize("bad", [[0.0, torch.nan], [torch.inf, 0.0], [-torch.inf] * 2])
def test_rows_that_cannot_be_sampled_are_told(where: str, bad: list[float]) -> None:
    low, high = device.context_states(KEY, torch.zeros((1, 4), dtype=torch.int64))
    nonce = torch.zeros(1, dtype=torch.int64)
    _, fit = device.gumbel_select(torch.tensor([bad]), low, high, nonce)

    assert fit.tolist() == [False]


@pytest.mark.parametrize("where", DEVICES)
@pytest.mark.parametrize("vocab", [1, 31, 32, 1000])
def test_greenlist_mask(where: str, vocab: int) -> None:
    contexts = torch.randint(0, 1000, (5, 4), device=where)
    low, high = device.context_states(KEY, contexts)
    found = device.greenlist_mask(low, high, vocab, 5)
    expected = [
        [bool(b) for b in kernels.greenlist_mask(state, vocab, 5)]
        for state in states(low, high)
    ]

    assert found.tolist() == expected


@pytest.mark.parametrize("where", DEVICES)
def test_tournament_scale(where: str) -> None:
    """The same bits; sums in another order, so equal to rounding."""
    contexts = torch.randint(0, 1000, (6, 4), device=where)
    low, high = device.context_states(KEY, contexts)
    nonce = torch.randint(0, 64, (6,), device=where)
    p = torch.rand((6, 200), dtype=torch.float64)
    p[p < 0.7] = 0
    p /= p.sum(1, keepdim=True)
    found = device.tournament_scale(p.to(where), low, high, nonce, 30).cpu().numpy()
    for row, new, state, n in zip(
        p.numpy(), found, states(low, high), nonce.tolist(), strict=True
    ):
        tokens = np.flatnonzero(row).astype(np.uint32)
        expected = row[tokens]
        kernels.tournament_scale(expected, tokens, state, n, 30)

        assert np.allclose(new[tokens], expected, rtol=0, atol=1e-9)
        assert not new[row == 0].any()
