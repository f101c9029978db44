"""Result: what a benchmark found, as JSON, as Markdown and on a terminal."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

import watermark
from benchmarks.drawing import draw
from benchmarks.rates import Rate
from watermark.kernels import BACKEND

SCHEMA = "watermark.benchmark/1"
PACKAGES = ("torch", "transformers", "diffusers", "numpy", "scipy")

Cell = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under named columns, and a sentence on how to read them."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One stated target, and whether it was reached.

    Attributes:
        name: what was measured.
        target: the bound, as the issue states it.
        measured: the number, or None where it was not measured.
        reached: None where nothing can be said.
        interval: of a rate, Clopper-Pearson at 95 %.
        note: on how it was measured.
    """

    name: str
    target: str
    measured: float | None
    reached: bool | None
    interval: tuple[float, float] | None = None
    note: str = ""

    @classmethod
    def of_rate(cls, name: str, rate: Rate, least: float) -> Self:
        """A rate that shall be at least `least`."""
        return cls(
            name=name,
            target=f">= {least:g}",
            measured=rate.value if rate.n else None,
            reached=rate.value >= least if rate.n else None,
            interval=rate.interval() if rate.n else None,
            note=f"{rate.hits} of {rate.n}",
        )

    @classmethod
    def bounded(cls, name: str, rate: Rate, most: float) -> Self:
        """A rate that shall be at most `most`: reached where its interval shows it."""
        low, high = rate.interval()
        return cls(
            name=name,
            target=f"<= {most:g}, and the interval says so",
            measured=rate.value if rate.n else None,
            reached=high <= most if rate.n else None,
            interval=(low, high) if rate.n else None,
            note=f"{rate.hits} of {rate.n}",
        )

    @classmethod
    def at_most(cls, name: str, measured: float, most: float, note: str = "") -> Self:
        """A number that shall be at most `most`."""
        return cls(
            name=name,
            target=f"<= {most:g}",
            measured=measured,
            reached=measured <= most,
            note=note,
        )

    @classmethod
    def at_least(cls, name: str, measured: float, least: float, note: str = "") -> Self:
        """A number that shall be at least `least`."""
        return cls(
            name=name,
            target=f">= {least:g}",
            measured=measured,
            reached=measured >= least,
            note=note,
        )


