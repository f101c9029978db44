"""What others say of a checkpoint: cosignature lines of witnesses, and time-stamps."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection, select, update

from watermark.errors import LedgerCorrupt, StoreError
from watermark.store import bulk, checkpoint, schema
from watermark.store.checkpoint import MAX_SIGNATURES, Verifier

MAX_TOKEN = 64 * 1024


def cosign(connection: Connection, note: str, verifier: Verifier) -> str:
    """Add the signature lines of `note` to the stored checkpoint of its size.

    Raises:
        VerificationError: the log did not sign it.
        StoreError: no such checkpoint is stored, or another, or it has too many lines.
    """
    given = checkpoint.verify(note, verifier)
    stored = checkpoint.parse(_stored(connection, given.size))
    if stored.text != given.text:
        raise LedgerCorrupt(
            f"the log signed two checkpoints of {given.size} entries: the stored one "
            f"has root {stored.root.hex()}, the one given {given.root.hex()}. One of "
            "them is of a fork"
        )
    lines = dict.fromkeys((*stored.signatures, *given.signatures))
    if len(lines) > MAX_SIGNATURES:
        raise StoreError(
            f"found {len(lines)} signature lines, expected at most {MAX_SIGNATURES}"
        )
    merged = replace(stored, signatures=tuple(lines)).note
    table = schema.checkpoint
    change = update(table).where(table.c.size == given.size).values(note=merged)
    connection.execute(change)
    return merged


def add_timestamp(connection: Connection, size: int, token: bytes) -> None:
    """Store a token over the checkpoint of `size`, in place of one before.

    Raises:
        StoreError: no such checkpoint, or the token is empty or too large.
    """
    if not 0 < len(token) <= MAX_TOKEN:
        raise StoreError(
            f"found a time-stamp of {len(token)} bytes, expected 1 to {MAX_TOKEN}"
        )
    _stored(connection, size)
    table = schema.timestamp
    connection.execute(table.delete().where(table.c.size == size))
    bulk.insert(connection, table, [(size, token)])


def _stored(connection: Connection, size: int) -> str:
    table = schema.checkpoint.c
    note = connection.scalar(select(table.note).where(table.size == size))
    if note is None:
        raise StoreError(f"no checkpoint was signed for {size} entries")
    return str(note)
