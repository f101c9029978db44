"""`rivagan`: RivaGAN (arXiv:1909.01285), 32 bits in a picture, weights in the wheel.

The two networks lie in the wheel of `invisible-watermark` (MIT). They are run by
onnxruntime from there; the package itself, which wants OpenCV and torch, is not
imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark.errors import MissingCodec, MissingDependency
from watermark.schemes.learned.codec import Bits


@dataclass(frozen=True, slots=True)
class RivaGan:
    """Encoder and decoder, each a session of onnxruntime."""

    encoder: Any
    decoder: Any
    name: str = "rivagan"
    bits: int = 32
    rate: int = 0
    least: int = 256  # a side; of 128 pixels, two bits or more come back wrong
    most: int = 1 << 21  # the networks take 1.2 GB of memory for a million pixels

    def encode(self, content: NDArray[Any], bits: Bits) -> NDArray[Any]:
        """`content` with `bits`."""
        data = bits.astype(np.float32)[None]
        given = {"frame": _frame(content), "data": data}
        made = np.clip(self.encoder.run(None, given)[0][0, :, 0], -1.0, 1.0)
        values: NDArray[Any] = np.rint((made.transpose(1, 2, 0) + 1.0) * 127.5)
        return values.astype(np.uint8)

    def decode(self, content: NDArray[Any]) -> Any:
        """The signs of the decoder's logits.

        Its makers' wrapper cuts at .52, as if these were probabilities; after JPEG at
        quality 50 that loses three bits in a hundred more.
        """
        return self.decoder.run(None, {"frame": _frame(content)})[0][0] > 0.0


def _frame(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """float32 (1, 3, 1, height, width) in [-1, 1]."""
    values = pixels.astype(np.float32) / 127.5 - 1.0
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None, :, None])


def load() -> RivaGan:
    """The codec, with the weights of the installed wheel.

    Raises:
        MissingDependency: `invisible-watermark` or `onnxruntime` is not installed.
        MissingCodec: the wheel holds no weights.
    """
    found = find_spec("imwatermark")
    if found is None or not found.submodule_search_locations:
        raise MissingDependency("invisible-watermark", "rivagan")
    if find_spec("onnxruntime") is None:
        raise MissingDependency("onnxruntime", "rivagan")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.enable_cpu_mem_arena = False  # it would keep what one large picture needed
    folder = Path(next(iter(found.submodule_search_locations)))
    sessions = []
    for part in ("encoder", "decoder"):
        file = folder / f"rivagan_{part}.onnx"
        if not file.is_file():
            raise MissingCodec(
                f"rivagan: {file} is missing, expected in invisible-watermark 0.2: "
                "install that package again"
            )
        sessions.append(
            onnxruntime.InferenceSession(
                file, options, providers=["CPUExecutionProvider"]
            )
        )
    return RivaGan(*sessions)
