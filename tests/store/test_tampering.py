"""X-07: each single change to a ledger's file is found, by its first bad entry."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import cbor2
import pytest

from watermark.errors import LedgerCorrupt
from watermark.store import head, merkle
from watermark.store.checkpoint import LogKey
from watermark.store.leaf import ASSET, CONTENT
from watermark.store.ledger import Ledger
from watermark.store.tree import Frontier

ORIGIN = "acme.example/log"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, make: Any) -> Path:
    """Eleven entries: nine in three appends, then two published."""
    folder = tmp_path_factory.mktemp("template")
    key = LogKey.create(folder / "log.pem", name=ORIGIN)
    with Ledger.create(folder / "ledger.db", origin=ORIGIN, key=key) as ledger:
        for start in (0, 3, 6):
            names = [str(n) for n in range(start, start + 3)]
            ledger.append([make.generated(name) for name in names])
        ledger.append([make.published("3"), make.published("7")])
        ledger.verify()
    return folder


@pytest.fixture
def key(template: Path) -> LogKey:
    return LogKey.load(template / "log.pem")


@pytest.fixture
def full(template: Path, key: LogKey, tmp_path: Path) -> Iterator[Ledger]:
    path = Path(shutil.copy(template / "ledger.db", tmp_path))
    with Ledger.open(path, key=key) as ledger:
        yield ledger


def sql(*statements: str) -> Callable[[sqlite3.Connection], None]:
    def run(db: sqlite3.Connection) -> None:
        for statement in statements:
            if not db.execute(statement).rowcount:
                pytest.fail(f"changed nothing: {statement}")

    return run


def swap(table: str, columns: str, key: str, a: object, b: object) -> Any:
    def run(db: sqlite3.Connection) -> None:
        query = f"SELECT {columns} FROM {table} WHERE {key} = ?"
        rows = [db.execute(query, [which]).fetchone() for which in (a, b)]
        change = ", ".join(f"{name} = ?" for name in columns.split(", "))
        for row, which in zip(rows, (b, a), strict=True):
            db.execute(f"UPDATE {table} SET {change} WHERE {key} = ?", [*row, which])

    return run


def edit_body(db: sqlite3.Connection) -> None:
    [body] = db.execute("SELECT body FROM entry WHERE idx = 4").fetchone()
    body = body.replace(b"Acme", b"Acne")
    db.execute("UPDATE entry SET body = ? WHERE idx = 4", [body])


def edit_body_and_leaf_hash(db: sqlite3.Connection) -> None:
    edit_body(db)
    [body] = db.execute("SELECT body FROM entry WHERE idx = 4").fetchone()
    leaf = merkle.leaf_hash(body)
    db.execute("UPDATE entry SET leaf_hash = ? WHERE idx = 4", [leaf])


def edit_body_and_rebuild_the_tree(db: sqlite3.Connection) -> None:
    edit_body_and_leaf_hash(db)
    rebuild_the_tree(db)


def reorder_and_rebuild_everything(db: sqlite3.Connection) -> None:
    """Entries 1 and 2, with all that is made from them."""
    for table in ("entry", "binding"):
        for old, new in ((1, 99), (2, 1), (99, 2)):
            db.execute(f"UPDATE {table} SET idx = ? WHERE idx = ?", [new, old])
    rebuild_the_tree(db)


def rebuild_the_tree(db: sqlite3.Connection) -> None:
    frontier = Frontier()
    for [leaf] in db.execute("SELECT leaf_hash FROM entry ORDER BY idx").fetchall():
        for (level, index), value in frontier.append(leaf):
            place = [value, level, index]
            db.execute("UPDATE node SET hash = ? WHERE level = ? AND idx = ?", place)


def insert_a_whole_fake_entry(db: sqlite3.Connection) -> None:
    row = list(db.execute("SELECT * FROM entry WHERE idx = 10").fetchone())
    leaf = cbor2.loads(row[8]) | {"salt": bytes(16)}
    body = cbor2.dumps(leaf, canonical=True)
    row[0], row[8], row[9] = 11, body, merkle.leaf_hash(body)
    db.execute(f"INSERT INTO entry VALUES ({', '.join('?' * 10)})", row)


def same_manifests_with_digests(db: sqlite3.Connection) -> None:
    swap("manifest", "store, sha256", "manifest_id", "urn:c2pa:3", "urn:c2pa:7")(db)


def other_manifest(db: sqlite3.Connection) -> None:
    digest = hashlib.sha256(b"other").hexdigest()
    db.execute(
        "UPDATE manifest SET store = ?, sha256 = ? WHERE manifest_id = ?",
        [b"other", digest, "urn:c2pa:3"],
    )


TAMPERINGS: dict[str, tuple[Any, str]] = {
    "edit a body": (edit_body, "entry 4 was altered"),
    "edit a body and its leaf hash": (edit_body_and_leaf_hash, "entry [45]"),
    "edit a body and rebuild the tree": (
        edit_body_and_rebuild_the_tree,
        "entry 3, or a later one below 6",
    ),
    "delete the last row": (
        sql("DELETE FROM entry WHERE idx = 10"),
        "entry 10 is missing",
    ),
    "delete a middle row": (
        sql("DELETE FROM entry WHERE idx = 5"),
        "entry 5 is missing",
    ),
    "reorder two whole rows": (
        swap(
            "entry",
            "ts, event, record_id, kind, asset_sha256, manifest_id, manifest_sha256, "
            "body, leaf_hash",
            "idx",
            1,
            2,
        ),
        "entry 1",
    ),
    "reorder by index": (
        sql(
            "UPDATE entry SET idx = 99 WHERE idx = 1",
            "UPDATE entry SET idx = 1 WHERE idx = 2",
            "UPDATE entry SET idx = 2 WHERE idx = 99",
        ),
        "entry 1",
    ),
    "reorder and rebuild everything": (
        reorder_and_rebuild_everything,
        "entry 0, or a later one below 3",
    ),
    "edit a column": (
        sql("UPDATE entry SET event = 'published' WHERE idx = 6"),
        "entry 6 .* column event",
    ),
    "edit a binding's value": (
        sql("UPDATE binding SET value = x'00' WHERE idx = 2 AND alg LIKE 'org%'"),
        "entry 2: the table binding",
    ),
    "edit a binding's record": (
        sql("UPDATE binding SET record_id = 'x' WHERE idx = 2 AND alg LIKE 'org%'"),
        "entry 2: the table binding",
    ),
    "move a binding to another entry": (
        sql("UPDATE binding SET idx = 8 WHERE idx = 2 AND alg LIKE 'org%'"),
        "entry 2: the table binding",
    ),
    "delete a binding": (
        sql("DELETE FROM binding WHERE idx = 9 AND alg = 'asset.sha256'"),
        "entry 9: the table binding",
    ),
    "insert a binding": (
        sql("INSERT INTO binding VALUES ('content.sha256', x'00', 7, 'x')"),
        "entry 7: the table binding",
    ),
    "insert a binding of no entry": (
        sql("INSERT INTO binding VALUES ('content.sha256', x'00', 70, 'x')"),
        "no entry backs a row of the table binding",
    ),
    "insert a binding at a negative entry": (
        sql("INSERT INTO binding VALUES ('content.sha256', x'00', -5, 'x')"),
        "binding",
    ),
    "insert a binding at no number": (
        sql("INSERT INTO binding VALUES ('content.sha256', x'00', 'one', 'x')"),
        "damaged|no entry backs a row of the table binding",
    ),
    "insert a fake entry": (
        insert_a_whole_fake_entry,
        "entry 11",
    ),
    "swap two manifests": (
        swap("manifest", "store", "manifest_id", "urn:c2pa:3", "urn:c2pa:7"),
        "entry 9: the table manifest",
    ),
    "swap two manifests and their digests": (
        same_manifests_with_digests,
        "no entry backs a row of the table manifest",
    ),
    "replace a manifest": (
        other_manifest,
        "no entry backs a row of the table manifest",
    ),
    "delete a manifest": (
        sql("DELETE FROM manifest WHERE manifest_id = 'urn:c2pa:7'"),
        "entry 10: its row in the table manifest is missing",
    ),
    "insert a manifest": (
        sql(
            "INSERT INTO manifest SELECT 'm', record_id, sha256, store FROM manifest"
            " LIMIT 1"
        ),
        "no entry backs a row of the table manifest",
    ),
    "move a manifest to another record": (
        sql("UPDATE manifest SET record_id = 'x' WHERE manifest_id = 'urn:c2pa:7'"),
        "no entry backs a row of the table manifest",
    ),
    "a manifest of another type": (
        sql("UPDATE manifest SET store = 5 WHERE manifest_id = 'urn:c2pa:7'"),
        "entry 10",
    ),
    "edit a node": (
        sql("UPDATE node SET hash = zeroblob(32) WHERE level = 1 AND idx = 2"),
        "entry 5: the table node",
    ),
    "delete a node": (
        sql("DELETE FROM node WHERE level = 2 AND idx = 1"),
        "entry 7: the table node",
    ),
    "insert a node": (
        sql("INSERT INTO node VALUES (1, 5, zeroblob(32))"),
        "no entry backs a row of the table node",
    ),
    "a body of another type": (
        sql("UPDATE entry SET body = 1000000000000 WHERE idx = 3"),
        "entry 3",
    ),
    "replay an old checkpoint as the newest": (
        sql(
            "UPDATE checkpoint SET note = (SELECT note FROM checkpoint WHERE size = 6)"
            " WHERE size = 11"
        ),
        "the checkpoint for 11 entries was signed for 6",
    ),
    "edit a checkpoint": (
        sql(
            "UPDATE checkpoint SET note = replace(note, 'acme', 'acne') WHERE size = 3"
        ),
        "does not verify",
    ),
    "edit a checkpoint's size": (
        sql("UPDATE checkpoint SET size = 4 WHERE size = 3"),
        "was signed for 3",
    ),
    "delete every checkpoint": (sql("DELETE FROM checkpoint"), "no checkpoint"),
    "add a trigger": (
        sql("CREATE TRIGGER t AFTER INSERT ON entry BEGIN DELETE FROM binding; END"),
        "expected only tables and indexes",
    ),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_a_tampering_is_found_and_named(name: str, full: Ledger, key: LogKey) -> None:
    tamper, message = TAMPERINGS[name]
    with closing(sqlite3.connect(full.path)) as db:
        tamper(db)
        db.commit()

    with pytest.raises(LedgerCorrupt, match=message):
        full.verify()
    with pytest.raises(LedgerCorrupt), Ledger.open(full.path, key=key) as opened:
        opened.verify()
    with closing(sqlite3.connect(full.path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def change(ledger: Ledger, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(ledger.path)) as db, db:
        db.execute(statement, values)


def test_lookups_do_not_return_what_was_altered(full: Ledger, make: Any) -> None:
    with closing(sqlite3.connect(full.path)) as db, db:
        edit_body(db)
    record_id = make.record("4").record_id
    content = bytes.fromhex(make.record("4").content[0])
    for look in (
        lambda: full.by_record(record_id),
        lambda: full.by_binding(CONTENT, content),
        lambda: full.record(record_id),
        lambda: list(full.rows()),
    ):
        with pytest.raises(LedgerCorrupt, match="entry 4 was altered"):
            look()


def test_a_binding_that_the_leaf_does_not_say_is_not_followed(full: Ledger) -> None:
    change(full, "INSERT INTO binding VALUES (?, ?, 3, 'x')", ASSET, bytes(32))

    with pytest.raises(LedgerCorrupt, match="its leaf does not say so"):
        full.by_binding(ASSET, bytes(32))


def test_an_altered_manifest_is_not_returned(full: Ledger) -> None:
    change(full, "UPDATE manifest SET store = ? WHERE manifest_id = 'urn:c2pa:3'", b"x")
    change(full, "INSERT INTO manifest VALUES ('fake', 'r', ?, ?)", "0" * 64, b"fake")
    for name in ("urn:c2pa:3", "fake"):
        with pytest.raises(LedgerCorrupt, match="not the one that was appended"):
            full.manifest(name)


def test_nothing_is_signed_over_a_tampered_tree(full: Ledger, make: Any) -> None:
    change(full, "UPDATE node SET hash = zeroblob(32) WHERE level = 3 AND idx = 0")

    with pytest.raises(LedgerCorrupt, match="its checkpoint signs"):
        full.append([make.generated("new")])
    with pytest.raises(LedgerCorrupt, match="its checkpoint signs"):
        full.sign()


@pytest.mark.parametrize(
    "statement",
    ["DELETE FROM entry WHERE idx = 10", "DELETE FROM entry WHERE idx > 5"],
)
def test_opening_notices_lost_rows(full: Ledger, statement: str) -> None:
    change(full, statement)

    with pytest.raises(LedgerCorrupt, match="11 were signed"):
        Ledger.open(full.path)


def put_back(older: Path, ledger: Ledger) -> None:
    with (
        closing(sqlite3.connect(older)) as old,
        closing(sqlite3.connect(ledger.path)) as new,
    ):
        old.backup(new)


def test_an_older_state_is_found_by_a_kept_checkpoint(
    full: Ledger, make: Any, key: LogKey, tmp_path: Path
) -> None:
    older = tmp_path / "older.db"
    with (
        closing(sqlite3.connect(full.path)) as db,
        closing(sqlite3.connect(older)) as copy,
    ):
        db.backup(copy)
    full.append([make.generated("last")])
    kept = full.checkpoint()
    full.verify(notes=[kept])
    put_back(older, full)

    assert full.verify().size == 11  # the file alone cannot show it
    with pytest.raises(LedgerCorrupt, match="entry 11 is missing"):
        full.verify(notes=[kept])
    with pytest.raises(LedgerCorrupt, match="an older state"):
        full.append([make.generated("other")])
    with Ledger.open(full.path, key=key) as fork:
        fork.append([make.generated("other")])
        fork.verify()
        with pytest.raises(LedgerCorrupt, match="entry 11, or a later one below 12"):
            fork.verify(notes=[kept])


def test_a_ledger_signed_anew_with_another_key_is_found(
    full: Ledger, key: LogKey, tmp_path: Path
) -> None:
    other = LogKey.create(tmp_path / "other.pem", name=ORIGIN)
    frontier = Frontier()
    for row in full.rows():
        frontier.append(row.leaf_hash)
    note = head.signed(frontier, other).note
    change(full, "DELETE FROM checkpoint")
    change(full, "INSERT INTO checkpoint VALUES (11, ?)", note)
    change(full, "UPDATE meta SET value = ? WHERE name = 'verifier'", other.public)

    with Ledger.open(full.path) as fake:
        assert fake.verify().verifier == other.public
        with pytest.raises(LedgerCorrupt, match="does not verify"):
            fake.verify(verifier=key.public)


def test_other_versions_are_told_from_damage(full: Ledger) -> None:
    change(full, "UPDATE meta SET value = 'watermark.ledger/9' WHERE name = 'schema'")

    with pytest.raises(Exception, match="another version") as caught:
        Ledger.open(full.path)
    assert not isinstance(caught.value, LedgerCorrupt)
