"""The words of foreign engines' generators, in plain Python: see `reference`.

What each engine calls a context, and which tokens it keys, is part of the definition:

* vLLM (0.33, ``philox4x32-10-v1``): the last tokens of the output alone, padded with
  0xFFFFFFFF before there are enough; keyed from the first token on.
* SGLang (0.5.23, MurmurHash3 x86-32): the last tokens of prompt and output together.
* SynthID-Text (after June 2025): a linear congruential hash and twelve mixing rounds.

Both Gumbel engines key the first token after each context only. A pair of context and
token that stands in the prompt already is left out: a quotation is no evidence.

Sources: Philox4x32-10 (Salmon et al., SC 2011), MurmurHash3_x86_32 (Appleby, public
domain), SynthID-Text (Dathathri et al., Nature 634, 2024) and its reference
implementation's bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from watermark.kernels.reference import (
    MASK32,
    MASK64,
    Numbers,
    integers,
    philox4x32,
)

MOST_WIDTH = 64  # tokens of context
PADDING = MASK32  # vLLM's -1
CONTEXT_DOMAIN, TOKEN_DOMAIN = 0x574D4358, 0x574D544B  # "WMCX", "WMTK"
VLLM_BITS = 24  # the bits of a word that vLLM makes u from
LCG_MULTIPLIER, LCG_INCREMENT = 6364136223846793005, 1  # newlib's and musl's
MIXING_ROUNDS, MIXING_SHIFT, MIXING_BIT = 12, 5, 30
TEXTSEAL_MULTIPLIER, TEXTSEAL_SHIFT = 15485863 * 40499, 13
TEXTSEAL_WORDS = 2**13 - 1
FACTORS = 31  # of a product before its logarithm: none is below 2**-32

Words = tuple[NDArray[np.uint32], NDArray[np.uint32]]


def check_window(count: int, width: int, skip: int) -> None:
    """Raise `ValueError` for a width or a prompt that cannot be."""
    if not 1 <= width <= MOST_WIDTH:
        raise ValueError(f"the context width is {width}, expected 1 to {MOST_WIDTH}")
    if not 0 <= skip <= count:
        raise ValueError(f"skip is {skip}, expected 0 to {count}")


# --- vLLM ----------------------------------------------------------------------------


def vllm_words(tokens: Numbers, keys: Numbers, width: int, skip: int = 0) -> Words:
    """What vLLM makes u from, for the first token after each context.

    The high 24 bits of each word count: vLLM's u is ``(word >> 8) + 1`` over
    2**24 + 1. So ``word / 2**32`` is at most u, and under a random key its
    ``-log(1 - u)`` is at most an exponential variable.

    Args:
        tokens: ids in [0, 2**32).
        keys: integers below 2**64; one column for each.
        width: tokens of context, 1 to 64.
        skip: tokens of prompt at the start: not scored, and no part of a context.

    Returns:
        (positions, words): indices into `tokens`, rising, uint32 (n,); and uint32
        (n, keys), the low eight bits zero.
    """
    tokens, keys = integers(tokens), integers(keys)
    check_window(len(tokens), width, skip)
    padded = [PADDING] * width + tokens[skip:]
    quoted = {tuple(tokens[i - width : i + 1]) for i in range(width, skip)}
    seen: set[tuple[int, ...]] = set()
    positions, words = [], []
    for i in range(width, len(padded)):
        context = tuple(padded[i - width : i])
        if context in seen:
            continue
        seen.add(context)
        if (*context, padded[i]) not in quoted:
            positions.append(i - width + skip)
            words.append([_vllm_word(context, padded[i], key) for key in keys])
    return _columns(positions, words, len(keys))


def _vllm_word(context: Sequence[int], token: int, key: int) -> int:
    k0, k1 = key & MASK32, key >> 32
    state = (CONTEXT_DOMAIN, len(context), 0, 0)
    for offset in range(0, len(context), 4):
        block = list(context[offset : offset + 4])
        block += [MASK32 - i for i in range(len(block), 4)]
        a, b, c, d = (s ^ word for s, word in zip(state, block, strict=True))
        state = philox4x32((a, b, c, d), (k0 ^ offset, k1))
    counter = (token >> 2, state[0], state[1], state[2])
    word = philox4x32(counter, (k0 ^ state[3], k1 ^ TOKEN_DOMAIN))[token & 3]
    return word >> (32 - VLLM_BITS) << (32 - VLLM_BITS)


def word_sums(words: NDArray[np.uint32]) -> NDArray[np.float64]:
    """The sum of -log(1 - word / 2**32) in each column.

    The logarithm is of products of 31 factors.

    Args:
        words: uint32 (n, columns).

    Returns:
        float64 (columns,).
    """
    sums = np.zeros(words.shape[1])
    for j, column in enumerate(words.T.tolist()):
        for start in range(0, len(column), FACTORS):
            product = 1.0
            for word in column[start : start + FACTORS]:
                product *= (2.0**32 - word) * 2.0**-32
            sums[j] -= math.log(product)
    return sums


# --- SGLang --------------------------------------------------------------------------


def murmur3(words: Sequence[int]) -> int:
    """MurmurHash3_x86_32, seed 0, of 32-bit words as little-endian bytes."""
    h = 0
    for word in words:
        k = word * 0xCC9E2D51 & MASK32
        k = _rotl32(k, 15) * 0x1B873593 & MASK32
        h = (_rotl32(h ^ k, 13) * 5 + 0xE6546B64) & MASK32
    h ^= 4 * len(words)
    h = (h ^ h >> 16) * 0x85EBCA6B & MASK32
    h = (h ^ h >> 13) * 0xC2B2AE35 & MASK32
    return h ^ h >> 16


def _rotl32(x: int, n: int) -> int:
    return (x << n | x >> (32 - n)) & MASK32


def sglang_words(
    tokens: Numbers, keys: Numbers, width: int, threshold: int = 0, skip: int = 0
) -> Words:
    """What SGLang makes u from, for the first token after each context.

    SGLang's u is ``(word + 1/2) / 2**32``. The context is hashed without a key; two
    contexts with one hash count as one, as they do where SGLang generates.

    Args:
        tokens: ids in [0, 2**32).
        keys: one integer below 2**64, or two: a keyed coin gives each context to one.
        width: tokens of context, 1 to 64.
        threshold: key A owns the contexts whose coin is below it, 0 to 2**32.
        skip: tokens of prompt at the start: not scored, but contexts begin in them, and
            are shorter where the prompt is. Without a prompt the first `width` tokens
            are not scored, since what came before them is unknown.

    Returns:
        (positions, words): indices into `tokens`, rising, and the word under the key
        that owns the context; each uint32 (n,).
    """
    tokens, keys = integers(tokens), integers(keys)
    check_window(len(tokens), width, skip)
    if len(keys) not in (1, 2):
        raise ValueError(f"{len(keys)} keys were given, expected 1 or 2")
    quoted = {tuple(tokens[i - width : i + 1]) for i in range(width, skip)}
    seen: set[int] = set()
    positions, words = [], []
    for i in range(skip or min(width, len(tokens)), len(tokens)):
        context = tuple(tokens[max(0, i - width) : i])
        hashed = murmur3(context)
        if hashed in seen:
            continue
        seen.add(hashed)
        if (*context, tokens[i]) in quoted:
            continue
        key = keys[0]
        if len(keys) == 2 and murmur3([*_halves(*keys), hashed]) >= threshold:
            key = keys[1]
        positions.append(i)
        words.append(murmur3([*_halves(key), hashed, tokens[i]]))
    return np.asarray(positions, np.uint32), np.asarray(words, np.uint32)


def sglang_sums(
    tokens: Numbers,
    keys: NDArray[np.uint64],
    width: int,
    threshold: int = 0,
    skip: int = 0,
) -> NDArray[np.float64]:
    """The `word_sums` of the same tokens under each of many keys.

    Args:
        tokens: as for `sglang_words`, and so the others.
        keys: uint64 (m, 1) or (m, 2).
        width: tokens of context.
        threshold: of key A's coin.
        skip: tokens of prompt.

    Returns:
        float64 (m,).
    """
    drawn = (sglang_words(tokens, row, width, threshold, skip)[1] for row in keys)
    return np.asarray([word_sums(words[:, None])[0] for words in drawn], np.float64)


def _halves(*keys: int) -> Iterator[int]:
    for key in keys:
        yield key & MASK32
        yield key >> 32


# --- TextSeal ------------------------------------------------------------------------


def textseal_sums(
    sums: Numbers, offsets: Numbers, terms: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The sum of the terms of the words of all sums, for each key's offset.

    A word is the hash of one sum plus the offset, 0 to 8190.

    Args:
        sums: integers below 2**64: what contexts and tokens enter as.
        offsets: integers below 2**64: what a key adds to each.
        terms: float64 (8191,), one for each word.

    Returns:
        float64 (offsets,).

    Raises:
        ValueError: another number of terms.
    """
    if len(terms) != TEXTSEAL_WORDS:
        raise ValueError(f"{len(terms)} terms given, expected {TEXTSEAL_WORDS}")
    entered = np.asarray(integers(sums), np.uint64)
    totals = []
    for offset in np.asarray(integers(offsets), np.uint64):
        h = ((entered + offset) * np.uint64(TEXTSEAL_MULTIPLIER)).view(np.int64)
        words = (h ^ h >> TEXTSEAL_SHIFT) % TEXTSEAL_WORDS  # signed, and so the shift
        found = terms[words]
        totals.append(found.cumsum()[-1] if len(found) else 0.0)  # in their order
    return np.asarray(totals, np.float64)


