"""diffusers' own watermarker, where its package is installed: DWT-DCT, 48 public bits.

It has no key: everybody can read it, remove it and put it on any picture. It refuses
pictures under 256 pixels silently, so it is given enlarged ones here. diffusers ships
no detector; its package's decoder reads the bits, and the p-value is the binomial tail
of the right ones as if bits read from an unmarked picture were fair and independent,
which nothing makes them.
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from watermark.detectors.base import LN10
from watermark.detectors.stats import ln_binomial_tail

SIDE = 256  # of the smallest picture that it takes
MODULE = "diffusers.pipelines.stable_diffusion_xl.watermark"

Pixels = NDArray[np.uint8]


def installed() -> bool:
    """Whether the package invisible-watermark is there."""
    return find_spec("imwatermark") is not None


def enlarged(pixels: Pixels) -> Pixels:
    """The picture with sides of at least `SIDE`."""
    height, width = pixels.shape[:2]
    times = max(1.0, SIDE / min(height, width))
    size = (round(width * times), round(height * times))
    image = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.uint8)


def mark(pixels: Pixels) -> Pixels:
    """Marked as `StableDiffusionXLPipeline` does it, rounded to 8 bits."""
    module: Any = importlib.import_module(MODULE)
    image = torch.from_numpy(pixels.astype(np.float32) / 127.5 - 1)
    marked = module.StableDiffusionXLWatermarker().apply_watermark(
        image.permute(2, 0, 1)[None]
    )
    values = (marked[0].permute(1, 2, 0).numpy() + 1) * 127.5
    pixels8: Pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return pixels8


def log10_p(pixels: Pixels) -> float:
    """log10 of the binomial tail of the right bits."""
    module: Any = importlib.import_module(MODULE)
    reader: Any = importlib.import_module("imwatermark")
    wanted = np.array(module.WATERMARK_BITS)
    decoder = reader.WatermarkDecoder("bits", len(wanted))
    # diffusers writes into floats, whose chroma has no offset of 128 as that of bytes
    # has: of bytes, as others read them, blocks of negative chroma say the opposite.
    bgr = np.ascontiguousarray(pixels[:, :, ::-1]).astype(np.float32)
    read = np.array(decoder.decode(bgr, "dwtDct")).astype(int)
    return ln_binomial_tail(int(np.sum(read == wanted)), len(wanted), 0.5) / LN10
