"""What was done to a marked picture is found, and undone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from tests.pictures import Pixels, jpeg, photograph

from watermark.detectors import geometry, pixel
from watermark.detectors.geometry import Geometry
from watermark.keys import Key
from watermark.schemes.pixel import SCHEME, Code, mark

ONE = Code(SCHEME.record(Key(hashlib.sha256(b"geometry").digest())))
SIDE = 384
PICTURE = photograph(1, SIDE, SIDE)
MARKED, _, MARK_ID = mark(PICTURE, ONE)


def turned(pixels: Pixels, degrees: float) -> Pixels:
    """Anticlockwise, as Pillow says it."""
    image = Image.fromarray(pixels).rotate(degrees, Image.Resampling.BICUBIC)
    return np.asarray(image)


def scaled(pixels: Pixels, factor: float) -> Pixels:
    size = round(pixels.shape[1] * factor), round(pixels.shape[0] * factor)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


# What is done, and the (flipped, degrees, scale) that are found.
CASES: dict[str, tuple[Callable[[Pixels], Pixels], tuple[bool, float, float]]] = {
    "nothing": (lambda p: p, (False, 0, 1)),
    "crop": (lambda p: p[37:, 61:350], (False, 0, 1)),
    "flip": (lambda p: p[:, ::-1], (True, 0, 1)),
    "upside down": (lambda p: p[::-1], (True, 180, 1)),
    "quarter turn": (lambda p: np.rot90(p), (False, -90, 1)),
    "half turn": (lambda p: np.rot90(p, 2), (False, 180, 1)),
    "rotation 5": (lambda p: turned(p, 5), (False, -5, 1)),
    "rotation -10": (lambda p: turned(p, -10), (False, 10, 1)),
    "half size": (lambda p: scaled(p, 0.5), (False, 0, 0.5)),
    "twice the size": (lambda p: scaled(p, 2), (False, 0, 2)),
    "all of it": (
        lambda p: jpeg(scaled(turned(p[:, ::-1], 3), 0.8)[5:], 75),
        (True, -3, 0.8),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_was_done_is_found_and_undone(name: str) -> None:
    change, (flipped, degrees, scale) = CASES[name]
    seen = np.ascontiguousarray(change(MARKED))
    found = geometry.estimate(seen, ONE.record)
    best = found[0]

    assert best.flipped == flipped
    assert abs((best.degrees - degrees + 180) % 360 - 180) < 0.2
    assert abs(best.scale / scale - 1) < 0.004
    assert best.strength > 0.8
    assert pixel.score(seen, ONE, geometries=found[:1]).payload == MARK_ID


@pytest.mark.parametrize("name", ["crop", "flip", "upside down", "quarter turn"])
def test_whole_pixels_come_back_as_they_were(name: str) -> None:
    """Without interpolation: the picture's part is found in the marked one."""
    seen = np.ascontiguousarray(CASES[name][0](MARKED))
    best = geometry.estimate(seen, ONE.record)[0]
    undone, (row, column) = best.undo(seen)
    row, column = row % 1024, column % 1024
    height = min(undone.shape[0], SIDE - row)
    width = min(undone.shape[1], SIDE - column)
    part = MARKED[row : row + height, column : column + width]
    same = (undone[:height, :width] == part).all(-1)

    assert best.exact
    assert (row % 8, column % 8) == (0, 0)
    assert same.sum() == seen.shape[0] * seen.shape[1]


def test_a_large_picture_is_judged_by_its_middle() -> None:
    tiles = np.tile(PICTURE, (4, 4, 1))
    marked, _, mark_id = mark(tiles, ONE)
    seen = np.ascontiguousarray(marked[100:, 33:])
    best = geometry.estimate(seen, ONE.record)[0]

    assert (best.matrix, best.shift) == ((1.0, 0.0, 0.0, 1.0), (33.0, 100.0))
    assert max(best.undo(seen)[0].shape) <= 1024 + 8
    assert pixel.score(seen, ONE, geometries=[best]).payload == mark_id


@pytest.mark.parametrize("case", ["unmarked", "flat", "another key's"])
def test_without_a_template_the_list_is_weak(case: str) -> None:
    other = Code(SCHEME.record(Key(hashlib.sha256(b"other").digest())))
    seen = {
        "unmarked": PICTURE,
        "flat": np.full((128, 128, 3), 99, np.uint8),
        "another key's": mark(PICTURE, other)[0],
    }[case]
    found = geometry.estimate(seen, ONE.record, most=3)

    assert len(found) == 3
    assert all(0 <= best.strength < 0.7 for best in found)
    assert found == sorted(found, key=lambda best: -best.strength)


def test_a_geometry_says_what_it_is() -> None:
    quarter = Geometry((0.0, 1.0, -1.0, 0.0), (0.0, 383.0))
    half = Geometry((2.0, 0.0, 0.0, 2.0), (0.5, 0.5))

    assert (quarter.exact, quarter.flipped, quarter.scale) == (True, False, 1.0)
    assert abs(quarter.degrees) == 90
    assert (half.exact, half.scale, half.degrees) == (False, 0.5, 0.0)
    assert Geometry((-1.0, 0.0, 0.0, 1.0), (9.0, 0.0)).flipped
