"""From rows to tables and targets: rates with their intervals, nulls, quality."""

from __future__ import annotations

import math
from collections.abc import Iterable

from benchmarks.rates import Clustered, Rate
from benchmarks.report import Cell, Part, Table, Target
from benchmarks.robustness import plots
from benchmarks.robustness.measures import Rows, detected, done, mean, qualities, rate
from benchmarks.robustness.spec import FPR, Row, Spec

__all__ = ["Rows", "failure", "part", "rate"]

NULLS = (1e-1, 1e-2)


def part(spec: Spec, rows: Rows, count: int, new: int) -> Part:
    """Everything that one suite found."""
    good = {s: [r for r in rows[s] if "failed" not in r] for s in rows}
    shown = {s: own for s, own in good.items() if own}
    kept = [attack for attack in spec.attacks if attack not in spec.forged]
    tables = [_found(f"{spec.name}: found", kept, shown)]
    if spec.forged:
        title = f"{spec.name}: forged marks that are found"
        tables.append(_found(title, sorted(spec.forged), shown))
    if spec.payloads & set(shown):
        tables.append(_exact(spec, kept, shown))
    nulls = {s: null for s, own in shown.items() if (null := _nulls(own))}
    tables += [_quality(spec, shown), _null(spec, nulls)]
    failures = _failures(spec, rows)
    if failures.rows:
        tables.append(failures)
    return Part(
        parameters={"samples": count, **spec.identity.get("shown", {})},
        targets=(
            _whole(spec, rows),
            *_told_right(spec, kept, shown),
            *_calibrated(spec, nulls),
        ),
        tables=tuple(tables),
        plots=tuple(plots.every(spec, shown)),
        notes=(*spec.notes, plots.POOLED),
        new=new,
        reused=sum(map(len, rows.values())) - new,
    )


def _whole(spec: Spec, rows: Rows) -> Target:
    """A sample of ours that failed is a defect; a peer's is its result."""
    reasons = [failure(row) for s in spec.schemes for row in rows.get(s, ())]
    failed = [why for why in reasons if why]
    name = f"{spec.name}: samples of ours that failed"
    return Target.at_most(name, len(failed), 0, failed[0] if failed else "")


def failure(row: Row) -> str:
    """Why a sample, or one attack on it, failed; or ""."""
    if "failed" in row:
        return str(row["failed"])
    every = row["attacks"].items()
    return next((f"{name}: {a['failed']}" for name, a in every if "failed" in a), "")


def _short(rate: Rate, most: int = 0) -> str | None:
    """A cell; it says its count where that is not the usual one."""
    if not rate.n:
        return None
    low, high = rate.interval()
    few = f", n = {rate.n}" if rate.n < most else ""
    return f"{rate.value:.2f} [{low:.2f}, {high:.2f}]{few}"


def _shorts(rates: Iterable[tuple[str, list[Rate]]]) -> list[tuple[Cell, ...]]:
    """Rows of a table: the rates that each name has."""
    every = list(rates)
    most = max((rate.n for _, row in every for rate in row), default=0)
    return [(name, *(_short(rate, most) for rate in row)) for name, row in every]


def _found(title: str, attacks: Iterable[str], rows: Rows) -> Table:
    rates = ((name, [rate(rows[s], name) for s in rows]) for name in attacks)
    note = (
        f"p at most {FPR:g}, everything that was tried counted; 95 % intervals. "
        "n, where it is not that of the other cells."
    )
    return Table(title, ("attack", *rows), tuple(_shorts(rates)), note)


def _exact(spec: Spec, attacks: Iterable[str], rows: Rows) -> Table:
    """Payloads that came out right; and wrong ones, where the rows know of them."""
    carriers = [s for s in rows if s in spec.payloads]
    know = [s for s in carriers if any(_wrong(rows[s], a).n for a in spec.attacks)]

    def read(s: str, attack: str) -> Rate:
        exact = [bool(one["exact"]) for one in done(rows[s], attack)]
        return Rate(sum(exact), len(exact))

    names = list(attacks)
    right = _shorts((a, [read(s, a) for s in carriers]) for a in names)
    cells: list[tuple[Cell, ...]] = []
    for row, attack in zip(right, names, strict=True):
        wrong = (_wrong(rows[s], attack) for s in know)
        cells.append((*row, *(f"{r.hits} of {r.n}" if r.n else None for r in wrong)))
    return Table(
        f"{spec.name}: payload read exactly",
        ("attack", *carriers, *(f"{s}, told and wrong" for s in know)),
        tuple(cells),
        f"Told and wrong: at p at most {FPR:g}." if know else "",
    )


