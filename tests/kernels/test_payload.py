"""Payload kernels: equal to their reference, and codes that decode."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from watermark import kernels
from watermark.kernels import reference, reference_payload

ALPHA = reference_payload.ALPHA
KEY = st.binary(min_size=16, max_size=16)
TOKENS = st.lists(st.integers(0, 20), max_size=60) | st.lists(
    st.integers(0, 2**32 - 1), max_size=30
)
STATE = bytes(range(16))


def uint32(values: list[int]) -> NDArray[np.uint32]:
    return np.asarray(values, dtype=np.uint32)


def same(found: object, expected: object) -> bool:
    """Equal, arrays with their type and shape."""
    if isinstance(found, tuple) and isinstance(expected, tuple):
        return all(same(a, b) for a, b in zip(found, expected, strict=True))
    if isinstance(found, np.ndarray) and isinstance(expected, np.ndarray):
        return found.dtype == expected.dtype and np.array_equal(found, expected)
    return bool(found == expected)


def noisy(message: bytes, signal: float, seed: int) -> NDArray[np.float64]:
    """Sums in which the symbols of `message` stand out."""
    code = kernels.payload_symbols(message, 8 * len(message))
    sums = np.random.default_rng(seed).gamma(10, 1, (len(code), 256))
    sums[range(len(code)), list(code)] += signal
    return sums


@settings(max_examples=40, deadline=None)
@given(KEY, st.integers(0, 300), st.integers(0, 16))
def test_context_roles(state: bytes, positions: int, presence16: int) -> None:
    found = kernels.context_roles(state, positions, presence16)

    assert found == reference_payload.context_roles(state, positions, presence16)


@settings(max_examples=30, deadline=None)
@given(KEY, TOKENS, st.integers(1, 5), st.integers(0, 5), st.data())
def test_roles_and_presence(
    key: bytes, tokens: list[int], width: int, bits: int, data: st.DataObject
) -> None:
    ids, skip = uint32(tokens), data.draw(st.integers(0, len(tokens)))
    share = data.draw(st.integers(0, 16))

    assert same(
        kernels.role_words(ids, key, width, skip),
        reference_payload.role_words(ids, key, width, skip),
    )
    assert same(
        kernels.payload_presence(ids, key, width, bits, skip, share),
        reference_payload.payload_presence(ids, key, width, bits, skip, share),
    )


@settings(max_examples=12, deadline=None)
@given(KEY, TOKENS, st.integers(1, 4), st.integers(1, 5), st.data())
def test_payload_score(
    key: bytes, tokens: list[int], positions: int, width: int, data: st.DataObject
) -> None:
    """Few positions, so that a position's logarithms are taken more than once."""
    arguments = (
        uint32(tokens),
        key,
        width,
        positions,
        data.draw(st.integers(0, 255)),
        data.draw(st.integers(0, len(tokens))),
        data.draw(st.integers(0, 16)),
    )

    found = kernels.payload_score(*arguments)
    assert same(found, reference_payload.payload_score(*arguments))


def test_shares_of_the_roles_are_as_stated() -> None:
    """2/16 carry nothing, positions and owners are uniform: 5 standard deviations."""
    ids = np.arange(40_004, dtype=np.uint32)
    _, drawn = kernels.role_words(ids, STATE, 4)
    count = len(drawn)
    presence = (drawn[:, 0] >> 28 < 2).mean()
    data = drawn[drawn[:, 0] >> 28 >= 2]
    positions = np.bincount((data[:, 1].astype(np.uint64) * 16) >> 32, minlength=16)
    expected = len(data) / 16

    assert abs(presence - 2 / 16) < 5 * (2 / 16 * 14 / 16 / count) ** 0.5
    assert ((positions - expected) ** 2 / expected).sum() < 15 + 5 * 30**0.5
    assert abs((drawn[:, 2] >> 31).mean() - 0.5) < 5 * (0.25 / count) ** 0.5


def test_what_is_chosen_under_a_symbol_is_scored_under_it() -> None:
    """The generator's choice and the detector's sums speak of the same words."""
    message, rng = b"\x9c\x07\x51\xe2", np.random.default_rng(11)
    code = kernels.payload_symbols(message, 32)
    ids = rng.integers(0, 1000, 4).tolist()
    while len(ids) < 600:
        state = kernels.context_state(STATE, uint32(ids[-4:]))
        carries, position, _ = kernels.context_roles(state, 16)
        logits = rng.gumbel(size=50).astype(np.float32)
        symbol = code[position] if carries else -1
        ids.append(kernels.gumbel_select(logits, state, 3, symbol))
    n, total, counts, sums = kernels.payload_score(uint32(ids), STATE, 4, 16, 3)
    chosen = sums[np.arange(16), list(code)]

    assert n + counts.sum() == 594  # of 596: two phrases come up again by chance
    assert total / n > 1.5
    assert (chosen / counts > 1.5).all()
    assert 0.97 < (sums.sum(1) - chosen).sum() / (255 * counts.sum()) < 1.03
    assert kernels.trellis256_decode(sums, 4)[0] == message


