"""Video whose frames were cut, dropped or re-ordered: which was which, and how sure.

The code of a video is one code over the whole array, so frame j has signs of its own.
Every way to lay the frames that were found on the frames of the code, each on one of
its own or on none, is a hypothesis, and of each the statistic is a signed sum of fixed
weights. They are counted in three classes, each with a third of the error:

- shifts: all frames moved alike, ``frames + found - 1`` of them;
- in order: frames left out, none swapped, ``C(frames + found, frames)``;
- any order: ``sum_k C(frames, k) C(found, k) k!``.

How the best layout is sought is of no account to the p-value. Here: the nonce by the
pilot under every shift (so some frames must be aligned under one), then the agreement
of every frame with every place, then the best path through that table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from watermark.detectors import signs
from watermark.detectors.base import Score
from watermark.errors import InvalidSignal
from watermark.schemes.signs import SignCode

REACH = 1 << 17  # pilot coordinates that the nonce is sought by
PRICE = 2.0  # standard deviations of agreement, below which a frame is left out
CLASSES = 3

Floats = NDArray[np.float64]
Layout = tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Frames:
    """A score, and of each frame its place in the video that was marked, or None."""

    score: Score
    places: Layout


def score(
    latents: NDArray[np.floating],
    code: SignCode,
    axis: int = 1,
    nonces: signs.Nonces | None = None,
) -> Frames:
    """Test a video's latents that may have lost frames, or their order.

    Args:
        latents: an estimate of the initial noise, of the code's shape but along `axis`.
        code: of the key record and of the shape that was marked.
        axis: of the frames; 1 in (channels, frames, height, width).
        nonces: in registry mode those on file, or a mapping of those to mark ids.

    Raises:
        InvalidSignal: NaN or infinity, another shape, or as `signs.score`.
    """
    rest = [n for k, n in enumerate(code.shape) if k != axis]
    if (
        latents.ndim != len(code.shape)
        or not 0 <= axis < latents.ndim
        or [n for k, n in enumerate(latents.shape) if k != axis] != rest
        or latents.shape[axis] == 0
    ):
        raise InvalidSignal(
            f"found latents of shape {tuple(latents.shape)}, expected {code.shape} "
            f"with any number of frames along axis {axis}"
        )
    w = signs.weights(latents).reshape(latents.shape)
    found = np.ascontiguousarray(np.moveaxis(w, axis, 0))
    shift, nonce = _best_shift(found, code, axis, nonces)
    frames = code.shape[axis]
    best = [_judged(found, code, axis, shift, nonce, frames + len(found) - 1)]
    many = math.comb(frames + len(found), frames)
    anyhow = sum(
        math.comb(frames, k) * math.comb(len(found), k) * math.factorial(k)
        for k in range(min(frames, len(found)) + 1)
    )
    # The second time by all signs, with the mark id that the first layout gave.
    mark_id = best[0].score.payload
    for _ in range(2):
        table = _agreements(found, code, axis, nonce, mark_id)
        for layout, count in ((_in_order(table), many), (_any_order(table), anyhow)):
            best.append(_judged(found, code, axis, layout, nonce, count))
        read = min(best, key=lambda one: one.score.log10_p()).score.payload
        if read is None or read == mark_id:
            break
        mark_id = read
    return min(best, key=lambda one: one.score.log10_p())


def _laid(
    found: signs.Weights, code: SignCode, axis: int, layout: Layout
) -> signs.Weights:
    """The weights in the code's own flat order, 0 where there is no frame."""
    out = np.zeros((code.shape[axis], *found.shape[1:]), dtype=np.int32)
    for i, place in enumerate(layout):
        if place is not None:
            out[place] = found[i]
    return np.ascontiguousarray(np.moveaxis(out, 0, axis)).reshape(-1)


def _best_shift(
    found: signs.Weights, code: SignCode, axis: int, nonces: signs.Nonces | None
) -> tuple[Layout, signs.Candidates]:
    """The shift under which one nonce stands out most, and that nonce."""
    frames = code.shape[axis]
    best: tuple[float, Layout, signs.Candidates] | None = None
    for shift in sorted(range(1 - len(found), frames), key=abs):
        layout = tuple(
            i + shift if 0 <= i + shift < frames else None for i in range(len(found))
        )
        pilot = _laid(found, code, axis, layout)[code.pilot[:REACH]]
        of = signs.candidates(pilot, code, nonces)
        if not of.found:
            return layout, of
        t = signs.normalised(of.found[0][0], pilot)
        if best is None or t > best[0]:
            best = (t, layout, replace(of, found=of.found[:1]))
        if t >= signs.PLAIN:
            break
    assert best is not None  # there is a frame, so there is a shift
    return best[1:]


def _judged(
    found: signs.Weights,
    code: SignCode,
    axis: int,
    layout: Layout,
    of: signs.Candidates,
    layouts: int,
) -> Frames:
    w = _laid(found, code, axis, layout)
    if of.found:
        nonce = of.found[0][1]
        total = int(np.sum(w[code.pilot] * code.pilot_signs(nonce), dtype=np.int64))
        of = replace(of, found=[(total, nonce)])
    return Frames(signs.judged(w, code, of, CLASSES * layouts), layout)


def _agreements(
    found: signs.Weights,
    code: SignCode,
    axis: int,
    of: signs.Candidates,
    mark_id: bytes | None,
) -> Floats:
    """[found, frames]: of every frame at every place its sum, in deviations."""
    keyed = np.zeros(code.size, dtype=np.int32)
    if of.found:
        nonce = of.found[0][1]
        if mark_id is None:
            keyed[code.pilot] = code.pilot_signs(nonce)
        else:
            keyed = code.signs(nonce, mark_id).reshape(-1)
    s = np.moveaxis(keyed.reshape(code.shape), axis, 0)
    s = np.ascontiguousarray(s).reshape(len(s), -1).astype(np.float32)
    frames = found.reshape(len(found), -1).astype(np.float32)
    # Whole numbers; what a float32 sum rounds away is of no account to a layout.
    norms = np.sqrt((frames**2) @ (s**2).T)
    table: Floats = (frames @ s.T) / np.maximum(norms, 1.0)
    return table.astype(np.float64)


def _in_order(table: Floats) -> Layout:
    """The increasing layout with the largest sum of agreements above `PRICE`."""
    gain = table - PRICE
    found, frames = gain.shape
    best = np.zeros((found + 1, frames + 1))
    for i in range(found):
        taken = best[i, :-1] + gain[i]
        best[i + 1, 1:] = np.maximum.accumulate(np.maximum(best[i, 1:], taken))
    layout: list[int | None] = [None] * found
    i, j = found, frames
    while i and j:
        if best[i, j] == best[i, j - 1]:
            j -= 1
        elif best[i, j] == best[i - 1, j]:
            i -= 1
        else:
            i, j = i - 1, j - 1
            layout[i] = j
    return tuple(layout)


def _any_order(table: Floats) -> Layout:
    """Each frame where it agrees best, the surest first, one to a place."""
    layout: list[int | None] = [None] * len(table)
    free = np.ones(table.shape, dtype=np.bool_)
    while True:
        left = np.where(free, table, -np.inf)
        i, j = np.unravel_index(int(np.argmax(left)), table.shape)
        if left[i, j] < PRICE:
            return tuple(layout)
        layout[int(i)] = int(j)
        free[i, :] = False
        free[:, j] = False
