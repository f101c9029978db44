"""What may go and what must stay: pruning, erasing, legal holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, delete, func, select, update

from watermark.errors import LedgerCorrupt, StoreError
from watermark.store import act, bulk, leaf, schema
from watermark.store.act import Act
from watermark.store.leaf import Row
from watermark.store.merkle import Range

BATCH = 1000
AFTER_ALL = "a"  # sorts behind every time
# What an entry's columns hold once it is pruned; its index and leaf hash stay.
PRUNED: dict[str, Any] = {
    **dict.fromkeys(("ts", "event", "record_id", "kind", "asset_sha256"), ""),
    **dict.fromkeys(("manifest_id", "manifest_sha256"), ""),
    "body": b"",
}


def due(
    connection: Connection, now: str, before: str, within: Sequence[Range] = ()
) -> tuple[Range, ...]:
    """The entries that may be pruned at `now`: past their date, and under no hold.

    Args:
        connection: a transaction on the ledger.
        now: the time now.
        before: only those appended before this time, if it is not empty.
        within: only those from the first of these to the last; all, if it is empty.
    """
    held = _held(connection)
    if "" in held:
        return ()
    table = schema.entry
    query = (
        select(table)
        .where(table.c.event.in_(leaf.EVENTS), table.c.ts < (before or AFTER_ALL))
        .order_by(table.c.idx)
    )
    if within:
        query = query.where(table.c.idx >= within[0][0], table.c.idx < within[-1][1])
    found = connection.execute(query, execution_options={"yield_per": BATCH})
    return act.ranges(
        row.idx
        for row in (leaf.read(dict(stored)) for stored in found.mappings())
        if isinstance(row, Row)
        and row.retain_until <= now
        and row.record.record_id not in held
    )


def prune(connection: Connection, entries: Sequence[Range]) -> None:
    """Remove all but the leaf hashes of `entries`, and what only they stood for."""
    table, manifest = schema.entry, schema.manifest
    erase(connection, entries)
    for start, stop in entries:
        bound = schema.binding.c.idx
        connection.execute(delete(schema.binding).where(bound >= start, bound < stop))
        within = (table.c.idx >= start) & (table.c.idx < stop)
        connection.execute(update(table).where(within).values(PRUNED))
    connection.execute(
        delete(manifest).where(
            ~select(table.c.idx).where(schema.OF_MANIFEST).correlate(manifest).exists()
        )
    )


def erasable(connection: Connection, record_id: str) -> tuple[Range, ...]:
    """The entries of a record that still have personal fields.

    Raises:
        StoreError: the record is under a legal hold.
    """
    held = _held(connection)
    if held & {"", record_id}:
        raise StoreError(
            f"record {record_id} is under a legal hold: nothing of it is erased until "
            "the hold is released"
        )
    entry, sealed = schema.entry, select(schema.personal.c.idx)
    query = select(entry).where(entry.c.record_id == record_id, entry.c.idx.in_(sealed))
    found = connection.execute(query.order_by(entry.c.idx)).mappings()
    # Read, so that a column that was altered leads to no other record's fields.
    return act.ranges(leaf.read(dict(stored)).idx for stored in found)


def erase(connection: Connection, entries: Sequence[Range]) -> None:
    """Remove the personal fields of `entries`."""
    idx = schema.personal.c.idx
    for start, stop in entries:
        connection.execute(delete(schema.personal).where(idx >= start, idx < stop))


def check_hold(connection: Connection, name: str, record_id: str) -> tuple[Range, ...]:
    """The entries of a record that may be put under the hold `name`.

    Raises:
        StoreError: it has no name, no such record, or it is so already.
    """
    if not name:
        raise StoreError("a legal hold has no name, expected that of the matter")
    entry, hold = schema.entry.c, schema.hold.c
    query = select(entry.idx).where(entry.record_id == record_id).order_by(entry.idx)
    entries = act.ranges(connection.scalars(query)) if record_id else ()
    if record_id and not entries:
        raise StoreError(f"no record {record_id!r:.80} in this ledger: nothing is held")
    there = select(func.count()).where(hold.name == name, hold.record_id == record_id)
    if connection.scalar(there):
        raise StoreError(
            f"{record_id or 'everything'} is under the hold {name!r} already"
        )
    return entries


def hold(connection: Connection, name: str, record_id: str, idx: int) -> None:
    """Put a record under a hold that the act `idx` tells of."""
    bulk.insert(connection, schema.hold, [(name, record_id, idx)])


def release(connection: Connection, name: str) -> None:
    """End a hold.

    Raises:
        StoreError: there is none of that name.
    """
    table = schema.hold
    done = connection.execute(delete(table).where(table.c.name == name))
    if not done.rowcount:
        raise StoreError(f"no legal hold {name!r:.80} is in force: see Ledger.holds")


def _held(connection: Connection) -> set[str]:
    """The records under a hold, as the acts say; "" is every record.

    Raises:
        LedgerCorrupt: the table says something else.
    """
    stored = {tuple(row) for row in connection.execute(select(schema.hold))}
    entry, said = schema.entry, dict[tuple[str, str], int]()
    acts = select(entry).where(
        # The first by the index: what acts have, and what was pruned.
        entry.c.record_id == "",
        entry.c.event.in_(("held", "released")),
    )
    for row in connection.execute(acts.order_by(entry.c.idx)).mappings():
        found = leaf.read(dict(row))
        if isinstance(found, Act) and found.event == "held":
            said[found.hold, found.record_id] = found.idx
        elif isinstance(found, Act):
            said = {name: i for name, i in said.items() if name[0] != found.hold}
    if stored != {(*name, idx) for name, idx in said.items()}:
        raise LedgerCorrupt(
            f"the table hold has {sorted(stored)!r:.200}, the acts say {said!r:.200}: "
            "the ledger was altered. Run Ledger.verify(), and restore it from a backup"
        )
    return {record_id for _, record_id in said}
