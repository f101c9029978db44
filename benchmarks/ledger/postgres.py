"""Durable appends to PostgreSQL, by eight writers, beside a bare COPY of the rows."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import postgres_server
from benchmarks.ledger.entries import BATCH, entries, new_ledger, rate
from benchmarks.options import Options
from benchmarks.priority import before_others
from benchmarks.report import Part, Table, Target
from watermark.store import bulk, schema
from watermark.store.checkpoint import LogKey
from watermark.store.ledger import Ledger
from watermark.store.personal import PersonalKey
from watermark.store.postgres import PostgresDatabase

WRITERS = 8


def measure(options: Options) -> Part:
    """Appends a second of eight writers, beside a bare COPY of the same rows."""
    why = postgres_server.missing()
    if why:
        return Part(notes=(f"PostgreSQL was not measured: {why}.",))
    count = options.count(16_000, 200_000)
    with ExitStack() as stack:
        with before_others() as allowed:  # the server is started in here as well
            socket = stack.enter_context(postgres_server.server(durable=True))
            url = postgres_server.new_database(socket, "ledger")
            folder, ledger = stack.enter_context(new_ledger(options, url))
            each = count // WRITERS
            jobs = [(url, str(folder), n, each, options.seed) for n in range(WRITERS)]
            ours = _together(jobs)
            copied = copy(url, postgres_server.new_database(socket, "copy"))
        ledger.verify()
    ratio = ours / copied
    how = "before" if allowed else "beside"
    return Part(
        parameters={"postgres_rows": count, "writers": WRITERS},
        targets=(
            Target.at_least(
                "PostgreSQL, 8 writers, over a bare COPY of the same rows",
                ratio,
                0.3,
                f"{ours:.0f} appends/s, COPY {copied:.0f} entries/s, {how} other "
                "programs",
            ),
        ),
        tables=(
            Table(
                "Durable appends to PostgreSQL",
                ("how", "entries a second"),
                ((f"{WRITERS} writer processes", ours), ("bare COPY", copied)),
                f"{count} entries; batches of {BATCH // 2}; COPY: one connection, all "
                "tables, one transaction, the stream made beforehand. Server and "
                f"writers ran {how} other programs.",
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
        rate(ledger, made, BATCH // 2)


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