# --- SynthID-Text --------------------------------------------------------------------


def lcg(state: int, values: Sequence[int]) -> int:
    """SynthID's hash: ``h <- (h + value) M + 1`` modulo 2**64, value by value."""
    for value in values:
        state = ((state + value) * LCG_MULTIPLIER + LCG_INCREMENT) & MASK64
    return state


def synthid_states(
    tokens: Numbers, start: int, width: int, skip: int = 0
) -> tuple[NDArray[np.uint32], NDArray[np.uint64]]:
    """The hash of context and token, for the first token after each context.

    Args:
        tokens: ids in [0, 2**32).
        start: the hash of nothing, below 2**64.
        width: tokens of context, 1 to 64.
        skip: tokens of prompt at the start: not scored, and no part of a context.

    Returns:
        (positions, states): indices into `tokens`, rising, uint32 (n,); uint64 (n,).
    """
    tokens = integers(tokens)
    check_window(len(tokens), width, skip)
    quoted = {tuple(tokens[i - width : i + 1]) for i in range(width, skip)}
    seen: set[tuple[int, ...]] = set()
    positions, states = [], []
    for i in range(skip + width, len(tokens)):
        context = tuple(tokens[i - width : i])
        if context in seen:
            continue
        seen.add(context)
        if (*context, tokens[i]) not in quoted:
            positions.append(i)
            states.append(lcg(start, (*context, tokens[i])))
    return np.asarray(positions, np.uint32), np.asarray(states, np.uint64)


def synthid_bits(states: Numbers, keys: Numbers) -> NDArray[np.uint8]:
    """The g values of synthid-text after June 2025.

    Args:
        states: from `synthid_states`, n of them.
        keys: integers below 2**64, one for each layer.

    Returns:
        uint8 (n, layers), 0 or 1.
    """
    keys = integers(keys)
    out = np.empty((len(states), len(keys)), np.uint8)
    for i, state in enumerate(integers(states)):
        for layer, key in enumerate(keys):
            h = lcg(state, (key,))
            for _ in range(MIXING_ROUNDS):
                h = lcg(h, (1,))
                if h >> 63:  # a signed shift
                    h -= 1 << 64
                h = (h >> MIXING_SHIFT) & MASK64
            out[i, layer] = h >> MIXING_BIT & 1
    return out


def _columns(positions: list[int], words: list[list[int]], count: int) -> Words:
    at = np.asarray(positions, np.uint32)
    return at, np.asarray(words, np.uint32).reshape(len(positions), count)
