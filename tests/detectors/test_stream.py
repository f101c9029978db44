"""The streaming test: valid at every moment, however the tokens are pushed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from benchmarks import sources

from watermark.detectors.spans import BETS
from watermark.detectors.stream import Stream
from watermark.detectors.terms import terms
from watermark.errors import InvalidSignal
from watermark.keys import KeyRecord

KEYS = 500


def one(seed: int, **parameters: int) -> KeyRecord:
    return next(sources.records(1, seed, **parameters))


def pushed(
    record: KeyRecord, tokens: np.ndarray, prompt: tuple[int, ...] = ()
) -> Stream:
    stream = Stream(record, prompt)
    stream.extend(tokens.tolist())
    return stream


@pytest.mark.parametrize("text", ["fresh", "looped"])
def test_p_is_valid_at_every_moment_under_random_keys(text: str) -> None:
    """The least p-value of 100 looks is what is tested."""
    tokens = sources.noise(100, np.random.default_rng(1))
    if text == "looped":
        tokens = np.tile(tokens[:40], 3)
    found = np.asarray(
        [
            pushed(record, tokens).log10_p
            for record in sources.records(KEYS, 2, nonce_bits=1)
        ]
    )
    for alpha in (0.5, 0.1, 0.02):
        hits = int((found <= math.log10(alpha)).sum())
        print(f"{text}: {alpha:g}: {hits / KEYS:g}")

        assert hits <= scipy.stats.binom.ppf(0.999, KEYS, alpha)
        assert hits >= 0.2 * alpha * KEYS  # otherwise a p-value of 1 would pass


@pytest.mark.parametrize("parameters", [{}, {"dual": 1}, {"payload_bits": 16}])
def test_it_is_the_running_greatest_mean_of_all_bets(
    parameters: dict[str, int],
) -> None:
    """By its definition, from the terms that the other detectors score."""
    record = one(3, **parameters)
    payload = bytes(2) if "payload_bits" in parameters else b""
    rng = np.random.default_rng(3)
    text = sources.text(200, 1.5, rng, record, 6, payload)
    stream = pushed(record, text.tokens)
    found = terms(text.tokens, record)[1]
    walks = [np.cumsum(bet * found + math.log(1 - bet), axis=0) for bet in BETS]
    wealth = np.exp(np.asarray(walks)).mean(axis=(0, 2))

    assert stream.n == len(found)
    assert math.isclose(stream.log10_p, -math.log10(max(1.0, wealth.max())))


def test_one_nonce_and_few_nonces_are_streamed() -> None:
    for bits in (0, 1, 3):
        record = one(4, nonce_bits=bits)
        text = sources.text(150, 1.5, np.random.default_rng(4), record)

        assert pushed(record, text.tokens).log10_p < -6


def test_it_is_a_function_of_the_tokens() -> None:
    record = one(5)
    text = sources.text(150, 1.0, np.random.default_rng(5), record, 2)
    whole, single, split = Stream(record), Stream(record), Stream(record)
    whole.extend(text.tokens)
    for token in text.tokens.tolist():
        single.push(token)
    split.extend(text.tokens[:3])
    split.extend([])
    split.extend(text.tokens[3:])

    assert whole.log10_p == single.log10_p == split.log10_p < 0
    assert whole.n == single.n == split.n == 146


def test_repeats_are_skipped_and_p_never_rises() -> None:
    record = one(6)
    text = sources.text(100, 1.5, np.random.default_rng(6), record, 2)
    stream, path = Stream(record), [0.0]
    for token in text.tokens.tolist():
        stream.push(token)
        path.append(stream.log10_p)
    n, before = stream.n, stream.log10_p
    stream.extend(text.tokens[-100:])
    stream.extend(text.tokens[-100:])

    assert (np.diff(path) <= 0).all()
    assert path[-1] < -3
    assert stream.n == n + 2  # across the seam, before the phrase is an old one
    assert before - 0.01 < stream.log10_p <= before


def test_a_prompt_is_not_scored() -> None:
    record = one(7)
    text = sources.text(150, 1.5, np.random.default_rng(7), record, 2)
    quoted = tuple(text.tokens.tolist())
    stream = pushed(record, text.tokens, quoted)
    both = np.concatenate([text.tokens[:60], text.tokens])

    assert (stream.n, stream.log10_p) == (0, 0.0)
    assert pushed(record, text.tokens, quoted[:60]).n == len(terms(both, record, 60)[0])


def test_marked_text_is_told_while_it_is_written() -> None:
    """1 nat, 16 nonces, the fresh prefix: half of the texts at about 93 tokens."""
    record = one(8)
    rng = np.random.default_rng(8)
    crossings = []
    for i in range(60):
        text = sources.text(220, 1.0, rng, record, i % 16)
        crossings.append(pushed(record, text.tokens).first_crossing(1e-6) or 10_000)
    print(f"median {np.median(crossings)}, nine of ten {np.quantile(crossings, 0.9)}")

    assert 80 < float(np.median(crossings)) < 110
    assert float(np.quantile(crossings, 0.9)) < 180


def test_the_first_crossing_is_when_p_was_reached() -> None:
    record = one(9)
    text = sources.text(150, 1.5, np.random.default_rng(9), record, 2)
    stream = Stream(record)
    assert stream.first_crossing(1e-3) is None
    for token in text.tokens.tolist():
        crossed = stream.first_crossing(1e-3)
        stream.push(token)
        if crossed is None and stream.first_crossing(1e-3) is not None:
            now = stream.first_crossing(1e-3)

            assert stream.log10_p <= -3
    assert stream.first_crossing(1e-3) == now
    with pytest.raises(ValueError, match="alpha"):
        stream.first_crossing(0)


@pytest.mark.parametrize("bad", [-1, 1 << 32])
def test_tokens_outside_the_range_are_refused(bad: int) -> None:
    stream = Stream(one(10))
    with pytest.raises(InvalidSignal, match="token"):
        stream.push(bad)
    with pytest.raises(InvalidSignal, match="token"):
        Stream(one(10), [bad])
