"""From rows at several strengths to a table, a plot and a sentence of each scheme."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence

from scipy.stats import t as student

from benchmarks.rates import LEVEL, Clustered, Rate
from benchmarks.report import Cell, Plot, Table
from benchmarks.robustness.measures import (
    GEOMETRIC,
    average,
    detected,
    rate,
    together,
)
from benchmarks.robustness.spec import FPR, Row
from benchmarks.robustness.strength_media import ATTACKS, UNMARKED, Sweep

ENOUGH = 0.95  # of what the best strength finds

Found = Mapping[float, Sequence[Row]]  # rows of each strength, the weakest first


def by_strength(sweep: Sweep, rows: Mapping[str, Sequence[Row]]) -> Found:
    """The rows of one scheme that did not fail."""
    own = {value: rows.get(sweep.subject(value), ()) for value in sweep.strengths}
    good = {v: [r for r in found if "failed" not in r] for v, found in own.items()}
    return {value: found for value, found in good.items() if found}


def _attacks(sweep: Sweep, found: Found) -> list[str]:
    done = {name for rows in found.values() for row in rows for name in row["attacks"]}
    return [name for name in ATTACKS[sweep.medium] if name in done]


def _mean(rows: Sequence[Row], name: str, of: str = "quality") -> float:
    return average(name, [row[of][name] for row in rows])


def _within(rows: Sequence[Row], name: str, of: str = "quality") -> str:
    """A mean and its 95 % interval by Student's t, or what all rows have in common.

    Where the mean is geometric, so is the interval.
    """
    values, mean = [row[of][name] for row in rows], _mean(rows, name, of)
    if math.isclose(min(values), max(values)):
        return f"{mean:.4g}"
    scaled = [math.log(one) for one in values] if name in GEOMETRIC else values
    error = statistics.stdev(scaled) / math.sqrt(len(scaled))
    half = float(student.isf((1 - LEVEL) / 2, len(scaled) - 1)) * error
    if name in GEOMETRIC:
        low, high = (mean * math.exp(away) for away in (-half, half))
        return f"{mean:.4g} [{low:.3g}, {high:.3g}]"
    return f"{mean:.4g} ± {half:.2g}"


def _share(rate: Rate | Clustered) -> str:
    low, high = rate.interval()
    return f"{rate.value:.2f} [{low:.2f}, {high:.2f}]"


def _pooled(rows: Sequence[Row], holds: Callable[[Row], bool] = detected) -> Clustered:
    """What holds after all attacks together: by default that a mark is found."""
    return together(rows, {name for row in rows for name in row["attacks"]}, holds)


def _pooled_exact(rows: Sequence[Row]) -> Clustered:
    """Mark ids read after all attacks together; none of schemes that have no id."""
    every = (one for row in rows for one in row["attacks"].values())
    if all(one.get("exact") is None for one in every):
        return Clustered(())
    return _pooled(rows, lambda one: bool(one.get("exact")))


def table(sweep: Sweep, found: Found) -> Table:
    """A row for each strength: found after each attack, and the quality."""
    attacks = _attacks(sweep, found)
    some = next(iter(found.values()))
    names = list(some[0]["quality"])
    rows: list[tuple[Cell, ...]] = []
    if UNMARKED in some[0]:
        plain = [_within(some, name, UNMARKED) for name in names]
        rows.append((UNMARKED, *(None for _ in attacks), *plain))
    ids = ("ids read, all attacks",) if _pooled_exact(some).n else ()
    for value, seen in found.items():
        rates = [_share(rate(seen, name)) for name in attacks]
        rates += [_share(_pooled_exact(seen)) for _ in ids]
        said = f"{value:g}" + ", default" * (value == sweep.default)
        rows.append((said, *rates, *(_within(seen, name) for name in names)))
    return Table(
        f"strength: {sweep.scheme}",
        (sweep.parameter, *(f"found, {name}" for name in attacks), *ids, *names),
        tuple(rows),
        f"The weakest mark first. Found: p at most {FPR:g}. 95 % intervals.",
    )


def plot(sweep: Sweep, found: Found) -> Plot:
    """A curve for each attack, through the strengths."""
    x = {value: _mean(rows, sweep.quality) for value, rows in found.items()}
    curves = []
    for name in _attacks(sweep, found):
        rates = {value: rate(rows, name) for value, rows in found.items()}
        points = ((x[v], r.value, *r.interval()) for v, r in rates.items())
        curves.append((name, tuple(points)))
    lines = [
        (
            f"{value:g}" + ", default" * (value == sweep.default),
            at,
            value == sweep.default,
        )
        for value, at in x.items()
    ]
    some = next(iter(found.values()))
    if UNMARKED in some[0]:
        lines.append((UNMARKED, _mean(some, sweep.quality, UNMARKED), False))
    return Plot(
        f"strength: {sweep.scheme} by {sweep.parameter}",
        sweep.quality,
        f"share found at {FPR:g}",
        tuple(curves),
        lines=tuple(lines),
    )


def told(sweep: Sweep, found: Found) -> str:
    """Why the default is where it is, as far as the rows tell."""
    rates = {value: _pooled(rows) for value, rows in found.items()}
    best = max(rate.value for rate in rates.values())
    enough = next(v for v, rate in rates.items() if rate.value >= ENOUGH * best)
    said = {value: _at(sweep, found[value]) for value in found}
    least = f"the weakest that finds {ENOUGH:.0%} of what the best finds"
    text = f"{sweep.scheme} by {sweep.parameter}, after all attacks together: "
    if sweep.default not in found:
        return text + f"{least} is {enough:g}, {said[enough]}."
    order = list(found)
    text += f"the default {sweep.default:g} has {said[sweep.default]}. "
    if enough == sweep.default:
        text += f"It is {least}: what is stronger costs quality for little."
    elif order.index(enough) < order.index(sweep.default):
        text += f"It is stronger than {least}, {enough:g} with {said[enough]}."
    else:
        text += f"It is weaker than {least}, {enough:g} with {said[enough]}: "
        text += "the difference is kept for quality."
    return f"{text} By design, {sweep.trade}."


def _at(sweep: Sweep, rows: Sequence[Row]) -> str:
    read = _pooled_exact(rows)
    ids = f", ids read {_share(read)}" if read.n else ""
    return (
        f"found {_share(_pooled(rows))}{ids}, "
        f"{sweep.quality} {_mean(rows, sweep.quality):.4g}"
    )
