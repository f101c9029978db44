"""Which context carries what: the shares, the places, and the code words."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from watermark.kernels import context_state
from watermark.keys import Key
from watermark.prf import context_key
from watermark.schemes import SCHEMES, payload


def states(count: int) -> list[bytes]:
    key = context_key(SCHEMES["gumbel"].record(Key(np.random.default_rng(0).bytes(32))))
    return [
        context_state(key, np.asarray([i, 1, 2, 3], np.uint32)) for i in range(count)
    ]


def test_one_context_in_sixteen_is_silent() -> None:
    word = bytes(range(16))
    found = [payload.symbol(state, word) for state in states(16_000)]
    silent = found.count(-1)
    places = np.bincount([place for place in found if place >= 0], minlength=16)

    assert payload.PRESENCE16 == 1
    assert abs(silent - 1000) < 4 * np.sqrt(1000)
    assert scipy.stats.chisquare(places).pvalue > 1e-4


def test_without_a_message_every_context_is_silent() -> None:
    assert {payload.symbol(state, b"") for state in states(100)} == {-1}


def test_short_messages_are_reed_solomon_words() -> None:
    """``m0 ^ alpha**j m1``, by hand where alpha**j m1 has no carry."""
    found = payload.symbols(b"\x50\x01", 16)

    assert len(found) == 16
    assert [s ^ 0x50 for s in found[:9]] == [1, 2, 4, 8, 16, 32, 64, 128, 0x1D]


@pytest.mark.parametrize("bits", [32, 64])
def test_long_messages_are_closed_walks(bits: int) -> None:
    message = np.random.default_rng(bits).bytes(bits // 8)
    found = payload.symbols(message, bits)

    assert len(found) == payload.POSITIONS[bits]
    for i in range(bits // 8):
        assert found[4 * i] == message[i - 1] ^ message[i]


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_words_of_different_messages_differ_in_many_places(bits: int) -> None:
    rng = np.random.default_rng(bits)
    least = {16: 15, 32: 8, 64: 8}[bits]
    for _ in range(300):
        message = bytearray(rng.bytes(bits // 8))
        word = payload.symbols(bytes(message), bits)
        for place in rng.permutation(len(message))[: int(rng.integers(1, 3))]:
            message[place] ^= int(rng.integers(1, 256))
        other = payload.symbols(bytes(message), bits)

        assert sum(a != b for a, b in zip(word, other, strict=True)) >= least


@pytest.mark.parametrize(("message", "bits"), [(b"ab", 32), (b"", 16), (b"ab", 8)])
def test_a_message_of_another_length_is_refused(message: bytes, bits: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        payload.symbols(message, bits)
