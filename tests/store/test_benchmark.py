"""The benchmark measures what it says, at a size that takes a moment."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks import ledger, ledger_recovery
from benchmarks.options import Options


@pytest.fixture
def few(tmp_path: Path) -> Options:
    return Options(samples=40, work=tmp_path)


def test_one_append_is_all_that_the_issue_counts() -> None:
    one = ledger.entry(7)

    assert len(one.manifest or b"") == 3300
    assert one.record.marks[0].mark_id
    assert one.personal == {"user": "user 7"}
    assert ledger.entry(7) == one
    assert ledger.entry(8) != one


def test_what_is_asked_is_answered(few: Options) -> None:
    part = ledger.lookup(few)
    [_, _, wrong] = part.targets

    assert part.parameters == {"rows": 40, "lookups": 500, "strangers": 40}
    assert wrong.reached
    assert [row[0] for row in part.tables[0].rows] == [
        *("entries by payload", "manifests by record", "proof of an entry")
    ]


def test_a_photograph_is_recovered() -> None:
    part = ledger_recovery.recover(Options(samples=1))
    saved, jpeg, wrong, unmarked = part.targets

    assert (saved.measured, jpeg.measured) == (1.0, 1.0)
    assert (wrong.measured, unmarked.measured) == (0, 0)
