"""The nonces on file: what `noise` with ``registry=1`` is found by.

Such a mark has a nonce of 96 bits, which nobody can try blindly. The ledger has each
that was used, beside its mark id, and every one on file is a hypothesis.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from watermark.detectors.signs import Registry
from watermark.errors import StoreError
from watermark.keys import KeyRecord
from watermark.record import Mark
from watermark.schemes.base import option
from watermark.schemes.signs import NONCE_BYTES
from watermark.store.ledger import Ledger
from watermark.verification.setting import Setting


def on_file(setting: Setting) -> Mapping[tuple[Any, ...], Registry]:
    """For each registry's key record its nonces, where the ledger has any.

    All of them are read, 12 bytes of memory each: about a second for 1,000,000.

    Returns:
        By `KeyRecord.test`.
    """
    if setting.ledger is None:
        return {}
    found = {
        record.test: _read(record, setting.ledger)
        for record in setting.records
        if option(record.parameters, "registry")
    }
    return {test: registry for test, registry in found.items() if len(registry)}


def _read(record: KeyRecord, ledger: Ledger) -> Registry:
    name = Mark(
        scheme=record.scheme,
        version=record.version,
        key_id=record.kid,
        epoch=record.epoch,
    ).nonce_binding

    def mark_id_of(nonce: bytes) -> bytes:
        for row in ledger.by_binding(name, nonce):
            for mark in row.record.marks:
                if (mark.nonce_binding, mark.nonce) == (name, nonce):
                    return mark.mark_id
        raise StoreError(
            f"the ledger has the nonce {nonce.hex()} under {name}, but no entry with "
            "it: run `wm ledger verify`"
        )

    # Nothing of another length can have been a nonce of ours.
    nonces = (value for value in ledger.values(name) if len(value) == NONCE_BYTES)
    return Registry.of(nonces, mark_id_of)
