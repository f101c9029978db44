"""Genuine text passes the tamper test at its stated rate; forged text does not."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from benchmarks import sources

from watermark.detectors import gumbel, tamper
from watermark.errors import InvalidSignal
from watermark.schemes.gumbel import public_record

ALPHAS = (0.3, 0.1, 0.01)


def exactly(count: int, trials: int, alpha: float) -> bool:
    low, high = scipy.stats.binom.interval(0.999, trials, alpha)
    return bool(low <= count <= high)


# --- genuine -------------------------------------------------------------------------


def test_genuine_text_is_flagged_at_the_stated_rate() -> None:
    """A key for each text, marked by the holder of both; one nonce, so exactly."""
    rng = np.random.default_rng(1)
    found, public_found = [], []
    for record in sources.records(250, 2, dual=1, nonce_bits=0):
        public = public_record(record)
        text = sources.text(120, 1.0, rng, record)
        found.append(tamper.score(text.tokens, record, public).ln_p)
        public_found.append(gumbel.score(text.tokens, public).ln_p)
    for alpha in ALPHAS:
        hits = int((np.asarray(found) <= math.log(alpha)).sum())
        print(f"genuine: {alpha:g}: {hits / 250:g}")

        assert exactly(hits, 250, alpha)
    # And the public key's own detector does find its half in these texts.
    assert np.mean(np.asarray(public_found) <= math.log(1e-2)) > 0.6


@pytest.mark.parametrize("kind", ["fresh", "looped"])
def test_unmarked_text_is_flagged_at_the_stated_rate(kind: str) -> None:
    tokens = sources.noise(150, np.random.default_rng(3))
    if kind == "looped":
        tokens = np.tile(tokens[:50], 3)
    found = np.asarray(
        [
            tamper.score(tokens, record, public_record(record)).log10_p()
            for record in sources.records(1000, 4, dual=1)
        ]
    )
    for alpha in ALPHAS:
        hits = int((found <= math.log10(alpha)).sum())
        print(f"{kind}: {alpha:g}: {hits / 1000:g}")

        assert hits <= scipy.stats.binom.ppf(0.999, 1000, alpha)
        assert hits >= 0.5 * alpha * 1000 - 5


def test_genuine_text_that_is_edited_by_hand_still_passes() -> None:
    rng = np.random.default_rng(5)
    found = []
    for record in sources.records(120, 6, dual=1):
        tokens = sources.text(200, 1.0, rng, record, 7).tokens
        tokens[::7] = sources.noise(len(tokens[::7]), rng)
        found.append(tamper.score(tokens, record, public_record(record)).log10_p())

    assert int((np.asarray(found) <= -1).sum()) <= scipy.stats.binom.ppf(
        0.999, 120, 0.1
    )


# --- forged --------------------------------------------------------------------------


@pytest.mark.parametrize(("length", "level"), [(200, -2), (400, -6)])
def test_text_marked_with_the_public_key_alone_is_told(length: int, level: int) -> None:
    rng = np.random.default_rng(7)
    flagged = passed = 0
    for i, record in enumerate(sources.records(50, 8, dual=1)):
        public = public_record(record)
        tokens = sources.text(length, 1.0, rng, public, i % 16).tokens
        passed += gumbel.score(tokens, public).log10_p() <= -6
        flagged += tamper.score(tokens, record, public).log10_p() <= level
    print(f"{length} tokens: flagged {flagged}, passed the public detector {passed}")

    assert passed >= 46
    assert flagged >= 46


def test_a_forged_paragraph_does_not_hide_behind_a_genuine_one() -> None:
    rng = np.random.default_rng(9)
    [record] = sources.records(1, 10, dual=1)
    public = public_record(record)
    genuine = sources.text(400, 1.0, rng, record, 3).tokens
    forged = sources.text(300, 1.0, rng, public, 12).tokens
    score = tamper.score(np.concatenate([genuine, forged]), record, public)

    assert tamper.score(genuine, record, public).log10_p() > -2
    assert score.log10_p() < -3
    assert score.nonce == 12
    assert score.hypotheses == 16


def test_a_prompt_does_not_count() -> None:
    [record] = sources.records(1, 11, dual=1)
    public = public_record(record)
    forged = sources.text(200, 1.5, np.random.default_rng(11), public, 3).tokens
    twice = np.concatenate([forged, forged])

    assert tamper.score(twice, record, public).log10_p() < -6
    assert tamper.score(twice, record, public, skip=200).n == 0


# --- edges ---------------------------------------------------------------------------


@pytest.mark.parametrize("length", range(5))
def test_a_text_without_context_is_no_evidence(length: int) -> None:
    [record] = sources.records(1, 12, dual=1)
    score = tamper.score(np.arange(length), record, public_record(record))

    assert (score.n, score.log10_p()) == (0, 0.0)


def test_a_record_of_another_shape_is_refused() -> None:
    [record] = sources.records(1, 13, dual=1)
    [other] = sources.records(1, 13, width=2)
    with pytest.raises(InvalidSignal, match="width"):
        tamper.score(np.arange(50), record, other)