@dataclass(frozen=True, slots=True)
class Plot:
    """Curves with their intervals; `write` draws each as a PNG.

    Attributes:
        title: also the name of the file.
        x: what the abscissa is.
        y: what the ordinate is.
        curves: name of each curve, and its points (x, y, lower end, upper end).
        log_x: whether the abscissa is logarithmic.
        dashed: names of the curves that are somebody else's.
        lines: places on the abscissa that are marked: what each is called, where it
            is, and whether it is the one to look at.
    """

    title: str
    x: str
    y: str
    curves: tuple[tuple[str, tuple[tuple[float, float, float, float], ...]], ...]
    log_x: bool = False
    dashed: tuple[str, ...] = ()
    lines: tuple[tuple[str, float, bool], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of a result: what `Result` gathers from several files."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    targets: tuple[Target, ...] = ()
    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = ()
    notes: tuple[str, ...] = ()
    new: int = 0
    reused: int = 0


@dataclass(frozen=True, kw_only=True)
class Result:
    """Everything one benchmark found.

    Attributes:
        name: of the benchmark.
        parameters: what it was run with; decides the numbers.
        targets: stated targets.
        tables: all numbers.
        plots: those numbers that one would rather look at.
        notes: what a reader has to know to read them.
        new: samples that this run made.
        reused: samples that an earlier run left.
        skipped: why it was not run, or "".
    """

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    targets: tuple[Target, ...] = ()
    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = ()
    notes: tuple[str, ...] = ()
    new: int = 0
    reused: int = 0
    skipped: str = ""

    @classmethod
    def of(cls, name: str, parts: Iterable[Part], **parameters: Any) -> Self:
        """Everything that the parts found, in their order."""
        found = list(parts)
        for part in found:
            parameters |= part.parameters
        return cls(
            name=name,
            parameters=parameters,
            targets=tuple(t for part in found for t in part.targets),
            tables=tuple(t for part in found for t in part.tables),
            plots=tuple(p for part in found for p in part.plots),
            notes=tuple(dict.fromkeys(n for part in found for n in part.notes)),
            new=sum(part.new for part in found),
            reused=sum(part.reused for part in found),
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data, with the machine and the commit it was made on."""
        made = {"machine": machine(), "commit": commit()}
        return {"schema": SCHEMA, **asdict(self), **made}


def machine() -> dict[str, Any]:
    """Facts that decide times: processor, cores, versions."""
    versions = {"watermark": watermark.__version__}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "kernels": BACKEND,
        "versions": versions,
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.processor()


def commit() -> str:
    """The checkout's commit, "-dirty" where files were changed, or "" outside one."""
    command = [
        *("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"),
        *("--abbrev=40", "--exclude", "*"),
    ]
    try:
        return subprocess.run(
            command, capture_output=True, check=True, text=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def made_by(data: Mapping[str, Any]) -> str:
    """The machine, versions and commit of a result as `to_dict` gave it."""
    facts = data["machine"]
    versions = [f"{k} {v}" for k, v in facts["versions"].items()]
    commit = [f"commit {data['commit']}"] if data.get("commit") else []
    return ", ".join(
        [
            *(facts["cpu"], f"{facts['cores']} cores", facts["system"]),
            *(f"Python {facts['python']}", *versions, f"kernels {facts['kernels']}"),
            *commit,
        ]
    )


def plain(value: Cell) -> str:
    """A number to four digits; words as they are."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else value


def _target_table(data: Mapping[str, Any]) -> Table:
    rows = []
    for t in data["targets"]:
        low_high = t["interval"]
        text = "" if low_high is None else f"{low_high[0]:.4g} .. {low_high[1]:.4g}"
        reached = "-" if t["reached"] is None else plain(t["reached"])
        row = (t["name"], t["target"], plain(t["measured"]), text, reached, t["note"])
        rows.append(row)
    columns = ("target", "wanted", "measured", "95 % interval", "reached", "note")
    return Table("Targets", columns, tuple(rows))


def tables(data: Mapping[str, Any]) -> list[Table]:
    """The tables of a result as `to_dict` gave it, targets first."""
    found = [Table(**table) for table in data["tables"]]
    return [_target_table(data), *found] if data["targets"] else found


def markdown(results: Iterable[Mapping[str, Any]]) -> str:
    """Results as `to_dict` gave them: no clock times, dates or paths."""
    lines = ["# Benchmarks"]
    for data in results:
        lines += ["", f"## {data['name']}", "", f"{made_by(data)}."]
        if data["skipped"]:
            lines += ["", f"Not run: {data['skipped']}."]
            continue
        settings = ", ".join(f"{k} {v}" for k, v in data["parameters"].items())
        lines += ["", f"Parameters: {settings}."]
        for table in tables(data):
            lines += ["", f"### {table.title}", ""]
            lines += ["| " + " | ".join(table.columns) + " |"]
            lines += ["|" + "---|" * len(table.columns)]
            for row in table.rows:
                cells = (plain(cell).replace("|", r"\|") for cell in row)
                lines += ["| " + " | ".join(cells) + " |"]
            lines += ["", table.note] if table.note else []
        for plot in data.get("plots", ()):
            lines += ["", f"![{plot['title']}]({file_of(data, plot)})"]
        lines += [""] + [f"- {note}" for note in data["notes"]] if data["notes"] else []
    return "\n".join(lines) + "\n"


def show(console: Console, data: Mapping[str, Any]) -> None:
    """Print one result as tables."""
    console.rule(data["name"])
    if data["skipped"]:
        console.print(f"not run: {data['skipped']}", highlight=False)
    for table in tables(data):
        shown = RichTable(
            *table.columns,
            title=table.title,
            caption=escape(table.note) or None,
            title_justify="left",
            caption_justify="left",
        )
        for row in table.rows:
            shown.add_row(*(escape(plain(cell)) for cell in row))
        console.print(shown)
    for note in data["notes"]:
        console.print(f"- {note}", highlight=False, markup=False)


def write(folder: Path, results: Iterable[Mapping[str, Any]]) -> None:
    """``<name>.json`` of each, and ``summary.md`` of every result in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for data in results:
        text = json.dumps(data, indent=1) + "\n"
        (folder / f"{data['name']}.json").write_text(text, encoding="utf-8")
        plots = data.get("plots", ())
        names = dict.fromkeys(name for plot in plots for name, _ in plot["curves"])
        for plot in plots:
            draw(plot, folder / file_of(data, plot), tuple(names))
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    ours = [data for data in found if data.get("schema") == SCHEMA]
    (folder / "summary.md").write_text(markdown(ours), encoding="utf-8")


def file_of(data: Mapping[str, Any], plot: Mapping[str, Any]) -> str:
    """Name of a plot's PNG in the folder that `write` fills."""
    words = re.sub(r"[^a-z0-9]+", "-", plot["title"].lower()).strip("-")
    return f"{data['name']}-{words}.png"
