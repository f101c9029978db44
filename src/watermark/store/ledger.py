"""Ledger: the append-only record of what was generated and published.

One SQLite file, safe for many threads and processes. When `append` returns, the entries
are on disk, with the rows by which they are found again and, if the log key is at hand,
a signed checkpoint of the tree that holds them.

>>> import tempfile
>>> from watermark.record import Record
>>> folder = Path(tempfile.mkdtemp())
>>> key = LogKey.create(folder / "log.pem", name="acme.example/log")
>>> with Ledger.create(folder / "ledger.db", origin=key.name, key=key) as ledger:
...     record = Record(kind="text", provider="Acme")
...     [row] = ledger.append([Entry(event="generated", record=record)])
...     proof = ledger.inclusion(row.idx)
>>> proof.verify(row.body, verifier=key.public).size
1

Whoever can write the file and holds no key can still put back an older state of it as a
whole. Only a checkpoint kept elsewhere shows that: see `Ledger.verify`.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import ColumnElement, Connection, insert, select

from watermark.errors import LedgerCorrupt, StoreError, VerificationError
from watermark.files import write_atomically
from watermark.record import Record, utc_now
from watermark.store import leaf, merkle, schema, tree, writing
from watermark.store.audit import LedgerCheck, audit
from watermark.store.checkpoint import LogKey, Verifier
from watermark.store.database import Database, translated, use_wal
from watermark.store.head import Head, signed
from watermark.store.leaf import Entry, Row
from watermark.store.proof import InclusionProof
from watermark.store.tree import Frontier

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


class Ledger:
    """An append-only log of entries, with proofs. Made by `create` and `open`."""

    def __init__(
        self, database: Database, *, verifier: Verifier, key: LogKey | None
    ) -> None:
        self._database = database
        self._verifier = verifier
        self._key = key
        self._head = Head(verifier)

    @classmethod
    def create(cls, path: Path, *, origin: str, key: LogKey) -> Self:
        """A new, empty ledger.

        Args:
            path: where; an existing file is never overwritten.
            origin: the log's name, as in `key`.
            key: signs the checkpoints; the ledger is bound to it.

        Raises:
            StoreError: `path` exists or cannot be written, or `key` has another name.
        """
        path = Path(path)
        if key.name != origin:
            raise StoreError(
                f"the log key is named {key.name!r}, expected the origin {origin!r}: "
                "checkpoints are found by that name"
            )
        try:
            write_atomically(path, _empty(path, key), mode=0o600)
        except FileExistsError as error:
            raise StoreError(
                f"{path} exists: a ledger is never overwritten; use Ledger.open"
            ) from error
        except OSError as error:
            raise StoreError(f"{path} cannot be written: {error}") from error
        return cls.open(path, key=key)

    @classmethod
    def open(cls, path: Path, *, key: LogKey | None = None) -> Self:
        """An existing ledger; its head is checked, not each entry (see `verify`).

        Args:
            path: the file that `create` made.
            key: signs a checkpoint with each `append`; without it entries stay
                unsigned until someone with the key appends or calls `sign`.

        Raises:
            LedgerCorrupt: the file is not a ledger, or is damaged, or contradicts its
                newest checkpoint.
            StoreError: it is missing or cannot be read, or `key` is another log's.
        """
        database = Database(Path(path))
        try:
            database.check_length()
            verifier = _verifier(database)
            if key is not None and key.verifier != verifier:
                raise StoreError(
                    f"{path} is signed by {verifier}, but the key given is "
                    f"{key.public}: load the log key that it was created with"
                )
            ledger = cls(database, verifier=verifier, key=key)
            with database.reading() as connection:
                ledger._head.check(connection)
        except BaseException:
            database.close()
            raise
        return ledger

    def append(self, entries: Sequence[Entry]) -> list[Row]:
        """Add `entries` in one transaction: all of them are on disk at return, or none.

        Raises:
            StoreError: a record is generated twice, a manifest id is taken, or the disk
                refuses.
            LedgerCorrupt: the ledger contradicts its newest checkpoint.
        """
        if not entries:
            return []
        with self._database.writing() as connection:
            frontier = self._head.check(connection)
            rows = writing.write(connection, frontier, entries, ts=utc_now())
            if self._key is not None:
                self._head.sign(connection, frontier, self._key)
        return rows

    def sign(self) -> str:
        """A checkpoint of the ledger as it is now, signed if there is none yet.

        Raises:
            StoreError: the ledger was opened without its log key.
        """
        if self._key is None:
            raise StoreError(
                "the ledger was opened without its log key: it cannot sign"
            )
        with self._database.writing() as connection:
            frontier = self._head.check(connection)
            head = self._head.read(connection)
            if head.size == frontier.size:
                return head.note
            return self._head.sign(connection, frontier, self._key)

    def by_record(self, record_id: str) -> list[Row]:
        """The entries of one record, oldest first."""
        return self._find(schema.entry.c.record_id == record_id)

    def by_binding(self, alg: str, value: bytes) -> list[Row]:
        """The entries, perhaps of several records, that `value` leads to, oldest first.

        Args:
            alg: `Mark.binding`, or `leaf.CONTENT` or `leaf.ASSET` for a SHA-256.
            value: the mark id, or the digest.
        """
        table = schema.binding.c
        found = select(table.idx).where(table.alg == alg, table.value == value)
        rows = self._find(schema.entry.c.idx.in_(found))
        for row in rows:
            if (alg, value) not in row.bindings:
                raise LedgerCorrupt(
                    f"entry {row.idx} was bound to {alg} {value.hex()}, but its leaf "
                    "does not say so: restore the ledger from a backup"
                )
        return rows

    def record(self, record_id: str) -> Record | None:
        """The record as its newest entry has it, or None."""
        rows = self.by_record(record_id)
        return rows[-1].record if rows else None

    def manifest(self, manifest_id: str) -> bytes | None:
        """The bytes of one manifest, or None."""
        found = self._manifests(schema.manifest.c.manifest_id == manifest_id)
        return found[0][1] if found else None

    def manifests_of(self, record_id: str) -> list[tuple[str, bytes]]:
        """Id and bytes of each manifest of a record, oldest first."""
        return self._manifests(schema.manifest.c.record_id == record_id)

    def rows(self, start: int = 0, stop: int | None = None) -> Iterator[Row]:
        """The entries from `start` to before `stop`; no transaction is held between."""
        stop = self.size if stop is None else stop
        idx = schema.entry.c.idx
        for first in range(start, stop, PAGE):
            last = min(first + PAGE, stop)
            yield from self._find((idx >= first) & (idx < last))

    @property
    def path(self) -> Path:
        """The file."""
        return self._database.path

    @property
    def origin(self) -> str:
        """The log's name."""
        return self._verifier.name

    @property
    def verifier(self) -> str:
        """The log's public key, as the file has it: ``name+keyid+base64``."""
        return str(self._verifier)

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

    def inclusion(self, idx: int, size: int | None = None) -> InclusionProof:
        """Proof that entry `idx` is among the first `size`.

        Args:
            idx: the entry.
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
            table = schema.checkpoint.c
            note = connection.scalar(select(table.note).where(table.size == size))
        return InclusionProof(index=idx, size=size, path=path, checkpoint=note or "")

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
            return audit(connection, trusted, notes=notes)

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
        return f"Ledger({str(self.path)!r}, origin={self.origin!r})"

    def _find(self, where: ColumnElement[bool]) -> list[Row]:
        with self._database.reading() as connection:
            found = connection.execute(_ENTRIES.where(where)).mappings()
            return [leaf.read(dict(stored)) for stored in found]

    def _manifests(self, where: ColumnElement[bool]) -> list[tuple[str, bytes]]:
        with self._database.reading() as connection:
            found = connection.execute(_MANIFESTS.where(where)).mappings()
            return [_manifest(dict(stored)) for stored in found]


def _manifest(stored: dict[str, Any]) -> tuple[str, bytes]:
    """Id and bytes of a manifest that is stored beside the entry it was made from."""
    name, data = stored.pop("manifest"), stored.pop("store")
    digest = hashlib.sha256(data).hexdigest() if isinstance(data, bytes) else ""
    if stored["idx"] is None or leaf.read(stored).manifest_sha256 != digest:
        raise LedgerCorrupt(
            f"the manifest {name!r:.200} is not the one that was appended: its bytes "
            "were altered. Restore the ledger from a backup"
        )
    return name, data


def _size(connection: Connection, size: int | None) -> int:
    current = tree.size(connection)
    if size is not None and not 0 <= size <= current:
        raise StoreError(f"found the size {size}, expected one from 0 to {current}")
    return current if size is None else size


def _empty(path: Path, key: LogKey) -> bytes:
    """The bytes of a new ledger for `path`: tables, meta, and the first checkpoint."""
    head = signed(Frontier(), key)
    meta = {"schema": schema.SCHEMA, "origin": key.name, "verifier": key.public}
    with tempfile.TemporaryDirectory(dir=path.parent) as folder, translated(path):
        file = Path(folder) / "ledger.db"
        use_wal(file)
        database = Database(file)
        with database.writing() as connection:
            schema.metadata.create_all(connection)
            rows = [{"name": name, "value": value} for name, value in meta.items()]
            connection.execute(insert(schema.meta), rows)
            row = {"size": head.size, "note": head.note}
            connection.execute(insert(schema.checkpoint), row)
        database.close()  # which moves everything from the WAL into the file
        return file.read_bytes()


def _verifier(database: Database) -> Verifier:
    """The public key in the file, once the file is known to be a ledger."""
    with database.reading() as connection:
        rows = connection.execute(select(schema.meta)).all()
    meta: dict[str, object] = {row.name: row.value for row in rows}
    found = meta.get("schema")
    if found != schema.SCHEMA:
        raise StoreError(
            f"{database.path} has schema {found!r:.80}, expected {schema.SCHEMA!r}: it "
            "was written by another version of watermark-sdk, or is no ledger"
        )
    try:
        verifier = Verifier.parse(str(meta.get("verifier")))
    except VerificationError as error:
        raise LedgerCorrupt(f"{database.path} is damaged: {error}") from error
    if verifier.name != meta.get("origin"):
        raise LedgerCorrupt(
            f"{database.path} has the origin {meta.get('origin')!r:.80}, but the key "
            f"of {verifier.name!r}: it was altered. Restore it from a backup"
        )
    return verifier
