"""The terms that several detectors share: of which contexts, under whose key."""

from __future__ import annotations

import math

import numpy as np
import pytest
from benchmarks import sources

from watermark import kernels
from watermark.detectors import gumbel
from watermark.detectors.terms import terms
from watermark.keys import KeyRecord
from watermark.prf import context_key
from watermark.schemes import gumbel as scheme
from watermark.schemes.payload import PRESENCE16

TOKENS = sources.noise(300, np.random.default_rng(1))


def one(seed: int, **parameters: int) -> KeyRecord:
    return next(sources.records(1, seed, **parameters))


def test_terms_of_a_plain_record_are_those_of_the_kernel() -> None:
    record = one(1)
    positions, found = terms(TOKENS.tolist(), record)
    n, sums = kernels.gumbel_score(TOKENS, context_key(record), 4, 4)

    assert found.shape == (n, 16)
    assert positions[0] == 4
    assert np.allclose(found.sum(axis=0), sums)


def test_each_context_of_a_dual_record_is_scored_under_its_owner() -> None:
    record = one(2, dual=1, nonce_bits=1)
    public = scheme.public_record(record)
    positions, found = terms(TOKENS, record)
    owners = []
    for position, row in zip(positions, found, strict=True):
        context = TOKENS[position - 4 : position]
        state = kernels.context_state(context_key(record), context)
        owners.append(kernels.context_roles(state, 0)[2])
        if owners[-1] == 0:
            state = kernels.context_state(context_key(public), context)
        drawn = kernels.words(state, int(TOKENS[position]), 0)[:2]

        assert np.allclose(row, [-math.log1p(-word / 2**32) for word in drawn])
    assert 100 < sum(owners) < 200


def test_of_a_record_with_a_payload_the_silent_contexts_are_scored() -> None:
    record = one(3, payload_bits=16)
    positions, found = terms(TOKENS, record)
    n, sums = kernels.payload_presence(
        TOKENS, context_key(record), 4, 4, presence16=PRESENCE16
    )

    assert len(positions) == n > 0
    assert np.allclose(found.sum(axis=0), sums)


@pytest.mark.parametrize("parameters", [{}, {"dual": 1}, {"payload_bits": 32}])
def test_marked_text_is_marked_in_its_terms(parameters: dict[str, int]) -> None:
    """What the generator keys is what is scored, under its nonce alone."""
    record = one(4, **parameters)
    payload = bytes(parameters.get("payload_bits", 0) // 8)
    rng = np.random.default_rng(4)
    text = sources.text(2000, 1.5, rng, record, 9, payload)
    found = terms(text.tokens, record)[1]

    assert found[:, 9].mean() > 1.6
    assert np.delete(found, 9, axis=1).mean() < 1.1


def test_the_source_is_as_hard_as_it_says() -> None:
    """Entropy as stated; and 0.985 of texts found at 200 tokens, 0.75 at 100."""
    rng = np.random.default_rng(5)
    rows = sources.rows(1.0, rng)
    entropy = [
        -float(np.exp(row) @ row) for row, _ in zip(rows, range(4000), strict=False)
    ]

    assert abs(float(np.mean(entropy)) - 1) < 0.08
    assert 0.15 < float(np.mean(np.asarray(entropy) < 0.1)) < 0.3

    record = one(6)
    texts = [sources.text(200, 1.0, rng, record, i % 16).tokens for i in range(100)]
    found = [
        [gumbel.score(t[:n], record).log10_p() < -6 for t in texts] for n in (100, 200)
    ]

    assert 60 < sum(found[0]) < 92
    assert sum(found[1]) >= 95
