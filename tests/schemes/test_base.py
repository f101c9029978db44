"""What holds for every scheme: names, versions, parameters and their limits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from watermark.keys import Key
from watermark.schemes import SCHEMES, default_records
from watermark.schemes.base import option


@pytest.fixture
def key() -> Key:
    return Key(np.random.default_rng(0).bytes(32))


def test_names_versions_and_defaults_are_pinned() -> None:
    """Detectors everywhere rely on them: a change needs a new version."""
    found = {(s.name, s.version, tuple(s.defaults.items())) for s in SCHEMES.values()}

    options = (("payload_bits", 0), ("dual", 0))
    gate = ("gate100", 0)

    assert found == {
        ("gumbel", 1, (("width", 4), ("nonce_bits", 4), *options)),
        ("greenlist", 1, (("width", 4), ("gamma16", 4), ("delta", 2.0), gate)),
        ("tournament", 1, (("width", 4), ("nonce_bits", 4), ("layers", 30))),
        ("noise", 1, (("nonce_bits", 20), ("registry", 0))),
        ("latent", 1, (("nonce_bits", 16), ("delta", 160))),
        ("pixel", 1, (("nonce_bits", 16),)),
        ("wave", 1, (("nonce_bits", 16), ("decibels", 32))),
    }


def test_schemes_are_listed_under_their_names() -> None:
    assert all(name == scheme.name for name, scheme in SCHEMES.items())


def test_default_records_are_one_of_each_default_scheme(key: Key) -> None:
    """`tournament` is tested only where it is known to be in use."""
    records = default_records(key, epoch=3)

    assert [record.scheme for record in records] == [
        *("gumbel", "greenlist", "noise", "latent", "pixel", "wave")
    ]
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
        ("wave", {"decibels": 10}),
        ("noise", {"registry": 2}),
        ("wave", {"nonce_bits": 25}),
        ("pixel", {"nonce_bits": -1}),
        ("gumbel", {"width": 0}),
        ("gumbel", {"width": 64}),
        ("gumbel", {"width": 4.0}),
        ("gumbel", {"width": "4"}),
        ("gumbel", {"nonce_bits": -1}),
        ("gumbel", {"nonce_bits": 9}),
        ("gumbel", {"payload_bits": 8}),
        ("gumbel", {"payload_bits": 16.0}),
        ("gumbel", {"payload_bits": "16"}),
        ("gumbel", {"dual": 2}),
        ("tournament", {"layers": 0}),
        ("tournament", {"layers": 33}),
        ("tournament", {"nonce_bits": 9}),
        ("greenlist", {"gate100": -1}),
        ("greenlist", {"gate100": 1001}),
        ("greenlist", {"gate100": 0.3}),
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
    found = {scheme.record(key).derive("context") for scheme in SCHEMES.values()}

    assert len(found) == len(SCHEMES)


def test_records_older_than_an_option_have_it_off() -> None:
    assert option({"width": 4}, "dual") == 0
    assert option({"width": 4, "dual": 1}, "dual") == 1
