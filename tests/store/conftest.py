from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from watermark.record import Mark, Record
from watermark.store.checkpoint import LogKey
from watermark.store.leaf import Entry
from watermark.store.ledger import Ledger

ORIGIN = "acme.example/log"


class Maker:
    """Entries that are a function of a name."""

    binding = "org.watermark-sdk.noise.1"

    @staticmethod
    def digest(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()

    def record(self, name: str, *, mark_id: bytes | None = None) -> Record:
        own = bytes.fromhex(self.digest(name))[:8]
        mark = Mark(
            scheme="noise",
            version=1,
            key_id="k1",
            mark_id=own if mark_id is None else mark_id,
            coverage=0.75,
        )
        return Record(
            record_id=self.digest(f"record {name}")[:32],
            kind="image",
            created_at="2026-11-23T09:00:00Z",
            provider="Acme",
            model="tiny",
            marks=(mark,),
            content=(self.digest(f"pixels {name}"),),
        )

    def generated(self, name: str, *, mark_id: bytes | None = None) -> Entry:
        return Entry(event="generated", record=self.record(name, mark_id=mark_id))

    def published(self, name: str, *, manifest: bytes | None = None) -> Entry:
        return Entry(
            event="published",
            record=self.record(name),
            asset_sha256=self.digest(f"file {name}"),
            manifest_id=f"urn:c2pa:{name}",
            manifest=f"manifest of {name}".encode() if manifest is None else manifest,
        )


@pytest.fixture(scope="session")
def make() -> Maker:
    return Maker()


@pytest.fixture
def key(tmp_path: Path) -> LogKey:
    return LogKey.create(tmp_path / "log.pem", name=ORIGIN)


@pytest.fixture
def ledger(tmp_path: Path, key: LogKey) -> Iterator[Ledger]:
    with Ledger.create(tmp_path / "ledger.db", origin=ORIGIN, key=key) as ledger:
        yield ledger
