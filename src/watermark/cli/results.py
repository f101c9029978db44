"""Reports as people read them, as JSON, and what all of them come to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from watermark.cli.terminal import Code, error, hint, say, title
from watermark.errors import VerificationError
from watermark.policy import Marked
from watermark.report import SCHEMA, Evidence, Report, Verdict

MEANING = {
    Verdict.MARKED: "a mark was found",
    Verdict.SIGNED: "no mark decides; a trusted signature or the ledger speaks for it",
    Verdict.INCONCLUSIVE: "what was looked at does not decide",
    Verdict.NO_EVIDENCE: "every layer was looked at; this does not mean human-made",
    Verdict.CONFLICT: "the layers contradict each other",
}
STYLES = {
    Verdict.MARKED: "bold green",
    Verdict.SIGNED: "bold cyan",
    Verdict.INCONCLUSIVE: "bold yellow",
    Verdict.NO_EVIDENCE: "bold",
    Verdict.CONFLICT: "bold red",
}
# By the code of a reason; codes that are not here explain themselves.
HELP = {
    "no-key": "--keys FILE or --home PATH with a key that could have marked it",
    "no-pipeline": "--pipeline DIR with the model that could have made the picture",
    "no-tokenizer": "--tokenizer DIR of the model that could have written the text",
    "too-small": "the whole picture, or a larger copy of it",
    "not-thorough": "--effort thorough, which also tries pictures that were cut, "
    "turned or resized",
    "not-invertible": "--pipeline DIR with a model that can be inverted and makes "
    "pictures of this size",
    "no-detector": "the frames of the video, decoded, in Python: verify(frames)",
    "first-frame": "all frames, in Python: verify([frame, ...])",
    "too-short": "a longer passage of the same text",
    "below-threshold": "a longer, or a less edited copy",
    "unreadable": "a whole copy of the file, of a type that wm knows",
    "untrusted-signer": "--trust PEM with the signer's root, if you trust it",
    "remote-manifest": "the file with its manifest inside: nothing is fetched here",
    "broken-signature": "the file as it was signed: this one was changed afterwards",
}


class FailOn(StrEnum):
    """What `--fail-on` can name."""

    marked = "marked"
    no_evidence = "no-evidence"


@dataclass(frozen=True, slots=True)
class Unread:
    """An input without a report, and why."""

    name: str
    problem: str


class Outcome:
    """What all the results together come to."""

    def __init__(self, max_fpr: float, *, thorough: bool = False) -> None:
        self._thorough = thorough
        self._fires = Marked(max_fpr=max_fpr)
        self._verdicts = Counter[Verdict]()
        self._reasons = Counter[str]()
        self._marked = 0
        self._unreadable = 0

    def add(self, result: Report | Unread) -> None:
        """Count one result; one that is no report is told on stderr."""
        if isinstance(result, Unread):
            error(f"{result.name}: {result.problem}")
            self._unreadable += 1
            return
        self._verdicts[result.verdict] += 1
        self._reasons.update({reason.code for reason in result.reasons})
        if not self._thorough and _open_picture(result):
            self._reasons["not-thorough"] += 1
        # A second mark must not hide the first: CONFLICT counts where one fires.
        if result.verdict in (Verdict.MARKED, Verdict.CONFLICT):
            try:
                result.require(self._fires)
            except VerificationError:
                return
            self._marked += 1

    def code(self, fail_on: FailOn | None) -> Code:
        """The exit code: what `--fail-on` names goes before what was not read."""
        if fail_on is FailOn.marked and self._marked:
            return Code.MARKED
        if fail_on is FailOn.no_evidence and self._verdicts[Verdict.NO_EVIDENCE]:
            return Code.NO_EVIDENCE
        return Code.UNREADABLE if self._unreadable else Code.DONE

    def conclude(self) -> None:
        """What would help, and for several inputs how many had which verdict."""
        for code, count in self._reasons.items():
            if code in HELP:
                where = f"  ({count} inputs)" if count > 1 else ""
                hint(f"Would help: {HELP[code]}{where}")
        counts = [f"{self._verdicts[v]} {v}" for v in Verdict if self._verdicts[v]]
        if self._unreadable:
            counts.append(f"{self._unreadable} could not be read")
        total = self._verdicts.total() + self._unreadable
        if total > 1:
            hint(f"{total} inputs: {', '.join(counts)}")


def _open_picture(report: Report) -> bool:
    """Whether marks were looked for in a picture, and nothing was decided."""
    return (
        report.kind == "image"
        and report.verdict in (Verdict.INCONCLUSIVE, Verdict.NO_EVIDENCE)
        and any(evidence.layer == "mark" for evidence in report.evidence)
    )


def to_dict(name: str, result: Report | Unread) -> dict[str, Any]:
    """As JSON-ready data: the report with its path, or the path and the error."""
    if isinstance(result, Unread):
        return {"path": name, "error": result.problem}
    # The keys of the second stand where they stood in the first.
    return {"schema": SCHEMA, "path": name} | result.to_dict()


def show(name: str, report: Report) -> None:
    """One report, for people, on stdout."""
    title(name)
    say(str(report.verdict), MEANING[report.verdict], style=STYLES[report.verdict])
    for line in _mark_lines([e for e in report.evidence if e.layer == "mark"]):
        say("mark", line)
    for evidence in report.evidence:
        if evidence.layer != "mark":
            say(evidence.layer, _line(evidence))
    for record_id in report.record_ids:
        say("record", record_id)
    # Where something did decide, the reasons say what was not looked at.
    label = "left open" if report.verdict is Verdict.SIGNED else "because"
    for reason in report.reasons:
        say(label, f"{reason.code}: {reason.detail}")


def _mark_lines(marks: Sequence[Evidence]) -> Iterator[str]:
    """The best test of each scheme, the best first, and how the others did."""
    ordered = sorted(marks, key=lambda e: e.log10_p or 0.0)
    best = {e.scheme: e for e in reversed(ordered)}
    yield from (_line(e) for e in ordered if e is best[e.scheme])
    others = [e.log10_p or 0.0 for e in ordered if e is not best[e.scheme]]
    if others:
        yield f"{len(others)} other tests; the lowest log10 p is {_number(others[0])}"


def _line(evidence: Evidence) -> str:
    if evidence.layer == "manifest":
        by = f", signed by {evidence.key_id}" if evidence.key_id else ""
        parts = [evidence.state + by, *evidence.codes, evidence.detail]
    elif evidence.layer == "mark" and evidence.log10_p is not None:
        p = f"log10 p {_number(evidence.log10_p)}"
        mark_id = f"mark id {evidence.payload.hex()}" if evidence.payload else ""
        names = f"{evidence.scheme}, key {evidence.key_id}"
        parts = [p, names, mark_id, *evidence.codes, evidence.detail]
    else:
        parts = [evidence.state, evidence.detail]
    return "; ".join(part for part in parts if part)


def _number(log10_p: float) -> str:
    return f"{round(log10_p, 1) + 0.0:.1f}"  # never -0.0
