"""A writer that is killed anywhere loses nothing that it had been told is durable."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from tests.store import crash
from tests.store.crash import NEVER, Fault, Killer

from watermark.store import database
from watermark.store.ledger import Ledger

pytestmark = pytest.mark.skipif(
    bool(crash.missing()), reason=crash.missing() or "it runs here"
)
KILLS = 60


@pytest.fixture(scope="module")
def killer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killer]:
    with Killer(tmp_path_factory.mktemp("crash")) as killer:
        yield killer


def test_nothing_acknowledged_is_lost_when_a_writer_is_killed(killer: Killer) -> None:
    faults = crash.faults(killer, KILLS)
    assert len(faults) == KILLS
    for fault in faults:
        folder, outcome = killer.run(fault)
        assert outcome.code == 137, fault
        crash.check(folder, fault, outcome)


@pytest.mark.parametrize("scenario", list(crash.SCENARIOS))
def test_a_full_disk_is_told_and_leaves_a_sound_ledger(
    scenario: str, killer: Killer
) -> None:
    _, undisturbed = killer.run(Fault(scenario, NEVER))
    for nth in range(1, undisturbed.events, undisturbed.events // 4):
        fault = Fault(scenario, nth, full=True)
        folder, outcome = killer.run(fault)
        if outcome.code:  # else only what comes after the last commit failed
            assert outcome.code == 3
            assert outcome.lines[-1]["error"] in ("StoreError", "CommitUnknown")
            assert "disk" in outcome.lines[-1]["said"]
        crash.check(folder, fault, outcome)


def test_one_append_costs_one_sync_of_the_disk(killer: Killer) -> None:
    _, outcome = killer.run(Fault("append", NEVER, wal=database.WAL_PAGES))
    counts = [0, *(line["syncs"] for line in outcome.lines if "syncs" in line)]
    steps = [after - before for before, after in itertools.pairwise(counts)]

    assert steps[1:] == [1] * (len(crash.BATCHES) - 1)
    assert steps[0] <= 3  # it starts the log as well


def test_the_writer_does_what_it_is_killed_in(killer: Killer) -> None:
    folder, outcome = killer.run(Fault("prune", NEVER))
    with Ledger.open(folder / "ledger.db", **crash.keys(folder)) as ledger:
        events = [act.event for act in ledger.acts()]

    assert [line["done"] for line in outcome.lines if "done" in line] == [
        *("released", "erased", "pruned")
    ]
    assert events == ["held", "released", "erased", "pruned"]
    assert outcome.events > 20
