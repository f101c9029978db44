"""Reading a ledger: look-ups, proofs and the audit. `watermark.store.ledger` writes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import ColumnElement, Connection, func, select

from watermark.errors import LedgerCorrupt, StoreError, VerificationError
from watermark.record import Record
from watermark.store import act, leaf, merkle, schema, tree
from watermark.store.act import Act
from watermark.store.audit import LedgerCheck, audit
from watermark.store.checkpoint import MARK, Verifier
from watermark.store.database import Database
from watermark.store.head import Head
from watermark.store.leaf import Row
from watermark.store.personal import Opening, PersonalKey
from watermark.store.proof import InclusionProof

PAGE = 1000
_ENTRIES = select(schema.entry).order_by(schema.entry.c.idx)
_MANIFESTS = (
    select(
        schema.entry,
        schema.manifest.c.manifest_id.label("manifest"),
        schema.manifest.c.store,
    )
    .select_from(schema.manifest)
    .outerjoin(schema.entry, schema.entry.c.idx == schema.MANIFEST_ENTRY)
    .order_by(schema.entry.c.idx)
)


class LedgerReader:
    """What can be asked of a ledger.

    Its methods raise `StoreError` where it cannot be read, and `LedgerCorrupt` where
    what they find is not what was appended.
    """

    def __init__(
        self,
        database: Database,
        *,
        verifier: Verifier,
        personal_key: PersonalKey | None = None,
    ) -> None:
        self._database = database
        self._verifier = verifier
        self._personal_key = personal_key
        self._head = Head(verifier)

    def by_record(self, record_id: str) -> list[Row]:
        """The entries of one record, oldest first."""
        if not record_id:  # what acts have
            return []
        return self._find(schema.entry.c.record_id == record_id)

    def by_binding(
        self, alg: str, value: bytes, *, newest: int | None = None
    ) -> list[Row]:
        """The entries, perhaps of several records, that `value` leads to, oldest first.

        Args:
            alg: `Mark.binding`, or `leaf.CONTENT` or `leaf.ASSET` for a SHA-256.
            value: the mark id, or the digest.
            newest: so many of them at most, the newest; None: all.
        """
        table = schema.binding.c
        found = select(table.idx).where(table.alg == alg, table.value == value)
        if newest is not None:
            found = found.order_by(table.idx.desc()).limit(newest)
        rows = self._find(schema.entry.c.idx.in_(found))
        for row in rows:
            if (alg, value) not in row.bindings:
                raise LedgerCorrupt(
                    f"entry {row.idx} was bound to {alg} {value.hex()}, but its leaf "
                    "does not say so: restore the ledger from a backup"
                )
        return rows

    def values(self, alg: str) -> Iterator[bytes]:
        """Each value that anything is bound to under `alg`, once, in order of bytes.

        The values are those of the index, which the audit compares with the leaves:
        what one leads to is `by_binding`'s to say. No transaction is held between.

        Args:
            alg: as for `by_binding`; `Mark.nonce_binding` for the nonces on file.
        """
        table, last = schema.binding.c, b""
        query = select(table.value).where(table.alg == alg).distinct()
        query = query.order_by(table.value).limit(PAGE)
        while True:
            with self._database.reading() as connection:
                page = connection.scalars(query.where(table.value > last)).all()
            yield from page
            if len(page) < PAGE:
                return
            last = page[-1]

    def record(self, record_id: str) -> Record | None:
        """The record as its newest entry has it, or None."""
        rows = self.by_record(record_id)
        return rows[-1].record if rows else None

    def manifest(self, manifest_id: str) -> bytes | None:
        """The bytes of one manifest, or None."""
        found = self.logged(manifest_id)
        return found[1] if found else None

    def logged(self, manifest_id: str) -> tuple[Row, bytes] | None:
        """The entry that logged a manifest, and the manifest's bytes, or None."""
        found = self._manifests(schema.manifest.c.manifest_id == manifest_id)
        return found[0] if found else None

    def manifests_of(self, record_id: str) -> list[tuple[str, bytes]]:
        """Id and bytes of each manifest of a record, oldest first."""
        found = self.logged_of(record_id)
        return [(row.manifest_id, store) for row, store in found]

    def logged_of(self, record_id: str) -> list[tuple[Row, bytes]]:
        """The entry that logged each manifest of a record, and the manifest's bytes."""
        return self._manifests(schema.manifest.c.record_id == record_id)

    def personal(self, idx: int) -> dict[str, str]:
        """The clear values of the personal fields of entry `idx` that are still there.

        Raises:
            StoreError: the ledger was opened without the key for them.
            LedgerCorrupt: a value is not the one that the leaf commits to.
        """
        return {name: o.value for name, o in self.openings(idx).items()}

    def openings(self, idx: int) -> dict[str, Opening]:
        """What opens each commitment of entry `idx`, as `personal`."""
        table = schema.personal
        with self._database.reading() as connection:
            query = select(table.c.name, table.c.sealed).where(table.c.idx == idx)
            stored = connection.execute(query).all()
        if not stored:
            return {}
        if self._personal_key is None:
            raise StoreError(
                "the ledger was opened without the key for personal fields: pass "
                "personal_key="
            )
        row = next(iter(self._find(schema.entry.c.idx == idx)), None)
        found = {}
        for name, sealed in stored:
            opening = self._personal_key.open(sealed, idx=idx, name=name)
            if row is None or row.personal.get(name) != opening.commitment(name):
                raise LedgerCorrupt(
                    f"the personal field {name!r:.80} of entry {idx} is not the one "
                    "that its leaf commits to: restore the ledger from a backup"
                )
            found[name] = opening
        return found

    @property
    def has_personal(self) -> bool:
        """Whether there are clear values of personal fields."""
        with self._database.reading() as connection:
            first = select(schema.personal.c.idx).limit(1)
            return connection.scalar(first) is not None

    def rows(self, start: int = 0, stop: int | None = None) -> Iterator[Row]:
        """The entries from `start` to before `stop`; no transaction is held between.

        What was pruned is passed over, and so are acts, which `acts` gives.
        """
        stop = self.size if stop is None else stop
        idx = schema.entry.c.idx
        for first in range(start, stop, PAGE):
            last = min(first + PAGE, stop)
            yield from self._find((idx >= first) & (idx < last))

    def acts(self) -> list[Act]:
        """What was done to the ledger itself: pruned, erased, held, released."""
        acts = schema.entry.c.event.in_(act.EVENTS)
        return [one for one in self._leaves(acts) if isinstance(one, Act)]

    def holds(self) -> dict[str, tuple[str, ...]]:
        """The record ids under each legal hold in force; "" is every record."""
        table = schema.hold
        with self._database.reading() as connection:
            rows = connection.execute(select(table.c.name, table.c.record_id)).all()
        found: dict[str, tuple[str, ...]] = {}
        for name, record_id in sorted(map(tuple, rows)):
            found[name] = (*found.get(name, ()), record_id)
        return found

    @property
    def path(self) -> Path:
        """The file.

        Raises:
            StoreError: the ledger lies in a PostgreSQL database.
        """
        path: Path | None = getattr(self._database, "path", None)
        if path is None:
            raise StoreError(f"the ledger {self._database.name} is no file")
        return path

    @property
    def name(self) -> str:
        """The file, or the address of the database, without any password."""
        return self._database.name

    @property
    def origin(self) -> str:
        """The log's name."""
        return self._verifier.name

    @property
    def verifier(self) -> str:
        """The log's public key, as the file has it: ``name+keyid+base64``."""
        return str(self._verifier)

    @property
    def signed_size(self) -> int:
        """Number of entries that the newest checkpoint covers."""
        with self._database.reading() as connection:
            return self._head.read(connection).size

    @property
    def size(self) -> int:
        """Number of entries."""
        with self._database.reading() as connection:
            return tree.size(connection)

    def root(self, size: int | None = None) -> bytes:
        """The root of the first `size` entries, of all by default."""
        with self._database.reading() as connection:
            return tree.root(connection, _size(connection, size))

    def checkpoint(self) -> str:
        """The newest signed checkpoint. Copies kept elsewhere are what protects it."""
        with self._database.reading() as connection:
            return self._head.read(connection).note

    def checkpoint_at(self, size: int) -> str | None:
        """The checkpoint that was signed for `size` entries, or None."""
        table = schema.checkpoint.c
        with self._database.reading() as connection:
            return connection.scalar(select(table.note).where(table.size == size))

    def timestamp(self, size: int) -> bytes | None:
        """The RFC 3161 token over the checkpoint for `size` entries, or None."""
        table = schema.timestamp.c
        with self._database.reading() as connection:
            return connection.scalar(select(table.token).where(table.size == size))

    def vouched(self) -> list[int]:
        """The sizes whose checkpoints have a time-stamp, or a line of a witness."""
        head, stamp = schema.checkpoint.c, schema.timestamp.c
        lines = func.length(head.note) - func.length(func.replace(head.note, MARK, ""))
        query = select(head.size).where(
            (lines > len(MARK)) | head.size.in_(select(stamp.size))
        )
        with self._database.reading() as connection:
            return list(connection.scalars(query.order_by(head.size)))

    def inclusion(self, idx: int, size: int | None = None) -> InclusionProof:
        """Proof that entry `idx` is among the first `size`.

        Args:
            idx: the entry; one that was pruned can still be proved by who kept it.
            size: of the tree; by default that of the newest checkpoint.

        Raises:
            StoreError: there is no such entry or size, or it is not signed yet.
        """
        with self._database.reading() as connection:
            head = self._head.read(connection)
            size = head.size if size is None else _size(connection, size)
            if not 0 <= idx < size:
                raise StoreError(
                    f"entry {idx} is not among the first {size}: it does not exist, or "
                    "no checkpoint covers it until Ledger.sign is called"
                )
            ranges = merkle.inclusion_ranges(idx, size)
            path = tree.hashes(connection, ranges)
            note: str | None = head.note
            if size != head.size:
                table = schema.checkpoint.c
                note = connection.scalar(select(table.note).where(table.size == size))
        return InclusionProof(index=idx, size=size, path=path, checkpoint=note or "")

    def proof_of(self, row: Row) -> InclusionProof | None:
        """Proof, already checked, that an entry is in the log as it was signed.

        Returns:
            The proof; None where no checkpoint covers the entry: whoever can write the
            tables, and holds no log key, can put such entries there.

        Raises:
            LedgerCorrupt: this is not the entry that was signed.
        """
        if row.idx >= self.signed_size:
            return None
        proof = self.inclusion(row.idx)
        try:
            proof.verify(row.body, verifier=self.verifier)
        except VerificationError as error:
            raise _not_signed(row, error) from error
        return proof

    def signed(self, rows: Iterable[Row]) -> list[Row]:
        """Those of `rows` that the newest checkpoint covers; each is proved, as one.

        Raises:
            LedgerCorrupt: one is not the entry that was signed.
        """
        with self._database.reading() as connection:
            head = self._head.read(connection)
            covered = [row for row in rows if row.idx < head.size]
            for row in covered:
                ranges = merkle.inclusion_ranges(row.idx, head.size)
                path = tree.hashes(connection, ranges)
                leaf_hash = merkle.leaf_hash(row.body)
                try:
                    merkle.verify_inclusion(
                        leaf_hash, row.idx, head.size, path, head.root
                    )
                except VerificationError as error:
                    raise _not_signed(row, error) from error
        return covered

    def consistency(self, old: int, new: int | None = None) -> tuple[bytes, ...]:
        """Proof, for `merkle.verify_consistency`, that the first `old` are unchanged.

        Raises:
            StoreError: `old` or `new` is not a size this ledger had.
        """
        with self._database.reading() as connection:
            new = _size(connection, new)
            if not 0 <= old <= new:
                raise StoreError(
                    f"found sizes {old} and {new}, expected 0 <= old <= new"
                )
            return tree.hashes(connection, merkle.consistency_ranges(old, new))

    def verify(self, *, verifier: str = "", notes: Sequence[str] = ()) -> LedgerCheck:
        """Recompute every hash and compare every table with the leaves.

        Args:
            verifier: the log's public key from a place you trust. Without it the
                check is against the key given to `open`, or else the one in the file,
                which whoever rewrote the whole file has replaced too.
            notes: checkpoints kept elsewhere; without one, nobody can tell that an
                older state of the whole file was put back.

        Raises:
            LedgerCorrupt: something does not agree; it names the first bad entry.
            VerificationError: `verifier` is malformed.
        """
        trusted = Verifier.parse(verifier) if verifier else self._verifier
        with self._database.reading() as connection:
            return audit(
                connection, trusted, notes=notes, personal_key=self._personal_key
            )

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, origin={self.origin!r})"

    def _find(self, where: ColumnElement[bool]) -> list[Row]:
        return [one for one in self._leaves(where) if isinstance(one, Row)]

    def _leaves(self, where: ColumnElement[bool]) -> list[Row | Act]:
        with self._database.reading() as connection:
            found = connection.execute(_ENTRIES.where(where)).mappings()
            return [
                leaf.read(dict(stored))
                for stored in found
                if not leaf.is_pruned(dict(stored))
            ]

    def _manifests(self, where: ColumnElement[bool]) -> list[tuple[Row, bytes]]:
        with self._database.reading() as connection:
            found = connection.execute(_MANIFESTS.where(where)).mappings()
            return [_manifest(dict(stored)) for stored in found]


def _manifest(stored: dict[str, Any]) -> tuple[Row, bytes]:
    """A manifest's entry and its bytes, which are stored beside that."""
    name, data = stored.pop("manifest"), stored.pop("store")
    digest = hashlib.sha256(data).hexdigest() if isinstance(data, bytes) else ""
    row = None if stored["idx"] is None else leaf.read(stored)
    same = isinstance(row, Row) and row.manifest_id == name
    if not isinstance(row, Row) or not same or row.manifest_sha256 != digest:
        raise LedgerCorrupt(
            f"the manifest {name!r:.200} is not the one that was appended: its bytes "
            "were altered. Restore the ledger from a backup"
        )
    return row, data


def _not_signed(row: Row, error: VerificationError) -> LedgerCorrupt:
    return LedgerCorrupt(
        f"entry {row.idx} is not the one that was signed: {error}. Restore the ledger "
        "from a backup"
    )


def _size(connection: Connection, size: int | None) -> int:
    current = tree.size(connection)
    if size is not None and not 0 <= size <= current:
        raise StoreError(f"found the size {size}, expected one from 0 to {current}")
    return current if size is None else size
