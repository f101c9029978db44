"""vLLM, SGLang and TextSeal: the engines' own words, statistics and configurations."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from watermark import kernels
from watermark.detectors.foreign import gumbel
from watermark.errors import ConfigError
from watermark.keys import EngineKey, Key, KeyRecord
from watermark.pipelines import sglang as sglang_pipeline
from watermark.pipelines import vllm as vllm_pipeline
from watermark.schemes import gumbel as ours
from watermark.schemes.foreign import sglang, textseal, vllm

VECTORS = Path(__file__).parents[1] / "vectors"
KEY = Key(bytes((*range(1, 32), 0)))


def vectors(engine: str) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = json.loads((VECTORS / f"{engine}.json").read_text())[
        "cases"
    ]
    return cases


def ids(case: dict[str, Any]) -> np.ndarray:
    return np.asarray(case["tokens"], np.uint32)


def uint64(*values: int) -> np.ndarray:
    return np.asarray(values, np.uint64)


# --- bits ----------------------------------------------------------------------------


def test_vllm_draws_the_engines_words() -> None:
    compared = 0
    for case in vectors("vllm"):
        keys = [vllm.subkey(case["key"], name) for name in "ab"]
        # The engine's detector is given the output alone.
        text = ids(case)[case["skip"] :]
        _, words = kernels.vllm_words(text, uint64(case["key"], *keys), case["width"])

        for column, name in enumerate(("key", "a", "b")):
            assert (words[:, column] >> 8).tolist() == case["words"][name]
            compared += len(words)
        assert len(words) == case["n"]
    assert compared >= 1000


def test_sglang_draws_the_engines_words() -> None:
    compared = 0
    for case in vectors("sglang"):
        width, skip, tokens = case["width"], case["skip"], ids(case)
        a, b = case["key"], case["key_b"]
        positions, under_a = kernels.sglang_words(tokens, uint64(a), width, 0, skip)
        under_b = kernels.sglang_words(tokens, uint64(b), width, 0, skip)[1]
        threshold = int(case["mixing"] * 2**32)
        dual = kernels.sglang_words(tokens, uint64(a, b), width, threshold, skip)[1]
        owned = dual == under_a

        assert under_a.tolist() == case["words"]["key"]
        assert np.stack([under_a, under_b], 1).ravel().tolist() == case["words"]["dual"]
        assert np.array_equal(dual, np.where(owned, under_a, under_b))
        assert owned.sum() == case.get("owned_by_a", 0)
        compared += len(positions) * 3
    assert compared >= 1000


def test_textseal_draws_the_engines_words() -> None:
    compared = 0
    for case in vectors("textseal"):
        tokens, width = ids(case), case["width"]
        windows = np.lib.stride_tricks.sliding_window_view(tokens, width + 1)
        first = np.sort(np.unique(windows, axis=0, return_index=True)[1])
        positions, sums = textseal.sums(tokens, width)
        record = textseal.SCHEME.record(KEY, dual=1)
        words = textseal.words(sums, textseal.keys(with_numbers(record, case["key"])))

        assert positions.tolist() == (first + case["width"]).tolist()
        for column, name in enumerate("ab"):
            expected = np.asarray(case["words"][name])[first]
            assert np.array_equal(words[:, column], expected)
            compared += len(words)
    assert compared >= 1000


def with_numbers(record: KeyRecord, *numbers: int) -> KeyRecord:
    """The record under an engine's key, whose slow name is not computed."""
    key = object.__new__(EngineKey)
    key.numbers, key.kid = numbers, record.kid
    return KeyRecord(
        kid=record.kid, scheme=record.scheme, parameters=record.parameters, key=key
    )


def test_statistics_are_the_engines_up_to_their_rounding() -> None:
    """u is rounded down here: the terms are smaller by 2**-24 / (1 - u) at most."""
    for case in vectors("vllm"):
        for dual, expected in enumerate(case["statistics"]):
            record = vllm.SCHEME.record(
                KEY, width=case["width"], dual=dual, alpha=case["alpha"]
            )
            tokens = ids(case)[case["skip"] :]
            found = gumbel.score(tokens, with_numbers(record, case["key"]))

            assert found.n == case["n"]
            assert found.statistic == pytest.approx(expected, rel=1e-4, abs=1e-5)
    for case in vectors("sglang"):
        for dual, name in enumerate(("key", "dual")):
            record = sglang.SCHEME.record(
                KEY, width=case["width"], dual=dual, alpha=1 - case["mixing"]
            )
            numbers = (case["key"], case["key_b"])[: dual + 1]
            found = gumbel.score(
                ids(case), with_numbers(record, *numbers), case["skip"]
            )

            assert found.n == case[f"{name}_n"]
            expected = case[f"{name}_statistic"]
            assert found.statistic == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_key_names_of_the_two_keys_of_vllm() -> None:
    assert vllm.subkey(42, "a") == 37150756557148556
    assert vllm.subkey(42, "b") == 15826636237805488045


# --- configurations ------------------------------------------------------------------


