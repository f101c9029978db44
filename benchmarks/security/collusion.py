"""Collusion: several customers splice their copies, each with a message of its own.

What may never happen is that the detector names somebody who took no part.
"""

from __future__ import annotations

import numpy as np

from benchmarks import sources
from benchmarks.options import Options, seeded, seeded_key
from benchmarks.rates import Rate
from benchmarks.report import Cell, Part, Table, Target
from watermark.detectors import gumbel
from watermark.schemes import SCHEMES

NATS = 1.5
LENGTH = 400
PIECE = 40  # tokens between two splices
COLLUDERS = (1, 2, 3, 4)
BITS = (16, 32)
TEXTS, FULL = 10, 700  # none wrong of 3,700 told: the rate is below 1e-3 at 95 %
MOST_FRAMED = 1e-3  # of the texts in which a message is told


def measure(options: Options) -> Part:
    """Whom the message names."""
    count = options.count(TEXTS, FULL)
    cells: list[tuple[Cell, ...]] = []
    framed = told = 0
    for bits in BITS:
        for n in COLLUDERS:
            seen = [
                _one(bits, n, i, options)
                for i in options.track(range(count), f"{bits} bits, {n} colluders")
            ]
            present, named, wrong = (sum(one[i] for one in seen) for i in range(3))
            rates = (Rate(hits, count) for hits in (present, named))
            cells.append((bits, n, *map(str, rates), wrong))
            framed, told = framed + wrong, told + named + wrong
    columns = (
        "bits",
        "copies",
        "mark found at 1e-6",
        "names a colluder",
        "names others",
    )
    note = (
        f"{LENGTH} tokens of {NATS:g} nats, pieces of {PIECE} tokens from each copy in "
        "turn; contexts across a splice are nobody's."
    )
    return Part(
        targets=(
            Target.bounded(
                "collusion: messages told that name somebody else",
                Rate(framed, told),
                MOST_FRAMED,
            ),
        ),
        tables=(Table("Collusion", columns, tuple(cells), note),),
    )


def _one(bits: int, copies: int, index: int, options: Options) -> tuple[bool, ...]:
    """(mark found, a colluder named, somebody else named) for one spliced text."""
    place = "collusion", options.seed, bits, copies, index
    rng = np.random.default_rng(int.from_bytes(seeded(*place)[:16], "little"))
    record = SCHEMES["gumbel"].record(
        seeded_key(*place), payload_bits=bits, nonce_bits=0
    )
    messages = [rng.bytes(bits // 8) for _ in range(copies)]
    texts = [sources.text(LENGTH, NATS, rng, record, 0, m).tokens for m in messages]
    spliced = np.concatenate(
        [
            texts[i % copies][start : start + PIECE]
            for i, start in enumerate(range(0, LENGTH, PIECE))
        ]
    )
    score = gumbel.score(spliced, record)
    said = score.payload
    return (
        score.log10_p() <= -6,
        said is not None and said in messages,
        said is not None and said not in messages,
    )
