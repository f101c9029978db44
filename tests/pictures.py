"""Pictures for tests: like photographs in spectrum, edges and flat parts."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]


def photograph(seed: int, height: int = 256, width: int = 256) -> Pixels:
    """1/f^1.7 noise in each channel, and a few flat shapes that have sharp edges."""
    rng = np.random.default_rng(seed)
    down, across = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    fall = 1 / np.maximum(np.hypot(down, across), 1 / max(height, width)) ** 1.7
    shared = rng.standard_normal((height, width))
    channels = []
    for _ in range(3):
        noise = shared + 0.3 * rng.standard_normal((height, width))
        values = np.fft.irfft2(np.fft.rfft2(noise) * fall, (height, width))
        channels.append(128 + 45 * values / values.std())
    picture = np.stack(channels, -1)
    for _ in range(4):
        top, left = rng.integers(height - 8), rng.integers(width - 8)
        tall, wide = rng.integers(8, 1 + height // 3), rng.integers(8, 1 + width // 3)
        picture[top : top + tall, left : left + wide] = rng.integers(0, 256, 3)
    out: Pixels = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    return out


def png(picture: Image.Image) -> bytes:
    """A file of it."""
    data = io.BytesIO()
    picture.save(data, "PNG")
    return data.getvalue()


def jpeg(pixels: Pixels, quality: int) -> Pixels:
    """Written as JPEG with Pillow's own subsampling, and read again."""
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=quality)
    data.seek(0)
    return np.asarray(Image.open(data).convert("RGB"))


def psnr(a: Pixels, b: Pixels) -> float:
    """In dB, on RGB."""
    return float(10 * np.log10(255**2 / np.mean((a.astype(np.float64) - b) ** 2)))
