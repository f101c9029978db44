"""Listen to a pipeline's autoencoder: what it decodes, and to decode it again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from watermark.errors import UnsupportedPipeline
from watermark.invert.taps import autoencoder_of

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Decoding:
    """One call of an autoencoder's `decode`, to be made again.

    Attributes:
        decode: the autoencoder's own method.
        latents: what it was given first, with the batch axis.
        args: the rest.
        kwargs: likewise.
    """

    decode: Callable[..., Any]
    latents: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def again(self, sample: Any) -> Pixels:
        """The 8-bit picture that other latents (no batch axis) decode to."""
        with torch.inference_mode():
            out = self.decode(sample[None], *self.args, **self.kwargs)
        out = out[0] if isinstance(out, tuple) else out.sample
        values = (out[0].float().clamp(-1, 1) + 1) * 127.5
        return np.asarray(values.round().byte().movedim(0, -1).cpu().numpy())


@contextmanager
def heard(pipeline: Any) -> Iterator[list[Decoding]]:
    """Within: every call of the autoencoder's `decode`, as it was made."""
    _, vae = autoencoder_of(pipeline)
    own, decode = vars(vae).get("decode"), vae.decode
    calls: list[Decoding] = []

    def listening(latents: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(Decoding(decode, latents.detach(), args, kwargs))
        return decode(latents, *args, **kwargs)

    vars(vae)["decode"] = listening
    try:
        yield calls
    finally:
        if own is None:
            del vars(vae)["decode"]
        else:
            vars(vae)["decode"] = own


def pixels_of(sample: Any) -> Pixels:
    """uint8 (height, width, 3), or (frames, height, width, 3), of `output_type="np"`.

    Raises:
        UnsupportedPipeline: it is no picture and no video.
    """
    values = np.asarray(sample)
    if values.ndim not in (3, 4) or values.shape[-1] != 3:
        raise UnsupportedPipeline(
            f"the output has shape {values.shape}, expected pictures or videos in "
            "colour: the power of other media is not measured"
        )
    return np.asarray((values * 255).round().astype(np.uint8))
