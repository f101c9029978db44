"""Every detector's p-value against its realised rate, on what people wrote.

The cases and the counting are the benchmark's, at a two-hundredth of its counts and
without a trained tokenizer.
"""

from __future__ import annotations

import math
import re
import zlib
from dataclasses import replace

import numpy as np
import pytest
from benchmarks import fpr_text
from benchmarks.fpr_cases import CASES, LONG, Case, Found, Generator
from benchmarks.fpr_corpus import Corpus, Ids, texts
from benchmarks.tails import ALPHAS, Tail

from watermark import kernels
from watermark.detectors.stats import ln_gamma_tail
from watermark.keys import KeyRecord
from watermark.prf import context_key

LEAST = 100  # tests of a case


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """Words, spaces and signs, each an id of its own."""
    found = {}
    for kind, text in texts().items():
        pieces = re.findall(r"\w+|\s+|[^\w\s]", text[:60_000])
        ids = [zlib.crc32(piece.encode()) & 0xFFFF for piece in pieces]
        found[kind] = np.asarray(ids, np.uint32)
    return Corpus(found)


def measured(case: Case, corpus: Corpus, tests: int) -> Tail:
    found = fpr_text.tail(case, [fpr_text.tested(case, corpus, 0, tests, seed=0)])
    print(found.name, found.n, found.hits)
    return found


def test_the_texts_are_long_enough_and_of_every_kind(corpus: Corpus) -> None:
    assert {"prose", "code", "licences", "tables", "boilerplate"} <= set(corpus.ids)
    assert all(len(ids) > LONG[-1] for ids in corpus.ids.values())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_rate_is_as_stated(case: Case, corpus: Corpus) -> None:
    tests = max(LEAST, case.tests // 200)
    found = measured(case, corpus, tests)

    assert found.n == tests
    assert all(found.holds()), found


def test_a_missing_deduplication_would_be_seen(corpus: Corpus) -> None:
    def every(ids: Ids, record: KeyRecord, _: Generator) -> Found:
        key, total = context_key(record), 0.0
        for i in range(4, len(ids)):
            word = kernels.words(kernels.context_state(key, ids[i - 4 : i]), ids[i], 0)
            total -= math.log1p(-word[0] / 2**32)
        return Found(ln_gamma_tail(len(ids) - 4, total))

    found = measured(replace(CASES[0], test=every), corpus, 500)

    assert not found.holds()[ALPHAS.index(1e-2)]


def test_an_uncounted_search_would_be_seen(corpus: Corpus) -> None:
    [case] = [case for case in CASES if case.name == "gumbel, 16 nonces searched"]

    def uncounted(ids: Ids, record: KeyRecord, generator: Generator) -> Found:
        return Found(case.test(ids, record, generator).ln_p - math.log(16))

    found = measured(replace(case, test=uncounted), corpus, 1_000)

    assert not found.holds()[ALPHAS.index(1e-2)]
