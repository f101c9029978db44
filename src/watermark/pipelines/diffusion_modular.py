"""Modular pipelines of diffusers: the blocks that draw initial noise are wrapped.

A modular pipeline is a tree of blocks, and some leaves of it prepare the latents. The
leaves whose code draws noise get a subclass, and so does the pipeline.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from watermark.pipelines import diffusion_draw
from watermark.pipelines import diffusion_output as output_of
from watermark.pipelines.base import Attachment
from watermark.pipelines.diffusion_call import ACTIVE, Call
from watermark.pipelines.diffusion_host import Host

# Names under which blocks leave what they made, the last steps' first.
_RESULTS = (
    "images",
    "image",
    "videos",
    "video",
    "frames",
    "audios",
    "audio",
    "latents",
)

# Blocks that draw other noise than the initial one: by file, and by name.
_OTHER_FILES = ("decoders", "encoders")
_OTHER_NOISE = ("AddNoise", "Denoise", "PrepareCondition")


def supports(obj: Any) -> bool:
    """Whether `obj` is a modular pipeline."""
    try:
        from diffusers import ModularPipeline
    except ImportError:  # older than 0.35
        return False
    return isinstance(obj, ModularPipeline)


def no_noise(pipe: Any) -> str | None:
    """Why no block draws noise that could be marked, or None."""
    if any(True for _ in drawing_blocks(_tree(pipe))):
        return None
    return "has no block that draws initial noise"


def _tree(pipe: Any) -> Any:
    """The root of a pipeline's blocks; diffusers 0.35 has it under another name."""
    return pipe._blocks if hasattr(pipe, "_blocks") else pipe.blocks


def drawing_blocks(block: Any) -> Iterator[Any]:
    """The leaves of a tree of blocks that draw initial noise.

    What a decoder draws is another noise, and so is what is added to a given picture.
    """
    if block is None:
        return
    inner = getattr(block, "sub_blocks", None) or {}
    for child in inner.values():
        yield from drawing_blocks(child)
    kind = type(block)
    named = kind.__module__.rpartition(".")[2]
    if inner or named in _OTHER_FILES or any(n in kind.__name__ for n in _OTHER_NOISE):
        return
    if diffusion_draw.draws(kind.__call__, kind):
        yield block


class ModularHost(Host):
    """`Host` for results that have names and no fixed place."""

    def samples(self, output: Any) -> Sequence[Any]:
        """The samples among the results, whatever form they were asked for in."""
        found = _result(output)
        if found is None:
            return []
        several = isinstance(found, list | np.ndarray | torch.Tensor)
        return output_of.samples(found) if several else [found]

    def kind(self, pipe: Any, output: Any) -> Any:
        """The medium, by the name of the result or by the blocks' module."""
        values = _values(output)
        for name in values:
            for medium in ("video", "audio", "image"):
                if name.startswith(medium) and values[name] is not None:
                    return medium
        module = self.base.__module__
        video = any(part in module for part in ("video", "wan", "ltx", "helios"))
        return "video" if video else "image"


def _values(output: Any) -> Mapping[str, Any]:
    values = getattr(output, "values", None)
    if isinstance(values, Mapping):
        return values
    return output if isinstance(output, Mapping) else {}


def _result(output: Any) -> Any:
    values = _values(output)
    if not values and not hasattr(output, "get"):
        return output
    return next(
        (values[name] for name in _RESULTS if values.get(name) is not None), None
    )


def swap(attachment: Attachment, host: Host, pipe: Any) -> None:
    """Put the host around the pipeline's calls and the blocks that draw."""
    base: Any = type(pipe)

    @functools.wraps(base.__call__)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        def invoke(active: Call | None) -> Any:
            return base.__call__(self, *args, **kwargs)

        return host.run(self, kwargs, invoke)

    attachment.swap({"__call__": call})
    for block in {id(b): b for b in drawing_blocks(_tree(pipe))}.values():
        attachment.swap({"__call__": _drawing(type(block))}, block)


def _drawing(base: Any) -> Any:
    @functools.wraps(base.__call__)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        active = ACTIVE.get()
        if active is None or active.inside or not active.noise:
            return base.__call__(self, *args, **kwargs)
        with active.drawing():
            return base.__call__(self, *args, **kwargs)

    return call
