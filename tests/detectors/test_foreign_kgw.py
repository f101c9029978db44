"""`hf-kgw` and `kgw`: p-values that hold on real text, and transformers' own counts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from numpy.typing import NDArray

from watermark.detectors.foreign import kgw
from watermark.detectors.stats import ln_binomial_tail
from watermark.errors import KeyFileError, VocabularyMismatch
from watermark.kernels import mt_permutation
from watermark.keys import EngineKey, Key, KeyRecord
from watermark.schemes.foreign import FOREIGN, engine_numbers
from watermark.schemes.foreign import kgw as scheme
from watermark.tokenizer import TextTokenizer

ROOT = Path(__file__).parents[2]
VOCAB = 512
SELF_HASH = {"seeding": "selfhash", "width": 4}


@cache
def text() -> NDArray[np.uint32]:
    """A licence: real prose with the boilerplate that breaks other detectors."""
    tokenizer = TextTokenizer.of(ROOT / "benchmarks/models/lm")
    return np.asarray(tokenizer.encode((ROOT / "LICENSE").read_text()), np.uint32)


def records(
    name: str, count: int, seed: int, size: int = VOCAB, **parameters: Any
) -> Iterator[KeyRecord]:
    """Records of `count` keys, the same in each run."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        key = Key(rng.bytes(32))
        yield FOREIGN[name].record(key, vocab_size=size, **parameters)


# --- the null ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "keys", "parameters"),
    [
        pytest.param("hf-kgw", 1500, {}, id="lefthash"),
        pytest.param("hf-kgw", 250, SELF_HASH, id="selfhash"),
        pytest.param("kgw", 800, {"gamma": 0.5}, id="lm-selfhash"),
        pytest.param(
            "kgw",
            800,
            {"prf": "minhash_prf", "self_salt": 0, "legacy": 1},
            id="lm-minhash-legacy",
        ),
    ],
)
def test_rates_on_real_text_under_random_keys(
    name: str, keys: int, parameters: dict[str, Any]
) -> None:
    """Realised within the exact 99.9 % interval of the rate that the test promises."""
    ids = text()[200:500]
    share = int(VOCAB * parameters.get("gamma", 0.25)) / VOCAB
    scores = [kgw.score(ids, r) for r in records(name, keys, 50, **parameters)]
    for alpha in (0.1, 0.01, 0.001):
        hits = sum(score.ln_p <= math.log(alpha) for score in scores)
        # What a binomial count of as many pairs can reach of alpha.
        rates = [
            scipy.stats.binom.sf(
                scipy.stats.binom.isf(alpha, score.n, share), score.n, share
            )
            for score in scores
        ]
        low, high = scipy.stats.binom.interval(0.999, keys, np.mean(rates))
        print(f"{name} {parameters}: {alpha:g}: {hits / keys:g}, {np.mean(rates):g}")

        assert low <= hits <= high


def test_counting_contexts_instead_of_seeds_would_break_the_rate() -> None:
    """So the tests above can see it: self-hashing repeats its seeds."""
    windows = np.lib.stride_tricks.sliding_window_view(text()[:1500].astype(int), 4)
    windows = np.unique(windows, axis=0)
    hits = 0
    for record in records("kgw", 150, 51):
        [key] = engine_numbers(record)
        seeds, _ = scheme.seeds(windows, key, record.parameters)
        order = np.argsort(seeds)
        lists = kgw.GreenLists()
        greens = lists.members(
            seeds[order], windows[order, -1].astype(np.uint32), VOCAB, VOCAB // 4
        )
        hits += ln_binomial_tail(greens.sum(), len(greens), 0.25) <= math.log(0.01)
    print(f"rate by distinct contexts at 0.01: {hits / 150:g}")

    assert hits > scipy.stats.binom.isf(1e-6, 150, 0.01)


def test_pairs_are_told_apart_by_seed_and_token() -> None:
    [record] = records("kgw", 1, 52)
    seeds, tokens = kgw.pairs(np.tile(text()[:100], 3), record)
    pair = set(zip(seeds.tolist(), tokens.tolist(), strict=True))

    assert len(pair) == len(seeds) < 100
    assert kgw.score(np.tile(text()[:100], 3), record).n == len(seeds)


