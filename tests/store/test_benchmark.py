"""The benchmark measures what it says, at a size that takes a moment."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks import ledger_recovery
from benchmarks.ledger import PARTS, answers, appends, entries
from benchmarks.ledger.entries import entry
from benchmarks.options import Options

from watermark.api import Watermark


@pytest.fixture
def few(tmp_path: Path) -> Options:
    return Options(samples=40, work=tmp_path)


def test_one_append_is_all_that_the_issue_counts() -> None:
    one = entry(7)

    assert len(one.manifest or b"") == 3300
    assert one.record.marks[0].mark_id
    assert one.personal == {"user": "user 7"}
    assert entry(7) == one
    assert entry(8) != one


def test_what_is_asked_is_answered(few: Options) -> None:
    part = answers.measure(few)
    [_, _, wrong] = part.targets

    assert part.parameters == {"rows": 40, "lookups": 500, "strangers": 40}
    assert wrong.reached
    assert [row[0] for row in part.tables[0].rows][:3] == [
        *("entries by payload", "manifests by record", "proof of an entry")
    ]
    assert (part.new, part.reused) == (40, 0)


def test_what_was_filled_is_asked_again(few: Options) -> None:
    with entries.filled_ledger(few, 40) as (ledger, new):
        assert (ledger.size, new) == (40, 40)
    with entries.filled_ledger(few, 40) as (ledger, new):
        assert (ledger.size, new) == (40, 0)


def test_every_way_to_append_is_measured(few: Options) -> None:
    part = appends.measure(few)
    [table] = part.tables

    assert [row[0] for row in table.rows] == list(appends.HOW)
    measured = [rate for row in table.rows for rate in row[1:] if rate is not None]
    assert len(measured) >= len(appends.HOW)
    assert all(isinstance(rate, float) and rate > 0 for rate in measured)


def test_a_photograph_is_recovered() -> None:
    part = ledger_recovery.recover(Options(samples=1))
    saved, jpeg, wrong, unmarked = part.targets

    assert (saved.measured, jpeg.measured) == (1.0, 1.0)
    assert (wrong.measured, unmarked.measured) == (0, 0)


def test_a_text_of_the_model_is_recovered(tmp_path: Path) -> None:
    outputs = pytest.importorskip("benchmarks.ledger_outputs")
    w = Watermark.create(tmp_path / "home", provider="Acme")
    with w.home.ledger:
        found = outputs.texts(w, Options(), 1)

    assert "outputs" in PARTS
    assert list(found.own) == list(outputs.TEXTS)
    assert found.own["copied"] == 1
    assert (set(found.wrong.values()), found.unmarked) == ({0}, 0)
