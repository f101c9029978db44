"""Findings as SARIF 2.1.0, which code hosts and CI systems show."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from watermark.labels.check import Finding

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
# SARIF 2.1.0, 3.27.9: what is not a failure has a kind, and the level `none`.
_KINDS = {"met": "pass", "missed": "fail", "unclear": "open", "outside": "review"}


def log(
    results: Sequence[tuple[Path, str, Sequence[Finding]]], *, version: str
) -> dict[str, Any]:
    """One run with every finding, as JSON-ready data.

    Args:
        results: file, regime, and the findings.
        version: of this package.
    """
    rules: dict[str, dict[str, Any]] = {}
    entries = []
    for path, regime, findings in results:
        for finding in findings:
            rule = f"{regime}/{finding.layer}"
            text = finding.clause or finding.layer
            rules.setdefault(rule, {"id": rule, "shortDescription": {"text": text}})
            entries.append(_result(path, rule, finding))
    driver = {"name": "wm check", "version": version, "rules": list(rules.values())}
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": entries}],
    }


def _result(path: Path, rule: str, finding: Finding) -> dict[str, Any]:
    kind = _KINDS[finding.state]
    clause = f" ({finding.clause})" if finding.clause else ""
    where = {"artifactLocation": {"uri": _uri(path)}}
    return {
        "ruleId": rule,
        "kind": kind,
        "level": finding.severity if kind == "fail" else "none",
        "message": {"text": f"{finding.layer}: {finding.detail}{clause}"},
        "locations": [{"physicalLocation": where}],
    }


def _uri(path: Path) -> str:
    return path.as_uri() if path.is_absolute() else quote(os.fsencode(path.as_posix()))
