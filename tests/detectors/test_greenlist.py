"""The null distribution of `greenlist` is binomial, exactly, on any text."""

from __future__ import annotations

import collections
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray

from watermark import kernels
from watermark.detectors import greenlist
from watermark.detectors.stats import ln_binomial_tail
from watermark.errors import InvalidSignal
from watermark.keys import Key, KeyRecord
from watermark.prf import context_key
from watermark.schemes import SCHEMES
from watermark.schemes import greenlist as scheme

Ids = NDArray[np.uint32]
KEYS = 20_000


def records(count: int, seed: int, **parameters: Any) -> Iterator[KeyRecord]:
    """Records of `count` keys, the same in each run, so that no test is flaky."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield SCHEMES["greenlist"].record(Key(rng.bytes(32)), **parameters)


def texts() -> dict[str, Ids]:
    words = (collections.Counter.__doc__ or "").split()
    table = {word: i for i, word in enumerate(words)}
    line = [7, 1, 2, 1, 3, 1, 4, 9]
    return {
        "prose": np.asarray([table[word] for word in words], dtype=np.uint32),
        "repeats": np.tile(np.arange(24, dtype=np.uint32), 10),
        "loop": np.zeros(300, dtype=np.uint32),
        "code": np.asarray(line * 5 + line[::-1] * 5, dtype=np.uint32),
        "neighbours": np.arange(2**20, 2**20 + 200, dtype=np.uint32),
        "short": np.arange(7, dtype=np.uint32),
    }


@pytest.mark.parametrize("gamma16", [4, 8])
@pytest.mark.parametrize("text", texts())
def test_green_counts_are_binomial_under_random_keys(text: str, gamma16: int) -> None:
    tokens = texts()[text]
    scores = [
        greenlist.score(tokens, record)
        for record in records(KEYS, 20 + gamma16, gamma16=gamma16)
    ]
    n = scores[0].n
    counts = np.bincount([int(s.statistic) for s in scores], minlength=n + 1)
    expected = scipy.stats.binom.pmf(np.arange(n + 1), n, gamma16 / 16) * KEYS
    common = expected >= 5
    observed = np.append(counts[common], counts[~common].sum())
    wanted = np.append(expected[common], expected[~common].sum())
    if wanted[-1] < 5:
        observed = np.append(observed[:-2], observed[-2:].sum())
        wanted = np.append(wanted[:-2], wanted[-2:].sum())
    fit = scipy.stats.chisquare(observed, wanted * observed.sum() / wanted.sum())
    print(f"{text}: n = {n}, chi-square p = {fit.pvalue:.3g}")

    assert {score.n for score in scores} == {n}
    assert fit.pvalue > 1e-4


@pytest.mark.parametrize("text", texts())
def test_p_values_are_valid_under_random_keys(text: str) -> None:
    tokens = texts()[text]
    found = np.asarray(
        [greenlist.score(tokens, record).ln_p for record in records(KEYS, 30)]
    )
    for alpha in (1e-1, 1e-2, 1e-3):
        hits = int((found <= math.log(alpha)).sum())
        print(f"{text}: {alpha:g}: {hits / KEYS:g}")

        assert hits <= scipy.stats.binom.ppf(0.999, KEYS, alpha)


def test_without_deduplication_the_rate_would_break() -> None:
    """So the tests above have the power to see a missing deduplication."""
    tokens = texts()["repeats"]
    pairs = [tuple(tokens[i - 4 : i + 1].tolist()) for i in range(4, len(tokens))]
    hits = 0
    for record in records(1000, 31):
        key, green = context_key(record), 0
        lists: dict[tuple[int, ...], bytes] = {}
        for pair in pairs:
            if pair[:-1] not in lists:
                context = np.asarray(pair[:-1], np.uint32)
                state = kernels.context_state(key, context)
                lists[pair[:-1]] = kernels.greenlist_mask(state, 24, 4)
            green += lists[pair[:-1]][pair[-1]]
        hits += ln_binomial_tail(green, len(pairs), 0.25) <= math.log(0.01)
    print(f"rate without deduplication at 0.01: {hits / 1000:g}")

    assert hits > 50


def test_nothing_else_is_tried() -> None:
    [record] = records(1, 32)

    assert greenlist.score(np.arange(20), record).hypotheses == 1


@pytest.mark.parametrize("length", range(5))
def test_a_text_without_context_is_no_evidence(length: int) -> None:
    [record] = records(1, 33)
    score = greenlist.score(np.arange(length), record)

    assert (score.n, score.ln_p) == (0, 0.0)


def test_a_biased_text_is_found_under_its_key_alone() -> None:
    rng = np.random.default_rng(34)
    [record, other] = records(2, 35, delta=3.0)
    tokens: list[int] = []
    for _ in range(300):
        logits = rng.gumbel(size=200).astype(np.float32)
        state = scheme.state(record, tokens)
        if state is not None:
            scheme.bias(logits, state, record)
        p = np.exp(logits - logits.max())
        tokens.append(int(rng.choice(200, p=p / p.sum())))

    assert greenlist.score(tokens, record).log10_p() < -10
    assert greenlist.score(tokens, other).log10_p() > -3


# --- with a prompt, and with the model -----------------------------------------------


def test_a_prompt_does_not_count() -> None:
    [record] = records(1, 36)
    rng = np.random.default_rng(36)
    prompt, text = rng.integers(0, 5000, (2, 90)).astype(np.uint32)
    both = np.concatenate([prompt, text])
    open_ = np.full(90, 1.0)

    assert greenlist.score(both, record, skip=90) == greenlist.score(text, record)
    assert greenlist.score(both, record, open_, 90) == greenlist.score(text, record)
    assert greenlist.score(np.tile(text, 2), record, skip=90).n == 0
    assert greenlist.score(np.tile(text, 2), record, open_, 90).n == 0


@pytest.mark.parametrize("text", ["prose", "repeats", "loop", "code"])
def test_an_open_gate_counts_what_is_counted_without(text: str) -> None:
    tokens = texts()[text]
    for record in records(20, 37, gate100=30):
        expected = greenlist.score(tokens, record)

        assert greenlist.score(tokens, record, np.full(len(tokens), 0.31)) == expected
        assert greenlist.score(tokens, record, np.full(len(tokens), 0.3)).n == 0
        assert greenlist.score(tokens, record, np.full(len(tokens), np.nan)).n == 0


def test_gated_p_values_are_valid_under_random_keys() -> None:
    rng = np.random.default_rng(38)
    tokens, entropies = texts()["neighbours"], rng.exponential(0.5, 200)
    scores = [
        greenlist.score(tokens, record, entropies)
        for record in records(1500, 39, gate100=30)
    ]
    counts = [int(score.statistic) for score in scores]
    n = scores[0].n

    assert 80 < n < 140
    assert abs(np.mean(counts) - n / 4) < 4 * math.sqrt(n * 3 / 16 / 1500)
    for rate in (0.1, 0.01):
        hits = sum(score.ln_p <= math.log(rate) for score in scores)

        assert hits <= scipy.stats.binom.ppf(0.999, 1500, rate)


def test_the_model_tells_which_tokens_were_biased() -> None:
    """Code: most steps are certain, and the gate leaves them alone."""
    rng = np.random.default_rng(40)
    [record] = records(1, 41, gate100=30, delta=3.0)
    tokens: list[int] = []
    entropies: list[float] = []
    for step in range(600):
        sharp = 12.0 if step % 3 else 1.0
        logits = (sharp * rng.gumbel(size=200)).astype(np.float32)
        state = scheme.state(record, tokens)
        entropies.append(scheme.entropy(logits))
        if state is not None:
            scheme.bias(logits, state, record)
        p = np.exp(logits.astype(np.float64) - logits.max())
        tokens.append(int(rng.choice(200, p=p / p.sum())))
    blind = greenlist.score(tokens, record)
    seeing = greenlist.score(tokens, record, entropies)

    assert seeing.n < blind.n == 596
    assert seeing.log10_p() < blind.log10_p() < -3


@pytest.mark.parametrize("count", [0, 99, 101])
def test_entropies_must_be_one_for_each_token(count: int) -> None:
    [record] = records(1, 42)
    with pytest.raises(InvalidSignal, match="one for each"):
        greenlist.score(np.arange(100), record, np.ones(count))


@pytest.mark.parametrize("skip", [-1, 101])
def test_a_prompt_longer_than_the_text_is_refused(skip: int) -> None:
    [record] = records(1, 43)
    with pytest.raises(ValueError, match="skip"):
        greenlist.score(np.arange(100), record, skip=skip)
    with pytest.raises(ValueError, match="skip"):
        greenlist.score(np.arange(100), record, np.ones(max(0, 100 - skip)), skip)