def test_words_of_symbols_are_what_they_were() -> None:
    """Counter (token, 1 << 30 | nonce << 6 | symbol >> 2), word symbol & 3."""
    for token, nonce, symbol in [(0, 0, 0), (7, 3, 1), (2**32 - 1, 255, 255)]:
        block = kernels.words(STATE, token, 1 << 30 | nonce << 6 | symbol >> 2)
        word = reference.token_word(STATE, token, nonce, symbol)

        assert word == block[symbol & 3]
    ids = np.arange(64, dtype=np.uint32)
    drawn = kernels.role_words(ids, STATE, 4)[1].astype("<u4").tobytes()
    plain = kernels.token_words(ids, STATE, 4, 4)[1].astype("<u4").tobytes()

    assert hashlib.sha256(drawn).hexdigest()[:16] == "157b7f7fc1e27dff"
    assert hashlib.sha256(plain).hexdigest()[:16] == "a40d12387fe6017b"


def test_codes_are_what_they_were() -> None:
    assert (
        kernels.payload_symbols(b"\x01\x02", 16).hex()
        == "030509112141811c3b75e9cc8612274d"
    )
    assert (
        kernels.payload_symbols(b"\x01\x02\x83\x04", 32).hex()
        == "0506000c030509118119346e878b93a3"
    )


def test_two_codewords_of_16_bits_share_one_position_at_most() -> None:
    """Their sum is the word of another message: none but zero is 0 twice."""
    table = [[reference_payload.multiply(a, x) for x in range(256)] for a in ALPHA]
    products = np.asarray(table)  # (16, 256)
    for low in range(256):
        zeros = ((products ^ low) == 0).sum(0)

        assert zeros[1:].max() <= 1
    assert kernels.payload_symbols(b"\x07\x09", 16) == bytes(
        (7 ^ products[:, 9]).tolist()
    )


@pytest.mark.parametrize("signal", [0.0, 4.0, 30.0])
def test_rs_decode(signal: float) -> None:
    sums = noisy(b"\x05\xfe", signal, int(signal))
    found = kernels.rs_decode(sums)

    assert found == reference_payload.rs_decode(sums)
    if signal == 30.0:
        assert found[0].to_bytes(2, "little") == b"\x05\xfe"


def test_rs_decode_keeps_the_smaller_of_two_equal_messages() -> None:
    message, best, second = kernels.rs_decode(np.ones((16, 256)))

    assert (message, best, second) == (0, 16.0, 16.0)


@pytest.mark.parametrize(
    ("message", "signal"), [(b"ab\xff\x00", 5.0), (b"\x0f\x00", 0)]
)
def test_trellis256_decode(message: bytes, signal: float) -> None:
    rng = np.random.default_rng(1)
    steps = len(message)
    sums = rng.gamma(10, 1, (4 * steps, 256))
    if steps == 4:
        sums = noisy(message, signal, 1)
    expected = reference_payload.trellis256_decode(sums, steps)

    assert kernels.trellis256_decode(sums, steps) == expected


@pytest.mark.parametrize("bits", [32, 64])
def test_a_clean_message_is_decoded_whatever_the_scale(bits: int) -> None:
    for seed, scale in enumerate([1.0, 1e-2, 1e6]):
        message = np.random.default_rng(seed).bytes(bits // 8)
        sums = noisy(message, 40.0, seed) * scale
        decoded, total = kernels.trellis256_decode(sums, bits // 8)
        code = list(kernels.payload_symbols(message, bits))

        assert decoded == message
        assert np.isclose(total, sums[range(len(code)), code].sum(), rtol=1e-12)


# Two steps are the hardest: the laps forget their start more slowly.
def test_the_search_finds_the_best_of_all_messages_of_two_bytes() -> None:
    """Where a message stands out: with noise alone the search may miss the best."""
    high, low = np.divmod(np.arange(65536), 256)
    table = np.asarray(
        [[reference_payload.multiply(a, x) for x in range(256)] for a in (1, 2, 4, 8)]
    )
    for seed in range(20):
        rng = np.random.default_rng(seed)
        sums, (one, two) = rng.gamma(12, 1, (8, 256)), rng.integers(0, 256, 2)
        totals = np.zeros(65536)
        for j in range(4):
            sums[j, two ^ table[j, one]] += 8
            sums[4 + j, one ^ table[j, two]] += 8
        for j in range(4):
            totals += sums[j, low ^ table[j, high]] + sums[4 + j, high ^ table[j, low]]
        message, total = kernels.trellis256_decode(sums, 2)

        assert np.isclose(total, totals.max(), rtol=1e-12)
        assert message == bytes(divmod(int(totals.argmax()), 256))


def test_sizes_that_do_not_fit_are_refused() -> None:
    ids = uint32([1, 2, 3])
    calls: list[Callable[[], object]] = [
        lambda: kernels.context_roles(b"short", 16),
        lambda: kernels.context_roles(STATE, 16, 17),
        lambda: kernels.role_words(ids, STATE, 1, 4),
        lambda: kernels.payload_presence(ids, STATE, 1, 9),
        lambda: kernels.payload_presence(ids, STATE, 1, 0, 0, -1),
        lambda: kernels.payload_score(ids, STATE, 1, 0, 0),
        lambda: kernels.payload_score(ids, STATE, 1, 257, 0),
        lambda: kernels.payload_score(ids, STATE, 1, 16, 256),
        lambda: kernels.payload_symbols(b"abc", 24),
        lambda: kernels.payload_symbols(b"abc", 32),
        lambda: kernels.rs_decode(np.zeros((15, 256))),
        lambda: kernels.rs_decode(np.zeros((16, 255))),
        lambda: kernels.trellis256_decode(np.zeros((16, 256)), 3),
        lambda: kernels.trellis256_decode(np.zeros((36, 256)), 9),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="expected"):
            call()
