"""Run a pipeline between two taps: the noise that it draws, and what it decodes.

A pipeline's own `__call__` knows its prompts, packing, position ids and sigmas. What
this package wants of it is the loop in between: to set the state that it starts from,
and to read the state that it ends in. Both are the same for every family: the start is
drawn with `torch.randn`, the end is handed to the autoencoder's `decode`. Runs are on
shallow copies; the user's pipeline, its scheduler and its random generators are not
touched.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers.utils import BaseOutput
from numpy.typing import NDArray
from torch.overrides import TorchFunctionMode

from watermark.errors import UnsupportedPipeline
from watermark.invert.inputs import ATTEMPTS, Inputs, arguments
from watermark.invert.pixels import Identity, samples_pixels

# What decodes, by its name in a pipeline.
AUTOENCODERS = ("vae", "movq", "vqgan", "vqvae")
DENOISERS = ("unet", "transformer", "transformer_2")
# Works on pixels, of which there are none. Cosmos refuses to run without a checker.
_SILENT = ("watermark",)
_MESSAGE = 300  # characters of another package's error


class CallFailed(UnsupportedPipeline):
    """A pipeline's call raised: other inputs may do."""


class _Reached(BaseException):
    """Leaves the pipeline's call at its decoder; no `except Exception` stops it."""

    def __init__(self, latents: torch.Tensor) -> None:
        super().__init__()
        self.latents = latents


@dataclass
class _Output(BaseOutput):  # type: ignore[misc]  # untyped base
    """What an idle denoiser returns: read by name or by index, as diffusers' own."""

    sample: Any = None


class _Draw(TorchFunctionMode):
    """While active in this thread, draws of one shape give `value` instead."""

    def __init__(self, value: torch.Tensor | None) -> None:
        super().__init__()
        self.value = value
        self.shapes: list[tuple[int, ...]] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if func is not torch.randn:
            return out
        self.shapes.append(tuple(out.shape))
        if self.value is None or out.shape != self.value.shape:
            return out
        return self.value.to(out)


def autoencoder_of(pipeline: Any) -> tuple[str, Any]:
    """(name, module) of what decodes a pipeline's latents.

    Raises:
        UnsupportedPipeline: there is none.
    """
    for name in AUTOENCODERS:
        module = getattr(pipeline, name, None)
        if module is not None:
            return name, module
    raise UnsupportedPipeline(
        f"{type(pipeline).__name__} has no autoencoder ({', '.join(AUTOENCODERS)}) to "
        "encode with"
    )


def encoder_of(pipeline: Any) -> Any:
    """What encodes a picture as a pipeline's latents; `Identity` if it samples pixels.

    Raises:
        UnsupportedPipeline: it samples neither, as far as can be told.
    """
    return Identity() if in_pixels(pipeline) else autoencoder_of(pipeline)[1]


def in_pixels(pipeline: Any) -> bool:
    """Whether a pipeline samples the pixels themselves."""
    if any(getattr(pipeline, name, None) is not None for name in AUTOENCODERS):
        return False
    return any(samples_pixels(getattr(pipeline, name, None)) for name in DENOISERS)


def shallow(pipeline: Any, kind: type, scheduler: Any, *, idle: bool) -> Any:
    """A copy of class `kind` that shares every weight and has a scheduler of its own.

    Args:
        pipeline: a diffusers pipeline, attached or not.
        kind: its class before `attach`.
        scheduler: for the copy.
        idle: whether its denoiser shall do nothing.
    """
    pipe = copy.copy(pipeline)
    pipe.__class__ = kind
    pipe.__dict__["_internal_dict"] = copy.copy(pipeline._internal_dict)
    pipe.__dict__["scheduler"] = scheduler
    for name in _SILENT:
        if getattr(pipe, name, None) is not None:
            pipe.__dict__[name] = None
    if in_pixels(pipe):
        scheduler.__dict__["step"] = _last(scheduler)
    else:
        name, module = autoencoder_of(pipe)
        pipe.__dict__[name] = _with(_apart(module), "decode", _leave)
    if idle:
        for name in DENOISERS:
            module = getattr(pipe, name, None)
            if isinstance(module, torch.nn.Module):
                pipe.__dict__[name] = _with(module, "forward", _nothing(module))
    pipe.set_progress_bar_config(disable=True)
    return pipe


