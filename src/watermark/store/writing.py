"""Appending: the entries, and every row by which they are found again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Column, Connection, Table, bindparam, insert, select, update
from sqlalchemy import Row as SqlRow

from watermark.errors import StoreError
from watermark.store import leaf, schema
from watermark.store.leaf import Entry, Row
from watermark.store.tree import Frontier

CHUNK = 500  # values in one IN (...); SQLite before 3.32 takes 999


def write(
    connection: Connection, frontier: Frontier, entries: Sequence[Entry], *, ts: str
) -> list[Row]:
    """Write `entries` behind the tree that `frontier` stands for, which grows by them.

    Raises:
        StoreError: an entry contradicts one before it.
    """
    rows = [
        leaf.make(entry, idx=idx, ts=ts)
        for idx, entry in enumerate(entries, start=frontier.size)
    ]
    _write_records(connection, rows)
    _write_manifests(connection, entries)
    _insert(connection, schema.entry, (row.columns() for row in rows))
    _insert(connection, schema.binding, _bindings(rows))
    _insert(connection, schema.node, _nodes(frontier, rows))
    return rows


def _write_records(connection: Connection, rows: Sequence[Row]) -> None:
    """Keep the newest record under each id; an output is generated once, and first."""
    ids = [row.record.record_id for row in rows]
    stored = _known(connection, schema.record.c.record_id, ids)
    newest: dict[str, str] = {}
    for row, record_id in zip(rows, ids, strict=True):
        if row.event == "generated" and (record_id in stored or record_id in newest):
            raise StoreError(
                f"record {record_id} is in the ledger already, expected a new one for "
                "the event 'generated': each output has a record of its own"
            )
        newest[record_id] = leaf.record_text(row.record)
    table = schema.record
    change = update(table).where(table.c.record_id == bindparam("which"))
    old = [{"which": i, "data": newest[i]} for i in newest if i in stored]
    if old:
        connection.execute(change, old)
    new = ({"record_id": i, "data": newest[i]} for i in newest if i not in stored)
    _insert(connection, table, new)


def _write_manifests(connection: Connection, entries: Sequence[Entry]) -> None:
    """Keep each manifest once; an id stands for one record's one manifest, for ever."""
    given = [entry for entry in entries if entry.manifest is not None]
    ids = [entry.manifest_id for entry in given]
    stored = _known(connection, schema.manifest.c.manifest_id, ids)
    owner = {i: (row.record_id, row.sha256) for i, row in stored.items()}
    new = {}
    for entry in given:
        mine = (entry.record.record_id, entry.manifest_sha256)
        if owner.setdefault(entry.manifest_id, mine) != mine:
            raise StoreError(
                f"the manifest {entry.manifest_id!r:.200} is in the ledger already, "
                "with other bytes or under another record: give each its own id"
            )
        if entry.manifest_id not in stored:
            record_id, digest = mine
            new[entry.manifest_id] = {
                "manifest_id": entry.manifest_id,
                "record_id": record_id,
                "sha256": digest,
                "store": entry.manifest,
            }
    _insert(connection, schema.manifest, new.values())


def _bindings(rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
    for row in rows:
        for alg, value in row.bindings:
            record_id = row.record.record_id
            yield {"alg": alg, "value": value, "idx": row.idx, "record_id": record_id}


def _nodes(frontier: Frontier, rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
    for row in rows:
        for (level, idx), value in frontier.append(row.leaf_hash):
            yield {"level": level, "idx": idx, "hash": value}


def _known(
    connection: Connection, key: Column[str], wanted: Iterable[str]
) -> dict[str, SqlRow[Any]]:
    """The rows of `key`'s table whose key is among `wanted`."""
    found, values = {}, sorted(set(wanted))
    for start in range(0, len(values), CHUNK):
        query = select(key.table).where(key.in_(values[start : start + CHUNK]))
        for row in connection.execute(query):
            found[row._mapping[key.name]] = row
    return found


def _insert(
    connection: Connection, table: Table, rows: Iterable[dict[str, Any]]
) -> None:
    values = list(rows)
    if values:  # SQLAlchemy takes an empty list for one row of defaults
        connection.execute(insert(table), values)
