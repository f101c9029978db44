"""Suite: one medium's marks, what is done to them, and how one sample is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

import numpy as np

from benchmarks.attacks import Attack
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


def asked(family: str, only: Sequence[str]) -> bool:
    """Whether a family of attacks is among those named; all are, by default."""
    return not only or family == "none" or short(family) in only


def short(family: str) -> str:
    """Its name without the unit, as the command line has it."""
    return family.partition(",")[0]
