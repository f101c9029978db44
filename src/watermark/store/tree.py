"""The stored tree: complete subtrees in SQL, and a frontier that grows by leaves."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import BindParameter, Connection, bindparam, func, select

from watermark.errors import LedgerCorrupt
from watermark.store import merkle, schema
from watermark.store.merkle import Node, Range

_indexes: BindParameter[int] = bindparam("indexes", expanding=True)
_LEAVES = select(schema.entry.c.idx, schema.entry.c.leaf_hash).where(
    schema.entry.c.idx.in_(_indexes)
)
# A join, so that each is found by its key: SQLite scans the table for (level, idx) IN
# (...), and `level IN ... AND idx IN ...` looks for every pair of the two.
_NODES = (
    "WITH wanted(level, idx) AS (VALUES {}) "
    "SELECT node.level, node.idx, node.hash FROM wanted CROSS JOIN node "
    "WHERE node.level = wanted.level AND node.idx = wanted.idx"
)


class Frontier:
    """The complete subtrees that make up a tree: all that is needed to go on growing.

    >>> frontier = Frontier()
    >>> [node for node, _ in frontier.append(merkle.leaf_hash(b""))]
    []
    >>> [node for node, _ in frontier.append(merkle.leaf_hash(b"1"))]
    [(1, 0)]
    """

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        self.size = size
        self._hashes = list(hashes)

    def copy(self) -> Frontier:
        """One of its own, to grow by itself."""
        return Frontier(self.size, self._hashes)

    @property
    def root(self) -> bytes:
        """The root of the tree as it is now."""
        return merkle.fold(self._hashes)

    def append(self, leaf: bytes) -> list[tuple[Node, bytes]]:
        """Add a leaf hash; the inner nodes that it completes, lowest first."""
        level, index, completed = 0, self.size, []
        while index & 1:
            leaf = merkle.node_hash(self._hashes.pop(), leaf)
            level, index = level + 1, index >> 1
            completed.append(((level, index), leaf))
        self._hashes.append(leaf)
        self.size += 1
        return completed


def size(connection: Connection) -> int:
    """Number of leaves."""
    last = connection.scalar(select(func.max(schema.entry.c.idx)))
    if last is None:
        return 0
    if not isinstance(last, int):
        raise LedgerCorrupt(
            f"found the entry index {last!r:.80}, expected a number: restore the "
            "ledger from a backup"
        )
    return last + 1


def frontier(connection: Connection, size: int) -> Frontier:
    """The frontier of the first `size` leaves."""
    nodes = list(merkle.subtrees(0, size))
    stored = _load(connection, nodes)
    return Frontier(size, [stored[node] for node in nodes])


def root(connection: Connection, size: int) -> bytes:
    """The root of the first `size` leaves."""
    return frontier(connection, size).root


def recomputed(connection: Connection) -> Frontier:
    """The frontier of all leaves, from their hashes alone: a pass over all entries."""
    table, found = schema.entry.c, Frontier()
    query = select(table.idx, table.leaf_hash).order_by(table.idx)
    for idx, value in connection.execute(query, execution_options={"yield_per": 1000}):
        found.append(_sound((0, idx), value if idx == found.size else None))
    return found


def hashes(connection: Connection, ranges: Sequence[Range]) -> tuple[bytes, ...]:
    """The hash of each range of leaves."""
    parts = [list(merkle.subtrees(*span)) for span in ranges]
    stored = _load(connection, [node for part in parts for node in part])
    return tuple(merkle.fold([stored[node] for node in part]) for part in parts)


def _load(connection: Connection, nodes: Sequence[Node]) -> dict[Node, bytes]:
    """The stored hash of each of `nodes`, a few dozen at most."""
    found: dict[Node, object] = {}
    leaves = [index for level, index in nodes if level == 0]
    if leaves:
        rows = connection.execute(_LEAVES, {"indexes": leaves})
        found |= {(0, index): value for index, value in rows}
    inner = [node for node in nodes if node[0]]
    if inner:
        mark = "%s" if connection.dialect.name == "postgresql" else "?"
        pair = f"(CAST({mark} AS INTEGER), CAST({mark} AS BIGINT))"
        query = _NODES.format(", ".join([pair] * len(inner)))
        values = tuple(number for node in inner for number in node)
        for level, index, value in connection.exec_driver_sql(query, values):
            found[level, index] = value
    return {place: _sound(place, found.get(place)) for place in nodes}


def _sound(place: Node, value: object) -> bytes:
    if isinstance(value, bytes) and len(value) == merkle.HASH_BYTES:
        return value
    level, index = place
    raise LedgerCorrupt(
        f"the tree is damaged at entry {index << level} (level {level}, node {index}): "
        f"found {value!r:.80}, expected {merkle.HASH_BYTES} bytes. Restore the ledger "
        "from a backup"
    )