def run(
    pipe: Any,
    size: Mapping[str, int],
    steps: int,
    value: torch.Tensor | None,
    inputs: Inputs = ATTEMPTS[0],
    first: NDArray[np.uint8] | None = None,
) -> tuple[torch.Tensor, list[tuple[int, ...]]]:
    """Call a copy made by `shallow`, from a given draw to the decoder's door.

    Args:
        pipe: the copy.
        size: height and width in pixels; for a film also num_frames.
        steps: for the pipeline's `num_inference_steps`.
        value: stands in for every draw of its shape, or None.
        inputs: what else it is given.
        first: as `inputs.arguments`.

    Returns:
        (what was handed to the decoder, shapes of all draws in their order).

    Raises:
        CallFailed: its call raises.
        UnsupportedPipeline: its call never decodes.
    """
    draw = _Draw(value)
    try:
        with torch.inference_mode(), draw:
            pipe(**arguments(pipe, size, steps, inputs, first))
    except _Reached as reached:
        return reached.latents, draw.shapes
    except UnsupportedPipeline:
        raise
    except Exception as error:  # whatever another package raises
        text = f"{type(error).__name__}: {error}"[:_MESSAGE]
        raise CallFailed(
            f"{type(pipe).__name__} cannot be run from a prompt alone: {text}"
        ) from None
    raise UnsupportedPipeline(f"{type(pipe).__name__} did not decode its latents")


def _last(scheduler: Any) -> Any:
    """Its `step`; the last one of a loop leaves the call."""
    steps, own = 0, scheduler.step

    @functools.wraps(own)
    def step(*args: Any, **kwargs: Any) -> Any:
        nonlocal steps
        out = own(*args, **kwargs)
        steps += 1
        if steps == len(scheduler.timesteps):
            steps = 0
            raise _Reached(out[0] if isinstance(out, tuple) else out.prev_sample)
        return out

    return step


def _apart(module: torch.nn.Module) -> torch.nn.Module:
    """A module that shares every weight, until either is cast or moved.

    Pipelines cast their autoencoder just before they decode, and back after it: `to`
    changes weights in place, and a call that is left at the decoder never comes back.
    """
    other = copy.copy(module)
    own = other.__dict__
    own["_parameters"] = {
        name: torch.nn.Parameter(p.detach(), p.requires_grad)
        if type(p) is torch.nn.Parameter
        else p
        for name, p in module._parameters.items()
    }
    own["_buffers"] = dict(module._buffers)
    own["_modules"] = {
        name: child if child is None else _apart(child)
        for name, child in module._modules.items()
    }
    return other


def _with(module: torch.nn.Module, name: str, function: Any) -> torch.nn.Module:
    """A module that shares every weight and has another method of that name."""
    other = copy.copy(module)
    other.__dict__[name] = function
    return other


def _leave(latents: torch.Tensor, *_: Any, **__: Any) -> Any:
    raise _Reached(latents)


def _nothing(module: torch.nn.Module) -> Any:
    """The `forward` of an idle denoiser: zeros like the first latents it is given."""
    config = getattr(module, "config", None)
    inner, outer = (getattr(config, n, None) for n in ("in_channels", "out_channels"))

    def zeros(latents: torch.Tensor) -> torch.Tensor:
        shape = list(latents.shape)
        channels = latents.ndim == 4 or (latents.ndim > 4 and shape[1] == inner)
        if channels and isinstance(outer, int):
            shape[1] = outer  # without a mask, with a variance
        return latents.new_zeros(shape)

    def forward(*args: Any, return_dict: bool = True, **kwargs: Any) -> Any:
        given = [*args, *(kwargs.get(n) for n in ("hidden_states", "sample", "x"))]
        first = next(a for a in given if isinstance(a, torch.Tensor | list))
        out = [*map(zeros, first)] if isinstance(first, list) else zeros(first)
        return _Output(sample=out) if return_dict else (out,)

    return forward
