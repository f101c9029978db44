"""Outside peers: from scores to p-values by a fit, and what says that there is none."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Mapping, Sequence

from benchmarks.rates import Clustered
from benchmarks.report import Cell, Table
from benchmarks.robustness import fitted
from benchmarks.robustness.spec import FPR, Row

LEVEL = 0.01  # of the tests of all fits of one subject
UNFITTED = "unfitted"  # where a row keeps the attacks after which there is no fit


def fit(rows: Sequence[Row]) -> None:
    """Writes log10 p into the rows of one subject.

    An attack after which there are scores, and no fit for them, is moved to the row's
    `UNFITTED`, with the reason. Where the detector cannot say, nothing is found.
    """
    good = [row for row in rows if "failed" not in row]
    names = list(good[0]["attacks"]) if good else []
    for attack in names:
        found = [row["attacks"][attack] for row in good]
        groups = [[s for s in one["others"] if s is not None] for one in found]
        null = [score for group in groups for score in group]
        said = [one for one in found if one["score"] is not None]
        why = "scores under other keys are all alike"
        if fitted.can_be_fitted(null):
            why = fitted.why_not(groups, LEVEL / len(names))
        elif not said:
            continue
        if why:
            for row in good:
                one = {**row["attacks"].pop(attack), "why": why}
                row.setdefault(UNFITTED, {})[attack] = one
            continue
        tails = fitted.log10_tails([one["score"] for one in said], null)
        for place, (one, tail) in enumerate(zip(said, tails, strict=True)):
            one["log10_p"] = tail
            if "null" not in one:
                one["null"] = fitted.held_out(null, place * len(null) // len(said))


def unfitted(rows: Sequence[Row]) -> dict[str, str]:
    """Attacks after which one subject's scores have no fit, and why."""
    every = (row.get(UNFITTED, {}).items() for row in rows)
    return {attack: one["why"] for found in every for attack, one in found}


def said(table: Table, lost: Mapping[str, Mapping[str, str]]) -> Table:
    """The table with "no fit" in the cells that are empty for want of one."""
    if table.columns[0] != "attack":
        return table
    cells = (
        tuple(
            "no fit" if cell is None and row[0] in lost.get(column, {}) else cell
            for column, cell in zip(table.columns, row, strict=True)
        )
        for row in table.rows
    )
    return dataclasses.replace(table, rows=tuple(cells))


def thresholds(title: str, rows: Mapping[str, Sequence[Row]]) -> Table:
    """What a fit makes of the unattacked, and what each toolkit says itself."""
    cells: list[tuple[Cell, ...]] = []
    for subject, found in rows.items():
        good = [
            {**row["attacks"], **row.get(UNFITTED, {})}
            for row in found
            if "failed" not in row
        ]
        if not good:
            continue
        plain = [row["none"] for row in good if "none" in row]
        scores = [one["score"] for one in plain if one["score"] is not None]
        null = [s for one in plain for s in one["others"] if s is not None]
        lost = unfitted(found)
        cells.append(
            (
                subject,
                f"{len(lost)} of {len(good[0])}",
                next(iter(lost.values()), None),
                statistics.stdev(null) if len(null) > 1 else None,
                _needed(null) if "none" not in lost else None,
                statistics.median(scores) if scores else None,
                _share([[one] for one in plain], _marked),
                _share([[one] for one in plain], _unmarked),
                _share([list(row.values()) for row in good], _marked),
                _share([list(row.values()) for row in good], _unmarked),
            )
        )
    columns = (
        *("", "attacks without a fit", "why"),
        *("deviation under other keys", f"score of p {FPR:g}", "median own score"),
        *("accepted, unattacked", "under other keys"),
        *("accepted, all attacks", "under other keys, all attacks"),
    )
    note = (
        "Deviation, score and median: unattacked; where the score that p takes is "
        "above the median, most are not found, and the deviation says why. Accepted: "
        "by the toolkit's own threshold, whose realised rate stands under other keys."
    )
    return Table(f"{title} by its own threshold", columns, tuple(cells), note)


def _needed(null: Sequence[float]) -> float | None:
    return fitted.threshold(null, FPR) if fitted.can_be_fitted(null) else None


def _marked(one: Row) -> list[bool]:
    verdict = one.get("accepted")
    return [] if verdict is None else [verdict]


def _unmarked(one: Row) -> list[bool]:
    return [v for v in one.get("others accepted", ()) if v is not None]


def _share(
    samples: Sequence[Sequence[Row]], read: Callable[[Row], list[bool]]
) -> str | None:
    share = Clustered.of([v for one in sample for v in read(one)] for sample in samples)
    return str(share) if share.n else None
