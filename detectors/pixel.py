"""Detect `pixel`: fold a picture's cosine coefficients into one tile, and test it.

The weights are the coefficients clipped at 8 units: a function of the picture alone, so
the bound of `watermark.detectors.signs` holds for every picture. It is a function of
the tile signs too, whose sub-key is independent of the code's, and so is the geometry,
which `watermark.detectors.geometry` finds by the template's sub-key: both are fixed
before a sign of the code is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from watermark.detectors import geometry, signs
from watermark.detectors.base import Score
from watermark.detectors.geometry import Geometry
from watermark.kernels import pixel_coefficients
from watermark.kernels.reference_pixel import CLIP
from watermark.schemes.pixel import (
    BLOCK,
    COEFFICIENTS,
    LEAST_SIDE,
    SPREAD,
    TILE,
    Code,
    checked,
)

LARGEST = 1024  # of a weight, as `watermark.kernels.pilot_search` takes it
DECODED = 8  # nonces whose mark id is read: each takes a millisecond
GEOMETRIES = 8  # that `search` tries besides the picture as it is
SURE_LOG10_P = -9.0  # nobody needs a second look


def weights(
    pixels: NDArray[np.uint8], code: Code, origin: tuple[int, int] = (0, 0)
) -> NDArray[np.int32]:
    """The picture's tiles, each times its own signs, clipped and summed.

    Args:
        pixels: uint8 (height, width, 3), RGB.
        code: of the key record.
        origin: (row, column) of the first pixel in the marked frame, multiples of 8.

    Returns:
        int32 (9216,), |w| <= 1024; zero where the picture has nothing to say.

    Raises:
        InvalidSignal: another shape or dtype, or a side under 96 pixels.
    """
    clipped = pixel_coefficients(checked(pixels))
    np.clip(clipped, -CLIP, CLIP, out=clipped)
    down, across = (side // BLOCK for side in origin)
    folded = np.zeros((TILE, TILE, COEFFICIENTS), np.int32)
    for rows, tile_rows, spread_rows in _tiles(down, clipped.shape[0]):
        for columns, tile_columns, spread_columns in _tiles(across, clipped.shape[1]):
            part = clipped[rows, columns] * code.spread[spread_rows, spread_columns]
            folded[tile_rows, tile_columns] += part
    shift = max(0, int(np.abs(folded).max()).bit_length() - LARGEST.bit_length() + 1)
    half = 1 << shift >> 1
    return ((folded + half) >> shift).astype(np.int32).reshape(-1)


def _tiles(first: int, count: int) -> Iterator[tuple[slice, slice, slice]]:
    """Each tile's share of `count` blocks, the first of which is block `first`.

    As slices of the blocks themselves, of the tile and of the tile signs.
    """
    done = 0
    while done < count:
        begin = (first + done) % TILE
        size = min(TILE - begin, count - done)
        spread = (first + done) % SPREAD
        yield (
            slice(done, done + size),
            slice(begin, begin + size),
            slice(spread, spread + size),
        )
        done += size


def score(
    pixels: NDArray[np.uint8], code: Code, *, geometries: Sequence[Geometry] = ()
) -> Score:
    """Test a picture under the code's key record.

    Args:
        pixels: uint8 (height, width, 3), RGB.
        code: of the key record.
        geometries: what may have been done to the picture, from
            `watermark.detectors.geometry.estimate`; none: it is as it was marked.

    Returns:
        The best score; its hypotheses count every geometry tried. `payload` is the mark
        id where the joint statistic alone decides at p <= 1e-6.

    Raises:
        InvalidSignal: another shape or dtype, or a side under 96 pixels.
    """
    if not geometries:
        return _tested(weights(pixels, code), code)
    return _best(checked(pixels), code, geometries, len(geometries))


def search(pixels: NDArray[np.uint8], code: Code) -> Score:
    """As `score`, of the picture as it is and then of the geometries found.

    Half of the error budget belongs to the picture as it is, the other half to at most
    eight geometries; where the first look decides beyond doubt, it is the only one.

    Raises:
        InvalidSignal: another shape or dtype, or a side under 96 pixels.
    """
    plain = _counted(score(pixels, code), 2)
    if plain.log10_p() <= SURE_LOG10_P:
        return plain
    return min(plain, _counted(turned(pixels, code), 2), key=Score.log10_p)


def turned(pixels: NDArray[np.uint8], code: Code) -> Score:
    """As `score`, of the geometries found alone: at most eight, all counted.

    Raises:
        InvalidSignal: another shape or dtype, or a side under 96 pixels.
    """
    found = geometry.estimate(checked(pixels), code.record, most=GEOMETRIES)
    return _best(checked(pixels), code, found, GEOMETRIES)


def _best(
    pixels: NDArray[np.uint8], code: Code, geometries: Sequence[Geometry], tests: int
) -> Score:
    """The best score of any geometry; `tests` of them are counted."""
    scores = [Score(ln_p=0.0, hypotheses=1, n=0, statistic=0.0)]
    for found in geometries:
        undone, origin = found.undo(pixels)
        if min(undone.shape[:2]) >= LEAST_SIDE:
            scores.append(_tested(weights(undone, code, origin), code, tests))
    return min(scores, key=Score.log10_p)


def _tested(w: NDArray[np.int32], code: Code, tests: int = 1) -> Score:
    """As `signs.score`, with fewer mark ids read: of 2**16 nonces few are rivals."""
    found = signs.candidates(w[code.signs.pilot], code.signs, None)
    found = replace(found, found=found.found[:DECODED])
    return signs.judged(w, code.signs, found, tests)


def _counted(score: Score, times: int) -> Score:
    return replace(score, hypotheses=score.hypotheses * times)
