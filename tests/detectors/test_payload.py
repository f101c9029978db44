"""What is told of a message is right as often as stated, and p-values hold."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import scipy.stats
from benchmarks import sources
from numpy.typing import NDArray

from watermark import kernels
from watermark.detectors import gumbel, payload
from watermark.detectors.stats import ln_gamma_tail
from watermark.schemes import gumbel as scheme
from watermark.schemes import payload as code

RATES = (0.3, 0.1, 0.03, 0.01)


def at_most(count: int, trials: int, rate: float) -> bool:
    """Whether so many hits are likely (99.9 %, one-sided) at a rate of `rate`."""
    return bool(count <= scipy.stats.binom.ppf(0.999, trials, rate))


# --- presence ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parameters",
    [
        {"payload_bits": 16, "nonce_bits": 1},
        {"payload_bits": 32, "nonce_bits": 0},
        {"payload_bits": 16, "nonce_bits": 0, "dual": 1},
    ],
    ids=str,
)
def test_p_values_are_valid_under_random_keys(parameters: dict[str, int]) -> None:
    """And no message is told of a text without one more often than stated."""
    keys = 300 if "dual" in parameters else 1000
    tokens = sources.noise(60, np.random.default_rng(1))
    found = [gumbel.score(tokens, r) for r in sources.records(keys, 2, **parameters)]
    p = np.asarray([score.log10_p() for score in found])
    for rate in RATES:
        told = sum(score.ln_error <= math.log(rate) for score in found)

        assert at_most(int((p <= math.log10(rate)).sum()), keys, rate)
        assert at_most(told, keys, rate)


def test_both_looks_are_counted() -> None:
    """Of a text that only silent contexts betray, and of one that its message does."""
    [record] = sources.records(1, 3, payload_bits=16, nonce_bits=2)
    score = gumbel.score(sources.noise(60, np.random.default_rng(3)), record)
    marked = sources.text(300, 1.5, np.random.default_rng(3), record, 2, b"ab")

    assert score.hypotheses in (16 * 4, math.ceil(16 / 15 * (4 << 16)))
    assert gumbel.score(marked.tokens, record).hypotheses == math.ceil(
        16 / 15 * (4 << 16)
    )


def test_silent_contexts_alone_are_evidence() -> None:
    [record] = sources.records(1, 4, payload_bits=16, nonce_bits=0)
    rng = np.random.default_rng(4)
    text = sources.text(12_000, 1.0, rng, record, 0, b"ab").tokens
    n, sums = payload._silent(text, record, 0)

    assert abs(n / 12_000 - code.PRESENCE16 / 16) < 0.01
    assert ln_gamma_tail(n, sums[0]) < -30


# --- the message ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "length"),
    [
        ({"payload_bits": 16, "nonce_bits": 0}, 150),
        ({"payload_bits": 16, "nonce_bits": 4}, 200),
        ({"payload_bits": 32, "nonce_bits": 0}, 250),
        ({"payload_bits": 64, "nonce_bits": 0}, 500),
        ({"payload_bits": 16, "nonce_bits": 1, "dual": 1}, 400),
    ],
    ids=str,
)
def test_a_message_is_read_and_told(parameters: dict[str, int], length: int) -> None:
    rng = np.random.default_rng(5)
    size = parameters["payload_bits"] // 8
    told = 0
    for i, record in enumerate(sources.records(8, 6, **parameters)):
        message, nonce = rng.bytes(size), i % (1 << parameters["nonce_bits"])
        text = sources.text(length, 1.6, rng, record, nonce, message)
        score = gumbel.score(text.tokens, record)
        told += score.payload is not None

        assert score.decoded == message
        assert score.nonce == nonce
        assert score.payload in (None, message)
        assert len(score.confidence) == size
        assert score.log10_p() < -6
    assert told >= 6


def test_the_whole_record_is_needed() -> None:
    record, other = sources.records(2, 7, payload_bits=16, nonce_bits=0)
    text = sources.text(250, 1.5, np.random.default_rng(7), record, 0, b"ok").tokens

    assert gumbel.score(text, record).payload == b"ok"
    assert gumbel.score(text, other).payload is None
    assert gumbel.score(text, other).log10_p() > -4


def test_a_text_without_context_says_nothing() -> None:
    for bits in (16, 32, 64):
        [record] = sources.records(1, 8, payload_bits=bits)
        score = gumbel.score(np.arange(4), record)

        assert (score.n, score.log10_p(), score.payload, score.decoded) == (
            0,
            0.0,
            None,
            None,
        )


def test_a_prompt_does_not_count() -> None:
    [record] = sources.records(1, 9, payload_bits=16, nonce_bits=0)
    rng = np.random.default_rng(9)
    text = sources.text(200, 1.5, rng, record, 0, b"ok").tokens
    prompt = sources.noise(100, rng)
    both = np.concatenate([prompt, text])

    assert gumbel.score(both, record, 100) == gumbel.score(text, record)
    assert gumbel.score(np.concatenate([text, text]), record, 200).n == 0
    with pytest.raises(ValueError, match="skip"):
        gumbel.score(text, record, 201)


# --- how often a message is wrong ----------------------------------------------------


def sums_of(
    message: bytes, counts: NDArray[np.int64], gain: float, rng: Any
) -> NDArray[np.float64]:
    """Sums as `payload_score` finds them: exponential terms, the message's larger."""
    sums = rng.standard_gamma(np.maximum(counts, 1e-9)[:, None], (len(counts), 256))
    word = np.frombuffer(code.symbols(message, 8 * len(message)), np.uint8)
    sums[np.arange(len(word)), word] *= gain
    return np.asarray(sums, np.float64)


