"""Leaves: what one entry of the ledger says, and its bytes.

A leaf is deterministic CBOR (RFC 8949, 4.2.1), so that anyone can rebuild its bytes. A
random salt in each keeps a leaf hash from confirming a guess at its content. Personal
fields stand in it as commitments only (`watermark.store.personal`).
"""

from __future__ import annotations

import hashlib
import math
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import cbor2

from watermark.errors import LedgerCorrupt, StoreError
from watermark.record import KINDS, Mark, Record
from watermark.store import act, cbor, personal, retention
from watermark.store.act import Act
from watermark.store.merkle import leaf_hash
from watermark.store.personal import Opening

VERSION = 1
SALT_BYTES = 16
CONTENT = "content.sha256"  # binding of each digest in `Record.content`
ASSET = "asset.sha256"  # binding of the digest of a finished file

Event = Literal["generated", "published"]
EVENTS: tuple[Event, ...] = ("generated", "published")

_SHA256 = re.compile(r"[0-9a-f]{64}")
_RECORD_ID = re.compile(r"[0-9a-f]{32}")
# For text that is not Unicode, and for values that CBOR has no form for.
_UNENCODABLE = (ValueError, TypeError, RecursionError)
_UNDECODABLE = (
    cbor2.CBORDecodeError,
    StoreError,
    AttributeError,
    KeyError,
    TypeError,
    ValueError,
    RecursionError,
)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is to be appended.

    Attributes:
        event: ``generated`` before an output is handed over, ``published`` before a
            finished file is.
        record: the output's record.
        asset_sha256: SHA-256 (hex) of the finished file, or empty.
        manifest_id: name of its manifest, or empty.
        manifest: the manifest's bytes, to be found again when metadata was stripped.
        personal: what is about a person, such as ``{"user": "u-4711"}``: the leaf
            commits to each value and shows none; `Ledger.erase` forgets them.
        retain_days: least days before this entry may be pruned, where that is more
            than the ledger's own number.
    """

    event: Event
    record: Record
    asset_sha256: str = ""
    manifest_id: str = ""
    manifest: bytes | None = None
    personal: Mapping[str, str] = field(default_factory=dict, repr=False)
    retain_days: int = 0

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            StoreError: a field holds what no leaf can.
        """
        record = self.record
        _expect(self.event in EVENTS, "event", self.event, " or ".join(EVENTS))
        _expect(record.kind in KINDS, "kind", record.kind, " or ".join(KINDS))
        found = _RECORD_ID.fullmatch(record.record_id)
        _expect(found, "record id", record.record_id, "32 lower-case hex digits")
        for digest in (*record.content, *filter(None, [self.asset_sha256])):
            found = _SHA256.fullmatch(digest)
            _expect(found, "SHA-256", digest, "64 lower-case hex digits")
        if self.manifest is not None:
            _expect(self.manifest_id, "manifest id", "", "the name of the manifest")
        personal.check(self.personal)
        retention.check_days(self.retain_days)

    @cached_property
    def manifest_sha256(self) -> str:
        """Digest of the manifest's bytes, or empty."""
        return (
            "" if self.manifest is None else hashlib.sha256(self.manifest).hexdigest()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One entry of the ledger, read from its leaf.

    Attributes:
        idx: its place, from 0.
        ts: when it was appended.
        event: ``generated`` or ``published``.
        record: the record as it was then.
        asset_sha256: digest of the finished file, or empty.
        manifest_id: name of the manifest, or empty.
        manifest_sha256: digest of the manifest's bytes, or empty.
        retain_until: before this time it is never pruned, as `ts`.
        personal: for each personal field the commitment to its value, 32 bytes.
        leaf_hash: hash of `body` in the tree.
        body: the leaf's bytes, all of the above.
    """

    idx: int
    ts: str
    event: Event
    record: Record
    asset_sha256: str
    manifest_id: str
    manifest_sha256: str
    retain_until: str
    personal: Mapping[str, bytes]
    leaf_hash: bytes
    body: bytes

    @property
    def bindings(self) -> set[tuple[str, bytes]]:
        """Each (algorithm, value) by which this entry can be looked up."""
        marks = {(m.binding, m.mark_id) for m in self.record.marks if m.mark_id}
        marks |= {(m.nonce_binding, m.nonce) for m in self.record.marks if m.nonce}
        content = {(CONTENT, bytes.fromhex(digest)) for digest in self.record.content}
        asset = (
            {(ASSET, bytes.fromhex(self.asset_sha256))} if self.asset_sha256 else set()
        )
        return marks | content | asset

    def columns(self) -> dict[str, Any]:
        """This entry as a row of the table ``entry``."""
        return {
            "idx": self.idx,
            "ts": self.ts,
            "event": self.event,
            "record_id": self.record.record_id,
            "kind": self.record.kind,
            "asset_sha256": self.asset_sha256,
            "manifest_id": self.manifest_id,
            "manifest_sha256": self.manifest_sha256,
            "body": self.body,
            "leaf_hash": self.leaf_hash,
        }


def make(
    entry: Entry, *, ts: str, retain_days: int = retention.DAYS
) -> tuple[Row, dict[str, Opening]]:
    """The row that `entry` becomes, with a fresh salt; its place is not known yet.

    Args:
        entry: what is to be appended.
        ts: the time now.
        retain_days: least days that the ledger keeps anything.

    Returns:
        (row, openings): `idx` is -1; what opens each commitment to a personal field.

    Raises:
        StoreError: the record holds a value that no leaf can.
    """
    openings = {
        name: Opening(secrets.token_bytes(personal.NONCE_BYTES), value)
        for name, value in entry.personal.items()
    }
    record = _as_written(entry.record)
    said: dict[str, Any] = {
        "retain_until": retention.until(ts, max(retain_days, entry.retain_days)),
        "personal": {name: o.commitment(name) for name, o in openings.items()},
    }
    leaf: dict[str, Any] = {
        "v": VERSION,
        "ts": ts,
        "event": entry.event,
        "record": record.to_dict(),
        "asset_sha256": entry.asset_sha256,
        "manifest_id": entry.manifest_id,
        "manifest_sha256": entry.manifest_sha256,
        "retain_until": said["retain_until"],
        "salt": secrets.token_bytes(SALT_BYTES),
    }
    if openings:
        leaf["personal"] = said["personal"]
    try:
        body = cbor.encode(leaf)
    except _UNENCODABLE as error:
        raise StoreError(
            f"record {record.record_id} cannot be written ({error}): its fields "
            "must be text, whole numbers and bytes"
        ) from error
    row = Row(
        idx=-1,
        ts=ts,
        event=entry.event,
        record=record,
        asset_sha256=entry.asset_sha256,
        manifest_id=entry.manifest_id,
        manifest_sha256=entry.manifest_sha256,
        leaf_hash=leaf_hash(body),
        body=body,
        **said,
    )
    return row, openings


def _as_written(record: Record) -> Record:
    """The record as its leaf will have it: coverage is written with six digits."""
    marks = tuple(map(_mark_as_written, record.marks))
    return record if marks == record.marks else replace(record, marks=marks)


def _mark_as_written(mark: Mark) -> Mark:
    if not math.isfinite(mark.coverage):
        raise StoreError(
            f"a record cannot be written: the coverage of its mark {mark.scheme} is "
            f"{mark.coverage}, expected a number"
        )
    coverage = round(mark.coverage, 6)
    return mark if coverage == mark.coverage else replace(mark, coverage=coverage)


def decode(idx: int, body: bytes) -> Row | Act:
    """Read a leaf.

    Raises:
        LedgerCorrupt: these are not the bytes of a leaf.
        StoreError: a leaf of another version.
    """
    try:
        leaf = cbor2.loads(body)
        version, event = leaf["v"], leaf["event"]
        if version == VERSION and event in act.EVENTS:
            return act.decode(idx, body, leaf)
        if version == VERSION:
            return Row(
                idx=idx,
                ts=leaf["ts"],
                event=event,
                record=Record.from_dict(leaf["record"]),
                asset_sha256=leaf["asset_sha256"],
                manifest_id=leaf["manifest_id"],
                manifest_sha256=leaf["manifest_sha256"],
                # Entries of before there was a date are kept as long.
                retain_until=leaf.get("retain_until")
                or retention.until(leaf["ts"], retention.DAYS),
                personal=leaf.get("personal", {}),
                leaf_hash=leaf_hash(body),
                body=body,
            )
    except _UNDECODABLE as error:
        raise LedgerCorrupt(
            f"entry {idx} is not a leaf of this ledger ({error!r:.200}): restore the "
            "ledger from a backup"
        ) from error
    raise StoreError(
        f"entry {idx} has version {version!r:.50}, expected {VERSION}: it was written "
        "by another version of watermark-sdk"
    )


def is_pruned(stored: Mapping[str, Any]) -> bool:
    """Whether a row of the table ``entry`` claims to be what pruning leaves."""
    return bool(stored["body"] == b"")


def read(stored: dict[str, Any]) -> Row | Act:
    """The entry in a row of the table ``entry``, checked against its leaf.

    Raises:
        LedgerCorrupt: the body does not hash to the leaf hash that is stored, or a
            column says something else than the body.
    """
    idx, body = stored["idx"], stored["body"]
    if not isinstance(body, bytes) or leaf_hash(body) != stored["leaf_hash"]:
        raise LedgerCorrupt(
            f"entry {idx} was altered: its body does not have the leaf hash that is "
            "stored. Restore the ledger from a backup"
        )
    row = decode(idx, body)
    columns = row.columns()
    for name, value in stored.items():
        if columns[name] != value:
            raise LedgerCorrupt(
                f"entry {idx} was altered: its column {name} holds {value!r:.80}, its "
                f"leaf says {columns[name]!r:.80}. Restore the ledger from a backup"
            )
    return row


def _expect(good: object, what: str, found: object, expected: str) -> None:
    if not good:
        raise StoreError(f"found the {what} {found!r:.200}, expected {expected}")
