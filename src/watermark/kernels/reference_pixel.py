"""Marking finished pictures by their 8x8 cosine blocks, in plain Python.

Integers through and through: the same bits on every platform. Amplitudes are in
sixteenths of an orthonormal DCT unit, pixel differences in 1/256 of a grey level.
"""

from __future__ import annotations

import itertools
from math import isqrt

import numpy as np
from numpy.typing import NDArray

BLOCK = 8  # pixels on a side
# The first nine AC coefficients in JPEG's zigzag order, as (vertical, horizontal).
ZIGZAG = ((0, 1), (1, 0), (2, 0), (1, 1), (0, 2), (0, 3), (1, 2), (2, 1), (3, 0))
# round(1024 sqrt(c / 8) cos((2 x + 1) u pi / 16)), c = 1 for u = 0 and else 2. Every
# row but the first sums to zero, so a flat block has no coefficients at all.
BASIS = (
    (362, 362, 362, 362, 362, 362, 362, 362),
    (502, 426, 284, 100, -100, -284, -426, -502),
    (473, 196, -196, -473, -473, -196, 196, 473),
    (426, -100, -502, -284, 284, 502, 100, -426),
)
CLIP = 128  # 8 units: what of a coefficient the detector looks at
MARGIN = 128  # beyond the clip, so that compression does not pull it back
# Amplitude of one coefficient: 12 units times a mask from 0.8 (flat) to 1.6 (textured).
LEAST, MOST = 154, 307
BUSY = 640  # a coefficient counts for at most 40 units of texture, edges are no texture
LOUDER = 16  # sixteenths that the template gains in the busiest blocks
CALM = 28  # levels that are taken in a flat block, however much there is to spend


def _levels() -> tuple[tuple[int, ...], ...]:
    """From a byte u to 256 (u / 256)**e: coefficients with high e are taken first."""
    fourth = tuple(u**4 >> 24 for u in range(256))
    square = tuple(u * u >> 8 for u in range(256))
    root = tuple(isqrt(u << 8) for u in range(256))
    plain = tuple(range(256))
    return fourth, fourth, plain, square, plain, root, root, root, root


# Low frequencies are taken first: they outlive JPEG 25 and WebP 50.
LEVELS = _levels()


def pixel_coefficients(pixels: NDArray[np.uint8]) -> NDArray[np.int16]:
    """The first nine AC coefficients of the luma of every whole 8x8 block.

    Args:
        pixels: uint8 (height, width, 3), RGB.

    Returns:
        int16 (height // 8, width // 8, 9), in sixteenths of an orthonormal unit.
    """
    rows, columns = pixels.shape[0] // BLOCK, pixels.shape[1] // BLOCK
    out = np.empty((rows, columns, len(ZIGZAG)), np.int16)
    for i in range(rows):
        for j in range(columns):
            block = pixels[BLOCK * i : BLOCK * (i + 1), BLOCK * j : BLOCK * (j + 1)]
            luma = [[_luma(*map(int, p)) for p in row] for row in block]
            half = [
                [sum(b * p for b, p in zip(basis, row, strict=True)) for row in luma]
                for basis in BASIS
            ]
            for k, (v, u) in enumerate(ZIGZAG):
                total = sum(b * p for b, p in zip(BASIS[v], half[u], strict=True))
                out[i, j, k] = (total + (1 << 15)) >> 16
    return out


