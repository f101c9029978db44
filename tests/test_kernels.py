"""Every compiled kernel equals its plain-Python reference, bit for bit."""

from __future__ import annotations

import hashlib
import math
import struct
import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watermark import kernels
from watermark.kernels import reference, reference_noise

KEY = st.binary(min_size=16, max_size=16)
TOKENS = st.lists(st.integers(0, 40), max_size=120) | st.lists(
    st.integers(0, 2**32 - 1), max_size=60
)
# Reference implementation's vectors_sip128: key 00..0f, input 00..(n-1).
SIPHASH = {
    0: "a3817f04ba25a8e66df67214c7550293",
    1: "da87c1d86b99af44347659119b22fc45",
}
# Random123 known-answer tests, philox4x32 10 rounds.
PHILOX = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    (
        (0xFFFFFFFF,) * 4,
        (0xFFFFFFFF,) * 2,
        (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def uint32(values: list[int]) -> np.ndarray:
    return np.asarray(values, dtype=np.uint32)


def test_the_backend_is_compiled() -> None:
    assert kernels.BACKEND == "cython"


@pytest.mark.parametrize("size", SIPHASH)
def test_siphash_gives_the_published_vectors(size: int) -> None:
    expected = bytes.fromhex(SIPHASH[size])
    key, data = bytes(range(16)), bytes(range(size))

    assert reference.siphash128(key, data) == expected
    assert kernels.siphash128(key, data) == expected


@pytest.mark.parametrize(("counter", "key", "expected"), PHILOX)
def test_philox_gives_the_published_vectors(
    counter: tuple[int, int, int, int],
    key: tuple[int, int],
    expected: tuple[int, int, int, int],
) -> None:
    state = struct.pack("<IIII", *key, *counter[2:])

    assert reference.philox4x32(counter, key) == expected
    assert kernels.words(state, counter[0], counter[1]) == expected


@given(KEY, st.binary(max_size=70))
def test_siphash(key: bytes, data: bytes) -> None:
    assert kernels.siphash128(key, data) == reference.siphash128(key, data)


@given(KEY, st.integers(0, 2**32 - 1), st.integers(0, 30))
def test_stream(state: bytes, nonce: int, count: int) -> None:
    assert kernels.stream(state, nonce, count) == reference.stream(state, nonce, count)


@given(KEY, st.lists(st.integers(0, 2**32 - 1), max_size=9))
def test_context_state(key: bytes, context: list[int]) -> None:
    expected = reference.context_state(key, context)

    assert kernels.context_state(key, uint32(context)) == expected


@settings(max_examples=60, deadline=None)
@given(KEY, TOKENS, st.integers(1, 6), st.integers(0, 5), st.data())
def test_gumbel_score(
    key: bytes, tokens: list[int], width: int, bits: int, data: st.DataObject
) -> None:
    skip = data.draw(st.integers(0, len(tokens)))
    expected = reference.gumbel_score(tokens, key, width, bits, skip)

    assert reference.gumbel_score(uint32(tokens), key, width, bits, skip) == expected
    assert kernels.gumbel_score(uint32(tokens), key, width, bits, skip) == expected


@settings(max_examples=40, deadline=None)
@given(KEY, TOKENS, st.integers(1, 6), st.integers(0, 5), st.data())
def test_gumbel_terms_and_words(
    key: bytes, tokens: list[int], width: int, bits: int, data: st.DataObject
) -> None:
    ids, skip = uint32(tokens), data.draw(st.integers(0, len(tokens)))
    for name in ("token_words", "gumbel_terms"):
        found = getattr(kernels, name)(ids, key, width, bits, skip)
        expected = getattr(reference, name)(ids, key, width, bits, skip)

        for one, other in zip(found, expected, strict=True):
            assert (one.dtype, one.shape) == (other.dtype, other.shape)
            assert np.array_equal(one, other)


def test_the_terms_add_up_to_the_score() -> None:
    ids = np.random.default_rng(3).integers(0, 9, 500).astype(np.uint32)
    n, sums = kernels.gumbel_score(ids, bytes(16), 3, 4, 50)
    positions, terms = kernels.gumbel_terms(ids, bytes(16), 3, 4, 50)

    assert len(positions) == n
    assert np.allclose(terms.sum(0), sums, rtol=1e-12)


def test_contexts_of_the_prompt_are_not_scored() -> None:
    """Neither a repeated prompt, nor a context that spans the boundary."""
    prompt = list(range(100, 120))
    ids = uint32([*prompt, 1, 2, 3, 4, *prompt, 5])
    positions, _ = kernels.token_words(ids, bytes(16), 3, 0, skip=20)
    # 1 2 3 4 and the windows up to "102" are new; those wholly of the prompt are not,
    # but the last of them, 117 118 119, closes the prompt and is not new either. The
    # token 102 is left out too: it ends a phrase of the prompt, 100 101 102.
    assert positions.tolist() == [23, 24, 25]
    assert kernels.greenlist_count(ids, bytes(16), 3, 4, 20)[0] == 5


def test_a_phrase_of_the_last_128_tokens_is_not_scored() -> None:
    """Its tokens' contexts are new, and count as used all the same."""
    phrase, rest = [1, 2, 3], list(range(1000, 1124))
    for gap, again in ((124, False), (125, True), (126, True)):
        filler = [*rest, 2000, 2001][:gap]
        ids = uint32([9, *phrase, *filler, 8, *phrase, 7])
        positions, _ = kernels.token_words(ids, bytes(16), 4, 0)
        third = len(ids) - 2  # the second 3; at 128 tokens from the first it is old

        assert (third in positions) == again
        assert {third - 1, third + 1} <= set(positions.tolist())


def test_everything_skipped_is_nothing_scored() -> None:
    ids = uint32(list(range(30)))

    assert kernels.gumbel_score(ids, bytes(16), 4, 0, 30) == (0, [0.0])
    assert kernels.greenlist_count(ids, bytes(16), 4, 4, 30) == (0, 0)


@settings(max_examples=60, deadline=None)
@given(KEY, TOKENS, st.integers(1, 6), st.integers(0, 16), st.data())
def test_greenlist_count(
    key: bytes, tokens: list[int], width: int, gamma: int, data: st.DataObject
) -> None:
    ids, skip = uint32(tokens), data.draw(st.integers(0, len(tokens)))
    expected = reference.greenlist_count(tokens, key, width, gamma, skip)

    assert reference.greenlist_count(ids, key, width, gamma, skip) == expected
    assert kernels.greenlist_count(ids, key, width, gamma, skip) == expected


@settings(deadline=None)
@given(KEY, st.integers(0, 200), st.integers(0, 16))
def test_greenlist_mask(state: bytes, vocab: int, gamma: int) -> None:
    expected = reference.greenlist_mask(state, vocab, gamma)

    assert kernels.greenlist_mask(state, vocab, gamma) == expected


LOGITS = st.lists(
    st.floats(-60, 60, width=32) | st.just(-math.inf), min_size=1, max_size=150
)


@settings(deadline=None)
@given(LOGITS, KEY, st.integers(0, 16), st.floats(0, 10, width=32))
def test_greenlist_bias(
    logits: list[float], state: bytes, gamma: int, delta: float
) -> None:
    one = np.asarray(logits, dtype=np.float32)
    other = one.copy()

    found = kernels.greenlist_bias(one, state, gamma, delta)
    expected = reference.greenlist_bias(other, state, gamma, float(np.float32(delta)))

    assert found == expected
    assert np.array_equal(one, other)


@settings(deadline=None)
@given(LOGITS, KEY, st.integers(0, 255), st.integers(-1, 255))
def test_gumbel_select(
    logits: list[float], state: bytes, nonce: int, symbol: int
) -> None:
    row = np.asarray(logits, dtype=np.float32)
    expected = reference.gumbel_select(row.tolist(), state, nonce, symbol)

    assert kernels.gumbel_select(row, state, nonce, symbol) == expected


def test_gumbel_select_on_a_wide_row() -> None:
    """More than one chunk of the kernel, survivors far apart, ends not aligned."""
    rng = np.random.default_rng(5)
    for size, kept in [(9_001, 40), (9_001, 9_001), (4_096, 3), (64, 64)]:
        row = np.full(size, -np.inf, np.float32)
        where = rng.choice(size, kept, replace=False)
        row[where] = rng.normal(0, 3, kept)
        row[-1] = row.max()

        expected = reference.gumbel_select(row.tolist(), bytes(16), 3)
        assert kernels.gumbel_select(row, bytes(16), 3) == expected


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([0.0, math.nan], -1),
        ([math.inf, 0.0], -1),
        ([-math.inf, math.nan], -1),
        ([-math.inf, -math.inf], -2),
    ],
)
def test_logits_that_cannot_be_sampled_are_told(
    row: list[float], expected: int
) -> None:
    for module in (kernels, reference):
        logits = np.asarray(row, dtype=np.float32)

        assert module.gumbel_select(logits, bytes(16), 0) == expected


