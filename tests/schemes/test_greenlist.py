"""Green tokens get delta, no others; membership is the keyed nibble's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from watermark.errors import InvalidSignal
from watermark.kernels import context_state, greenlist_mask
from watermark.keys import Key, KeyRecord
from watermark.prf import context_key
from watermark.schemes import SCHEMES, greenlist


def record(**parameters: Any) -> KeyRecord:
    key = Key(np.random.default_rng(0).bytes(32))
    return SCHEMES["greenlist"].record(key, **parameters)


def test_green_logits_get_delta_and_others_stay() -> None:
    one = record(delta=1.5)
    state = greenlist.state(one, [1, 2, 3, 4])
    assert state is not None
    before = np.random.default_rng(1).normal(size=500).astype(np.float32)
    after = before.copy()
    greenlist.bias(after, state, one)
    green = np.frombuffer(greenlist_mask(state, 500, 4), np.uint8).astype(bool)

    assert np.array_equal(after[~green], before[~green])
    assert np.array_equal(after[green], before[green] + np.float32(1.5))


@pytest.mark.parametrize("gamma16", [1, 4, 8, 15])
def test_the_share_of_green_tokens_is_gamma(gamma16: int) -> None:
    one = record(gamma16=gamma16)
    state = greenlist.state(one, [1, 2, 3, 4])
    assert state is not None
    share = sum(greenlist_mask(state, 40_000, gamma16)) / 40_000

    assert abs(share - gamma16 / 16) < 0.012


def test_an_excluded_token_stays_excluded() -> None:
    one = record()
    state = greenlist.state(one, [1, 2, 3, 4])
    assert state is not None
    logits = np.full(100, -np.inf, np.float32)
    greenlist.bias(logits, state, one)

    assert np.isneginf(logits).all()


def test_nan_is_refused() -> None:
    logits = np.zeros(10, np.float32)
    logits[3] = np.nan
    with pytest.raises(InvalidSignal, match="NaN"):
        greenlist.bias(logits, bytes(16), record())


@pytest.mark.parametrize("width", [1, 4])
def test_without_enough_context_there_is_no_list(width: int) -> None:
    one = record(width=width)
    output = list(range(10, 10 + width))
    expected = context_state(context_key(one), np.asarray(output, np.uint32))

    assert greenlist.state(one, output[1:]) is None
    assert greenlist.state(one, output) == expected
    assert greenlist.state(one, [7, 7, *output]) == expected


# --- the gate ------------------------------------------------------------------------


def test_entropy_is_that_of_the_softmax() -> None:
    p = np.random.default_rng(2).dirichlet(np.full(40, 0.3))
    logits = np.append(np.log(p) + 7, [-np.inf] * 3).astype(np.float32)

    assert greenlist.entropy(logits) == pytest.approx(-(p * np.log(p)).sum(), abs=1e-5)
    assert greenlist.entropy(np.asarray([5.0, -np.inf])) == 0
    assert np.isnan(greenlist.entropy(np.full(3, -np.inf)))
    assert np.isnan(greenlist.entropy(np.asarray([0.0, np.nan])))


@pytest.mark.parametrize(("low", "is_open"), [(-8.0, False), (-1.0, True)])
def test_the_gate_opens_where_there_is_a_choice(low: float, is_open: bool) -> None:
    """0.02 nats at -8, 1.7 at -1, against 0.3."""
    one = record(gate100=30)
    before = np.full(8, low, np.float32)
    before[3] = 0
    after = before.copy()
    state = greenlist.state(one, [1, 2, 3, 4])
    assert state is not None
    count = greenlist.bias(after, state, one)
    ungated = before.copy()
    greenlist.bias(ungated, state, record())

    assert count == (8 if is_open else 0)
    assert np.array_equal(after, ungated if is_open else before)
    assert not np.array_equal(ungated, before)


def test_nan_is_refused_behind_a_gate_too() -> None:
    logits = np.zeros(10, np.float32)
    logits[3] = np.nan
    with pytest.raises(InvalidSignal, match="NaN"):
        greenlist.bias(logits, bytes(16), record(gate100=30))
