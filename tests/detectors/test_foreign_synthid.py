"""SynthID of transformers and synthid-text: rates are as stated; marks are found."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray

from watermark import kernels
from watermark.detectors.foreign import synthid as detector
from watermark.detectors.lattice import ln_count_tail
from watermark.detectors.tournament import ln_tail
from watermark.keys import EngineKey, Key, KeyRecord
from watermark.schemes.foreign import engine_numbers, hf_synthid, synthid
from watermark.schemes.foreign.base import Foreign
from watermark.schemes.foreign.config import load_records

Ids = NDArray[np.uint32]
LM = Path(__file__).parents[2] / "benchmarks" / "models" / "lm"
KEYS = 500
PUBLISHED = (654, 400, 836, 123, 340, 443, 597, 160, 57)  # transformers' documentation
SCHEMES = [hf_synthid.SCHEME, synthid.SCHEME]
BOTH = pytest.mark.parametrize("scheme", SCHEMES, ids=["hf-synthid", "synthid"])


def records(
    scheme: Foreign, count: int, seed: int, **parameters: Any
) -> Iterator[KeyRecord]:
    """Records of `count` keys, the same in each run, so that no test is flaky."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield scheme.record(Key(rng.bytes(32)), **parameters)


def prose(length: int) -> Ids:
    """A text that repeats itself, as texts do; ids by rank of first use."""
    words = (np.random.Generator.choice.__doc__ or "").split()
    words = (words[: length // 2] * 2)[:length]
    order = {word: 31 * i + 7 for i, word in enumerate(dict.fromkeys(words))}
    return np.asarray([order[word] for word in words], np.uint32)


def likely(found: Any) -> None:
    """That so many p-values are so small (99.9 %)."""
    for alpha in (0.5, 0.1, 1e-2, 1e-3):
        low, high = scipy.stats.binom.interval(0.999, len(found), alpha)
        assert low <= (found <= alpha).sum() <= high, alpha


@BOTH
@pytest.mark.parametrize(("width", "layers"), [(4, 30), (1, 5)])
def test_p_values_are_exact_under_random_keys(
    scheme: Foreign, width: int, layers: int
) -> None:
    tokens = prose(100)
    found = np.exp(
        [
            detector.score(tokens, record).ln_p
            for record in records(scheme, KEYS, 1, width=width, layers=layers)
        ]
    )

    likely(found)
    assert scipy.stats.kstest(found, "uniform").pvalue > 1e-4


def test_the_null_is_what_every_key_gives() -> None:
    """Tried one by one, for a table that is small enough for that."""
    bit = hf_synthid.table(1024, 3)
    rng = np.random.default_rng(2)
    states = rng.integers(0, 1024, 90)
    states[:20] = states[20:40]  # repeats belong to the text
    counts = [int(bit[(states + key) % 1024].sum()) for key in range(1024)]
    expected = np.bincount(counts, minlength=91) / 1024

    assert np.array_equal(detector.null(states, bit), expected)


def test_the_table_is_not_quite_fair() -> None:
    """Its ones over all 65,536 sums, 30 times, make the mean that was published."""
    bit = hf_synthid.table(65536, 0)

    assert 30 * float(bit.mean()) == pytest.approx(14.9886, abs=5e-5)


def test_p_values_of_the_published_key_are_valid_over_random_texts() -> None:
    rng = np.random.default_rng(3)
    record = hf_synthid.SCHEME.record(EngineKey(PUBLISHED), layers=len(PUBLISHED))
    found = np.exp(
        [detector.score(rng.integers(0, 50_000, 60), record).ln_p for _ in range(KEYS)]
    )

    for alpha in (0.1, 1e-2, 1e-3):
        assert (found <= alpha).sum() <= scipy.stats.binom.ppf(0.999, KEYS, alpha)


def test_layers_with_one_key_are_one_layer() -> None:
    """Thirty times one key: taken as thirty, every fourth text would be "marked"."""
    tokens = prose(100)
    rng = np.random.default_rng(4)
    found, naive = [], []
    for _ in range(25):
        keys = (int(rng.integers(0, 1 << 63)),) * 30
        record = hf_synthid.SCHEME.record(EngineKey(keys))
        score = detector.score(tokens, record)
        states = hf_synthid.states(tokens, record, 0)[1]
        p = detector.null(states, hf_synthid.table(65536, 0))
        weights = detector.weights(30)
        found.append(math.exp(score.ln_p))
        naive.append(math.exp(ln_count_tail(p, weights, int(score.statistic))))

    assert np.mean(np.asarray(naive) <= 0.01) > 0.2
    assert (np.asarray(found) <= 0.01).sum() <= scipy.stats.binom.ppf(0.999, 25, 0.01)
    assert min(found) >= 1 / 65536


# --- power ---------------------------------------------------------------------------


def generate(record: KeyRecord, length: int, seed: int) -> list[int]:
    """Tokens of a toy model of about 1 nat, each after its tournament."""
    rng = np.random.default_rng(seed)
    vocabulary = np.arange(200, dtype=np.uint32)
    width = int(record.parameters["width"])
    seen: set[tuple[int, ...]] = set()
    out: list[int] = []
    while len(out) < length:
        p = np.exp(2 * rng.gumbel(size=len(vocabulary)))
        p /= p.sum()
        context = tuple(out[-width:])
        if len(context) == width and context not in seen:
            seen.add(context)
            for g in bits(record, context, vocabulary).T:
                p *= 1 + g - (p * g).sum()
            p = np.maximum(p, 0) / np.maximum(p, 0).sum()
        out.append(int(rng.choice(vocabulary, p=p)))
    return out


def bits(record: KeyRecord, context: tuple[int, ...], vocabulary: Ids) -> Any:
    """The g values of every candidate, by the kernels that vectors test."""
    keys = engine_numbers(record)
    hf = record.scheme == "hf-synthid"
    start = 1 if hf else synthid.start(keys)
    states = np.concatenate(
        [
            kernels.synthid_states(np.asarray([*context, x], np.uint32), start, 4)[1]
            for x in vocabulary
        ]
    )
    if not hf:
        return kernels.synthid_bits(states, np.asarray(keys, np.uint64)).astype(float)
    shifts = np.asarray([key % 65536 for key in keys])
    low = (states % np.uint64(65536)).astype(np.int64)
    return hf_synthid.bits(low, shifts, hf_synthid.table(65536, 0)).astype(float)


@BOTH
def test_a_marked_text_is_found_under_its_key_alone(scheme: Foreign) -> None:
    record, other = records(scheme, 2, 5)
    text = generate(record, 140, 0)

    assert detector.score(text, record).log10_p() < -6
    assert detector.score([*range(500, 560), *text], record, 60).log10_p() < -6
    assert detector.score(text, other).log10_p() > -3


def test_what_transformers_itself_generates_is_found() -> None:
    """With the committed language model, 110 new tokens, by `generate`."""
    if not (LM / "model.safetensors").exists():
        pytest.skip("benchmarks/models/lm is not there: run its training script")
    import torch
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        SynthIDTextWatermarkingConfig,
    )

    model: Any = AutoModelForCausalLM.from_pretrained(LM)
    prompt = AutoTokenizer.from_pretrained(LM)("In mathematics, the").input_ids
    keys = np.random.default_rng(8).integers(0, 1 << 62, 30).tolist()
    config = SynthIDTextWatermarkingConfig(ngram_len=5, keys=keys)
    torch.manual_seed(8)
    out = (
        model.eval()
        .generate(
            torch.tensor([prompt]),
            do_sample=True,
            max_new_tokens=110,
            min_new_tokens=110,
            watermarking_config=config,
        )[0]
        .tolist()
    )
    record, *_ = load_records(config)
    [other] = records(hf_synthid.SCHEME, 1, 8)

    assert detector.score(out, record, len(prompt)).log10_p() < -6
    assert detector.score(out[len(prompt) :], record).log10_p() < -6
    assert detector.score(out, other, len(prompt)).log10_p() > -3


def test_weights_fall_and_are_whole() -> None:
    weights = detector.weights(40)

    assert weights.dtype.kind == "i"
    assert (np.diff(weights) <= 0).all()
    assert (weights[0], weights[29], weights[39]) == (14, 4, 3)


# --- the text ------------------------------------------------------------------------


def test_long_texts_get_the_same_tail_by_approximation() -> None:
    """Where the convolution ends, and a little beyond."""
    weights = detector.weights(20)
    for total in (93_000, 95_500, 97_000, 110_000):
        exact = detector._ln_coin_tail(1000, weights, total)
        near = ln_tail(
            1000, weights.astype(float), 2.0 * total - 1000 * float(weights.sum())
        )

        assert near == pytest.approx(exact, abs=0.03)


@BOTH
@pytest.mark.parametrize("length", range(5))
def test_a_text_without_context_is_no_evidence(scheme: Foreign, length: int) -> None:
    [record] = records(scheme, 1, 6)
    score = detector.score(list(range(length)), record)

    assert (score.n, score.ln_p, score.log10_p()) == (0, 0.0, 0.0)


@BOTH
def test_any_integer_sequence_gives_the_same_score(scheme: Foreign) -> None:
    [record] = records(scheme, 1, 7)
    tokens = prose(80)

    assert detector.score(tokens.tolist(), record) == detector.score(tokens, record)
    for skip in (-1, len(tokens) + 1):
        with pytest.raises(ValueError, match="skip"):
            detector.score(tokens, record, skip)


# Tokens may change by these, or by multiples, and the hash of all five is the same:
# sum_j step_j M^(5 - j) = 0 modulo 2^64 (a short vector of that lattice).
STEPS = (-1581, 4057, -5024, 547, -1079)


def test_tokens_with_one_hash_are_one_observation() -> None:
    base = np.asarray([150_000 if step < 0 else 0 for step in STEPS])
    ids = (base + np.outer(np.arange(29), STEPS)).astype(np.uint32).ravel()
    found = np.asarray(
        [
            math.exp(detector.score(ids, record).ln_p)
            for record in records(synthid.SCHEME, KEYS, 11, layers=5)
        ]
    )
    likely(found)
    # 29 windows with one hash are one of the observations.
    record = next(records(synthid.SCHEME, 1, 11, layers=5))
    assert detector.score(ids, record).n == len(ids) - 4 - 28


def test_layers_with_one_key_are_one_layer_of_synthid_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("watermark.keys.engine.SCRYPT_N", 2)  # of the key ids alone
    ids = np.random.default_rng(3).integers(0, 1000, 60).astype(np.uint32)
    rng = np.random.default_rng(4)
    found = []
    for _ in range(KEYS):
        one, other = rng.integers(1 << 62, size=2).tolist()
        record = synthid.SCHEME.record(EngineKey([one, one, one, other]), layers=4)
        found.append(math.exp(detector.score(ids, record).ln_p))
    likely(np.asarray(found))


def test_a_long_text_of_one_state_needs_no_large_transform() -> None:
    """Tokens equal modulo 65,536: the counts are 0 or n, the sum's range is huge."""
    ids = np.random.default_rng(5).permutation(1 << 16).astype(np.uint32) << 16
    record = hf_synthid.SCHEME.record(Key(np.random.default_rng(6).bytes(32)))
    score = detector.score(ids, record)
    assert score.n > 60_000
    assert -math.log(2) * 30 * 1.1 < score.ln_p <= 0