def test_gumbel_noise_is_the_gumbel_quantile() -> None:
    """Within 5e-6 nats of the exact quantile, at both ends and in between."""
    rng = np.random.default_rng(1)
    words = [0, 1, 2, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1]
    words += [int(w) for w in rng.integers(0, 2**32, 2000)]
    words += [int(2 ** rng.uniform(0, 32)) for _ in range(2000)]
    words += [2**32 - int(2 ** rng.uniform(0, 32)) for _ in range(2000)]
    for word in words:
        y = 2 * word + 1
        exponential = -math.log(y / 2**33)
        if y > 2**32:
            exponential = -math.log1p(-(2**33 - y) / 2**33)
        error = reference.gumbel_noise(word) / 2**24 + math.log(exponential)

        assert abs(error) < 5e-6


def test_gumbel_noise_tables_are_the_same_everywhere() -> None:
    """A platform whose logarithm rounds otherwise would choose other tokens."""
    data = reference.NOISE_LOW.tobytes() + reference.NOISE_HIGH.tobytes()

    assert hashlib.sha256(data).hexdigest()[:16] == "a6c95ed67e219ae0"


@settings(max_examples=15, deadline=None)
@given(KEY, st.integers(1, 140), st.integers(0, 6), st.integers(1, 20), st.data())
def test_pilot_search(
    state: bytes, count: int, bits: int, keep: int, data: st.DataObject
) -> None:
    element = st.integers(-1024, 1024)
    weights = data.draw(st.lists(element, min_size=count, max_size=count))
    expected = reference_noise.pilot_search(weights, state, bits, keep)
    found = kernels.pilot_search(np.asarray(weights, np.int32), state, bits, keep)

    assert found == expected


