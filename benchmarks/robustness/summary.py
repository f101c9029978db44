"""From rows to tables and plots: rates with their intervals, curves, quality."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

from benchmarks.rates import Rate
from benchmarks.report import Cell, Part, Plot, Table, Target
from benchmarks.robustness.spec import FPR, Row, Spec

Rows = Mapping[str, Sequence[Row]]
DECADES = tuple(range(-10, 0))  # of the false-positive rate, on the ROC
NULLS = (1e-1, 1e-2)
POOLED = (
    "All attacks together: those that are done to every subject shown there. They are "
    "not independent: intervals are too narrow."
)


def part(spec: Spec, rows: Rows, count: int, new: int) -> Part:
    """Everything that one suite found."""
    good = {s: [r for r in rows[s] if "failed" not in r] for s in rows}
    shown = {s: found for s, found in good.items() if found}
    kept = [attack for attack in spec.attacks if attack not in spec.forged]
    tables = [_found(f"{spec.name}: found", kept, shown)]
    if spec.forged:
        title = f"{spec.name}: forged marks that are found"
        tables.append(_found(title, sorted(spec.forged), shown))
    if spec.payloads & set(shown):
        tables.append(_exact(spec, shown))
    tables += [_quality(spec, shown), _null(spec, shown)]
    failures = _failures(spec, rows)
    if failures.rows:
        tables.append(failures)
    return Part(
        parameters={"samples": count, **spec.identity.get("shown", {})},
        targets=(_whole(spec, rows),),
        tables=tuple(tables),
        plots=(*_curves(spec, shown), _roc(spec, shown), *_against(spec, shown)),
        notes=(*spec.notes, POOLED),
        new=new,
        reused=sum(map(len, rows.values())) - new,
    )


def _whole(spec: Spec, rows: Rows) -> Target:
    """A sample of ours that failed is a defect; a peer's is its result."""
    failed = [
        r["failed"] for s in spec.schemes for r in rows.get(s, ()) if "failed" in r
    ]
    name = f"{spec.name}: samples of ours that failed"
    return Target.at_most(name, len(failed), 0, failed[0] if failed else "")


def rate(rows: Iterable[Row], attack: str, fpr: float = FPR) -> Rate:
    """How many are found at `fpr` after an attack, of those that it was done to."""
    tails = [row["attacks"][attack]["log10_p"] for row in _done(rows, attack)]
    return Rate(sum(p <= math.log10(fpr) for p in tails), len(tails))


def _done(rows: Iterable[Row], attack: str) -> list[Row]:
    return [row for row in rows if attack in row["attacks"]]


def _short(rate: Rate) -> str | None:
    if not rate.n:
        return None
    low, high = rate.interval()
    return f"{rate.value:.2f} [{low:.2f}, {high:.2f}]"


def _found(title: str, attacks: Iterable[str], rows: Rows) -> Table:
    cells: list[tuple[Cell, ...]] = [
        (attack, *(_short(rate(rows[s], attack)) for s in rows)) for attack in attacks
    ]
    note = f"p at most {FPR:g}, everything that was tried counted; 95 % intervals."
    return Table(title, ("attack", *rows), tuple(cells), note)


def _exact(spec: Spec, rows: Rows) -> Table:
    carriers = [s for s in rows if s in spec.payloads]
    cells: list[tuple[Cell, ...]] = []
    for attack in spec.attacks:
        if attack in spec.forged:
            continue
        rates = []
        for s in carriers:
            done = _done(rows[s], attack)
            exact = [bool(row["attacks"][attack]["exact"]) for row in done]
            rates.append(_short(Rate(sum(exact), len(exact))))
        cells.append((attack, *rates))
    columns = ("attack", *carriers)
    return Table(f"{spec.name}: payload read exactly", columns, tuple(cells))


def _quality(spec: Spec, rows: Rows) -> Table:
    names = list(
        dict.fromkeys(n for found in rows.values() for r in found for n in r["quality"])
    )
    cells: list[tuple[Cell, ...]] = []
    for s, found in rows.items():
        seen = [[r["quality"][n] for r in found if n in r["quality"]] for n in names]
        cells.append((s, *(statistics.fmean(v) if v else None for v in seen)))
    return Table(f"{spec.name}: quality", ("", *names), tuple(cells))


