"""Where a mark that was read is: the map of a picture, or of every frame of a film.

The cells are those of `watermark.detectors.noise.agreement`, whose docstring says what
their numbers are: the share that agrees with the mark's signs, and the same in standard
deviations. What was drawn or replaced since stands out as cells near 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark.detectors import noise, signs
from watermark.report import Cells
from watermark.schemes.signs import SignCode

MOST_CELLS = 4096  # of a map; cells are doubled until there are no more
DIGITS = 3


@dataclass(frozen=True, slots=True)
class Place:
    """What was seen where a mark is, if it is here.

    Attributes:
        latents: of the code's shape, space last: (channels, height, width), with a film
            a further axis; or (channels, time).
        code: of the mark.
        nonce: of the mark.
        axis: of the frames, or None.
        places: of each frame that was given its place along `axis`, or None where it is
            not of that film; by default each stands at its own.
    """

    latents: NDArray[np.floating[Any]]
    code: SignCode
    nonce: int
    axis: int | None = None
    places: Sequence[int | None] | None = None

    def map(self, mark_id: bytes) -> tuple[Cells, Cells]:
        """(share that agrees, the same in standard deviations) of each cell."""
        size = _cell(self.code.shape, self.axis)
        seen = noise.agreement(self.latents, self.code, self.nonce, mark_id, size)
        return self._rows(seen.correlation), self._rows(seen.z)

    def ln_p(self, mark_id: bytes) -> float:
        """Ln of the probability that a mark id agrees so well which is not this one."""
        w = signs.weights(self.latents)
        return signs.ln_mark_id(w, self.code, self.nonce, mark_id)

    def _rows(self, values: NDArray[np.float64]) -> Cells:
        return _rows(values, self.axis, self.places)


def _cell(shape: tuple[int, ...], axis: int | None) -> tuple[int, ...]:
    """Whole but along space and time, where it is doubled until the cells are few."""
    space = [n for n in range(max(1, len(shape) - 2), len(shape)) if n != axis]
    cell = [1 if n == axis or n in space else side for n, side in enumerate(shape)]

    def count() -> int:
        pairs = zip(shape, cell, strict=True)
        return math.prod(-(-side // own) for side, own in pairs)

    while math.prod(cell) < noise.CELL or count() > MOST_CELLS:
        room = [n for n in space if cell[n] < shape[n]]
        if not room:
            break
        for n in room:
            cell[n] = min(2 * cell[n], shape[n])
    return tuple(cell)


def _rows(
    values: NDArray[np.float64],
    axis: int | None,
    places: Sequence[int | None] | None,
) -> Cells:
    """As nested tuples, and of a film those of each frame that was given."""
    columns = values.shape[-1]
    rounded = np.round(values, DIGITS) + 0.0  # never -0.0
    if axis is None:
        return _tuples(rounded.reshape(-1, columns))
    frames = np.moveaxis(rounded, axis, 0)
    frames = frames.reshape(len(frames), -1, columns)
    order = range(len(frames)) if places is None else places
    nowhere = np.zeros_like(frames[0])
    return tuple(_tuples(nowhere if n is None else frames[n]) for n in order)


def _tuples(rows: NDArray[np.float64]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(value) for value in row) for row in rows)
