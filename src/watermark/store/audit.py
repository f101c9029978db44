"""The audit: every hash recomputed, every table compared with the leaves.

The entries are read once, in order. The rows of each other table are read beside them,
in the order of the entry that each belongs to, so that memory does not grow with the
ledger; a row that belongs to no entry was put there by someone else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Select,
    and_,
    func,
    not_,
    select,
)

from watermark.errors import LedgerCorrupt, VerificationError
from watermark.store import checkpoint, expiry, leaf, merkle, schema
from watermark.store.act import Act
from watermark.store.acts import Acts
from watermark.store.checkpoint import Checkpoint, Verifier
from watermark.store.leaf import Row
from watermark.store.merkle import Node
from watermark.store.personal import PersonalKey
from watermark.store.tree import Frontier

BATCH = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerCheck:
    """What an audit that found nothing wrong has covered.

    Attributes:
        size: number of entries.
        root: root of all of them.
        signed: how many are under the newest checkpoint. Who can write the file can
            still add, change or remove the others unseen.
        checkpoints: number of checkpoints, each with a valid signature.
        verifier: the public key that they were checked with.
    """

    size: int
    root: bytes
    signed: int
    checkpoints: int
    verifier: str


def audit(
    connection: Connection,
    verifier: Verifier,
    *,
    notes: Sequence[str] = (),
    personal_key: PersonalKey | None = None,
) -> LedgerCheck:
    """Check everything that one transaction sees.

    Args:
        connection: a transaction on the ledger.
        verifier: the log's public key.
        notes: checkpoints of this log kept elsewhere, which it must contain.
        personal_key: opens the personal fields; without it only their names are
            compared.

    Raises:
        LedgerCorrupt: something does not agree; it names the first entry that shows it.
    """
    _check_file(connection)
    stored = list(_checkpoints(connection, verifier))
    signed = stored[-1].size
    kept = [*stored, *(_verified(note, verifier, "kept elsewhere") for note in notes)]
    frontier = _check_entries(connection, kept, personal_key)
    _check_timestamps(connection)
    return LedgerCheck(
        size=frontier.size,
        root=frontier.root,
        signed=signed,
        checkpoints=len(stored),
        verifier=str(verifier),
    )


def _check_file(connection: Connection) -> None:
    if connection.dialect.name != "sqlite":
        return
    found = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar()
    if found != "ok":
        _fail(f"the file is damaged: {found}")
    # A view or a trigger could show the audit one thing and the readers another.
    master = "SELECT name FROM sqlite_master WHERE type NOT IN ('table', 'index')"
    foreign = connection.exec_driver_sql(master).scalar()
    if foreign is not None:
        _fail(f"found {foreign!r:.80} in the schema, expected only tables and indexes")


def _checkpoints(connection: Connection, verifier: Verifier) -> Iterator[Checkpoint]:
    table = schema.checkpoint
    rows = connection.execute(select(table).order_by(table.c.size)).all()
    if not rows:
        _fail("found no checkpoint, expected one for each time it was signed")
    for size, note in rows:
        signed = _verified(note, verifier, f"stored for {size!r:.80} entries")
        if signed.size != size:
            _fail(
                f"the checkpoint for {size!r:.80} entries was signed for {signed.size}"
            )
        yield signed


def _verified(note: object, verifier: Verifier, where: str) -> Checkpoint:
    try:
        return checkpoint.verify(str(note), verifier)
    except VerificationError as error:
        raise LedgerCorrupt(
            f"the checkpoint {where} does not verify: {error}"
        ) from error


def _check_timestamps(connection: Connection) -> None:
    time, head = schema.timestamp.c, schema.checkpoint.c
    known = select(head.size)
    query = select(func.min(time.size)).where(time.size.not_in(known))
    size = connection.scalar(query)
    if size is not None:
        _fail(f"found a time-stamp over {size!r:.80} entries, but no such checkpoint")


def _check_entries(
    connection: Connection,
    signed: Sequence[Checkpoint],
    personal_key: PersonalKey | None,
) -> Frontier:
    heads = sorted((head.size, head.root) for head in signed)
    size, _ = heads[-1]
    beside = _Beside(connection, personal_key, size)
    frontier = Frontier()
    covered = _check_heads(heads, 0, frontier)
    query = select(schema.entry).order_by(schema.entry.c.idx)
    for stored in _stream(connection, query):
        if stored.idx != frontier.size:
            _fail(f"entry {frontier.size} is missing: {stored.idx!r:.80} follows")
        if leaf.is_pruned(stored._mapping):
            beside.check_pruned(stored, frontier.append(_leaf_hash(stored)))
        else:
            row = leaf.read(dict(stored._mapping))
            beside.check(row, frontier.append(row.leaf_hash))
        covered = _check_heads(heads, covered, frontier)
    if covered < len(heads):
        size, _ = heads[-1]
        _fail(f"entry {frontier.size} is missing: a checkpoint was signed for {size}")
    beside.finish()
    return frontier


def _leaf_hash(stored: Any) -> bytes:
    """The leaf hash of a pruned entry: only the tree can tell whether it is right."""
    expected = {**stored._mapping, **expiry.PRUNED}
    if dict(stored._mapping) != expected:
        _fail(f"entry {stored.idx} has no body, but is not as pruning leaves one")
    value = stored.leaf_hash
    if not isinstance(value, bytes) or len(value) != merkle.HASH_BYTES:
        _fail(f"entry {stored.idx} has the leaf hash {value!r:.80}")
    return value


def _check_heads(
    heads: Sequence[tuple[int, bytes]], covered: int, frontier: Frontier
) -> int:
    """Compare the checkpoints of the tree's size, if any; how many are done so far."""
    while covered < len(heads) and heads[covered][0] == frontier.size:
        if heads[covered][1] != frontier.root:
            sound = (size for size, _ in heads[:covered] if size < frontier.size)
            first = max(sound, default=0)
            _fail(
                f"entry {first}, or a later one below {frontier.size}, was replaced: "
                "the tree is not the one that the checkpoint signs"
            )
        covered += 1
    return covered


