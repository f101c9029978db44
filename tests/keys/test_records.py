"""Key records: what they say, and which two are one test."""

from __future__ import annotations

import json
from typing import Any

import pytest

from watermark.errors import KeyFileError, WeakKey
from watermark.keys import Key, KeyRecord


def test_a_record_round_trips_through_json(key: Key) -> None:
    record = KeyRecord(
        kid=key.kid,
        scheme="greenlist",
        version=3,
        epoch=2,
        parameters={"width": 4, "delta": 2.0, "mode": "x"},
        vocab_size=1000,
        tokenizer="ab" * 32,
        key=key,
    )
    again = KeyRecord.from_dict(json.loads(json.dumps(record.to_dict())), key=key)

    assert again == record
    assert again.to_dict() == record.to_dict()
    assert again.derive("context") == record.derive("context")


def test_the_form_of_a_record_is_pinned() -> None:
    """Homes of every release hold these: a changed field name would lose them."""
    expected = {
        "schema": "watermark.keyrecord/1",
        "kid": "k1",
        "scheme": "noise",
        "version": 1,
        "epoch": 0,
        "parameters": {"nonce_bits": 20},
        "vocab_size": None,
        "tokenizer": None,
    }
    record = KeyRecord(kid="k1", scheme="noise", parameters={"nonce_bits": 20})

    assert record.to_dict() == expected


def test_a_record_without_its_key_derives_nothing() -> None:
    record = KeyRecord(kid="k1", scheme="gumbel")
    with pytest.raises(KeyFileError, match="not at hand"):
        record.derive("context")


def test_a_record_takes_no_other_key(key: Key) -> None:
    with pytest.raises(WeakKey, match="k1"):
        KeyRecord(kid="k1", scheme="gumbel", key=key)


def test_parameters_of_a_record_cannot_change() -> None:
    given = {"width": 4}
    record = KeyRecord(kid="k1", scheme="gumbel", parameters=given)
    given["width"] = 5
    with pytest.raises(TypeError):
        record.parameters["width"] = 6  # type: ignore[index]  # what is tested

    assert record.parameters["width"] == 4


def test_records_are_one_test_when_their_bits_are_the_same() -> None:
    base = KeyRecord(kid="k1", scheme="gumbel", parameters={"a": 1, "b": 2})
    same = KeyRecord(
        kid="k1",
        scheme="gumbel",
        parameters={"b": 2, "a": 1},
        vocab_size=9,
        tokenizer="ab" * 32,
    )
    others = [
        KeyRecord(kid="k2", scheme="gumbel", parameters=base.parameters),
        KeyRecord(kid="k1", scheme="greenlist", parameters=base.parameters),
        KeyRecord(kid="k1", scheme="gumbel", version=2, parameters=base.parameters),
        KeyRecord(kid="k1", scheme="gumbel", epoch=1, parameters=base.parameters),
        KeyRecord(kid="k1", scheme="gumbel", parameters={"a": 1, "b": 3}),
    ]

    assert same.test == base.test
    assert same != base
    assert len({base.test, *(other.test for other in others)}) == 6


def test_an_option_that_is_off_is_no_test_of_its_own() -> None:
    old, new, on = (
        KeyRecord(kid="k1", scheme="gumbel", parameters={"width": 4, **more}).test
        for more in ({}, {"dual": 0, "payload_bits": 0}, {"dual": 1})
    )

    assert old == new
    assert on != new


def test_strength_is_no_part_of_a_test() -> None:
    """Detection needs no delta: one test for every strength, paid for once."""
    tests = {
        KeyRecord(
            kid="k1", scheme="greenlist", parameters={"width": 4, "delta": d}
        ).test
        for d in (1.0, 2.0)
    }

    assert len(tests) == 1


@pytest.mark.parametrize(
    "data",
    [
        pytest.param({}, id="empty"),
        pytest.param({"schema": "watermark.keyrecord/2"}, id="schema"),
        pytest.param({"schema": "watermark.keyrecord/1", "kid": "k"}, id="no-scheme"),
        pytest.param(
            {"schema": "watermark.keyrecord/1", "kid": "k", "scheme": "s", "new": 1},
            id="unknown-field",
        ),
        pytest.param(
            {"schema": "watermark.keyrecord/1", "kid": "k", "scheme": "s", "key": 1},
            id="key-smuggled",
        ),
        pytest.param(
            {
                "schema": "watermark.keyrecord/1",
                "kid": "k",
                "scheme": "s",
                "parameters": [1],
            },
            id="parameters",
        ),
        pytest.param([], id="list"),
    ],
)
def test_a_record_that_cannot_be_read_says_so(data: Any) -> None:
    with pytest.raises(KeyFileError):
        KeyRecord.from_dict(data)
