"""The head of the log: its newest signed checkpoint, and how the next one is signed.

Nothing is appended to a tree that contradicts its newest checkpoint. Otherwise the next
signature would cover up what was altered.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select

from watermark.errors import LedgerCorrupt, VerificationError
from watermark.store import bulk, checkpoint, schema, tree
from watermark.store.checkpoint import Checkpoint, LogKey, Verifier
from watermark.store.tree import Frontier


@dataclass(frozen=True, slots=True)
class Memory:
    """A state of the ledger that was checked, or that this process left behind.

    Attributes:
        state: `Database.state` of it: nobody wrote since if that is the same.
        frontier: its tree.
    """

    state: object
    frontier: Frontier


class Head:
    """What one process has seen of a log's newest checkpoint; it never goes back."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier
        self._seen: Checkpoint | None = None
        self._memory: Memory | None = None

    def read(self, connection: Connection) -> Checkpoint:
        """The newest checkpoint, its signature checked.

        Raises:
            LedgerCorrupt: there is none, or it does not verify.
        """
        table = schema.checkpoint
        newest = select(table).order_by(table.c.size.desc()).limit(1)
        stored = connection.execute(newest).one_or_none()
        if stored is None:
            raise LedgerCorrupt(
                "the ledger has no checkpoint, expected at least the first, of 0 "
                "entries: restore it from a backup"
            )
        seen = self._seen
        if seen is not None and seen.note == stored.note:
            return seen
        head = self._verified(stored.size, stored.note)
        # A reader of another thread may hold an older state than the newest seen.
        if seen is None or seen.size < head.size:
            self._seen = head
        return head

    def grow(self, connection: Connection, state: object) -> Frontier:
        """The tree to append to: as remembered if nobody wrote since, else checked.

        Raises:
            LedgerCorrupt: as `check`.
        """
        memory = self._memory
        if memory is not None and state is not None and memory.state == state:
            return memory.frontier.copy()
        return self.check(connection)

    def remember(self, state: object, frontier: Frontier) -> None:
        """Keep what was committed, for the next `grow`."""
        self._memory = Memory(state, frontier.copy())

    def check(self, connection: Connection) -> Frontier:
        """The tree as it is now, once it is found to contain the newest checkpoint.

        Raises:
            LedgerCorrupt: entries are missing, the tree has another root, or a newer
                checkpoint was seen before.
        """
        head, size = self.read(connection), tree.size(connection)
        if self._seen is not None and head.size < self._seen.size:
            raise LedgerCorrupt(
                f"the newest checkpoint has {head.size} entries, but one of "
                f"{self._seen.size} was seen before: an older state of the ledger was "
                "put back. Restore the newer one from a backup"
            )
        if size < head.size:
            raise LedgerCorrupt(
                f"found {size} entries, but {head.size} were signed: entry {size} and "
                "those after it were removed. Restore the ledger from a backup"
            )
        frontier = tree.frontier(connection, size)
        root = frontier.root if size == head.size else tree.root(connection, head.size)
        if root != head.root:
            raise LedgerCorrupt(
                f"the tree of {head.size} entries has root {root.hex()}, its "
                f"checkpoint signs {head.root.hex()}: it was altered. Run "
                "Ledger.verify() to see where, and restore it from a backup"
            )
        return frontier

    def check_leaves(self, connection: Connection) -> None:
        """`check`, and that every leaf hash is the one that the tree was made of.

        Raises:
            LedgerCorrupt: as `check`, or a leaf hash was replaced.
        """
        expected, found = self.check(connection).root, tree.recomputed(connection).root
        if found != expected:
            raise LedgerCorrupt(
                f"the leaf hashes lead to root {found.hex()}, the tree has "
                f"{expected.hex()}: an entry was altered. Run Ledger.verify() to see "
                "which, and restore the ledger from a backup"
            )

    def sign(self, connection: Connection, frontier: Frontier, key: LogKey) -> str:
        """Sign and store a checkpoint of a tree that `check` gave; its note."""
        head = signed(frontier, key)
        bulk.insert(connection, schema.checkpoint, [(head.size, head.note)])
        return head.note

    def _verified(self, size: object, note: object) -> Checkpoint:
        try:
            head = checkpoint.verify(str(note), self._verifier)
        except VerificationError as error:
            raise LedgerCorrupt(
                f"the newest checkpoint does not verify: {error}. Restore the ledger "
                "from a backup"
            ) from error
        if head.size != size:
            raise LedgerCorrupt(
                f"the checkpoint for {size!r:.80} entries was signed for {head.size}: "
                "it was replaced. Restore the ledger from a backup"
            )
        return head


def signed(frontier: Frontier, key: LogKey) -> Checkpoint:
    """The checkpoint of a tree, signed."""
    head = Checkpoint(origin=key.name, size=frontier.size, root=frontier.root)
    return checkpoint.sign(head, key)
