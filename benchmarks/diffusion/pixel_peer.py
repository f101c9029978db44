"""invisible-watermark (PyPI), which diffusers' own watermarker uses, if importable."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark.detectors.base import LN10
from watermark.detectors.stats import ln_binomial_tail

Pixels = NDArray[np.uint8]
BITS = 64
_HERE = all(importlib.util.find_spec(name) for name in ("imwatermark", "cv2", "pywt"))
METHODS: tuple[str, ...] = ("dwtDct", "dwtDctSvd") if _HERE else ()


def mark(pixels: Pixels, method: str, payload: bytes) -> Pixels:
    """`pixels` with 8 bytes; the package wants blue, green, red."""
    encoder: Any = importlib.import_module("imwatermark").WatermarkEncoder()
    encoder.set_watermark("bytes", payload)
    bgr = encoder.encode(np.ascontiguousarray(pixels[..., ::-1]), method)
    return np.ascontiguousarray(bgr[..., ::-1]).astype(np.uint8)


def look(pixels: Pixels, method: str, payload: bytes) -> tuple[float, bool]:
    """(log10 p, exact): of the bits that agree with a payload the detector is told."""
    decoder: Any = importlib.import_module("imwatermark").WatermarkDecoder("bits", BITS)
    try:
        bits = decoder.decode(np.ascontiguousarray(pixels[..., ::-1]), method)
    except Exception:  # it refuses pictures under 256 x 256 pixels
        return 0.0, False
    told = np.unpackbits(np.frombuffer(payload, np.uint8))
    agree = int((np.asarray(bits).astype(np.uint8) == told).sum())
    return ln_binomial_tail(agree, BITS, 0.5) / LN10, agree == BITS
