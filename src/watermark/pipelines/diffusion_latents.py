"""Latents that the caller brings (`latents=`), and how a pipeline packs its own.

FLUX, Qwen-Image, LTX and others fold the noise they draw into tokens before they use
it, and expect the caller's latents folded already. How they fold is asked of the
pipeline itself: its prepare method runs once on a ramp 1, 2, 3, ... in place of the
draw, and where each number comes out is the layout.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.overrides import TorchFunctionMode

from watermark.errors import UnsupportedPipeline
from watermark.pipelines.diffusion_call import Call
from watermark.pipelines.diffusion_draw import asked_by_pipeline

Policy = Literal["respect", "re-sign", "error"]
# Where an N(0, 1) draw of a thousand numbers or more never is.
_RMS = (0.5, 2.0)
_ZEROS = 0.01
_ALIKE = 0.1


def no_draw(latents: torch.Tensor) -> str | None:
    """Why the signs of these latents would carry nothing, or None."""
    if not bool(torch.isfinite(latents).all()):
        return None  # the code itself refuses these
    values = latents.float()
    rms = float(values.pow(2).mean().sqrt())
    zeros = float((latents == 0).float().mean())
    if not _RMS[0] < rms < _RMS[1] or zeros > _ZEROS:
        return (
            f"latents= with an RMS of {rms:.3g} and {zeros:.1%} zeros are no draw from "
            "N(0, 1): their signs would carry nothing"
        )
    alike = max(
        (_neighbours(values, axis) for axis in range(1, values.ndim)), default=0
    )
    if alike > _ALIKE:
        return (
            f"latents= whose neighbours correlate by {alike:.2f} are no draw from "
            "N(0, 1) but a picture's: their signs are its content"
        )
    return None


def _neighbours(values: torch.Tensor, axis: int) -> float:
    """Correlation of each number with the next one along an axis, less its error."""
    size = values.shape[axis]
    if size < 2:
        return 0.0
    first, second = values.narrow(axis, 0, size - 1), values.narrow(axis, 1, size - 1)
    pair = torch.stack([first.reshape(-1), second.reshape(-1)])
    error = 6 / pair.shape[1] ** 0.5
    return float(torch.corrcoef(pair)[0, 1].abs()) - float(error)


@dataclass(frozen=True, slots=True)
class Layout:
    """How one sample lies in a pipeline's latents.

    Attributes:
        shape: of the sample as it is drawn.
        packed: of the sample as the pipeline uses it.
        order: flat index of the draw for each flat index of `packed`.
    """

    shape: tuple[int, ...]
    packed: tuple[int, ...]
    order: NDArray[np.int64]

    def unpack(self, batch: torch.Tensor) -> torch.Tensor:
        """(batch, *packed) as it was drawn, (batch, *shape)."""
        flat = batch.reshape(batch.shape[0], -1)
        drawn = torch.empty_like(flat)
        drawn[:, torch.from_numpy(self.order).to(flat.device)] = flat
        return drawn.reshape(batch.shape[0], *self.shape)

    def pack(self, batch: torch.Tensor) -> torch.Tensor:
        """The inverse of `unpack`."""
        flat = batch.reshape(batch.shape[0], -1)
        order = torch.from_numpy(self.order).to(flat.device)
        return flat[:, order].reshape(batch.shape[0], *self.packed)


class _Ramp(TorchFunctionMode):
    """While active, a pipeline's Gaussian draws give 1, 2, 3, ... in every sample."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: set[tuple[int, ...]] = set()

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if func not in (torch.randn, torch.randn_like) or not asked_by_pipeline():
            return out
        self.shapes.add(tuple(out.shape[1:]))
        ramp = torch.arange(1, out[0].numel() + 1, dtype=torch.float64)
        return ramp.reshape(out.shape[1:]).expand(out.shape).to(out.device)


def layout(method: Any, bound: inspect.BoundArguments) -> Layout:
    """The layout of what a prepare method makes, by running it on a ramp.

    Args:
        method: the class's own prepare method.
        bound: the arguments of a call of it. They are not changed, and the caller's
            generators are not used.

    Raises:
        UnsupportedPipeline: it does more than to fold and to scale the noise.
    """
    probe = inspect.BoundArguments(bound.signature, bound.arguments.copy())
    if "latents" in probe.signature.parameters:
        probe.arguments["latents"] = None
    generator = probe.arguments.get("generator")
    if generator is not None:
        first = generator[0] if isinstance(generator, list) else generator
        probe.arguments["generator"] = torch.Generator(first.device).manual_seed(0)
    if isinstance(probe.arguments.get("dtype"), torch.dtype):
        probe.arguments["dtype"] = torch.float64
    with torch.random.fork_rng(devices=[]), torch.no_grad(), _Ramp() as ramp:
        result = method(*probe.args, **probe.kwargs)
    if len(ramp.shapes) == 1:
        [shape] = ramp.shapes
        for value in _tensors(result):
            found = _order(value, shape)
            if found is not None:
                return Layout(shape, tuple(value.shape[1:]), found)
    raise UnsupportedPipeline(
        "these packed latents= cannot be taken apart: the pipeline does more than to "
        "fold the noise it draws. Leave latents= out and pass generator="
    )


def _tensors(result: Any) -> list[torch.Tensor]:
    values = result if isinstance(result, tuple | list) else (result,)
    return [value for value in values if isinstance(value, torch.Tensor)]


def _order(value: torch.Tensor, shape: tuple[int, ...]) -> NDArray[np.int64] | None:
    """Where each number of the ramp came out, or None: this is not the folded ramp."""
    size = int(np.prod(shape, dtype=np.int64))
    if value.ndim < 2 or value[0].numel() != size or not value.is_floating_point():
        return None
    flat = value[0].double().cpu().numpy().reshape(-1)
    scale = float(flat.max()) / size
    if not np.isfinite(scale) or scale <= 0:
        return None
    order = np.rint(flat / scale).astype(np.int64) - 1
    if not np.array_equal(np.sort(order), np.arange(size)):
        return None
    return order


def re_sign(
    own: torch.Tensor, call: Call, method: Any, bound: inspect.BoundArguments
) -> torch.Tensor:
    """The caller's latents with the signs of their codes, folded as they were.

    Raises:
        UnsupportedPipeline: see `layout`; or they are of another shape.
        InvalidSignal: NaN or infinity.
    """
    found = layout(method, bound)
    if tuple(own.shape[1:]) != found.packed:
        raise UnsupportedPipeline(
            f"latents= of shape {tuple(own.shape)} were given, expected "
            f"(batch, {', '.join(map(str, found.packed))})"
        )
    return found.pack(call.mark_noise(found.unpack(own)))
