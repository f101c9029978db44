"""Kernels of foreign engines: equal to their reference, and to published vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watermark import kernels
from watermark.kernels import reference_engines as reference

TOKENS = st.lists(st.integers(0, 3), max_size=60) | st.lists(
    st.integers(0, 2**32 - 1), max_size=40
)
WIDTH = st.integers(1, 9) | st.sampled_from([63, 64])
KEY = st.integers(0, 2**64 - 1)
# MurmurHash3_x86_32, seed 0, of four-byte blocks (SMHasher's own test vectors).
MURMUR = {(): 0, (0,): 0x2362F9DE, (0x87654321,): 0xF55B516B, (0x64636261,): 0x43ED676A}
SHOWN = settings(max_examples=60, deadline=None)


def uint32(values: list[int]) -> np.ndarray:
    return np.asarray(values, dtype=np.uint32)


def uint64(values: list[int]) -> np.ndarray:
    return np.asarray(values, dtype=np.uint64)


def same(found: Any, expected: Any) -> bool:
    """Whether two pairs of arrays have equal dtypes, shapes and values."""
    return all(
        a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b)
        for a, b in zip(found, expected, strict=True)
    )


@SHOWN
@given(TOKENS, st.lists(KEY, min_size=1, max_size=2), WIDTH, st.data())
def test_vllm_words(
    tokens: list[int], keys: list[int], width: int, data: st.DataObject
) -> None:
    skip = data.draw(st.integers(0, len(tokens)))
    found = kernels.vllm_words(uint32(tokens), uint64(keys), width, skip)

    assert same(found, reference.vllm_words(tokens, keys, width, skip))


@SHOWN
@given(TOKENS, st.lists(KEY, min_size=1, max_size=2), WIDTH, st.data())
def test_sglang_words(
    tokens: list[int], keys: list[int], width: int, data: st.DataObject
) -> None:
    skip = data.draw(st.integers(0, len(tokens)))
    coin = data.draw(st.sampled_from([0, 1 << 31, 3 << 30, 1 << 32]))
    found = kernels.sglang_words(uint32(tokens), uint64(keys), width, coin, skip)

    assert same(found, reference.sglang_words(tokens, keys, width, coin, skip))


@SHOWN
@given(TOKENS, st.lists(st.tuples(KEY, KEY), max_size=20), WIDTH, st.data())
def test_sglang_sums(
    tokens: list[int], pairs: list[tuple[int, int]], width: int, data: st.DataObject
) -> None:
    columns = data.draw(st.integers(1, 2))
    skip = data.draw(st.integers(0, len(tokens)))
    coin = data.draw(st.sampled_from([0, 1, 1 << 31, 3 << 30, 1 << 32]))
    keys = np.asarray(pairs, np.uint64).reshape(len(pairs), 2)[:, :columns].copy()
    found = kernels.sglang_sums(uint32(tokens), keys, width, coin, skip)

    assert same([found], [reference.sglang_sums(tokens, keys, width, coin, skip)])


@SHOWN
@given(st.lists(st.integers(0, 2**32 - 1), max_size=100), st.integers(1, 3))
def test_word_sums(words: list[int], columns: int) -> None:
    table = uint32(words[: len(words) // columns * columns]).reshape(-1, columns)

    assert same([kernels.word_sums(table)], [reference.word_sums(table)])
    expected = -np.log1p(table / -(2.0**32)).sum(axis=0)
    assert kernels.word_sums(table) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@SHOWN
@given(st.lists(KEY, max_size=40), st.lists(KEY, max_size=5))
def test_textseal_sums(sums: list[int], offsets: list[int]) -> None:
    terms = np.random.default_rng(0).random(reference.TEXTSEAL_WORDS)
    found = kernels.textseal_sums(uint64(sums), uint64(offsets), terms)

    assert same([found], [reference.textseal_sums(sums, offsets, terms)])


@SHOWN
@given(TOKENS, st.lists(KEY, min_size=1, max_size=8), WIDTH, KEY, st.data())
def test_synthid_states_and_bits(
    tokens: list[int], keys: list[int], width: int, start: int, data: st.DataObject
) -> None:
    skip = data.draw(st.integers(0, len(tokens)))
    found = kernels.synthid_states(uint32(tokens), start, width, skip)
    bits = kernels.synthid_bits(found[1], uint64(keys))

    assert same(found, reference.synthid_states(tokens, start, width, skip))
    assert same([bits], [reference.synthid_bits(found[1], keys)])


@pytest.mark.parametrize("words", MURMUR)
def test_murmur3_gives_the_published_vectors(words: tuple[int, ...]) -> None:
    assert reference.murmur3(words) == MURMUR[words]


def test_a_token_of_the_text_is_padding_to_nobody() -> None:
    """The first contexts of a text are padded, and none reaches into the prompt."""
    text, prompt = [5, 6, 7, 8, 9], [1, 2, 3, 4]
    alone = kernels.vllm_words(uint32(text), uint64([42]), 4)
    after = kernels.vllm_words(uint32(prompt + text), uint64([42]), 4, len(prompt))

    assert alone[0].tolist() == [0, 1, 2, 3, 4]
    assert after[0].tolist() == [4, 5, 6, 7, 8]
    assert np.array_equal(alone[1], after[1])


def test_a_context_of_sglang_begins_in_the_prompt() -> None:
    text, prompt = [5, 6, 7, 8, 9], [1, 2, 3]
    both = uint32(prompt + text)

    assert kernels.sglang_words(uint32(text), uint64([1]), 4)[0].tolist() == [4]
    assert kernels.sglang_words(both, uint64([1]), 4, 0, 3)[0].tolist() == [
        3,
        4,
        5,
        6,
        7,
    ]


@pytest.mark.parametrize(
    "draw",
    [
        lambda ids, skip: kernels.vllm_words(ids, uint64([1]), 4, skip),
        lambda ids, skip: kernels.sglang_words(ids, uint64([1]), 4, 0, skip),
        lambda ids, skip: kernels.synthid_states(ids, 1, 4, skip),
    ],
    ids=["vllm", "sglang", "synthid"],
)
def test_what_the_prompt_says_is_not_counted_again(draw: Callable[..., Any]) -> None:
    prompt, text = list(range(30)), list(range(100, 130))
    fresh = draw(uint32(prompt + text), 30)[0]
    quoting = draw(uint32(prompt + text + prompt), 30)[0]

    # The quotation adds its first four tokens alone: the pairs of those are new.
    assert np.array_equal(quoting[: len(fresh)], fresh)
    assert len(quoting) == len(fresh) + 4


def test_arguments_that_do_not_fit_are_refused() -> None:
    ids = uint32([1, 2, 3])
    for call in (
        lambda: kernels.vllm_words(ids, uint64([1]), 0),
        lambda: kernels.vllm_words(ids, uint64([1]), 65),
        lambda: kernels.vllm_words(ids, uint64([1]), 4, 4),
        lambda: kernels.vllm_words(ids, uint64([1]), 4, -1),
        lambda: kernels.sglang_words(ids, uint64([1, 2, 3]), 4),
        lambda: kernels.sglang_words(ids, uint64([]), 4),
        lambda: kernels.sglang_words(ids, uint64([1]), 4, 0, 9),
        lambda: kernels.sglang_sums(ids, uint64([1, 2, 3]).reshape(1, 3), 4),
        lambda: kernels.sglang_sums(ids, uint64([1]).reshape(1, 1), 4, 0, 9),
        lambda: kernels.textseal_sums(uint64([1]), uint64([1]), np.zeros(8190)),
        lambda: kernels.synthid_states(ids, 1, 65),
    ):
        with pytest.raises(ValueError, match="expected"):
            call()
