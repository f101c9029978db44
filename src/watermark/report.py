"""Evidence, Report, Verdict: what verification found, and the word for it.

The JSON form is described field by field in docs/report.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, NoReturn

SCHEMA = "watermark.report/1"

Layer = Literal["mark", "manifest", "label", "ledger"]
# Numbers of the cells of a picture, row by row; of a film, frame by frame.
Cells = tuple[tuple[float, ...], ...] | tuple[tuple[tuple[float, ...], ...], ...]


class Verdict(StrEnum):
    """One word for a whole report. There is no word for "made by a human"."""

    MARKED = "MARKED"
    SIGNED = "SIGNED"
    INCONCLUSIVE = "INCONCLUSIVE"
    NO_EVIDENCE = "NO_EVIDENCE"
    CONFLICT = "CONFLICT"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why the verdict is what it is: a stable code, and a sentence for a reader."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What one detector found.

    Attributes:
        layer: which independent way of finding out this is.
        detector: name of the detector.
        scheme: scheme tested, or "" outside the mark layer.
        version: version of the scheme's bits.
        key_id: key tested; for a manifest the signer's certificate subject.
        log10_p: log10 of the p-value, adjusted for everything this call tried;
            None where a layer has no p-value (manifest, ledger).
        log10_p_raw: the same before adjustment.
        hypotheses: how many hypotheses the adjustment counts.
        n: independent observations the statistic was computed from.
        payload: what the mark carries, or None.
        spans: where a text is marked, [start, end).
        map: where in a picture or film a mark that was read is: of each cell the share
            of it that agrees, 1 where all of it does, near 0 in foreign content.
        map_z: the same in standard deviations of a cell without the mark.
        state: for a manifest ``trusted``, ``valid``, ``invalid``, ``none``,
            ``remote`` or ``recovered``; for the ledger ``logged`` or ``none``.
        codes: stable codes, C2PA's own passed through unchanged.
        record_ids: records this evidence leads to.
        detail: one sentence for a reader.
    """

    layer: Layer
    detector: str
    scheme: str = ""
    version: int = 1
    key_id: str = ""
    log10_p: float | None = None
    log10_p_raw: float | None = None
    hypotheses: int = 1
    n: int = 0
    payload: bytes | None = None
    spans: tuple[tuple[int, int], ...] = ()
    map: Cells = ()
    map_z: Cells = ()
    state: str = ""
    codes: tuple[str, ...] = ()
    record_ids: tuple[str, ...] = ()
    detail: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data; bytes as hex."""
        return {
            "layer": self.layer,
            "detector": self.detector,
            "scheme": self.scheme,
            "version": self.version,
            "key_id": self.key_id,
            "log10_p": self.log10_p,
            "log10_p_raw": self.log10_p_raw,
            "hypotheses": self.hypotheses,
            "n": self.n,
            "payload": None if self.payload is None else self.payload.hex(),
            "spans": [list(span) for span in self.spans],
            "map": _lists(self.map),
            "map_z": _lists(self.map_z),
            "state": self.state,
            "codes": list(self.codes),
            "record_ids": list(self.record_ids),
            "detail": self.detail,
        }


def _lists(cells: Any) -> Any:
    return [_lists(each) for each in cells] if isinstance(cells, tuple) else cells


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything one `verify` call found. It has no truth value: ask it a policy."""

    verdict: Verdict
    kind: str
    evidence: tuple[Evidence, ...] = ()
    reasons: tuple[Reason, ...] = ()
    sha256: str = ""

    @property
    def record_ids(self) -> tuple[str, ...]:
        """Every record that some evidence leads to, in order of appearance."""
        return tuple(dict.fromkeys(r for e in self.evidence for r in e.record_ids))

    @property
    def record_id(self) -> str | None:
        """The record, where the evidence leads to exactly one."""
        ids = self.record_ids
        return ids[0] if len(ids) == 1 else None

    def require(self, policy: Callable[[Report], None]) -> None:
        """Return if `policy` is met; raise `VerificationError` if it is not."""
        policy(self)

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data, the schema named first."""
        return {
            "schema": SCHEMA,
            "verdict": str(self.verdict),
            "kind": self.kind,
            "sha256": self.sha256,
            "record_id": self.record_id,
            "record_ids": list(self.record_ids),
            "reasons": [{"code": r.code, "detail": r.detail} for r in self.reasons],
            "evidence": [e.to_dict() for e in self.evidence],
        }

    def to_json(self, *, indent: int | None = None) -> str:
        """As JSON text (docs/report.md)."""
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False)

    def __bool__(self) -> NoReturn:
        raise TypeError(
            "a Report has no truth value: read .verdict, or call "
            ".require(policy.Marked(max_fpr=1e-6))"
        )

    def __str__(self) -> str:
        lines = [f"{self.verdict}  ({self.kind})"]
        for e in self.evidence:
            p = "" if e.log10_p is None else f"  log10 p {e.log10_p:.1f}"
            name = " ".join(part for part in (e.scheme, e.key_id) if part)
            state = f"  {e.state}" if e.state else ""
            lines.append(f"  {e.layer:<9}{e.detector} {name}{p}{state}  {e.detail}")
        lines += [f"  because  {r.code}: {r.detail}" for r in self.reasons]
        return "\n".join(lines)