@settings(deadline=None)
@given(st.lists(st.integers(0, 65535), max_size=90), st.binary(min_size=8, max_size=8))
def test_code_bits(masks: list[int], mark_id: bytes) -> None:
    expected = reference_noise.code_bits(masks, mark_id)

    assert kernels.code_bits(np.asarray(masks, np.uint16), mark_id) == expected


@pytest.mark.parametrize("seed", range(2))
def test_trellis_decode(seed: int) -> None:
    """One weak signal and one of noise alone: equal in every step either way."""
    rng = np.random.default_rng(seed)
    masks = rng.integers(0, 65536, 600).astype(np.uint16)
    bits = np.frombuffer(kernels.code_bits(masks, rng.bytes(8)), np.uint8)
    signal = 200 * seed * (1 - 2 * bits.astype(np.int32))
    values = (signal + rng.normal(0, 300, 600)).astype(np.int32)
    expected = reference_noise.trellis_decode(masks, values)

    assert kernels.trellis_decode(masks, values) == expected


@pytest.mark.parametrize("bits", [16, 256])
def test_a_clean_mark_id_is_decoded(bits: int) -> None:
    rng = np.random.default_rng(bits)
    masks = rng.integers(0, 65536, 8 * bits).astype(np.uint16)
    mark_id = rng.bytes(8)
    coded = np.frombuffer(kernels.code_bits(masks, mark_id), np.uint8)
    values = (1 - 2 * coded.astype(np.int32)).astype(np.int32)

    total, decoded = kernels.trellis_decode(masks, values)

    assert (total, decoded) == (8 * bits, mark_id)


def test_sizes_that_would_leave_the_buffers_are_refused() -> None:
    state, ids = bytes(16), uint32([1, 2])
    calls: list[Callable[[], object]] = [
        lambda: kernels.siphash128(b"short", b""),
        lambda: kernels.words(b"short", 0, 0),
        lambda: kernels.stream(state, 0, -1),
        lambda: kernels.context_state(b"short", ids),
        lambda: kernels.gumbel_score(ids, b"short", 1, 0),
        lambda: kernels.gumbel_score(ids, state, 0, 0),
        lambda: kernels.gumbel_score(ids, state, 1, 9),
        lambda: kernels.gumbel_score(ids, state, 1, 0, 3),
        lambda: kernels.gumbel_terms(ids, state, 1, 0, -1),
        lambda: kernels.token_words(ids, state, 1, -1),
        lambda: kernels.gumbel_select(np.zeros(3, np.float32), state, 256, 0),
        lambda: kernels.gumbel_select(np.zeros(3, np.float32), state, 0, 256),
        lambda: kernels.greenlist_count(ids, state, 64, 4),
        lambda: kernels.greenlist_count(ids, state, 1, 4, 3),
        lambda: kernels.greenlist_mask(b"short", 3, 4),
        lambda: kernels.pilot_search(np.full(3, 2000, np.int32), state, 2, 1),
        lambda: kernels.pilot_search(np.zeros(3, np.int32), state, 2, 257),
        lambda: kernels.code_bits(np.zeros(3, np.uint16), b"short"),
        lambda: kernels.trellis_decode(np.zeros(3, np.uint16), np.zeros(2, np.int32)),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"expected|outside|too large"):
            call()


def test_no_text_makes_all_phrases_share_a_place() -> None:
    """These 40 ids fell into one 64th of a table whose places were not keyed.

    Every text of theirs took time quadratic in its length: here 1,000 times as long as
    a text of any other ids.
    """
    ids = np.arange(1 << 26, dtype=np.uint64)
    for odd in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9):
        product = ids * np.uint64(odd)
        product ^= product >> np.uint64(32)
        ids = ids[(product & np.uint64((1 << 17) - 1)) >> np.uint64(11) == 0]
    order = np.random.default_rng(0).integers(0, 40, 60_000)
    hostile, plain = ids[order].astype(np.uint32), order.astype(np.uint32)

    def seconds(text: np.ndarray) -> float:
        start = time.thread_time()
        kernels.gumbel_score(text, bytes(16), 4, 0)
        return time.thread_time() - start

    least = min(seconds(plain) for _ in range(3))
    assert min(seconds(hostile) for _ in range(3)) < 20 * least + 0.05
