"""Someone who can write the file, and waits until the keeper of the log key acts.

Each takes something back afterwards, so that the file looks as it should.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cbor2
import pytest

from watermark.errors import LedgerCorrupt, StoreError
from watermark.store import act, merkle
from watermark.store.checkpoint import LogKey
from watermark.store.ledger import Ledger
from watermark.store.personal import PersonalKey

ORIGIN = "acme.example/log"
START, LATER, DUE = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z", "2026-08-01"
PERSON = {"user": "u-4711"}


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = START
        monkeypatch.setattr("watermark.store.ledger.utc_now", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def log(tmp_path: Path, key: LogKey, make: Any, clock: Clock) -> Iterator[Ledger]:
    """Three entries with personal fields, all of one day."""
    personal_key = PersonalKey.create(tmp_path / "personal.key")
    path = tmp_path / "l.db"
    with Ledger.create(
        path, origin=ORIGIN, key=key, personal_key=personal_key
    ) as ledger:
        ledger.append([replace(make.generated(n), personal=PERSON) for n in "abc"])
        yield ledger


@contextmanager
def file_of(ledger: Ledger) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(ledger.path)) as db, db:
        yield db


def blank(db: sqlite3.Connection, idx: int) -> None:
    """Leave of an entry what pruning leaves."""
    db.execute(
        "UPDATE entry SET ts = '', event = '', record_id = '', kind = '',"
        " asset_sha256 = '', manifest_id = '', manifest_sha256 = '', body = x''"
        " WHERE idx = ?",
        [idx],
    )
    for table in ("binding", "personal"):
        db.execute(f"DELETE FROM {table} WHERE idx = ?", [idx])


def forge(db: sqlite3.Connection, made: act.Act, idx: int) -> None:
    """Add an act as the next entry, which nobody signed."""
    columns = replace(made, idx=idx).columns()
    marks = ", ".join("?" * len(columns))
    db.execute(f"INSERT INTO entry VALUES ({marks})", list(columns.values()))


def forge_as_fourth(db: sqlite3.Connection, made: act.Act) -> None:
    """Behind three entries, with the nodes that make the tree right again."""
    first, second, third = [
        leaf for (leaf,) in db.execute("SELECT leaf_hash FROM entry ORDER BY idx")
    ]
    forge(db, made, 3)
    right = merkle.node_hash(third, made.leaf_hash)
    left = merkle.node_hash(first, second)
    rows = [(1, 1, right), (2, 0, merkle.node_hash(left, right))]
    db.executemany("INSERT INTO node VALUES (?, ?, ?)", rows)


def test_a_forged_act_excuses_no_deletion(log: Ledger) -> None:
    with file_of(log) as db:
        made = act.make("pruned", ts=LATER, entries=[(1, 2)])
        blank(db, 1)
        forge_as_fourth(db, made)

    with pytest.raises(LedgerCorrupt, match="entry 1 lost its body, and no signed act"):
        log.verify()


def test_a_forged_act_excuses_no_erasure(log: Ledger) -> None:
    with file_of(log) as db:
        made = act.make("erased", ts=LATER, entries=[(1, 2)])
        db.execute("DELETE FROM personal WHERE idx = 1")
        forge_as_fourth(db, made)

    with pytest.raises(LedgerCorrupt, match="entry 1 lost its personal fields"):
        log.verify()


def test_acts_need_the_log_key(log: Ledger, make: Any, clock: Clock) -> None:
    record_id = make.record("a").record_id
    clock.now = f"{DUE}T00:00:00Z"
    with Ledger.open(log.path) as without:
        asked: list[Callable[[], object]] = [
            without.prune,
            lambda: without.erase(record_id),
            lambda: without.hold("case", record_id),
        ]
        for ask in asked:
            with pytest.raises(StoreError, match="without its log key"):
                ask()
    assert (log.size, log.verify().signed) == (3, 3)


def test_a_date_that_was_altered_prunes_nothing(log: Ledger, clock: Clock) -> None:
    with file_of(log) as db:
        [body] = db.execute("SELECT body FROM entry WHERE idx = 1").fetchone()
        leaf = cbor2.loads(body) | {"retain_until": START}
        forged = cbor2.dumps(leaf, canonical=True)
        values = [forged, merkle.leaf_hash(forged)]
        db.execute("UPDATE entry SET body = ?, leaf_hash = ? WHERE idx = 1", values)
    clock.now = LATER

    with pytest.raises(LedgerCorrupt, match="an entry was altered"):
        log.prune()
    with file_of(log) as db:
        values = [body, merkle.leaf_hash(body)]
        db.execute("UPDATE entry SET body = ?, leaf_hash = ? WHERE idx = 1", values)
    assert log.prune() is None
    assert log.verify().size == 3


@pytest.mark.parametrize("everything", [False, True])
def test_a_hold_that_was_taken_away_stops_the_keeper(
    everything: bool, log: Ledger, make: Any, clock: Clock
) -> None:
    record_id = make.record("b").record_id
    log.hold("case", "" if everything else record_id)
    with file_of(log) as db:
        db.execute("DELETE FROM hold")
    clock.now = f"{DUE}T00:00:00Z"

    asked: list[Callable[[], object]] = [log.prune, lambda: log.erase(record_id)]
    for ask in asked:
        with pytest.raises(LedgerCorrupt, match="the table hold"):
            ask()
    assert log.size == 4


@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("what", ["prune", "erase"])
def test_a_hold_that_was_hidden_for_a_moment_is_found(
    what: str, everything: bool, log: Ledger, make: Any, clock: Clock
) -> None:
    record_id = make.record("b").record_id
    log.hold("case", "" if everything else record_id)
    log.hold("other case", make.record("c").record_id)
    log.release("other case")
    clock.now = f"{DUE}T00:00:00Z"
    with file_of(log) as db:
        rows = db.execute("SELECT * FROM hold").fetchall()
        [leaf] = db.execute("SELECT * FROM entry WHERE idx = 3").fetchall()
        db.execute("DELETE FROM hold")
        db.execute("UPDATE entry SET record_id = 'hidden' WHERE idx = 3")
    done = log.prune() if what == "prune" else log.erase(record_id)
    assert done is not None
    with file_of(log) as db:
        db.executemany("INSERT INTO hold VALUES (?, ?, ?)", rows)
        db.execute("UPDATE entry SET record_id = ? WHERE idx = 3", [leaf[3]])

    with pytest.raises(LedgerCorrupt, match=r"entry [01] was .*legal hold 'case'"):
        log.verify()


def test_what_was_held_and_released_may_go(
    log: Ledger, make: Any, clock: Clock
) -> None:
    """What the test above finds is the hold, and not that there was one."""
    record_id = make.record("b").record_id
    log.hold("case", record_id)
    log.hold("other", make.record("a").record_id)
    log.release("case")
    log.append([make.published("b")])
    assert log.erase(record_id) is not None
    clock.now = f"{DUE}T00:00:00Z"
    done = log.prune()

    assert done is not None
    assert done.entries == ((1, 3), (6, 7))
    assert log.verify().size == 9


def test_later_entries_of_a_held_record_are_held(
    log: Ledger, make: Any, clock: Clock
) -> None:
    log.hold("case", make.record("b").record_id)
    log.append([make.published("b")])
    clock.now = f"{DUE}T00:00:00Z"
    done = log.prune()

    assert done is not None
    assert done.entries == ((0, 1), (2, 3))
    log.verify()


def test_a_clock_that_was_set_forward_is_found(
    log: Ledger, make: Any, clock: Clock
) -> None:
    clock.now = "2026-12-01T00:00:00Z"
    assert log.prune() is not None
    log.verify()  # nothing shows it yet
    clock.now = "2026-11-30T12:00:00Z"
    log.append([make.generated("d")])
    log.verify()  # clocks differ a little
    clock.now = LATER
    log.append([make.generated("e")])

    with pytest.raises(LedgerCorrupt, match=r"pruned at 2026-12-01.*clock was wrong"):
        log.verify()


def test_an_altered_column_erases_nobody_else(log: Ledger, make: Any) -> None:
    record_id = make.record("a").record_id
    with file_of(log) as db:
        db.execute("UPDATE entry SET record_id = ? WHERE idx = 2", [record_id])

    with pytest.raises(LedgerCorrupt, match="column record_id"):
        log.erase(record_id)
    assert log.personal(1) == PERSON
