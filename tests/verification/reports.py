"""What tests ask of a report."""

from __future__ import annotations

from watermark import policy
from watermark.errors import VerificationError
from watermark.report import Evidence, Report


def codes(report: Report) -> set[str]:
    return {reason.code for reason in report.reasons}


def layer(report: Report, name: str) -> list[Evidence]:
    return [evidence for evidence in report.evidence if evidence.layer == name]


def met(report: Report, demand: policy.Policy) -> bool:
    try:
        report.require(demand)
    except VerificationError:
        return False
    return True
