"""Appending: the entries, and every row by which they are found again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection

from watermark.errors import StoreError
from watermark.store import bulk, schema
from watermark.store.act import Act
from watermark.store.leaf import Row
from watermark.store.personal import Opening, PersonalKey
from watermark.store.tree import Frontier


@dataclass(frozen=True, slots=True)
class Draft:
    """A leaf that has no place yet, and what is stored beside it.

    Attributes:
        row: the leaf; its `idx` does not count.
        manifest: the manifest's bytes, or None.
        openings: of the personal fields, by name.
    """

    row: Row | Act
    manifest: bytes | None = None
    openings: Mapping[str, Opening] = field(default_factory=dict, repr=False)


def write(
    connection: Connection,
    frontier: Frontier,
    drafts: Sequence[Draft],
    *,
    personal_key: PersonalKey | None = None,
) -> list[Row | Act]:
    """Write `drafts` behind the tree that `frontier` stands for, which grows by them.

    Raises:
        StoreError: an entry contradicts one before it, or has personal fields and
            there is no key for them.
    """
    start = frontier.size
    leaves = [replace(d.row, idx=idx) for idx, d in enumerate(drafts, start=start)]
    rows = [leaf for leaf in leaves if isinstance(leaf, Row)]
    _check_records(connection, rows)
    bulk.insert(connection, schema.manifest, _manifests(connection, drafts))
    values = (tuple(leaf.columns().values()) for leaf in leaves)
    bulk.insert(connection, schema.entry, values)
    bulk.insert(connection, schema.binding, _bindings(rows))
    bulk.insert(connection, schema.personal, _personal(drafts, start, personal_key))
    bulk.insert(connection, schema.node, _nodes(frontier, leaves))
    return leaves


def _check_records(connection: Connection, rows: Sequence[Row]) -> None:
    """An output is generated once, and first."""
    made = [row.record.record_id for row in rows if row.event == "generated"]
    if not made:
        return
    seen = {
        found
        for (found,) in bulk.known(connection, schema.entry.c.record_id, values=made)
    }
    for row in rows:
        record_id = row.record.record_id
        if row.event == "generated" and record_id in seen:
            raise StoreError(
                f"record {record_id} is in the ledger already, expected a new one for "
                "the event 'generated': each output has a record of its own"
            )
        seen.add(record_id)


def _manifests(
    connection: Connection, drafts: Sequence[Draft]
) -> Iterator[tuple[str, str, str, bytes]]:
    """Each manifest once; an id stands for one record's one manifest, for ever."""
    table = schema.manifest.c
    given = [
        (draft.row, draft.manifest)
        for draft in drafts
        if isinstance(draft.row, Row) and draft.manifest is not None
    ]
    names = [row.manifest_id for row, _ in given]
    columns = table.manifest_id, table.record_id, table.sha256
    owner = {n: (r, s) for n, r, s in bulk.known(connection, *columns, values=names)}
    for row, manifest in given:
        mine = (row.record.record_id, row.manifest_sha256)
        known = row.manifest_id in owner
        if owner.setdefault(row.manifest_id, mine) != mine:
            raise StoreError(
                f"the manifest {row.manifest_id!r:.200} is in the ledger already, "
                "with other bytes or under another record: give each its own id"
            )
        if not known:
            yield row.manifest_id, *mine, manifest


def _bindings(rows: Iterable[Row]) -> Iterator[tuple[str, bytes, int, str]]:
    for row in rows:
        for alg, value in row.bindings:
            yield alg, value, row.idx, row.record.record_id


def _personal(
    drafts: Sequence[Draft], start: int, key: PersonalKey | None
) -> Iterator[tuple[int, str, bytes]]:
    for idx, draft in enumerate(drafts, start=start):
        for name, opening in draft.openings.items():
            if key is None:
                raise StoreError(
                    f"an entry has the personal field {name}, but the ledger was "
                    "opened without the key for such: pass personal_key=; in a home, "
                    "put back personal.key, or make the first one with `wm ledger "
                    "personal-key`"
                )
            yield idx, name, key.seal(opening, idx=idx, name=name)


def _nodes(
    frontier: Frontier, leaves: Iterable[Row | Act]
) -> Iterator[tuple[int, int, bytes]]:
    for leaf in leaves:
        for (level, idx), value in frontier.append(leaf.leaf_hash):
            yield level, idx, value
