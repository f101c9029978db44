"""Run a suite: every sample that is not on file, over the cores, and keep each.

A run that was stopped goes on where it was. Which process makes a sample does not
matter. A failing peer is a row that says so, and so is one that ends its process.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import PIL
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

import watermark
from benchmarks.journal import Journal, code_version
from benchmarks.options import Options, Unavailable
from benchmarks.processes import spread
from benchmarks.report import machine
from benchmarks.robustness.spec import Row, Spec
from benchmarks.robustness.suite import Suite, Worker, said

Rows = dict[str, list[Row]]
Sample = Callable[[str, int], Row]
SHARED = (  # by all suites
    *("attacks/__init__.py", "options.py"),
    *("robustness/suite.py", "robustness/unmarked.py"),
)
DIED: Row = {"failed": "its process died, and again when it was run alone"}


def run(
    suite: Suite, spec: Spec, subjects: Sequence[str], count: int, options: Options
) -> tuple[Rows, int]:
    """`count` rows of each subject, and how many of all were made now.

    What failed in an earlier run is tried again.

    Raises:
        Unavailable: nothing can be measured: a model cannot be loaded, for example.
    """
    names = {f"{s}/{i}": (s, i) for i in range(count) for s in subjects}
    decided = identity(spec, options)
    with Journal(options.work, f"robustness-{spec.name}", decided) as journal:
        missing = {
            name: place
            for name, place in names.items()
            if _failed(journal.rows.get(name, {"failed": "not made"}))
        }
        if missing:
            _make(suite, spec.name, missing, journal, options)
        rows = {s: [journal.rows[f"{s}/{i}"] for i in range(count)] for s in subjects}
        return rows, journal.added


def identity(spec: Spec, options: Options) -> dict[str, Any]:
    """What decides the rows: the suite and its attacks, package, seed, versions."""
    return {
        **spec.identity,
        "suite": spec.name,
        "attacks": sorted(spec.attacks),  # codecs come and go; rows shall be whole
        "seed": options.seed,
        "package": code_version((watermark,), *SHARED),
        "versions": {**machine()["versions"], "pillow": PIL.__version__},
    }


def _failed(row: Row) -> bool:
    attacks = row.get("attacks", {}).values()
    return "failed" in row or any("failed" in one for one in attacks)


def _make(
    suite: Suite,
    name: str,
    missing: Mapping[str, tuple[str, int]],
    journal: Journal,
    options: Options,
) -> None:
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=options.console) as shown:
        task = shown.add_task(f"robustness: {name}", total=len(missing))

        def keep(row_name: str, row: Row) -> None:
            journal.add(row_name, row)
            shown.advance(task)

        if options.workers == 1:  # whoever dies then takes this process along
            sample = _sampling(suite, options)
            with options.threading(1):
                for row_name, place in missing.items():
                    keep(row_name, sample(*place))
            return
        cores = options.workers or os.cpu_count() or 1
        make = partial(_elsewhere, suite, _plain(options))
        for row_name in spread(make, missing, cores, keep):
            keep(row_name, DIED)


def _plain(options: Options) -> dict[str, Any]:
    """Without the console, which no other process has."""
    fields = (field.name for field in dataclasses.fields(options))
    return {name: getattr(options, name) for name in fields if name != "console"}


def _elsewhere(suite: Suite, options: dict[str, Any]) -> Sample:
    """As `_sampling`, in a process of its own."""
    import torch

    torch.set_num_threads(1)
    return _sampling(suite, Options(**options))


def _sampling(suite: Suite, options: Options) -> Sample:
    """What makes a row, with the models loaded.

    Raises:
        Unavailable: they cannot be.
    """
    try:
        worker = suite.worker(options)
    except Unavailable:
        raise
    except Exception as error:  # whatever a library raises of a broken checkpoint
        raise Unavailable(f"nothing can be measured: {said(error)}") from error
    return partial(_row, worker)


def _row(worker: Worker, subject: str, index: int) -> Row:
    try:
        return worker.sample(subject, index)
    except Exception as error:  # whatever a peer raises is its result
        return {"failed": said(error)}