def test_what_no_key_decides_is_no_evidence() -> None:
    """Behind token 0 every key has the same list."""
    [record] = records("hf-kgw", 1, 53)
    green = mt_permutation(0, VOCAB, VOCAB // 4)
    ids = np.stack([np.zeros_like(green), green], axis=1).ravel()
    _, tokens = kgw.pairs(ids, record)

    assert set(tokens.tolist()) <= {0}


def test_tokens_outside_the_vocabulary_are_not_counted() -> None:
    [record] = records("hf-kgw", 1, 54)
    ids = text()[:100].copy()
    ids[50] = VOCAB
    _, tokens = kgw.pairs(ids, record)

    assert VOCAB not in tokens
    assert len(tokens) > 50
    assert kgw.score(np.full(20, 2**32 - 1, np.uint32), record).n == 0


@pytest.mark.parametrize("length", range(5))
@pytest.mark.parametrize("name", ["hf-kgw", "kgw"])
def test_a_text_without_context_is_no_evidence(name: str, length: int) -> None:
    [record] = records(name, 1, 55)
    score = kgw.score(np.arange(1, length + 1), record)
    first = 1 if name == "hf-kgw" else 3

    assert score.n == max(0, length - first)
    assert score.ln_p == 0.0


def test_a_prompt_gives_contexts_but_no_evidence() -> None:
    [record] = records("hf-kgw", 1, 56)
    prompt, ids = text()[:60], text()[300:400]
    both = np.concatenate([prompt, ids])
    seen = set(pairwise(prompt.tolist()))
    rest = set(pairwise(both[59:].tolist())) - seen

    assert kgw.score(both, record, skip=60).n == len({p for p in rest if p[0]})
    assert kgw.score(np.tile(prompt, 2), record, skip=60).n <= 1
    for skip in (-1, 161):
        with pytest.raises(ValueError, match="skip"):
            kgw.score(both, record, skip=skip)


def test_a_record_without_its_vocabulary_or_key_is_refused() -> None:
    record = FOREIGN["kgw"].record(EngineKey((7,)))
    with pytest.raises(VocabularyMismatch):
        kgw.score(text()[:50], record)
    loaded = KeyRecord.from_dict({**record.to_dict(), "vocab_size": VOCAB})
    with pytest.raises(KeyFileError):
        kgw.score(text()[:50], loaded)


# --- the engines ---------------------------------------------------------------------


@pytest.mark.parametrize("gamma", [0.25, 0.5])
@pytest.mark.parametrize("seeding", ["lefthash", "selfhash"])
def test_transformers_counts_the_same(seeding: str, gamma: float) -> None:
    """Where no two contexts have one seed, as without repeated tokens."""
    from transformers import LlamaConfig, WatermarkDetector, WatermarkingConfig

    rng = np.random.default_rng(57)
    ids = 1 + rng.permutation(49_999)[:120]
    config = WatermarkingConfig(
        greenlist_ratio=gamma,
        hashing_key=123456789,
        seeding_scheme=seeding,
        context_width=3 if seeding == "selfhash" else 1,
    )
    detector = WatermarkDetector(LlamaConfig(vocab_size=50_000), "cpu", config)
    theirs = detector(torch.from_numpy(ids)[None], return_dict=True)
    record = FOREIGN["hf-kgw"].from_config(config.to_dict(), vocab_size=50_000)
    ours = kgw.score(ids, record)

    assert ours.n == theirs.num_tokens_scored[0]
    assert ours.statistic == theirs.num_green_tokens[0]


@pytest.mark.parametrize("legacy", [0, 1])
@pytest.mark.parametrize(("prf", "salt"), [("additive_prf", 0), ("minhash_prf", 1)])
def test_a_marked_text_is_found_under_its_key_alone(
    prf: str, salt: int, legacy: int
) -> None:
    rng = np.random.default_rng(58)
    [record, other] = records("kgw", 2, 59, prf=prf, self_salt=salt, legacy=legacy)
    [key] = engine_numbers(record)
    tokens = rng.integers(1, VOCAB, 4).tolist()
    while len(tokens) < 200:
        for _ in range(8):  # the first green one of some candidates
            token = int(rng.integers(1, VOCAB))
            window = [*tokens, token][-4:] if salt else tokens[-4:]
            [seed], _ = scheme.seeds(np.asarray([window]), key, record.parameters)
            ids = mt_permutation(int(seed), VOCAB, VOCAB)
            green = ids[-VOCAB // 4 :] if legacy else ids[: VOCAB // 4]
            if token in green:
                break
        tokens.append(token)

    assert kgw.score(tokens, record).log10_p() < -30
    assert kgw.score(tokens, other).log10_p() > -4


# --- lists that are kept -------------------------------------------------------------


def test_kept_lists_answer_as_fresh_ones_do() -> None:
    [record] = records("hf-kgw", 1, 60)
    seeds, tokens = kgw.pairs(text()[:400], record)
    lists = kgw.GreenLists(budget=40 * VOCAB // 8)
    rounds = [lists.members(seeds, tokens, VOCAB, VOCAB // 4) for _ in range(4)]
    share = rounds[0].mean()

    assert all((found == rounds[0]).all() for found in rounds)
    assert 0.1 < share < 0.4
    assert len(lists._masks) == 40


def test_lists_are_kept_by_their_size_too() -> None:
    lists = kgw.GreenLists()
    seeds, tokens = np.full(50, 9, np.uint32), np.arange(50, dtype=np.uint32)
    for size, count in ((100, 50), (100, 25), (200, 50)) * 3:
        expected = set(mt_permutation(9, size, count).tolist())
        found = lists.members(seeds, tokens, size, count)

        assert found.tolist() == [t in expected for t in range(50)]


def test_threads_share_the_lists() -> None:
    scored = list(records("hf-kgw", 6, 61))
    expected = [kgw.score(text()[:300], record) for record in scored]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda r: kgw.score(text()[:300], r), scored * 8))

    assert found == expected * 8
