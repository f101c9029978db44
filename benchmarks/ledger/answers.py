"""Answers from a large ledger: what a mark leads to, manifests, proofs.

Each is asked twice: as it is after the ones before, and with no page of the file in
memory, as after a start of the machine.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.ledger.entries import entry, filled_ledger
from benchmarks.options import Options, seeded
from benchmarks.priority import before_others
from benchmarks.report import Part, Table, Target
from watermark.store.leaf import Entry
from watermark.store.ledger import Ledger

LOOKUPS, COLD = 500, 100
Ask = Callable[[Ledger, int, Entry], bool]  # and whether the answer is right


def _by_payload(ledger: Ledger, idx: int, made: Entry) -> bool:
    mark = made.record.marks[0]
    return [row.idx for row in ledger.by_binding(mark.binding, mark.mark_id)] == [idx]


def _manifests(ledger: Ledger, idx: int, made: Entry) -> bool:
    found = ledger.manifests_of(made.record.record_id)
    return found == [(made.manifest_id, made.manifest)]


def _proof(ledger: Ledger, idx: int, made: Entry) -> bool:
    return ledger.inclusion(idx).index == idx


ASKED: dict[str, Ask] = {
    "entries by payload": _by_payload,
    "manifests by record": _manifests,
    "proof of an entry": _proof,
}

TARGETS = {
    "lookup by payload": "entries by payload",
    "inclusion proof": "proof of an entry",
}


def measure(options: Options) -> Part:
    """Milliseconds to look a payload up and to prove an entry, and wrong answers."""
    count = options.count(20_000, 1_000_000)
    strangers = options.count(5_000, 1_000_000)
    with filled_ledger(options, count) as (ledger, new):
        places = [
            int.from_bytes(seeded("ask", options.seed, n)[:4], "big") % count
            for n in range(LOOKUPS)
        ]
        made = [(idx, entry(idx, options.seed)) for idx in places]
        with before_others() as allowed:
            warm = {name: _times(ledger, ask, made) for name, ask in ASKED.items()}
        mark = made[0][1].record.marks[0]
        wrong = sum(
            bool(ledger.by_binding(mark.binding, seeded("stranger", n)[:8]))
            for n in options.track(range(strangers), "strangers")
        )
        path = ledger.path
    with before_others():
        cold = {name: _cold(path, ask, made) for name, ask in ASKED.items()}
    how = f"{'before' if allowed else 'beside'} other programs"
    note = f"{count} entries, {how}"
    rows = [(name, *_spread(times)) for name, times in warm.items()]
    rows += [(f"{name}, cold", *_spread(t)) for name, t in cold.items() if t]
    return Part(
        parameters={"rows": count, "lookups": LOOKUPS, "strangers": strangers},
        targets=(
            *(
                Target.at_most(f"{name}, p95: ms", _spread(warm[asked])[1], 5, note)
                for name, asked in TARGETS.items()
            ),
            Target.at_most(f"{strangers} random payloads found", wrong, 0),
        ),
        tables=(
            Table(
                f"Answers from {count} entries",
                ("what", "median ms", "p95 ms", "most ms"),
                tuple(rows),
                f"Wall time {how}, with the check of each leaf's hash; cold: a new "
                "connection, and no page of the file in memory.",
            ),
        ),
        new=new,
        reused=count - new,
    )


def _times(
    ledger: Ledger, ask: Ask, questions: Sequence[tuple[int, Entry]]
) -> list[float]:
    seconds = []
    for idx, made in questions:
        start = time.perf_counter()
        right = ask(ledger, idx, made)
        seconds.append(time.perf_counter() - start)
        if not right:
            raise RuntimeError(f"the answer for entry {idx} is wrong")
    return seconds


def _cold(path: Path, ask: Ask, questions: Sequence[tuple[int, Entry]]) -> list[float]:
    """As `_times`, each from a ledger opened anew; empty where pages stay."""
    if not hasattr(os, "posix_fadvise"):
        return []
    seconds = []
    with path.open("rb") as file:
        for question in questions[:COLD]:
            with Ledger.open(path) as ledger:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                seconds += _times(ledger, ask, [question])
    return seconds


def _spread(seconds: Sequence[float]) -> tuple[float, float, float]:
    """Median, 95th percentile and most, in ms."""
    p95 = sorted(seconds)[int(0.95 * (len(seconds) - 1))]
    return 1e3 * statistics.median(seconds), 1e3 * p95, 1e3 * max(seconds)
