"""The ledger: how much it takes, how fast it answers, what leads back from a mark.

    python -m benchmarks ledger [--only sqlite,lookup,postgres,recover] [--data DIR]

One append is a record with a mark, its leaf, three bindings, a manifest of 3.3 KB and
one encrypted personal field, durable when it returns. The disk's own rate of small
synced writes is printed beside: no single append can be faster than that.

DIR/photos holds photographs for ``recover``; pictures like them are made without it.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from benchmarks import ledger_recovery, postgres_server
from benchmarks.options import Options, seeded
from benchmarks.report import Part, Result, Table, Target
from watermark.record import Mark, Record
from watermark.store import bulk, schema
from watermark.store.checkpoint import LogKey
from watermark.store.leaf import Entry
from watermark.store.ledger import Ledger
from watermark.store.personal import PersonalKey
from watermark.store.postgres import PostgresDatabase

ORIGIN = "benchmark.example/log"
MANIFEST_BYTES = 3300
BATCH = 1000
WRITERS = 8
THREADS = 32
LOOKUPS = 500

T = TypeVar("T")


def run(options: Options) -> Result:
    """Every part that was asked for.

    Raises:
        Unavailable: there is no part of a name in `only`.
    """
    parts = [PARTS[name](options) for name in options.chosen(PARTS)]
    return Result.of("ledger", parts, seed=options.seed)


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


# --- SQLite ---------------------------------------------------------------------------


def sqlite(options: Options) -> Part:
    """Durable appends a second: in batches, one by one, and from many threads."""
    count = options.count(10_000, 100_000)
    single = max(200, count // 50)
    with new_ledger(options) as (folder, ledger):
        made = entries(0, count, options.seed)
        used = time.process_time()
        batched = _rate(ledger, made, BATCH)
        used = (time.process_time() - used) / count
        before = syncs(folder)
        alone = _rate(ledger, entries(count, count + single, options.seed), 1)
        after = syncs(folder)
        start = count + single
        shared = _shared(ledger, entries(start, start + 2 * single, options.seed))
        size = ledger.size
        kilobytes = sum(f.stat().st_size for f in folder.glob("ledger.db*")) / 1e3
    disk = (before + after) / 2
    rows = (
        (f"batches of {BATCH}", batched),
        ("one by one", alone),
        (f"one by one, from {THREADS} threads", shared),
        ("disk: 4 KiB written and synced", disk),
    )
    synced = (
        f"the disk syncs {disk:.0f} times a second (before and after): "
        f"{alone / disk:.2f} of that"
    )
    return Part(
        parameters={"appends": size},
        targets=(
            Target.at_least("SQLite appends/s, batched", batched, 5000),
            Target.at_least("SQLite appends/s, one by one", alone, 500, synced),
        ),
        tables=(
            Table(
                "Durable appends to SQLite",
                ("how", "a second"),
                rows,
                f"{size} entries, {kilobytes / size:.1f} KB of disk each; wall time. "
                f"In batches {1e6 * used:.0f} us of one processor each.",
            ),
        ),
    )


def syncs(folder: Path, seconds: float = 0.5) -> float:
    """Writes of 4 KiB a second, each synced: what the disk can do."""
    path, count = folder / "sync", 0
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR)
    try:
        start = time.perf_counter()
        while time.perf_counter() - start < seconds:
            os.pwrite(descriptor, b"x" * 4096, 4096 * count)
            os.fdatasync(descriptor)
            count += 1
        return count / (time.perf_counter() - start)
    finally:
        os.close(descriptor)
        path.unlink()


def _rate(ledger: Ledger, made: Sequence[Entry], batch: int) -> float:
    start = time.perf_counter()
    for first in range(0, len(made), batch):
        ledger.append(made[first : first + batch])
    return len(made) / (time.perf_counter() - start)


def _shared(ledger: Ledger, made: Sequence[Entry]) -> float:
    def work(n: int) -> None:
        for one in made[n::THREADS]:
            ledger.append([one])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(THREADS)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(made) / (time.perf_counter() - start)


# --- answers --------------------------------------------------------------------------


def lookup(options: Options) -> Part:
    """Milliseconds to look a payload up and to prove an entry, and wrong answers."""
    count = options.count(20_000, 1_000_000)
    strangers = options.count(5_000, 1_000_000)
    with new_ledger(options) as (_, ledger):
        for start in options.track(range(0, count, BATCH), "fill"):
            stop = min(start + BATCH, count)
            ledger.append(entries(start, stop, options.seed))
        asked = [
            int.from_bytes(seeded("ask", options.seed, n)[:4], "big") % count
            for n in range(LOOKUPS)
        ]
        marks = [entry(n, options.seed).record.marks[0] for n in asked]
        found = _times(lambda m: ledger.by_binding(m.binding, m.mark_id), marks)
        ids = [entry(n, options.seed).record.record_id for n in asked[:100]]
        manifests = _times(ledger.manifests_of, ids)
        proved = _times(ledger.inclusion, asked)
        wrong = sum(
            bool(ledger.by_binding(marks[0].binding, seeded("stranger", n)[:8]))
            for n in options.track(range(strangers), "strangers")
        )
    rows = tuple(
        (name, 1e3 * statistics.median(times), 1e3 * _p95(times), 1e3 * max(times))
        for name, times in (
            ("entries by payload", found),
            ("manifests by record", manifests),
            ("proof of an entry", proved),
        )
    )
    return Part(
        parameters={"rows": count, "lookups": LOOKUPS, "strangers": strangers},
        targets=(
            Target.at_most("lookup by payload, p95: ms", 1e3 * _p95(found), 5.0),
            Target.at_most("inclusion proof, p95: ms", 1e3 * _p95(proved), 5.0),
            Target.at_most(f"{strangers} random payloads found", wrong, 0),
        ),
        tables=(
            Table(
                f"Answers from {count} entries",
                ("what", "median ms", "p95 ms", "most ms"),
                rows,
                "Wall time, with the check of each leaf's hash.",
            ),
        ),
    )


def _times(ask: Callable[[T], object], questions: Sequence[T]) -> list[float]:
    seconds = []
    for question in questions:
        start = time.perf_counter()
        ask(question)
        seconds.append(time.perf_counter() - start)
    return seconds


def _p95(values: Sequence[float]) -> float:
    return sorted(values)[int(0.95 * (len(values) - 1))]


# --- PostgreSQL -----------------------------------------------------------------------


def postgres(options: Options) -> Part:
    """Appends a second of eight writers, beside a bare COPY of the same rows."""
    why = postgres_server.missing()
    if why:
        return Part(notes=(f"PostgreSQL was not measured: {why}.",))
    count = options.count(16_000, 200_000)
    with postgres_server.server(durable=True) as socket:
        url = postgres_server.new_database(socket, "ledger")
        with new_ledger(options, url) as (folder, ledger):
            each = count // WRITERS
            jobs = [(url, str(folder), n, each, options.seed) for n in range(WRITERS)]
            ours = _together(jobs)
            ledger.verify()
            copied = copy(url, postgres_server.new_database(socket, "copy"))
    ratio = ours / copied
    return Part(
        parameters={"rows": count, "writers": WRITERS},
        targets=(
            Target.at_least(
                "PostgreSQL, 8 writers, over a bare COPY of the same rows",
                ratio,
                0.3,
                f"{ours:.0f} appends/s, COPY {copied:.0f} entries/s",
            ),
        ),
        tables=(
            Table(
                "Durable appends to PostgreSQL",
                ("how", "entries a second"),
                ((f"{WRITERS} writer processes", ours), ("bare COPY", copied)),
                f"{count} entries; batches of {BATCH // 2}; COPY: one connection, all "
                "tables, one transaction, the stream made beforehand.",
            ),
        ),
    )


def _together(jobs: Sequence[tuple[Any, ...]]) -> float:
    context = multiprocessing.get_context("fork")
    ready = context.Barrier(len(jobs) + 1)
    writers = [context.Process(target=_write, args=(*job, ready)) for job in jobs]
    for writer in writers:
        writer.start()
    ready.wait()
    start = time.perf_counter()
    for writer in writers:
        writer.join()
    seconds = time.perf_counter() - start
    if any(writer.exitcode for writer in writers):
        raise RuntimeError("a writer failed")
    return sum(int(job[3]) for job in jobs) / seconds


def _write(
    url: str, folder: str, number: int, count: int, seed: int, ready: Any
) -> None:
    made = entries(number * count, (number + 1) * count, seed)
    keys: dict[str, Any] = {
        "key": LogKey.load(Path(folder) / "log.pem"),
        "personal_key": PersonalKey.load(Path(folder) / "personal.key"),
    }
    with Ledger.open(url, **keys) as ledger:
        ready.wait()
        _rate(ledger, made, BATCH // 2)


def copy(source: str, target: str) -> float:
    """Entries a second of COPY alone: every row of `source` into new tables."""
    tables = schema.metadata.sorted_tables
    old, new = PostgresDatabase(source), PostgresDatabase(target)
    try:
        with old.reading() as connection:
            rows = {
                table: [tuple(row) for row in connection.execute(table.select())]
                for table in tables
            }
        with new.writing() as connection:
            schema.metadata.create_all(connection)
        streams = {t: bulk.copy_stream(t, found) for t, found in rows.items() if found}
        start = time.perf_counter()
        with new.writing() as connection:
            for table, stream in streams.items():
                bulk.copy(connection, table, stream)
        return len(rows[schema.entry]) / (time.perf_counter() - start)
    finally:
        old.close()
        new.close()


PARTS: dict[str, Callable[[Options], Part]] = {
    "sqlite": sqlite,
    "lookup": lookup,
    "postgres": postgres,
    "recover": ledger_recovery.recover,
}
