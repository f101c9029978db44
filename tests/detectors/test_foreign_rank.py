"""Other keys on the same text: texts built against an engine's hash are no evidence."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray

from watermark.detectors.foreign import gumbel, proven, rank
from watermark.detectors.stats import ln_gamma_tail
from watermark.keys import EngineKey, Key, KeyRecord
from watermark.schemes.foreign import sglang, textseal, vllm
from watermark.schemes.foreign.base import Foreign

Ids = NDArray[np.uint32]
KEYS = 2000
MASK = 0xFFFFFFFF


def records(
    scheme: Foreign, count: int, seed: int, **parameters: Any
) -> Iterator[KeyRecord]:
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield scheme.record(Key(rng.bytes(32)), **parameters)


def too_often(ln_p: list[float], alpha: float) -> float:
    """The probability of so many p-values of alpha or less, if they were valid."""
    hits = int((np.asarray(ln_p) <= math.log(alpha)).sum())
    return float(scipy.stats.binom.sf(hits - 1, len(ln_p), alpha))


# --- the test ------------------------------------------------------------------------


def term(keys: NDArray[np.uint64]) -> NDArray[np.float64]:
    """A statistic that is exponential over keys."""
    found: NDArray[np.float64] = -np.log1p(keys[:, 0] / -(2.0**64))
    return found


def test_p_is_uniform_over_keys_where_it_can_be() -> None:
    drawn = np.random.default_rng(0).integers(0, 1 << 64, (KEYS, 1), np.uint64)
    totals = zip(drawn.tolist(), term(drawn).tolist(), strict=True)
    p = np.exp([rank.ln_p(total, term, key, 1) for key, total in totals])

    for alpha in (0.5, 0.1, 0.01):  # of the form ENOUGH / draws
        low, high = scipy.stats.binom.interval(0.999, KEYS, alpha)
        assert low <= (p <= alpha).sum() <= high, alpha


def test_what_no_key_reaches_is_left_to_the_tail() -> None:
    tried = []

    def never(keys: NDArray[np.uint64]) -> NDArray[np.float64]:
        tried.append(len(keys))
        return np.zeros(len(keys))

    n = rank.MOST_WORDS // 5000
    assert rank.ln_p(1.0, never, (1,), n) == -math.inf
    assert sum(tried) == rank.most(n) == 5000
    assert rank.most(1) == rank.MOST_KEYS
    assert rank.most(1 << 40) == 1

    def one(keys: NDArray[np.uint64]) -> NDArray[np.float64]:
        tried.append(len(keys))
        return np.arange(len(keys)) * float(sum(tried) == rank.LEAST_BATCH) / 63

    tried.clear()
    assert rank.ln_p(1.0, one, (1,), n) == pytest.approx(math.log(2 / 5001))


def test_other_keys_follow_from_the_key_alone() -> None:
    seen = []

    def look(keys: NDArray[np.uint64]) -> NDArray[np.float64]:
        seen.append(keys.tobytes())
        return np.ones(len(keys))

    for numbers in ((1,), (1,), (2,)):
        rank.ln_p(1.0, look, numbers, 10)
    assert seen[0] == seen[1] != seen[2]


# --- texts built against SGLang's hash -----------------------------------------------


def rotated(x: int, n: int) -> int:
    return (x << n | x >> (32 - n)) & MASK


def scrambled(x: int) -> int:
    """What MurmurHash3 adds to its state for a word, by an exclusive or."""
    return rotated(x * 0xCC9E2D51 & MASK, 15) * 0x1B873593 & MASK


def unscrambled(k: int) -> int:
    word = rotated(k * pow(0x1B873593, -1, 1 << 32) & MASK, 17)
    return word * pow(0xCC9E2D51, -1, 1 << 32) & MASK


def context_of(hashed: int) -> int:
    """The token whose context, of width 1, has this hash."""
    h = hashed ^ hashed >> 16
    h = h * pow(0xC2B2AE35, -1, 1 << 32) & MASK
    h ^= h >> 13 ^ h >> 26
    h = h * pow(0x85EBCA6B, -1, 1 << 32) & MASK
    h ^= h >> 16 ^ 4
    state = (h - 0xE6546B64) * pow(5, -1, 1 << 32) & MASK
    return unscrambled(rotated(state, 19))


def crafted(bits: int, clusters: int) -> Ids:
    """Clusters of ``2**bits`` pairs whose words are equal under a share of all keys.

    Contexts differ in the highest bits of the state that the key makes; tokens undo it
    where the state below is as guessed. No key is known to who writes this.
    """
    rng = np.random.default_rng(1)
    ids = []
    for _ in range(clusters):
        base, state, target = rng.integers(0, 1 << 32, 3).tolist()
        for i in range(1 << bits):
            context = base ^ rotated(i << (32 - bits), 19)
            h = (rotated(state ^ context, 13) * 5 + 0xE6546B64) & MASK
            ids += [context_of(unscrambled(context)), unscrambled(h ^ target)]
    return np.asarray(ids, np.uint32)


@pytest.mark.parametrize(("bits", "clusters"), [(1, 64), (4, 16)])
def test_a_text_built_against_sglangs_hash_is_no_evidence(
    bits: int, clusters: int
) -> None:
    ids = crafted(bits, clusters)
    naive, found = [], []
    for record in records(sglang.SCHEME, KEYS, 2, width=1):
        n, totals = sglang.totals(ids, record, 0)
        naive.append(ln_gamma_tail(n, float(totals[0])))
        found.append(gumbel.score(ids, record).ln_p)

    # What the hash promises is not so: under one bit a pair is equal under every key.
    assert too_often(naive, 1e-2) < 1e-6
    for alpha in (rank.TRIED_FROM, 1e-4, 1e-5, 1e-6):
        assert too_often(found, alpha) > 1e-3, alpha
    # What is not small enough to decide is left as it is.
    for tail, tried in zip(naive, found, strict=True):
        assert tail == tried or tail <= math.log(rank.TRIED_FROM)


def test_two_keys_of_sglang_are_tried_as_two() -> None:
    ids = crafted(5, 8)
    found, naive = [], []
    for record in records(sglang.SCHEME, 1000, 3, width=1, dual=1, alpha=0.2):
        n, totals = sglang.totals(ids, record, 0)
        naive.append(ln_gamma_tail(n, float(totals[0])))
        found.append(gumbel.score(ids, record).ln_p)

    assert too_often(naive, 1e-3) < 1e-6
    for alpha in (rank.TRIED_FROM, 1e-4, 1e-5):
        assert too_often(found, alpha) > 1e-3, alpha


# --- TextSeal's two keys -------------------------------------------------------------


def ladder(steps: int) -> Ids:
    """Pairs whose sums rise by what key B adds: B's words are A's, one further."""
    rise = textseal.KEY_PRIME * textseal.KEY_B
    first = rise * pow(textseal.PRIMES[0], -1, textseal.TOKEN_PRIME)
    before = first % textseal.TOKEN_PRIME
    token = (rise - before * textseal.PRIMES[0]) // textseal.TOKEN_PRIME
    places = np.arange(steps)[:, None] * [before, token]
    found: Ids = (places - places.min(0) + 7).astype(np.uint32).ravel()
    return found


def test_key_b_of_textseal_follows_from_key_a_and_so_do_its_words() -> None:
    ids = ladder(40)
    [record] = records(textseal.SCHEME, 1, 5, dual=1)
    a, b = textseal.words(textseal.sums(ids, 1)[1], textseal.keys(record)).T
    shared = set(a.tolist()) & set(b.tolist())
    naive, found = [], []
    for other in records(textseal.SCHEME, KEYS, 5, dual=1):
        n, totals = textseal.totals(ids, other, 0)
        naive.append(gumbel.ln_mixed_tail(n, 0.5, 0.5, float(totals.mean())))
        found.append(gumbel.score(ids, other).ln_p)

    assert len(shared) >= 39
    assert too_often(naive, 1e-2) < 1e-6
    for alpha in (0.1, 1e-2, 1e-3, 1e-4):
        assert too_often(found, alpha) > 1e-3, alpha
    assert textseal.dispersion(ids, record, 0) > 1.3


def test_a_key_b_of_its_own_needs_no_widening() -> None:
    """The ladder is one under B = A + 12345 alone."""
    ids = ladder(40)
    numbers = (0x6B43A9B5D1E5F2C7 >> 1, 0x1D5E0C9A7B8F6342)
    own = textseal.SCHEME.record(EngineKey(numbers), dual=1)

    assert textseal.dispersion(ids, own, 0) < 1.2


# --- what is said of it --------------------------------------------------------------


def test_how_far_p_holds_is_known() -> None:
    for module, expected in (
        (vllm, -math.inf),
        (sglang, -20 * math.log(2)),
        (textseal, -20 * math.log(2)),
    ):
        [record] = records(module.SCHEME, 1, 6)
        assert proven(record, 200) == pytest.approx(expected)
        assert proven(record, 200) <= proven(record, 20_000)


def test_how_many_states_a_choice_of_tokens_can_hit() -> None:
    """The probability that any of V^n texts hits e times as many as it should."""
    n, vocab, states = 200, 50_000, 1 << 32
    p = math.exp(rank.ln_counted(n, vocab, states))
    hits = states * p

    def room(hits: float) -> float:
        """Ln of how many of the texts are expected to hit e times as many, or more."""
        # Sums of a Poisson tail are at most twice their first term here.
        first = scipy.stats.poisson.logpmf(math.ceil(math.e * hits), hits)
        return float(first) + math.log(2) + n * math.log(vocab)

    assert room(hits) < 0 < room(hits * 0.9)
