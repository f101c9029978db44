"""Arrays and tensors as pictures and films: told by axes and dtype, never by guessing.

What pipelines return in memory: numpy has its channels last, torch has them first;
whole numbers are 8-bit grey levels, floats run from 0 to 1. A batch of one is its one
sample; several are refused, since a report is about one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark.errors import UnsupportedFormat

MOST_PIXELS = 1 << 28  # of a film, all frames: 768 MiB as RGB; 129 of 1920x1080
MOST_NUMBERS = 1 << 26  # of latents, as the detectors take them
ROUNDED = 1e-3  # by which half precision may leave the range of a float picture

_EXPECTED = (
    "expected a picture, numpy (height, width, 3) or (height, width), torch (3, "
    "height, width); or a film, numpy (frames, height, width, 3), torch (frames, 3, "
    "height, width); uint8, or floats from 0 to 1"
)


@dataclass(frozen=True, slots=True, eq=False)
class Latents:
    """Latents of one sample: floats, numpy or torch, as a pipeline has them.

    Attributes:
        values: without a batch axis, or with one of length 1. Final latents as the
            autoencoder encodes or decodes them, (channels, height, width) or with
            frames (channels, frames, height, width): what carries `latent`. They may
            be scaled alike.
        initial: whether they are the initial noise instead, or an estimate of it by an
            inversion of your own, in the shape that the pipeline draws: what carries
            `noise`. So a sound or a film is tested that `verify` cannot invert.
    """

    values: Any
    initial: bool = False

    def array(self) -> NDArray[np.float32]:
        """The numbers.

        Raises:
            UnsupportedFormat: no floats, NaN or infinity, none at all, or too many.
        """
        found = numbers(self.values)
        if found.dtype.kind != "f" or found.ndim < 2 or not found.size:
            raise UnsupportedFormat(
                f"found latents of shape {found.shape} and dtype {found.dtype}, "
                "expected floats of one sample, at least two axes"
            )
        if found.size > MOST_NUMBERS:
            raise UnsupportedFormat(
                f"found latents of {found.size} numbers, expected at most "
                f"{MOST_NUMBERS}"
            )
        with np.errstate(over="ignore"):
            out = found.astype(np.float32)
        if not np.isfinite(out).all():
            raise UnsupportedFormat("the latents hold NaN or infinity")
        return out


def numbers(values: Any) -> NDArray[Any]:
    """An array, a tensor or a nested list, as numpy has it.

    Raises:
        UnsupportedFormat: it is none of these.
    """
    try:
        if hasattr(values, "detach"):
            values = values.detach().cpu()
            if values.is_floating_point():
                values = values.float()  # numpy has no bfloat16
        return np.asarray(values)
    except Exception as error:  # each kind of array has its own: no data, odd dtypes
        text = f"{type(error).__name__}: {error}"[:200]
        raise UnsupportedFormat(f"this is no array of numbers: {text}") from None


def pixels(found: NDArray[Any], *, channels_first: bool) -> NDArray[np.uint8]:
    """A picture or a film, channels last.

    Args:
        found: what `numbers` made of it.
        channels_first: as tensors have them.

    Returns:
        uint8 (height, width), (height, width, 3) or (frames, height, width, 3).

    Raises:
        UnsupportedFormat: another shape or dtype, empty, NaN, beyond 0 to 1, or larger
            than can be looked at.
    """
    given = found.shape
    if found.ndim == 5 and found.shape[0] == 1:
        found = found[0]
    if channels_first and found.ndim >= 3:
        found = np.moveaxis(found, -3, -1)
    fits = found.ndim == 2 or (found.ndim in (3, 4) and found.shape[-1] == 3)
    if not fits or not found.size or found.dtype.kind not in "uf":
        raise UnsupportedFormat(
            f"found an array of shape {given} and dtype {found.dtype}, "
            f"{_EXPECTED}. Token ids are one axis of integers"
        )
    _bounded(found.size // (3 if found.ndim > 2 else 1), film=found.ndim == 4)
    if found.dtype == np.uint8:
        return np.ascontiguousarray(found)
    if found.dtype.kind != "f":
        raise UnsupportedFormat(f"found pixels of dtype {found.dtype}, {_EXPECTED}")
    out = np.empty(found.shape, np.uint8)
    for part, whole in zip(found, out, strict=True):  # a frame, or a row, at a time
        low, high = float(part.min()), float(part.max())
        if not (low >= -ROUNDED and high <= 1 + ROUNDED):  # nor where either is NaN
            raise UnsupportedFormat(
                f"found float pixels from {low:.3g} to {high:.3g}, expected finite "
                "ones from 0 to 1"
            )
        # As diffusers' own numpy_to_pil rounds, so that digests are the same.
        whole[...] = np.rint(np.clip(part, 0, 1).astype(np.float32) * np.float32(255))
    return out


def film(pictures: Sequence[Any]) -> NDArray[np.uint8]:
    """PIL images of one size as uint8 (frames, height, width, 3).

    Raises:
        UnsupportedFormat: they are not all pictures of one size, or too large.
        DamagedAsset: one of them cannot be read.
    """
    from watermark.assets import DamagedAsset, image  # PIL, which a text needs not

    sizes = {getattr(each, "size", None) for each in pictures}
    if len(sizes) != 1 or not all(hasattr(each, "getbands") for each in pictures):
        raise UnsupportedFormat(
            "found a list of PIL images and other things, or of several sizes: "
            "expected the frames of one film"
        )
    width, height = pictures[0].size
    _bounded(len(pictures) * height * width, film=True)
    out = np.empty((len(pictures), height, width, 3), np.uint8)
    for frame, each in zip(out, pictures, strict=True):
        try:
            frame[...] = image.to_rgb8(image.loaded(each))
        except UnsupportedFormat as error:  # told as of a single picture
            raise DamagedAsset(str(error)) from None
    return out


def _bounded(count: int, *, film: bool) -> None:
    most = MOST_PIXELS if film else MOST_PIXELS // 4  # as `image.MAX_PIXELS`
    if count > most:
        raise UnsupportedFormat(
            f"found {count} pixels in all, expected at most {most}"
            + ": give a part of the film" * film
        )
