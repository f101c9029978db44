"""The benchmarks' command line: ``python -m benchmarks NAME``.

With ``--json`` stdout holds JSON alone; progress goes to stderr. Long work is kept in
the work folder, and a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import diffusion, engines, fpr, ledger, report, serve, speed, text
from benchmarks.checkpoints import located
from benchmarks.options import MODELS, WORK, Options, Unavailable


def _coverage(options: Options) -> report.Result:
    from benchmarks.diffusion import coverage  # it loads all of diffusers

    return coverage.run(options)


def _security(options: Options) -> report.Result:
    from benchmarks import security

    return security.run(options)


def _robustness(options: Options) -> list[report.Result]:
    from benchmarks import robustness

    return robustness.run(options)


def _labels(options: Options) -> report.Result:
    from benchmarks import labels  # it loads Pillow

    return labels.run(options)


def _sign(options: Options) -> report.Result:
    from benchmarks.conformance import run  # it loads c2pa

    return run.run(options)


BENCHMARKS: dict[str, Callable[[Options], report.Result | list[report.Result]]] = {
    "speed": speed.run,
    "text": text.run,
    "diffusion": diffusion.run,
    "fpr": fpr.run,
    "engines": engines.run,
    "diffusion-coverage": _coverage,
    "robustness": _robustness,
    "security": _security,
    "sign": _sign,
    "labels": _labels,
    "serve": serve.run,
    "ledger": ledger.run,
}
DONE, UNAVAILABLE, STOPPED = 0, 3, 130
WIDTH = 150  # of tables in a pipe or a file


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; returns the exit code."""
    args = _parser().parse_args(arguments)
    options = Options(
        samples=args.samples,
        seed=args.seed,
        full=args.full,
        work=args.work,
        lm=located(args.model or args.lm),
        pipeline=located(args.pipeline),
        data=args.data,
        wheels=args.wheels,
        only=_names(args.only),
        suites=_names(args.suite),
        schemes=_names(args.schemes),
        peers=_names(args.peers),
        workers=args.workers,
        threads=args.threads,
    )
    names = list(BENCHMARKS) if args.name == "all" else [args.name]
    results = []
    # What libraries print belongs with the progress, never in front of the JSON.
    with contextlib.redirect_stdout(sys.stderr):
        for name in names:
            try:
                with options.threading():
                    found = BENCHMARKS[name](options)
            except Unavailable as reason:
                found = report.Result(name=name, skipped=str(reason))
            except KeyboardInterrupt:
                options.say("stopped; run it again to go on")
                return STOPPED
            made = found if isinstance(found, list) else [found]
            results += [result.to_dict() for result in made]
            # What was refused is told; a summary of everything is to say it, too.
            refused = all(result.skipped for result in made) and args.name != "all"
            if args.out is not None and not refused:
                _write(args.out, results[-len(made) :], options)
    if args.json:
        printed: dict[str, object] = {"schema": report.SCHEMA, "results": results}
        for data in results:  # a row for each class of the coverage
            printed |= {k: data.pop(k) for k in ("classes", "modular") if k in data}
        print(json.dumps(printed, indent=1))
    else:
        for data in results:
            report.show(Console(width=None if sys.stdout.isatty() else WIDTH), data)
    return UNAVAILABLE if all(r["skipped"] for r in results) else DONE


def _write(folder: Path, results: list[dict[str, Any]], options: Options) -> None:
    if not any(data["name"].startswith("robustness-") for data in results):
        report.write(folder, results)
        return
    from benchmarks import robustness

    robustness.write(folder, results, options)


def _names(text: str) -> tuple[str, ...]:
    """What commas separate."""
    return tuple(filter(None, map(str.strip, text.split(","))))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=(__doc__ or "").partition("\n")[0]
    )
    add = parser.add_argument
    add("name", choices=[*BENCHMARKS, "all"])
    add("--json", action="store_true", help="JSON alone on stdout")
    add("--out", type=Path, help="write NAME.json and summary.md into this folder")
    add("--samples", type=int, help="how many, instead of the benchmark's own count")
    add("--seed", type=int, default=0)
    add("--full", action="store_true", help="the counts that the issues state")
    add("--only", default="", metavar="PART,...", help="parts to run")
    add("--threads", type=int, help="torch threads for the models (default: torch's)")
    add("--work", type=Path, default=WORK, help="where unfinished work is kept")
    model = partial(add, type=Path, metavar="PATH_OR_ID")
    model("--lm", default=MODELS / "lm", help="language model to measure")
    model(
        "--pipeline",
        default=MODELS / "diffusion",
        help="diffusion pipeline to measure; an id is looked up on this machine",
    )
    add("--data", type=Path, help="folder of public data, such as humaneval/")
    model("--model", help="robustness: the language model, as --lm")
    add("--suite", default="", metavar="NAME,...", help="robustness: media to measure")
    add("--schemes", default="", metavar="NAME,...", help="robustness: ours")
    add("--peers", default="", metavar="NAME,...", help="robustness: those of others")
    add(
        "--workers",
        type=int,
        help="robustness: processes (default: one a core; 1: none but this one)",
    )
    add("--wheels", type=Path, help="engines: folder of unpacked wheels of others")
    return parser


if __name__ == "__main__":
    sys.exit(main())