def pixel_embed(
    pixels: NDArray[np.uint8],
    coefficients: NDArray[np.int16],
    chips: NDArray[np.int8],
    template: NDArray[np.int16],
    faint: int,
    budget: int,
) -> NDArray[np.uint8]:
    """`pixels` with the chips in their blocks' coefficients, and the template.

    The amplitude of a coefficient is the block's own, by its texture, and less or none
    where the detector's clip would not see it (`_amplitude`). Coefficients are taken
    by their levels, lowest first, until their squares reach the budget; in flat blocks
    only up to a level that is low.

    Args:
        pixels: uint8 (height, width, 3), RGB.
        coefficients: of these pixels, by `pixel_coefficients`.
        chips: +1 or -1, int8 (rows, columns, 9), repeated over the blocks.
        template: int16 (height, width) in 1/256 of a grey level, repeated; up to
            twice as strong in busy blocks.
        faint: what the template spends of the budget in a flat block.
        budget: the most that squared changes may sum to, in 1/256 of a grey level's
            square.

    Returns:
        uint8 of the shape of `pixels`: all three channels change by the same amount.
    """
    rows, columns, _ = coefficients.shape
    blocks = [
        [_block(coefficients, chips, i, j) for j in range(columns)] for i in range(rows)
    ]
    spent, total = [0] * 256, 0
    for gain, taken in itertools.chain(*blocks):
        total += gain * gain * faint >> 8
        for level, amplitude in taken:
            spent[level] += amplitude * amplitude
    cut = 0
    while cut < 256 and total + spent[cut] <= budget:
        total += spent[cut]
        cut += 1
    out = pixels.copy()
    height, width, _ = pixels.shape
    for y in range(height):
        for x in range(width):
            i, j, wave, gain = y // BLOCK, x // BLOCK, 0, 16
            if i < rows and j < columns:
                gain, taken = blocks[i][j]
                chip = chips[i % len(chips), j % chips.shape[1]]
                for k, (v, u) in enumerate(ZIGZAG):
                    level, amplitude = taken[k]
                    if level < cut:
                        both = BASIS[v][y % BLOCK] * BASIS[u][x % BLOCK]
                        wave += amplitude * int(chip[k]) * both
            laid = int(template[y % len(template), x % template.shape[1]])
            change = (16 * ((wave + (1 << 15)) >> 16) + gain * laid + 2048) >> 12
            for channel in range(3):
                value = int(pixels[y, x, channel]) + change
                out[y, x, channel] = min(255, max(0, value))
    return out


def _luma(red: int, green: int, blue: int) -> int:
    """BT.601 luma, as in JPEG, rounded to 8 bits."""
    return (77 * red + 150 * green + 29 * blue + 128) >> 8


def _block(
    coefficients: NDArray[np.int16], chips: NDArray[np.int8], i: int, j: int
) -> tuple[int, list[tuple[int, int]]]:
    """The template's gain in sixteenths, and (level, amplitude) of each coefficient."""
    values = [int(c) for c in coefficients[i, j]]
    chip = chips[i % len(chips), j % chips.shape[1]]
    busy = sum(min(abs(c), BUSY) for c in values)
    most = min(MOST, LEAST + busy // 30)
    highest = max(CALM, busy // 6 - 40)
    found = []
    for k, c in enumerate(values):
        level = LEVELS[k][_byte(i, j, k)]
        amplitude = _amplitude(c * int(chip[k]), most) if level < highest else 0
        found.append((level, amplitude))
    return 16 + min(LOUDER, busy // 120), found


def _amplitude(agreement: int, most: int) -> int:
    """What to add to a coefficient that already agrees with its chip by `agreement`.

    Nothing where it agrees beyond clip and margin, or disagrees so much that most of
    the energy would go into what the clip hides.
    """
    if agreement < -CLIP - most // 2:
        return 0
    return max(0, min(most, CLIP + MARGIN - agreement))


def _byte(i: int, j: int, k: int) -> int:
    """A public byte for each coefficient: spreads what is taken evenly."""
    h = (i * 0x9E3779B1 + j * 0x85EBCA77 + k * 0xC2B2AE3D) & 0xFFFFFFFF
    h = ((h ^ h >> 15) * 0x2C1B3C6D) & 0xFFFFFFFF
    h = ((h ^ h >> 12) * 0x297A2D39) & 0xFFFFFFFF
    return (h ^ h >> 15) >> 24
