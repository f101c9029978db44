"""Keyed sampling keeps the distribution, and says what it leaves to the host."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats

from watermark.errors import InvalidSignal
from watermark.kernels import context_state
from watermark.keys import Key, KeyRecord
from watermark.prf import context_key
from watermark.schemes import SCHEMES, gumbel
from watermark.schemes import payload as code


def record(seed: int = 0, **parameters: Any) -> KeyRecord:
    key = Key(np.random.default_rng(seed).bytes(32))
    return SCHEMES["gumbel"].record(key, **parameters)


def states(one: KeyRecord, count: int) -> list[bytes]:
    key = context_key(one)
    return [
        context_state(key, np.asarray([i, 1, 2, 3], np.uint32)) for i in range(count)
    ]


# --- the distribution ----------------------------------------------------------------

PROBABILITIES = {
    "steep": np.asarray([0.9, 0.06, 0.03, 0.008, 0.002]),
    "flat": np.full(12, 1 / 12),
    "natural": np.random.default_rng(1).dirichlet(np.full(30, 0.4)),
}


@pytest.mark.parametrize("shape", PROBABILITIES)
@pytest.mark.parametrize("nonce", [0, 3, 13])
def test_chosen_tokens_follow_the_softmax_over_contexts(shape: str, nonce: int) -> None:
    p = PROBABILITIES[shape]
    logits = np.log(p).astype(np.float32)
    chosen = [gumbel.select(logits, state, nonce) for state in states(record(2), 20000)]
    expected = p * len(chosen)
    common = expected >= 5
    observed = np.bincount(chosen, minlength=len(p))
    fit = scipy.stats.chisquare(
        np.append(observed[common], observed[~common].sum() + 1e-9),
        np.append(expected[common], expected[~common].sum() + 1e-9),
    )

    assert fit.pvalue > 1e-4


@pytest.mark.parametrize("symbol", [0, 2, 255])
def test_under_every_symbol_tokens_follow_the_softmax(symbol: int) -> None:
    p = PROBABILITIES["natural"]
    logits = np.log(p).astype(np.float32)
    chosen = [gumbel.select(logits, s, 5, symbol) for s in states(record(7), 8000)]
    plain = [gumbel.select(logits, s, 5) for s in states(record(7), 8000)]
    expected = p * len(chosen)
    common = expected >= 5
    observed = np.bincount(chosen, minlength=len(p))
    fit = scipy.stats.chisquare(
        np.append(observed[common], observed[~common].sum() + 1e-9),
        np.append(expected[common], expected[~common].sum() + 1e-9),
    )

    assert fit.pvalue > 1e-4
    assert np.mean(np.equal(chosen, plain)) < 2 * float((p**2).sum())


def test_chosen_tokens_follow_the_softmax_over_keys() -> None:
    p = PROBABILITIES["steep"]
    logits = np.log(p).astype(np.float32)
    context = np.asarray([9, 8, 7, 6], np.uint32)
    chosen = [
        gumbel.select(logits, context_state(context_key(record(seed)), context), 0)
        for seed in range(10_000)
    ]
    observed = np.bincount(chosen, minlength=len(p))

    assert scipy.stats.chisquare(observed, p * len(chosen)).pvalue > 1e-4


def test_nonces_choose_independently() -> None:
    logits = np.zeros(8, np.float32)
    pairs = [
        (gumbel.select(logits, state, 0), gumbel.select(logits, state, 1))
        for state in states(record(3), 4000)
    ]
    table = np.zeros((8, 8))
    for a, b in pairs:
        table[a, b] += 1

    assert scipy.stats.chi2_contingency(table).pvalue > 1e-4


def test_a_shift_of_all_logits_changes_nothing() -> None:
    logits = np.random.default_rng(4).normal(size=50).astype(np.float32)
    for state in states(record(4), 50):
        expected = gumbel.select(logits, state, 0)

        assert gumbel.select(logits + np.float32(16), state, 0) == expected


def test_an_excluded_token_is_never_chosen() -> None:
    logits = np.full(50, -np.inf, np.float32)
    logits[[7, 30]] = [-80, -80.5]

    found = {gumbel.select(logits, state, 0) for state in states(record(5), 200)}

    assert found == {7, 30}


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        ([0.0, np.nan, 1.0], "NaN"),
        ([0.0, np.inf], "NaN or"),
        ([np.nan, -np.inf], "NaN"),
        ([-np.inf, -np.inf], "no token"),
        ([], "no token"),
    ],
)
def test_broken_logits_are_refused(logits: list[float], message: str) -> None:
    with pytest.raises(InvalidSignal, match=message):
        gumbel.select(np.asarray(logits, np.float32), bytes(16), 0)


# --- which tokens the key chooses ----------------------------------------------------


def test_the_fresh_prefix_is_left_to_the_host() -> None:
    order = gumbel.Sequencer(record(), 0)
    output = list(range(20))

    assert order.choose(output, gumbel.FRESH_NATS - 0.001) is None
    assert order.choose(output, gumbel.FRESH_NATS) is not None


@pytest.mark.parametrize("width", [1, 4, 7])
def test_the_first_tokens_are_left_to_the_host(width: int) -> None:
    order = gumbel.Sequencer(record(width=width), 0)
    found = [order.choose(list(range(n)), 99.0) is not None for n in range(width + 3)]

    assert found == [False] * width + [True] * 3


def test_a_repeated_context_is_left_to_the_host() -> None:
    """Its word was used: a second use would repeat the token, not be random."""
    order = gumbel.Sequencer(record(), 0)
    output = [1, 2, 3, 4]

    assert order.choose(output, 99.0) is not None
    assert order.choose([9, 9, *output], 99.0) is None
    assert order.choose([*output, 5], 99.0) is not None


def test_the_state_is_that_of_the_last_tokens() -> None:
    one = record()
    [expected] = [context_state(context_key(one), np.asarray([5, 6, 7, 8], np.uint32))]

    choice = gumbel.Sequencer(one, 3).choose([1, 2, 5, 6, 7, 8], 99.0)

    assert choice == (expected, 3, -1)


def test_what_was_marked_is_counted() -> None:
    order = gumbel.Sequencer(record(), 0)
    for n in range(10):
        order.choose(list(range(n)), 0.0 if n < 6 else 99.0)

    assert (order.offered, order.marked) == (10, 4)


def test_a_sequencer_shows_no_secret() -> None:
    one = record()

    assert context_key(one).hex() not in repr(gumbel.Sequencer(one, 0))
    assert repr(context_key(one)) not in repr(gumbel.Sequencer(one, 0))


# --- nonces --------------------------------------------------------------------------


def test_a_seed_reproduces_its_nonce_and_rows_differ() -> None:
    one = record(nonce_bits=8)
    found = [gumbel.nonce(one, b"seed", row) for row in range(200)]

    assert found == [gumbel.nonce(one, b"seed", row) for row in range(200)]
    assert found != [gumbel.nonce(one, b"other", row) for row in range(200)]
    assert found != [
        gumbel.nonce(record(1, nonce_bits=8), b"seed", r) for r in range(200)
    ]


def test_nonces_are_uniform() -> None:
    found = [gumbel.nonce(record(), b"seed", row) for row in range(8000)]

    assert scipy.stats.chisquare(np.bincount(found, minlength=16)).pvalue > 1e-4


def test_without_nonce_bits_there_is_one_nonce() -> None:
    assert {gumbel.nonce(record(nonce_bits=0), b"s", row) for row in range(20)} == {0}


# --- messages ------------------------------------------------------------------------


def choices(one: KeyRecord, payload: bytes = b"", count: int = 2000) -> list[Any]:
    order = gumbel.Sequencer(one, 1, payload)
    return [order.choose([i, 1, 2, 3], 99.0) for i in range(count)]


def test_a_message_changes_symbols_and_nothing_else() -> None:
    plain = choices(record())
    marked = choices(record(payload_bits=16), b"ab")
    other = choices(record(payload_bits=16), b"cd")

    assert [c[:2] for c in plain] == [c[:2] for c in marked]
    assert {c.symbol for c in plain} == {-1}
    assert {c.symbol for c in marked} == {-1, *code.symbols(b"ab", 16)}
    assert {c.symbol for c in other} == {-1, *code.symbols(b"cd", 16)}


@pytest.mark.parametrize(("bits", "message"), [(16, b""), (32, b"ab"), (0, b"ab")])
def test_a_message_of_another_length_is_refused(bits: int, message: bytes) -> None:
    with pytest.raises(ValueError, match="expected"):
        gumbel.Sequencer(record(payload_bits=bits), 0, message)


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_a_seed_reproduces_its_mark_id_and_rows_differ(bits: int) -> None:
    one = record(payload_bits=bits, nonce_bits=0)
    found = [gumbel.mark_id(one, b"seed", row) for row in range(50)]

    assert {len(mark_id) for mark_id in found} == {bits // 8}
    assert found == [gumbel.mark_id(one, b"seed", row) for row in range(50)]
    assert len(set(found)) > 45
    assert found[0] != gumbel.mark_id(one, b"other", 0)


# --- two keys ------------------------------------------------------------------------


def test_half_of_the_contexts_are_the_public_keys_as_it_would_mark_them() -> None:
    one = record(dual=1, payload_bits=16)
    public = gumbel.public_record(one)
    pairs = list(
        zip(choices(one, b"ab"), choices(public), choices(record()), strict=True)
    )
    shared = [dual == alone for dual, alone, _ in pairs]

    assert public.kid != one.kid
    assert dict(public.parameters) == {
        "dual": 0,
        "nonce_bits": 4,
        "payload_bits": 0,
        "width": 4,
    }
    assert abs(sum(shared) - 1000) < 4 * np.sqrt(500)
    for is_shared, (dual, _, private) in zip(shared, pairs, strict=True):
        assert is_shared or dual.state == private.state


def test_each_epoch_has_a_public_key_of_its_own() -> None:
    key = record().secret
    found = {
        gumbel.public_record(SCHEMES["gumbel"].record(key, epoch=e, dual=1)).kid
        for e in range(3)
    }

    assert len(found) == 3


def test_one_key_has_no_public_one() -> None:
    with pytest.raises(ValueError, match="dual 0"):
        gumbel.public_record(record())


def test_records_older_than_the_options_mark_the_same() -> None:
    old = KeyRecord(
        kid=record().kid,
        scheme="gumbel",
        parameters={"width": 4, "nonce_bits": 4},
        key=record().secret,
    )

    assert choices(old, count=50) == choices(record(), count=50)


@pytest.mark.parametrize(
    ("options", "payload", "nats"),
    [
        ({}, None, gumbel.FRESH_NATS),
        ({"payload_bits": 16}, b"ab", gumbel.FRESH_NATS),
        ({"payload_bits": 16}, None, 0.0),
        ({"payload_bits": 16, "dual": 1}, None, gumbel.FRESH_NATS),
    ],
)
def test_a_mark_id_of_its_own_replaces_the_fresh_prefix(
    options: dict[str, int], payload: bytes | None, nats: float
) -> None:
    """Not under a dual key: the public half of all outputs would be the same."""
    assert gumbel.fresh_nats(record(**options), payload) == nats
