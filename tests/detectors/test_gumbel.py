"""The false-positive rate of `gumbel` under random keys is the one that is stated."""

from __future__ import annotations

import collections
import keyword
import math
import textwrap
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray

from watermark import kernels
from watermark.detectors import gumbel
from watermark.detectors.stats import ln_gamma_tail
from watermark.keys import Key, KeyRecord
from watermark.prf import context_key
from watermark.schemes import SCHEMES
from watermark.schemes import gumbel as scheme

Ids = NDArray[np.uint32]
KEYS = 20_000
ALPHAS = (1e-1, 1e-2, 1e-3)


def records(count: int, seed: int, **parameters: Any) -> Iterator[KeyRecord]:
    """Records of `count` keys, the same in each run, so that no test is flaky."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield SCHEMES["gumbel"].record(Key(rng.bytes(32)), **parameters)


def ids(words: list[str]) -> Ids:
    table = {word: i for i, word in enumerate(dict.fromkeys(words))}
    return np.asarray([table[word] for word in words], dtype=np.uint32)


def texts() -> dict[str, Ids]:
    prose = (collections.OrderedDict.__doc__ or "") + (textwrap.wrap.__doc__ or "")
    prose += (np.random.Generator.choice.__doc__ or "")[:3000]
    code = " ".join(f"for {k} in range ( n ) : pass ;" for k in keyword.kwlist)
    return {
        "prose": ids(prose.split())[:250],
        "repeats": np.tile(np.arange(20, dtype=np.uint32), 12),
        "loop": np.zeros(300, dtype=np.uint32),
        "two-loops": np.repeat(np.asarray([5, 9], dtype=np.uint32), 150),
        "code": ids(code.split())[:250],
        "short": np.arange(6, dtype=np.uint32),
        "one-pair": np.arange(5, dtype=np.uint32),
        "large-ids": np.arange(2**32 - 60, 2**32, dtype=np.uint64).astype(np.uint32),
    }


def at_most(count: int, trials: int, alpha: float) -> bool:
    """Whether so many hits are likely (99.9 %, one-sided) at a rate of `alpha`."""
    return bool(count <= scipy.stats.binom.ppf(0.999, trials, alpha))


def exactly(count: int, trials: int, alpha: float) -> bool:
    """Whether so many hits are likely (99.9 %, two-sided) at a rate of `alpha`."""
    low, high = scipy.stats.binom.interval(0.999, trials, alpha)
    return bool(low <= count <= high)


@pytest.mark.parametrize("text", texts())
def test_adjusted_p_values_are_valid_under_random_keys(text: str) -> None:
    tokens = texts()[text]
    found = np.asarray(
        [gumbel.score(tokens, record).log10_p() for record in records(KEYS, 1)]
    )
    hits = {alpha: int((found <= math.log10(alpha)).sum()) for alpha in ALPHAS}
    print(f"{text}: " + ", ".join(f"{a:g}: {n / KEYS:g}" for a, n in hits.items()))

    assert all(at_most(n, KEYS, alpha) for alpha, n in hits.items()), hits


@pytest.mark.parametrize("text", ["prose", "repeats", "code", "short", "one-pair"])
def test_p_values_at_one_nonce_are_exact(text: str) -> None:
    tokens = texts()[text]
    found = np.asarray(
        [gumbel.score(tokens, r).ln_p for r in records(KEYS, 2, nonce_bits=0)]
    )
    hits = {a: int((found <= math.log(a)).sum()) for a in (0.5, 1e-1, 1e-2, 1e-3)}
    print(f"{text}: " + ", ".join(f"{a:g}: {n / KEYS:g}" for a, n in hits.items()))

    assert all(exactly(n, KEYS, alpha) for alpha, n in hits.items()), hits
    assert scipy.stats.kstest(np.exp(found), "uniform").pvalue > 1e-4


@pytest.mark.parametrize("nonce", [1, 6, 15])
def test_every_nonce_is_as_good_as_the_first(nonce: int) -> None:
    tokens = texts()["prose"]
    found = []
    for record in records(KEYS // 4, 3):
        n, sums = kernels.gumbel_score(tokens, context_key(record), 4, 4)
        found.append(ln_gamma_tail(n, sums[nonce]))

    assert scipy.stats.kstest(np.exp(found), "uniform").pvalue > 1e-4


def test_without_deduplication_the_rate_would_break() -> None:
    """So the tests above have the power to see a missing deduplication."""
    tokens = texts()["repeats"].tolist()
    counts = collections.Counter(
        tuple(tokens[i - 4 : i + 1]) for i in range(4, len(tokens))
    )
    found = []
    for record in records(1000, 4, nonce_bits=0):
        key, total = context_key(record), 0.0
        for pair, repeats in counts.items():
            state = kernels.context_state(key, np.asarray(pair[:-1], np.uint32))
            word = kernels.words(state, pair[-1], 0)[0]
            total -= repeats * math.log1p(-word / 2**32)
        found.append(ln_gamma_tail(len(tokens) - 4, total))
    rate = float(np.mean(np.asarray(found) <= math.log(0.01)))
    print(f"rate without deduplication at 0.01: {rate:g}")

    assert rate > 0.05


def test_independence_between_keys_spreads_only_as_the_text_repeats() -> None:
    """One key over many texts of its own: the mean rate is as stated as well."""
    rng = np.random.default_rng(5)
    [record] = records(1, 6, nonce_bits=0)
    found = [
        gumbel.score(rng.integers(0, 50_000, 60).astype(np.uint32), record).ln_p
        for _ in range(KEYS)
    ]

    assert scipy.stats.kstest(np.exp(found), "uniform").pvalue > 1e-4


# --- the statistic -------------------------------------------------------------------


def test_only_distinct_pairs_count() -> None:
    [record] = records(1, 7)
    once = gumbel.score(np.arange(40, dtype=np.uint32), record)
    looped = gumbel.score(np.tile(np.arange(40, dtype=np.uint32), 3), record)

    assert once.n == 36
    assert looped.n == 38  # and two across the seam, before the phrase is an old one


@pytest.mark.parametrize("length", range(5))
def test_a_text_without_context_is_no_evidence(length: int) -> None:
    [record] = records(1, 8)
    score = gumbel.score(np.arange(length, dtype=np.uint32), record)

    assert (score.n, score.ln_p, score.log10_p()) == (0, 0.0, 0.0)


@pytest.mark.parametrize("bits", [0, 3, 8])
def test_every_nonce_tried_is_counted(bits: int) -> None:
    [record] = records(1, 9, nonce_bits=bits)

    assert gumbel.score(np.arange(9), record).hypotheses == 1 << bits


def test_any_integer_sequence_gives_the_same_score() -> None:
    [record] = records(1, 10)
    tokens = texts()["prose"]
    expected = gumbel.score(tokens, record)

    assert gumbel.score(tokens.tolist(), record) == expected
    assert gumbel.score(tokens.astype(np.int64), record) == expected
    assert gumbel.score(tuple(tokens.tolist()), record) == expected
    assert gumbel.score(np.repeat(tokens, 2)[::2], record) == expected


# --- power ---------------------------------------------------------------------------


def generate(record: KeyRecord, nonce: int, length: int, seed: int) -> list[int]:
    """Tokens of a toy model of about 1 nat, marked as an adapter marks them."""
    rng = np.random.default_rng(seed)
    order = scheme.Sequencer(record, nonce)
    tokens: list[int] = []
    spent = 0.0
    while len(tokens) < length:
        logits = rng.gumbel(size=200).astype(np.float32) * np.float32(2.0)
        p = np.exp(logits - logits.max())
        p /= p.sum()
        choice = order.choose(tokens, spent)
        if choice is None:
            tokens.append(int(rng.choice(200, p=p)))
            spent -= math.log(float((p**2).sum()))
        else:
            tokens.append(scheme.select(logits, *choice))
    return tokens


def test_a_marked_text_is_found_under_its_key_and_nonce_alone() -> None:
    [record, other] = records(2, 11)
    for seed in range(5):
        tokens = generate(record, 3 * seed, 250, seed)
        score = gumbel.score(tokens, record)

        assert score.log10_p() < -8
        assert score.nonce == 3 * seed
        assert gumbel.score(tokens, other).log10_p() > -3


def test_a_marked_text_survives_edits_and_cutting() -> None:
    [record] = records(1, 12)
    tokens = generate(record, 1, 400, 0)
    edited = list(tokens)
    edited[::20] = [199] * len(edited[::20])

    assert gumbel.score(edited, record).log10_p() < -6
    assert gumbel.score(tokens[150:], record).log10_p() < -6


# --- with a prompt, and under two keys -----------------------------------------------


def test_a_prompt_does_not_count() -> None:
    [record] = records(1, 13)
    text = texts()["prose"]
    prompt = np.arange(90_000, 90_100, dtype=np.uint32)
    both = np.concatenate([prompt, text])

    assert gumbel.score(both, record, 100) == gumbel.score(text, record)
    assert gumbel.score(np.tile(text, 2), record, len(text)).n == 0
    for skip in (-1, len(text) + 1):
        with pytest.raises(ValueError, match="skip"):
            gumbel.score(text, record, skip)


def test_p_values_of_dual_records_are_exact() -> None:
    tokens = texts()["prose"]
    found = np.asarray(
        [gumbel.score(tokens, r).ln_p for r in records(2000, 14, nonce_bits=0, dual=1)]
    )

    assert scipy.stats.kstest(np.exp(found), "uniform").pvalue > 1e-4


def test_a_dual_mark_is_found_whole_and_by_its_public_half() -> None:
    record, other = records(2, 15, dual=1)
    public = scheme.public_record(record)
    tokens = generate(record, 5, 400, 1)
    whole, half = gumbel.score(tokens, record), gumbel.score(tokens, public)

    assert whole.log10_p() < half.log10_p() < -6
    assert (whole.nonce, half.nonce, whole.n) == (5, 5, half.n)
    assert gumbel.score(tokens, other).log10_p() > -3
    assert gumbel.score(tokens, scheme.public_record(other)).log10_p() > -3


def test_records_older_than_the_options_score_the_same() -> None:
    [record] = records(1, 16)
    old = KeyRecord(
        kid=record.kid,
        scheme="gumbel",
        parameters={"width": 4, "nonce_bits": 4},
        key=record.secret,
    )

    assert gumbel.score(texts()["prose"], old) == gumbel.score(texts()["prose"], record)