def _null(spec: Spec, rows: Rows) -> Table:
    cells: list[tuple[Cell, ...]] = []
    for s, found in rows.items():
        nulls = [
            one["null"]
            for row in found
            for one in row["attacks"].values()
            if one.get("null") is not None
        ]
        if nulls:
            rates = [
                Rate(sum(p <= math.log10(a) for p in nulls), len(nulls)) for a in NULLS
            ]
            cells.append((s, *map(str, rates), min(nulls)))
    columns = ("", *(f"p at most {a:g}" for a in NULLS), "least log10 p")
    note = (
        "The same attacked samples under a key that did not mark them. Attacks of one "
        "sample are not independent: intervals are a little too narrow."
    )
    return Table(f"{spec.name}: without the key", columns, tuple(cells), note)


def _failures(spec: Spec, rows: Rows) -> Table:
    cells: list[tuple[Cell, ...]] = [
        (name, None, why) for name, why in spec.unavailable.items()
    ]
    for s, found in rows.items():
        reasons = [row["failed"] for row in found if "failed" in row]
        if reasons:
            cells.append((s, len(reasons), reasons[0]))
    return Table(f"{spec.name}: failed", ("", "samples", "why"), tuple(cells))


def _curves(spec: Spec, rows: Rows) -> list[Plot]:
    """The share found against the strength, for families of several strengths."""
    families: dict[str, list[tuple[float, str]]] = {}
    for attack, (family, strength) in spec.attacks.items():
        if strength is not None:
            families.setdefault(family, []).append((strength, attack))
    plots = []
    for family, members in families.items():
        if len(members) < 2:
            continue
        curves = tuple(
            (s, points) for s in rows if (points := _points(rows[s], sorted(members)))
        )
        title = f"{spec.name}: {family}"
        plots.append(Plot(title, family, f"share found at {FPR:g}", curves))
    return plots


def _points(
    rows: Sequence[Row], members: Sequence[tuple[float, str]]
) -> tuple[tuple[float, float, float, float], ...]:
    points = []
    for strength, attack in members:
        found = rate(rows, attack)
        if not found.n:
            continue
        points.append((strength, found.value, *found.interval()))
    return tuple(points)


def _pooled(spec: Spec, rows: Rows) -> dict[str, list[float]]:
    """log10 p by subject, after the attacks that all of them went through.

    Only those that leave the thing what it is; nobody is spared a hard attack.
    """
    whole = {s: found for s, found in rows.items() if s not in spec.apart} or rows
    seen = [{a for row in found for a in row["attacks"]} for found in whole.values()]
    common = set(spec.attacks).difference(spec.forged).intersection(*seen)
    return {
        s: [
            row["attacks"][a]["log10_p"]
            for row in found
            for a in row["attacks"]
            if a in common
        ]
        for s, found in whole.items()
    }


def _against(spec: Spec, rows: Rows) -> list[Plot]:
    """Quality against detectability: a point for each subject, over all attacks."""
    plots, pooled = [], _pooled(spec, rows)
    names = dict.fromkeys(
        n for found in rows.values() for r in found for n in r["quality"]
    )
    for name in names:
        curves = []
        for s, found in rows.items():
            seen = [r["quality"][name] for r in found if name in r["quality"]]
            tails = pooled.get(s)
            if not seen or not tails:
                continue
            share = Rate(sum(p <= math.log10(FPR) for p in tails), len(tails))
            point = statistics.fmean(seen), share.value, *share.interval()
            curves.append((s, (point,)))
        if len(curves) > 1:
            title = f"{spec.name}: {name} and detectability"
            y = f"share found at {FPR:g}, all attacks"
            plots.append(Plot(title, name, y, tuple(curves)))
    return plots


def _roc(spec: Spec, rows: Rows) -> Plot:
    """Over all attacks, by the p-values; the notes say whose are fitted."""
    curves = []
    for s, tails in _pooled(spec, rows).items():
        points = []
        if not tails:
            continue
        for decade in DECADES:
            seen = Rate(sum(p <= decade for p in tails), len(tails))
            points.append((10.0**decade, seen.value, *seen.interval()))
        curves.append((s, tuple(points)))
    return Plot(
        f"{spec.name}: all attacks together",
        "false-positive rate (p)",
        "share found",
        tuple(curves),
        log_x=True,
    )