class _Beside:
    """The tables made from the leaves, each read in step with the entries."""

    def __init__(
        self, connection: Connection, personal_key: PersonalKey | None, signed: int
    ) -> None:
        node, binding, manifest = schema.node, schema.binding, schema.manifest
        personal = schema.personal
        self._connection = connection
        self._acts = Acts(personal_key, signed)
        self._personal = _InStep(connection, personal.c.idx, *personal.c)
        # A subtree is complete once its last leaf is there.
        last = (node.c.idx + 1).bitwise_lshift(node.c.level) - 1
        self._nodes = _InStep(connection, last, *node.c)
        self._bindings = _InStep(connection, binding.c.idx, *binding.c)
        # Without their bytes, which would all go through one sort.
        names = manifest.c.manifest_id
        self._manifests = _InStep(connection, schema.MANIFEST_ENTRY, names)

    def check(self, row: Row | Act, completed: Sequence[tuple[Node, bytes]]) -> None:
        """Compare what belongs to one entry with what its leaf implies."""
        idx = row.idx
        self._check_nodes(idx, completed)
        if isinstance(row, Act):
            self._acts.add(row)
            return
        self._acts.row(row)
        record_id = row.record.record_id
        bindings = {(alg, value, idx, record_id) for alg, value in row.bindings}
        _same(idx, "binding", self._bindings.take(idx), bindings)
        fault = self._acts.check_personal(row, self._personal.take(idx))
        if fault:
            _fail(fault)
        for _ in self._manifests.take(idx):  # none, if an earlier entry had it too
            digest = self._manifest_sha256(row.manifest_id)
            _same(idx, "manifest", digest, row.manifest_sha256)

    def check_pruned(
        self, stored: Any, completed: Sequence[tuple[Node, bytes]]
    ) -> None:
        """Note an entry without a body; nothing may belong to it."""
        self._check_nodes(stored.idx, completed)
        self._acts.pruned(stored.idx)

    def _check_nodes(self, idx: int, completed: Sequence[tuple[Node, bytes]]) -> None:
        nodes = {(level, index, value) for (level, index), value in completed}
        _same(idx, "node", self._nodes.take(idx), nodes)

    def _manifest_sha256(self, manifest_id: str) -> str:
        table = schema.manifest.c
        query = select(table.store).where(table.manifest_id == manifest_id)
        data = self._connection.scalar(query)
        return hashlib.sha256(data).hexdigest() if isinstance(data, bytes) else ""

    def finish(self) -> None:
        """Check that no row is left over, and that none is missing."""
        for table in (self._nodes, self._bindings, self._personal, self._manifests):
            table.finish()
        holds = self._connection.execute(select(schema.hold)).all()
        fault = self._acts.fault({tuple(row) for row in holds})
        if fault:
            _fail(fault)
        entry = schema.entry.c
        kept = select(schema.manifest).where(schema.OF_MANIFEST).exists()
        missing = and_(entry.manifest_sha256 != "", not_(kept))
        idx = self._connection.scalar(select(func.min(entry.idx)).where(missing))
        if idx is not None:
            _fail(f"entry {idx}: its row in the table manifest is missing")


class _InStep:
    """The rows of one table, in the order of the entries that they belong to."""

    def __init__(
        self,
        connection: Connection,
        owner: ColumnElement[int],
        first: Column[Any],
        *others: Column[Any],
    ) -> None:
        self._name = first.table.name
        query = select(owner.label("owner"), first, *others).order_by("owner")
        self._rows = _stream(connection, query)
        self._next = next(self._rows, None)

    def take(self, idx: int) -> set[tuple[Any, ...]]:
        """The rows of entry `idx`, which must be the next that has any."""
        found = set()
        while self._next is not None and self._next[0] == idx:
            found.add(tuple(self._next[1:]))
            self._next = next(self._rows, None)
        owner = None if self._next is None else self._next[0]
        if isinstance(owner, int) and owner < idx:
            self.finish()
        return found

    def finish(self) -> None:
        """Check that every row was taken."""
        if self._next is not None:
            row = tuple(self._next[1:])
            _fail(f"no entry backs a row of the table {self._name}: {row!r:.200}")


def _stream(connection: Connection, query: Select[Any]) -> Iterator[Any]:
    return iter(connection.execute(query, execution_options={"yield_per": BATCH}))


def _same(idx: int, table: str, found: object, expected: object) -> None:
    if found != expected:
        _fail(
            f"entry {idx}: the table {table} holds {found!r:.200}, the leaf implies "
            f"{expected!r:.200}"
        )


def _fail(problem: str) -> NoReturn:
    raise LedgerCorrupt(f"{problem}. The ledger was altered: restore it from a backup")
