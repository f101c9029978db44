"""C2PA's conformance rubrics (c2pa-org/conformance-public), evaluated over crJSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.conformance.formula import Node, Scope, compile_formula, truth

SPEC_VERSION = "2.4"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of a rubric, applied to one file.

    Attributes:
        name: its id there.
        passed: whether it says what it shall; of a signal, whether it is there.
        found: what the expression gave.
    """

    name: str
    passed: bool
    found: Any


@dataclass(frozen=True)
class Rubric:
    """A rubric, read from its YAML."""

    name: str
    scope: Scope
    checks: tuple[tuple[str, Node, bool], ...]

    @classmethod
    def load(cls, path: Path) -> Rubric:
        """Read and compile a rubric.

        Raises:
            FormulaError: it uses more of the language than is known here.
        """
        import yaml

        head, lines = yaml.safe_load_all(path.read_text())
        names = head.get("expressions", {})
        scope = Scope(
            values={"$expected_spec_version": SPEC_VERSION, **head["variables"]},
            functions={name: compile_formula(text) for name, text in names.items()},
        )
        checks = tuple(
            (
                line["id"],
                compile_formula(line["expression"]),
                bool(line.get("failIfMatched") or line.get("warnIfMatched")),
            )
            for line in lines
        )
        return cls(path.name, scope, checks)

    def apply(self, data: Any) -> list[Check]:
        """Every check of the rubric over one report."""
        found = []
        for name, expression, fails_if_matched in self.checks:
            value = expression(data, self.scope)
            found.append(Check(name, truth(value) != fails_if_matched, value))
        return found
