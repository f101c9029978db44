"""The nonces on file: what `noise` with ``registry=1`` is found by.

Such a mark has a nonce of 96 bits, which nobody can try blindly. The ledger has each
that was used, beside its mark id, and every one on file is a hypothesis.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from threading import Lock
from typing import Any

from watermark.detectors.signs import Registry
from watermark.keys import KeyRecord
from watermark.record import Mark
from watermark.schemes.base import option
from watermark.schemes.signs import MARK_ID_BYTES, NONCE_BYTES
from watermark.store.ledger import Ledger

BLIND_BYTES = 3  # that a nonce may fill which is searched for
MOST = 256  # entries of one nonce that are read, the newest


class Files:
    """What a ledger has on file, read again only when an entry was added to it.

    1,000,000 nonces take about a second to read, and 12 MB. What they were read at is
    the ledger's root, which every entry changes: one that is appended, and the act by
    which others are pruned.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._read: dict[str, tuple[Ledger, bytes, Registry]] = {}

    def of(
        self, records: Iterable[KeyRecord], ledger: Ledger | None
    ) -> Mapping[tuple[Any, ...], Registry]:
        """For each registry's key record its nonces, where the ledger has any.

        Returns:
            By `KeyRecord.test`.
        """
        listed = [r for r in records if option(r.parameters, "registry")]
        if ledger is None or not listed:
            return {}
        with self._lock:
            # Before the nonces: what is appended meanwhile is read again next time.
            root = ledger.root()
            found = {r.test: self._nonces(r, ledger, root) for r in listed}
        return {test: registry for test, registry in found.items() if len(registry)}

    def _nonces(self, record: KeyRecord, ledger: Ledger, root: bytes) -> Registry:
        name = _mark(record).nonce_binding
        before = self._read.get(name)
        if before is not None and before[0] is ledger and before[1] == root:
            return before[2]
        registry = _listed(record, ledger)
        self._read[name] = ledger, root, registry
        return registry


def mark_ids(record: KeyRecord, ledger: Ledger, nonce: bytes) -> list[bytes]:
    """The mark ids that were given with a nonce of a key, of the newest entries."""
    name = _mark(record).nonce_binding
    marks = (
        mark
        for row in ledger.by_binding(name, nonce, newest=MOST)
        for mark in row.record.marks
        if mark.scheme == record.scheme and mark.nonce_binding == name
    )
    own = (m.mark_id for m in marks if m.nonce == nonce)
    return list(dict.fromkeys(i for i in own if len(i) == MARK_ID_BYTES))


def _listed(record: KeyRecord, ledger: Ledger) -> Registry:
    name = _mark(record).nonce_binding

    def mark_id_of(nonce: bytes) -> bytes | None:
        # None: pruned since, or never a mark of ours.
        return next(iter(mark_ids(record, ledger, nonce)), None)

    nonces = (value for value in ledger.values(name) if _is_wide(value))
    return Registry.of(nonces, mark_id_of)


def _is_wide(nonce: bytes) -> bool:
    """Whether it can be a registry's.

    Of another length is none of ours; and those of marks that are found without a
    file, which are on file as well, have 24 bits at most.
    """
    return len(nonce) == NONCE_BYTES and any(nonce[BLIND_BYTES:])


def _mark(record: KeyRecord) -> Mark:
    return Mark(
        scheme=record.scheme,
        version=record.version,
        key_id=record.kid,
        epoch=record.epoch,
    )
