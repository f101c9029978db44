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
from pathlib import Path

from rich.console import Console

from benchmarks import diffusion, engines, fpr, report, speed, text
from benchmarks.options import MODELS, WORK, Options, Unavailable


def _coverage(options: Options) -> report.Result:
    from benchmarks.diffusion import coverage  # it loads all of diffusers

    return coverage.run(options)


BENCHMARKS: dict[str, Callable[[Options], report.Result]] = {
    "speed": speed.run,
    "text": text.run,
    "diffusion": diffusion.run,
    "fpr": fpr.run,
    "engines": engines.run,
    "diffusion-coverage": _coverage,
}
DONE, UNAVAILABLE = 0, 3
WIDTH = 150  # of tables in a pipe or a file


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; returns the exit code."""
    args = _parser().parse_args(arguments)
    options = Options(
        samples=args.samples,
        seed=args.seed,
        full=args.full,
        work=args.work,
        lm=args.lm,
        pipeline=args.pipeline,
        data=args.data,
        peers=args.peers,
        only=tuple(filter(None, args.only.split(","))),
        threads=args.threads,
    )
    names = list(BENCHMARKS) if args.name == "all" else [args.name]
    results = []
    # What libraries print belongs with the progress, never in front of the JSON.
    with contextlib.redirect_stdout(sys.stderr):
        for name in names:
            try:
                with options.threading():
                    result = BENCHMARKS[name](options)
            except Unavailable as reason:
                result = report.Result(name=name, skipped=str(reason))
            results.append(result.to_dict())
            if args.out is not None:
                report.write(args.out, results[-1:])
    if args.json:
        printed: dict[str, object] = {"schema": report.SCHEMA, "results": results}
        for data in results:  # a row for each class of the coverage
            printed |= {k: data.pop(k) for k in ("classes", "modular") if k in data}
        print(json.dumps(printed, indent=1))
    else:
        for data in results:
            report.show(Console(width=None if sys.stdout.isatty() else WIDTH), data)
    return UNAVAILABLE if all(r["skipped"] for r in results) else DONE


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
    add("--lm", type=Path, default=MODELS / "lm", help="language model to measure")
    add(
        "--pipeline",
        type=Path,
        default=MODELS / "diffusion",
        help="diffusion pipeline to measure",
    )
    add("--data", type=Path, help="folder of public data, such as humaneval/")
    add("--peers", type=Path, help="folder of unpacked wheels of other engines")
    return parser


if __name__ == "__main__":
    sys.exit(main())
