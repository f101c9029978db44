"""Kill a writer at each write, sync and removal of a file, and look at what is left.

``python -m tests.store.crash --full`` does so more than a thousand times; the tests a
few dozen. One process has loaded everything, with ``fault.c`` in front of the C
library; it forks a writer for each kill.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.store.conftest import ORIGIN, Maker

from watermark.store import database, merkle
from watermark.store.checkpoint import LogKey, parse
from watermark.store.ledger import Ledger
from watermark.store.personal import PersonalKey

SHIM = Path(__file__).with_name("fault.c")
BATCHES = (1, 3, 1, 12, 1, 2)
OLD, NOW = "2020-01-01T00:00:00Z", "2026-11-23T09:00:00Z"
NEVER = 1 << 40


@dataclass(frozen=True)
class Fault:
    """Where a writer is stopped.

    Attributes:
        scenario: ``append`` or ``prune``.
        nth: at which event, from 1.
        power: whether the disk forgets what was not synced.
        full: whether the disk is full from there on, and nothing is killed.
        seed: of what it forgets.
        wal: pages of the log before it is moved into the file: few, so that this
            happens within a scenario.
    """

    scenario: str
    nth: int
    power: bool = False
    full: bool = False
    seed: int = 0
    wal: int = 20


@dataclass(frozen=True)
class Outcome:
    """What a writer did: what it was told is durable, its exit code, its events."""

    lines: list[dict[str, Any]]
    code: int
    events: int


# --- the writer ----------------------------------------------------------------------


def keys(folder: Path) -> dict[str, Any]:
    return {
        "key": LogKey.load(folder / "log.pem"),
        "personal_key": PersonalKey.load(folder / "personal.key"),
    }


def tell(**line: object) -> None:
    os.write(1, json.dumps(line).encode() + b"\n")


def entries(name: str, count: int) -> list[Any]:
    make = Maker()
    made = []
    for n in range(count):
        entry = make.published(f"{name}.{n}", manifest=name.encode() * 900)
        made.append(replace(entry, personal={"user": f"user of {name}"}))
    return made


def append(opened: Ledger) -> None:
    for batch, count in enumerate(BATCHES):
        rows = opened.append(entries(f"new {batch}", count))
        tell(
            ids=[row.record.record_id for row in rows],
            note=opened.checkpoint(),
            syncs=int(ctypes.CDLL(None).fault_syncs()),
        )


def prune(opened: Ledger) -> None:
    opened.release("case")
    tell(done="released", note=opened.checkpoint())
    record_id = Maker().record("old.3").record_id
    opened.erase(record_id)
    tell(done="erased", note=opened.checkpoint())
    opened.prune()
    tell(done="pruned", note=opened.checkpoint())
    rows = opened.append(entries("after", 2))
    tell(ids=[row.record.record_id for row in rows], note=opened.checkpoint())


SCENARIOS = {"append": append, "prune": prune}


def template(folder: Path) -> None:
    """A ledger with twelve old entries, one of them held, and one young."""
    LogKey.create(folder / "log.pem", name=ORIGIN)
    PersonalKey.create(folder / "personal.key")
    made = keys(folder)
    with Ledger.create(folder / "ledger.db", origin=ORIGIN, **made) as opened:
        with clock(OLD):
            opened.append(entries("old", 12))
        with clock(NOW):
            opened.append(entries("young", 1))
            opened.hold("case", Maker().record("old.5").record_id)


@contextlib.contextmanager
def clock(now: str) -> Iterator[None]:
    with patch("watermark.store.ledger.utc_now", lambda: now):
        yield


def write(folder: Path, fault: Fault) -> None:
    """The life of a writer; it may end anywhere."""
    shim, database.WAL_PAGES = ctypes.CDLL(None), fault.wal
    shim.fault_arm(
        str(folder).encode(),
        ctypes.c_long(fault.nth),
        int(fault.power),
        int(fault.full),
        ctypes.c_long(fault.seed),
    )
    with clock(NOW), Ledger.open(folder / "ledger.db", **keys(folder)) as opened:
        SCENARIOS[fault.scenario](opened)
    tell(events=int(shim.fault_events()))


def serve() -> None:
    """Fork a writer for each line of stdin: a folder and a fault, as JSON."""
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                write(Path(job["folder"]), Fault(**job["fault"]))
                code = 0
            except Exception as error:
                tell(error=type(error).__name__, said=str(error))
                code = 3
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        tell(code=os.waitstatus_to_exitcode(status))


# --- who looks after -----------------------------------------------------------------


def missing() -> str:
    """Why nothing can be killed here, or ""."""
    if not sys.platform.startswith("linux"):
        return "the shim is for Linux"
    return "" if shutil.which("gcc") else "there is no gcc to compile the shim with"


class Killer:
    """Writers, and a ledger that each gets a copy of."""

    def __init__(self, folder: Path) -> None:
        self.template = folder / "template"
        self.template.mkdir()
        template(self.template)
        self._copy = folder / "copy"
        shim = folder / "fault.so"
        command = ["gcc", "-O1", "-shared", "-fPIC", "-o", shim, SHIM, "-ldl"]
        subprocess.run([str(part) for part in command], check=True)
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.store.crash", "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "LD_PRELOAD": str(shim)},
        )

    def run(self, fault: Fault) -> tuple[Path, Outcome]:
        """The folder that a writer left, and what it had been told before."""
        shutil.rmtree(self._copy, ignore_errors=True)
        shutil.copytree(self.template, self._copy)
        job = {"folder": str(self._copy), "fault": vars(fault)}
        if self._server.stdin is None or self._server.stdout is None:
            raise RuntimeError("no pipe")
        self._server.stdin.write(json.dumps(job) + "\n")
        self._server.stdin.flush()
        lines: list[dict[str, Any]] = []
        for text in self._server.stdout:
            line = json.loads(text)
            if "code" in line:
                events = next((x["events"] for x in lines if "events" in x), 0)
                return self._copy, Outcome(lines, line["code"], events)
            lines.append(line)
        raise RuntimeError("the server of writers ended")

    def close(self) -> None:
        """End the server."""
        self._server.communicate()

    def __enter__(self) -> Killer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check(folder: Path, fault: Fault, outcome: Outcome) -> None:
    """Nothing acknowledged is lost, nothing is there twice, nothing is half done."""
    notes = [line["note"] for line in outcome.lines if "note" in line]
    acknowledged = [i for line in outcome.lines for i in line.get("ids", ())]
    with Ledger.open(folder / "ledger.db", **keys(folder)) as opened:
        ids = [row.record.record_id for row in opened.rows()]
        assert len(ids) == len(set(ids))
        assert set(acknowledged) <= set(ids)
        last = parse(notes[-1]) if notes else parse(first_note(folder))
        head = parse(opened.checkpoint())
        path = opened.consistency(last.size, head.size)
        merkle.verify_consistency(last.size, head.size, path, last.root, head.root)
        if fault.scenario == "append":
            new = len(ids) - 13
            steps = [sum(BATCHES[:n]) for n in range(len(BATCHES) + 1)]
            assert new in steps, "a batch is there by half"
            acked = steps.index(len(acknowledged))
            assert new in steps[acked : acked + 2]
        else:
            done = [act.event for act in opened.acts()][1:]
            told = [line["done"] for line in outcome.lines if "done" in line]
            assert done[: len(told)] == told
            assert len(done) - len(told) <= 1
            old = [row for row in opened.rows() if row.ts == OLD]
            assert len(old) == (0 if "pruned" in done else 12)
        with clock(NOW):
            [row] = opened.append(entries("afterwards", 1))
        assert opened.personal(row.idx) == {"user": "user of afterwards"}
        audit = opened.verify(notes=notes)
        assert audit.signed == audit.size


def first_note(folder: Path) -> str:
    """The newest checkpoint of the ledger before the writer came."""
    path = folder.with_name("template") / "ledger.db"
    with Ledger.open(path) as opened:
        return opened.checkpoint()


def faults(killer: Killer, kills: int) -> list[Fault]:
    """About `kills` faults, spread evenly over every event of both scenarios."""
    found: list[Fault] = []
    each = kills // 4
    for scenario in SCENARIOS:
        _, outcome = killer.run(Fault(scenario, NEVER))
        if outcome.code or not outcome.events:
            raise RuntimeError(f"{scenario} fails undisturbed: {outcome}")
        for power in (False, True):
            for n in range(each):
                place = n * outcome.events // each if each < outcome.events else n
                nth = place % outcome.events + 1
                found.append(Fault(scenario, nth, power=power, seed=n))
    return found


def main(arguments: Sequence[str]) -> None:
    """Kill as often as was asked for, and say how it went."""
    kills = 1200 if "--full" in arguments else 60
    with tempfile.TemporaryDirectory() as name, Killer(Path(name)) as killer:
        done = 0
        for fault in faults(killer, kills):
            folder, outcome = killer.run(fault)
            assert outcome.code == 137, (fault, outcome)
            check(folder, fault, outcome)
            done += 1
    print(f"{done} kills: nothing acknowledged was lost, nothing is there twice")


if __name__ == "__main__":
    if "--serve" in sys.argv:
        serve()
    else:
        main(sys.argv[1:])
