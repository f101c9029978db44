"""One page of a run: tables and plots, nothing that is not in the file."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import report

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem;
       padding: 0 1rem; color: #1a1a1a; background: #fff; }
h1, h2, h3 { line-height: 1.2; } h2 { margin-top: 3rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; }
th, td { border: 1px solid #ccc; padding: .25rem .5rem; text-align: left;
         white-space: nowrap; }
thead th { background: #f2f2f2; position: sticky; top: 0; }
td.rate { text-align: right; font-variant-numeric: tabular-nums; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr));
         gap: 1rem; }
img { max-width: 100%; height: auto; }
.note { color: #555; font-size: .9rem; }
"""


def page(results: list[Mapping[str, Any]], folder: Path) -> str:
    """Results as `Result.to_dict` gives them, as one HTML page.

    Args:
        results: one for each suite.
        folder: where `report.write` put their plots.
    """
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width'>",
        f"<title>Robustness</title><style>{STYLE}</style></head><body>",
        "<h1>Which mark lives through what</h1>",
    ]
    for data in results:
        parts += _section(data, folder)
    parts.append("</body></html>\n")
    return "\n".join(parts)


def _section(data: Mapping[str, Any], folder: Path) -> list[str]:
    facts = data["machine"]
    versions = ", ".join(f"{k} {v}" for k, v in facts["versions"].items())
    settings = ", ".join(f"{k} {v}" for k, v in data["parameters"].items())
    parts = [f"<h2>{_text(data['name'])}</h2>", f"<p>{_text(settings)}</p>"]
    parts += [f"<p class='note'>{_text(note)}</p>" for note in data["notes"]]
    parts.append("<div class='plots'>")
    for plot in data["plots"]:
        parts.append(_plot(folder / report.file_of(data, plot), plot["title"]))
    parts.append("</div>")
    for table in report.tables(data):
        parts += _table(table)
    machine = f"{facts['cpu']}, {facts['cores']} cores, {versions}"
    return [*parts, f"<p class='note'>{_text(machine)}</p>"]


def _table(table: report.Table) -> list[str]:
    head = "".join(f"<th scope='col'>{_text(c)}</th>" for c in table.columns)
    rows = [
        "<tr>" + "".join(_cell(i, cell) for i, cell in enumerate(row)) + "</tr>"
        for row in table.rows
    ]
    note = [f"<p class='note'>{_text(table.note)}</p>"] if table.note else []
    return [
        f"<h3>{_text(table.title)}</h3><div class='wide'><table>",
        f"<thead><tr>{head}</tr></thead><tbody>",
        *rows,
        "</tbody></table></div>",
        *note,
    ]


def _cell(place: int, cell: report.Cell) -> str:
    """A rate is shaded by its size; the number is there for who sees no shade."""
    text = report.plain(cell)
    if place == 0:
        return f"<th scope='row'>{_text(text)}</th>"
    try:
        value = float(text.split(" [")[0]) if " [" in text else None
    except ValueError:
        value = None
    shade = ""
    if value is not None and 0 <= value <= 1:
        shade = f" style='background: rgba(40, 120, 80, {0.45 * value:.2f})'"
    return f"<td class='rate'{shade}>{_text(text)}</td>"


def _plot(path: Path, title: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return f"<img alt='{_text(title)}' src='data:image/png;base64,{data}'>"


def _text(text: object) -> str:
    return html.escape(str(text))
