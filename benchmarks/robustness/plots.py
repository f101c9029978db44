"""From rows to curves: found against strength, quality and false-positive rate."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.rates import Clustered, Rate
from benchmarks.report import Plot
from benchmarks.robustness.measures import (
    Rows,
    common,
    detected,
    mean,
    qualities,
    rate,
    together,
)
from benchmarks.robustness.spec import FPR, Row, Spec

Point = tuple[float, float, float, float]  # x, y, lower end, upper end
DECADES = tuple(range(-10, 0))  # of the false-positive rate, on the ROC
UNTOUCHED = "none"
# Strengths at which nothing is done to a thing, so that a curve can start there.
# Families that are not here have none: JPEG of the highest quality is a JPEG still.
NEUTRAL = {
    **dict.fromkeys(
        (
            *("typos", "homoglyphs", "zero-width", "paraphrased"),
            *("words deleted", "words substituted", "words inserted"),
            *("words proposed", "tokens proposed"),
            *("rotation", "Gaussian noise", "blur", "sharpen", "overlay", "img2img"),
            *("echo", "bits flipped"),
        ),
        0.0,
    ),
    **dict.fromkeys(
        (
            *("truncated to", "pasted, share", "cut to", "crop", "crop, centre"),
            *("resize", "resize and back", "brightness", "contrast", "saturation"),
            *("gamma", "loudness", "speed"),
        ),
        1.0,
    ),
}
NO_QUALITY = frozenset({"nats a token"})  # what the model leaves open, for all marks
POOLED = (
    "All attacks together: those that are done to every subject shown there. Attacks "
    "on one sample belong together, and intervals allow for it."
)


def every(spec: Spec, rows: Rows) -> list[Plot]:
    """All plots of a suite."""
    return [*_families(spec, rows), _roc(spec, rows), *_against(spec, rows)]


def _dashed(spec: Spec, rows: Rows) -> tuple[str, ...]:
    """Other people's schemes."""
    return tuple(s for s in rows if s in spec.peers)


def _families(spec: Spec, rows: Rows) -> list[Plot]:
    """The share found against the strength, for families of several strengths."""
    families: dict[str, dict[float, str]] = {}
    for attack, (family, strength) in spec.attacks.items():
        if strength is not None and strength >= 0:  # below: another kind of thing
            families.setdefault(family, {})[strength] = attack
    plots = []
    for family, members in families.items():
        if len(members) < 2:
            continue
        if family in NEUTRAL and UNTOUCHED in spec.attacks:
            members.setdefault(NEUTRAL[family], UNTOUCHED)
        curves = tuple(
            (s, points) for s in rows if (points := _points(rows[s], members))
        )
        title = f"{spec.name}: {family}"
        y = f"share found at {FPR:g}"
        plots.append(Plot(title, family, y, curves, dashed=_dashed(spec, rows)))
    return plots


def _points(rows: Sequence[Row], members: dict[float, str]) -> tuple[Point, ...]:
    """Of the strengths that these rows have; none where that is the untouched alone."""
    rates = {x: rate(rows, attack) for x, attack in sorted(members.items())}
    if not any(rates[x].n for x in rates if members[x] != UNTOUCHED):
        return ()
    return tuple(_point(x, one) for x, one in rates.items() if one.n)


def _point(x: float, rate: Rate | Clustered) -> Point:
    return x, rate.value, *rate.interval()


def _pooled(spec: Spec, rows: Rows, fpr: float) -> dict[str, Clustered]:
    """The share found by each subject, after all attacks together."""
    subjects, attacks = common(spec, rows)
    shares = {
        s: together(rows[s], attacks, lambda one: detected(one, fpr)) for s in subjects
    }
    return {s: share for s, share in shares.items() if share.n}


def _against(spec: Spec, rows: Rows) -> list[Plot]:
    """Quality against detectability: a point for each subject, over all attacks."""
    plots, shares = [], _pooled(spec, rows, FPR)
    for name in qualities(rows):
        means = {s: mean(rows[s], name) for s in shares}
        points = {s: x for s, x in means.items() if x is not None}
        if name in NO_QUALITY or (len(points) > 1 and len(set(points.values())) == 1):
            continue  # nobody differs
        title = f"{spec.name}: {name} and detectability"
        y = f"share found at {FPR:g}, all attacks"
        curves = tuple((s, (_point(x, shares[s]),)) for s, x in points.items())
        if curves:
            plots.append(Plot(title, name, y, curves, dashed=_dashed(spec, rows)))
    return plots


def _roc(spec: Spec, rows: Rows) -> Plot:
    """Over all attacks, by the p-values; the notes say whose are fitted."""
    shares = {10.0**decade: _pooled(spec, rows, 10.0**decade) for decade in DECADES}
    subjects = dict.fromkeys(s for one in shares.values() for s in one)
    return Plot(
        f"{spec.name}: all attacks together",
        "false-positive rate (p)",
        "share found",
        tuple(
            (s, tuple(_point(fpr, one[s]) for fpr, one in shares.items()))
            for s in subjects
        ),
        log_x=True,
        dashed=_dashed(spec, rows),
    )
