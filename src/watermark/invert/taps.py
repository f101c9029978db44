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
import inspect
from collections.abc import Mapping
from typing import Any

import torch
from PIL import Image
from torch.overrides import TorchFunctionMode

from watermark.errors import UnsupportedPipeline

AUTOENCODERS = ("vae", "movq", "vqgan")  # what decodes, by its name in a pipeline
DENOISERS = ("unet", "transformer", "transformer_2")
_SILENT = ("watermark", "safety_checker")  # work on pixels, of which there are none
_MESSAGE = 300  # characters of another package's error


class _Reached(BaseException):
    """Leaves the pipeline's call at its decoder; no `except Exception` stops it."""

    def __init__(self, latents: torch.Tensor) -> None:
        super().__init__()
        self.latents = latents


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
    name, module = autoencoder_of(pipe)
    pipe.__dict__[name] = _with(module, "decode", _leave)
    if idle:
        for name in DENOISERS:
            module = getattr(pipe, name, None)
            if isinstance(module, torch.nn.Module):
                pipe.__dict__[name] = _with(module, "forward", _nothing)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def run(
    pipe: Any, size: Mapping[str, int], steps: int, value: torch.Tensor | None
) -> tuple[torch.Tensor, list[tuple[int, ...]]]:
    """Call a copy made by `shallow`, from a given draw to the decoder's door.

    Args:
        pipe: the copy.
        size: height and width in pixels; for a film also num_frames.
        steps: for the pipeline's `num_inference_steps`.
        value: stands in for every draw of its shape, or None.

    Returns:
        (what was handed to the decoder, shapes of all draws in their order).

    Raises:
        UnsupportedPipeline: its call fails, or never decodes.
    """
    draw = _Draw(value)
    try:
        with torch.inference_mode(), draw:
            pipe(**_arguments(pipe, size, steps))
    except _Reached as reached:
        return reached.latents, draw.shapes
    except UnsupportedPipeline:
        raise
    except Exception as error:  # whatever another package raises
        text = f"{type(error).__name__}: {error}"[:_MESSAGE]
        raise UnsupportedPipeline(
            f"{type(pipe).__name__} cannot be run from a prompt alone: {text}"
        ) from None
    raise UnsupportedPipeline(f"{type(pipe).__name__} did not decode its latents")


def _arguments(pipe: Any, size: Mapping[str, int], steps: int) -> dict[str, Any]:
    """One sample, no guidance, no prompt, and nothing of a starting picture kept."""
    blank = Image.new("RGB", (size["width"], size["height"]), "gray")
    wanted = {
        **size,
        "prompt": "",
        "num_inference_steps": steps,
        "strength": 1.0,
        "guidance_scale": 1.0,
        "true_cfg_scale": 1.0,
        "image": blank,
        "mask_image": Image.new("L", blank.size, "white"),
        "generator": torch.Generator().manual_seed(0),
    }
    parameters = inspect.signature(type(pipe).__call__).parameters
    if not _required(parameters, "image") and "strength" not in parameters:
        del wanted["image"], wanted["mask_image"]
    scale = parameters.get("guidance_scale")
    if _distilled(pipe) or (scale is not None and scale.default is None):
        del wanted["guidance_scale"]
    return {name: value for name, value in wanted.items() if name in parameters}


def _required(parameters: Mapping[str, inspect.Parameter], name: str) -> bool:
    found = parameters.get(name)
    return found is not None and found.default is inspect.Parameter.empty


def _distilled(pipe: Any) -> bool:
    """Whether guidance is an input of the model, not a second evaluation."""
    transformer = getattr(pipe, "transformer", None)
    return bool(getattr(getattr(transformer, "config", None), "guidance_embeds", 0))


def _with(module: torch.nn.Module, name: str, function: Any) -> torch.nn.Module:
    """A module that shares every weight and has another method of that name."""
    other = copy.copy(module)
    other.__dict__[name] = function
    return other


def _leave(latents: torch.Tensor, *_: Any, **__: Any) -> Any:
    raise _Reached(latents)


def _nothing(*args: Any, return_dict: bool = True, **kwargs: Any) -> Any:
    """What an idle denoiser says of the first latents that it is given."""
    given = [*args, *(kwargs.get(n) for n in ("hidden_states", "sample", "x"))]
    first = next(a for a in given if isinstance(a, torch.Tensor | list))
    zeros = (
        [torch.zeros_like(each) for each in first]
        if isinstance(first, list)
        else torch.zeros_like(first)
    )
    return type("Output", (), {"sample": zeros})() if return_dict else (zeros,)
