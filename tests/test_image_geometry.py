"""Pictures turned by a few degrees or cut out anywhere, put back by effort."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from watermark.assets.loading import load
from watermark.keys import Key, KeyRecord
from watermark.report import Evidence, Reason, Report, Verdict
from watermark.schemes import SCHEMES, noise, pixel
from watermark.verification import Setting, verify
from watermark.verification.geometry import MOST, PLACES, Candidate, candidates
from watermark.verification.looks import LAYERS

CELL = 4
SIDE = 128
SHAPE = (3, SIDE // CELL, SIDE // CELL)
Pixels = NDArray[np.uint8]


class Blocks:
    """Each number of the noise is the mean of one cell of a colour, 128 + 40 z."""

    def __init__(self, side: int = SIDE, cell: int = CELL) -> None:
        self.native = side, side
        self.cell = cell

    def noise(
        self, pixels: Pixels, *, steps: int, rounds: int = 1
    ) -> NDArray[np.float32]:
        return self.latents(pixels)

    def latents(self, pixels: Pixels) -> NDArray[np.float32]:
        rows, columns = (side // self.cell for side in pixels.shape[:2])
        kept = pixels[: rows * self.cell, : columns * self.cell]
        blocks = kept.reshape(rows, self.cell, columns, self.cell, 3).mean((1, 3))
        planes = np.moveaxis(blocks, -1, 0).astype(np.float32)
        return np.ascontiguousarray((planes - 128) / 40, dtype=np.float32)


def record(scheme: str = "noise", seed: int = 0) -> KeyRecord:
    key = Key(np.random.default_rng([31, seed]).bytes(32))
    more: dict[str, Any] = {"nonce_bits": 4} if scheme == "noise" else {}
    return SCHEMES[scheme].record(key, **more)


def picture(
    one: KeyRecord, side: int = SIDE, cell: int = CELL, loud: int = 40
) -> Pixels:
    """A smooth picture whose cells carry marked noise."""
    shape = 3, side // cell, side // cell
    z = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
    marked = noise.mark(z, noise.Code(one, shape))[0]
    planes = [
        np.asarray(
            Image.fromarray(plane.astype(np.float32)).resize(
                (side, side), Image.Resampling.BICUBIC
            )
        )
        for plane in marked
    ]
    shown = np.clip(np.rint(128 + loud * np.stack(planes, -1)), 0, 255)
    return np.asarray(shown, np.uint8)


def turned(pixels: Pixels, degrees: float) -> Pixels:
    image = Image.fromarray(pixels).rotate(degrees, Image.Resampling.BICUBIC)
    return np.asarray(image, np.uint8)


def inner(pixels: Pixels, degrees: float) -> Pixels:
    """Turned, and the largest upright part of it enlarged."""
    angle = np.radians(abs(degrees))
    side = int(len(pixels) / (np.cos(angle) + np.sin(angle)))
    start = (len(pixels) - side) // 2
    part = turned(pixels, degrees)[start : start + side, start : start + side]
    return enlarged(part, len(pixels))


def enlarged(pixels: Pixels, side: int) -> Pixels:
    image = Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(image, np.uint8)


def look(
    pixels: Pixels, *records: KeyRecord, inverter: Any = None, effort: str = "thorough"
) -> Report:
    return verify(
        load(Image.fromarray(np.ascontiguousarray(pixels))),
        Setting(records=records, inverter=inverter or Blocks(), effort=effort),
    )


def mark_of(report: Report) -> Evidence:
    [mark] = [e for e in report.evidence if e.scheme == "noise"]
    return mark


CHANGES: dict[str, tuple[Callable[[Pixels], Pixels], str]] = {
    "by 6.5 degrees": (lambda p: turned(p, 6.5), "turned by"),
    "back by 5 degrees": (lambda p: turned(p, -5), "turned by -"),
    "by 7 degrees, the inner part enlarged": (lambda p: inner(p, 7), "and enlarged"),
    "by 5 degrees, on a larger canvas": (
        lambda p: np.asarray(
            Image.fromarray(p).rotate(5, Image.Resampling.BICUBIC, expand=True)
        ),
        "turned by",
    ),
    "cut off the grid": (lambda p: p[11:101, 23:113], "cut to 90x90"),
    "cut off the grid and enlarged": (
        lambda p: enlarged(p[13:109, 7:103], SIDE),
        "cut to",
    ),
    "one side cut": (lambda p: p[:, 18:114], "cut to 96x128"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_turned_or_cut_is_found_with_effort(change: str) -> None:
    one = record()
    how, name = CHANGES[change]
    changed = how(picture(one))

    normal = look(changed, one, effort="normal")
    mark = mark_of(look(changed, one))

    assert normal.verdict != Verdict.MARKED
    assert mark.payload is not None
    assert name in mark.detail
    assert mark.codes == ("other-geometry",)
    assert mark.hypotheses % (2 * MOST * (2 << 4)) == 0


def test_the_report_says_where_a_cut_was() -> None:
    one = record()
    mark = mark_of(look(picture(one)[11:101, 23:113], one))
    found = re.search(r"cut to 90x90 pixels at (\d+), (\d+)$", mark.detail)

    assert found is not None
    across, down = map(int, found.groups())
    assert abs(across - 23) <= 1
    assert abs(down - 11) <= 1


def test_all_that_is_tried_leaves_another_key_unfound() -> None:
    report = look(turned(picture(record()), 3), record(seed=1))

    assert (mark_of(report).log10_p or 0.0) > -3
    assert report.verdict != Verdict.MARKED


def test_the_template_of_another_layer_tells_the_angle() -> None:
    """33.3 degrees is no angle of the grid."""
    one, finished = record(), record("pixel")
    side, cell = 384, 8
    marked, *_ = pixel.mark(picture(one, side, cell, loud=20), pixel.Code(finished))
    changed = turned(marked, 33.3)
    inverter = Blocks(side, cell)

    mark = mark_of(look(changed, one, finished, inverter=inverter))

    assert mark.payload is not None
    told = re.search(r"template: turned by (\S+) degrees$", mark.detail)
    assert told is not None
    assert abs(float(told[1]) - 33.3) < 0.2


# --- what is put back ----------------------------------------------------------------


def frames(changed: Pixels, name: str) -> list[Candidate]:
    tried = candidates(changed, (SIDE, SIDE), cell=CELL)
    return [c for c in tried if c.name.startswith(name)]


def test_only_what_is_known_is_inside() -> None:
    original = picture(record())
    changed = turned(original, 4.0)
    [candidate] = [c for c in frames(changed, "turned by 4.0") if c.known is not None][
        :1
    ]
    top, left, bottom, right = candidate.inside
    apart = np.abs(candidate.pixels.astype(int) - original.astype(int))

    assert candidate.known is not None
    assert candidate.known[top:bottom, left:right].all()
    assert (bottom - top) / SIDE > 0.9
    assert apart[top:bottom, left:right].mean() < 4
    assert apart[~candidate.known].mean() > 20
    kept = candidate.masked(np.ones(SHAPE, np.float32))
    assert 0.85 < kept.mean() < 0.98
    assert kept[:, 16, 16].all()
    assert not kept[:, 0, 0].any()


def test_a_cut_is_put_back_at_its_place() -> None:
    original = picture(record())
    candidate = next(
        c for c in frames(original[8:104, 20:116], "cut to 96x96") if c.places
    )
    index = candidate.places.index((8, 20))
    back = candidate.at(index)

    assert back.inside == (8, 20, 104, 116)
    assert np.array_equal(back.pixels[8:104, 20:116], original[8:104, 20:116])
    assert np.array_equal(
        candidate.masked(Blocks().latents(candidate.pixels), index),
        back.masked(Blocks().latents(back.pixels)),
    )


def test_every_place_is_within_a_quarter_of_a_cell_of_one_that_is_tried() -> None:
    for side in (SIDE - 1, SIDE - 3, 101, 90):
        tried = frames(np.zeros((side, side, 3), np.uint8), f"cut to {side}x{side}")
        first = [c.inside[0] + down for c in tried for down, _ in c.places]

        gaps = [min(abs(at - place) for place in first) for at in range(SIDE - side)]
        assert max(gaps) <= CELL // 4


@pytest.mark.parametrize(("side", "cell"), [(64, 8), (128, 1), (384, 3)])
def test_what_is_tried_is_bounded_at_any_size(side: int, cell: int) -> None:
    blank = np.zeros((side, side * 3 // 4, 3), np.uint8)
    count = 0
    for candidate in candidates(blank, (side, side), cell=cell):
        count += 1
        assert len(candidate.places) <= PLACES

    assert 30 <= count <= MOST


def test_nothing_is_tried_twice() -> None:
    """A cut of three quarters, as it is and enlarged back, is one and the same."""
    for size in ((96, 96), (128, 96), (90, 128)):
        blank = np.zeros((*size, 3), np.uint8)
        tried = list(candidates(blank, (SIDE, SIDE), cell=CELL))
        cuts = [(c.name, c.inside) for c in tried if c.name.startswith("cut")]

        assert len(cuts) > 20
        assert len(set(cuts)) == len(cuts)


def test_cuts_of_too_many_places_are_told() -> None:
    side = 160  # of cells: a cut to 70 % lies at 49 x 49 places
    setting = Setting(records=[record()], inverter=Blocks(side, 1), effort="thorough")
    *looks, reason = LAYERS["noise"](np.zeros((side, side, 3), np.uint8), setting, {})

    assert isinstance(reason, Reason)
    assert reason.code == "search-incomplete"
    assert "cut to 112x112 pixels at more than 2048 places" in reason.detail
    assert not any(isinstance(one, Reason) for one in looks)
    assert len(looks) > 50


@pytest.mark.parametrize("size", [(1, 3000), (3000, 1), (1, 1), (700, 3)])
def test_odd_sizes_are_bounded_and_known_inside_the_frame(
    size: tuple[int, int],
) -> None:
    blank = np.zeros((*size, 3), np.uint8)
    for native in ((SIDE, SIDE), None):
        frame = native or size
        for candidate in candidates(blank, native, cell=CELL):
            assert candidate.pixels.shape[0] * candidate.pixels.shape[1] <= max(
                size[0] * size[1], frame[0] * frame[1]
            )
            top, left, bottom, right = candidate.part
            assert 0 <= top <= bottom <= 1
            assert 0 <= left <= right <= 1
            assert candidate.at(0).pixels.shape == candidate.pixels.shape