def test_vllms_configuration_is_read() -> None:
    record = vllm.SCHEME.from_config({"key": 2**64 - 5})
    dual = vllm.SCHEME.from_config(
        {
            "key": 7,
            "algorithm": "dual_key_gumbel",
            "alpha": 0.3,
            "context_width": 2,
            "deduplicate_contexts": "all",
            "deduplicate_contexts_max_history": None,
            "prf": "philox",
        }
    )

    assert dict(record.parameters) == dict(vllm.SCHEME.defaults)
    assert record.key == EngineKey((2**64 - 5,))
    assert dual.parameters["dual"] == 1
    assert (dual.parameters["alpha"], dual.parameters["width"]) == (0.3, 2)


def test_sglangs_configuration_is_read() -> None:
    record = sglang.SCHEME.from_config({"key": "0xF"})
    dual = sglang.SCHEME.from_config(
        {
            "key": "f" * 16,
            "key_b": "b",
            "context_window": 3,
            "mixing_probability": 0.75,
            "max_probability": 0.9,
            "enforce_all": True,
        }
    )

    assert record.key == EngineKey((15,))
    assert record.parameters["dual"] == 0
    assert dual.key == EngineKey((2**64 - 1, 11))
    assert dict(dual.parameters) == {
        "width": 3,
        "dual": 1,
        "alpha": 0.25,
        "prf": sglang.PRF,
    }


def test_textseals_configuration_is_read() -> None:
    record = textseal.SCHEME.from_config({"secret_key": 42, "ngram": 3})
    dual = textseal.SCHEME.from_config(
        {"secret_key": 42, "watermark_type": "textseal", "mixing_alpha": 0.75}
    )

    assert (record.key, record.parameters["dual"]) == (EngineKey((42,)), 0)
    assert dual.key == EngineKey((42, 42 + 12345))
    assert (dual.parameters["width"], dual.parameters["alpha"]) == (1, 0.25)


@pytest.mark.parametrize(
    ("scheme", "config", "field"),
    [
        (vllm, {}, "key"),
        (vllm, {"key": -1}, "key"),
        (vllm, {"key": 2**64}, "key"),
        (vllm, {"key": "42"}, "key"),
        (vllm, {"key": True}, "key"),
        (vllm, {"key": 1, "algorithm": "sbw"}, "algorithm"),
        (vllm, {"key": 1, "prf": "xor"}, "prf"),
        (vllm, {"key": 1, "alpha": math.nan}, "alpha"),
        (vllm, {"key": 1, "context_width": 0}, "context_width"),
        (vllm, {"key": 1, "deduplicate_contexts": "some"}, "deduplicate_contexts"),
        (vllm, {"key": 1, "gamma": 0.5}, "gamma"),
        (sglang, {"context_window": 4}, "key"),
        (sglang, {"key": 15}, "key"),
        (sglang, {"key": "0x"}, "key"),
        (sglang, {"key": "f" * 17}, "key"),
        (sglang, {"key": "1_0"}, "key"),
        (sglang, {"key": "f", "key_b": "g"}, "key_b"),
        (sglang, {"key": "f", "context_window": 65}, "context_window"),
        (sglang, {"key": "f", "mixing_probability": 0}, "mixing_probability"),
        (sglang, {"key": "f", "mixing_probability": 1.5}, "mixing_probability"),
        (sglang, {"key": "f", "extra": 1}, "extra"),
        (textseal, {"secret_key": 2**63}, "secret_key"),
        (textseal, {"secret_key": 1, "ngram": 11}, "ngram"),
        (textseal, {"secret_key": 1, "watermark_type": "dipmark"}, "watermark_type"),
        (textseal, {"secret_key": 1, "mixing_alpha": 2}, "mixing_alpha"),
    ],
    ids=lambda value: (
        value.__name__.split(".")[-1] if hasattr(value, "SCHEME") else None
    ),
)
def test_a_configuration_that_is_wrong_is_refused_by_its_field(
    scheme: Any, config: dict[str, Any], field: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        scheme.SCHEME.from_config(config)

    assert caught.value.field == field
    key = config.get("key")
    if isinstance(key, str) and len(key) > 2:  # a short one is in any text
        assert key not in str(caught.value)


@pytest.mark.parametrize("dual", [0, 1])
def test_what_our_pipelines_hand_over_is_the_key_that_is_tested(dual: int) -> None:
    """A pipeline's record and the configuration it writes draw the same words."""
    plain = ours.SCHEME.record(KEY, dual=dual)
    tokens = np.arange(40, dtype=np.uint32) ** 2
    record = vllm_pipeline.engine_record(plain)
    key = int.from_bytes(record.derive("vllm", length=8), "big")
    read = vllm.SCHEME.from_config({**vllm_pipeline.native_config(plain), "key": key})

    assert gumbel.score(tokens, record) == gumbel.score(tokens, read)

    record = sglang_pipeline.engine_record(plain)
    config = sglang_pipeline.native_config(plain)
    config["key"] = record.derive("sglang", length=8).hex()
    if dual:
        config["key_b"] = record.derive("sglang-b", length=8).hex()

    assert gumbel.score(tokens, record) == gumbel.score(
        tokens, sglang.SCHEME.from_config(config)
    )


@pytest.mark.parametrize("module", [vllm, sglang, textseal])
def test_parameters_out_of_range_are_refused(module: Any) -> None:
    for parameters in ({"width": 0}, {"width": 65}, {"dual": 2}, {"alpha": 1.5}):
        with pytest.raises(ValueError, match="expected"):
            module.SCHEME.record(KEY, **parameters)
