"""Ledger: the append-only record of what was generated and published.

One SQLite file, safe for many threads and processes, or one PostgreSQL database. When
`append` returns, the entries are on disk, with the rows by which they are found again
and, if the log key is at hand, a signed checkpoint of the tree that holds them.

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

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from sqlalchemy import Connection

from watermark.errors import StoreError
from watermark.record import utc_now
from watermark.store import act, creation, expiry, leaf, retention, witness, writing
from watermark.store.act import Act
from watermark.store.checkpoint import LogKey, Verifier
from watermark.store.database import Database
from watermark.store.leaf import Entry, Row
from watermark.store.personal import PersonalKey
from watermark.store.reader import LedgerReader
from watermark.store.sequencer import CommitUnknown, Sequencer
from watermark.store.tree import Frontier
from watermark.store.writing import Draft


class Ledger(LedgerReader):
    """An append-only log of entries, with proofs. Made by `create` and `open`."""

    def __init__(
        self,
        database: Database,
        *,
        verifier: Verifier,
        key: LogKey | None,
        personal_key: PersonalKey | None = None,
        retention_days: int = retention.DAYS,
    ) -> None:
        super().__init__(database, verifier=verifier, personal_key=personal_key)
        retention.check_days(retention_days)
        self._key = key
        self._retention_days = retention_days
        self._sequencer: tuple[int, Sequencer[Draft, Row | Act]] | None = None

    @classmethod
    def create(
        cls,
        where: Path | str,
        *,
        origin: str,
        key: LogKey,
        personal_key: PersonalKey | None = None,
        retention_days: int = retention.DAYS,
    ) -> Self:
        """A new, empty ledger.

        Args:
            where: path of the new file, never of an existing one; or, as
                ``postgresql://...``, a database that holds no ledger yet.
            origin: the log's name, as in `key`.
            key: signs the checkpoints; the ledger is bound to it.
            personal_key: as for `open`.
            retention_days: as for `open`.

        Raises:
            StoreError: `where` exists or cannot be written, or `key` has another name.
        """
        if key.name != origin:
            raise StoreError(
                f"the log key is named {key.name!r}, expected the origin {origin!r}: "
                "checkpoints are found by that name"
            )
        creation.create(where, key)
        return cls.open(
            where, key=key, personal_key=personal_key, retention_days=retention_days
        )

    @classmethod
    def open(
        cls,
        where: Path | str,
        *,
        key: LogKey | None = None,
        personal_key: PersonalKey | None = None,
        retention_days: int = retention.DAYS,
    ) -> Self:
        """An existing ledger; its head is checked, not each entry (see `verify`).

        Args:
            where: what `create` made.
            key: signs a checkpoint with each `append`; without it entries stay
                unsigned until someone with the key appends or calls `sign`.
            personal_key: encrypts personal fields; without it entries with such are
                refused, and none can be read.
            retention_days: least days before what is appended from now on may be
                pruned.

        Raises:
            LedgerCorrupt: the file is not a ledger, or is damaged, or contradicts its
                newest checkpoint.
            StoreError: it is missing or cannot be read, or `key` is another log's.
        """
        database = creation.database_at(where)
        try:
            database.check()
            verifier = creation.verifier(database)
            if key is not None and key.verifier != verifier:
                raise StoreError(
                    f"{database.name} is signed by {verifier}, but the key given is "
                    f"{key.public}: load the log key that it was created with"
                )
            ledger = cls(
                database,
                verifier=verifier,
                key=key,
                personal_key=personal_key,
                retention_days=retention_days,
            )
            with database.reading() as connection:
                ledger._head.check(connection)
        except BaseException:
            database.close()
            raise
        return ledger

    def append(self, entries: Sequence[Entry]) -> list[Row]:
        """Add `entries` in one transaction: all of them are on disk at return, or none.

        Threads that append at the same time share a transaction.

        Raises:
            StoreError: a record is generated twice, a manifest id is taken, or the disk
                refuses. `CommitUnknown`: it refused so late that the entries may be in
                the ledger.
            LedgerCorrupt: the ledger contradicts its newest checkpoint.
        """
        if not entries:
            return []
        ts, drafts = utc_now(), []
        for entry in entries:
            row, openings = leaf.make(entry, ts=ts, retain_days=self._retention_days)
            drafts.append(Draft(row, entry.manifest, openings))
        rows = self._sequence().submit(drafts)
        return [row for row in rows if isinstance(row, Row)]

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

    def cosign(self, note: str) -> str:
        """Keep the signature lines of witnesses beside the log's own.

        Args:
            note: a checkpoint of this log, as a witness gave it back. Lines of
                witnesses are kept as they are: who trusts one checks its line.

        Returns:
            The checkpoint with all its lines.

        Raises:
            VerificationError: the log itself did not sign it.
            StoreError: this ledger never signed a checkpoint of that size, or another.
        """
        with self._database.writing() as connection:
            return witness.cosign(connection, note, self._verifier)

    def add_timestamp(self, size: int, token: bytes) -> None:
        """Keep an RFC 3161 token over the checkpoint for `size` entries.

        What is stamped is `Checkpoint.text`, which the log signs; the token is kept as
        it is, and checked by who trusts the authority.

        Raises:
            StoreError: there is no such checkpoint, or the token is too large.
        """
        with self._database.writing() as connection:
            witness.add_timestamp(connection, size, token)

    def hold(self, name: str, record_id: str = "", *, reason: str = "") -> Act:
        """Put a record, or everything, under a legal hold: nothing of it may go.

        Args:
            name: of the matter; one hold may be on many records.
            record_id: what is held; empty: everything.
            reason: stands in the leaf, readable.

        Raises:
            StoreError: no such record, or it is held under that name already.
        """
        with self._database.writing() as connection:
            entries = expiry.check_hold(connection, name, record_id)
            made = act.make(
                "held",
                ts=utc_now(),
                entries=entries,
                hold=name,
                record_id=record_id,
                reason=reason,
            )
            [placed] = self._write(connection, [Draft(made)])
            expiry.hold(connection, name, record_id, placed.idx)
        return _act(placed)

    def release(self, name: str, *, reason: str = "") -> Act:
        """End a legal hold, on everything that it was on.

        Raises:
            StoreError: there is none of that name.
        """
        made = act.make("released", ts=utc_now(), hold=name, reason=reason)
        with self._database.writing() as connection:
            expiry.release(connection, name)
            [placed] = self._write(connection, [Draft(made)])
        return _act(placed)

    def prune(self, *, before: str = "", reason: str = "") -> Act | None:
        """Forget what need not be kept any more: bodies, bindings, manifests, fields.

        Leaf hashes stay, so every proof of what is left, or was kept elsewhere, still
        verifies; an act in the log says what went.

        Args:
            before: prune only what was appended before this time, as `Row.ts`.
            reason: stands in the leaf, readable.

        Returns:
            The act; None if nothing was due.

        Raises:
            StoreError: `before` is no time, or the log key is not at hand.
            LedgerCorrupt: an entry or the table of holds was altered.
        """
        now = utc_now()
        retention.check_time(before or now)
        with self._database.reading() as connection:  # nobody waits for this
            entries = expiry.due(connection, now, before)
        if not entries:
            return None
        with self._database.writing() as connection:
            entries = expiry.due(connection, now, before, within=entries)
            if not entries:
                return None
            self._head.check_leaves(connection)  # so that no date was altered
            made = act.make("pruned", ts=now, entries=entries, reason=reason)
            [placed] = self._write(connection, [Draft(made)])
            expiry.prune(connection, entries)
        self._database.scrub()
        return _act(placed)

    def erase(self, record_id: str, *, reason: str = "") -> Act | None:
        """Forget the personal fields of a record; its entries and proofs stay.

        Whether the law allows it yet is for the caller to know: it is not tied to the
        date before which nothing is pruned.

        Returns:
            The act; None if there was nothing to erase.

        Raises:
            StoreError: the record is under a legal hold.
        """
        with self._database.writing() as connection:
            entries = expiry.erasable(connection, record_id)
            if not entries:
                return None
            made = act.make("erased", ts=utc_now(), entries=entries, reason=reason)
            [placed] = self._write(connection, [Draft(made)])
            expiry.erase(connection, entries)
        self._database.scrub()
        return _act(placed)

    def _sequence(self) -> Sequencer[Draft, Row | Act]:
        if self._sequencer is None or self._sequencer[0] != os.getpid():
            self._sequencer = os.getpid(), Sequencer(self._append)
        return self._sequencer[1]

    def _append(self, drafts: Sequence[Draft]) -> Sequence[Row | Act]:
        written = False
        try:
            with self._database.writing() as connection:
                state = self._database.state(connection)
                frontier = self._head.grow(connection, state)
                leaves = self._add(connection, frontier, drafts)
                state = self._database.state(connection)
                written = True
        except StoreError as error:
            if not written:
                raise
            raise CommitUnknown(
                f"{error}. It failed as it was committed: look the entries up before "
                "appending them again, they may be in the ledger"
            ) from error
        self._head.remember(state, frontier)
        return leaves

    def _write(
        self, connection: Connection, drafts: Sequence[Draft]
    ) -> Sequence[Row | Act]:
        """Add acts, which count only under a signature."""
        if self._key is None:
            raise StoreError(
                "the ledger was opened without its log key: an act that is not signed "
                "counts for nothing. Pass key="
            )
        return self._add(connection, self._head.check(connection), drafts)

    def _add(
        self, connection: Connection, frontier: Frontier, drafts: Sequence[Draft]
    ) -> Sequence[Row | Act]:
        leaves = writing.write(
            connection, frontier, drafts, personal_key=self._personal_key
        )
        if self._key is not None:
            self._head.sign(connection, frontier, self._key)
        return leaves


def _act(placed: Row | Act) -> Act:
    """The act among what was written."""
    if not isinstance(placed, Act):  # what is written comes back in order
        raise TypeError(f"found {type(placed).__name__}, expected an Act")
    return placed
