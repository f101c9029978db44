"""Explicit marks in pictures: words in a corner, measured in ink.

GB 45438-2025, 5.2: the height of the text is at least 5 % of the picture's shortest
side. What height means is left open; here it is the ink of a full-width character (of a
capital where there is none), the strictest of the readings, and a tenth is added.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from watermark.assets import image
from watermark.errors import LabelError
from watermark.labels.explicit_text import WORDING

CLAUSE = "GB 45438-2025, 5.2"
LEAST = 0.05  # of the shortest side
SHARE = 0.055
LEGIBLE = 10  # pixels of ink, below which nobody reads a full-width character
CORNERS = ("bottom-right", "bottom-left", "top-right", "top-left")
PLATE = (16, 16, 16)
ALIKE = 0.8  # correlation of ink and picture: 0.94 up when drawn, 0.41 at most when not
COVER = 0.72  # of the plate behind the words: they are read on any ground


@dataclass(frozen=True, slots=True)
class Drawn:
    """What was drawn.

    Attributes:
        box: of the plate: left, top, right, bottom, in pixels.
        ink: height of a full-width character's ink, in pixels.
        share: the same as a share of the shortest side.
    """

    box: tuple[int, int, int, int]
    ink: int
    share: float


def draw(
    picture: Image.Image,
    text: str = WORDING,
    *,
    corner: str = "bottom-right",
    share: float = SHARE,
    font: Path | None = None,
) -> tuple[Image.Image, Drawn]:
    """A copy of `picture` with `text` in a corner.

    Args:
        picture: 8 bits of grey or RGB, with or without alpha; palettes become RGB.
        text: one line.
        corner: one of `CORNERS`.
        share: height of the ink as a share of the shortest side, at least `LEAST`.
        font: of the text; by default the one that is shipped, which has the characters
            of the regimes' wordings only.

    Raises:
        LabelError: the font lacks a character, the picture is too small for words that
            can be read, or the share is below the law's.
        UnsupportedFormat: more than 8 bits a channel.
    """
    if not LEAST <= share <= 0.5:
        raise LabelError(CLAUSE, f"a share of {share} found, expected {LEAST} to 0.5")
    colours, alpha = image.split(picture)
    height, width, _ = colours.shape
    drawn, cover, ink = _place(width, height, text, corner, share, font)
    left, top, right, bottom = drawn.box
    under = colours[top:bottom, left:right].astype(np.float64)
    on_plate = under + COVER * (np.array(PLATE) - under)
    lettered = on_plate + ink[..., None] * (255 - on_plate)
    out = colours.copy()
    out[top:bottom, left:right] = np.rint(under + cover[..., None] * (lettered - under))
    if alpha is not None:
        seen = np.array(alpha)
        patch = seen[top:bottom, left:right]
        seen[top:bottom, left:right] = np.maximum(patch, np.rint(255 * cover))
        alpha = Image.fromarray(seen)
    return image.joined(out, alpha, picture), drawn


def is_drawn(
    picture: Image.Image,
    text: str = WORDING,
    *,
    corner: str = "bottom-right",
    share: float = SHARE,
    font: Path | None = None,
) -> bool:
    """Whether `draw` with these arguments left its words there, as far as they survive.

    What it looks for is the shape of the ink at the place and size of our own marks:
    other people's are not found.
    """
    colours = image.to_rgb8(picture)
    height, width, _ = colours.shape
    try:
        drawn, _, ink = _place(width, height, text, corner, share, font)
    except LabelError:
        return False
    left, top, right, bottom = drawn.box
    seen = colours[top:bottom, left:right].astype(np.float64).mean(axis=2)
    if seen.std() < 1:
        return False
    return float(np.corrcoef(seen.ravel(), ink.ravel())[0, 1]) > ALIKE


def overlay(
    width: int,
    height: int,
    text: str = WORDING,
    *,
    corner: str = "bottom-right",
    share: float = SHARE,
    font: Path | None = None,
) -> tuple[bytes, Drawn]:
    """The words alone, as a transparent PNG to be laid over the frames of a video.

    Raises:
        LabelError: as `draw`.
    """
    drawn, cover, ink = _place(width, height, text, corner, share, font)
    left, top, right, bottom = drawn.box
    pixels = np.zeros((height, width, 4), np.uint8)
    patch = pixels[top:bottom, left:right]
    alpha = cover * (COVER + (1 - COVER) * ink)
    # Straight alpha: plate and letters as one colour of one opacity.
    plate = np.array(PLATE) * (COVER * (1 - ink))[..., None] + 255 * ink[..., None]
    opaque = np.maximum(COVER + (1 - COVER) * ink, 1e-9)[..., None]
    patch[..., :3] = np.rint(plate / opaque)
    patch[..., 3] = np.rint(255 * alpha)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue(), drawn


def _place(
    width: int, height: int, text: str, corner: str, share: float, font: Path | None
) -> tuple[Drawn, Any, Any]:
    """Box, and in it the plate and the ink of the words as shares in [0, 1]."""
    if corner not in CORNERS:
        raise LabelError(
            CLAUSE, f"found corner {corner!r}, expected one of {', '.join(CORNERS)}"
        )
    short = min(width, height)
    wanted = max(math.ceil(share * short), LEGIBLE)
    face = _face(text, wanted, font)
    left, top, right, bottom = face.getbbox(text)
    pad = max(2, wanted // 4)
    wide, tall = int(right - left) + 2 * pad, int(bottom - top) + 2 * pad
    if wide > width or tall > height:
        raise LabelError(
            CLAUSE,
            f"a picture of {width} x {height} pixels has no room for {text!r} at "
            f"{wanted} pixels, which can be read: use a larger picture",
        )
    words = Image.new("L", (wide, tall))
    ImageDraw.Draw(words).text((pad - left, pad - top), text, 255, face)
    plate = Image.new("L", (wide, tall))
    ImageDraw.Draw(plate).rounded_rectangle((0, 0, wide - 1, tall - 1), pad, 255)
    margin = min(pad, width - wide, height - tall)
    x = width - wide - margin if corner.endswith("right") else margin
    y = height - tall - margin if corner.startswith("bottom") else margin
    ink = ink_height(face, text)
    drawn = Drawn((x, y, x + wide, y + tall), ink, ink / short)
    return drawn, np.asarray(plate) / 255.0, np.asarray(words) / 255.0


def ink_height(face: ImageFont.FreeTypeFont, text: str) -> int:
    """Rows with ink in the lowest of the characters that count, in pixels.

    Those are the full-width characters of `text`; capitals and figures if it has none.
    """
    wide = {c for c in text if ord(c) > 0x2E80}
    tall = wide or {c for c in text if c.isupper() or c.isdigit()} or set(text) - {" "}
    return min(_rows(face, character) for character in tall)


def _rows(face: ImageFont.FreeTypeFont, character: str) -> int:
    mask = face.getmask(character, "L")
    pixels = np.asarray(mask, np.uint8).reshape(mask.size[1], mask.size[0])
    rows = np.flatnonzero((pixels >= 128).any(axis=1))
    return int(rows[-1] - rows[0] + 1) if len(rows) else 0


def _face(text: str, ink: int, font: Path | None) -> ImageFont.FreeTypeFont:
    """The smallest size in which every character that counts has `ink` rows."""
    data = _shipped() if font is None else font.read_bytes()
    size = ink
    face = _at(data, size)
    _check_characters(face, text)
    while ink_height(face, text) < ink:
        size += 1
        face = _at(data, size)
    return face


def _at(data: bytes, size: int) -> ImageFont.FreeTypeFont:
    try:
        return ImageFont.truetype(io.BytesIO(data), size)
    except OSError as error:
        raise LabelError(CLAUSE, f"the font cannot be read: {error}") from error


def _check_characters(face: ImageFont.FreeTypeFont, text: str) -> None:
    """A character that a font lacks is drawn as a box: never that."""
    if not text.strip() or not text.isprintable():
        raise LabelError(CLAUSE, f"found the text {text!r:.60}, expected one line")
    box = _look(face, "\U0010fffd")  # a private character, which no font of ours has
    for character in dict.fromkeys(text):
        look = _look(face, character)
        if character != " " and (look == box or not any(look[1])):
            raise LabelError(
                CLAUSE,
                f"the font has no {character!r}: pass font= with one that has every "
                f"character of {text!r}",
            )


def _look(face: ImageFont.FreeTypeFont, character: str) -> tuple[Any, bytes]:
    mask = face.getmask(character, "L")
    return mask.size, bytes(mask)


@cache
def _shipped() -> bytes:
    return resources.files("watermark.labels").joinpath("fonts/label.otf").read_bytes()
