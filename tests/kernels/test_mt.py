"""The Mersenne Twister kernels equal their reference, and torch's CPU generator."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from watermark import kernels
from watermark.kernels import reference_mt

# The authors' mt19937ar.c after init_genrand(5489): words 1 and 2, and word 10,000 as
# the C++ standard has it ([rand.predef]).
WORDS = {0: 3499211612, 1: 581869302, 9999: 4123659995}
SEED = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("place", WORDS)
def test_known_words(place: int) -> None:
    assert kernels.mt_words(5489, place + 1)[place] == WORDS[place]
    assert reference_mt.mt_words(5489, place + 1)[place] == WORDS[place]


@given(seed=st.integers(0, 2**64), count=st.integers(0, 1300))
@settings(max_examples=20, deadline=None)
def test_words_equal_the_reference(seed: int, count: int) -> None:
    expected = reference_mt.mt_words(seed, count)

    assert kernels.mt_words(seed, count).tolist() == expected.tolist()
    assert kernels.mt_words(seed & 0xFFFFFFFF, count).tolist() == expected.tolist()


@given(seed=SEED, n=st.integers(1, 700), share=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_permutations_and_masks_equal_the_reference(
    seed: int, n: int, share: float
) -> None:
    count = int(share * n)
    expected = reference_mt.mt_permutation(seed, n, count)
    mask = kernels.mt_mask(seed, n, count)

    assert kernels.mt_permutation(seed, n, count).tolist() == expected.tolist()
    assert mask.tolist() == reference_mt.mt_mask(seed, n, count).tolist()
    assert np.flatnonzero(np.unpackbits(mask, bitorder="little")).tolist() == sorted(
        expected.tolist()
    )


@given(
    pairs=st.lists(st.tuples(st.sampled_from([0, 5, 9]), st.integers(0, 60))),
    n=st.integers(1, 50),
    share=st.floats(0, 1),
)
@settings(max_examples=40, deadline=None)
def test_members_equal_the_reference(
    pairs: list[tuple[int, int]], n: int, share: float
) -> None:
    """Seeds in any order, the same pair twice, and tokens that no list has."""
    count = int(share * n)
    seeds, tokens = (np.asarray([p[i] for p in pairs], np.uint32) for i in (0, 1))
    found = kernels.mt_members(seeds, tokens, n, count).tolist()

    assert found == reference_mt.mt_members(seeds, tokens, n, count).tolist()
    assert found == [
        int(t in reference_mt.mt_permutation(s, n, count)) for s, t in pairs
    ]


@pytest.mark.parametrize(("seed", "n"), [(0, 1), (1, 2), (7, 50257), (2**32 - 1, 4096)])
def test_a_permutation_is_torchs(seed: int, n: int) -> None:
    generator = torch.Generator()
    generator.manual_seed(seed)
    expected = torch.randperm(n, generator=generator).tolist()

    assert kernels.mt_permutation(seed, n, n).tolist() == expected


@pytest.mark.parametrize("module", [kernels, reference_mt])
@pytest.mark.parametrize(("n", "count"), [(0, 0), (5, 6), (5, -1), (2**27 + 1, 1)])
def test_lengths_outside_the_range_are_refused(
    module: object, n: int, count: int
) -> None:
    none = np.zeros(0, np.uint32)
    for call in ("mt_permutation", "mt_mask"):
        with pytest.raises(ValueError, match="length"):
            getattr(module, call)(1, n, count)
    with pytest.raises(ValueError, match="length"):
        module.mt_members(none, none, n, count)  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="seeds"):
        module.mt_members(none, np.zeros(1, np.uint32), 5, 2)  # type: ignore[attr-defined]


def test_the_callers_tokens_are_not_written() -> None:
    tokens = np.arange(50, dtype=np.uint32)
    kernels.mt_members(np.zeros(50, np.uint32), tokens, 50, 25)

    assert tokens.tolist() == list(range(50))
