"""A toy diffusion model of one step, and pictures with its noise marked."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from watermark.keys import KeyRecord
from watermark.schemes import noise


class Affine:
    """A diffusion model of one step: pixels are 128 + 40 z, and the way back."""

    shape = (3, 40, 40)

    def picture(self, z: NDArray[np.floating]) -> Image.Image:
        pixels = np.clip(np.rint(128 + 40 * z), 0, 255).astype(np.uint8)
        return Image.fromarray(np.moveaxis(pixels, 0, -1))

    def noise(
        self, pixels: NDArray[np.uint8], *, steps: int, rounds: int = 1
    ) -> NDArray[np.float32]:
        centred = np.moveaxis(pixels, -1, 0).astype(np.float32) - np.float32(128)
        return np.ascontiguousarray(centred / np.float32(40))


def picture(record: KeyRecord, *, seed: int = 0) -> tuple[Image.Image, bytes]:
    z = np.random.default_rng(seed).standard_normal(Affine.shape).astype(np.float32)
    marked, _, mark_id = noise.mark(z, noise.Code(record, Affine.shape))
    return Affine().picture(marked), mark_id
