"""From rows to tables, curves and a page; and how sure a pooled rate is."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks import drawing, report
from benchmarks.language import Language
from benchmarks.options import MODELS
from benchmarks.rates import Clustered, Rate, clopper_pearson
from benchmarks.robustness import html, plots, summary
from benchmarks.robustness.spec import Row, Spec
from benchmarks.robustness.text import TextWorker
from scipy.stats import norm

MACHINE = {
    **{"cpu": "<b>", "cores": 2, "system": "Linux", "python": "3", "kernels": "c"},
    "versions": {"x": "<i>"},
}


def spec_of(*attacks: str, **more: Any) -> Spec:
    """A suite with the schemes "ours" and "worse"; strengths are the last words."""
    table: dict[str, tuple[str, float | None]] = {}
    for name in attacks:
        family, _, strength = name.rpartition(" ")
        table[name] = (family, float(strength)) if family else (name, None)
    given: dict[str, Any] = {"schemes": ("ours", "worse"), "unavailable": {}}
    return Spec(**{**given, "name": "s", "attacks": table, "identity": {}, **more})


def row_of(quality: dict[str, float] | None = None, /, **attacks: Any) -> Row:
    return {"attacks": attacks, "quality": quality or {}}


def correlated(
    rng: np.random.Generator, p: float, rho: float, sizes: Sequence[int]
) -> Clustered:
    """Trials of rate `p` whose normal scores correlate by `rho` within a cluster."""
    common = rng.standard_normal((len(sizes), 1))
    own = rng.standard_normal((len(sizes), max(sizes)))
    hits = np.sqrt(rho) * common + np.sqrt(1 - rho) * own > norm.isf(p)
    hits &= np.arange(max(sizes)) < np.array(sizes)[:, None]
    return Clustered(tuple(zip(hits.sum(1).tolist(), sizes, strict=True)))


@pytest.mark.parametrize(("p", "clusters"), [(0.5, 24), (0.1, 32), (0.01, 100)])
@pytest.mark.parametrize("rho", [0.0, 0.3, 0.8])
def test_intervals_of_correlated_trials_cover(
    p: float, clusters: int, rho: float
) -> None:
    rng = np.random.default_rng([int(1000 * p), int(10 * rho)])
    rounds, sizes = 300, [30] * (clusters - clusters // 4) + [8] * (clusters // 4)
    found = [correlated(rng, p, rho, sizes) for _ in range(rounds)]
    intervals = [share.interval() for share in found]
    alone = [Rate(share.hits, share.n).interval() for share in found]
    covered, naive = (
        sum(low <= p <= high for low, high in some) / rounds
        for some in (intervals, alone)
    )

    assert covered >= 0.93
    if rho:
        assert naive < covered - 0.1
    else:  # and where trials are independent, little is lost
        widths = [
            np.mean([high - low for low, high in some]) for some in (intervals, alone)
        ]
        assert widths[0] < (1.3 if p > 0.01 else 1.5) * widths[1]


def test_intervals_cover_whatever_the_rate_and_the_clusters() -> None:
    """Beta-binomial clusters of 30: worst and typical coverage of what says 95 %."""
    rng, rounds, covered = np.random.default_rng(8), 150, []
    for clusters, p, rho in itertools.product(
        (12, 32, 100), (0.02, 0.1, 0.5, 0.9, 0.98), (0.01, 0.1, 0.5, 0.95)
    ):
        a, b = p * (1 / rho - 1), (1 - p) * (1 / rho - 1)
        hits = rng.binomial(30, rng.beta(a, b, (rounds, clusters)))
        ends = [Clustered(tuple((h, 30) for h in row)).interval() for row in hits]
        covered.append(sum(low <= p <= high for low, high in ends) / rounds)

    assert min(covered) > 0.89  # of 60 rates, each within 0.018
    assert np.mean(covered) > 0.96


def test_clusters_that_cannot_tell_count_as_one_trial_each() -> None:
    for hits in (0, 9):
        share = Clustered(((hits, 9),) * 20)
        assert share.interval() == clopper_pearson(20 * hits // 9, 20)
    alike = Clustered(((9, 9),) * 4 + ((0, 9),) * 16)
    one = Clustered(((3, 9),))

    assert alike.effective() == pytest.approx(20)
    assert alike.interval() == pytest.approx(clopper_pearson(4, 20))
    assert one.effective() == 1
    assert Clustered(()).interval() == (0.0, 1.0)
    assert Clustered(((3, 9),) * 20).effective() == 180
    assert Clustered.of([[True, False], [], [True]]).each == ((1, 2), (1, 1))
    assert str(alike) == "0.2 [0.05733, 0.4366] (36/180 of 20)"


def test_cells_of_what_makes_no_sense_are_empty() -> None:
    spec = spec_of("none", "forged", forged={"forged"}, payloads={"ours"})
    found = {"log10_p": -9.0, "exact": True}
    rows = {
        "ours": [row_of({"blur": 2.0}, none=found, forged=found)],
        "worse": [row_of({"blur": 3.0}, none=found)],
    }
    part = summary.part(spec, rows, 1, 2)
    tables = {table.title: table for table in part.tables}
    (forged,) = tables["s: forged marks that are found"].rows
    by_title = {plot.title: plot for plot in part.plots}

    assert str(forged[1]).startswith("1.00")
    assert forged[2] is None
    assert [row[0] for row in tables["s: found"].rows] == ["none"]
    curves = by_title["s: blur and detectability"].curves
    assert [(name, point[:2]) for name, (point,) in curves] == [
        ("ours", (2.0, 1.0)),
        ("worse", (3.0, 1.0)),
    ]


def test_a_cell_of_fewer_samples_says_so() -> None:
    yes = {"log10_p": -9.0}
    rows = {
        "ours": [row_of(none=yes, crop=yes), row_of(none=yes)],
        "worse": [row_of(none=yes), row_of(none=yes)],
    }
    part = summary.part(spec_of("none", "crop"), rows, 2, 4)
    none, crop = part.tables[0].rows

    assert none == ("none", "1.00 [0.16, 1.00]", "1.00 [0.16, 1.00]")
    assert crop == ("crop", "1.00 [0.03, 1.00], n = 1", None)


def test_attacks_together_are_those_that_all_went_through() -> None:
    yes, no = {"log10_p": -9.0}, {"log10_p": 0.0}
    rows = {
        "ours": [row_of(none=yes, hard=no, forged=yes)],
        "worse": [row_of(none=yes)],
        "searched": [row_of(hard=yes)],
    }
    spec = spec_of("none", "hard", "forged", forged={"forged"}, apart={"searched"})
    roc = summary.part(spec, rows, 1, 3).plots[-1]

    assert [(name, points[0][1]) for name, points in roc.curves] == [
        ("ours", 0.0),  # at 1e-10
        ("worse", 0.0),
    ]
    assert [points[-1][1] for _, points in roc.curves] == [1.0, 1.0]


def test_attacks_on_one_sample_are_not_so_many_samples() -> None:
    yes, no = {"log10_p": -9.0, "null": -2.5}, {"log10_p": 0.0, "null": -0.1}
    names = [f"a{i}" for i in range(10)]
    rows = {
        "ours": [
            row_of(**dict.fromkeys(names, yes if i < 5 else no)) for i in range(20)
        ]
    }
    part = summary.part(spec_of(*names), rows, 20, 20)
    tables = {table.title: table for table in part.tables}
    (null,) = tables["s: without the key"].rows
    roc = next(plot for plot in part.plots if plot.log_x)
    ((_, points),) = roc.curves

    low, high = clopper_pearson(5, 20)
    assert points[-1][1:] == pytest.approx((0.25, low, high))
    assert null[1] == f"0.25 [{low:.4g}, {high:.4g}] (50/200 of 20)"
    assert not any("too narrow" in note for note in part.notes)


@pytest.mark.parametrize(
    ("bad", "reached"),
    # Of 40 samples at 0.1, four are expected; ten of them are too many.
    [(4, (True, True)), (10, (False, True)), (40, (False, False))],
)
def test_what_is_found_without_the_key_decides_of_ours_alone(
    bad: int, reached: tuple[bool, bool]
) -> None:
    null = -1.5 if bad < 40 else -2.5
    each = [
        row_of(none={"log10_p": -9.0, "null": null if i < bad else -0.2})
        for i in range(40)
    ]
    spec = spec_of("none", schemes=("ours",), peers=("theirs",))
    part = summary.part(spec, {"ours": each, "theirs": each}, 40, 80)
    targets = [t for t in part.targets if "without the key" in t.name]
    ours, theirs = targets[:2], targets[2:]

    assert tuple(t.reached for t in ours) == reached
    assert all(t.reached is None and "not judged" in t.note for t in theirs)
    assert ours[0].measured == theirs[0].measured == bad / 40
    assert ours[0].interval == Rate(bad, 40).interval()


def test_a_wrong_payload_is_counted_where_it_was_told() -> None:
    right = {"log10_p": -9.0, "exact": True, "told": True}
    wrong = {**right, "exact": False}
    unread = {**wrong, "told": False}
    unsure = {**wrong, "log10_p": -5.0}
    rows = {
        "ours": [row_of(none=right, crop=one) for one in (wrong, unread, unsure)],
        "worse": [row_of(none={"log10_p": -9.0, "exact": False})] * 3,
    }
    spec = spec_of("none", "crop", payloads={"ours", "worse"})
    part = summary.part(spec, rows, 3, 6)
    (table,) = [t for t in part.tables if t.title == "s: payload read exactly"]
    (target,) = [t for t in part.targets if "told" in t.name]
    good = {"ours": [row_of(none=right)], "worse": rows["worse"][:1]}
    (clean,) = [t for t in summary.part(spec, good, 1, 2).targets if "told" in t.name]

    assert table.columns == ("attack", "ours", "worse", "ours, told and wrong")
    assert [row[3] for row in table.rows] == ["0 of 3", "1 of 3"]
    assert (target.measured, target.reached) == (1, False)
    assert target.note == "of 6; the first: ours, crop"
    assert (clean.measured, clean.reached) == (0, True)


def test_an_attack_that_failed_is_a_miss_and_is_told() -> None:
    lost = {"log10_p": 0.0, "exact": False, "failed": "OSError: no codec"}
    yes = {"log10_p": -9.0, "exact": True, "null": -0.1}
    rows = {"ours": [row_of(none=yes, crop=lost), row_of(none=yes, crop=yes)]}
    part = summary.part(spec_of("none", "crop", payloads={"ours"}), rows, 2, 2)
    tables = {table.title: table for table in part.tables}

    assert [row[1] for row in tables["s: found"].rows] == [
        "1.00 [0.16, 1.00]",
        "0.50 [0.01, 0.99]",
    ]
    assert str(tables["s: payload read exactly"].rows[1][1]).startswith("0.50")
    assert tables["s: failed"].rows == (("ours, crop", 1, "OSError: no codec"),)
    assert (part.targets[0].measured, part.targets[0].reached) == (1, False)
    assert part.targets[0].note == "crop: OSError: no codec"


def test_curves_start_at_nothing_where_there_is_such_a_strength() -> None:
    yes, no = {"log10_p": -9.0}, {"log10_p": 0.0}
    names = (
        *("none", "typos 0.1", "typos 0.3", "JPEG 75", "JPEG 50", "bits 8"),
        *("loudness 0.5", "loudness 2", "loudness -1"),
    )
    attacks = dict.fromkeys(names, no) | {"none": yes}
    rows = {
        "ours": [{"attacks": attacks, "quality": {}}],
        "worse": [{"attacks": {"none": yes}, "quality": {}}],
    }
    made = plots.every(spec_of(*names, peers=("worse",), schemes=("ours",)), rows)
    xs = {
        plot.x: [(s, [x for x, *_ in points]) for s, points in plot.curves]
        for plot in made
        if not plot.log_x
    }

    assert xs == {
        "typos": [("ours", [0.0, 0.1, 0.3])],
        "JPEG": [("ours", [50, 75])],
        "loudness": [("ours", [0.5, 1.0, 2.0])],
    }
    assert {plot.dashed for plot in made} == {("worse",)}


def test_quality_is_shown_of_one_scheme_and_not_where_nobody_differs() -> None:
    yes = {"log10_p": -9.0}
    quality = {"perplexity": 4.0, "nats a token": 1.0, "repeated": 0.0}
    ours = [row_of(quality, none=yes), row_of({**quality, "perplexity": 9.0}, none=yes)]
    both = {"ours": ours, "worse": [row_of(quality, none=yes)] * 2}
    titles = [
        [p.title for p in plots.every(spec_of("none"), rows) if "and det" in p.title]
        for rows in (both, {"ours": ours})
    ]
    part = summary.part(spec_of("none"), both, 2, 4)
    (table,) = [t for t in part.tables if t.title == "s: quality"]

    assert titles[0] == ["s: perplexity and detectability"]
    assert "s: perplexity and detectability" in titles[1]
    assert not any("nats" in title for title in titles[1])
    # exp of the mean of log 4 and log 9
    assert table.rows[0][1] == pytest.approx(6.0)
    assert table.rows[1][1] == pytest.approx(4.0)


@pytest.mark.models
def test_repeated_runs_are_those_that_the_text_held_before() -> None:
    worker = TextWorker.__new__(TextWorker)  # without the attacks and their texts
    worker.language = Language.load(MODELS / "lm")
    once = list(range(300, 320))
    new, again, short = (worker.quality(ids) for ids in (once, once * 2, once[:5]))

    assert new["repeated 8-grams"] == short["repeated 8-grams"] == 0
    # Of 33 runs of 40 tokens, those that begin at 20 and later were there before.
    assert again["repeated 8-grams"] == pytest.approx(13 / 33)
    assert again["distinct 2-grams"] == pytest.approx(20 / 39)


def drawn(folder: Path, names: Sequence[str], *curves: str, **more: Any) -> str:
    """A digest of a plot's PNG, that its title is not part of."""
    points = ((1.0, 0.5, 0.4, 0.6), (2.0, 0.7, 0.6, 0.8))
    plot = report.Plot("t", "x", "y", tuple((name, points) for name in curves), **more)
    path = folder / "plot.png"
    data = {key: getattr(plot, key) for key in plot.__slots__}
    drawing.draw(data, path, names)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_name_looks_the_same_in_every_plot(tmp_path: Path) -> None:
    few = drawn(tmp_path, ("a", "b"), "b")

    assert drawn(tmp_path, ("c", "b"), "b") == few  # its place decides
    assert drawn(tmp_path, ("b", "a"), "b") != few
    assert drawn(tmp_path, ("a", "b"), "b", dashed=("b",)) != few
    assert drawn(tmp_path, ("a", "b"), "b", log_x=True) != few
    assert len(set(drawing.COLOURS)) >= 18
    many = "abcdefgh"
    assert drawn(tmp_path, (), *many) == drawn(tmp_path, tuple(many), *many)


