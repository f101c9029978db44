"""An exact denoiser of pixels: pictures that are Gaussian, with photographs' spectrum.

Every frequency goes its own way, and the best guess of it is a gain. So a pipeline that
samples pixels runs for real, with a denoiser that errs nowhere and needs no training.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import ConfigMixin, DDIMScheduler
from diffusers.configuration_utils import register_to_config
from diffusers.models.unets.unet_2d import UNet2DOutput

CONTRAST = 0.35  # standard deviation of a pixel, of [-1, 1]


def variances(side: int) -> torch.Tensor:
    """(side, side): of the clean amplitudes of the orthonormal Fourier transform."""
    axis = torch.fft.fftfreq(side)
    frequency = torch.hypot(axis[:, None], axis[None])
    frequency[0, 0] = 1 / side
    found = frequency**-2
    return found / found.mean() * CONTRAST**2


class Gaussian(torch.nn.Module, ConfigMixin):  # type: ignore[misc]  # untyped base
    """Predicts the noise in a state of `DDIMScheduler()`'s levels."""

    config_name = "config.json"

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, sample_size: int = 64, in_channels: int = 3) -> None:
        super().__init__()
        self.register_buffer("variances", variances(sample_size))
        self.dtype, self.device = torch.float32, torch.device("cpu")
        self.alphas = DDIMScheduler().alphas_cumprod

    def forward(self, state: torch.Tensor, time: Any, **_: Any) -> UNet2DOutput:
        """The noise of states (batch, channels, side, side)."""
        alpha = self.alphas[int(time)]
        gain = (1 - alpha).sqrt() / (alpha * self.variances + 1 - alpha)
        return UNet2DOutput(torch.fft.ifft2(torch.fft.fft2(state) * gain).real)


def pipeline(kind: Any, side: int = 64) -> Any:
    """A pipeline of pixels: `DDIMPipeline`, `DDPMPipeline`."""
    made = kind(Gaussian(side), DDIMScheduler())
    made.set_progress_bar_config(disable=True)
    return made
