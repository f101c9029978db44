"""What may be forgotten is, what must be kept stays, and every proof still holds."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import cbor2
import pytest

from watermark.errors import KeyFileError, LedgerCorrupt, StoreError
from watermark.store import merkle, retention
from watermark.store.checkpoint import LogKey
from watermark.store.leaf import CONTENT, Entry
from watermark.store.ledger import Ledger
from watermark.store.personal import Opening, PersonalKey

ORIGIN = "acme.example/log"
SECRET = "user-4711@example.com"


class Clock:
    """The time that the ledger sees."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = "2026-01-01T00:00:00Z"
        monkeypatch.setattr("watermark.store.ledger.utc_now", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def personal_key(tmp_path: Path) -> PersonalKey:
    return PersonalKey.create(tmp_path / "personal.key")


@pytest.fixture
def kept(tmp_path: Path, key: LogKey, personal_key: PersonalKey) -> Iterator[Ledger]:
    path = tmp_path / "kept.db"
    with Ledger.create(
        path, origin=ORIGIN, key=key, personal_key=personal_key
    ) as ledger:
        yield ledger


def personal(entry: Entry, **fields: str) -> Entry:
    return replace(entry, personal=fields)


def files_of(ledger: Ledger) -> bytes:
    names = [ledger.path, ledger.path.with_name(f"{ledger.path.name}-wal")]
    return b"".join(path.read_bytes() for path in names if path.exists())


def change(ledger: Ledger, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(ledger.path)) as db, db:
        if not db.execute(statement, values).rowcount:
            pytest.fail(f"changed nothing: {statement}")


# --- personal fields ---------------------------------------------------------------


def test_a_personal_field_is_read_back_and_stands_nowhere_in_the_clear(
    kept: Ledger, make: Any
) -> None:
    [row] = kept.append([personal(make.generated("a"), user=SECRET, prompt="a cat")])

    assert kept.personal(row.idx) == {"user": SECRET, "prompt": "a cat"}
    assert SECRET.encode() not in files_of(kept)
    assert SECRET.encode() not in row.body
    opening = kept.openings(row.idx)["user"]
    assert row.personal["user"] == opening.commitment("user")
    assert cbor2.loads(row.body)["personal"] == row.personal
    assert SECRET not in repr(opening)
    assert SECRET not in repr(personal(make.generated("b"), user=SECRET))
    kept.verify()


def test_commitments_to_one_value_differ(kept: Ledger, make: Any) -> None:
    entries = [personal(make.generated(name), user=SECRET) for name in "ab"]
    first, second = kept.append(entries)

    assert first.personal["user"] != second.personal["user"]


def test_erased_fields_are_gone_and_proofs_stay(
    kept: Ledger, make: Any, key: LogKey
) -> None:
    rows = kept.append(
        [personal(make.generated(name), user=SECRET) for name in "ab"]
        + [make.generated("c")]
    )
    with closing(sqlite3.connect(kept.path)) as db:
        [[sealed]] = db.execute("SELECT sealed FROM personal WHERE idx = 0").fetchall()
    proof = kept.inclusion(0)
    act = kept.erase(rows[0].record.record_id, reason="request 12")

    assert act is not None
    assert (act.event, act.entries, act.reason) == ("erased", ((0, 1),), "request 12")
    assert kept.personal(0) == {}
    assert kept.personal(1) == {"user": SECRET}
    assert sealed not in files_of(kept)
    assert kept.by_record(rows[0].record.record_id) == [rows[0]]
    proof.verify(rows[0].body, verifier=key.public)
    kept.inclusion(0).verify(rows[0].body, verifier=key.public)
    assert kept.erase(rows[0].record.record_id) is None
    assert kept.verify().size == 4


def test_personal_fields_need_their_key(kept: Ledger, make: Any, key: LogKey) -> None:
    [row] = kept.append([personal(make.generated("a"), user=SECRET)])
    with Ledger.open(kept.path, key=key) as without:
        with pytest.raises(StoreError, match="without the key"):
            without.personal(row.idx)
        with pytest.raises(StoreError, match="personal_key"):
            without.append([personal(make.generated("b"), user=SECRET)])
        without.verify()
        assert without.size == 1
    other = PersonalKey.create(kept.path.with_name("other.key"))
    with Ledger.open(kept.path, personal_key=other) as wrong:
        for look in (lambda: wrong.personal(row.idx), wrong.verify):
            with pytest.raises(LedgerCorrupt, match="does not decrypt"):
                look()


@pytest.mark.parametrize(
    "fields",
    [
        {"User": "x"},
        {"": "x"},
        {"user": 5},
        {"user": "\ud800"},
        {"user": "x" * 100_001},
        {f"f{n}": "x" for n in range(33)},
    ],
)
def test_what_is_no_personal_field_is_refused(
    fields: dict[str, Any], make: Any
) -> None:
    with pytest.raises(StoreError, match="personal field"):
        personal(make.generated("a"), **fields)


def test_a_personal_key_shows_nothing(tmp_path: Path) -> None:
    path = tmp_path / "personal.key"
    key = PersonalKey.create(path)
    sealed = key.seal(Opening(bytes(32), SECRET), idx=3, name="user")

    assert path.stat().st_mode & 0o777 == 0o600
    assert repr(key) == "PersonalKey(...)"
    assert PersonalKey.load(path).open(sealed, idx=3, name="user").value == SECRET
    for idx, name in ((4, "user"), (3, "prompt")):
        with pytest.raises(LedgerCorrupt):
            key.open(sealed, idx=idx, name=name)
    with pytest.raises(KeyFileError, match="never overwritten"):
        PersonalKey.create(path)
    path.chmod(0o644)
    with pytest.raises(KeyFileError, match="others can read"):
        PersonalKey.load(path)


# --- retention ---------------------------------------------------------------------


def test_nothing_is_pruned_before_its_date(
    kept: Ledger, make: Any, clock: Clock
) -> None:
    [row] = kept.append([make.generated("a")])
    assert row.retain_until == "2026-07-04T00:00:00Z"  # 184 days
    for clock.now in ("2026-01-02T00:00:00Z", "2026-07-03T23:59:59Z"):
        assert kept.prune() is None
        assert kept.by_record(row.record.record_id) == [row]
    clock.now = "2026-07-04T00:00:00Z"
    act = kept.prune()

    assert act is not None
    assert act.entries == ((0, 1),)
    assert kept.by_record(row.record.record_id) == []


def test_a_later_setting_does_not_shorten_what_was_promised(
    kept: Ledger, make: Any, clock: Clock, key: LogKey
) -> None:
    with Ledger.open(kept.path, key=key, retention_days=365) as longer:
        [row] = longer.append([make.generated("a")])
    with Ledger.open(kept.path, key=key, retention_days=0) as shorter:
        clock.now = "2026-12-31T00:00:00Z"
        assert shorter.prune() is None
        clock.now = row.retain_until
        assert shorter.prune() is not None


def test_an_entry_may_ask_for_more_days_and_not_for_fewer(
    kept: Ledger, make: Any, clock: Clock
) -> None:
    entries = [
        replace(make.generated(str(days)), retain_days=days) for days in (1, 365)
    ]
    rows = kept.append(entries)

    assert [row.retain_until[:10] for row in rows] == ["2026-07-04", "2027-01-01"]
    with pytest.raises(StoreError, match="days"):
        replace(make.generated("x"), retain_days=-1)


def test_no_fewer_days_than_the_law_asks_for() -> None:
    assert retention.days(184, 184) == 184
    assert retention.days(10) == 10
    with pytest.raises(StoreError, match="expected at least 184"):
        retention.days(183, 184)


def test_pruning_leaves_leaf_hashes_and_all_proofs(
    kept: Ledger, make: Any, clock: Clock, key: LogKey
) -> None:
    old = kept.append(
        [
            make.generated("a"),
            personal(make.generated("b"), user=SECRET),
            make.published("a"),
        ]
    )
    proofs = [kept.inclusion(row.idx) for row in old]
    early, root = kept.checkpoint(), kept.root(3)
    clock.now = "2026-06-01T00:00:00Z"
    young = kept.append([make.generated("c"), make.published("a")])
    clock.now = "2026-08-01T00:00:00Z"
    body = old[1].body
    act = kept.prune(reason="half a year")

    assert act is not None
    assert (act.entries, act.reason) == (((0, 3),), "half a year")
    assert list(kept.rows()) == young
    assert kept.acts() == [act]
    assert body not in files_of(kept)
    content = make.record("b").content[0]
    assert kept.by_binding(CONTENT, bytes.fromhex(content)) == []
    assert kept.personal(1) == {}
    # The manifest is still another entry's.
    assert kept.manifest("urn:c2pa:a") == b"manifest of a"
    assert kept.root(3) == root
    for row, proof in zip(old, proofs, strict=True):
        proof.verify(row.body, verifier=key.public)
        kept.inclusion(row.idx).verify(row.body, verifier=key.public)
    for row in young:
        kept.inclusion(row.idx).verify(row.body, verifier=key.public)
    path = kept.consistency(3)
    merkle.verify_consistency(3, kept.size, path, root, kept.root())
    assert kept.verify(notes=[early]).size == 6
    clock.now = "2027-01-01T00:00:00Z"
    again = kept.prune()
    assert again is not None
    assert again.entries == ((3, 5),)  # what was done stays on record
    assert kept.manifest("urn:c2pa:a") is None
    kept.verify()


def test_pruning_before_a_date_of_the_callers(
    kept: Ledger, make: Any, clock: Clock
) -> None:
    kept.append([make.generated("a")])
    clock.now = "2026-01-05T00:00:00Z"
    kept.append([make.generated("b")])
    clock.now = "2026-12-01T00:00:00Z"
    act = kept.prune(before="2026-01-03T00:00:00Z")

    assert act is not None
    assert act.entries == ((0, 1),)
    for text in ("yesterday", "9999", "2026-01-03"):
        with pytest.raises(StoreError, match="expected a time"):
            kept.prune(before=text)


def test_what_is_held_stays(kept: Ledger, make: Any, clock: Clock) -> None:
    rows = kept.append([personal(make.generated(n), user=SECRET) for n in "abc"])
    record_id = rows[1].record.record_id
    held = kept.hold("case 7", record_id, reason="court order")
    clock.now = "2026-12-01T00:00:00Z"
    act = kept.prune()

    assert (held.event, held.hold, held.record_id) == ("held", "case 7", record_id)
    assert kept.holds() == {"case 7": (record_id,)}
    assert act is not None
    assert act.entries == ((0, 1), (2, 3))
    assert kept.personal(1) == {"user": SECRET}
    with pytest.raises(StoreError, match="legal hold"):
        kept.erase(record_id)
    kept.verify()
    kept.release("case 7")
    assert kept.holds() == {}
    assert kept.prune() is not None
    assert list(kept.rows()) == []
    assert [one.event for one in kept.acts()] == [
        *("held", "pruned", "released", "pruned")
    ]
    kept.verify()


def test_everything_can_be_held(kept: Ledger, make: Any, clock: Clock) -> None:
    kept.append([make.generated("a")])
    kept.hold("audit")
    clock.now = "2026-12-01T00:00:00Z"

    assert kept.prune() is None
    for hold in (("audit", ""), ("other", "f" * 32), ("", "")):
        with pytest.raises(StoreError):
            kept.hold(*hold)
    with pytest.raises(StoreError, match="in force"):
        kept.release("other")
    assert kept.verify().size == 2


# --- nobody else can -----------------------------------------------------------------


@pytest.fixture
def mixed(kept: Ledger, make: Any, clock: Clock) -> Ledger:
    """Pruned 0; held 1; kept 2, whose field was erased; kept 3 with its field."""
    kept.append([make.generated("a")])
    clock.now = "2026-06-01T00:00:00Z"
    [held] = kept.append([make.generated("b")])
    kept.hold("case", held.record.record_id)
    rows = kept.append([personal(make.generated(n), user=SECRET) for n in "cd"])
    kept.erase(rows[0].record.record_id)
    clock.now = "2026-08-01T00:00:00Z"
    kept.prune()
    kept.verify()
    return kept


BLANK = (
    "UPDATE entry SET ts = '', event = '', record_id = '', kind = '', asset_sha256 ="
    " '', manifest_id = '', manifest_sha256 = '', body = x'' WHERE idx = 1"
)


@pytest.mark.parametrize(
    ("statements", "message"),
    [
        ((BLANK, "DELETE FROM binding WHERE idx = 1"), "entry 1 lost its body"),
        ((BLANK,), "binding"),
        (("UPDATE entry SET body = x'' WHERE idx = 3",), "not as pruning leaves"),
        (("UPDATE entry SET leaf_hash = x'00' WHERE idx = 0",), "entry 0"),
        (("UPDATE entry SET leaf_hash = zeroblob(32) WHERE idx = 0",), "entry 0"),
        (("UPDATE entry SET kind = 'image' WHERE idx = 0",), "entry 0"),
        (("DELETE FROM personal",), "entry 4 lost its personal fields"),
        (("UPDATE personal SET sealed = zeroblob(99)",), "does not decrypt"),
        (("UPDATE personal SET name = 'other'",), "entry 4: the table personal"),
        (("UPDATE personal SET idx = 3",), "decrypt"),
        (("INSERT INTO personal VALUES (77, 'user', x'')",), "no entry backs"),
        (("DELETE FROM hold",), "the table hold"),
        (("INSERT INTO hold VALUES ('x', '', 2)",), "the table hold"),
        (("INSERT INTO timestamp VALUES (999, x'00')",), "no such checkpoint"),
    ],
)
def test_a_hidden_deletion_is_found(
    statements: tuple[str, ...], message: str, mixed: Ledger
) -> None:
    for statement in statements:
        change(mixed, statement)

    with pytest.raises(LedgerCorrupt, match=message):
        mixed.verify()


def test_an_erased_field_that_comes_back_is_found(kept: Ledger, make: Any) -> None:
    [row] = kept.append([personal(make.generated("a"), user=SECRET)])
    with closing(sqlite3.connect(kept.path)) as db:
        [kept_row] = db.execute("SELECT * FROM personal").fetchall()
    kept.erase(row.record.record_id)
    change(kept, "INSERT INTO personal VALUES (?, ?, ?)", *kept_row)

    with pytest.raises(LedgerCorrupt, match="entry 0 was erased, but"):
        kept.verify()
