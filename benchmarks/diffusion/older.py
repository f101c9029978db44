"""Coverage under older versions of diffusers, each in an environment of its own.

    python -m benchmarks.diffusion.older [--versions 0.37.1] [--work DIR]

A version gets a virtual environment with the transformers of its time; torch and all
that fits is shared with the environment that runs this. Packages come from the package
index that pip is set to. Exit code 1 if a version is below the target.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.diffusion.coverage import SHARE
from benchmarks.options import WORK

ROOT = Path(__file__).parents[2]
# diffusers -> the transformers that were new when it came out, which it imports.
VERSIONS = {"0.35.2": "4.57.6", "0.37.1": "5.0.0", "0.39.0": "5.10.4"}
# Versions only suggest these, but some of their classes do not load without.
BESIDE = ("ftfy", "sentencepiece")
SHARED = "watermark_shared.pth"
LOADS = "import diffusers, transformers, {}; print(diffusers.__version__)"


@dataclass(frozen=True, slots=True)
class Found:
    """What one version came to.

    Attributes:
        version: of diffusers.
        marked: classes marked.
        total: classes that are not deprecated.
        families: families whose own `__call__` ran.
        problem: why nothing was measured, or "".
    """

    version: str
    marked: int = 0
    total: int = 0
    families: int = 0
    problem: str = ""

    @property
    def reached(self) -> bool:
        """Whether the share of classes that the project states is marked."""
        return self.total > 0 and self.marked >= SHARE * self.total


def environment(version: str, work: Path) -> Path:
    """The python of an environment with this diffusers, made where it is missing.

    Raises:
        RuntimeError: pip cannot install it, or it does not load.
    """
    folder = work / f"diffusers-{version}"
    python = folder / "bin" / "python"
    loads = LOADS.format(", ".join(BESIDE))
    with contextlib.suppress(OSError, RuntimeError):  # made by an earlier run
        if _runs(python, "-c", loads) == version:
            return python
    venv.create(folder, with_pip=True, clear=True)
    own = sysconfig.get_path("purelib", "venv", {"base": str(folder)})
    # Behind the environment's own packages, so that those of the version come first.
    (Path(own) / SHARED).write_text(sysconfig.get_path("purelib") + "\n")
    wanted = [f"diffusers=={version}", f"transformers=={VERSIONS[version]}"]
    _runs(python, "-m", "pip", "install", "--quiet", *wanted, *BESIDE)
    loaded = _runs(python, "-c", loads)
    if loaded != version:
        raise RuntimeError(f"diffusers {loaded} loads in place of {version}")
    return python


def measure(version: str, work: Path) -> Found:
    """The coverage benchmark in the environment of a version."""
    try:
        python = environment(version, work)
        printed = _runs(python, "-m", "benchmarks", "diffusion-coverage", "--json")
        data = json.loads(printed)
        targets = data["results"][0]["targets"]
        measured = {target["name"]: target["measured"] for target in targets}
    except (RuntimeError, OSError, ValueError, LookupError) as error:
        return Found(version, problem=f"{type(error).__name__}: {error}")
    (work / f"coverage-{version}.json").write_text(
        json.dumps(data["classes"], indent=1)
    )
    return Found(
        version,
        marked=int(measured["classes marked"]),
        total=len(data["classes"]),
        families=int(measured["families called"]),
    )


def _runs(python: Path, *arguments: str) -> str:
    """What a command prints.

    Raises:
        RuntimeError: it fails; with the end of what it said.
    """
    found = subprocess.run(
        [python, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode:
        said = " / ".join(found.stderr.strip().splitlines()[-3:])
        raise RuntimeError(f"{' '.join(arguments[:3])} failed: {said}")
    return found.stdout.strip()


def _show(rows: Sequence[Found]) -> None:
    table = Table(title=f"Classes marked, expected {SHARE:.0%}")
    for column in (
        "diffusers",
        "transformers",
        "marked",
        "share",
        "families",
        "target",
    ):
        table.add_column(column)
    for row in rows:
        beside = VERSIONS[row.version]
        if row.problem:
            table.add_row(row.version, beside, "-", "-", "-", row.problem)
            continue
        table.add_row(
            row.version,
            beside,
            f"{row.marked} of {row.total}",
            f"{row.marked / max(row.total, 1):.1%}",
            str(row.families),
            "reached" if row.reached else "missed",
        )
    Console(width=None if sys.stdout.isatty() else 150).print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure each version; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.diffusion.older",
        description=(__doc__ or "").partition("\n")[0],
    )
    add = parser.add_argument
    add("--versions", nargs="+", choices=list(VERSIONS), default=list(VERSIONS))
    add("--work", type=Path, default=WORK / "older", help="where environments are kept")
    options = parser.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    rows = [measure(version, options.work.absolute()) for version in options.versions]
    _show(rows)
    return 0 if all(row.reached for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
