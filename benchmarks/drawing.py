"""Drawing: the plots of a result as PNGs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

BANDS = 4  # curves whose intervals are drawn as bands; of more as bars
BESIDE = 0.6  # of the distance of two abscissae: where the bars of all curves are
MARKS = "os^DvPX"
COLOURS = (
    *("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#e377c2"),
    *("#8c564b", "#7f7f7f", "#bcbd22", "#0b3c5d", "#8b0000", "#0b5d1e", "#4b0082"),
    *("#a65e00", "#005f6b", "#99004d", "#3b2314", "#333333", "#6b6b00"),
)


def draw(plot: Mapping[str, Any], path: Path, names: Sequence[str] = ()) -> None:
    """Write one plot as a PNG.

    Args:
        plot: as `to_dict` gave it.
        path: of the file.
        names: of all curves that are to be seen together, in an order that stays: a
            name has its colour and its mark in all plots.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 4.6), layout="constrained")
    axes = figure.subplots()
    curves = plot["curves"]
    order = list(dict.fromkeys([*names, *(name for name, _ in curves)]))
    for i, (name, points) in enumerate(curves):
        place = order.index(name)
        colour, dashed = COLOURS[place % len(COLOURS)], name in plot.get("dashed", ())
        look: dict[str, Any] = {
            "color": colour,
            "marker": MARKS[place % len(MARKS)],
            "markersize": 4,
            "markerfacecolor": "white" if dashed else colour,
            "linestyle": "--" if dashed else "-",
            "label": name,
        }
        x, y, low, high = zip(*points, strict=True)
        if len(points) > 1 and len(curves) <= BANDS:
            axes.plot(x, y, **look)
            axes.fill_between(x, low, high, color=colour, alpha=0.12)
            continue
        below = [max(0.0, at - end) for at, end in zip(y, low, strict=True)]
        above = [max(0.0, end - at) for at, end in zip(y, high, strict=True)]
        beside = _beside(x, i, len(curves), log=plot["log_x"])
        thin: dict[str, Any] = {"capsize": 1.5, "elinewidth": 0.7, "linewidth": 1.2}
        axes.errorbar(beside, y, yerr=(below, above), **look, **thin)
    for name, x, main in plot.get("lines", ()):
        shade, weight = ("black", "bold") if main else ("grey", "normal")
        axes.axvline(x, color=shade, linestyle=":", linewidth=1.6 if main else 0.8)
        mixed = axes.get_xaxis_transform()  # x in data, y in axes
        font = {"size": "x-small", "weight": weight, "color": shade}
        axes.text(x, 0.02, name, font, transform=mixed, rotation=90, ha="right")
    axes.set(title=plot["title"], xlabel=plot["x"], ylabel=plot["y"])
    if plot["log_x"]:
        axes.set_xscale("log")
    values = [one for _, points in plot["curves"] for _, *ys in points for one in ys]
    if values and min(values) >= 0 and max(values) <= 1:  # shares
        axes.set_ylim(-0.03, 1.03)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize="small")
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _beside(x: Sequence[float], place: int, count: int, *, log: bool) -> list[float]:
    """Abscissae moved a little, so that error bars do not lie on each other."""
    at = [math.log(one) for one in x] if log else list(x)
    gap = min((b - a for a, b in itertools.pairwise(sorted(set(at)))), default=0.0)
    moved = [one + gap * BESIDE * (place - (count - 1) / 2) / count for one in at]
    return [math.exp(one) for one in moved] if log else moved
