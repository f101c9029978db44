"""What may have happened to a picture since it was made, and how it looked before.

The codes of `noise` and `latent` are bound to places: a picture that was flipped,
turned, cropped or resized has to be put back before it is tested. Common changes are
tried blindly, and those that a template tells; each is one more hypothesis.

How finely is a matter of the cells of the latents. On the trained model
(docs/decisions/0010) the noise that is found correlates with the true one .63 where a
picture is put back exactly, .41 where it is a quarter of a cell off both ways, .55 at
one degree and .34 at two degrees off, .53 at 2 % and .36 at 4 % off in scale. Moving a
picture by whole cells moves its noise: all places on one grid need one look.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CUTS = (0.95, 0.9, 0.85, 0.8, 0.75, 0.7)  # sides of the cut, of the whole
DEGREES = 10.0  # the largest angle, besides quarter turns
# Degrees from one angle to the next where the longer side has 32 cells. With n cells a
# side the share that stays within a cell of its place, times n, decides: n**-0.5.
STEP, CELLS, MOST_CELLS = 2.0, 32, 128
ESTIMATES = 8  # of templates
MOST = 96  # looks in all: what one picture may cost, in evaluations of the model
PLACES = 2048  # on the grid of one look: what it may cost in searches of the nonce
PERIOD = 1024  # pixels after which a template repeats (`watermark.schemes.template`)


_Float = TypeVar("_Float", np.float32, np.float64)
Pixels = NDArray[np.uint8]


class Estimate(Protocol):
    """What a template tells of a picture (`watermark.detectors.geometry`)."""

    @property
    def flipped(self) -> bool:
        """Whether left and right were swapped."""
        ...

    @property
    def degrees(self) -> float:
        """The angle by which it was turned then, clockwise."""
        ...

    def undo(
        self, pixels: NDArray[np.uint8], most: int = ...
    ) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        """(pixels in the marked frame, (row, column) of the first one)."""
        ...


@dataclass(frozen=True, eq=False)
class Candidate:
    """A picture as it may have been.

    Attributes:
        name: what would have happened to it since.
        pixels: uint8 (height, width, 3).
        inside: (top, left, bottom, right), a part all of which is known; what is not
            known is filled.
        places: (down, across) in pixels, whole cells by which the known part may have
            to be moved: each is one hypothesis. None: they are more than `PLACES`, and
            this is not to be tried.
        known: bool (height, width), where that is more than `inside`.
    """

    name: str
    pixels: Pixels
    inside: tuple[int, int, int, int]
    places: tuple[tuple[int, int], ...] = ((0, 0),)
    known: NDArray[np.bool_] | None = field(default=None, repr=False)

    @property
    def part(self) -> tuple[float, float, float, float]:
        """`inside` as shares of the sides."""
        height, width = self.pixels.shape[:2]
        top, left, bottom, right = self.inside
        return top / height, left / width, bottom / height, right / width

    def masked(self, latents: NDArray[_Float], place: int = 0) -> NDArray[_Float]:
        """Latents or noise of `pixels` at one of `places`, zero where nothing is known.

        Args:
            latents: (..., rows, columns): their last two axes are the picture's.
            place: index of the place.
        """
        height, width = self.pixels.shape[:2]
        if self.inside == (0, 0, height, width):
            return latents
        rows, columns = latents.shape[-2:]
        if self.known is not None:
            down = (2 * np.arange(rows) + 1) * height // (2 * rows)
            across = (2 * np.arange(columns) + 1) * width // (2 * columns)
            return np.where(self.known[np.ix_(down, across)], latents, 0)
        top, bottom = (round(self.inside[i] * rows / height) for i in (0, 2))
        left, right = (round(self.inside[i] * columns / width) for i in (1, 3))
        down = round(self.places[place][0] * rows / height)
        across = round(self.places[place][1] * columns / width)
        bottom, right = min(bottom, rows - down), min(right, columns - across)
        out = np.zeros_like(latents)
        out[..., top + down : bottom + down, left + across : right + across] = latents[
            ..., top:bottom, left:right
        ]
        return out

    def at(self, place: int) -> Candidate:
        """The picture at one of `places`, and nowhere else."""
        down, across = self.places[place]
        if (down, across) == (0, 0):
            return replace(self, places=((0, 0),))
        height, width = self.pixels.shape[:2]
        top, left, bottom, right = self.inside
        part = self.pixels[top:bottom, left:right]
        moved = _placed(self.name, part, (top + down, left + across), (height, width))
        return self if moved is None else moved

    def told(self) -> str:
        """What happened, with the place of a part that is known alone."""
        height, width = self.pixels.shape[:2]
        if self.known is not None or self.inside == (0, 0, height, width):
            return self.name
        return f"{self.name} at {self.inside[1]}, {self.inside[0]}"


def candidates(
    pixels: Pixels,
    native: tuple[int, int] | None = None,
    estimates: Sequence[Estimate] = (),
    cell: int = 8,
) -> Iterator[Candidate]:
    """Pictures that this one may have been, other than itself, at most `MOST`.

    What is tried depends on the sizes alone and on what a template told, never on how
    well a test goes: their number can be counted beforehand. What a template told
    comes first, then the usual size, flips and quarter turns, cuts of any place, and
    small angles.

    Args:
        pixels: uint8 (height, width, 3).
        native: (height, width) that the pipeline makes by default, if it is known.
        estimates: of templates whose sub-keys are none of the tested codes'.
        cell: pixels a side of one cell of the latents.
    """
    size = pixels.shape[0], pixels.shape[1]
    frame = native or size
    fit = min(frame[0] / size[0], frame[1] / size[1])
    scales = (fit * share for share in (1.0, *CUTS))
    cuts = {(round(size[0] * s), round(size[1] * s)): None for s in scales}
    cuts.pop(size, None)
    found = itertools.chain(
        _told(pixels, estimates[:ESTIMATES], frame),
        [whole("resized", _resized(pixels, frame))] if size != frame else (),
        _mirrored(pixels),
        _cut(pixels, frame, cell, size),
        _turned(pixels, frame, cell),
        *(_cut(pixels, frame, cell, cut) for cut in cuts),
    )
    return itertools.islice(found, MOST)


def whole(name: str, pixels: Pixels) -> Candidate:
    """A picture all of which is known."""
    return Candidate(name, pixels, (0, 0, *pixels.shape[:2]))


def _told(
    pixels: Pixels, estimates: Sequence[Estimate], frame: tuple[int, int]
) -> Iterator[Candidate]:
    """As the templates say; they say places modulo `PERIOD`: that of the most overlap.

    Corners that were filled are tested with the rest: a few cells of noise more.
    """
    for estimate in estimates:
        part, place = estimate.undo(pixels)
        row, column = (
            _likeliest(*sides)
            for sides in zip(place, part.shape[:2], frame, strict=True)
        )
        name = "template: " + "flipped, " * estimate.flipped
        # Anticlockwise, as `_unturned` has it.
        name += f"turned by {round(-estimate.degrees, 1) + 0.0} degrees"
        placed = _placed(name, part, (row, column), frame)
        if placed is None:
            continue
        angle = math.radians(abs((estimate.degrees + 45) % 90 - 45))
        full = 1 - _room(angle, (pixels.shape[0], pixels.shape[1])) ** -2
        top, left, bottom, right = placed.inside
        known = np.zeros(frame, np.bool_)
        known[top:bottom, left:right] = True
        down, across = (math.ceil(side * full / 2) for side in part.shape[:2])
        top, left = max(top, row + down), max(left, column + across)
        bottom = max(top, min(bottom, row + part.shape[0] - down))
        right = max(left, min(right, column + part.shape[1] - across))
        inside = top, left, bottom, right
        yield replace(placed, inside=inside, known=known if full else None)


def _likeliest(place: int, length: int, side: int) -> int:
    """`place` modulo `PERIOD`, where `length` covers the most of 0 to `side`."""
    around = (place % PERIOD + k * PERIOD for k in range(-1, 1 + side // PERIOD))
    return max(around, key=lambda at: min(side, at + length) - max(0, at))


def _mirrored(pixels: Pixels) -> Iterator[Candidate]:
    """Flips and quarter turns."""
    for turns, flip in itertools.product(range(4), (False, True)):
        if turns or flip:
            name = f"turned {90 * turns} degrees" * bool(turns)
            name += " and " * bool(turns and flip) + "flipped" * flip
            turned = np.rot90(pixels, -turns)
            yield whole(name, np.ascontiguousarray(turned[:, ::-1] if flip else turned))


def _turned(pixels: Pixels, frame: tuple[int, int], cell: int) -> Iterator[Candidate]:
    """Turned about the middle: as large as before, or cut out of it and enlarged.

    Not enlarged, corners may be empty, added or cut off: the middle is the same.
    """
    height, width = frame
    cells = min(max(height, width, 1) / cell, MOST_CELLS)
    step = STEP * math.sqrt(CELLS / cells) if cells else DEGREES
    fit = max(pixels.shape[0] / height, pixels.shape[1] / width)
    for k in range(1, int(DEGREES / step + 1e-9) + 1):
        for degrees in (k * step, -k * step):
            angle = math.radians(abs(degrees))
            room = _room(angle, frame)
            for scale in (1.0, fit * room):
                yield _unturned(pixels, frame, degrees, scale, room)


def _room(angle: float, size: tuple[int, int]) -> float:
    """The sides of a picture over those of its largest upright part, when turned."""
    return math.cos(angle) + math.sin(angle) * max(size) / min(size)


def _unturned(
    pixels: Pixels, frame: tuple[int, int], degrees: float, scale: float, room: float
) -> Candidate:
    """The frame of a picture that was turned anticlockwise and scaled.

    `room` is `_room` of the frame at this angle.
    """
    (height, width), (tall, wide) = frame, pixels.shape[:2]
    angle = math.radians(degrees)
    c, s = scale * math.cos(angle), scale * math.sin(angle)
    # From a pixel (across, down) of the frame to one of the picture, middle to middle.
    affine = (
        *(c, s, wide / 2 - c * width / 2 - s * height / 2),
        *(-s, c, tall / 2 + s * width / 2 - c * height / 2),
    )

    def turned(picture: Image.Image, fill: tuple[int, ...]) -> Image.Image:
        return picture.transform(
            (width, height),
            Image.Transform.AFFINE,
            affine,
            Image.Resampling.BICUBIC,
            fillcolor=fill if len(fill) > 1 else fill[0],
        )

    mean = tuple(int(c) for c in pixels.mean((0, 1)))
    shown = np.asarray(turned(Image.fromarray(pixels), mean), np.uint8)
    full = Image.fromarray(np.full((tall, wide), 255, np.uint8))
    known = np.asarray(turned(full, (0,))) == 255
    name = f"turned by {degrees:.1f} degrees" + " and enlarged" * (scale != 1.0)
    if known.all():
        return whole(name, shown)
    share = min(1.0, min(tall / height, wide / width) / scale / room)
    rows, columns = (math.ceil(side * (1 - share) / 2) for side in frame)
    inside = rows, columns, max(rows, height - rows), max(columns, width - columns)
    return Candidate(name, shown, inside, known=known)


def _cut(
    pixels: Pixels, frame: tuple[int, int], cell: int, cut: tuple[int, int]
) -> Iterator[Candidate]:
    """Cut out anywhere, of the size `cut`, from a picture of the size `frame`.

    One look at each of the grids that lie half a cell apart.
    """
    room = frame[0] - cut[0], frame[1] - cut[1]
    if min(cut) < 1 or min(room) < 0 or max(room) < 1:
        return
    part = pixels if cut == pixels.shape[:2] else _resized(pixels, cut)
    name = f"cut to {cut[1]}x{cut[0]} pixels"
    for down, across in itertools.product(*(_grids(r, cell) for r in room)):
        few = len(down[1]) * len(across[1]) <= PLACES
        places = tuple(itertools.product(down[1], across[1])) if few else ()
        placed = _placed(name, part, (down[0], across[0]), frame)
        if placed is not None:
            yield replace(placed, places=places)


def _grids(room: int, cell: int) -> list[tuple[int, range]]:
    """(first place, whole cells from it) of each grid, of places from 0 to `room`."""
    half = cell // 2
    firsts = [0, half] if half and room >= half else [0]
    return [
        (first, range(0, max(room + half // 2 - first, 0) + 1, max(cell, 1)))
        for first in firsts
    ]


def _resized(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    picture = Image.fromarray(pixels)
    return np.asarray(picture.resize((size[1], size[0]), Image.Resampling.LANCZOS))


def _placed(
    name: str,
    part: Pixels,
    place: tuple[int, int],
    frame: tuple[int, int],
) -> Candidate | None:
    """`part` at `place` in a picture of its mean colour, or None if it lies outside."""
    top, left = max(0, place[0]), max(0, place[1])
    bottom = min(frame[0], place[0] + part.shape[0])
    right = min(frame[1], place[1] + part.shape[1])
    if top >= bottom or left >= right:
        return None
    canvas = np.empty((*frame, 3), np.uint8)
    canvas[:] = part.mean((0, 1)).astype(np.uint8)
    rows = slice(top - place[0], bottom - place[0])
    columns = slice(left - place[1], right - place[1])
    canvas[top:bottom, left:right] = part[rows, columns]
    return Candidate(name, canvas, (top, left, bottom, right))
