"""Durable appends to SQLite: in batches, one by one, and from many threads.

The disk's own rate of synced writes stands beside: no single append can be faster. On a
busy machine both measure the scheduler instead: who slept until the disk was done gets
a processor at the next tick, 4 ms at 250 Hz, where the disk takes a tenth of that. So
all is measured twice, beside other programs and before them.
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.ledger.entries import BATCH, entries, new_ledger, rate
from benchmarks.options import Options
from benchmarks.priority import before_others
from benchmarks.report import Part, Table, Target
from watermark.store.leaf import Entry
from watermark.store.ledger import Ledger

THREADS = 32
PAGE = 4096
PAGES = 18  # that one append writes to SQLite's log
HOW = (
    f"batches of {BATCH}",
    f"batches of {BATCH}: the last tenth",
    "one by one",
    f"one by one, from {THREADS} threads",
    "disk: 4 KiB at the end of a file, synced",
    f"disk: {4 * PAGES} KiB over what a file has, synced",
)


@dataclass(frozen=True, slots=True)
class Rates:
    """What `HOW` names, each a second, and what it cost.

    Attributes:
        processor: seconds of one processor for one append by itself.
        kilobytes: of the disk for each entry.
        size: how many entries the ledger had in the end.
    """

    batched: float
    last: float
    alone: float
    shared: float
    disk: float
    over: float
    processor: float
    kilobytes: float
    size: int

    def named(self) -> list[float]:
        """In the order of `HOW`."""
        return [
            *(self.batched, self.last, self.alone),
            *(self.shared, self.disk, self.over),
        ]


def measure(options: Options) -> Part:
    """Durable appends a second, and what the disk can do."""
    load = f"a load of {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors"
    beside = _rates(options)
    with before_others() as allowed:
        found = _rates(options) if allowed else beside
    how = "before other programs" if allowed else "beside other programs"
    batched = synced = how
    synced += f"; the disk syncs {found.disk:.0f} times a second"
    if allowed:
        batched += f". Beside them: {beside.batched:.0f}"
        synced += f". Beside them: {beside.alone:.0f} of {beside.disk:.0f}"
    rows = tuple(
        (name, now if allowed else None, then)
        for name, now, then in zip(HOW, found.named(), beside.named(), strict=True)
    )
    return Part(
        parameters={"appends": found.size},
        targets=(
            Target.at_least("SQLite appends/s, batched", found.batched, 5000, batched),
            Target.at_least("SQLite appends/s, one by one", found.alone, 500, synced),
        ),
        tables=(
            Table(
                "Durable appends to SQLite",
                ("how", "a second, before other programs", "a second, beside them"),
                rows,
                f"A new ledger of {found.size} entries, {found.kilobytes:.1f} KB of "
                f"disk each; wall time, with {load}. Before others: at real-time "
                "priority, where the system allows it. One append by itself takes "
                f"{1e6 * found.processor:.0f} us of one processor.",
            ),
        ),
    )


def _rates(options: Options) -> Rates:
    """Fill a new ledger in every way."""
    count, seed = options.count(10_000, 100_000), options.seed
    few, tenth = max(20, count // 50), max(1, count // 10)
    with new_ledger(options) as (folder, ledger):
        tenths = [
            rate(ledger, entries(start, start + tenth, seed), BATCH)
            for start in range(0, 10 * tenth, tenth)
        ]
        made = entries(ledger.size, ledger.size + 3 * few, seed)
        used = time.process_time()
        alone = rate(ledger, made[:few], 1)
        used = time.process_time() - used
        shared = _shared(ledger, made[few:])
        size = ledger.size
        kilobytes = sum(f.stat().st_size for f in folder.glob("ledger.db*")) / 1e3
        return Rates(
            batched=statistics.harmonic_mean(tenths),
            last=tenths[-1],
            alone=alone,
            shared=shared,
            disk=syncs(folder),
            over=syncs(folder, PAGES, over=True),
            processor=used / few,
            kilobytes=kilobytes / size,
            size=size,
        )


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


def syncs(
    folder: Path, pages: int = 1, *, over: bool = False, seconds: float = 0.5
) -> float:
    """Writes a second, each synced: what the disk can do.

    Args:
        folder: where on the disk.
        pages: of each write.
        over: write where the file has been written before: a file that grows costs a
            change of its metadata too.
        seconds: how long to try.
    """
    path, count, data = folder / "sync", 0, b"x" * (PAGE * pages)
    places = 200 if over else 1 << 40
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR)
    try:
        if over:
            os.write(descriptor, data * places)
            os.fsync(descriptor)
        start = time.perf_counter()
        while time.perf_counter() - start < seconds:
            os.pwrite(descriptor, data, len(data) * (count % places))
            os.fdatasync(descriptor)
            count += 1
        return count / (time.perf_counter() - start)
    finally:
        os.close(descriptor)
        path.unlink()
