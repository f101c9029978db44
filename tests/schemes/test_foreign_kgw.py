"""The lists of `hf-kgw`, `kgw` and `unigram` are the engines' own, id by id."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from watermark.errors import ConfigError
from watermark.kernels import mt_permutation
from watermark.keys import EngineKey, Key
from watermark.schemes.foreign import FOREIGN, engine_numbers, hf_kgw, kgw, unigram
from watermark.schemes.foreign.base import Foreign

VECTORS = Path(__file__).parents[1] / "vectors"
HF = {
    "greenlist_ratio": 0.25,
    "bias": 2.0,
    "hashing_key": 15485863,
    "seeding_scheme": "lefthash",
    "context_width": 1,
}
KGW = {"seeding_scheme": "selfhash", "gamma": 0.25, "delta": 2.0, "vocab_size": 50257}
UNIGRAM = {"fraction": 0.5, "strength": 2.0, "vocab_size": 50257, "watermark_key": 0}


def rows(name: str) -> list[list[Any]]:
    found: list[list[Any]] = json.loads((VECTORS / f"{name}.json").read_text())["lists"]
    return found


def digest(values: Any, dtype: Any) -> str:
    return hashlib.sha256(np.asarray(values, dtype).tobytes()).hexdigest()[:16]


def green(seed: int, vocab: int, gamma: float) -> str:
    return digest(mt_permutation(seed, vocab, int(vocab * gamma)), "<u4")


# --- golden vectors ------------------------------------------------------------------


def test_transformers_lists() -> None:
    wrong = []
    for key, seeding, width, gamma, vocab, tokens, expected in rows("hf_kgw"):
        windows = np.asarray([tokens], np.int64)
        parameters = {"seeding": seeding, "width": width}
        [seed], _ = hf_kgw.seeds(windows, key, parameters)
        if green(int(seed), vocab, gamma) != expected:
            wrong.append((key, seeding, width, gamma, vocab))

    assert len(rows("hf_kgw")) >= 1000
    assert wrong == []


def test_lm_watermarking_lists() -> None:
    wrong = []
    for key, prf, _, gamma, vocab, legacy, tokens, expected in rows("kgw"):
        [seed], _ = kgw.seeds(np.asarray([tokens], np.int64), key, {"prf": prf})
        count = int(vocab * gamma)
        ids = mt_permutation(int(seed), vocab, vocab if legacy else count)
        if digest(ids[vocab - count :] if legacy else ids, "<u4") != expected:
            wrong.append((key, prf, gamma, vocab, legacy))

    assert len(rows("kgw")) >= 1000
    assert wrong == []


def test_unigram_lists() -> None:
    wrong = []
    for key, gamma, vocab, expected in rows("unigram"):
        mask = unigram._green(key, vocab, gamma)
        if digest(mask, np.uint8) != expected:
            wrong.append((key, gamma, vocab))

    assert len(rows("unigram")) >= 1000
    assert wrong == []


@pytest.mark.parametrize("name", ["hf_kgw", "kgw", "unigram"])
def test_the_vectors_vary_every_parameter(name: str) -> None:
    columns = list(zip(*rows(name), strict=True))[: 2 if name == "unigram" else 5]
    where = 2 if name == "unigram" else 4
    vocabularies = {row[where] for row in rows(name)}

    assert all(len(set(column)) > 1 for column in columns)
    assert {1000, 262144} <= vocabularies


def test_seeds_of_many_windows_are_those_of_each() -> None:
    rng = np.random.default_rng(0)
    windows = rng.integers(0, 50000, (40, 4))
    for prf in kgw.PRFS:
        together, _ = kgw.seeds(windows, 15485863, {"prf": prf})
        alone = [kgw.seeds(w[None], 15485863, {"prf": prf})[0][0] for w in windows]

        assert together.tolist() == alone


@pytest.mark.parametrize(
    "prf", ["additive_prf", "multiplicative_prf", "skipgram_prf", "position_prf"]
)
def test_a_context_of_zeros_is_told_to_be_no_evidence(prf: str) -> None:
    """Its seed is the same under every key."""
    windows = np.asarray([[0, 0, 0], [0, 0, 5], [5, 6, 7]], np.int64)
    _, keyed = kgw.seeds(windows, 987654321, {"prf": prf})
    seed, _ = kgw.seeds(windows, 123456789, {"prf": prf})
    other, _ = kgw.seeds(windows, 987654321, {"prf": prf})

    assert keyed.tolist() == (seed != other).tolist()
    assert keyed.tolist()[::2] == [False, True]


# --- configurations ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prf", "even", "odd"),
    [
        # Contexts whose sum of places times tokens is 2**20.
        ("position_prf", [0, 0, 0, 1 << 18], [0, 0, 0, (1 << 18) + 1]),
        # Tokens whose values in the table are multiples of 2**8.
        ("anchored_minhash_prf", None, [11, 318, 464, 995]),
    ],
)
def test_a_window_of_which_a_key_decides_few_bits_is_no_evidence(
    prf: str, even: list[int] | None, odd: list[int]
) -> None:
    """Anybody can choose it, and is right about its list under many keys."""
    if even is None:
        values = hf_kgw.table(kgw.TABLE_SEED)[:50257].astype(np.int64) + 1
        even = np.flatnonzero(values % 256 == 0)[:4].tolist()
    windows = np.asarray([even, odd], np.int64)
    keys = np.random.default_rng(0).integers(1 << 40, 1 << 62, 3000).tolist()
    found = [kgw.seeds(windows, key, {"prf": prf}) for key in keys]

    assert len({int(seeds[0]) for seeds, _ in found}) <= 1 << 17
    assert len({int(seeds[0]) for seeds, _ in found}) < 3000 - 30  # so many are equal
    assert len({int(seeds[1]) for seeds, _ in found}) > 2990
    assert not any(keyed[0] for _, keyed in found)
    assert all(keyed[1] for _, keyed in found)


def test_a_configuration_becomes_a_record() -> None:
    record = FOREIGN["hf-kgw"].from_config(
        {**HF, "seeding_scheme": "selfhash", "context_width": 4}, vocab_size=50257
    )

    assert dict(record.parameters) == {
        "delta": 2.0,
        "device": "cpu",
        "gamma": 0.25,
        "seeding": "selfhash",
        "width": 4,
    }
    assert (record.scheme, record.vocab_size) == ("hf-kgw", 50257)
    assert engine_numbers(record) == (15485863,)


def test_the_width_of_lefthash_decides_nothing() -> None:
    one, four = (
        FOREIGN["hf-kgw"].from_config({**HF, "context_width": w}, vocab_size=1000)
        for w in (1, 4)
    )

    assert one.test == four.test


@pytest.mark.parametrize("name", ["hf-kgw", "kgw", "unigram"])
def test_another_vocabulary_is_another_test(name: str) -> None:
    key = EngineKey((7,))
    small, large = (
        FOREIGN[name].record(key, vocab_size=size) for size in (50257, 50304)
    )

    assert small.test != large.test


@pytest.mark.parametrize("field", [name for name in HF if name != "bias"])
def test_a_missing_field_is_named(field: str) -> None:
    config = {name: value for name, value in HF.items() if name != field}
    with pytest.raises(ConfigError, match=field) as caught:
        FOREIGN["hf-kgw"].from_config(config, vocab_size=1000)

    assert caught.value.field == field


BAD: list[tuple[str, dict[str, Any], str, Any]] = [
    ("hf-kgw", HF, "hashing_key", 1 << 64),
    ("hf-kgw", HF, "hashing_key", -(1 << 63) - 1),
    ("hf-kgw", HF, "hashing_key", "15485863"),
    ("hf-kgw", HF, "hashing_key", 1.5),
    ("hf-kgw", HF, "hashing_key", True),
    ("hf-kgw", HF, "greenlist_ratio", 0.0),
    ("hf-kgw", HF, "greenlist_ratio", 1.0),
    ("hf-kgw", HF, "greenlist_ratio", float("nan")),
    ("hf-kgw", HF, "greenlist_ratio", "0.25"),
    ("hf-kgw", HF, "seeding_scheme", "righthash"),
    ("hf-kgw", HF, "seeding_scheme", ["lefthash"]),
    ("hf-kgw", HF, "context_width", 0),
    ("hf-kgw", HF, "context_width", 65),
    ("hf-kgw", HF, "bias", float("inf")),
    ("hf-kgw", HF, "device", "cuda"),
    ("hf-kgw", HF, "vocab_size", 1),
    ("hf-kgw", HF, "vocab_size", (1 << 24) + 1),
    ("hf-kgw", HF, "salt", 1),
    ("kgw", KGW, "seeding_scheme", "simple_2"),
    ("kgw", KGW, "seeding_scheme", "ff-additive_prf-1-maybe-7"),
    ("kgw", KGW, "seeding_scheme", "ff-additive_prf-x-True-7"),
    ("kgw", KGW, "seeding_scheme", f"ff-additive_prf-1-True-{1 << 63}"),
    ("kgw", KGW, "seeding_scheme", "ff-other_prf-1-True-7"),
    ("kgw", KGW, "gamma", 2),
    ("kgw", KGW, "select_green_tokens", 1),
    ("kgw", KGW, "vocab_size", 0),
    ("unigram", UNIGRAM, "watermark_key", 1 << 63),
    ("unigram", UNIGRAM, "fraction", 1.0),
    ("unigram", UNIGRAM, "strength", -1.0),
    ("unigram", UNIGRAM, "vocab_size", None),
]


@pytest.mark.parametrize(("name", "good", "field", "value"), BAD)
def test_a_bad_field_is_named(
    name: str, good: dict[str, Any], field: str, value: Any
) -> None:
    size = None if "vocab_size" in good else 1000
    FOREIGN[name].from_config(good, vocab_size=size)
    with pytest.raises(ConfigError, match=field) as caught:
        FOREIGN[name].from_config({**good, field: value}, vocab_size=size)

    assert caught.value.field == field


def test_a_refused_key_is_not_shown() -> None:
    secret = (1 << 70) + 987654321
    free = f"ff-additive_prf-1-True-{secret}"
    for name, config in (
        ("hf-kgw", {**HF, "hashing_key": secret}),
        ("kgw", {**KGW, "seeding_scheme": free}),
        ("unigram", {**UNIGRAM, "watermark_key": secret}),
    ):
        with pytest.raises(ConfigError) as caught:
            FOREIGN[name].from_config(config)

        assert str(secret) not in str(caught.value)


@pytest.mark.parametrize("scheme", FOREIGN.values(), ids=lambda scheme: scheme.name)
def test_no_configuration_that_is_none_is_read(scheme: Foreign) -> None:
    wrong: Any
    for wrong in ([], {1: 2}, "lefthash", None):
        with pytest.raises(ConfigError):
            scheme.from_config(wrong)


def test_without_a_vocabulary_there_is_no_record() -> None:
    with pytest.raises(ConfigError, match="vocab_size"):
        FOREIGN["hf-kgw"].from_config(HF)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("simple_1", ("additive_prf", 1, 0, 15485863)),
        ("selfhash", ("anchored_minhash_prf", 4, 1, 15485863)),
        ("algorithm-3", ("anchored_minhash_prf", 4, 1, 15485863)),
        ("minhash", ("minhash_prf", 4, 0, 15485863)),
        ("skipgram", ("skipgram_prf", 5, 0, 15485863)),
        ("ff-position_prf-6-True-99", ("position_prf", 6, 1, 99)),
        ("ff-noncomm_prf-3-False", ("noncomm_prf", 3, 0, 15485863)),
    ],
)
def test_named_and_free_seeding_schemes(name: str, expected: Any) -> None:
    record = FOREIGN["kgw"].from_config({**KGW, "seeding_scheme": name})
    p = record.parameters

    assert (p["prf"], p["width"], p["self_salt"], *engine_numbers(record)) == expected


def test_two_keys_in_one_configuration_contradict() -> None:
    config = {**KGW, "seeding_scheme": "ff-minhash_prf-4-False-99", "hash_key": 98}
    with pytest.raises(ConfigError, match="hash_key"):
        FOREIGN["kgw"].from_config(config)


def test_one_of_our_keys_has_a_number_for_each_engine() -> None:
    key = Key(bytes((*range(101, 132), 100)))
    numbers = [
        engine_numbers(FOREIGN[name].record(key, vocab_size=1000))
        for name in ("hf-kgw", "kgw", "unigram")
    ]

    assert len(set(numbers)) == 3
    assert all(0 <= n < 1 << 63 for [n] in numbers)
