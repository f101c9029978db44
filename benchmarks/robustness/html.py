"""One page of a run: targets, plots and tables, nothing that is not in the file."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import report

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 84rem;
       padding: 0 1rem; color: #1a1a1a; background: #fff; }
h1, h2, h3 { line-height: 1.2; } h2 { margin-top: 3rem; }
p, nav { max-width: 72rem; }
.wide { overflow: auto; max-height: 90vh; }
table { border-collapse: collapse; font-size: .85rem; }
th, td { border: 1px solid #ccc; padding: .25rem .5rem; text-align: left;
         white-space: nowrap; }
thead th { background: #f2f2f2; position: sticky; top: 0; z-index: 2; }
tbody th { background: #fff; position: sticky; left: 0; z-index: 1; }
td.rate { text-align: right; font-variant-numeric: tabular-nums; }
.plots { display: grid; gap: 1rem;
         grid-template-columns: repeat(auto-fit, minmax(min(38rem, 100%), 1fr)); }
img { width: 100%; height: auto; }
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
        *_contents(results),
    ]
    for data in results:
        parts += _section(data, folder)
    parts.append("</body></html>\n")
    return "\n".join(parts)


def _contents(results: list[Mapping[str, Any]]) -> list[str]:
    """Every suite, how many of its targets were reached, and links to its parts."""
    parts = ["<nav><h2>Contents</h2><ul>"]
    for data in results:
        titles = [table.title for table in report.tables(data)]
        if data["plots"]:
            titles.insert(len(data["targets"]) > 0, "Plots")
        links = ", ".join(
            f"<a href='#{_place(data, title)}'>{_text(title)}</a>" for title in titles
        )
        parts.append(
            f"<li><a href='#{_place(data)}'>{_text(data['name'])}</a>"
            f"{_text(_reached(data))}<br>{links}</li>"
        )
    return [*parts, "</ul></nav>"]


def _reached(data: Mapping[str, Any]) -> str:
    judged = [t["reached"] for t in data["targets"] if t["reached"] is not None]
    return f": {sum(judged)} of {len(judged)} targets reached" if judged else ""


def _section(data: Mapping[str, Any], folder: Path) -> list[str]:
    settings = ", ".join(f"{k} {v}" for k, v in data["parameters"].items())
    parts = [
        f"<h2 id='{_place(data)}'>{_text(data['name'])}</h2>",
        f"<p>{_text(settings)}</p>",
        f"<p class='note'>{_text(report.made_by(data))}</p>",
        *(f"<p class='note'>{_text(note)}</p>" for note in data["notes"]),
    ]
    tables = report.tables(data)
    targets = tables[:1] if data["targets"] else []
    for table in targets:
        parts += _table(data, table)
    if data["plots"]:
        parts.append(f"<h3 id='{_place(data, 'Plots')}'>Plots</h3>")
        parts.append("<div class='plots'>")
        for plot in data["plots"]:
            parts.append(_plot(folder / report.file_of(data, plot), plot["title"]))
        parts.append("</div>")
    for table in tables[len(targets) :]:
        parts += _table(data, table)
    return parts


def _place(data: Mapping[str, Any], *title: str) -> str:
    """What a link names a part of the page by."""
    return re.sub(r"[^a-z0-9]+", "-", " ".join([data["name"], *title]).lower())


def _table(data: Mapping[str, Any], table: report.Table) -> list[str]:
    head = "".join(f"<th scope='col'>{_text(c)}</th>" for c in table.columns)
    rows = [
        "<tr>" + "".join(_cell(i, cell) for i, cell in enumerate(row)) + "</tr>"
        for row in table.rows
    ]
    note = [f"<p class='note'>{_text(table.note)}</p>"] if table.note else []
    return [
        f"<h3 id='{_place(data, table.title)}'>{_text(table.title)}</h3>",
        f"<div class='wide'><table><thead><tr>{head}</tr></thead><tbody>",
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
