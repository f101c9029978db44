"""Marked spans are found, and null text holds one no more often than stated."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from benchmarks import sources
from numpy.typing import NDArray

from watermark.detectors.spans import BETS, Span, find, ln_rise, segments
from watermark.keys import KeyRecord

DOCUMENTS = 2000


def one(seed: int, **parameters: int) -> KeyRecord:
    return next(sources.records(1, seed, **parameters))


def overlap(span: Span, start: int, end: int) -> float:
    """Intersection over union."""
    shared = max(0, min(span.end, end) - max(span.start, start))
    return shared / (span.end - span.start + end - start - shared)


def hidden(
    record: KeyRecord, length: int, marked: int, nats: float, seed: int
) -> tuple[NDArray[np.uint32], int, int]:
    """A null document with a marked text in it, and the ends of what a key chose."""
    rng = np.random.default_rng(seed)
    text = sources.text(marked, nats, rng, record, seed % 16)
    begin = int(rng.integers(0, length - marked))
    tokens = sources.noise(length, rng)
    tokens[begin : begin + marked] = text.tokens
    return tokens, begin + text.first - 4, begin + marked


# --- the null ------------------------------------------------------------------------


@pytest.mark.parametrize("bet", BETS)
@pytest.mark.parametrize("n", [1, 30, 300])
def test_a_rise_is_no_likelier_than_the_bound(bet: float, n: int) -> None:
    rng = np.random.default_rng(n)
    draws = 10_000
    walk = np.zeros((draws, n + 1))
    steps = bet * rng.exponential(size=(draws, n)) + math.log(1 - bet)
    np.cumsum(steps, axis=1, out=walk[:, 1:])
    rises = (walk - np.minimum.accumulate(walk, axis=1)).max(axis=1)
    for y in (0.5, 1.0, 2.0, 3.0, 5.0, 7.0):
        hits = int((rises >= y).sum())

        assert hits <= scipy.stats.binom.ppf(0.999, draws, math.exp(ln_rise(y, n, bet)))
    if n == 300:  # and the bound is nearly reached
        assert (rises >= 4.0).mean() > 0.6 * math.exp(ln_rise(4.0, n, bet))


def test_null_documents_hold_spans_no_more_often_than_stated() -> None:
    """On exponentials, which real terms are at most."""
    rng = np.random.default_rng(1)
    found = []
    for _ in range(DOCUMENTS):
        spans = segments(rng.exponential(size=(120, 16)), 0.1)
        found.append(min((ln_p for _, _, ln_p, _ in spans), default=0.0))
    for alpha in (0.1, 0.01):
        hits = int((np.asarray(found) <= math.log(alpha)).sum())
        print(f"family-wise {alpha:g}: {hits / DOCUMENTS:g}")

        assert hits <= scipy.stats.binom.ppf(0.999, DOCUMENTS, alpha)
        assert hits >= 0.2 * alpha * DOCUMENTS  # otherwise finding nothing would pass


@pytest.mark.parametrize("kind", ["fresh", "looped"])
def test_null_text_holds_spans_no_more_often_than_stated(kind: str) -> None:
    """On tokens, under random keys, most of them in one loop or none."""
    tokens = sources.noise(200, np.random.default_rng(2))
    if kind == "looped":
        tokens = np.tile(tokens[:50], 4)
    hits = sum(bool(find(tokens, r, 0.1)) for r in sources.records(500, 3))

    assert hits <= scipy.stats.binom.ppf(0.999, 500, 0.1)


def test_spans_between_marked_ones_are_marked_too() -> None:
    """Strong control: with marked text beside it, null text is found no more often."""
    rng = np.random.default_rng(4)
    false = 0
    for _ in range(400):
        found = rng.exponential(size=(300, 4))
        found[100:160, 1] *= 3.0
        spans = segments(found, 0.1)
        false += any(stop <= 100 or begin >= 160 for begin, stop, _, _ in spans)

        assert any(begin < 160 and stop > 100 for begin, stop, _, _ in spans)
    assert false <= scipy.stats.binom.ppf(0.999, 400, 0.1)


# --- power ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "marked", "nats", "least"),
    [(5000, 150, 1.0, 0.85), (1600, 400, 0.7, 0.85), (1600, 400, 1.0, 0.9)],
)
def test_a_marked_span_is_found_where_it_is(
    length: int, marked: int, nats: float, least: float
) -> None:
    """Of the tokens that the key chose; family-wise error 1e-3."""
    record = one(5)
    overlaps = []
    for seed in range(25):
        tokens, start, end = hidden(record, length, marked, nats, seed)
        spans = find(tokens, record)
        overlaps.append(max((overlap(s, start, end) for s in spans), default=0.0))
        if spans:
            best = max(spans, key=lambda s: overlap(s, start, end))

            assert best.nonce == seed % 16
    found = np.asarray(overlaps)[np.asarray(overlaps) > 0]
    print(f"found {len(found)} of 25, mean overlap {found.mean():.2f}")

    assert len(found) >= 23
    assert found.mean() >= least


def test_two_spans_of_two_nonces_are_told_apart() -> None:
    record = one(6)
    rng = np.random.default_rng(6)
    tokens = sources.noise(3000, rng)
    for begin, nonce in ((400, 3), (1800, 11)):
        tokens[begin : begin + 300] = sources.text(300, 1.0, rng, record, nonce).tokens
    spans = find(tokens, record)

    assert [span.nonce for span in spans] == [3, 11]
    assert overlap(spans[0], 400, 700) > 0.8
    assert overlap(spans[1], 1800, 2100) > 0.8
    assert all(span.ln_p <= math.log(1e-3) for span in spans)


def test_neighbouring_spans_do_not_overlap() -> None:
    record = one(7)
    rng = np.random.default_rng(7)
    texts = [sources.text(200, 1.5, rng, record, nonce).tokens for nonce in (1, 2, 3)]
    spans = find(np.concatenate(texts), record)

    assert [span.nonce for span in spans] == [1, 2, 3]
    assert all(a.end <= b.start < b.end for a, b in itertools.pairwise(spans))


def test_a_text_that_is_marked_throughout_is_one_span() -> None:
    record = one(8)
    text = sources.text(300, 1.0, np.random.default_rng(8), record, 5)
    [span] = find(text.tokens, record)

    assert overlap(span, text.first - 4, 300) > 0.85
    assert 0 <= span.start < span.end <= 300
    assert find(text.tokens, one(9)) == []


def test_a_prompt_holds_no_span() -> None:
    record = one(10)
    text = sources.text(300, 1.0, np.random.default_rng(10), record, 5).tokens
    tail = sources.noise(100, np.random.default_rng(11))
    quoted = np.concatenate([text, text, tail])

    assert find(quoted, record) != []
    assert find(quoted, record, skip=300) == []


# --- edges ---------------------------------------------------------------------------


@pytest.mark.parametrize("length", range(7))
def test_short_texts_hold_no_span(length: int) -> None:
    assert find(np.arange(length), one(12)) == []


@pytest.mark.parametrize("alpha", [0.0, 1.0, -1.0, math.nan])
def test_a_level_that_is_none_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha"):
        find(np.arange(50), one(13), alpha)


def test_a_strong_rise_does_not_underflow() -> None:
    found = np.full((3000, 1), 20.0)
    [(begin, stop, ln_p, _)] = segments(found, 1e-3)

    assert (begin, stop) == (0, 3000)
    assert -30_000 < ln_p < -10_000 * math.log(10)
