"""Messages: how often one is read exactly, and how often a wrong one is told."""

from __future__ import annotations

import math
import statistics

import numpy as np

from benchmarks.language import Language
from benchmarks.options import Options
from benchmarks.rates import Rate
from benchmarks.report import Cell, Part, Plot, Table, Target
from benchmarks.text.samples import NO_REPEAT, NOTE, Sampler, Set, Text
from watermark.detectors import gumbel
from watermark.detectors.base import Score

FPR = 1e-6
LENGTHS = (50, 100, 150, 200, 300, 400)
# Each output carries a mark id of its own, which does the work of the nonce.
SETS = tuple(
    Set(
        f"{bits} bits, 1 nat",
        "gumbel",
        1.0,
        LENGTHS[-1],
        (("payload_bits", bits), ("nonce_bits", 0)),
        no_repeat=NO_REPEAT,
    )
    for bits in (16, 32, 64)
)
# (bits, tokens, least share of messages read exactly)
WANTED = ((16, 150, 0.98), (32, 200, 0.97), (64, 400, 0.97))
TELLS_WRONG = 1e-3  # stated probability that a message told is wrong


def measure(sampler: Sampler, options: Options) -> Part:
    """Exact messages, presence and wrong messages of 16, 32 and 64 bits."""
    count = options.count(40, 200)
    drawn = {part.name: sampler.texts(part, count) for part in SETS}
    found = {
        name: [_scores(t, sampler.language) for t in options.track(texts, name)]
        for name, texts in drawn.items()
    }
    exact = {name: _rates(drawn[name], rows, "decoded") for name, rows in found.items()}
    present = {
        name: {
            n: Rate(sum(row[n].log10_p() <= math.log10(FPR) for row in rows), len(rows))
            for n in LENGTHS
        }
        for name, rows in found.items()
    }
    told = {name: _told(drawn[name], rows) for name, rows in found.items()}
    nats = statistics.fmean(t.nats for t in drawn[SETS[0].name])
    targets = [
        Target(
            name="messages: nats a token of the samples",
            target="1.0 +- 0.1",
            measured=nats,
            reached=abs(nats - 1.0) <= 0.1,
        ),
        *(
            Target.of_rate(
                f"{bits} bits exact, {n} tokens", exact[f"{bits} bits, 1 nat"][n], least
            )
            for bits, n, least in WANTED
        ),
        Target.of_rate(
            "16 bits, presence at 1e-6, 200 tokens", present[SETS[0].name][200], 0.98
        ),
        _wrong(told),
    ]
    rows: list[tuple[Cell, ...]] = []
    for name in found:
        for n in LENGTHS:
            right, wrong = told[name][n]
            row = (exact[name][n].value, present[name][n].value, right, wrong)
            rows.append((name, n, len(drawn[name]), *row))
    columns = (
        *("samples of", "tokens", "n", "exact", "present at 1e-6"),
        *("told and right", "told and wrong"),
    )
    note = (
        "Exact: the best message is the one that was embedded. Told: its stated "
        f"probability of being wrong is at most {TELLS_WRONG:g}."
    )
    curves = tuple(
        (name, tuple((float(n), r.value, *r.interval()) for n, r in rates.items()))
        for name, rates in exact.items()
    )
    return Part(
        parameters={"messages": count},
        targets=tuple(targets),
        tables=(Table("Messages", columns, tuple(rows), note),),
        plots=(Plot("Messages read exactly", "tokens", "share", curves),),
        notes=(NOTE,),
    )


def _scores(text: Text, language: Language) -> dict[int, Score]:
    if text.record is None:
        raise ValueError("an unmarked text carries no message")
    read = {
        n: np.asarray(language.reader.encode(text.said(language, n)), np.uint32)
        for n in LENGTHS
    }
    return {n: gumbel.score(ids, text.record) for n, ids in read.items()}


def _rates(
    texts: list[Text], rows: list[dict[int, Score]], column: str
) -> dict[int, Rate]:
    return {
        n: Rate(
            sum(
                getattr(row[n], column) == text.message
                for row, text in zip(rows, texts, strict=True)
            ),
            len(rows),
        )
        for n in LENGTHS
    }


def _told(
    texts: list[Text], rows: list[dict[int, Score]]
) -> dict[int, tuple[int, int]]:
    """Messages told with confidence: right ones and wrong ones."""
    counts = {}
    for n in LENGTHS:
        pairs = [
            (row[n].payload, t.message) for row, t in zip(rows, texts, strict=True)
        ]
        right = sum(said == meant for said, meant in pairs)
        counts[n] = right, sum(said not in (None, meant) for said, meant in pairs)
    return counts


def _wrong(told: dict[str, dict[int, tuple[int, int]]]) -> Target:
    """Wrong messages told, over every length: their lengths share texts."""
    wrong = sum(w for by_length in told.values() for _, w in by_length.values())
    total = sum(r + w for by_length in told.values() for r, w in by_length.values())
    rate = Rate(wrong, total)
    return Target(
        name="wrong messages told, of all told",
        target=f"<= {TELLS_WRONG:g} (one-sided 99.9 %)",
        measured=rate.value,
        reached=rate.interval(0.998)[0] <= TELLS_WRONG,
        interval=rate.interval(),
        note=f"{wrong} of {total}",
    )
