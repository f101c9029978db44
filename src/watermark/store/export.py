"""Exports: entries of a ledger for somebody who trusts nobody.

A folder with the entries as JSON lines, each with its leaf and its proof, the newest
checkpoint and those that others vouch for, manifests, and the script that checks it all
without this package (`watermark.store.check_export`).
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cbor2

from watermark.errors import StoreError
from watermark.record import Mark
from watermark.schemes import SCHEMES
from watermark.store import check_export, checkpoint, retention
from watermark.store.act import Act
from watermark.store.leaf import ASSET, CONTENT, Row
from watermark.store.reader import LedgerReader

SCRIPT = Path(check_export.__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which entries; all that is given has to hold.

    Attributes:
        since: appended at or after this time, as `Row.ts`.
        until: appended before this time.
        record_id: of one record.
        sha256: of a file, or of a content, hex.
        model: made by this model, by its name or its id.
        payload: with a mark that carries this.
    """

    since: str = ""
    until: str = ""
    record_id: str = ""
    sha256: str = ""
    model: str = ""
    payload: bytes = b""

    def __post_init__(self) -> None:
        """Check the forms.

        Raises:
            StoreError: a time or a digest that is none.
        """
        for time in filter(None, (self.since, self.until)):
            retention.check_time(time)
        try:
            good = len(bytes.fromhex(self.sha256)) in (0, 32)
        except ValueError:
            good = False
        if not good:
            raise StoreError(f"found {self.sha256!r:.80}, expected 64 hex digits")

    def allows(self, row: Row) -> bool:
        """Whether an entry is asked for."""
        record = row.record
        return (
            (not self.since or row.ts >= self.since)
            and (not self.until or row.ts < self.until)
            and self.record_id in ("", record.record_id)
            and (not self.model or self.model in (record.model, record.model_id))
            and (not self.sha256 or self.sha256.lower() in _digests(row))
            and (not self.payload or self.payload in _payloads(row))
        )


def find(ledger: LedgerReader, query: Query) -> Iterator[Row]:
    """The entries that are asked for, oldest first."""
    names: list[tuple[str, bytes]] = []
    if query.payload:
        names = [(binding, query.payload) for binding in _bindings()]
    elif query.sha256:
        digest = bytes.fromhex(query.sha256)
        names = [(ASSET, digest), (CONTENT, digest)]
    rows: Iterator[Row] | list[Row]
    if names:
        found = {row.idx: row for name in names for row in ledger.by_binding(*name)}
        rows = [found[idx] for idx in sorted(found)]
    elif query.record_id:
        rows = ledger.by_record(query.record_id)
    else:
        rows = ledger.rows()
    return filter(query.allows, rows)


def export(
    ledger: LedgerReader, folder: Path, query: Query, *, personal: bool = False
) -> int:
    """Write what is asked for, and every act of the log, into a new folder.

    Args:
        ledger: whose.
        folder: where; it appears whole or not at all.
        query: which entries.
        personal: whether personal fields are shown, with what proves them.

    Returns:
        The number of entries, acts not counted.

    Raises:
        StoreError: `folder` exists or cannot be written; entries are not signed yet.
    """
    folder = Path(folder)
    if folder.exists():
        raise StoreError(f"{folder} exists: an export is never overwritten")
    draft = folder.parent / f".{folder.name}.{secrets.token_hex(4)}"
    try:
        draft.mkdir(mode=0o700)  # it may show personal fields
        (draft / "manifests").mkdir()
        count = _write(ledger, draft, query, personal)
        shutil.copy(SCRIPT, draft / SCRIPT.name)
        os.rename(draft, folder)
    except OSError as error:
        raise StoreError(f"{folder} cannot be written: {error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return count


def _write(ledger: LedgerReader, draft: Path, query: Query, personal: bool) -> int:
    note = ledger.checkpoint()
    head, count = checkpoint.parse(note), 0
    (draft / "log.txt").write_text(f"{ledger.verifier}\n", "utf-8")
    (draft / "checkpoint.txt").write_text(note, "utf-8")
    with (draft / "entries.jsonl").open("w", encoding="utf-8") as file:
        for row in find(ledger, query):
            line = _line(ledger, row, head.size)
            if row.manifest_sha256:
                data = ledger.manifest(row.manifest_id)
                if data is None:
                    raise StoreError(
                        f"the manifest of entry {row.idx} was pruned meanwhile: export "
                        "again"
                    )
                path = draft / "manifests" / f"{row.manifest_sha256}.c2pa"
                path.write_bytes(data)
                line["manifest"] = path.name
            if personal and row.personal:
                line["personal"] = {
                    name: {"nonce": o.nonce.hex(), "value": o.value}
                    for name, o in ledger.openings(row.idx).items()
                }
            file.write(json.dumps(line) + "\n")
            count += 1
        for act in ledger.acts():
            if act.idx < head.size:
                file.write(json.dumps(_line(ledger, act, head.size)) + "\n")
    _write_checkpoints(ledger, draft, head.size)
    return count


def _write_checkpoints(ledger: LedgerReader, draft: Path, size: int) -> None:
    """The older checkpoints that others vouch for."""
    with (draft / "checkpoints.jsonl").open("w", encoding="utf-8") as file:
        for old in ledger.vouched():
            if old > size:
                continue
            path = ledger.consistency(old, size)
            line = {
                "size": old,
                "note": ledger.checkpoint_at(old),
                "path": [base64.b64encode(value).decode() for value in path],
            }
            token = ledger.timestamp(old)
            if token is not None:
                line["timestamp"] = base64.b64encode(token).decode()
            file.write(json.dumps(line) + "\n")


def _line(ledger: LedgerReader, entry: Row | Act, size: int) -> dict[str, Any]:
    proof = ledger.inclusion(entry.idx, size)
    leaf = cbor2.loads(entry.body)
    return {
        "index": entry.idx,
        "facts": check_export.readable(leaf),
        "leaf": base64.b64encode(entry.body).decode(),
        "path": [base64.b64encode(value).decode() for value in proof.path],
    }


def _digests(row: Row) -> tuple[str, ...]:
    return (row.asset_sha256, *row.record.content)


def _payloads(row: Row) -> list[bytes]:
    return [mark.mark_id for mark in row.record.marks]


def _bindings() -> list[str]:
    return [
        Mark(scheme=scheme.name, version=scheme.version, key_id="").binding
        for scheme in SCHEMES.values()
    ]
