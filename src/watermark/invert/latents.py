"""From a picture to its latents, and back along the denoising ODE to its noise.

The pipeline's own `__call__` does the work, on a shallow copy with an inverse scheduler
and between two taps (`watermark.invert.taps`): every family's embeddings, packing and
position ids come out right without a table, and the user's pipeline and scheduler stay
as they were.
"""

from __future__ import annotations

import copy
import inspect
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from watermark.errors import InvalidSignal, UnsupportedPipeline
from watermark.invert import taps
from watermark.invert.layout import Layout, learn
from watermark.invert.schedules import inverse_of

MAX_PIXELS = 1 << 22  # 2048 x 2048, of all frames; attention takes its square
# Where a picture made from another one may have begun, as a share of the whole time.
STARTS = (1.0, 0.8, 0.6, 0.45, 0.3)
CELLS = (1, 2, 4)  # a side must be a multiple of this many cells: packed, or windows


class Inverter:
    """The inversion of one pipeline: pictures in, latents or noise estimates out.

    Attributes:
        evaluations: how often the denoiser was run so far, dry runs not counted.
        starts: levels to try, 1.0 alone where pictures are made from a prompt.
    """

    def __init__(self, pipeline: Any) -> None:
        """Take a diffusers pipeline, attached or not.

        Raises:
            UnsupportedPipeline: no autoencoder, or a scheduler without an inverse.
        """
        attachment = getattr(type(pipeline), "_watermark_attachment", None)
        self._class = attachment.original if attachment else type(pipeline)
        self._autoencoder = taps.autoencoder_of(pipeline)[1]
        inverse_of(pipeline.scheduler)
        self._pipeline = pipeline
        self._layouts: dict[tuple[int, ...], Layout] = {}
        self._precise: Any = None
        self.evaluations = 0
        parameters = inspect.signature(self._class.__call__).parameters
        self.starts = STARTS if "strength" in parameters else (1.0,)

    @property
    def native(self) -> tuple[int, int] | None:
        """(height, width) in pixels that the pipeline makes by default, or None."""
        side = getattr(self._pipeline, "default_sample_size", None)
        if side is None:
            unet = getattr(self._pipeline, "unet", None)
            side = getattr(getattr(unet, "config", None), "sample_size", None)
        sides = [side, side] if isinstance(side, int) else list(side or ())
        if len(sides) != 2:
            return None
        return int(sides[0]) * self._cell(), int(sides[1]) * self._cell()

    def latents(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What the autoencoder makes of a picture, in its own units.

        Args:
            pixels: uint8 (height, width, 3), or (frames, height, width, 3).

        Returns:
            float32 of the shape that its `decode` takes for one sample.

        Raises:
            InvalidSignal: not finite: the autoencoder cannot run in this precision.
            UnsupportedPipeline: too large, too small, or of an unknown kind.
        """
        cell = self._cell()
        with torch.inference_mode():
            found = self._encode(_cropped(pixels, cell), film=pixels.ndim == 4)
        return _array(found[0] if len(found) == 1 else found)

    def noise(
        self,
        pixels: NDArray[np.uint8],
        *,
        steps: int,
        rounds: int = 1,
        start: float = 1.0,
    ) -> NDArray[np.float32]:
        """The estimated initial noise of a picture.

        Args:
            pixels: uint8 (height, width, 3), or (frames, height, width, 3).
            steps: steps of the inverse ODE; the model runs `steps` x `rounds` times.
            rounds: evaluations per step.
            start: the level at which generation began; below 1 the estimate is what
                the model takes for noise there.

        Returns:
            float32 of the shape that the pipeline draws for one sample.

        Raises:
            InvalidSignal: not finite: the models cannot run in this precision.
            UnsupportedPipeline: the picture is too large or too small, the pipeline
                needs more than a prompt, or does more than scale between its loop and
                its decoder.
        """
        reason: UnsupportedPipeline | None = None
        for cells in CELLS:
            picture = _cropped(pixels, cells * self._cell())
            try:
                with torch.inference_mode():
                    encoded = self._encode(picture, film=pixels.ndim == 4)
                layout = self._layout(picture, tuple(encoded.shape))
            except UnsupportedPipeline as error:
                reason = reason or error
                continue
            value = layout.back(encoded)
            scheduler = inverse_of(self._pipeline.scheduler, rounds=rounds, start=start)
            pipe = taps.shallow(self._pipeline, self._class, scheduler, idle=False)
            last, _ = taps.run(pipe, _size(picture), steps, value)
            self.evaluations += steps * rounds
            return _array(layout.back(last)[0])
        raise reason or UnsupportedPipeline("no size of the picture fits the pipeline")

    def _cell(self) -> int:
        """Pixels a side of one cell of the latents."""
        names = ["vae_scale_factor", "vae_scale_factor_spatial"]
        names += ["vae_spatial_compression_ratio"]
        found = (getattr(self._pipeline, name, None) for name in names)
        return next((int(scale) for scale in found if scale), 8)

    def _layout(self, picture: NDArray[np.uint8], encoded: tuple[int, ...]) -> Layout:
        """As `learn`, once for each size.

        Raises:
            UnsupportedPipeline: this size decodes to another shape, or as `learn`.
        """
        found = self._layouts.get(picture.shape)
        if found is None:
            scheduler = inverse_of(self._pipeline.scheduler, still=True)
            pipe = taps.shallow(self._pipeline, self._class, scheduler, idle=True)
            found = learn(lambda value: taps.run(pipe, _size(picture), 1, value))
            self._layouts[picture.shape] = found
        if found.decoded != encoded:
            raise UnsupportedPipeline(
                f"the autoencoder gives latents of shape {encoded}, but the pipeline "
                f"decodes {found.decoded} at this size"
            )
        return found

    def _encode(self, pixels: NDArray[np.uint8], *, film: bool) -> torch.Tensor:
        vae = self._encoder()
        device = self._pipeline._execution_device
        image = torch.from_numpy(pixels.astype(np.float32) / 127.5 - 1)
        image = image.movedim(-1, -3).to(device, vae.dtype)
        frames = image if film else image[None]  # (frames, 3, height, width)
        if _temporal(vae):
            frames = frames.movedim(0, 1)[None]  # (1, 3, frames, height, width)
        encoded = vae.encode(frames)
        if hasattr(encoded, "latent_dist"):
            found: torch.Tensor = encoded.latent_dist.mode()
            return found
        for name in ("latents", "latent"):
            if isinstance(getattr(encoded, name, None), torch.Tensor):
                found = getattr(encoded, name)
                return found
        raise UnsupportedPipeline(
            f"{type(vae).__name__} encodes to {type(encoded).__name__}, which is of no "
            "known kind"
        )

    def _encoder(self) -> Any:
        """The autoencoder, in float32 where it says that it cannot run in less."""
        vae = self._autoencoder
        forced = getattr(vae.config, "force_upcast", False)
        if not forced or vae.dtype != torch.float16:
            return vae
        if self._precise is None:
            self._precise = copy.deepcopy(vae).float()
        return self._precise


def _cropped(pixels: NDArray[np.uint8], grid: int) -> NDArray[np.uint8]:
    """The picture cut to whole cells.

    Raises:
        UnsupportedPipeline: it holds too many pixels, or not one cell.
    """
    height, width = pixels.shape[-3:-1]
    if pixels.size // 3 > MAX_PIXELS:
        raise UnsupportedPipeline(
            f"a picture of {width}x{height} pixels, expected at most {MAX_PIXELS} in "
            "all: inverting it would take too much memory"
        )
    tall, wide = height // grid * grid, width // grid * grid
    if not tall or not wide:
        raise UnsupportedPipeline(
            f"a picture of {width}x{height} pixels is smaller than one cell of the "
            f"latents, {grid}x{grid}"
        )
    return pixels[..., :tall, :wide, :]


def _size(pixels: NDArray[np.uint8]) -> dict[str, int]:
    frames = pixels.shape[0] if pixels.ndim == 4 else 1
    height, width = pixels.shape[-3:-1]
    return {"height": height, "width": width, "num_frames": frames}


def _temporal(vae: Any) -> bool:
    """Whether it encodes films: its encoder convolves over time."""
    modules = getattr(vae, "encoder", vae).modules()
    return any(isinstance(module, torch.nn.Conv3d) for module in modules)


def _array(latents: torch.Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = latents.float().cpu().numpy()
    if not np.isfinite(array).all():
        raise InvalidSignal(
            "the latents hold NaN or infinity: run the pipeline in float32"
        )
    return array
