"""Detect `noise`: the sign code of an estimate of the noise, and where it agrees."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from watermark.detectors import signs
from watermark.detectors.base import Score
from watermark.detectors.stats import ln_sign_tail
from watermark.errors import InvalidSignal
from watermark.schemes.noise import Code
from watermark.schemes.signs import SignCode

CELL = 256  # numbers of a cell of the map, at least
FAMILY = 1e-3  # family-wise error of the map


def one_nonce(latents: NDArray[np.floating], code: Code, nonce: int) -> float:
    """Ln of the pilot's tail bound for one nonce fixed beforehand."""
    pilot = signs.weights(latents)[code.pilot]
    return signs.ln_tail(int(pilot @ code.pilot_signs(nonce)), pilot)


def score(
    latents: NDArray[np.floating], code: Code, nonces: signs.Nonces | None = None
) -> Score:
    """Test one latent (of the code's shape) under the code's key record.

    Args:
        latents: an estimate of the initial noise, in any scale.
        code: of the key record.
        nonces: in registry mode those on file, a mapping of those to mark ids, or a
            `signs.Registry`.

    Returns:
        A score whose `payload` is the mark id where the joint statistic alone decides
        at p <= 1e-6, else None.

    Raises:
        InvalidSignal: NaN or infinity, another shape, or a registry's record without
            nonces.
    """
    _check_shape(latents, code)
    return signs.score(signs.weights(latents), code, nonces)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How well each cell of a latent agrees with one nonce and mark id.

    Attributes:
        cell: numbers of a cell along each axis; the last along an axis may be shorter.
        correlation: float64 [cells of each axis], ``sum w s / sum |w|``: the share of
            the noise that is the mark's, 1 where all signs agree, 0 in foreign content.
        equal: float64, the share of equal signs.
        z: float64, ``sum w s / sqrt(sum w^2)``: over the draw of the key it has mean 0
            and deviation 1 where the content was chosen without it.
        ln_p: float64, of "no mark here": the cell's numbers were chosen without the
            key. Valid for every content (`stats.ln_sign_tail`).
        ln_p_altered: float64, of "the mark is here, half as strong as in the median
            cell or stronger". By Hoeffding's inequality, valid if the signs of a cell
            err independently; a model of the channel, not a promise.
    """

    cell: tuple[int, ...]
    correlation: NDArray[np.float64]
    equal: NDArray[np.float64]
    z: NDArray[np.float64]
    ln_p: NDArray[np.float64]
    ln_p_altered: NDArray[np.float64]

    def marked(self, error: float = FAMILY) -> NDArray[np.bool_]:
        """Cells that carry the mark; that any one does not has probability `error`.

        Holm's step-down test over all cells. Its error holds for a nonce and mark id
        that were not fitted to this latent, as those of a ledger's record; those that
        `score` read are wrong with its p-value, which then adds.
        """
        return _holm(self.ln_p, error)

    def altered(self, error: float = FAMILY) -> NDArray[np.bool_]:
        """Cells whose content was replaced, by the model of `ln_p_altered`."""
        return _holm(self.ln_p_altered, error)


def agreement(
    latents: NDArray[np.floating],
    code: SignCode,
    nonce: int,
    mark_id: bytes,
    cell: Sequence[int] | None = None,
) -> Agreement:
    """Where in a latent the mark is: agreement with its signs, cell by cell.

    Args:
        latents: an estimate of the initial noise of the code's shape: (channels,
            length) for audio, (channels, height, width) for pictures, (channels,
            frames, height, width) for video; no batch axis.
        code: of the key record; of `latent` as well, and then of latents that
            `watermark.schemes.latent.whiten` made.
        nonce: of the mark.
        mark_id: of the mark.
        cell: numbers along each axis. Default: the whole first axis, and of the others
            alike until a cell holds 256.

    Raises:
        InvalidSignal: NaN or infinity, or another shape.
        ValueError: not one positive number for each axis.
    """
    _check_shape(latents, code)
    size = _cell_of(code.shape) if cell is None else tuple(int(k) for k in cell)
    if len(size) != len(code.shape) or min(size) < 1:
        raise ValueError(f"cell is {size}, expected numbers for {code.shape}")
    w = signs.weights(latents).reshape(code.shape).astype(np.int64)
    agreeing = w * code.signs(nonce, mark_id)
    total = _per_cell(agreeing, size).astype(np.float64)
    sizes = _per_cell(np.abs(w), size).astype(np.float64)
    norms = np.sqrt(_per_cell(w * w, size))
    tested = np.maximum(_per_cell((w != 0).astype(np.int64), size), 1)
    equal = _per_cell((agreeing > 0).astype(np.int64), size) / tested
    correlation = total / np.maximum(sizes, 1.0)
    t = total / np.maximum(norms, 1.0)
    ln_p = np.array([ln_sign_tail(value) for value in t.flat]).reshape(t.shape)
    least = max(float(np.median(correlation)) / 2, 0.0)
    short = np.maximum(least * sizes - total, 0.0) / np.maximum(norms, 1.0)
    empty = norms == 0
    return Agreement(
        cell=size,
        correlation=correlation,
        equal=equal,
        z=t,
        ln_p=np.where(empty, 0.0, ln_p),
        ln_p_altered=np.where(empty, 0.0, -short * short / 2),
    )


def _check_shape(latents: NDArray[np.floating], code: SignCode) -> None:
    if tuple(latents.shape) != code.shape:
        raise InvalidSignal(
            f"found latents of shape {tuple(latents.shape)}, expected {code.shape}"
        )


def _cell_of(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Whole along the first axis; along the others doubled in turn, last axis first."""
    cell = [shape[0], *(1 for _ in shape[1:])]
    if len(shape) == 1:
        return (min(shape[0], CELL),)
    while math.prod(cell) < CELL:
        room = [k for k in range(len(shape) - 1, 0, -1) if cell[k] < shape[k]]
        if not room:
            break
        axis = min(room, key=lambda k: cell[k])
        cell[axis] = min(2 * cell[axis], shape[axis])
    return tuple(cell)


def _per_cell(values: NDArray[np.int64], cell: tuple[int, ...]) -> NDArray[np.int64]:
    for axis, width in enumerate(cell):
        starts = np.arange(0, values.shape[axis], width)
        values = np.add.reduceat(values, starts, axis=axis)
    return values


def _holm(ln_p: NDArray[np.float64], error: float) -> NDArray[np.bool_]:
    flat = ln_p.reshape(-1)
    order = np.argsort(flat, kind="stable")
    limits = math.log(error) - np.log(np.arange(len(flat), 0, -1))
    passed = np.cumprod(flat[order] <= limits).astype(bool)
    rejected = np.zeros(len(flat), dtype=np.bool_)
    rejected[order] = passed
    return rejected.reshape(ln_p.shape)
