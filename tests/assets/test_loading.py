"""What callers hand over: told by type, axes and dtype, and never guessed."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from watermark.assets import image
from watermark.assets.arrays import Latents
from watermark.assets.loading import PATH_CHARS, load
from watermark.errors import UnsupportedFormat


def test_the_name_of_a_file_as_a_text_is_told(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(b"")

    with pytest.warns(UserWarning, match=r"expected pathlib\.Path"):
        asset = load(str(path))
    assert (asset.kind, asset.text) == ("text", str(path))


@pytest.mark.parametrize(
    "text", ["", "no such file.png", "a\0b", "\ud800", "x" * (PATH_CHARS + 1), "/"]
)
def test_other_texts_are_taken_without_a_word(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(text).kind == "text"


PICTURE = Image.new("RGB", (20, 10), "red")
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 10, 20, 3), dtype=np.uint8)
FLOATS = PIXELS / np.float32(255)


@pytest.mark.parametrize(
    ("source", "size"),
    [
        (PIXELS[0], (20, 10)),
        (FLOATS[0].astype(np.float64), (20, 10)),
        (FLOATS[:1], (20, 10)),  # a film of one frame, or a batch of one picture
        (PIXELS[0, :, :, 0], (20, 10)),
        (FLOATS[0, :, :, 0], (20, 10)),
        (torch.from_numpy(FLOATS[0]).permute(2, 0, 1), (20, 10)),
        (torch.from_numpy(FLOATS[:1]).permute(0, 3, 1, 2).double(), (20, 10)),
        ([PICTURE], (20, 10)),
    ],
)
def test_arrays_of_one_picture_are_pictures(source: Any, size: tuple[int, int]) -> None:
    asset = load(source)

    assert (asset.kind, asset.picture.size, asset.frames) == ("image", size, None)
    assert asset.in_memory


@pytest.mark.parametrize(
    "source",
    [
        PIXELS,
        FLOATS,
        FLOATS[None],
        list(PIXELS),
        torch.from_numpy(FLOATS).permute(0, 3, 1, 2),
        torch.from_numpy(PIXELS).permute(0, 3, 1, 2)[None],
        [Image.fromarray(frame) for frame in PIXELS],
        ([Image.fromarray(frame) for frame in PIXELS],),
    ],
)
def test_arrays_of_several_pictures_are_films(source: Any) -> None:
    asset = load(source)

    assert asset.kind == "video"
    np.testing.assert_array_equal(asset.frames, PIXELS)


def test_floats_are_rounded_as_diffusers_rounds_them() -> None:
    """So that the ledger knows the pixels by their digest, whatever was returned."""
    own = Image.fromarray((FLOATS[0] * 255).round().astype(np.uint8))

    assert image.digest(load(FLOATS[0]).picture) == image.digest(own)
    half = torch.from_numpy(FLOATS[0]).permute(2, 0, 1).bfloat16()
    assert load(half).picture.size == (20, 10)


@pytest.mark.parametrize(
    "ids", [[3, 1], np.array([3, 1], np.uint8), torch.tensor([[3, 1]]), ([3, 1],)]
)
def test_one_axis_of_integers_is_token_ids(ids: Any) -> None:
    asset = load(ids)

    assert asset.kind == "text"
    assert asset.tokens is not None
    assert asset.tokens.tolist() == [3, 1]


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (FLOATS * 2, "from 0 to 1"),
        (FLOATS - 1, "from 0 to 1"),
        (np.where(PIXELS > 250, np.nan, FLOATS), "from nan"),
        (np.full((3, 4, 4, 3), np.inf), "from inf"),
        (PIXELS.astype(np.int64), "dtype int64"),
        (PIXELS.astype(np.uint16), "dtype uint16"),
        (np.zeros((0, 10, 20, 3)), "expected a picture"),
        (np.zeros((3, 0, 20, 3), np.uint8), "expected a picture"),
        (np.zeros((10, 20, 4), np.uint8), "expected a picture"),
        (np.zeros((2, 3, 10, 20, 3)), "expected a picture"),
        (torch.zeros(10, 20, 3), "expected a picture"),
        (torch.zeros(2, 7, dtype=torch.int64), "expected a picture"),
        (np.broadcast_to(np.uint8(0), (300, 1024, 1024, 3)), "expected at most"),
        (np.broadcast_to(np.uint8(0), (9000, 9000, 3)), "expected at most"),
        ([PICTURE, PICTURE.resize((3, 3))], "of several sizes"),
        ([PICTURE, 3], "expected the frames"),
        ([[PICTURE] * 2] * 2, "found 2 films"),
    ],
)
def test_what_is_neither_is_refused(source: Any, told: str) -> None:
    with pytest.raises(UnsupportedFormat, match=told):
        load(source)


def test_a_damaged_frame_is_a_problem_of_the_content(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    Image.fromarray(PIXELS[0]).save(path)
    path.write_bytes(path.read_bytes()[:-60])
    with Image.open(path) as cut:
        asset = load([PICTURE, cut])

    assert (asset.kind, asset.frames) == ("video", None)
    assert "cannot be read" in asset.problem


def test_latents_are_floats_of_one_sample() -> None:
    asset = load(Latents(torch.ones(4, 8, 8, dtype=torch.bfloat16), initial=True))

    assert (asset.kind, asset.initial) == ("latents", True)
    assert asset.latents is not None
    assert asset.latents.shape == (4, 8, 8)
    assert asset.latents.dtype == np.float32
    hostile = [
        np.full((4, 8, 8), np.nan),
        np.full((4, 8, 8), 1e300),
        np.zeros((4, 0)),
        np.zeros(9),
        np.zeros((4, 8, 8), int),
        "latents",
        None,
        [[1.0], [2.0, 3.0]],
        np.broadcast_to(np.float32(0), (1 << 14, 1 << 14)),
    ]
    for values in hostile:
        with pytest.raises(UnsupportedFormat):
            load(Latents(values))
