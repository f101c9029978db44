"""The kernels of the sign code equal their reference, in every variant of the loops."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watermark import kernels
from watermark.kernels import BACKEND, reference_noise, stream

if BACKEND != "cython":
    pytest.skip("built without a compiler", allow_module_level=True)

from watermark.kernels import _lanes, _noise


@pytest.fixture(params=range(-1, 4))
def variant(request: pytest.FixtureRequest) -> Iterator[int]:
    if not _lanes.force(request.param):
        pytest.skip("not on this processor")
    yield request.param
    _lanes.force(-1)


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=16, max_size=16), st.integers(0, 300))
def test_keyed_order(state: bytes, size: int) -> None:
    expected = reference_noise.keyed_order(state, size)

    assert _noise.keyed_order(state, size) == expected


@pytest.mark.parametrize("size", [4096, 100_003])
def test_keyed_order_is_the_stable_sort_of_the_words(size: int) -> None:
    state = bytes(range(16))
    words = np.frombuffer(stream(state, 0, 2 * size), "<u8")
    found = np.frombuffer(_noise.keyed_order(state, size), "<i8")

    assert np.array_equal(found, np.argsort(words, kind="stable"))


@pytest.mark.parametrize(
    ("count", "bits", "keep"), [(1, 3, 2), (300, 7, 1), (2500, 6, 1)]
)
def test_searches(variant: int, count: int, bits: int, keep: int) -> None:
    rng = np.random.default_rng(count)
    weights = rng.integers(-1024, 1025, count).astype(np.int32)
    state, nonces = rng.bytes(16), rng.bytes(12 * ((1 << bits) - 3))

    assert _noise.pilot_search(
        weights, state, bits, keep
    ) == reference_noise.pilot_search(weights, state, bits, keep)
    assert _noise.listed_search(
        weights, state, nonces, keep
    ) == reference_noise.listed_search(weights, state, nonces, keep)


@pytest.mark.parametrize("rho", [0.0, 0.05, 0.3])
def test_a_quick_pass_goes_first_where_the_pilot_is_long(rho: float) -> None:
    """Ended by it at 0.3, not by noise; equal either way."""
    rng = np.random.default_rng(1)
    count, state = 13_200, rng.bytes(16)
    packed = np.frombuffer(stream(state, 5, (count + 31) // 32), np.uint8)
    bits = np.unpackbits(packed, bitorder="little")[:count]
    weights = 200 * (rho * (1.0 - 2 * bits) + rng.normal(0, 1, count))
    weights = weights.clip(-1024, 1024).astype(np.int32)
    found = _noise.pilot_search(weights, state, 5, 1)

    assert found == reference_noise.pilot_search(weights, state, 5, 1)
    assert rho == 0 or found[0][1] == 5


def test_no_nonces_on_file_are_found() -> None:
    weights = np.ones(40, np.int32)

    assert _noise.listed_search(weights, bytes(16), b"", 3) == []
    assert reference_noise.listed_search(weights, bytes(16), b"", 3) == []


def test_sums_of_several_arrays() -> None:
    rng = np.random.default_rng(2)
    weights = rng.integers(-1024, 1025, (700, 3)).astype(np.int32)
    order, state = rng.bytes(16), rng.bytes(16)
    found = _noise.pilot_sums(weights, order, state, 9)

    assert found == reference_noise.pilot_sums(weights, order, state, 9)


def test_rivals_are_the_ids_of_one_other_byte() -> None:
    rng = np.random.default_rng(3)
    masks = rng.integers(0, 65536, 400).astype(np.uint16)
    values = rng.normal(0, 300, 400).astype(np.int32)
    mark_id = rng.bytes(8)
    found = _noise.trellis_rivals(masks, values, mark_id)

    assert found == reference_noise.trellis_rivals(masks, values, mark_id)
    for i, b in ((0, 0), (3, 77), (7, 255)):
        other = mark_id[:i] + bytes([b]) + mark_id[i + 1 :]
        bits = np.frombuffer(kernels.code_bits(masks, other), np.uint8)
        assert found[i][b] == int((values * (1 - 2 * bits.astype(np.int32))).sum())


def test_sizes_that_would_leave_the_buffers_are_refused() -> None:
    w, state, masks = np.ones(5, np.int32), bytes(16), np.zeros(3, np.uint16)
    calls: list[Callable[[], object]] = [
        lambda: _noise.keyed_order(b"short", 3),
        lambda: _noise.keyed_order(state, -1),
        lambda: _noise.listed_search(w, b"short", bytes(12), 1),
        lambda: _noise.listed_search(w, state, bytes(13), 1),
        lambda: _noise.listed_search(w, state, bytes(12), 0),
        lambda: _noise.listed_search(2000 * w, state, bytes(12), 1),
        lambda: _noise.pilot_search(np.full(1 << 20, 1024, np.int32), state, 0, 1),
        lambda: _noise.pilot_sums(np.ones((5, 2), np.int32), b"short", state, 0),
        lambda: _noise.trellis_rivals(masks, np.zeros(3, np.int32), b"short"),
        lambda: _noise.trellis_rivals(masks, np.zeros(2, np.int32), bytes(8)),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"expected|outside|too large"):
            call()
