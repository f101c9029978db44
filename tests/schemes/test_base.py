"""What holds for every scheme: names, versions, parameters and their limits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from watermark.keys import Key
from watermark.schemes import SCHEMES, default_records


@pytest.fixture
def key() -> Key:
    return Key(np.random.default_rng(0).bytes(32))


def test_names_versions_and_defaults_are_pinned() -> None:
    """Detectors everywhere rely on them: a change needs a new version."""
    found = {(s.name, s.version, tuple(s.defaults.items())) for s in SCHEMES.values()}

    assert found == {
        ("gumbel", 1, (("width", 4), ("nonce_bits", 4))),
        ("greenlist", 1, (("width", 4), ("gamma16", 4), ("delta", 2.0))),
        ("noise", 1, (("nonce_bits", 20),)),
    }


def test_schemes_are_listed_under_their_names() -> None:
    assert all(name == scheme.name for name, scheme in SCHEMES.items())


def test_default_records_are_one_of_each_scheme(key: Key) -> None:
    records = default_records(key, epoch=3)

    assert [record.scheme for record in records] == list(SCHEMES)
    assert {record.epoch for record in records} == {3}
    assert {(record.vocab_size, record.tokenizer) for record in records} == {
        (None, None)
    }


@pytest.mark.parametrize("name", SCHEMES)
def test_an_unknown_parameter_is_refused(key: Key, name: str) -> None:
    with pytest.raises(ValueError, match="no parameter"):
        SCHEMES[name].record(key, strength=3)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("gumbel", {"width": 0}),
        ("gumbel", {"width": 64}),
        ("gumbel", {"width": 4.0}),
        ("gumbel", {"width": "4"}),
        ("gumbel", {"nonce_bits": -1}),
        ("gumbel", {"nonce_bits": 9}),
        ("greenlist", {"gamma16": 0}),
        ("greenlist", {"gamma16": 16}),
        ("greenlist", {"delta": 0}),
        ("greenlist", {"delta": 21}),
        ("greenlist", {"delta": float("nan")}),
        ("greenlist", {"delta": "2"}),
        ("noise", {"nonce_bits": 25}),
        ("noise", {"nonce_bits": -1}),
    ],
)
def test_a_parameter_outside_its_range_is_refused(
    key: Key, name: str, parameters: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match="expected"):
        SCHEMES[name].record(key, **parameters)


def test_schemes_of_one_key_share_no_sub_key(key: Key) -> None:
    found = {record.derive("context") for record in default_records(key)}

    assert len(found) == len(SCHEMES)
