"""The service under load: 50 connections, and every third request is hostile.

``wm serve`` runs as a process of its own. Each connection asks one thing after the
other: what readers ask, contents to look at, and what somebody sends who wants it to
fall over. A server error other than 503 is a failure, and so is memory that grows.
"""

from __future__ import annotations

import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import serve_requests
from benchmarks.options import Options, Unavailable
from benchmarks.report import Result, Table, Target
from benchmarks.serve_requests import BROKEN, Ask, asked

START_SECONDS, PATIENCE = 120.0, 120.0
CONNECTIONS, FEW_CONNECTIONS = 50, 12
SAMPLES = 20  # of the memory, during the load
GROWTH = 0.10  # of the memory in use, from the first third to the end
MIB = 1 << 20


@dataclass
class Seen:
    """What was answered, by kind of request."""

    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, kind: str, status: int, seconds: float) -> None:
        with self.lock:
            self.statuses[kind, status] += 1
            self.seconds.setdefault(kind, []).append(seconds)


def run(options: Options) -> Result:
    """Load the service, and watch it."""
    if sys.platform != "linux":
        raise Unavailable("the memory of processes is read from /proc: Linux only")
    try:
        import watermark.serve.app  # noqa: F401
    except ImportError as error:
        raise Unavailable(str(error)) from error
    count = options.count(150, 1000)
    connections = CONNECTIONS if options.full else FEW_CONNECTIONS
    with (
        tempfile.TemporaryDirectory() as name,
        _serving(Path(name)) as (pid, port, has),
    ):
        asks = list(serve_requests.asks(has, random.Random(options.seed)))
        _load(port, asks, 2 * len(asks), connections, Seen(), pid, [])  # warm
        seen, memory = Seen(), list[tuple[int, int]]()
        start = time.perf_counter()
        _load(port, asks, count, connections, seen, pid, memory)
        elapsed = time.perf_counter() - start
        alive = _get(port, "/readyz") == 200
    return _result(seen, memory, count, connections, elapsed, alive)


@contextmanager
def _serving(folder: Path) -> Iterator[tuple[int, int, dict[str, bytes]]]:
    """A service on a home with one marked picture: process id, port, what it has."""
    from watermark.api import Watermark

    w = Watermark.create(folder / "home", provider="Acme")
    marked = w.embed(_photograph(), format="png")
    [row] = w.home.ledger.by_record(marked.record.record_id)
    w.home.ledger.close()
    mark = marked.record.marks[0]
    has = {
        "png": marked.data,
        "manifest": marked.manifest,
        "id": row.manifest_id.encode(),
        "alg": mark.binding.encode(),
        "value": mark.mark_id,
    }
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["serve", "--home", str(folder / "home"), "--port", str(port)]
    command += ["--workers", "2", "--rate", "1e9"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-m", "watermark", *command],
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + START_SECONDS
        while _get(port, "/readyz") != 200:
            if process.poll() is not None or time.monotonic() > deadline:
                raise Unavailable("the service did not start")
            time.sleep(0.1)
        yield process.pid, port, has
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)


def _photograph() -> Image.Image:
    draw = np.random.default_rng(1)
    small = draw.integers(40, 215, (16, 16, 3), dtype=np.uint8)
    large = Image.fromarray(small).resize((384, 384), Image.Resampling.BICUBIC)
    grain = draw.normal(0, 6, (384, 384, 3))
    return Image.fromarray(np.clip(np.asarray(large) + grain, 0, 255).astype(np.uint8))


# --- the load -------------------------------------------------------------------------


def _load(
    port: int,
    asks: list[tuple[str, Ask]],
    count: int,
    connections: int,
    seen: Seen,
    pid: int,
    memory: list[tuple[int, int]],
) -> None:
    """`count` requests over `connections`, each used for one after the other."""
    left = iter(range(count))
    lock = threading.Lock()

    def ask_on() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        while True:
            with lock:
                n = next(left, None)
            if n is None:
                connection.close()
                return
            kind, ask = asks[n % len(asks)]
            start = time.perf_counter()
            try:
                status = ask(connection)
            except (OSError, http.client.HTTPException):
                status = BROKEN
                connection.close()
            seen.add(kind, status, time.perf_counter() - start)
            if n % max(1, count // SAMPLES) == 0:
                memory.append(_memory(pid))

    threads = [threading.Thread(target=ask_on) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _memory(pid: int) -> tuple[int, int]:
    """Bytes that the service itself holds, and its largest worker."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    workers = [int(child) for task in tasks for child in task.read_text().split()]
    return _held(pid), max(map(_held, workers), default=0)


def _held(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # it has ended meanwhile
        return 0
    found = [line.split()[1] for line in lines if line.startswith("VmRSS:")]
    return int(found[0]) << 10 if found else 0


def _get(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        return asked("GET", path)(connection)
    except (OSError, http.client.HTTPException):
        return BROKEN
    finally:
        connection.close()


def _result(
    seen: Seen,
    memory: list[tuple[int, int]],
    count: int,
    connections: int,
    elapsed: float,
    alive: bool,
) -> Result:
    errors = sum(
        n for (_, status), n in seen.statuses.items() if status >= 500 and status != 503
    )
    # A reader or a look is never cut off; what is hostile may be.
    lost = sum(
        n
        for (kind, status), n in seen.statuses.items()
        if status == BROKEN and kind != "hostile"
    )
    third = max(1, len(memory) // 3)
    targets = [
        Target.at_most(
            f"growth of the memory of {name}",
            after / max(1, before) - 1,
            GROWTH,
            f"{before / MIB:.0f} to {after / MIB:.0f} MiB",
        )
        for name, held in zip(
            ("the service", "its largest worker"),
            zip(*memory, strict=True),
            strict=True,
        )
        for before, after in [(max(held[:third]), max(held[-third:]))]
    ]
    rows = []
    for kind in ("read", "look", "hostile"):
        answers = sorted((s, n) for (k, s), n in seen.statuses.items() if k == kind)
        told = ", ".join(f"{s or 'closed'}: {n}" for s, n in answers)
        times = np.array(seen.seconds.get(kind, [0.0]))
        p50, p95, most = np.percentile(times, (50, 95, 100)).tolist()
        rows.append((kind, len(times), told, p50, p95, most))
    note = f"{count} requests over {connections} connections, 2 workers"
    return Result(
        name="serve",
        parameters={"requests": count, "connections": connections},
        targets=(
            Target.at_most("server errors other than 503", errors, 0, note),
            Target.at_most("fair requests without an answer", lost, 0, note),
            Target.at_least("ready after it", float(alive), 1),
            *targets,
        ),
        tables=(
            Table(
                "Requests",
                ("kind", "requests", "answers", "p50 s", "p95 s", "most s"),
                tuple(rows),
                f"{count / elapsed:.0f} requests a second, on the same cores as the "
                "load. A look at a content that takes too much is 400 or 503.",
            ),
        ),
        new=count,
    )
