"""Whether `verify` finds again what a pipeline marks: what stands in the way.

A mark in the noise is there whatever samples it. To find it, `verify` encodes the
output and runs the sampler backwards, and not everything can be.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from watermark.errors import UnsupportedPipeline
from watermark.invert import taps
from watermark.invert.schedules import inverse_class
from watermark.pipelines import diffusion_modular
from watermark.pipelines import diffusion_output as output_of


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why `verify` does not find a mark in the noise.

    Attributes:
        reason: what it cannot do.
        encodes: whether it finds a mark in the final latents.
    """

    reason: str
    encodes: bool = False


def obstacle(pipe: Any, base: type) -> Obstacle | None:
    """What keeps `verify` from inverting a pipeline, or None.

    Args:
        pipe: the pipeline.
        base: its own class.
    """
    if diffusion_modular.supports(pipe):
        return Obstacle(
            "marked, but `verify` cannot invert a modular pipeline: give it the plain "
            "pipeline of the same model"
        )
    if output_of.kind(pipe, base, None) == "audio":
        return Obstacle("marked, but `verify` cannot invert generated sound")
    try:
        taps.encoder_of(pipe)
    except UnsupportedPipeline as error:
        return Obstacle(f"marked, but `verify` cannot invert it: {error}")
    try:
        inverse_class(getattr(pipe, "scheduler", None))
    except UnsupportedPipeline as error:
        reason = f"marked, but `verify` cannot invert it: {error}"
        return Obstacle(reason, encodes=not taps.in_pixels(pipe))
    return None
