"""Every variant of the loops that this machine can run gives the same bits.

The default one is held to the reference elsewhere; here each of the others is, too.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from watermark import kernels
from watermark.kernels import (
    _lanes,
    reference,
    reference_noise,
    reference_payload,
    reference_tournament,
)

VARIANTS = {"scalar": 0, "sse2": 1, "avx2": 2, "avx512": 3}


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> Iterator[str]:
    name = _lanes.force(VARIANTS[request.param])
    if name is None:
        pytest.skip(f"{request.param} does not run here")
    yield name
    _lanes.force(-1)


def test_the_variant_asked_for_is_the_one_in_use(
    variant: str, request: pytest.FixtureRequest
) -> None:
    assert variant == request.node.callspec.params["variant"]


def test_an_unknown_variant_changes_nothing() -> None:
    before = _lanes.force(-1)

    assert _lanes.force(4) is None
    assert _lanes.force(-2) is None
    assert _lanes.force(-1) == before


@pytest.mark.parametrize("length", [20, 37, 70])
def test_scores(variant: str, length: int) -> None:
    rng = np.random.default_rng(length)
    for width, bits, top in [(1, 0, 5), (2, 1, 5), (4, 4, 3), (5, 7, 2**32)]:
        key, ids = rng.bytes(16), rng.integers(0, top, length).astype(np.uint32)
        text = (ids, key, width)
        _, terms = kernels.gumbel_terms(*text, bits, 5)
        _, expected = reference.gumbel_terms(*text, bits, 5)

        assert np.array_equal(terms, expected)
        assert kernels.gumbel_score(*text, bits, 5) == reference.gumbel_score(
            *text, bits, 5
        )
        assert kernels.greenlist_count(*text, 5, 3) == reference.greenlist_count(
            *text, 5, 3
        )
        assert kernels.payload_presence(
            *text, bits
        ) == reference_payload.payload_presence(*text, bits)
        assert np.array_equal(
            kernels.role_words(*text)[1], reference_payload.role_words(*text)[1]
        )
        assert np.array_equal(
            kernels.tournament_bits(*text, bits, 30)[1],
            reference_tournament.tournament_bits(*text, bits, 30)[1],
        )
    found = kernels.payload_score(ids, key, 2, 2, 9)
    assert np.array_equal(
        found[3], reference_payload.payload_score(ids, key, 2, 2, 9)[3]
    )


@pytest.mark.parametrize("size", [1, 31, 64, 511, 512, 1100])
def test_rows_of_logits(variant: str, size: int) -> None:
    rng = np.random.default_rng(size)
    state = rng.bytes(16)
    row = rng.normal(0, 5, size).astype(np.float32)
    row[rng.random(size) < 0.4] = -np.inf
    for symbol in (-1, 77):
        expected = reference.gumbel_select(row.tolist(), state, 6, symbol)

        assert kernels.gumbel_select(row, state, 6, symbol) == expected
    for gamma in (0, 1, 5, 15, 16):
        one, other = row.copy(), row.copy()
        found = kernels.greenlist_bias(one, state, gamma, 1.25)

        assert found == reference.greenlist_bias(other, state, gamma, 1.25)
        assert np.array_equal(one, other)
    for place in (0, size - 1):
        broken = row.copy()
        broken[place] = np.nan

        assert kernels.gumbel_select(broken, state, 0) == -1
        for value in (np.nan, np.inf):
            broken[place] = value

            assert kernels.greenlist_bias(broken.copy(), state, 4, 1.0) == -1
            assert reference.greenlist_bias(broken.copy(), state, 4, 1.0) == -1


def test_codes_and_latents(variant: str) -> None:
    rng = np.random.default_rng(2)
    sums = rng.gamma(10, 1, (16, 256))
    weights = rng.integers(-1024, 1025, 200).astype(np.int32)
    state = rng.bytes(16)

    assert kernels.rs_decode(sums) == reference_payload.rs_decode(sums)
    assert kernels.trellis256_decode(
        sums[:8], 2
    ) == reference_payload.trellis256_decode(sums[:8], 2)
    assert kernels.pilot_search(weights, state, 7, 20) == reference_noise.pilot_search(
        weights, state, 7, 20
    )


def test_the_trellis_of_noise(variant: str) -> None:
    rng = np.random.default_rng(3)
    masks = rng.integers(0, 65536, 600).astype(np.uint16)
    mark_id = rng.bytes(8)
    bits = np.frombuffer(kernels.code_bits(masks, mark_id), np.uint8)
    values = (300 * (1 - 2 * bits.astype(np.int32)) + rng.normal(0, 300, 600)).astype(
        np.int32
    )
    total = int((values * (1 - 2 * bits.astype(np.int32))).sum())

    assert kernels.trellis_decode(masks, values) == (total, mark_id)
