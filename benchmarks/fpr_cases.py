"""What the false-positive benchmark holds to its word: each detector's p-value."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from scipy.stats import binom

from benchmarks.fpr_corpus import Ids
from benchmarks.tails import ALPHAS
from watermark.detectors import greenlist, gumbel, spans, stream, tamper, tournament
from watermark.detectors import weighted as with_model
from watermark.detectors.base import LN10, Score
from watermark.keys import KeyRecord
from watermark.schemes.gumbel import public_record

LENGTHS = (50, 200, 400)
LONG = (400, 1600)  # of texts that are searched for passages

Generator = np.random.Generator


@dataclass(frozen=True, slots=True)
class Found:
    """One test: ln p, adjusted for all that was tried, and what it may attain."""

    ln_p: float
    stated: tuple[float, ...] = ALPHAS


Test = Callable[[Ids, KeyRecord, Generator], Found]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One p-value that is held to its word.

    Attributes:
        name: as the tables show it.
        test: the detector.
        tests: keys, and segments, of a full run.
        scheme: of the record.
        parameters: of the record.
        exact: whether p is exact, or a bound.
        error: relative, of a p that is an approximation: as the detector states it.
        lengths: of the segments, in tokens.
    """

    name: str
    test: Test
    tests: int
    scheme: str = "gumbel"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    exact: bool = False
    error: float = 0.0
    lengths: tuple[int, ...] = LENGTHS


@cache
def attainable(n: int, gamma: float) -> tuple[float, ...]:
    """The largest tails of Bin(n, gamma) that are at most each alpha."""
    tails = binom.sf(np.arange(n + 1) - 1, n, gamma).tolist()
    return tuple(max((t for t in tails if t <= a), default=0.0) for a in ALPHAS)


def _adjusted(score: Score) -> Found:
    return Found(score.ln_p + math.log(score.hypotheses))


def _gumbel(ids: Ids, record: KeyRecord, _: Generator) -> Found:
    return _adjusted(gumbel.score(ids, record))


def _greenlist(ids: Ids, record: KeyRecord, _: Generator) -> Found:
    score = greenlist.score(ids, record)
    gamma = int(record.parameters["gamma16"]) / 16
    return Found(score.ln_p, attainable(score.n, gamma))


def _tournament(ids: Ids, record: KeyRecord, _: Generator) -> Found:
    return _adjusted(tournament.score(ids, record))


def _tamper(ids: Ids, record: KeyRecord, _: Generator) -> Found:
    return _adjusted(tamper.score(ids, record, public_record(record)))


def _passages(ids: Ids, record: KeyRecord, _: Generator) -> Found:
    """The surest passage of those found at the largest level: no other is surer."""
    found = spans.find(ids, record, ALPHAS[0])
    return Found(min((span.ln_p for span in found), default=0.0))


def _stream(ids: Ids, record: KeyRecord, _: Generator) -> Found:
    """The least p ever shown, looking after every token."""
    running = stream.Stream(record)
    running.extend(ids.tolist())
    return Found(running.log10_p * LN10)


def _weighted(ids: Ids, record: KeyRecord, generator: Generator) -> Found:
    """Probabilities as uneven as a model's, and as wrong as can be."""
    surprise = generator.gamma(0.6, 2.0, size=len(ids))
    return _adjusted(with_model.score(ids, record, np.exp(-surprise)))


FIXED: Mapping[str, Any] = {"nonce_bits": 0}
CASES = (
    Case(
        name="gumbel, nonce fixed beforehand",
        test=_gumbel,
        tests=2_000_000,
        parameters=FIXED,
        exact=True,
    ),
    Case(name="gumbel, 16 nonces searched", test=_gumbel, tests=2_000_000),
    Case(
        name="greenlist",
        test=_greenlist,
        tests=2_000_000,
        scheme="greenlist",
        exact=True,
    ),
    Case(
        name="tournament, nonce fixed beforehand",
        test=_tournament,
        tests=2_000_000,
        scheme="tournament",
        parameters=FIXED,
        exact=True,
        error=0.03,
    ),
    Case(
        name="tournament, 16 nonces searched",
        test=_tournament,
        tests=2_000_000,
        scheme="tournament",
        error=0.03,
    ),
    Case(
        name="dual key, nonce fixed beforehand",
        test=_gumbel,
        tests=2_000_000,
        parameters={"dual": 1, **FIXED},
        exact=True,
    ),
    Case(
        name="tamper test",
        test=_tamper,
        tests=2_000_000,
        parameters={"dual": 1},
    ),
    Case(
        name="payload of 16 bits",
        test=_gumbel,
        tests=500_000,
        parameters={"payload_bits": 16, **FIXED},
    ),
    Case(
        name="payload of 16 bits, 16 nonces",
        test=_gumbel,
        tests=12_000,
        parameters={"payload_bits": 16},
    ),
    Case(
        name="payload of 32 bits",
        test=_gumbel,
        tests=100_000,
        parameters={"payload_bits": 32, **FIXED},
    ),
    Case(
        name="payload of 64 bits",
        test=_gumbel,
        tests=20_000,
        parameters={"payload_bits": 64, **FIXED},
    ),
    Case(
        name="passages, of the whole text",
        test=_passages,
        tests=100_000,
        lengths=LONG,
    ),
    Case(name="stream, looked at after every token", test=_stream, tests=48_000),
    Case(name="weighted by wrong probabilities", test=_weighted, tests=48_000),
)
