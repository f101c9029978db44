"""Which of diffusers' pipeline classes are found again: back from output to noise.

Plumbing, not strength. All is as in `verify`: an `Inverter` of the pipeline, which
knows of the output and of nothing else, neither prompt nor control picture. But weights
are random here, so

- an autoencoder gives back nothing of what it decoded: what a class's own `__call__`
  handed to its autoencoder stands in for what the encoder makes of its output, if that
  is of the same shape;
- a denoiser knows no noise when it sees it: it is made to say little (`DAMPED`).
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.diffusion import instance, small
from watermark.errors import UnsupportedPipeline
from watermark.invert import taps
from watermark.invert.inputs import FRAMES
from watermark.invert.latents import Inverter
from watermark.pipelines.diffusion_host import parts_of

STEPS = 4
DAMPED = 2**-8
# Arguments that fit the small models of a test, where a class's defaults fit its own.
_SIZES = (
    "max_sequence_length",
    "text_encoder_out_layers",
    "prompt_template",
    "return_index",
    "use_system_prompt",
    "add_duration_template",
    "add_resolution_template",
    "base_num_frames",
    "overlap_history",
)


@contextlib.contextmanager
def decoding(pipe: Any, decoded: list[torch.Tensor]) -> Iterator[None]:
    """Within: all that autoencoders decode is kept, or what a loop in pixels makes."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(damped(pipe))
        for part in parts_of(pipe):
            if taps.in_pixels(part):
                host, name = part.scheduler, "step"
            else:
                try:
                    host, name = taps.autoencoder_of(part)[1], "decode"
                except UnsupportedPipeline:
                    continue
            host.__dict__[name] = _kept(getattr(host, name), name, decoded)
            stack.callback(host.__dict__.pop, name)
        yield


@contextlib.contextmanager
def damped(pipe: Any) -> Iterator[None]:
    """Within: what the denoisers say is `DAMPED`."""
    hooks = [
        module.register_forward_hook(_damp)
        for part in parts_of(pipe)
        for name in taps.DENOISERS
        if isinstance(module := getattr(part, name, None), torch.nn.Module)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _damp(module: Any, given: Any, out: Any) -> Any:
    if out is None or isinstance(out, torch.Tensor):
        return out if out is None else out * DAMPED
    if isinstance(out, list):
        return [one * DAMPED for one in out]
    if isinstance(out, tuple):
        return (_damp(module, given, out[0]), *out[1:])
    out.sample = _damp(module, given, out.sample)
    return out


def _kept(own: Any, name: str, decoded: list[torch.Tensor]) -> Any:
    """A method of that name that keeps what it is given, or the state it makes."""

    @functools.wraps(own)
    def method(first: Any, *args: Any, **kwargs: Any) -> Any:
        out = own(first, *args, **kwargs)
        if name == "step":
            decoded[:] = [out[0] if isinstance(out, tuple) else out.prev_sample]
        else:
            decoded.append(first.detach().clone())
        return out

    return method


def pixels_of(output: Any) -> NDArray[np.uint8]:
    """A sample of a pipeline's output: uint8 ([frames,] height, width, 3).

    Raises:
        UnsupportedPipeline: it is no picture and no film.
    """
    if isinstance(output, Image.Image):
        output = np.asarray(output.convert("RGB"))
    elif isinstance(output, list) and isinstance(output[0], Image.Image):
        output = np.stack([np.asarray(one.convert("RGB")) for one in output])
    values = np.asarray(output)
    if values.ndim not in (3, 4) or values.shape[-1] != 3:
        raise UnsupportedPipeline(f"its output is of shape {values.shape}: no picture")
    if values.dtype != np.uint8:
        values = (np.nan_to_num(values).clip(0, 1) * 255).round().astype(np.uint8)
    return values


def estimated(
    pipe: Any,
    pixels: NDArray[np.uint8],
    decoded: Sequence[torch.Tensor],
    asked: Mapping[str, Any],
) -> NDArray[np.float32]:
    """The estimate of the noise that an output was made of.

    Args:
        pipe: the pipeline, no longer attached.
        pixels: the output.
        decoded: what it decoded.
        asked: the arguments of its call.

    Raises:
        UnsupportedPipeline: as `Inverter.noise`, or the output is encoded as another
            shape than was decoded.
    """
    inverter = _Given(pipe, pixels, decoded)
    sides = [asked.get(name) for name in ("height", "width")]
    frames = [asked[n] for n in FRAMES if n in asked] or pixels.shape[:1]
    size = (*frames[:1], *sides) if pixels.ndim == 4 else sides
    if all(isinstance(side, int) for side in size):
        pixels = np.zeros((*size, 3), np.uint8)
    with damped(pipe):
        return inverter.noise(pixels, steps=STEPS)


class _Given(Inverter):
    """One whose autoencoder gives back what was decoded.

    Small autoencoders compress less than their classes take for granted, so an output
    may be smaller than asked for, and shorter: what was asked for is what counts here.
    """

    def __init__(
        self, pipe: Any, output: NDArray[np.uint8], decoded: Sequence[torch.Tensor]
    ) -> None:
        super().__init__(pipe)
        self._class = _small(self._class)
        self._output, self._decoded = output, decoded

    def _encode(self, pixels: NDArray[np.uint8], *, film: bool) -> torch.Tensor:
        encoded = super()._encode(self._output, film=film)
        for latents in self._decoded:
            if latents.shape == encoded.shape:
                return latents
        shapes = ", ".join(str(tuple(one.shape)) for one in self._decoded)
        raise UnsupportedPipeline(
            f"it decoded {shapes}; its output is encoded as {tuple(encoded.shape)}"
        )


def _small(kind: Any) -> Any:
    """The class, with the lengths of text that its small models take as defaults."""
    entry = instance.entry_of(kind)
    given = small.inputs(entry) if entry else {}
    sizes = {name: given[name] for name in _SIZES if name in given}

    @functools.wraps(kind.__call__)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return kind.__call__(self, *args, **{**sizes, **kwargs})

    made = type(kind.__name__, (kind,), {"__call__": call})
    made.__module__ = kind.__module__
    return made
