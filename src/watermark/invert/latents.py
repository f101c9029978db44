"""From a picture to its latents, and back along the denoising ODE to its noise.

The pipeline's own `__call__` does the work, on a shallow copy with an inverse scheduler
and between two taps (`watermark.invert.taps`): every family's embeddings, packing and
position ids come out right without a table, and the user's pipeline and scheduler stay
as they were.
"""

from __future__ import annotations

import copy
import inspect
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from watermark.errors import InvalidSignal, UnsupportedPipeline
from watermark.invert import taps
from watermark.invert.inputs import ATTEMPTS, FILMS, FRAMES, Inputs
from watermark.invert.layout import Layout, learn
from watermark.invert.pixels import Identity
from watermark.invert.schedules import inverse_class, inverse_of

MAX_PIXELS = 1 << 22  # 2048 x 2048; attention takes its square
MAX_FILM = 1 << 27  # of all frames: 140 of 1280 x 720
# Where a picture made from another one may have begun, as a share of the whole time.
STARTS = (1.0, 0.8, 0.6, 0.45, 0.3)
CELLS = (1, 2, 4)  # a side must be a multiple of this many cells: packed, or windows
KEPT = 32  # layouts, the size of a sample or twice: a service sees any number of sizes


class Inverter:
    """The inversion of one pipeline: pictures or films in, latents or noise out.

    It knows nothing of how they were made: no prompt, no guidance, no control picture
    (`watermark.invert.inputs`).

    Attributes:
        evaluations: how often the denoiser was run so far, dry runs not counted.
        starts: levels to try, 1.0 alone where pictures are made from a prompt.
    """

    def __init__(self, pipeline: Any) -> None:
        """Take a diffusers pipeline, attached or not.

        Raises:
            UnsupportedPipeline: it samples neither pixels nor what an autoencoder of
                its own decodes.
        """
        pipeline = getattr(pipeline, "decoder_pipe", None) or pipeline  # a combined one
        self._class = next(
            kind
            for kind in type(pipeline).__mro__
            if "_watermark_attachment" not in vars(kind)
        )
        self._autoencoder = taps.encoder_of(pipeline)
        self._pipeline = pipeline
        self._layouts: dict[tuple[int, ...], tuple[Layout, Inputs]] = {}
        self._inputs: Inputs | None = None
        self._precise: Any = None
        self.evaluations = 0
        parameters = inspect.signature(self._class.__call__).parameters
        self.starts = STARTS if "strength" in parameters else (1.0,)
        self._films = not parameters.keys().isdisjoint((*FRAMES, *FILMS))

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

    @property
    def native_frames(self) -> int | None:
        """How many frames the pipeline makes by default, or None."""
        parameters = inspect.signature(self._class.__call__).parameters
        found = (parameters[name].default for name in FRAMES if name in parameters)
        return next((count for count in found if isinstance(count, int)), None)

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
            float32 of the shape that the pipeline draws for one sample; 0 where a
            pipeline puts something else than what it drew, like a film's first frame.

        Raises:
            InvalidSignal: not finite: the models cannot run in this precision.
            UnsupportedPipeline: the scheduler has no inverse, the picture is too large
                or too small, a film has a number of frames that the pipeline does not
                make, the pipeline needs more than neutral inputs, or does more than
                scale between its loop and its decoder.
        """
        inverse_class(getattr(self._pipeline, "scheduler", None))
        film = pixels.ndim == 4
        if film and not self._films:
            raise UnsupportedPipeline(f"{self._class.__name__} makes no films")
        reason: UnsupportedPipeline | None = None
        tried: set[tuple[int, ...]] = set()
        for cells in CELLS:
            picture = _cropped(pixels, cells * self._cell())
            if picture.shape in tried:
                continue
            tried.add(picture.shape)
            try:
                with torch.inference_mode():
                    encoded = self._encode(picture, film=film)
                layout, inputs = self._layout(picture, tuple(encoded.shape))
            except UnsupportedPipeline as error:
                reason = reason or error
                continue
            value = layout.back(encoded)
            scheduler = inverse_of(self._pipeline.scheduler, rounds=rounds, start=start)
            pipe = taps.shallow(self._pipeline, self._class, scheduler, idle=False)
            first = picture[0] if film else None
            last, _ = taps.run(pipe, _size(picture), steps, value, inputs, first)
            self.evaluations += max(steps, inputs.least) * rounds
            return _array(layout.back(last)[0])
        raise reason or UnsupportedPipeline("no size of the picture fits the pipeline")

    def _cell(self) -> int:
        """Pixels a side of one cell of the latents."""
        if isinstance(self._autoencoder, Identity):
            return 1
        names = ["vae_scale_factor", "vae_scale_factor_spatial"]
        names += ["vae_spatial_compression_ratio", "vae_spatial_scale_factor"]
        names += ["movq_scale_factor"]
        found = (getattr(self._pipeline, name, None) for name in names)
        return next((int(scale) for scale in found if scale), 8)

    def _layout(
        self, picture: NDArray[np.uint8], encoded: tuple[int, ...]
    ) -> tuple[Layout, Inputs]:
        """As `learn`, once for each size, and what the pipeline was given for it.

        Raises:
            UnsupportedPipeline: this size decodes to another shape, or as `learn`.
        """
        if picture.shape in self._layouts:
            found, inputs = self._layouts[picture.shape]
        else:
            found, inputs = self._learnt(_size(picture), encoded)
            if len(self._layouts) >= KEPT:
                self._layouts.pop(next(iter(self._layouts)))
            self._layouts[picture.shape] = found, inputs
            self._inputs = inputs
        if found.decoded != encoded:
            raise UnsupportedPipeline(
                f"the autoencoder gives latents of shape {encoded}, but the pipeline "
                f"decodes {found.decoded} at this size"
            )
        return found, inputs

    def _learnt(
        self, size: dict[str, int], encoded: tuple[int, ...]
    ) -> tuple[Layout, Inputs]:
        """From the first inputs, of `ATTEMPTS`, that the pipeline can be run with."""
        reason: UnsupportedPipeline | None = None
        for inputs in (self._inputs,) if self._inputs else ATTEMPTS:
            scheduler = inverse_of(self._pipeline.scheduler, still=True)
            pipe = taps.shallow(self._pipeline, self._class, scheduler, idle=True)

            def learnt(inputs: Inputs, pipe: Any = pipe) -> Layout:
                return learn(lambda value: taps.run(pipe, size, 1, value, inputs))

            try:
                found = learnt(inputs)
                times, left = divmod(found.decoded[-1], encoded[-1])
                if times > 1 and not left:  # it enlarges the picture that it is given
                    inputs = replace(inputs, shrunk=inputs.shrunk * times)
                    found = learnt(inputs)
                return found, inputs
            except taps.CallFailed as error:
                reason = reason or error
        raise reason or UnsupportedPipeline("nothing was tried")

    def _encode(self, pixels: NDArray[np.uint8], *, film: bool) -> torch.Tensor:
        vae = self._encoder()
        own = np.require(pixels, requirements="W")  # PIL's cannot be written to
        frames = torch.from_numpy(own if film else own[None]).movedim(-1, -3)
        if _temporal(vae):
            return self._encoded(vae, frames.movedim(0, 1)[None])
        return torch.cat([self._encoded(vae, frame[None]) for frame in frames])

    def _encoded(self, vae: Any, frames: torch.Tensor) -> torch.Tensor:
        """Of uint8 (1, 3, height, width), or (1, 3, frames, height, width).

        Raises:
            UnsupportedPipeline: the autoencoder cannot hold them, or is of an unknown
                kind.
        """
        frames = frames.to(self._pipeline._execution_device).float() / 127.5 - 1
        try:
            encoded = vae.encode(frames.to(vae.dtype))
        except (RuntimeError, ValueError, IndexError) as error:
            raise UnsupportedPipeline(
                f"{type(vae).__name__} cannot encode {tuple(frames.shape)}: "
                f"{type(error).__name__}: {str(error)[:200]}"
            ) from None
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
    most = MAX_PIXELS if pixels.ndim == 3 else MAX_FILM
    if height * width > MAX_PIXELS or pixels.size // 3 > most:
        raise UnsupportedPipeline(
            f"a picture of {width}x{height} pixels, expected at most {most} in all: "
            "inverting it would take too much memory"
        )
    if not pixels.size:
        raise UnsupportedPipeline("there is no frame, or no pixel in it")
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
