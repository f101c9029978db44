"""Many changed files, in a process that may crash or hang without being believed.

The signed files are kept in the work folder, so that a run that was stopped goes on
over the same bytes. Work is done in pieces; each is one line of a journal.
"""

from __future__ import annotations

import concurrent.futures
import json
import multiprocessing
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from pathlib import Path
from typing import Any

import benchmarks
from benchmarks import journal
from benchmarks.conformance import tampering
from benchmarks.conformance.tampering import Outcome, Victim
from benchmarks.options import Options
from watermark import sign
from watermark.sign.credential import Credential

FILES, BITS = 250, 2000  # of one piece
SECONDS = 600  # for one piece; one takes a few


def corruptions(options: Options, count: int) -> tuple[Outcome, int, int]:
    """Damage `count` files of every container and text.

    Returns:
        (outcome, new, reused): of the reused pieces, an earlier run's outcome.
    """
    pieces = [f"files {options.seed} {n}" for n in range(-(-count // FILES))]
    return _run(options, "corruptions", pieces)


def flips(options: Options, stride: int) -> tuple[dict[str, Outcome], int, int]:
    """Flip every `stride`-th bit of each small file.

    Returns:
        (outcomes, new, reused): an outcome by the name of each file.
    """
    folder = _kept(options.work)
    found: dict[str, Outcome] = {}
    new = reused = 0
    for number, victim in enumerate(_small(str(folder))):
        bits = 8 * len(victim.data)
        starts = range(0, bits, BITS * stride)
        pieces = [f"bits {number} {start} {stride}" for start in starts]
        found[victim.name], more, old = _run(options, f"flips-{number}", pieces)
        new, reused = new + more, reused + old
    return found, new, reused


def _run(
    options: Options, name: str, pieces: Sequence[str]
) -> tuple[Outcome, int, int]:
    folder = _kept(options.work)
    code = journal.code_version([sign], "conformance/tampering.py")
    kept = (folder / "root.pem").read_text()
    whole = Outcome()
    with journal.Journal(
        options.work, f"sign-{name}", {"code": code, "root": kept}
    ) as rows:
        todo = rows.missing(pieces)
        for piece, row in _worked(str(folder), options.track(todo, name)):
            rows.add(piece, row)
        for piece in pieces:
            _add(whole, rows.rows[piece])
        return whole, len(todo), len(pieces) - len(todo)


def _worked(folder: str, pieces: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    context = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(1, mp_context=context)
    for piece in pieces:
        try:
            yield piece, pool.submit(work, folder, piece).result(SECONDS)
        except (BrokenProcessPool, TimeoutError) as error:
            lost = Outcome(wrong=[f"{piece}: crash or hang: {error!r}"])
            yield piece, _row(lost)
            for process in list(getattr(pool, "_processes", {}).values()):
                process.kill()  # a hang does not end by itself
            pool.shutdown(wait=False, cancel_futures=True)
            pool = concurrent.futures.ProcessPoolExecutor(1, mp_context=context)
    pool.shutdown()


def work(folder: str, piece: str) -> dict[str, Any]:
    """One piece, in the other process."""
    kind, *numbers = piece.split()
    first, second, *rest = map(int, numbers)
    if kind == "files":
        seed = first * 1_000_003 + second
        outcome = tampering.corrupt(_every(folder), FILES, seed)
    else:
        (stride,) = rest
        bits = range(second, second + BITS * stride, stride)
        outcome = tampering.flip_bits(_small(folder)[first], bits)
    return _row(outcome)


def _row(outcome: Outcome) -> dict[str, Any]:
    return {
        "states": dict(outcome.states),
        "loose": outcome.loose,
        "wrong": outcome.wrong,
        "slowest": outcome.slowest,
    }


def _add(whole: Outcome, row: dict[str, Any]) -> None:
    whole.states += Counter(row["states"])
    whole.loose += row["loose"]
    whole.wrong += row["wrong"]
    whole.slowest = max(whole.slowest, row["slowest"])


def _kept(work_folder: Path) -> Path:
    """The folder of signed files, made once."""
    code = journal.code_version([sign, benchmarks.conformance])
    folder = work_folder / f"signed-{code.partition('+')[2]}"
    if not (folder / "root.pem").exists():
        credential = Credential.create_dev(folder / "credential", "Acme")
        for number, victim in enumerate(tampering.every(credential)):
            (folder / f"{number}.file").write_bytes(victim.data)
            (folder / f"{number}.c2pa").write_bytes(victim.store)
            (folder / f"{number}.json").write_text(json.dumps(victim.name))
        (folder / "root.pem").write_bytes(credential.root_pem or b"")
    return folder


@cache
def _every(folder: str) -> tuple[Victim, ...]:
    place = Path(folder)
    anchors = (place / "root.pem").read_bytes()
    names = sorted(place.glob("*.json"), key=lambda path: int(path.stem))
    return tuple(
        tampering.again(
            json.loads(path.read_text()),
            path.with_suffix(".file").read_bytes(),
            path.with_suffix(".c2pa").read_bytes(),
            anchors,
        )
        for path in names
    )


def _small(folder: str) -> list[Victim]:
    """The little PNG, which is the second of that name, and the texts."""
    found = _every(folder)
    return list(found[len(found) - len(tampering.SMALL) :])
