"""How a marked picture was turned, flipped, scaled and cropped: read off the template.

The template's waves (`watermark.schemes.template`) stand out in the spectrum. A grid of
angles, scales and flips is laid over the spectrum's magnitude, which does not know of
crops; the best places are refined; the phases there tell the shift.

The template's sub-key is independent of every code's. What is found here is a function
of the picture and that sub-key, so a test under another sub-key pays only for the
geometries that it tries, not for the grid.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from watermark.errors import InvalidSignal
from watermark.keys import KeyRecord
from watermark.schemes.template import PERIOD, waves

BLOCK = 8  # pixels: what is undone begins at a multiple of it
LEAST_SIDE = 96  # pixels; of less no angle can be read
COARSE = 512  # pixels on a side of the window for the grid
WINDOW = 1024  # and of that for the rest; more pixels are not looked at
SCALES = 0.45, 2.2
STEP_ANGLE, STEP_SCALE = math.radians(0.5), 0.01
FINER = ((0.25, 4), (0.06, 4), (0.015, 4))  # of a step of the grid, and how many
LOUD, LOUDER = 4.0, 10.0  # times its neighbourhood: what counts of a peak
UNSURE = 0.25  # pixels from the nearest: the next may be meant
LOUDEST = 2.0  # times the median wave: what counts of one for the shift
PLACES = 6  # of the grid that are refined
NEAR_ANGLE, NEAR_SCALE = math.radians(0.2), 0.003  # of a quarter turn and of scale 1

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Geometry:
    """What happened to a picture: its pixel q came from ``matrix @ q + shift``.

    Coordinates are (across, down) in pixels, from the first pixel's centre. `shift` is
    known modulo 1,024 pixels.

    Attributes:
        matrix: (xx, xy, yx, yy), from the picture to the marked frame.
        shift: (x, y) of the picture's first pixel in the marked frame.
        strength: coherence of the template's waves, 0 to 1; chance gives about 0.5.
    """

    matrix: tuple[float, float, float, float]
    shift: tuple[float, float]
    strength: float = 0.0

    @property
    def flipped(self) -> bool:
        """Whether left and right are swapped."""
        xx, xy, yx, yy = self.matrix
        return xx * yy - xy * yx < 0

    @property
    def scale(self) -> float:
        """The picture's size over the marked one's."""
        xx, xy, yx, yy = self.matrix
        return 1 / math.sqrt(abs(xx * yy - xy * yx))

    @property
    def degrees(self) -> float:
        """The angle by which the picture was turned, after any flip; -180 to 180."""
        return math.degrees(math.atan2(-self.matrix[2], self.matrix[3]))

    @property
    def exact(self) -> bool:
        """Whether only whole pixels were moved, by quarter turns, flips and crops."""
        return all(value in (-1.0, 0.0, 1.0) for value in self.matrix) and all(
            value == int(value) for value in self.shift
        )

    def undo(
        self, pixels: NDArray[np.uint8], most: int = WINDOW
    ) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        """The picture as it was in the marked frame.

        Args:
            pixels: uint8 (height, width, 3).
            most: pixels on a side of the window around the centre that is used.

        Returns:
            (pixels, (row, column) of the first pixel in the marked frame). Rows and
            columns are multiples of 8; where the picture has nothing stands its mean.
        """
        matrix = np.reshape(self.matrix, (2, 2))
        window, corner = _centre(pixels, most)
        height, width = window.shape[:2]
        shift = np.asarray(self.shift) + matrix @ corner
        ends = np.asarray([(x, y) for x in (0, width - 1) for y in (0, height - 1)])
        ends = ends @ matrix.T + shift
        low = np.floor(ends.min(0) / BLOCK) * BLOCK
        size = np.ceil(ends.max(0)) + 1 - low
        # Pillow counts from a pixel's corner, we from its centre.
        back = np.linalg.inv(matrix)
        origin = back @ (low - shift - 0.5) + 0.5
        (xx, xy), (yx, yy) = back.tolist()
        canvas = Image.fromarray(window).transform(
            (int(size[0]), int(size[1])),
            Image.Transform.AFFINE,
            (xx, xy, float(origin[0]), yx, yy, float(origin[1])),
            Image.Resampling.NEAREST if self.exact else Image.Resampling.BICUBIC,
            fillcolor=tuple(int(c) for c in window.mean((0, 1))),
        )
        return np.asarray(canvas, np.uint8), (int(low[1]), int(low[0]))


def estimate(
    pixels: NDArray[np.uint8], record: KeyRecord, *, most: int = 4
) -> list[Geometry]:
    """The likeliest geometries of a picture, best first, at most `most`.

    Any angle, flips, scales from 0.45 to 2.2, any shift. The list is never a claim: a
    picture without a template has geometries too, and a code's test rejects them.

    Args:
        pixels: uint8 (height, width, 3), RGB.
        record: of the scheme that laid the template.
        most: how many at most; each that is tried on a code must be counted.

    Raises:
        InvalidSignal: another shape or dtype, or a side under 96 pixels.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise InvalidSignal(f"found pixels of shape {pixels.shape}, expected RGB bytes")
    if min(pixels.shape[:2]) < LEAST_SIDE:
        raise InvalidSignal(
            f"found {pixels.shape[1]}x{pixels.shape[0]} pixels, expected at least "
            f"{LEAST_SIDE}x{LEAST_SIDE}"
        )
    laid = waves(record).astype(np.float64)
    window, corner = _centre(pixels, WINDOW)
    flat = _flattened(window)
    coarse, fine = _peaks(_flattened(_centre(pixels, COARSE)[0])), _peaks(flat)
    # The phases of all waves together tell more than their magnitudes: where a picture
    # was only flipped, quarter-turned and cropped they are asked directly.
    found: list[Geometry] = []
    for flip, quarter in itertools.product((False, True), range(4)):
        found += _placed(flat, corner, laid, flip, quarter * math.pi / 2, 1.0)
    for place in _grid(np.minimum(coarse, LOUD), laid[:, :2] / PERIOD):
        flip, angle, scale = _refined(np.minimum(fine, LOUDER), laid, place)
        for turned in (angle, angle + math.pi):
            found += _placed(flat, corner, laid, flip, turned, scale)
    found.sort(key=lambda g: -g.strength)
    return [g for i, g in enumerate(found) if g not in found[:i]][:most]