def _wrong(rows: Iterable[Row], attack: str) -> Rate:
    """Marks found whose payload was told, and is another; of rows that say so."""
    known = [one for one in done(rows, attack) if one.get("told") is not None]
    wrong = [one["told"] and not one["exact"] and detected(one) for one in known]
    return Rate(sum(wrong), len(known))


def _told_right(spec: Spec, attacks: Iterable[str], rows: Rows) -> list[Target]:
    """A wrong payload of ours accuses somebody else."""
    carriers = [s for s in rows if s in spec.payloads & set(spec.schemes)]
    rates = {(s, a): _wrong(rows[s], a) for a in attacks for s in carriers}
    n = sum(rate.n for rate in rates.values())
    if not n:
        return []
    bad = [f"{s}, {a}" for (s, a), rate in rates.items() if rate.hits]
    hits = sum(rate.hits for rate in rates.values())
    note = f"of {n}" + (f"; the first: {bad[0]}" if bad else "")
    name = f"{spec.name}: payloads told at {FPR:g}, and wrong"
    return [Target.at_most(name, hits, 0, note)]


def _quality(spec: Spec, rows: Rows) -> Table:
    names = qualities(rows)
    cells: list[tuple[Cell, ...]] = [
        (s, *(mean(own, name) for name in names)) for s, own in rows.items()
    ]
    note = "Means; of perplexity the exp of the mean loss."
    return Table(
        f"{spec.name}: quality",
        ("", *names),
        tuple(cells),
        note if "perplexity" in names else "",
    )


def _nulls(rows: Iterable[Row]) -> list[list[float]]:
    """Of each sample its log10 p under a key that did not mark it."""
    every = (
        [o["null"] for o in row["attacks"].values() if o.get("null") is not None]
        for row in rows
    )
    return [null for null in every if null]


def _below(nulls: Iterable[Iterable[float]], alpha: float) -> Clustered:
    return Clustered.of([p <= math.log10(alpha) for p in null] for null in nulls)


def _null(spec: Spec, nulls: dict[str, list[list[float]]]) -> Table:
    cells: list[tuple[Cell, ...]] = [
        (s, *(str(_below(null, alpha)) for alpha in NULLS), min(map(min, null)))
        for s, null in nulls.items()
    ]
    columns = ("", *(f"p at most {a:g}" for a in NULLS), "least log10 p")
    note = (
        "The same attacked samples under a key that did not mark them: the rate, its "
        "95 % interval, and the counts, of how many samples. Attacks on one sample "
        "belong together, and intervals allow for it."
    )
    return Table(f"{spec.name}: without the key", columns, tuple(cells), note)


def _calibrated(spec: Spec, nulls: dict[str, list[list[float]]]) -> list[Target]:
    """No p-value comes true more often than it says; peers are not judged.

    Of a p-value that is exact, one target in 40 is missed by chance.
    """
    targets = []
    for s, null in nulls.items():
        for alpha in NULLS:
            share = _below(null, alpha)
            low, high = share.interval()
            peer = "" if s in spec.schemes else "; a peer is not judged"
            targets.append(
                Target(
                    name=f"{spec.name}: {s} without the key, p at most {alpha:g}",
                    target=f"lower end <= {alpha:g}",
                    measured=share.value,
                    reached=low <= alpha if s in spec.schemes else None,
                    interval=(low, high),
                    note=f"{share.hits} of {share.n}, {len(null)} samples{peer}",
                )
            )
    return targets


def _failures(spec: Spec, rows: Rows) -> Table:
    """Peers that are not here, samples that failed, attacks that failed on some."""
    cells: list[tuple[Cell, ...]] = [
        (name, None, why) for name, why in spec.unavailable.items()
    ]
    for s, samples in rows.items():
        reasons = {s: [row["failed"] for row in samples if "failed" in row]}
        good = [row for row in samples if "failed" not in row]
        for attack in spec.attacks:
            failed = [one["failed"] for one in done(good, attack) if "failed" in one]
            reasons[f"{s}, {attack}"] = failed
        cells += [(name, len(why), why[0]) for name, why in reasons.items() if why]
    return Table(f"{spec.name}: failed", ("", "samples", "why"), tuple(cells))
