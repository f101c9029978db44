"""Tournament kernels: equal to their reference; what a layer does to probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watermark import kernels
from watermark.kernels import reference_tournament

KEY = st.binary(min_size=16, max_size=16)
STATE = bytes(range(16))


@settings(max_examples=40, deadline=None)
@given(KEY, st.integers(0, 2**32 - 1), st.integers(0, 60), st.integers(1, 32))
def test_tournament_scale(state: bytes, nonce: int, count: int, layers: int) -> None:
    rng = np.random.default_rng(count)
    p = rng.dirichlet(np.ones(count)) if count else np.zeros(0)
    q, tokens = p.copy(), rng.integers(0, 2**32, count).astype(np.uint32)
    kernels.tournament_scale(p, tokens, state, nonce, layers)
    reference_tournament.tournament_scale(q, tokens, state, nonce, layers)

    assert np.array_equal(p, q)


@settings(max_examples=40, deadline=None)
@given(KEY, st.integers(1, 5), st.integers(0, 5), st.integers(1, 32), st.data())
def test_tournament_bits(
    key: bytes, width: int, bits: int, layers: int, data: st.DataObject
) -> None:
    tokens = data.draw(st.lists(st.integers(0, 30), max_size=60))
    skip = data.draw(st.integers(0, len(tokens)))
    ids = np.asarray(tokens, np.uint32)
    n, counts = kernels.tournament_bits(ids, key, width, bits, layers, skip)
    expected = reference_tournament.tournament_bits(ids, key, width, bits, layers, skip)

    assert n == expected[0]
    assert counts.dtype == np.int64
    assert counts.shape == (1 << bits, layers)
    assert np.array_equal(counts, expected[1])


def test_layers_keep_the_total_and_over_keys_the_distribution() -> None:
    """Each token's mean over 4,000 states is its probability: 5 standard errors."""
    p = np.asarray([0.5, 0.25, 0.15, 0.07, 0.03])
    tokens = np.arange(5, dtype=np.uint32)
    rows = np.tile(p, (4000, 1))
    for i, row in enumerate(rows):
        kernels.tournament_scale(row, tokens, i.to_bytes(16, "little"), 0, 30)

    assert np.allclose(rows.sum(1), 1, rtol=1e-12)
    assert rows.max(1).mean() > 0.9  # 30 layers all but choose one token
    assert (abs(rows.mean(0) - p) < 5 * rows.std(0) / 4000**0.5).all()


def test_one_layer_is_the_formula() -> None:
    p = np.asarray([0.6, 0.3, 0.1])
    tokens = np.asarray([5, 6, 7], np.uint32)
    bits = [kernels.words(STATE, int(t), 1)[2] >> 31 for t in tokens]
    mean = sum(q * g for q, g in zip([0.6, 0.3, 0.1], bits, strict=True))
    expected = [q * (1 + g - mean) for q, g in zip(p.tolist(), bits, strict=True)]
    kernels.tournament_scale(p, tokens, STATE, 6, 1)

    assert np.allclose(p, expected, rtol=1e-15)


def test_sizes_that_do_not_fit_are_refused() -> None:
    p, ids = np.ones(2), np.zeros(3, np.uint32)
    for call in (
        lambda: kernels.tournament_scale(p, ids, STATE, 0, 30),
        lambda: kernels.tournament_scale(p, ids[:2], STATE, 0, 33),
        lambda: kernels.tournament_scale(p, ids[:2], b"short", 0, 30),
        lambda: kernels.tournament_bits(ids, STATE, 1, 0, 0),
        lambda: kernels.tournament_bits(ids, STATE, 1, 9, 30),
        lambda: kernels.tournament_bits(ids, STATE, 1, 0, 30, 4),
    ):
        with pytest.raises(ValueError, match="expected"):
            call()
