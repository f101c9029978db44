"""What to call a pipeline with, where only its loop is wanted: neutral inputs, by name.

No prompt, no guidance, and of a starting picture nothing kept. Pipelines that also take
a control picture, a mask or a film are given blank ones, at scale 0 where there is one:
inversion then runs without the control that generation had. That makes an estimate of
the noise weaker, and no p-value wrong: a p-value holds for any estimate that was made
without the key.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

# Names of the number of frames in a call,
FRAMES = ("num_frames", "frames", "video_length")
FILMS = ("video", "control_video")  # and of films
_PROMPT = '{"edit_instruction": "a"}'  # some models read no other texts
_START = ("image", "mask_image", "video")  # what `strength` is of
# Scales of what else steers a loop. At 0 nothing is put into a shared model for good:
# a pipeline that leaves its call at the decoder never takes it out again.
_SCALES = (
    "controlnet_conditioning_scale",
    "adapter_conditioning_scale",
    "pag_scale",
)


@dataclass(frozen=True, slots=True)
class Inputs:
    """How much a pipeline is given.

    Attributes:
        media: every picture, mask and film that its call can take, not only those that
            it must be given.
        prompt: of a model that cannot encode an empty one.
        least: of steps: some schedules cannot be laid out in one.
        shrunk: how many times smaller than its output a given picture is.
    """

    media: bool = False
    prompt: str = ""
    least: int = 1
    shrunk: int = 1


# From the least to the most: some pipelines edit a picture if they are given one.
ATTEMPTS = (
    Inputs(),
    Inputs(media=True),
    Inputs(least=2),
    Inputs(media=True, least=2),
    Inputs(prompt=_PROMPT, least=2),
    Inputs(media=True, prompt=_PROMPT, least=2),
)


def arguments(
    pipe: Any,
    size: Mapping[str, int],
    steps: int,
    inputs: Inputs,
    first: NDArray[np.uint8] | None = None,
) -> dict[str, Any]:
    """Arguments of one call.

    Args:
        pipe: a diffusers pipeline.
        size: height and width in pixels; for a film also num_frames; any other
            argument by its name.
        steps: for `num_inference_steps`.
        inputs: how much to give.
        first: uint8 (height, width, 3), the first frame of a film: what a pipeline that
            makes films of a picture is given.
    """
    parameters = inspect.signature(type(pipe).__call__).parameters
    count = size.get("num_frames", 1)
    wanted = {
        **size,
        **dict.fromkeys(FRAMES, count),
        **dict.fromkeys(_SCALES, 0.0),
        "decode_chunk_size": count,
        "prompt": inputs.prompt,
        "num_inference_steps": max(steps, inputs.least),
        "prior_num_inference_steps": 2,
        "strength": 1.0,
        "guidance_scale": 1.0,
        "true_cfg_scale": 1.0,
        "use_resolution_binning": False,  # at the size of the picture, no other
        "_auto_resize": False,
        "complex_human_instruction": None,
        "generator": torch.Generator().manual_seed(0),
    }
    scale = parameters.get("guidance_scale")
    if _distilled(pipe) or (scale is not None and scale.default is None):
        del wanted["guidance_scale"]
    films = not parameters.keys().isdisjoint(FRAMES)
    for name, value in _media(pipe, size, inputs, first if films else None).items():
        parameter = parameters.get(name)
        if parameter is None:
            continue
        start = name in _START and "strength" in parameters
        if inputs.media or start or parameter.default is inspect.Parameter.empty:
            wanted[name] = value
    return {name: value for name, value in wanted.items() if name in parameters}


def _media(
    pipe: Any,
    size: Mapping[str, int],
    inputs: Inputs,
    first: NDArray[np.uint8] | None,
) -> dict[str, Any]:
    """Everything but prompts and numbers, blank."""
    width, height = size["width"] // inputs.shrunk, size["height"] // inputs.shrunk
    blank = Image.new("RGB", (width, height), "gray")
    film = [blank] * size.get("num_frames", 1)
    nets = _several(pipe)
    control: Any = [blank] * nets if nets else blank
    image = blank if first is None else Image.fromarray(first)
    controls = "control_image" not in inspect.signature(type(pipe).__call__).parameters
    found = {
        "image": control if nets and controls else image,
        "control_image": control,
        "mask_image": Image.new("L", blank.size, "white"),
        **dict.fromkeys(FILMS, film),
        "hint": torch.zeros(1, 3, height, width),
        "class_labels": [0],
    }
    embedded = _embedded(pipe)
    if embedded:
        found |= dict.fromkeys(
            ("image_embeds", "negative_image_embeds"), torch.zeros(1, embedded)
        )
    return found


def _several(pipe: Any) -> int:
    """How many pictures steer it at once, if it takes a list of them; else 0."""
    nets = getattr(getattr(pipe, "controlnet", None), "nets", None)
    adapters = getattr(getattr(pipe, "adapter", None), "adapters", None)
    return len(nets or adapters or ())


def _embedded(pipe: Any) -> int:
    """Length of the embedding of a picture that its denoiser takes, or 0."""
    added = getattr(getattr(pipe, "unet", None), "add_embedding", None)
    return int(getattr(getattr(added, "image_proj", None), "in_features", 0))


def _distilled(pipe: Any) -> bool:
    """Whether guidance is an input of the model, not a second evaluation."""
    transformer = getattr(pipe, "transformer", None)
    return bool(getattr(getattr(transformer, "config", None), "guidance_embeds", 0))
