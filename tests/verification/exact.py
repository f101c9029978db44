"""A pipeline that makes films, of which only the weights are small: Wan's own code.

Its autoencoder is linear and loses nothing but what 8 bits round off: each cell's four
numbers are an orthonormal part of its 2x2 pixels, and all but the first frame are shown
twice. So a film goes back to its latents without training, and the rest of the way is
the pipeline's.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import ConfigMixin, WanPipeline
from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.vae import (
    DecoderOutput,
    DiagonalGaussianDistribution,
)
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from tests.invert import families

CELL = 2  # pixels a side
GROUP = 2  # frames shown for one of latents
CONTRAST = 0.25  # of a pixel, for latents of deviation 1


class Linear(torch.nn.Module, ConfigMixin):  # type: ignore[misc]  # untyped base
    """Latents (batch, 4, 1 + n, h, w) to pixels (batch, 3, 1 + 2 n, 2 h, 2 w)."""

    config_name = "config.json"

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        z_dim: int = 4,
        latents_mean: tuple[float, ...] = (0.0,) * 4,
        latents_std: tuple[float, ...] = (1.0,) * 4,
        scale_factor_temporal: int = GROUP,
        scale_factor_spatial: int = CELL,
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        mixed = torch.randn(3 * CELL * CELL, z_dim, generator=generator)
        self.encoder = torch.nn.Conv3d(
            *(3, z_dim), (1, CELL, CELL), (1, CELL, CELL), bias=False
        )
        weights = torch.linalg.qr(mixed)[0].T.reshape(self.encoder.weight.shape)
        self.encoder.weight.data = weights.contiguous()
        self.dtype, self.device = torch.float32, torch.device("cpu")

    def encode(self, pixels: torch.Tensor) -> AutoencoderKLOutput:
        """The latents, with no spread."""
        found = self.encoder(pixels) / CONTRAST
        later = found[:, :, 1:].unflatten(2, (-1, GROUP)).mean(3)
        mean = torch.cat([found[:, :, :1], later], 2)
        spread = torch.full_like(mean, -30.0)
        both = torch.cat([mean, spread], 1)
        return AutoencoderKLOutput(latent_dist=DiagonalGaussianDistribution(both))

    def decode(self, latents: torch.Tensor, return_dict: bool = True) -> Any:
        """The pixels, about -1 to 1."""
        later = latents[:, :, 1:].repeat_interleave(GROUP, 2)
        latents = torch.cat([latents[:, :, :1], later], 2)
        shown = torch.nn.functional.conv_transpose3d(
            *(latents * CONTRAST, self.encoder.weight), stride=(1, CELL, CELL)
        )
        return DecoderOutput(sample=shown) if return_dict else (shown,)


def wan() -> Any:
    """Text to film."""
    parts = families.wan().components
    pipe = WanPipeline(**parts | {"vae": Linear()})
    pipe.set_progress_bar_config(disable=True)
    return pipe
