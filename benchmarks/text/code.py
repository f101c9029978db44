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
# How far a cost that is measured may lie from the one wanted: nats, beyond so many
# standard errors.
CLOSE, ERRORS = 0.01, 3.0
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
    targets = (
        _equal("code of the model", COST, drawn[:1]),
        _equal("synthetic code", COST_SYNTHETIC, drawn[1:]),
        Target.at_least(
            f"code, 200 tokens at 5 %: gumbel, of HF KGW at {COST:g} nats",
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


def _equal(name: str, wanted: float, drawn: Sequence[Source]) -> Target:
    """Whether the biases cost on their own texts what delta was chosen for."""
    costs = {(s.name, k): s.costs[k] for s in drawn for k in BIASED}
    beyond = {
        k: max(0.0, abs(cost - wanted) - ERRORS * error)
        for k, (cost, error) in costs.items()
    }
    worst = max(beyond, key=beyond.__getitem__)
    cost, error = costs[worst]
    return Target.at_most(
        f"{name}: cost of a bias off {wanted:g}, beyond {ERRORS:g} standard errors",
        beyond[worst],
        CLOSE,
        f"farthest: {', '.join(worst)}: {cost:.3g} +- {error:.2g} nats a token",
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
    note = "Delta costs the same on unmarked texts; on its own texts: see the costs."
    return Table(f"Code: found at {alpha:g}, equal cost", columns, tuple(rows), note)


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
