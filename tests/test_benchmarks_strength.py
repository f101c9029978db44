"""Strength: defaults among the strengths, and what a stronger mark costs and finds."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks import report, robustness
from benchmarks.options import Options, Unavailable
from benchmarks.robustness import strength_summary
from benchmarks.robustness.image_marks import InLatents
from benchmarks.robustness.spec import Row
from benchmarks.robustness.strength import SUBJECTS, SWEEPS, StrengthSuite
from benchmarks.robustness.strength_media import (
    ATTACKS,
    DECIBELS,
    PERPLEXITY,
    PSNR,
    SHARED,
    UNMARKED,
    Bench,
    Latents,
    Pictures,
    Sounds,
    Texts,
)
from benchmarks.robustness.suite import lost

from watermark.schemes import SCHEMES

SWEPT = {sweep.scheme: sweep for sweep in SWEEPS}


def test_every_scheme_that_has_a_strength_is_swept_around_its_default() -> None:
    assert set(SWEPT) == set(SCHEMES) - {"noise"}  # a sign has no size
    for sweep in SWEEPS:
        place = sweep.strengths.index(sweep.default)
        assert sweep.strengths in (
            tuple(sorted(sweep.strengths)),
            tuple(sorted(sweep.strengths, reverse=True)),
        )
        assert place > 0
        assert place < len(sweep.strengths) - 1 or sweep.scheme == "tournament"
    assert len(SUBJECTS) == sum(len(sweep.strengths) for sweep in SWEEPS)


def made(count: int) -> dict[str, list[Row]]:
    """Rows of `greenlist`: found by every second sample more at each step."""
    sweep = SWEPT["greenlist"]
    rows: dict[str, list[Row]] = {}
    for place, value in enumerate(sweep.strengths):
        rows[sweep.subject(value)] = [
            {
                "attacks": {
                    name: {"log10_p": -9.0 if i < 2 * place else -1.0, "null": -0.1}
                    for name in ATTACKS["text"]
                },
                "quality": {PERPLEXITY: 5.0 + place + i / 10, SHARED: 0.01},
                UNMARKED: {PERPLEXITY: 5.0 + i / 10, SHARED: 0.01},
            }
            for i in range(count)
        ]
    rows[sweep.subject(4)][0] = {"failed": "no room"}
    return rows


@pytest.mark.models
def test_a_scheme_has_a_table_a_plot_and_a_sentence(tmp_path: Path) -> None:
    suite = StrengthSuite()
    part = suite.part(suite.spec(Options()), made(8), 8, 40)
    tables = {table.title: table for table in part.tables}
    rows = {row[0]: row for row in tables["strength: greenlist"].rows}
    (plot,) = part.plots
    (told,) = [note for note in part.notes if note.startswith("greenlist by delta")]

    assert list(rows) == [UNMARKED, "0.5", "1", "2, default", "3", "4"]
    assert all(len(row) == 1 + 3 + 2 for row in rows.values())
    assert rows["2, default"][1] == "0.50 [0.16, 0.84]"  # 4 of 8
    assert str(rows["2, default"][4]).startswith("7.346 [7.14, 7.55]")
    assert rows["4"][5] == "0.01"  # all alike: no interval
    assert [name for name, _ in plot.curves] == list(ATTACKS["text"])
    (geometric,) = {points[2][0] for _, points in plot.curves}
    assert geometric == pytest.approx(np.exp(np.log(7 + np.arange(8) / 10).mean()))
    assert {points[2][1] for _, points in plot.curves} == {0.5}
    assert [name for name, _, main in plot.lines if main] == ["2, default"]
    assert plot.lines[-1][0] == UNMARKED
    assert plot.lines[-1][1] == pytest.approx(
        np.exp(np.log(5 + np.arange(8) / 10).mean())
    )
    # 12 of 24, and of three attacks on one sample all or none: as 4 of 8.
    assert "default 2 has found 0.50 [0.16, 0.84], perplexity 7.346" in told
    assert "weaker than the weakest that finds 95% of what the best finds, 4" in told
    assert tables["strength: failed"].rows == (("greenlist delta 4", 1, "no room"),)
    assert not part.targets[0].reached
    report.write(tmp_path, [report.Result.of("strength", [part]).to_dict()])
    assert (tmp_path / "strength-strength-greenlist-by-delta.png").stat().st_size > 9999


@pytest.mark.parametrize(
    ("count", "said"),
    [(8, "weaker than the"), (4, "It is the weakest"), (2, "stronger than the")],
)
def test_where_the_default_stands_is_told(count: int, said: str) -> None:
    """The first that finds all of so many samples is 4, 2 and 1."""
    sweep, rows = SWEPT["greenlist"], made(count)
    told = strength_summary.told(sweep, strength_summary.by_strength(sweep, rows))

    assert said in told


@pytest.mark.models
def test_a_scheme_stands_for_its_strengths(tmp_path: Path) -> None:
    options = Options(work=tmp_path, suites=("strength",), samples=1, workers=1)
    options = dataclasses.replace(options, only=("bits",))
    with pytest.raises(Unavailable, match="no attack bits"):
        robustness.run(options)
    options = dataclasses.replace(options, only=("noise",), schemes=("waves",))
    with pytest.raises(Unavailable, match="no scheme waves"):
        robustness.run(options)
    assert not list(tmp_path.iterdir())
    found = []
    for schemes in (("wave",), ("wave decibels 38", "wave decibels 26")):
        options = dataclasses.replace(
            options, schemes=schemes, work=tmp_path / schemes[0]
        )
        (result,) = robustness.run(options)
        (table,) = [t for t in result.tables if t.title == "strength: wave"]
        assert table.columns[1:3] == ("found, none", "found, noise, dB 25")
        found.append({row[0]: row for row in table.rows})

    assert list(found[0]) == ["38", "35", "32, default", "29", "26"]
    assert list(found[1]) == ["38", "26"]
    assert found[1].items() <= found[0].items()  # the same seed, the same row


def swept(bench: Bench, scheme: str) -> list[Row]:
    """One sample at the weakest strength, the default and the strongest."""
    sweep = SWEPT[scheme]
    few = sweep.strengths[0], sweep.default, sweep.strengths[-1]
    return [bench.measure(sweep, value, 1) for value in few]


def quality(rows: list[Row], name: str) -> list[float]:
    return [row["quality"][name] for row in rows]


def clean(rows: list[Row], attack: str = "none") -> list[float]:
    return [row["attacks"][attack]["log10_p"] for row in rows]


def falls(values: list[float], by: float = 0.0) -> bool:
    """Whether none is above the one before, but for a little."""
    return all(b <= a + by for a, b in itertools.pairwise(values))


def test_a_louder_mark_is_found_more_surely() -> None:
    rows = swept(Sounds(Options()), "wave")

    assert quality(rows, DECIBELS) == pytest.approx([38, 32, 26], abs=0.1)
    assert all(falls(clean(rows, attack)) for attack in ATTACKS["audio"])
    assert all(row["attacks"]["none"]["null"] > -6 for row in rows)


def test_an_attack_that_raises_costs_no_other_its_row() -> None:
    bench, name, sweep = Sounds(Options()), ATTACKS["audio"][-1], SWEPT["wave"]
    whole = bench.measure(sweep, sweep.default, 1)

    def raising(sound: Any, rng: np.random.Generator) -> Any:
        raise OSError("no memory")

    bench.every[name] = dataclasses.replace(bench.every[name], change=raising)
    broken = bench.measure(sweep, sweep.default, 1)
    found = broken["attacks"].pop(name)

    assert found == {"log10_p": 0.0, "exact": False, "failed": "OSError: no memory"}
    whole["attacks"].pop(name)
    assert broken == whole
    assert "null" in whole["attacks"]["none"]


def test_texts_that_failed_have_no_mark_id_that_was_missed() -> None:
    rows = made(4)
    first = rows[SWEPT["greenlist"].subject(2)][0]
    first["attacks"]["none"] = lost(OSError("no memory"))
    sweep = SWEPT["greenlist"]
    table = strength_summary.table(sweep, strength_summary.by_strength(sweep, rows))

    assert not any("ids read" in column for column in table.columns)


@pytest.mark.models
def test_a_larger_bias_is_found_more_surely_and_costs_perplexity() -> None:
    rows = swept(Texts(Options()), "greenlist")

    assert falls(clean(rows))
    assert quality(rows, PERPLEXITY)[-1] > 1.3 * rows[0][UNMARKED][PERPLEXITY]
    assert len({str(row[UNMARKED]) for row in rows}) == 1
    assert [set(row["attacks"]) for row in rows] == [set(ATTACKS["text"])] * 3


@pytest.mark.models
def test_a_stronger_mark_is_seen_and_is_that_of_the_pipeline() -> None:
    bench = Pictures(Options())
    for scheme in ("latent", "pixel"):
        rows = swept(bench, scheme)
        # Beyond what a picture needs, or takes, nothing changes.
        assert falls(quality(rows, PSNR), 0.2)
        assert quality(rows, PSNR)[-1] < quality(rows, PSNR)[0] - 4
        assert falls(quality(rows, "SSIM"), 0.005)
        assert clean(rows)[-1] < clean(rows)[0]
        assert all(set(row["attacks"]) == {*ATTACKS["image"]} for row in rows)
    canvas, sweep = bench.studio, SWEPT["latent"]
    ((marked, _),) = Latents(canvas, sweep, sweep.default).mark([1])
    ((attached, _),) = InLatents(canvas).mark([1])
    (plain,) = canvas.generated([canvas.draw(1)], [1])

    assert np.array_equal(canvas.plain(1), plain)
    assert np.array_equal(marked, attached)
    assert not np.array_equal(marked, plain)