@pytest.mark.parametrize(
    ("bits", "length", "gain"), [(16, 90, 1.6), (32, 190, 1.6), (64, 450, 1.65)]
)
def test_a_message_is_wrong_no_more_often_than_stated(
    bits: int, length: int, gain: float
) -> None:
    """Where many are: at lengths that cannot carry the message."""
    rng = np.random.default_rng(bits)
    trials = {16: 1000, 32: 700, 64: 400}[bits]
    wrong, byte_wrong, errors = [], [], []
    for _ in range(trials):
        positions = code.POSITIONS[bits]
        counts = rng.multinomial(length, np.full(positions, 1 / positions))
        message = rng.bytes(bits // 8)
        sums = sums_of(message, counts, gain, rng)
        _, _, found, chosen = payload._read([(0.0, 0, sums)], bits)
        wrong.append(found != message)
        byte_wrong.append([a != b for a, b in zip(found, message, strict=True)])
        errors.append(payload.ln_errors(found, counts, chosen))
    bounds = np.asarray(errors)
    print(f"{bits} bits: {np.mean(wrong):.3f} wrong")

    assert 0.03 < np.mean(wrong) < 0.97
    for rate in RATES:
        said = bounds.max(axis=1) <= math.log(rate)
        bytes_said = bounds <= math.log(rate)

        assert at_most(int((said & np.asarray(wrong)).sum()), trials, rate)
        for byte in range(bits // 8):
            missed = bytes_said[:, byte] & np.asarray(byte_wrong)[:, byte]
            assert at_most(int(missed.sum()), trials, rate)
    assert (bounds.max(axis=1) <= math.log(0.3)).mean() > 0.02  # it does say something


def test_the_stated_error_of_short_texts_holds_with_real_keys() -> None:
    rng = np.random.default_rng(11)
    trials, found = 500, []
    for record in sources.records(trials, 12, payload_bits=16, nonce_bits=1):
        message = rng.bytes(2)
        text = sources.text(80, 1.0, rng, record, 1, message)
        score = gumbel.score(text.tokens, record)
        found.append((score.ln_error, score.decoded != message))
    wrong = sum(miss for _, miss in found)
    print(f"{wrong / trials:.3f} wrong at 80 tokens")

    assert wrong > 0.05 * trials
    for rate in RATES:
        missed = sum(miss and error <= math.log(rate) for error, miss in found)

        assert at_most(missed, trials, rate)


@pytest.mark.parametrize("seed", range(4))
def test_the_bound_covers_every_other_message(seed: int) -> None:
    """Weights with ``sum 1/w <= 1`` cannot give less than the sum over all messages."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 9, 8)
    chosen = rng.standard_gamma(np.maximum(counts, 1e-9)) * rng.uniform(1, 3)
    powers = [1, 2, 4, 8]
    by_agreement: dict[tuple[bool, ...], int] = {}
    for a, b in itertools.product(range(256), repeat=2):
        if a or b:
            differs = tuple(
                before ^ product(power, after) != 0
                for before, after in ((b, a), (a, b))
                for power in powers
            )
            by_agreement[differs] = by_agreement.get(differs, 0) + 1
    total = sum(
        count
        * math.exp(ln_gamma_tail(int(counts[list(d)].sum()), chosen[list(d)].sum()))
        for d, count in by_agreement.items()
    )

    assert sum(by_agreement.values()) == 65_535
    assert max(payload._ln_trellis_errors(counts, chosen)) >= math.log(total)


def product(a: int, b: int) -> int:
    """Product in GF(256), polynomial 0x11d, by shift and reduction."""
    found = 0
    for k in range(8):
        if b >> k & 1:
            found ^= a << k
    for k in range(14, 7, -1):
        if found >> k & 1:
            found ^= 0x11D << (k - 8)
    return found


# --- two keys ------------------------------------------------------------------------


def test_symbols_of_a_dual_record_come_from_the_private_contexts_alone() -> None:
    [record] = sources.records(1, 13, payload_bits=32, nonce_bits=0, dual=1)
    rng = np.random.default_rng(13)
    message = rng.bytes(4)
    text = sources.text(1500, 1.0, rng, record, 0, message).tokens
    counts, sums = payload._symbol_sums(text, record, 0, 0, 16)
    n, _ = payload._silent(text, record, 0)
    word = np.frombuffer(kernels.payload_symbols(message, 32), np.uint8)
    said = float(sums[np.arange(16), word].sum())
    public = gumbel.score(text, scheme.public_record(record))

    assert n + int(counts.sum()) == 1496
    assert abs(int(counts.sum()) / 1496 - 0.5 * 15 / 16) < 0.05
    assert ln_gamma_tail(int(counts.sum()), said) < -30
    assert public.log10_p() < -6
    assert public.payload is None


def test_the_two_ways_to_sum_symbols_are_one() -> None:
    """What a kernel does for one key, and a loop for two."""
    [one] = sources.records(1, 14, payload_bits=16, nonce_bits=1)
    [two] = sources.records(1, 14, payload_bits=16, nonce_bits=1, dual=1)
    tokens = sources.noise(300, np.random.default_rng(14))
    counts, sums = payload._symbol_sums(tokens, one, 1, 0, 16)
    half, part = payload._symbol_sums(tokens, two, 1, 0, 16)
    rows = np.flatnonzero(half == counts)

    assert (half <= counts).all()
    assert (part <= sums + 1e-9).all()
    assert np.allclose(part[rows], sums[rows])
