"""`unigram`: hypergeometric on distinct tokens, on real text under random keys."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from watermark.detectors.foreign import unigram
from watermark.errors import VocabularyMismatch
from watermark.keys import EngineKey, Key, KeyRecord
from watermark.schemes.foreign import FOREIGN
from watermark.schemes.foreign import unigram as scheme

LICENSE = Path(__file__).parents[2] / "LICENSE"
VOCAB = 2000


def words() -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    """A licence, each word its own token."""
    found = LICENSE.read_text().split()
    table = {word: i for i, word in enumerate(dict.fromkeys(found))}
    return np.asarray([table[word] for word in found], np.uint32)


def records(count: int, seed: int, gamma: float = 0.5) -> list[KeyRecord]:
    rng = np.random.default_rng(seed)
    make = FOREIGN["unigram"].record
    return [
        make(Key(rng.bytes(32)), vocab_size=VOCAB, gamma=gamma) for _ in range(count)
    ]


@pytest.mark.parametrize(
    ("n", "good", "total"), [(50, 40, 100), (300, 1000, 2000), (200, 37984, 151936)]
)
def test_the_tail_is_scipys(n: int, good: int, total: int) -> None:
    reach = range(max(0, n - (total - good)) - 1, min(n, good) + 2)
    ours = [unigram.ln_hypergeometric_tail(k, n, good, total) for k in reach]
    theirs = scipy.stats.hypergeom.logsf(np.asarray(reach) - 1, total, good, n)

    assert ours[-1] == -math.inf
    # scipy sums forwards and loses its digits far out in the tail.
    near = np.asarray(theirs) > -25
    assert np.asarray(ours)[near] == pytest.approx(theirs[near], rel=1e-7, abs=1e-12)


def test_the_tail_far_out_is_exact() -> None:
    choose = math.comb
    exact = sum(choose(37984, k) * choose(113952, 200 - k) for k in range(180, 201))
    expected = math.log(exact) - math.log(choose(151936, 200))

    found = unigram.ln_hypergeometric_tail(180, 200, 37984, 151936)
    assert found == pytest.approx(expected, rel=1e-9)
    assert expected < -190


@pytest.mark.parametrize("gamma", [0.5, 0.25])
def test_rates_on_real_text_under_random_keys(gamma: float) -> None:
    ids, keys = words(), 3000
    scores = [unigram.score(ids, record) for record in records(keys, 70, gamma)]
    n = len(set(ids.tolist()))
    for alpha in (0.1, 0.01, 0.001):
        null = scipy.stats.hypergeom(VOCAB, int(gamma * VOCAB), n)
        rate = null.sf(null.isf(alpha))
        hits = sum(score.ln_p <= math.log(alpha) for score in scores)
        low, high = scipy.stats.binom.interval(0.999, keys, rate)
        print(f"gamma {gamma}: {alpha:g}: {hits / keys:g}, {rate:g}")

        assert low <= hits <= high


def test_counting_repeats_would_break_the_rate() -> None:
    """As the engine's plain detector does: common words have one colour."""
    ids = words()
    hits = 0
    for record in records(500, 71):
        greens = int(scheme.green(record)[ids].sum())
        hits += scipy.stats.binom.sf(greens - 1, len(ids), 0.5) <= 0.01
    print(f"rate by all tokens at 0.01: {hits / 500:g}")

    assert hits > 50


def test_a_marked_text_is_found_under_its_key_alone() -> None:
    record, other = records(2, 72)
    tokens = np.flatnonzero(scheme.green(record))[:200]

    assert unigram.score(tokens, record).log10_p() < -50
    assert unigram.score(tokens, other).log10_p() > -4
    assert unigram.score(np.repeat(tokens[:1], 500), record).log10_p() > -1


def test_a_prompts_tokens_do_not_count() -> None:
    [record] = records(1, 73)
    ids = words()

    assert unigram.score(np.tile(ids, 2), record, skip=len(ids)).n == 0
    assert unigram.score(np.append(ids, VOCAB - 1), record, skip=len(ids)).n == 1
    for skip in (-1, len(ids) + 1):
        with pytest.raises(ValueError, match="skip"):
            unigram.score(ids, record, skip=skip)


def test_what_is_no_token_of_the_vocabulary_does_not_count() -> None:
    [record] = records(1, 74)

    assert unigram.score([VOCAB, 2**32 - 1], record).n == 0
    assert unigram.score([], record).ln_p == 0.0
    with pytest.raises(VocabularyMismatch):
        unigram.score([1], FOREIGN["unigram"].record(EngineKey((7,))))
