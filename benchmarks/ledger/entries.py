"""Entries that are a function of a number, and ledgers to put them in."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.options import Options, seeded
from watermark.record import Mark, Record
from watermark.store.checkpoint import LogKey
from watermark.store.leaf import Entry
from watermark.store.ledger import Ledger
from watermark.store.personal import PersonalKey

ORIGIN = "benchmark.example/log"
MANIFEST_BYTES = 3300
BATCH = 1000


def entry(number: object, seed: int = 0) -> Entry:
    """One output that is published at once, all of it a function of `number`."""
    drawn = seeded("ledger", seed, number)
    record = Record(
        record_id=drawn[:16].hex(),
        kind="image",
        provider="Acme",
        system="diffusers/StableDiffusionPipeline",
        model="lighthouse",
        marks=(Mark(scheme="pixel", version=1, key_id="k1", mark_id=drawn[:8]),),
        content=(drawn.hex(),),
    )
    return Entry(
        event="published",
        record=record,
        asset_sha256=drawn[::-1].hex(),
        manifest_id=f"urn:c2pa:{drawn[:16].hex()}",
        manifest=drawn * (MANIFEST_BYTES // 32) + drawn[: MANIFEST_BYTES % 32],
        personal={"user": f"user {number}"},
    )


def entries(start: int, stop: int, seed: int) -> list[Entry]:
    return [entry(number, seed) for number in range(start, stop)]


@contextmanager
def new_ledger(options: Options, where: str = "") -> Iterator[tuple[Path, Ledger]]:
    """A folder on the disk that is measured, and a new ledger in it or at `where`."""
    options.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.work) as name:
        folder = Path(name)
        key = LogKey.create(folder / "log.pem", name=ORIGIN)
        personal_key = PersonalKey.create(folder / "personal.key")
        target = where or folder / "ledger.db"
        with Ledger.create(
            target, origin=ORIGIN, key=key, personal_key=personal_key
        ) as ledger:
            yield folder, ledger


@contextmanager
def filled_ledger(options: Options, count: int) -> Iterator[tuple[Ledger, int]]:
    """A ledger of `count` entries that is kept, and how many were added to it now."""
    folder = options.work / f"ledger-{options.seed}-{count}"
    path, key = folder / "ledger.db", folder / "log.pem"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():  # of a run that was stopped at once
            old.unlink()
        LogKey.create(key, name=ORIGIN)
        PersonalKey.create(folder / "personal.key")
        Ledger.create(path, origin=ORIGIN, key=LogKey.load(key)).close()
    personal_key = PersonalKey.load(folder / "personal.key")
    with Ledger.open(path, key=LogKey.load(key), personal_key=personal_key) as ledger:
        before = ledger.size
        for start in options.track(range(before, count, BATCH), "fill"):
            stop = min(start + BATCH, count)
            ledger.append(entries(start, stop, options.seed))
        yield ledger, count - before


def rate(ledger: Ledger, made: Sequence[Entry], batch: int) -> float:
    """Durable appends a second, `batch` in a transaction."""
    start = time.perf_counter()
    for first in range(0, len(made), batch):
        ledger.append(made[first : first + batch])
    return len(made) / (time.perf_counter() - start)
