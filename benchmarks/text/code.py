"""Code: little entropy, and a bias that breaks programs. Found at equal cost.

KGW's thresholds are those of unmarked text of the same source under random keys; the
other p-values are the detectors' own.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from benchmarks.options import Options
from benchmarks.rates import Rate
from benchmarks.report import Cell, Part, Plot, Table, Target
from benchmarks.text import humaneval
from benchmarks.text.code_texts import (
    BIASED,
    COST,
    COST_SYNTHETIC,
    GATED,
    GREEN,
    GUMBEL,
    KEYS,
    KGW,
    LENGTHS,
    UNMARKED,
    Reading,
    Source,
    code_set,
    sampled,
    synthetic,
)
from benchmarks.text.samples import Sampler
from watermark.detectors import greenlist, gumbel, weighted
from watermark.detectors.base import Score

ALPHAS = (0.05, 1e-3)
SYNTHETIC = (0.3, 0.45, 0.6)
CLOSE = 0.03  # nats: how far a cost that is measured may lie from the one wanted
MODEL = ", with the model"
# How it is told, and how it was marked.
TESTS = {
    GUMBEL: GUMBEL,
    GUMBEL + MODEL: GUMBEL,
    GREEN: GREEN,
    GATED: GATED,
    GATED + MODEL: GATED,
    KGW: KGW,
}


def measure(sampler: Sampler, options: Options) -> Part:
    """Every source and scheme at every length; false positives on HumanEval."""
    count = options.count(40, 200)
    drawn = [sampled(sampler, options, count)]
    drawn += [synthetic(nats, options, count) for nats in SYNTHETIC]
    rates = {
        (source.name, test): _rates(source, test, options)
        for source in drawn
        for test in TESTS
    }
    sampling = sampler.sampling(code_set(UNMARKED, None))
    table, wrong = humaneval.false_positives(sampler.language, sampling, options)
    written = drawn[0]
    ours, theirs = (rates[written.name, t][200, ALPHAS[0]] for t in (GUMBEL, KGW))
    apart = [abs(s.costs[k][0] - COST_SYNTHETIC) for s in drawn[1:] for k in BIASED]
    targets = (
        Target.at_most(
            f"synthetic code: cost of a bias, farthest from {COST_SYNTHETIC:g}",
            max(apart),
            CLOSE,
            f"of {len(apart)}, nats a token",
        ),
        Target.at_least(
            "code, 200 tokens at 5 %: gumbel, of HF KGW at its cost",
            ours.value / max(theirs.value, 1 / count),
            1.0,
            f"{ours} and {theirs}",
        ),
    )
    return Part(
        parameters={
            "code samples": count,
            "sampling of code": str(sampling),
            "cost of a bias on code": f"{COST:g} nats a token",
            "on synthetic sources": f"{COST_SYNTHETIC:g} nats a token",
        },
        targets=(*targets, *wrong),
        tables=(_costs(drawn), *(_table(rates, alpha) for alpha in ALPHAS), table),
        plots=tuple(_plot(written.name, rates, alpha) for alpha in ALPHAS),
        notes=(
            "Code: gumbel's and greenlist's p-values are their own, KGW's threshold "
            f"is realised on unmarked texts under {KEYS} keys.",
        ),
    )


# --- how often it is found -----------------------------------------------------------


def _rates(
    source: Source, test: str, options: Options
) -> dict[tuple[int, float], Rate]:
    """Texts found, by length and stated error rate."""
    readings = source.readings[TESTS[test]]
    every = options.track(readings, f"{source.name}, {test}")
    tails = [_tails(source, test, reading) for reading in every]
    return {
        (n, alpha): Rate(sum(row[i] <= math.log10(alpha) for row in tails), len(tails))
        for i, n in enumerate(LENGTHS)
        for alpha in ALPHAS
    }


def _tails(source: Source, test: str, reading: Reading) -> list[float]:
    """log10 p of the first tokens, by length."""
    if test == KGW:
        return source.null.log10_p(reading.ids, reading.key)
    return [_score(test, reading, n).log10_p() for n in LENGTHS]


def _score(test: str, reading: Reading, n: int) -> Score:
    ids, record = reading.ids[:n], reading.key
    if test == GUMBEL + MODEL:
        return weighted.score(ids, record, reading.probabilities[:n])
    if test == GATED + MODEL:
        return greenlist.score(ids, record, reading.entropies[:n])
    if test == GUMBEL:
        return gumbel.score(ids, record)
    return greenlist.score(ids, record)


# --- tables --------------------------------------------------------------------------


def _costs(drawn: Sequence[Source]) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            source.name,
            name,
            source.nats,
            source.deltas.get(name),
            *source.costs[name],
            statistics.fmean(_distinct(reading.ids.tolist()) for reading in readings),
        )
        for source in drawn
        for name, readings in source.readings.items()
    ]
    columns = (
        *("source", "marked by", "nats", "delta", "cost", "standard error"),
        "distinct 4-grams",
    )
    note = (
        "Cost: mean -ln p of the tokens under the unmarked model less the entropy, "
        "nats a token. Delta is chosen on unmarked texts, cost measured on these. A "
        "text that runs in circles is likely: few distinct 4-grams hide a cost."
    )
    return Table("Code: what a mark costs", columns, tuple(rows), note)


def _distinct(ids: list[int]) -> float:
    runs = list(zip(ids, ids[1:], ids[2:], ids[3:], strict=False))
    return len(set(runs)) / len(runs)


Rates = dict[tuple[str, str], dict[tuple[int, float], Rate]]


def _table(rates: Rates, alpha: float) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (*names, *(found[n, alpha].value for n in LENGTHS))
        for names, found in rates.items()
    ]
    columns = ("source", "told by", *(f"{n} tokens" for n in LENGTHS))
    return Table(f"Code: found at {alpha:g}, equal cost", columns, tuple(rows))


def _plot(source: str, rates: Rates, alpha: float) -> Plot:
    curves = tuple(
        (
            test,
            tuple(
                (float(n), rate.value, *rate.interval())
                for n in LENGTHS
                for rate in [rates[source, test][n, alpha]]
            ),
        )
        for test in TESTS
    )
    title = f"Code at {alpha:g}, equal cost"
    return Plot(title, "tokens", "share of texts found", curves)
