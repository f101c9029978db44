from __future__ import annotations

import math
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from watermark.store import cbor

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.text(max_size=300)
    | st.binary(max_size=300)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.floats(allow_nan=False, allow_infinity=False, width=16)
    | st.floats(allow_nan=False, allow_infinity=False, width=32),
    lambda inner: (
        st.lists(inner, max_size=30)
        | st.dictionaries(st.text(max_size=30), inner, max_size=30)
    ),
    max_leaves=40,
)


@given(values)
def test_it_is_cbor2s_canonical_form(value: Any) -> None:
    assert cbor.encode(value) == cbor2.dumps(value, canonical=True)


@pytest.mark.parametrize("size", [0, 23, 24, 255, 256, 65535, 65536])
def test_every_width_of_a_length(size: int) -> None:
    for value in (b"x" * size, "x" * size, [0] * size, size, -size):
        assert cbor.encode(value) == cbor2.dumps(value, canonical=True)


def test_keys_are_in_the_order_of_their_bytes() -> None:
    keys = ["b", "a", "aa", "B", "é", "", "x" * 30]
    one, other = dict.fromkeys(keys), dict.fromkeys(reversed(keys))

    assert cbor.encode(one) == cbor.encode(other)
    assert list(cbor2.loads(cbor.encode(one))) == [
        "",
        "B",
        "a",
        "b",
        "aa",
        "é",
        "x" * 30,
    ]


@pytest.mark.parametrize(
    "value",
    [
        object(),
        {1: 2},
        {b"k": 1},
        {1, 2},
        "\ud800",
        1 << 64,
        -(1 << 64) - 1,
        math.nan,
        math.inf,
    ],
)
def test_what_a_leaf_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        cbor.encode([value])


def test_nesting_ends() -> None:
    deep: Any = []
    for _ in range(1000):
        deep = [deep]
    with pytest.raises(RecursionError):
        cbor.encode(deep)
