"""Pipelines that sample pixels themselves: what stands for their autoencoder."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

COLOURS = 3


class Identity(torch.nn.Module):
    """Encodes pixels in [-1, 1] as themselves."""

    dtype = torch.float32
    config = SimpleNamespace(force_upcast=False)

    def encode(self, frames: torch.Tensor) -> Any:
        """(frames, 3, height, width), as they are."""
        return SimpleNamespace(latents=frames)


def samples_pixels(denoiser: Any) -> bool:
    """Whether a denoiser works on pictures of three colours and on nothing beside."""
    config = getattr(denoiser, "config", None)
    return getattr(config, "in_channels", None) == COLOURS