def _centre(
    pixels: NDArray[np.uint8], most: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The middle of a picture, and where (across, down) it begins."""
    top, left = (max(0, (side - most) // 2) for side in pixels.shape[:2])
    part = np.ascontiguousarray(pixels[top : top + most, left : left + most])
    return part, np.asarray((left, top))


def _flattened(pixels: NDArray[np.uint8]) -> Floats:
    """The luma's fine structure, edges clipped, under a Hann window."""
    luma = pixels.astype(np.float64) @ np.asarray((0.299, 0.587, 0.114))
    fine = np.clip(luma - _box(luma, 4), -6, 6)
    height, width = luma.shape
    flat: Floats = fine * np.outer(np.hanning(height), np.hanning(width))
    return flat


def _box(values: Floats, radius: int) -> Floats:
    """The mean over a square around each number, edges repeated."""
    count = 2 * radius + 1
    for _ in (0, 1):  # down, then across
        padded = np.pad(values, ((radius + 1, radius), (0, 0)), "edge")
        total = np.cumsum(padded, axis=0)
        values = ((total[count:] - total[:-count]) / count).T
    return values


def _peaks(flat: Floats) -> Floats:
    """The spectrum's magnitude over that of its neighbourhood.

    The transform is at least twice as large as the picture, so that a peak is several
    numbers wide: (size, size // 2 + 1), frequency k / size at k.
    """
    size = 2 << (max(flat.shape) - 1).bit_length()
    magnitude = np.abs(np.fft.rfft2(flat, (size, size)))
    peaks: Floats = magnitude / (_box(magnitude, 16) + 1e-9)
    return peaks


def _matrix(flip: bool, angle: float, scale: float) -> Floats:
    """From the picture to the marked frame."""
    c, s = math.cos(angle) / scale, math.sin(angle) / scale
    return np.asarray(((-c, -s) if flip else (c, s), (-s, c)))


def _moved(
    frequencies: Floats, flip: bool, angles: Floats, scales: Floats
) -> tuple[Floats, Floats]:
    """Where the waves stand in the picture's spectrum: (across, down), across >= 0."""
    across = -frequencies[:, 0] if flip else frequencies[:, 0]
    down = frequencies[:, 1]
    c, s = np.cos(angles)[..., None], np.sin(angles)[..., None]
    x, y = c * across - s * down, s * across + c * down
    sign = np.where(x < 0, -1.0, 1.0) / scales[..., None]
    return x * sign, y * sign


def _grid(peaks: Floats, frequencies: Floats) -> list[tuple[bool, float, float]]:
    """The best (flip, angle, scale) of the grid, angles from 0 to a half turn."""
    size = len(peaks)
    angles = np.arange(0, math.pi, STEP_ANGLE)
    low, high = (math.log(scale) for scale in SCALES)
    scales = np.exp(np.arange(low, high, STEP_SCALE))
    sums = np.empty((2, len(angles), len(scales)))
    for flip in (0, 1):
        for i, angle in enumerate(angles):
            x, y = _moved(frequencies, bool(flip), np.full(len(scales), angle), scales)
            columns = np.rint(x * size).astype(np.int64)
            rows = np.rint(y * size).astype(np.int64) % size
            sums[flip, i] = peaks[rows, columns].sum(-1)
    found = []
    for _ in range(PLACES):
        flip, i, j = map(int, np.unravel_index(sums.argmax(), sums.shape))
        found.append((bool(flip), float(angles[i]), float(scales[j])))
        # Its neighbours are the same peak; angles go round.
        around = np.arange(i - 4, i + 5) % len(angles)
        sums[flip, around, max(0, j - 4) : j + 5] = 0
    return found


def _refined(
    peaks: Floats, laid: Floats, place: tuple[bool, float, float]
) -> tuple[bool, float, float]:
    """`place` on ever finer grids around it."""
    flip, angle, scale = place
    for step, reach in FINER:
        offsets = np.arange(-reach, reach + 1) * step
        angles = np.repeat(angle + offsets * STEP_ANGLE, len(offsets))
        scales = np.tile(scale * (1 + offsets * STEP_SCALE), len(offsets))
        x, y = _moved(laid[:, :2] / PERIOD, flip, angles, scales)
        sums = _between(peaks, x * len(peaks), y * len(peaks)).sum(-1)
        best = int(sums.argmax())
        angle, scale = float(angles[best]), float(scales[best])
    return flip, angle, scale


def _between(peaks: Floats, x: Floats, y: Floats) -> Floats:
    """`peaks` at (y, x), linear between its numbers."""
    size = len(peaks)
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    x, y = x - left, y - top
    right = np.minimum(left + 1, peaks.shape[1] - 1)
    above, below = top % size, (top + 1) % size
    out: Floats = (peaks[above, left] * (1 - x) + peaks[above, right] * x) * (1 - y) + (
        peaks[below, left] * (1 - x) + peaks[below, right] * x
    ) * y
    return out


def _placed(
    flat: Floats,
    corner: NDArray[np.int64],
    laid: Floats,
    flip: bool,
    angle: float,
    scale: float,
) -> list[Geometry]:
    """The geometry with its shift; a whole turn and scale 1 where they fit as well."""
    free = _shifted(flat, corner, laid, _matrix(flip, angle, scale))
    turn = round(angle / (math.pi / 2)) * math.pi / 2
    if abs(angle - turn) > NEAR_ANGLE or abs(scale - 1) > NEAR_SCALE:
        return [free]
    whole = _shifted(flat, corner, laid, np.rint(_matrix(flip, turn, 1.0)))
    if whole.strength < 0.95 * free.strength:
        return [free]
    place = np.asarray(whole.shift)
    nearest = np.rint(place)
    found = [_exactly(whole, nearest)]
    # Half way between two pixels both are asked: one pixel off, no code is read.
    off = place - nearest
    axis = int(np.abs(off).argmax())
    if abs(off[axis]) > UNSURE:
        nearest[axis] += math.copysign(1, off[axis])
        found.append(_exactly(whole, nearest))
    return found


def _exactly(whole: Geometry, place: Floats) -> Geometry:
    x, y = (place % PERIOD).tolist()
    return Geometry(whole.matrix, (x, y), whole.strength)


def _shifted(
    flat: Floats, corner: NDArray[np.int64], laid: Floats, matrix: Floats
) -> Geometry:
    """The shift at which the phases of the waves agree best with the template's."""
    frequencies, phases = laid[:, :2] / PERIOD, laid[:, 2] / 256
    seen = frequencies @ matrix  # in the picture: the transposed matrix times each
    middle = (np.asarray(flat.shape[::-1]) - 1) / 2
    x, y = (np.arange(n) - m for n, m in zip(flat.shape[::-1], middle, strict=True))
    rows = np.exp(-2j * np.pi * np.outer(seen[:, 1], y)) @ flat
    values = (rows * np.exp(-2j * np.pi * np.outer(seen[:, 0], x))).sum(-1)
    # What is left of each wave's phase is 2 pi times frequency times place. Loud waves
    # count more, but none decides alone.
    size = np.abs(values) + 1e-9
    size = size / np.minimum(size / np.median(size), LOUDEST)
    values = values / size * np.exp(-2j * np.pi * phases)
    spectrum = np.zeros((PERIOD, PERIOD // 2 + 1), np.complex128)
    across, down = laid[:, 0].astype(np.int64), laid[:, 1].astype(np.int64)
    spectrum[down, across] = np.conj(values)
    surface = np.fft.irfft2(spectrum, (PERIOD, PERIOD))
    best = np.asarray(np.unravel_index(surface.argmax(), surface.shape))[::-1]
    place, strength = best.astype(np.float64), 0.0
    total = float(np.abs(values).sum()) + 1e-9
    for step in (0.25, 0.0625):
        offsets = np.arange(-4, 5) * step
        grid = np.stack(np.meshgrid(offsets, offsets), -1).reshape(-1, 2) + place
        waves_there = np.exp(-2j * np.pi * grid @ frequencies.T)
        fits = (waves_there @ values).real
        place, strength = grid[fits.argmax()], float(fits.max()) / total
    x0, y0 = ((place - matrix @ (corner + middle)) % PERIOD).tolist()
    (xx, xy), (yx, yy) = matrix.tolist()
    return Geometry((xx, xy, yx, yy), (x0, y0), strength)
