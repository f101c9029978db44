"""What tables and plots count: shares found, and means of qualities."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from benchmarks.rates import Clustered, Rate
from benchmarks.robustness.spec import FPR, Row, Spec

Rows = Mapping[str, Sequence[Row]]
GEOMETRIC = frozenset({"perplexity"})  # exp of a mean: its own mean is one, too


def done(rows: Iterable[Row], attack: str) -> list[Row]:
    """What every sample that was attacked in that way says of it."""
    return [row["attacks"][attack] for row in rows if attack in row["attacks"]]


def detected(one: Row, fpr: float = FPR) -> bool:
    """Whether a mark is found at a false-positive rate."""
    return bool(one["log10_p"] <= math.log10(fpr))


def rate(rows: Iterable[Row], attack: str, fpr: float = FPR) -> Rate:
    """How many are found at `fpr` after an attack, of those that it was done to."""
    seen = done(rows, attack)
    return Rate(sum(detected(one, fpr) for one in seen), len(seen))


def together(
    rows: Iterable[Row], attacks: Iterable[str], holds: Callable[[Any], bool]
) -> Clustered:
    """The share of what `holds` after all of some attacks; a sample is a cluster."""
    kept = set(attacks)
    return Clustered.of(
        [holds(one) for name, one in row["attacks"].items() if name in kept]
        for row in rows
    )


def common(spec: Spec, rows: Rows) -> tuple[list[str], list[str]]:
    """Subjects that can be told apart by all attacks together, and those attacks.

    The attacks are those that all of these subjects went through, and that leave a
    thing what it is: nobody is spared a hard one.
    """
    whole = [s for s in rows if s not in spec.apart] or list(rows)
    seen = [{name for row in rows[s] for name in row["attacks"]} for s in whole]
    names = set(spec.attacks).difference(spec.forged).intersection(*seen)
    return whole, [name for name in spec.attacks if name in names]


def qualities(rows: Rows) -> list[str]:
    """Names of all that was measured of a marked thing."""
    every = (row["quality"] for own in rows.values() for row in own)
    return list(dict.fromkeys(name for quality in every for name in quality))


def mean(rows: Iterable[Row], name: str) -> float | None:
    """Of a quality: geometric of a perplexity, which is the exp of the mean loss."""
    seen = [row["quality"][name] for row in rows if name in row["quality"]]
    return average(name, seen) if seen else None


def average(name: str, values: Sequence[float]) -> float:
    """The mean of a quality by its name, as in `mean`."""
    return (statistics.geometric_mean if name in GEOMETRIC else statistics.fmean)(
        values
    )
