"""New ledgers: their tables, and the first checkpoint, of no entries."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

from sqlalchemy import Connection, Table, inspect, select

from watermark.errors import LedgerCorrupt, StoreError, VerificationError
from watermark.files import write_atomically
from watermark.store import bulk, schema
from watermark.store.checkpoint import LogKey, Verifier
from watermark.store.database import Database, SqliteDatabase, translated, use_wal
from watermark.store.head import signed
from watermark.store.postgres import PostgresDatabase, is_url
from watermark.store.tree import Frontier

# Tables that ledgers of before do not have; they are made when first written to.
LATER = (schema.timestamp, schema.personal, schema.hold)


def database_at(where: Path | str) -> Database:
    """The database of a ledger, which need not exist yet."""
    if is_url(where):
        return PostgresDatabase(str(where))
    return SqliteDatabase(Path(where))


def create(where: Path | str, key: LogKey) -> None:
    """Make a new, empty ledger.

    Raises:
        StoreError: there is one, or it cannot be written.
    """
    if is_url(where):
        _create_in(PostgresDatabase(str(where)), key)
        return
    path = Path(where)
    try:
        write_atomically(path, _empty(path, key), mode=0o600)
    except FileExistsError as error:
        raise StoreError(
            f"{path} exists: a ledger is never overwritten; use Ledger.open"
        ) from error
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error}") from error


def verifier(database: Database) -> Verifier:
    """The public key in the database, once it is known to hold a ledger.

    Raises:
        StoreError: another version, or no ledger.
        LedgerCorrupt: it was altered.
    """
    with database.reading() as connection:
        rows = connection.execute(select(schema.meta)).all()
        missing = _missing(connection)
    meta: dict[str, object] = {row.name: row.value for row in rows}
    found = meta.get("schema")
    if found != schema.SCHEMA:
        raise StoreError(
            f"{database.name} has schema {found!r:.80}, expected {schema.SCHEMA!r}: it "
            "was written by another version of watermark-sdk, or is no ledger"
        )
    try:
        verifier = Verifier.parse(str(meta.get("verifier")))
    except VerificationError as error:
        raise LedgerCorrupt(f"{database.name} is damaged: {error}") from error
    if verifier.name != meta.get("origin"):
        raise LedgerCorrupt(
            f"{database.name} has the origin {meta.get('origin')!r:.80}, but the key "
            f"of {verifier.name!r}: it was altered. Restore it from a backup"
        )
    if missing:
        # A file that cannot be written is still to be read.
        with contextlib.suppress(StoreError), database.writing() as connection:
            schema.metadata.create_all(connection, tables=missing)
    return verifier


def _missing(connection: Connection) -> list[Table]:
    there = set(inspect(connection).get_table_names())
    return [table for table in LATER if table.name not in there]


def _create_in(database: Database, key: LogKey) -> None:
    try:
        with database.writing() as connection:
            if inspect(connection).has_table(schema.meta.name):
                raise StoreError(
                    f"{database.name} holds a ledger: it is never overwritten; use "
                    "Ledger.open"
                )
            _fill(connection, key)
    finally:
        database.close()


def _fill(connection: Connection, key: LogKey) -> None:
    head = signed(Frontier(), key)
    meta = {"schema": schema.SCHEMA, "origin": key.name, "verifier": key.public}
    schema.metadata.create_all(connection)
    bulk.insert(connection, schema.meta, meta.items())
    bulk.insert(connection, schema.checkpoint, [(head.size, head.note)])


def _empty(path: Path, key: LogKey) -> bytes:
    """The bytes of a new ledger for `path`."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        file = Path(folder) / "ledger.db"
        with translated(path):
            use_wal(file)
        database = SqliteDatabase(file)
        with database.writing() as connection:
            _fill(connection, key)
        database.close()  # which moves everything from the WAL into the file
        return file.read_bytes()