def page_of(folder: Path) -> tuple[str, dict[str, Any]]:
    yes = {"log10_p": -9.0, "null": -0.1}
    rows = {"ours": [row_of(none=yes)], "worse": [row_of(none=yes)]}
    part = summary.part(spec_of("none"), rows, 1, 2)
    data = report.Result.of("robustness-s", [part]).to_dict()
    report.write(folder, [data])
    data = json.loads((folder / "robustness-s.json").read_text())
    return html.page([data], folder), data


def test_a_page_begins_with_contents_and_targets(tmp_path: Path) -> None:
    page, data = page_of(tmp_path)
    contents, targets, plot, table = (
        page.index(part) for part in ("<nav>", ">Targets</h3>", "<img", "found</h3>")
    )
    links = re.findall(r"href='#([^']+)'", page)
    ids = re.findall(r" id='([^']+)'", page)

    assert contents < targets < plot < table
    assert links
    assert sorted(links) == sorted(ids)
    assert len(set(ids)) == len(ids)
    assert "5 of 5 targets reached" in page
    assert data["commit"] == report.commit()
    for text in (page, (tmp_path / "summary.md").read_text()):
        assert f"commit {data['commit']}" in text or not data["commit"]


def test_what_a_page_shows_is_escaped() -> None:
    data = {
        "name": "<script>",
        "parameters": {"a": "<u>"},
        "notes": ["<em>"],
        "plots": [],
        "targets": [],
        "tables": [
            {"title": "<t>", "columns": ("<c>",), "rows": (("<r>",),), "note": "<n>"}
        ],
        "machine": MACHINE,
        "commit": "<s>",
    }
    page = html.page([data], Path())
    for tag in ("<script>", "<b>", "<i>", "<u>", "<em>", "<t>", "<c>", "<r>", "<n>"):
        assert tag not in page
    assert "<s>" not in page
