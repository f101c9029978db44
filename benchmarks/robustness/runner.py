"""Run a suite: every sample that is not on file, over the cores, and keep each.

A run that was stopped goes on where it was. Which process makes a sample does not
matter, and a failing peer is a row that says so.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from typing import Any

import PIL
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from benchmarks.journal import Journal, code_version
from benchmarks.options import Options
from benchmarks.report import machine
from benchmarks.robustness.spec import Row, Spec
from benchmarks.robustness.suite import Suite, Worker

Rows = dict[str, list[Row]]
SHARED = ("attacks/__init__.py", "options.py", "robustness/suite.py")  # by all suites


def run(
    suite: Suite, spec: Spec, subjects: Sequence[str], count: int, options: Options
) -> tuple[Rows, int]:
    """`count` rows of each subject, and how many of all were made now.

    What failed in an earlier run is tried again.
    """
    names = {f"{s}/{i}": (s, i) for i in range(count) for s in subjects}
    identity = {
        **spec.identity,
        "suite": spec.name,
        "seed": options.seed,
        "shared": code_version((), *SHARED),
        "versions": {**machine()["versions"], "pillow": PIL.__version__},
    }
    with Journal(options.work, f"robustness-{spec.name}", identity) as journal:
        missing = {
            name: place
            for name, place in names.items()
            if "failed" in journal.rows.get(name, {"failed": "not made"})
        }
        if missing:
            _make(suite, missing, journal, options)
        rows = {s: [journal.rows[f"{s}/{i}"] for i in range(count)] for s in subjects}
        return rows, journal.added


def _make(
    suite: Suite,
    missing: Mapping[str, tuple[str, int]],
    journal: Journal,
    options: Options,
) -> None:
    cores = min(options.workers or os.cpu_count() or 1, len(missing))
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=options.console) as shown:
        task = shown.add_task(journal.path.name.partition("-")[0], total=len(missing))
        if cores == 1:
            worker = suite.worker(options)
            with options.threading(1):
                for name, place in missing.items():
                    journal.add(name, _row(worker, *place))
                    shown.advance(task)
            return
        # Forked processes would share the locks of torch's threads.
        context = multiprocessing.get_context("spawn")
        start = suite, dataclasses.asdict(_plain(options))
        pool: Executor = ProcessPoolExecutor(
            cores, mp_context=context, initializer=_start, initargs=start
        )
        with pool:
            running = {
                pool.submit(_sample, *place): name for name, place in missing.items()
            }
            try:
                for done in as_completed(running):
                    journal.add(running[done], done.result())
                    shown.advance(task)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def _plain(options: Options) -> Options:
    """Without the console, which no other process has."""
    return dataclasses.replace(options, console=None)  # type: ignore[arg-type]


_worker: Worker | None = None


def _start(suite: Suite, options: dict[str, Any]) -> None:
    """Make the worker of this process."""
    global _worker
    import torch

    torch.set_num_threads(1)
    options.pop("console")
    _worker = suite.worker(Options(**options))


def _sample(subject: str, index: int) -> Row:
    if _worker is None:
        raise RuntimeError("the process was not started by `run`")
    return _row(_worker, subject, index)


def _row(worker: Worker, subject: str, index: int) -> Row:
    try:
        return worker.sample(subject, index)
    except Exception as error:  # whatever a peer raises is its result
        said = f"{type(error).__name__}: {error}"
        return {"failed": " ".join(said.split())[:300]}  # a cell of a table
