"""Perceptual fingerprints of pictures: what was made, remembered coarsely.

A mark can be carried over to other content: invert a marked picture, and generate again
from its noise with another prompt. What was made is therefore remembered as means over
a grid of cells, and compared again (`watermark.assets.likeness`). What is alike in all
of these means is not told apart: a changed face, a changed word.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image

VERSION = 1
CELLS = 16  # of luma a side
CHROMA_CELLS = 4  # of each of both chroma channels a side
HEAD = struct.Struct(">BII")  # version, width, height
BYTES = HEAD.size + CELLS**2 + 2 * CHROMA_CELLS**2

Means = NDArray[np.float64]


def fingerprint(pixels: NDArray[np.uint8]) -> bytes:
    """Means of luma over 16 x 16 cells, of both chroma channels over 4 x 4.

    Args:
        pixels: uint8 (height, width, 3), RGB, any size.

    Returns:
        297 bytes: version, width and height, then luma, Cb and Cr (BT.601, full
        range), row by row.
    """
    height, width, _ = pixels.shape
    channels = Image.fromarray(pixels).convert("YCbCr").split()
    grids = (CELLS, CHROMA_CELLS, CHROMA_CELLS)
    cells = [
        channel.resize((n, n), Image.Resampling.BOX).tobytes()
        for channel, n in zip(channels, grids, strict=True)
    ]
    return HEAD.pack(VERSION, width, height) + b"".join(cells)


def means(data: bytes) -> tuple[Means, Means, Means]:
    """Luma (256,), Cb (16,) and Cr (16,) of a fingerprint, float64, row by row.

    Raises:
        ValueError: no fingerprint of this version.
    """
    _check(data)
    values = np.frombuffer(data[HEAD.size :], np.uint8).astype(np.float64)
    luma, blue, red = np.split(values, np.cumsum([CELLS**2, CHROMA_CELLS**2]))
    return luma, blue, red


def is_size(data: bytes, pixels: NDArray[np.uint8]) -> bool:
    """Whether a fingerprint is of a picture of the size of this one.

    Raises:
        ValueError: no fingerprint of this version.
    """
    _check(data)
    return HEAD.unpack(data[: HEAD.size])[1:] == (pixels.shape[1], pixels.shape[0])


def _check(data: bytes) -> None:
    if len(data) != BYTES or data[0] != VERSION:
        raise ValueError(
            f"found a fingerprint of {len(data)} bytes, expected {BYTES} of version "
            f"{VERSION}"
        )
