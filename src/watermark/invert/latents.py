"""Encode a picture and follow its denoising ODE back to the initial noise.

The pipeline's own `__call__` does the work on a shallow copy with an inverse scheduler:
every family's embeddings, packing and position ids come out right without a table, and
the user's pipeline and scheduler stay as they were.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from watermark.errors import UnsupportedPipeline
from watermark.invert.schedules import inverse_of

MAX_PIXELS = 1 << 22  # 2048 x 2048; attention takes memory by the square of this


class Inverter:
    """The inversion of one pipeline: pictures in, noise estimates out."""

    def __init__(self, pipeline: Any) -> None:
        """Take a diffusers text-to-image pipeline, attached or not.

        Raises:
            UnsupportedPipeline: no autoencoder, or a scheduler without an inverse.
        """
        attachment = getattr(type(pipeline), "_watermark_attachment", None)
        self._class = attachment.original if attachment else type(pipeline)
        if getattr(pipeline, "vae", None) is None:
            raise UnsupportedPipeline(
                f"{self._class.__name__} has no autoencoder (vae) to encode with"
            )
        inverse_of(pipeline.scheduler, 1)
        self._pipeline = pipeline

    def noise(
        self, pixels: NDArray[np.uint8], *, steps: int, rounds: int = 1
    ) -> NDArray[np.float32]:
        """The estimated initial noise of a picture.

        Args:
            pixels: uint8 (height, width, 3).
            steps: steps of the inverse ODE; the model runs `steps` x `rounds` times.
            rounds: evaluations per step.

        Returns:
            float32 of the shape that the pipeline draws for one sample.

        Raises:
            UnsupportedPipeline: the picture is too large, or its call fails.
        """
        if pixels.shape[0] * pixels.shape[1] > MAX_PIXELS:
            raise UnsupportedPipeline(
                f"a picture of {pixels.shape[1]}x{pixels.shape[0]} pixels, expected at "
                f"most {MAX_PIXELS} in all: inverting it would take too much memory"
            )
        grid = self._grid()
        height, width = (side // grid * grid for side in pixels.shape[:2])
        if not height or not width:
            raise UnsupportedPipeline(
                f"a picture of {pixels.shape[1]}x{pixels.shape[0]} pixels is smaller "
                f"than one cell of the latents, {grid}x{grid}"
            )
        pipe = self._copy(rounds)
        with torch.inference_mode(), _same_generators():
            clean = self._encode(pipe, pixels[:height, :width])
            packed = self._pack(pipe, clean)
            call: dict[str, Any] = {
                "prompt": "",
                "height": height,
                "width": width,
                "num_inference_steps": steps,
                "latents": packed,
                "output_type": "latent",
                "return_dict": False,
            }
            if not self._distilled(pipe):
                call["guidance_scale"] = 1.0
            result = pipe(**call)[0]
            noise = self._unpack(pipe, result, height, width)
        array: NDArray[np.float32] = noise[0].float().cpu().numpy()
        return array

    def _grid(self) -> int:
        """Pixels a side of one cell of the latents, or of a packed 2x2 block."""
        scale = int(self._pipeline.vae_scale_factor)
        return 2 * scale if self._packs(self._pipeline) else scale

    def _copy(self, rounds: int) -> Any:
        pipe = copy.copy(self._pipeline)
        pipe.__class__ = self._class
        pipe._internal_dict = copy.copy(self._pipeline._internal_dict)
        pipe.scheduler = inverse_of(self._pipeline.scheduler, rounds)
        for name in ("watermark", "safety_checker"):
            if getattr(pipe, name, None) is not None:
                pipe.__dict__[name] = None
        pipe.set_progress_bar_config(disable=True)
        return pipe

    @staticmethod
    def _encode(pipe: Any, pixels: NDArray[np.uint8]) -> torch.Tensor:
        vae, config = pipe.vae, pipe.vae.config
        image = torch.from_numpy(pixels.astype(np.float32) / 127.5 - 1)
        image = image.permute(2, 0, 1)[None].to(pipe._execution_device, vae.dtype)
        latents: torch.Tensor = vae.encode(image).latent_dist.mode()
        mean = getattr(config, "latents_mean", None)
        std = getattr(config, "latents_std", None)
        scale = float(config.scaling_factor)
        if mean is not None and std is not None:
            mean = torch.tensor(mean).view(1, -1, 1, 1).to(latents)
            std = torch.tensor(std).view(1, -1, 1, 1).to(latents)
            return (latents - mean) / std * scale
        return (latents - float(getattr(config, "shift_factor", None) or 0.0)) * scale

    @staticmethod
    def _packs(pipe: Any) -> bool:
        return hasattr(pipe, "_pack_latents")

    @staticmethod
    def _distilled(pipe: Any) -> bool:
        """Whether guidance is an input of the model, not a second evaluation."""
        transformer = getattr(pipe, "transformer", None)
        return bool(getattr(getattr(transformer, "config", None), "guidance_embeds", 0))

    def _pack(self, pipe: Any, latents: torch.Tensor) -> torch.Tensor:
        return (
            pipe._pack_latents(latents, *latents.shape)
            if self._packs(pipe)
            else latents
        )

    def _unpack(
        self, pipe: Any, latents: torch.Tensor, height: int, width: int
    ) -> torch.Tensor:
        if not self._packs(pipe):
            return latents
        unpacked: torch.Tensor = pipe._unpack_latents(
            latents, height, width, pipe.vae_scale_factor
        )
        return unpacked


@contextmanager
def _same_generators() -> Iterator[None]:
    """Leave torch's global generators as they were."""
    devices = (
        list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    )
    with torch.random.fork_rng(devices=devices):
        yield
