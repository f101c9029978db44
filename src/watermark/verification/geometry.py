"""What may have happened to a picture since it was made, and how it looked before.

The codes of `noise` and `latent` are bound to places: a picture that was flipped,
turned, cropped or resized has to be put back before it is tested. A few common changes
are tried blindly, and those that a template tells; each is one more hypothesis.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CROPS = (0.9, 0.85, 0.8, 0.75)  # sides of the cut, of the whole
CORNERS = 0.75  # the cut that is also tried at each corner
MOST = 32  # hypotheses in all: what a look at one picture may cost


_Float = TypeVar("_Float", np.float32, np.float64)


class Estimate(Protocol):
    """What a template tells of a picture (`watermark.detectors.geometry`)."""

    def undo(
        self, pixels: NDArray[np.uint8], most: int = ...
    ) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        """(pixels in the marked frame, (row, column) of the first one)."""
        ...


@dataclass(frozen=True)
class Candidate:
    """A picture as it may have been.

    Attributes:
        name: what would have happened to it since.
        pixels: uint8 (height, width, 3).
        inside: (top, left, bottom, right), the part that is known; the rest is filled.
    """

    name: str
    pixels: NDArray[np.uint8]
    inside: tuple[int, int, int, int]

    @property
    def part(self) -> tuple[float, float, float, float]:
        """`inside` as shares of the sides."""
        height, width = self.pixels.shape[:2]
        top, left, bottom, right = self.inside
        return top / height, left / width, bottom / height, right / width

    def masked(self, latents: NDArray[_Float]) -> NDArray[_Float]:
        """Latents or noise of `pixels`, zero where the picture is not known.

        Args:
            latents: (..., rows, columns): their last two axes are the picture's.
        """
        height, width = self.pixels.shape[:2]
        if self.inside == (0, 0, height, width):
            return latents
        rows, columns = latents.shape[-2:]
        top, bottom = (round(self.inside[i] * rows / height) for i in (0, 2))
        left, right = (round(self.inside[i] * columns / width) for i in (1, 3))
        out = np.zeros_like(latents)
        out[..., top:bottom, left:right] = latents[..., top:bottom, left:right]
        return out


def candidates(
    pixels: NDArray[np.uint8],
    native: tuple[int, int] | None = None,
    estimates: Sequence[Estimate] = (),
) -> list[Candidate]:
    """Pictures that this one may have been, other than itself, at most `MOST`.

    What is tried depends on the sizes alone and on what a template told, never on how
    well a test goes: their number can be counted beforehand.

    Args:
        pixels: uint8 (height, width, 3).
        native: (height, width) that the pipeline makes by default, if it is known.
        estimates: of a template whose sub-key is none of the tested codes'.
    """
    size = pixels.shape[0], pixels.shape[1]
    found = [_placed("template", *e.undo(pixels), native or size) for e in estimates]
    for turns in range(4):
        for flip in (False, True):
            if turns or flip:
                name = f"turned {90 * turns} degrees" * bool(turns)
                name += " and " * bool(turns and flip) + "flipped" * flip
                turned = np.rot90(pixels, -turns)
                turned = np.ascontiguousarray(turned[:, ::-1] if flip else turned)
                found.append(whole(name, turned))
    found += _scaled(pixels, size, native or size)
    return [c for c in found if c is not None][:MOST]


def _scaled(
    pixels: NDArray[np.uint8], size: tuple[int, int], frame: tuple[int, int]
) -> Iterator[Candidate]:
    """Resized, or cut out and perhaps resized, from pictures of the size `frame`."""
    if size != frame:
        yield whole("resized", _resized(pixels, frame))
    for share in CROPS:
        cut = round(frame[0] * share), round(frame[1] * share)
        room = frame[0] - cut[0], frame[1] - cut[1]
        places = [(room[0] // 2, room[1] // 2)]
        if share == CORNERS:
            places += [(0, 0), (0, room[1]), (room[0], 0), room]
        part = pixels if size == cut else _resized(pixels, cut)
        for place in places:
            placed = _placed(f"cut to {share:.0%}", part, place, frame)
            if placed is not None:
                yield placed


def whole(name: str, pixels: NDArray[np.uint8]) -> Candidate:
    """A picture all of which is known."""
    return Candidate(name, pixels, (0, 0, *pixels.shape[:2]))


def _resized(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    picture = Image.fromarray(pixels)
    return np.asarray(picture.resize((size[1], size[0]), Image.Resampling.LANCZOS))


def _placed(
    name: str,
    part: NDArray[np.uint8],
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
