"""Is this the picture that a fingerprint is of?

Fingerprints are those of `watermark.assets.fingerprint`: means over cells.

What is done to a picture as a whole makes no other of it, and does not count:

- **light**: gain and offset of luma, on a curve; gain and offset of chroma. That is
  brightness, contrast, gamma, saturation, white balance.
- **clipping**: of a cell with pixels at an end of the range all that is known is that
  it was at least as bright, or as dark. Where they lie the picture itself tells, so
  that a cell's mean need not.
- **a small move**: shift, scale and turn by up to `MOST_MOVED` of the side, which a
  mark survives and a mean over a cell does not. Sought only where it matters, by Gauss
  and Newton's method on the pixels.

Flips, larger turns and crops do count: undo them first, and say what part is known.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from watermark.assets.fingerprint import CELLS, CHROMA_CELLS, Means, means

LIMIT = 7.0  # grey levels; see `distance`
LEAST = 16  # cells of luma that can be compared at all
# What makes the seen luma the kept one: gain, and exponent of the curve.
GAINS = (0.5, 2.0)
GAMMAS = (1.0, 0.5, 0.7, 1.4, 2.0)
CHROMA_GAINS = (0.0, 2.0)  # of what was seen; 0 is a picture made grey
BRIGHT, DARK = 250, 5  # pixels that may have been clipped, JPEG's ringing included
CLIPPED = 0.05  # of a cell's pixels: more, and its mean is no mean
CHROMA_CLIPPED = 0.25  # the same of the larger cells of chroma
KNOWN = 0.99  # of a cell's pixels, at least
LEAST_CHROMA = 4  # cells
# Shift across and down, and scale and turn, each as a share of the side.
MOST_MOVED, STEP, ROUNDS = 0.05, 0.01, 4
ALIGNED_SIDE = 256  # pixels, of the copy that is moved
MOST_ALIGNED = 8  # fingerprints of one mark id that it is moved towards

Floats = NDArray[np.float64]
Cells = NDArray[np.bool_]
# (top, left, bottom, right) of a part, as shares of the sides.
Part = tuple[float, float, float, float]
WHOLE: Part = (0.0, 0.0, 1.0, 1.0)


def distance(kept: bytes, pixels: NDArray[np.uint8], part: Part = WHOLE) -> float:
    """How far a picture is from looking as its fingerprint, in grey levels, 0 to 255.

    The root mean square of what the cells of the fingerprint differ by from those of
    the picture, in the light and place that suit them best; beyond `LIMIT` it is
    another picture. What was measured: `docs/decisions/0006-replay.md`; on other draws,
    `python -m benchmarks diffusion --only replay`.

    Args:
        kept: the fingerprint, of the whole picture as it was.
        pixels: uint8 (height, width, 3), RGB: the picture as it is, laid as that was.
        part: where `pixels` are known; cells that are not wholly inside do not count.

    Raises:
        ValueError: no fingerprint of this version, too small a part, or too much of a
            picture that looks different is clipped to tell.
    """
    return nearest([kept], pixels, part)


def nearest(
    kept: Iterable[bytes], pixels: NDArray[np.uint8], part: Part = WHOLE
) -> float:
    """The least `distance` to any of several fingerprints.

    Raises:
        ValueError: as `distance`, for each where none is near.
    """
    picture = _Picture(pixels, part)
    cells = picture.cells
    if np.count_nonzero(cells.known) < LEAST:
        raise ValueError(
            f"{np.count_nonzero(cells.known)} of {CELLS**2} cells of the picture are "
            f"known, expected at least {LEAST}: too few to compare"
        )
    found: list[tuple[float, float, float, Means]] = []
    unread: ValueError | None = None
    for data in kept:
        try:
            luma, blue, red = means(data)
        except ValueError as error:
            unread = error
            continue
        chroma = picture.chroma_squares(blue, red)
        squares, gamma = min((_in_light(luma, cells, g), g) for g in GAMMAS)
        found.append((math.sqrt(squares + chroma), chroma, gamma, luma))
    found.sort(key=lambda one: one[0])
    apart = found[0][0] if found else math.inf
    for _, chroma, gamma, luma in found[:MOST_ALIGNED]:
        if apart > LIMIT:
            apart = min(apart, math.sqrt(_moved(luma, picture, gamma) + chroma))
    if apart > LIMIT and unread is not None:
        raise unread
    if apart > LIMIT and np.count_nonzero(cells.clear) < LEAST:
        raise ValueError(
            f"all but {np.count_nonzero(cells.clear)} of {CELLS**2} cells of the "
            f"picture are partly black or white, expected at least {LEAST} that are "
            "not: too few to compare"
        )
    return apart


@dataclass(frozen=True)
class _Cells:
    """Cells of luma of a picture, [256] each.

    Attributes:
        luma: means.
        known: that lie wholly in the part that is known.
        bright: some of whose pixels may have been clipped at white.
        dark: the same at black.
    """

    luma: Means
    known: Cells
    bright: Cells
    dark: Cells

    @property
    def clear(self) -> Cells:
        """Known, and not clipped."""
        return self.known & ~self.bright & ~self.dark


class _Picture:
    """The picture as it is: its planes, as they lie or moved a little."""

    def __init__(self, pixels: NDArray[np.uint8], part: Part) -> None:
        height, width, _ = pixels.shape
        self._channels = Image.fromarray(pixels).convert("YCbCr").split()
        known = np.zeros((height, width), np.bool_)
        top, left, bottom, right = part
        rows = slice(round(top * height), round(bottom * height))
        known[rows, round(left * width) : round(right * width)] = True
        self._bright = _plane(pixels.max(-1) >= BRIGHT)
        self._dark = _plane(pixels.min(-1) <= DARK)
        self._known = _plane(known)

    @cached_property
    def cells(self) -> _Cells:
        """As it lies."""
        planes = self._channels[0], self._known, self._bright, self._dark
        return _gridded(*(_means(plane) for plane in planes))

    def moved(self, by: Floats) -> _Cells:
        """After a shift across and down, a scaling and a turn, in shares of the side.

        What comes in from outside is not known.
        """
        return _gridded(*(_means(_warped(plane, by)) for plane in self._small))

    @cached_property
    def _small(self) -> list[Image.Image]:
        planes = self._channels[0], self._known, self._bright, self._dark
        width, height = self._known.size
        scale = min(1.0, ALIGNED_SIDE / max(width, height))
        size = max(1, round(scale * width)), max(1, round(scale * height))
        return [plane.resize(size, Image.Resampling.BOX) for plane in planes]

    def chroma_squares(self, *kept: Means) -> float:
        """Mean square of what chroma differs by, in its best light; 0 if not known.

        Args:
            kept: Cb and Cr, (16,) each.
        """
        shares = [
            _means(plane, CHROMA_CELLS) / 255
            for plane in (self._known, self._bright, self._dark)
        ]
        clipped = np.maximum(shares[1], shares[2])
        clear = (shares[0] >= KNOWN) & (clipped <= CHROMA_CLIPPED)
        if np.count_nonzero(clear) < LEAST_CHROMA:
            return 0.0
        squares = [
            _squares(_means(plane, CHROMA_CELLS), own, clear, CHROMA_GAINS)
            for plane, own in zip(self._channels[1:], kept, strict=True)
        ]
        return sum(squares) / len(squares)


def _in_light(kept: Means, cells: _Cells, gamma: float) -> float:
    """Mean square of what luma differs by on one curve.

    The less of two: all cells taken as they are, for a picture that always was black
    or white in parts; and those that may be clipped taken for what they tell.
    """
    curved = _curved(cells.luma, gamma)
    squares = _squares(kept, curved, cells.known, GAINS)
    if np.count_nonzero(cells.clear) < LEAST:
        return squares
    own, its = _centred(kept, curved, cells.clear)
    left = own - _gain(own, its, cells.clear, GAINS) * its
    # What was white may have been brighter still: it was no darker than it seems.
    white, black = cells.bright & ~cells.dark, cells.dark & ~cells.bright
    left = np.where(white, np.minimum(left, 0.0), left)
    left = np.where(black, np.maximum(left, 0.0), left)
    counted = left[cells.known & ~(cells.bright & cells.dark)]
    return min(squares, float(counted @ counted) / np.count_nonzero(cells.clear))


def _moved(kept: Means, picture: _Picture, gamma: float) -> float:
    """The least mean square that is found after moving the picture a little."""
    by, best = np.zeros(4), math.inf
    for _ in range(ROUNDS):
        here = picture.moved(by)
        pairs = [
            (picture.moved(by + step), picture.moved(by - step))
            for step in STEP * np.eye(len(by))
        ]
        clear = here.clear.copy()
        for pair in pairs:
            clear &= pair[0].clear & pair[1].clear
        if np.count_nonzero(clear) < LEAST:
            break
        slopes = [
            (_curved(one.luma, gamma) - _curved(other.luma, gamma)) / (2 * STEP)
            for one, other in pairs
        ]
        terms = np.stack([_curved(here.luma, gamma), *slopes], axis=1)[clear]
        terms -= terms.mean(0)
        own = kept[clear] - kept[clear].mean()
        found = np.linalg.lstsq(terms, own, rcond=None)[0]
        if found[0] < GAINS[0] / 2:  # nothing in common, whatever the place
            break
        by = np.clip(by + found[1:] / found[0], -MOST_MOVED, MOST_MOVED)
        there = picture.moved(by)
        if np.count_nonzero(there.clear) < LEAST:
            break
        best = min(best, _in_light(kept, there, gamma))
    return best


def _squares(
    kept: Means, seen: Means, among: Cells, gains: tuple[float, float]
) -> float:
    """Mean square of what is left of `kept` after the best multiple of `seen`."""
    own, its = _centred(kept, seen, among)
    left = (own - _gain(own, its, among, gains) * its)[among]
    return float(left @ left) / len(left)


def _centred(kept: Means, seen: Means, among: Cells) -> tuple[Means, Means]:
    return kept - kept[among].mean(), seen - seen[among].mean()


def _gain(own: Means, its: Means, among: Cells, gains: tuple[float, float]) -> float:
    power = float(its[among] @ its[among])
    gain = float(own[among] @ its[among]) / power if power else 1.0
    return min(max(gain, gains[0]), gains[1])


def _curved(luma: Means, gamma: float) -> Means:
    return luma if gamma == 1 else 255.0 * (luma / 255.0) ** gamma


def _gridded(luma: Means, known: Means, bright: Means, dark: Means) -> _Cells:
    return _Cells(
        luma=luma,
        known=known >= 255 * KNOWN,
        bright=bright > 255 * CLIPPED,
        dark=dark > 255 * CLIPPED,
    )


def _plane(mask: Cells) -> Image.Image:
    return Image.fromarray(255 * mask.astype(np.uint8))


def _means(plane: Image.Image, count: int = CELLS) -> Means:
    grid = plane.resize((count, count), Image.Resampling.BOX)
    return np.asarray(grid, dtype=np.float64).reshape(-1)


def _warped(plane: Image.Image, by: Floats) -> Image.Image:
    """`plane` moved; black where nothing is known."""
    (across, down, scale, turn), (width, height) = map(float, by), plane.size
    x, y, side = width / 2, height / 2, max(width, height)
    grown = 1.0 + scale
    rows = (
        *(grown, -turn, x - grown * x + turn * y + across * side),
        *(turn, grown, y - turn * x - grown * y + down * side),
    )
    affine, smooth = Image.Transform.AFFINE, Image.Resampling.BILINEAR
    return plane.transform(plane.size, affine, rows, smooth)
