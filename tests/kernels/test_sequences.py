"""Sequences of a batch: kernel equal to reference, step by step and bit for bit."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from watermark import kernels
from watermark.kernels import _lanes, reference_sequences
from watermark.kernels.reference_sequences import FREE
from watermark.keys import Key
from watermark.schemes import SCHEMES, gumbel
from watermark.schemes import payload as code

VOCAB = 90
KEY, PUBLIC = bytes(range(16)), bytes(range(50, 66))
KINDS = {"compiled": kernels.Sequences, "reference": reference_sequences.Sequences}
BOTH = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def scores(rng: np.random.Generator, rows: int) -> torch.Tensor:
    found = rng.normal(0, 3, (rows, VOCAB)).astype(np.float32)
    found[rng.random(found.shape) < 0.5] = -np.inf
    found[:, 7] = 1.0
    return torch.from_numpy(found)


def same(one: Any, other: Any) -> bool:
    return (
        one.fresh == other.fresh
        and np.array_equal(one.states, other.states)
        and np.array_equal(one.symbols, other.symbols)
        and np.array_equal(one.tokens, other.tokens)
    )


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(1, 4),
    st.integers(1, 5),
    st.sampled_from([0.0, 8.0]),
    st.sampled_from([0, 16, 32]),
    st.sampled_from([b"", PUBLIC]),
)
def test_steps_forwards_and_backwards(
    seed: int, rows: int, width: int, fresh: float, positions: int, public: bytes
) -> None:
    """Few tokens, so that contexts recur; now and then a draft is given up."""
    rng = np.random.default_rng(seed)
    nonces = rng.integers(0, 256, rows).tolist()
    words = [rng.bytes(positions) for _ in range(rows)]
    given = (KEY, width, fresh, nonces, words, public)
    one, other = kernels.Sequences(*given), reference_sequences.Sequences(*given)
    prompt = int(rng.integers(0, 3))
    ids = torch.from_numpy(rng.integers(0, 3, (rows, prompt)))
    for _ in range(25):
        if rng.random() < 0.2:
            kept = int(rng.integers(prompt, ids.shape[1] + 1))
            ids = ids[:, :kept].contiguous()
        if rng.random() < 0.1:  # a token that nobody asked for
            ids = torch.cat([ids, ids.new_ones(rows, 1)], dim=1)
        first = scores(rng, rows)
        second = first.clone()

        assert one.force(prompt, ids, first) == other.force(prompt, ids, second)
        assert torch.equal(first, second)
        assert same(one, other)
        new = torch.from_numpy(rng.integers(0, 2, (rows, 1)))
        ids = torch.cat([ids, new], dim=1)


@BOTH
def test_the_parts_of_a_step_are_the_step(kind: Callable[..., Any]) -> None:
    """`choose` and `spend`, as the hosts use them that choose elsewhere."""
    rng = np.random.default_rng(1)
    given = (KEY, 2, 6.0, [3, 4], [b"", b""])
    whole, parts = kind(*given), kind(*given)
    ids = torch.from_numpy(rng.integers(0, 4, (2, 40)))
    keyed = []
    for length in range(5, 40):
        now, row = ids[:, :length].contiguous(), scores(rng, 2)
        keyed.append(parts.choose(length - 5, now.numpy()[:, 5:]))
        parts.spend(kernels.collision_nats(row.numpy(), parts.fresh))

        assert whole.force(5, now, row) == keyed[-1]
        assert whole.fresh == parts.fresh
        assert np.array_equal(whole.symbols, parts.symbols)
        assert np.array_equal(whole.states, parts.states)
    assert keyed[0] == 0 < sum(keyed) < 60
    assert (whole.tokens != -1).sum() == sum(keyed)


@BOTH
def test_rows_do_not_depend_on_each_other(kind: Callable[..., Any]) -> None:
    rng = np.random.default_rng(2)
    words = [rng.bytes(16) for _ in range(3)]
    batch = kind(KEY, 1, 4.0, [1, 2, 3], words, PUBLIC)
    alone = [kind(KEY, 1, 4.0, [n], [words[n - 1]], PUBLIC) for n in (1, 2, 3)]
    ids = torch.from_numpy(rng.integers(0, 9, (3, 30)))
    for length in range(30):
        out = scores(rng, 3)
        single = [out[row : row + 1].clone() for row in range(3)]
        batch.force(0, ids[:, :length].contiguous(), out)
        for row, (one, made) in enumerate(zip(alone, single, strict=True)):
            one.force(0, ids[row : row + 1, :length].contiguous(), made)

            assert torch.equal(made[0], out[row])
    assert np.array_equal(batch.tokens, np.concatenate([one.tokens for one in alone]))


def test_a_sequencer_decides_as_a_row_does() -> None:
    """Long enough that the table grows several times."""
    key = Key(np.random.default_rng(9).bytes(32))
    one = SCHEMES["gumbel"].record(key, payload_bits=16, dual=1)
    row = gumbel.sequences(one, [5], [b"ab"], fresh=0.0)
    order = gumbel.Sequencer(one, 5, b"ab")
    output = np.random.default_rng(3).integers(0, 5, (1, 1500))
    found = []
    for n in range(1500):
        row.choose(n, output[:, :n])
        [expected] = gumbel.choices(row, [5])
        found.append(order.choose(output[0, :n].tolist(), math.inf))

        assert found[-1] == expected
    distinct = {tuple(output[0, n - 4 : n]) for n in range(4, 1500)}
    assert sum(choice is not None for choice in found) == len(distinct) == order.marked
    assert {c.symbol for c in found if c} == {-1, *code.symbols(b"ab", 16)}


# --- collision entropy ---------------------------------------------------------------


@pytest.mark.parametrize("variant", range(-1, 4))
def test_collision_entropy(variant: int) -> None:
    """Every variant the same double; the exact value to 2e-5 nats."""
    if _lanes.force(variant) is None:
        pytest.skip("this variant does not run here")
    try:
        for n in (1, 15, 16, 17, 63, 64, 65, 200, 1000):
            rng = np.random.default_rng(n)
            for spread in (0, 1, 5, 40):
                rows = (spread * rng.normal(size=(3, n))).astype(np.float32)
                rows[rng.random(rows.shape) < 0.3] = -np.inf
                rows[:, n // 2] = 3.0
                found = kernels.collision_nats(rows, [2, 0])
                p = np.exp(rows[[2, 0]].astype(np.float64))
                p /= p.sum(1, keepdims=True)

                assert found == reference_sequences.collision_nats(rows, [2, 0])
                assert found == pytest.approx(
                    (-np.log((p * p).sum(1))).tolist(), abs=2e-5
                )
    finally:
        _lanes.force(-1)


@pytest.mark.parametrize("module", [kernels, reference_sequences])
def test_rows_that_cannot_be_sampled_spend_nothing(module: Any) -> None:
    rows = np.zeros((3, 70), np.float32)
    rows[0, 66], rows[1, 3], rows[2] = np.nan, np.inf, -np.inf

    assert module.collision_nats(rows, [0, 1, 2]) == [0, 0, 0]
    assert module.collision_nats(rows[:, :0], [0]) == [0]
    assert module.collision_nats(rows, []) == []


# --- bad input -----------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("place", [3, 66])
@pytest.mark.parametrize(("value", "status"), [(np.nan, -1), (np.inf, -1), (None, -2)])
def test_broken_rows_are_told_whether_keyed_or_free(
    kind: Callable[..., Any], place: int, value: float | None, status: int
) -> None:
    for length in (0, 4):
        rows = torch.zeros(2, VOCAB)
        rows[1, place if value is not None else slice(None)] = value or -np.inf
        ids = torch.ones(2, length, dtype=torch.int64)

        assert kind(KEY, 1, 0.0, [0, 0], [b"", b""]).force(0, ids, rows) == status


@BOTH
def test_what_does_not_fit_is_refused(kind: Callable[..., Any]) -> None:
    made = kind(KEY, 2, 0.0, [0], [b""])
    ids, row = torch.zeros(1, 3, dtype=torch.int64), torch.zeros(1, VOCAB)
    for call in (
        lambda: kind(KEY[1:], 2, 0.0, [0], [b""]),
        lambda: kind(KEY, 0, 0.0, [0], [b""]),
        lambda: kind(KEY, 64, 0.0, [0], [b""]),
        lambda: kind(KEY, 2, 0.0, [0], [b""], b"short"),
        lambda: kind(KEY, 2, 0.0, [256], [b""]),
        lambda: kind(KEY, 2, 0.0, [0, 1], [b"a", b"bc"]),
        lambda: kind(KEY, 2, 0.0, [0, 1], [b""]),
        lambda: made.force(0, ids - 1, row),
        lambda: made.force(0, ids + 2**32, row),
        lambda: made.force(4, ids, row),
        lambda: made.force(-1, ids, row),
        lambda: made.force(0, ids, row.expand(2, -1).contiguous()),
        lambda: made.force(0, ids.expand(2, -1).contiguous(), row),
        lambda: made.choose(-1, ids.numpy()),
        lambda: made.choose(0, ids.expand(2, -1).numpy()),
        lambda: made.spend([1.0]),
        lambda: kernels.collision_nats(row.numpy(), [1]),
    ):
        with pytest.raises(ValueError, match="expected"):
            call()


@BOTH
def test_an_id_outside_the_context_is_not_looked_at(kind: Callable[..., Any]) -> None:
    """Placeholders in a prompt may be any number."""
    made = kind(KEY, 2, 0.0, [0], [b""])
    ids = torch.asarray([[-7, 5, 6]])

    assert made.force(1, ids, torch.zeros(1, VOCAB)) == 1
    assert made.symbols.tolist() == [-1]
    assert made.choose(0, ids.numpy()[:, :1]) == 0
    assert made.symbols.tolist() == [FREE]
    assert made.states.tolist() == [[0, 0]]


def test_no_rows_are_no_trouble() -> None:
    for kind in KINDS.values():
        made = kind(KEY, 2, 0.0, [], [])
        assert (
            made.force(0, torch.zeros(0, 4, dtype=torch.int64), torch.zeros(0, 5)) == 0
        )
        assert made.fresh == []
