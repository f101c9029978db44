"""``wm verify --map``: where a mark that was read is, as a picture."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image

from watermark.cli.terminal import Failure, hint
from watermark.report import Cells, Report

SIDE = 16  # pixels of a cell
BETWEEN = 1  # cells from one frame of a film to the next


def write(report: Report, path: Path) -> None:
    """Write the map of the surest mark as PNG, or say that there is none.

    Raises:
        Failure: the file cannot be written.
    """
    maps = [e for e in report.evidence if e.map]
    if not maps:
        hint(f"No map was written to {path}: no mark was read that tells where it is")
        return
    surest = min(maps, key=lambda e: e.log10_p or 0.0)
    try:
        drawn(surest.map).save(path, "PNG")
    except OSError as problem:
        raise Failure(f"the map cannot be written to {path}: {problem}") from problem
    hint(f"Where {surest.scheme} is: {path}; white: the mark is there, black: not")


def drawn(cells: Cells) -> Image.Image:
    """A map as a grey picture: white where the mark is as strong as in most cells.

    The frames of a film lie in rows, the first at the top left.
    """
    array = np.array(cells, dtype=np.float64)
    agreeing = array[array > 0]
    usual = float(np.median(agreeing)) if agreeing.size else 1.0
    frames = array if array.ndim == 3 else array[None]
    grey = np.rint(np.clip(frames / usual, 0, 1) * 255).astype(np.uint8)
    count, rows, columns = grey.shape
    across = math.ceil(math.sqrt(count))
    down = -(-count // across)
    sheet = np.full(
        (down * (rows + BETWEEN), across * (columns + BETWEEN)), 128, np.uint8
    )
    for i, frame in enumerate(grey):
        top = i // across * (rows + BETWEEN)
        left = i % across * (columns + BETWEEN)
        sheet[top : top + rows, left : left + columns] = frame
    shown = sheet[: sheet.shape[0] - BETWEEN, : sheet.shape[1] - BETWEEN]
    return Image.fromarray(shown.repeat(SIDE, 0).repeat(SIDE, 1))
