"""Suite: one medium's marks, what is done to them, and how one sample is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

import numpy as np

from benchmarks.attacks import Attack, thinned
from benchmarks.options import Options, seeded
from benchmarks.report import Part
from benchmarks.robustness import summary
from benchmarks.robustness.spec import Row, Spec

T = TypeVar("T")


class Worker(Protocol):
    """Measures samples: made once in each process, with models loaded."""

    def sample(self, subject: str, index: int) -> Row:
        """One row; the same whichever process makes it."""


class Suite(Protocol):
    """One medium."""

    def spec(self, options: Options) -> Spec:
        """What it measures.

        Raises:
            Unavailable: a model or folder is missing.
        """

    def worker(self, options: Options) -> Worker:
        """Ready to measure."""

    def finish(self, rows: dict[str, list[Row]]) -> None:
        """What can only be told from all rows is written into them."""

    def part(
        self, spec: Spec, rows: Mapping[str, Sequence[Row]], count: int, new: int
    ) -> Part:
        """Tables and plots."""


class Marks:
    """The part of a suite whose rows are p-values."""

    def finish(self, rows: dict[str, list[Row]]) -> None:
        """Nothing: every row has its p-value."""

    def part(
        self, spec: Spec, rows: Mapping[str, Sequence[Row]], count: int, new: int
    ) -> Part:
        """Rates, payloads, quality and curves."""
        return summary.part(spec, rows, count, new)


def generator(options: Options, *parts: object) -> np.random.Generator:
    """Everything that a sample draws, from the seed and its place alone."""
    seed = seeded("robustness", options.seed, *parts)
    return np.random.default_rng(int.from_bytes(seed[:16], "little"))


def kept(table: Mapping[str, Attack[T]], options: Options) -> dict[str, Attack[T]]:
    """The attacks that the command line asks for, and that which does nothing."""
    return {name: a for name, a in table.items() if asked(a.family, options.only)}


def few(table: Mapping[str, Attack[T]], options: Options) -> dict[str, Attack[T]]:
    """Families with few of their strengths.

    With all of them in a full run, or where the command line names families.
    """
    return dict(table) if options.full or options.only else thinned(table)


def each(
    attacks: Iterable[str], measure: Callable[[str], Row], exact: bool | None = None
) -> dict[str, Row]:
    """A row of each attack; one that raises costs no other attack its row.

    Args:
        attacks: their names.
        measure: what is done and judged.
        exact: of an attack that failed; None where there is no payload to be read.
    """
    found = {}
    for name in attacks:
        try:
            found[name] = measure(name)
        except Exception as error:  # whatever an attack or a peer raises is its result
            found[name] = lost(error, exact)
    return found


def lost(error: Exception, exact: bool | None = None) -> Row:
    """The row of an attack that raised: nothing is found. `exact` as in `each`."""
    return {"log10_p": 0.0, "exact": exact, "failed": said(error)}


def said(error: BaseException) -> str:
    """An error, in one line: a cell of a table."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def asked(family: str, only: Sequence[str]) -> bool:
    """Whether a family of attacks is among those named; all are, by default."""
    return not only or family == "none" or short(family) in only


def short(family: str) -> str:
    """Its name without the unit, as the command line has it."""
    return family.partition(",")[0]
