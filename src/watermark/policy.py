"""What a caller demands of a Report. A policy is a value: call it on a report.

>>> from watermark.report import Report, Verdict
>>> Marked(max_fpr=1e-6)(Report(verdict=Verdict.NO_EVIDENCE, kind="text"))
Traceback (most recent call last):
...
watermark.errors.VerificationError: found no mark with p <= 1e-06 ...
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from watermark.errors import VerificationError
from watermark.report import Report


class Policy(Protocol):
    """Returns if the report meets the demand, raises `VerificationError` if not."""

    def __call__(self, report: Report, /) -> None:
        """Judge one report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """Some mark's adjusted p-value is at most `max_fpr`.

    A CONFLICT with a firing mark satisfies this: otherwise adding a second mark to a
    marked file would be a way to hide the first.
    """

    max_fpr: float = 1e-6

    def __post_init__(self) -> None:
        if not 0 < self.max_fpr < 1:
            raise ValueError(f"max_fpr is {self.max_fpr}, expected 0 < max_fpr < 1")

    def __call__(self, report: Report, /) -> None:
        """Raise unless a mark decides."""
        found = [
            e.log10_p
            for e in report.evidence
            if e.layer == "mark" and e.log10_p is not None
        ]
        if not found or min(found) > math.log10(self.max_fpr):
            best = (
                f"the smallest was 1e{min(found):.1f}" if found else "none was tested"
            )
            raise VerificationError(
                f"found no mark with p <= {self.max_fpr:g} ({best}); "
                f"the verdict is {report.verdict}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A trusted manifest; with `by`, one whose signer's organisation is exactly that.

    A manifest recovered through the mark counts only if `recovered` is set: its
    signature holds, but the file's own bytes are not the ones that were signed.
    """

    by: str | None = None
    recovered: bool = False

    def __call__(self, report: Report, /) -> None:
        """Raise unless the manifest is trusted and its signer is the one asked for."""
        states = {"trusted", "recovered"} if self.recovered else {"trusted"}
        found = [e for e in report.evidence if e.layer == "manifest"]
        for e in found:
            if e.state in states and (self.by is None or e.key_id == self.by):
                return
        seen = ", ".join(f"{e.state} by {e.key_id!r}" for e in found) or "none"
        wanted = "any trusted signer" if self.by is None else f"signer {self.by!r}"
        raise VerificationError(f"manifest found: {seen}; expected {wanted}")


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every one of `policies` is met. An empty list is an error, not a pass."""

    policies: Sequence[Policy]

    def __post_init__(self) -> None:
        if not self.policies:
            raise ValueError("AllOf needs at least one policy")

    def __call__(self, report: Report, /) -> None:
        """Raise the first failure."""
        for policy in self.policies:
            policy(report)


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one of `policies` is met. An empty list is an error, not a pass."""

    policies: Sequence[Policy]

    def __post_init__(self) -> None:
        if not self.policies:
            raise ValueError("AnyOf needs at least one policy")

    def __call__(self, report: Report, /) -> None:
        """Raise, naming every failure, if none is met."""
        failures = []
        for policy in self.policies:
            try:
                return policy(report)
            except VerificationError as error:
                failures.append(str(error))
        raise VerificationError("; ".join(failures))
