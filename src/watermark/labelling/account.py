"""What became of each layer of one file, and by which clauses it was asked for."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Literal

from watermark.errors import LabelError
from watermark.labels.regimes import COUNTED, Level, Requirements

State = Literal[
    "verified", "placed", "declared", "deferred", "exempt", "outside", "missing"
]
THERE: tuple[State, ...] = ("verified", "placed", "declared")
WRITTEN: tuple[State, ...] = ("verified", "placed")


@dataclass(frozen=True, slots=True)
class Layer:
    """What became of one layer.

    Attributes:
        name: of `watermark.labels.regimes.LAYERS`.
        state: ``verified``: read back from the finished file. ``placed``: written, and
            not to be read back here. ``declared``: the caller says so. ``deferred``:
            left for later. ``exempt``: not asked of this file. ``outside``: no file
            shows it, it is the provider's to see to. ``missing``: asked for, but not
            required.
        clauses: that it serves, or does not.
        detail: one sentence for a reader.
    """

    name: str
    state: State
    clauses: tuple[str, ...] = ()
    detail: str = ""


@dataclass(slots=True)
class Account:
    """The layers of one file.

    Attributes:
        needs: what is asked of it.
        layers: what became of each so far.
    """

    needs: Requirements
    layers: list[Layer] = field(default_factory=list)

    def has(self, name: str) -> bool:
        """Whether a layer was entered already."""
        return any(each.name == name for each in self.layers)

    def enter(self, name: str, state: State, detail: str = "") -> None:
        """Enter a layer.

        Raises:
            LabelError: it is there, and a regime forbids it.
        """
        if state in THERE and name in self.needs.forbidden:
            raise LabelError(
                self.needs.forbidden[name], f"{name}: it is there, expected none"
            )
        row = self.needs.rows.get(name)
        served = row.served if row is not None else ()
        self.layers.append(Layer(name, state, served, detail))

    def lack(self, name: str, problem: str, *, asked: bool = False) -> None:
        """Enter a layer that cannot be had.

        Args:
            name: of the layer.
            problem: why, and what to do.
            asked: whether the caller asked for it, whatever the regimes do.

        Raises:
            LabelError: it is required; with the clause.
        """
        level, clause = self.needs.level(name), self.needs.clause(name)
        if level is Level.REQUIRED or asked:
            raise LabelError(clause or "asked for by the caller", f"{name}: {problem}")
        if level is Level.ON:
            warnings.warn(f"{name}: {problem} ({clause})", UserWarning, stacklevel=8)
            self.enter(name, "missing", problem)

    def settle(self, name: str, there: bool, problem: str, detail: str = "") -> None:
        """Enter a layer that regimes may ask for, by whether it is there.

        Raises:
            LabelError: it is required and not there; with the clause.
        """
        if not there:
            self.lack(name, problem)
        elif self.needs.level(name) is not Level.OFF:
            self.enter(name, "verified", detail)

    def check(self) -> None:
        """Return if every required layer was entered, and enough of them are there.

        Raises:
            LabelError: one was not, or there are too few; with the clause.
        """
        for name, row in self.needs.rows.items():
            if row.level is Level.REQUIRED and not self.has(name):
                raise LabelError(
                    row.clause, f"{name}: required, and nothing was done about it"
                )
        self.check_minimum()

    def check_minimum(self) -> None:
        """Return if enough layers say by themselves that the file is generated.

        What the caller only declares counts for none. A text that is too short for a
        mark is excused from one.

        Raises:
            LabelError: there are too few.
        """
        counted = [each for each in self.layers if each.name in COUNTED]
        good = {each.name for each in counted if each.state in WRITTEN}
        excused = {"watermark"} & {e.name for e in counted if e.state == "exempt"}
        if len(good | excused) < self.needs.minimum:
            raise LabelError(
                self.needs.minimum_clause,
                f"{len(good)} layers found ({', '.join(sorted(good)) or 'none'}), "
                f"expected {self.needs.minimum} in this {self.needs.form}: a row in a "
                "log counts for none, and neither does what is only declared",
            )
