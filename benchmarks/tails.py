"""Tails: how often p <= alpha came true, against how often it may."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.journal import Journal
from benchmarks.rates import clopper_pearson
from benchmarks.report import Cell, Table, Target

ALPHAS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
LEVEL = 0.999  # two-sided, of an exact tail
ONE_SIDED = 0.998  # two-sided level whose lower end is one-sided 99.9 %


@dataclass(frozen=True, slots=True)
class Tail:
    """Counts of p <= alpha for each alpha, of `n` tests.

    Attributes:
        name: of the statistic.
        exact: whether the rate shall equal the stated one, or may stay below it.
        n: tests.
        hits: tests with p <= alpha.
        stated: expected share of p <= alpha: alpha itself, or what a discrete
            statistic can attain of it.
        error: the relative error of p that the statistic's own tail states, where it
            is an approximation.
    """

    name: str
    exact: bool
    n: int
    hits: tuple[int, ...]
    stated: tuple[float, ...]
    error: float = 0.0

    def holds(self) -> list[bool]:
        """For each alpha, whether the stated rate agrees with the counts."""
        level = LEVEL if self.exact else ONE_SIDED
        answers = []
        for hits, stated in zip(self.hits, self.stated, strict=True):
            low, high = clopper_pearson(hits, self.n, level=level)
            below = stated * (1 - self.error) <= high or not self.exact
            answers.append(low <= stated * (1 + self.error) and below)
        return answers

    def target(self) -> Target:
        """All alphas as one target: the fewest that may fail is none."""
        answers = self.holds()
        kind = "equals" if self.exact else "is at most"
        known = f", p known to {self.error:.0%}" if self.error else ""
        return Target(
            name=f"{self.name}: realised rate {kind} the stated one",
            target=f"{len(answers)} of {len(answers)} alphas",
            measured=float(sum(answers)),
            reached=all(answers),
            note=f"{self.n:,} tests{known}",
        )

    def rows(self) -> list[tuple[Cell, ...]]:
        """One table row for each alpha."""
        rows: list[tuple[Cell, ...]] = []
        for alpha, hits, stated, holds in zip(
            ALPHAS, self.hits, self.stated, self.holds(), strict=False
        ):
            low, high = clopper_pearson(hits, self.n, level=LEVEL)
            loose = stated * self.n / hits if hits else None
            row = (self.name, f"{alpha:g}", stated, hits, hits / self.n)
            rows.append((*row, f"{low:.3g} .. {high:.3g}", loose, holds))
        return rows


def table(title: str, tails: Sequence[Tail], note: str) -> Table:
    """Tails one below the other."""
    columns = (
        "statistic",
        "alpha",
        "expected",
        "hits",
        "realised",
        "99.9 % interval",
        "expected / realised",
        "holds",
    )
    rows = tuple(row for tail in tails for row in tail.rows())
    return Table(title, columns, rows, note)


def at_most(values: NDArray[np.float64]) -> list[int]:
    """How many of natural-log p-values are at most each alpha."""
    # A p-value of exactly alpha counts; the guard is for its rounding in logarithms.
    return [int(np.sum(values <= np.log(alpha) + 1e-12)) for alpha in ALPHAS]


def summed(journal: Journal, ids: Iterable[str], column: str) -> tuple[float, ...]:
    """Column sums of the lists that some rows hold."""
    return tuple(
        float(total)
        for total in np.sum([journal.rows[name][column] for name in ids], axis=0)
    )
