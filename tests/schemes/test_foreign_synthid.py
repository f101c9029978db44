"""SynthID-Text of transformers and of synthid-text: their own g values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from watermark import kernels
from watermark.errors import ConfigError
from watermark.keys import EngineKey, Key
from watermark.schemes.foreign import hf_synthid, synthid

VECTORS = Path(__file__).parents[1] / "vectors"
KEY = Key(bytes((*range(1, 32), 0)))
MASK64 = (1 << 64) - 1


def vectors(engine: str) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = json.loads((VECTORS / f"{engine}.json").read_text())[
        "cases"
    ]
    return cases


def expected(case: dict[str, Any]) -> np.ndarray:
    """The engine's g values where the context is new: uint8 (n, layers)."""
    layers = len(case["keys"])
    rows = [list(f"{number:0{layers}b}") for number in case["g"]]
    kept: np.ndarray = np.asarray(rows, np.uint8)[np.asarray(case["fresh"], bool)]
    return kept


def fresh(case: dict[str, Any]) -> list[int]:
    """Where the engine's mask is open."""
    return [i + case["ngram_len"] - 1 for i, open_ in enumerate(case["fresh"]) if open_]


def test_transformers_bits() -> None:
    compared = 0
    for case in vectors("hf_synthid"):
        size = case["sampling_table_size"]
        ids = np.asarray(case["tokens"], np.uint32)
        at, states = kernels.synthid_states(ids, 1, case["ngram_len"] - 1)
        shifts = np.asarray([key % size for key in case["keys"]])
        bit = hf_synthid.table(size, case["sampling_table_seed"])
        found = hf_synthid.bits((states % np.uint64(size)).astype(int), shifts, bit)

        assert at.tolist() == fresh(case)
        assert np.array_equal(found, expected(case))
        compared += len(found)
    assert compared >= 1000


def test_synthid_text_bits() -> None:
    compared = 0
    for case in vectors("synthid"):
        ids = np.asarray(case["tokens"], np.uint32)
        start = synthid.start(case["keys"])
        at, states = kernels.synthid_states(ids, start, case["ngram_len"] - 1)
        keys = np.asarray([key & MASK64 for key in case["keys"]], np.uint64)

        assert at.tolist() == fresh(case)
        assert np.array_equal(kernels.synthid_bits(states, keys), expected(case))
        compared += len(at)
    assert compared >= 1000


def test_records_of_the_engines_configurations_draw_the_same_bits() -> None:
    for case in vectors("hf_synthid")[:4]:
        config = {k: v for k, v in case.items() if k not in ("tokens", "g", "fresh")}
        record = hf_synthid.SCHEME.from_config(config)
        ids = np.asarray(case["tokens"], np.uint32)
        states = hf_synthid.states(ids, record, 0)[1]
        bit = hf_synthid.table(case["sampling_table_size"], case["sampling_table_seed"])
        layers = hf_synthid.layers(record)
        found = np.empty((len(states), len(case["keys"])), np.uint8)
        for column, members in enumerate(layers.members):
            drawn = hf_synthid.bits(states, layers.shifts[column : column + 1], bit)
            found[:, list(members)] = drawn

        assert np.array_equal(found, expected(case))
    for case in vectors("synthid")[:4]:
        config = {"keys": case["keys"], "ngram_len": case["ngram_len"]}
        record = synthid.SCHEME.from_config(config)
        found = synthid.bits(np.asarray(case["tokens"], np.uint32), record, 0)[1]

        assert np.array_equal(found, expected(case))


def test_equal_low_bits_make_two_layers_one() -> None:
    keys = (5, 5 + 65536, 9, 5 - 65536)
    record = hf_synthid.SCHEME.record(EngineKey(keys), layers=4)

    assert hf_synthid.layers(record).shifts.tolist() == [5, 9]
    assert hf_synthid.layers(record).members == ((0, 1, 3), (2,))


def test_one_of_our_keys_has_a_number_for_each_layer() -> None:
    record = synthid.SCHEME.record(KEY, layers=7)
    bits = synthid.bits(np.arange(30, dtype=np.uint32), record, 0)[1]

    assert bits.shape == (26, 7)
    assert len({tuple(column) for column in bits.T.tolist()}) == 7


def test_configurations_are_read() -> None:
    keys = [654, 400, 836]
    hf = hf_synthid.SCHEME.from_config(
        {
            "keys": keys,
            "ngram_len": 6,
            "context_history_size": 1024,
            "sampling_table_seed": 3,
            "sampling_table_size": 4096,
            "skip_first_ngram_calls": False,
            "debug_mode": False,
        }
    )
    new = synthid.SCHEME.from_config(
        {"keys": keys, "ngram_len": 5, "num_leaves": 2, "temperature": 0.7, "top_k": 40}
    )

    assert hf.key == new.key == EngineKey(keys)
    assert dict(hf.parameters) == {
        "width": 5,
        "layers": 3,
        "table_seed": 3,
        "table_size": 4096,
        "device": "cpu",
    }
    assert dict(new.parameters) == {"width": 4, "layers": 3}


GOOD = {"keys": [1, 2], "ngram_len": 5}


@pytest.mark.parametrize("module", [hf_synthid, synthid], ids=["hf", "synthid-text"])
@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"keys": None}, "keys"),
        ({"keys": []}, "keys"),
        ({"keys": 5}, "keys"),
        ({"keys": [1, 1.5]}, "keys"),
        ({"keys": [2**63]}, "keys"),
        ({"keys": [1] * 257}, "keys"),
        ({"ngram_len": None}, "ngram_len"),
        ({"ngram_len": 1}, "ngram_len"),
        ({"ngram_len": "5"}, "ngram_len"),
        ({"unheard_of": 1}, "unheard_of"),
    ],
    ids=repr,
)
def test_a_configuration_that_is_wrong_is_refused_by_its_field(
    module: Any, changed: dict[str, Any], field: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        module.SCHEME.from_config({**GOOD, **changed})

    assert caught.value.field == field


@pytest.mark.parametrize("size", [1, 1000, 2**24, "65536"])
def test_a_table_that_is_no_power_of_two_is_refused(size: Any) -> None:
    with pytest.raises(ConfigError, match="sampling_table_size"):
        hf_synthid.SCHEME.from_config({**GOOD, "sampling_table_size": size})


def test_another_device_is_refused() -> None:
    with pytest.raises(ConfigError, match="not checked against a GPU"):
        hf_synthid.SCHEME.record(KEY, device="cuda")
    # A table of the CPU would clear every text that was marked on a GPU.
    with pytest.raises(ConfigError, match="not checked against a GPU") as caught:
        hf_synthid.SCHEME.from_config({"keys": [1], "ngram_len": 5, "device": "cuda:0"})
    assert caught.value.field == "device"
    hf_synthid.SCHEME.from_config({"keys": [1], "ngram_len": 5, "device": "cpu"})
    # Its hash is one of integers, alike everywhere.
    synthid.SCHEME.from_config({"keys": [1], "ngram_len": 5, "device": "cuda:0"})
