"""One writer at a time, one transaction for all who wait, each with its own answer."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest

from watermark.errors import LedgerCorrupt, StoreError
from watermark.store.ledger import Ledger
from watermark.store.sequencer import CommitUnknown, Sequencer


class Gate:
    """A writer that waits at its first call until it is let go."""

    def __init__(self) -> None:
        self.open, self.entered = threading.Event(), threading.Event()
        self.batches: list[list[int]] = []

    def write(self, items: Sequence[int]) -> Sequence[int]:
        if not self.batches:
            self.entered.set()
            self.open.wait(10)
        self.batches.append(list(items))
        if -1 in items:
            raise StoreError("minus one")
        if -2 in items:
            raise LedgerCorrupt("minus two")
        if -3 in items:
            raise KeyboardInterrupt
        if -4 in items:
            raise CommitUnknown("minus four")
        return [item * 10 for item in items]


def run(gate: Gate, submitted: Sequence[Sequence[int]]) -> list[object]:
    """The answer to each submission; the first blocks until the others wait."""
    sequencer = Sequencer(gate.write, most=100)
    answers: list[object] = [None] * len(submitted)

    def work(n: int) -> None:
        try:
            answers[n] = sequencer.submit(submitted[n])
        except BaseException as error:
            answers[n] = error

    threads = []
    for n in range(len(submitted)):
        thread = threading.Thread(target=work, args=(n,))
        thread.start()
        threads.append(thread)
        if n == 0:
            gate.entered.wait(10)
        else:
            while len(sequencer._waiting) < n:
                threading.Event().wait(0.001)
    gate.open.set()
    for thread in threads:
        thread.join(10)
    return answers


def test_who_waits_is_written_together_and_in_order() -> None:
    gate = Gate()
    answers = run(gate, [[1], [2, 3], [4]])

    assert answers == [[10], [20, 30], [40]]
    assert gate.batches == [[1], [2, 3, 4]]


def test_a_bad_submission_spoils_no_other() -> None:
    gate = Gate()
    first, good, bad, other = run(gate, [[1], [2], [-1], [3]])

    assert (first, good, other) == ([10], [20], [30])
    assert isinstance(bad, StoreError)
    assert gate.batches == [[1], [2, -1, 3], [2], [-1], [3]]


def test_a_corrupt_ledger_stops_everybody() -> None:
    gate = Gate()
    first, *rest = run(gate, [[1], [2], [-2]])

    assert first == [10]
    assert all(isinstance(answer, LedgerCorrupt) for answer in rest)
    assert gate.batches == [[1], [2, -2]]


def test_nobody_waits_for_a_thread_that_was_stopped() -> None:
    gate = Gate()
    first, *rest = run(gate, [[1], [2], [-3]])

    assert first == [10]
    assert sorted(type(answer).__name__ for answer in rest) == [
        *("KeyboardInterrupt", "StoreError")
    ]
    [told] = [answer for answer in rest if isinstance(answer, StoreError)]
    assert "it may be in the ledger" in str(told)


def test_nobody_waits_when_one_is_stopped_in_the_turns_of_each() -> None:
    gate = Gate()
    first, *rest = run(gate, [[1], [-1], [-3, 5], [4]])

    assert first == [10]
    assert sorted(type(answer).__name__ for answer in rest) == [
        *("KeyboardInterrupt", "StoreError", "StoreError")
    ]
    assert gate.batches == [[1], [-1, -3, 5, 4], [-1], [-3, 5]]


@pytest.mark.skipif(sys.platform == "win32", reason="no signal goes to one thread")
def test_nothing_is_written_for_who_is_stopped_as_it_waits() -> None:
    gate = Gate()
    sequencer = Sequencer(gate.write)
    answers: list[list[int]] = []
    first, last = (
        threading.Thread(target=lambda n=n: answers.append([*sequencer.submit([n])]))
        for n in (1, 3)
    )
    first.start()
    gate.entered.wait(10)

    def stop() -> None:
        while not sequencer._waiting:
            threading.Event().wait(0.001)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    threading.Thread(target=stop).start()
    with pytest.raises(KeyboardInterrupt):
        sequencer.submit([2])
    last.start()
    gate.open.set()
    first.join(10)
    last.join(10)

    assert sorted(answers) == [[10], [30]]
    assert gate.batches == [[1], [3]]


def test_who_is_written_does_not_wait_for_the_next_transaction() -> None:
    """Eight that were written together are all back before the ninth is written."""
    back = threading.Semaphore(0)
    entered, eight = threading.Event(), threading.Event()
    patience: list[bool] = []

    def write(items: Sequence[int]) -> Sequence[int]:
        if 0 in items:
            entered.set()
            while len(sequencer._waiting) < 8:
                threading.Event().wait(0.001)
        elif len(items) == 8:
            eight.set()
            while not sequencer._waiting:
                threading.Event().wait(0.001)
        else:
            patience.extend(back.acquire(timeout=10) for _ in range(8))
        return items

    sequencer = Sequencer(write, most=8)

    def work(n: int) -> None:
        sequencer.submit([n])
        if 0 < n < 9:
            back.release()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(10)]
    threads[0].start()
    entered.wait(10)
    for thread in threads[1:9]:
        thread.start()
    eight.wait(10)
    threads[9].start()
    for thread in threads:
        thread.join(20)

    assert patience == [True] * 8


def test_what_may_be_written_already_is_not_written_again() -> None:
    gate = Gate()
    first, *rest = run(gate, [[1], [2], [-4]])

    assert first == [10]
    assert all(isinstance(answer, CommitUnknown) for answer in rest)
    assert gate.batches == [[1], [2, -4]]


def test_a_commit_that_nobody_answered_is_told(ledger: Ledger, make: Any) -> None:
    """As when the connection breaks after the server has committed."""
    database, real = ledger._database, ledger._database.writing

    @contextmanager
    def writing() -> Iterator[Any]:
        with real() as connection:
            yield connection
        raise StoreError("the connection broke")

    with (
        patch.object(database, "writing", writing),
        pytest.raises(CommitUnknown, match="may be in the ledger"),
    ):
        ledger.append([make.published("a")])
    ledger.append([make.published("b")])

    assert [row.record.record_id for row in ledger.rows()] == [
        make.record(name).record_id for name in "ab"
    ]
    assert ledger.verify().size == 2


def test_a_transaction_has_a_most() -> None:
    gate = Gate()
    run(gate, [[1], [0] * 60, [0] * 60, [0] * 300])

    assert [len(batch) for batch in gate.batches] == [1, 60, 60, 300]


def test_threads_share_checkpoints(ledger: Ledger, make: Any) -> None:
    rows: list[Any] = []

    def work(n: int) -> None:
        rows.extend(ledger.append([make.generated(str(n))]))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(16)]
    with ledger._database.writing():  # the first waits for this, the others for it
        for thread in threads:
            thread.start()
        while len(ledger._sequence()._waiting) < 15:
            threading.Event().wait(0.001)
    for thread in threads:
        thread.join()

    assert sorted(row.idx for row in rows) == list(range(16))
    assert {row.record.record_id: row for row in rows} == {
        row.record.record_id: row for row in ledger.rows()
    }
    assert ledger.verify().checkpoints == 3  # of none, of the first, of all


def test_one_bad_entry_among_threads(ledger: Ledger, make: Any) -> None:
    ledger.append([make.generated("a")])
    barrier = threading.Barrier(8)
    failed: list[str] = []

    def work(name: str) -> None:
        barrier.wait()
        try:
            ledger.append([make.generated(name)])
        except StoreError:
            failed.append(name)

    names = ["a", *(str(n) for n in range(7))]
    threads = [threading.Thread(target=work, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failed == ["a"]
    assert ledger.verify().size == 8


def test_acts_and_appends_take_turns(ledger: Ledger, make: Any) -> None:
    """What one connection wrote itself does not count as somebody else's change."""
    for name in "abc":
        [row] = ledger.append([make.generated(name)])
        ledger.hold(f"case {name}", row.record.record_id)

    assert [row.idx for row in ledger.rows()] == [0, 2, 4]
    assert ledger.verify().size == 6
