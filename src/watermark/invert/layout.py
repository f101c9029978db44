"""Where each number of the noise ends up in what a pipeline decodes, and scaled how.

Between its draw and its decoder a pipeline packs, unpacks, and scales channel by
channel, each family in its own way. None of it mixes numbers, so a few dry runs in
which the loop changes nothing show all of it: no table of families, and nothing to keep
up with.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from watermark.errors import UnsupportedPipeline

# From a draw to what the decoder is handed; None: the pipeline's own draw.
DryRun = Callable[[torch.Tensor | None], tuple[torch.Tensor, list[tuple[int, ...]]]]
TOLERANCE = 0.02  # of the spread: what half precision may lose


@dataclass(frozen=True)
class Layout:
    """``decoded = slope * drawn[order] + offset``, all as flat float32 vectors.

    Attributes:
        drawn: shape of the draw, one sample, with its batch axis.
        decoded: shape of what the decoder is handed.
        order: for each decoded number, which drawn one it is; None: the same one.
        slope: of each decoded number.
        offset: of each decoded number.
    """

    drawn: tuple[int, ...]
    decoded: tuple[int, ...]
    order: torch.Tensor | None
    slope: torch.Tensor
    offset: torch.Tensor

    def back(self, decoded: torch.Tensor) -> torch.Tensor:
        """The draw that a loop which changes nothing would have decoded to this."""
        flat = (decoded.float().reshape(-1) - self.offset.to(decoded.device)) / (
            self.slope.to(decoded.device)
        )
        if self.order is None:
            return flat.reshape(self.drawn)
        out = torch.empty_like(flat)
        out[self.order.to(decoded.device)] = flat
        return out.reshape(self.drawn)


def learn(dry: DryRun) -> Layout:
    """The layout of a pipeline at one size.

    Raises:
        UnsupportedPipeline: it is no permutation with a scale and an offset of each
            channel.
    """
    decoded, shapes = dry(None)
    count = decoded.numel()
    drawn = next((s for s in reversed(shapes) if math.prod(s) == count), None)
    if drawn is None:
        raise UnsupportedPipeline(
            f"the autoencoder is handed {tuple(decoded.shape)}, but draws are of "
            f"{', '.join(map(str, shapes)) or 'no shape'}: not one number for each"
        )
    probe = torch.randn(drawn, generator=torch.Generator().manual_seed(1))
    seen = dry(probe)[0].float()
    layout = _by_channel(probe, seen) or _by_digits(dry, drawn, decoded)
    wrong = (layout.back(seen).cpu() - probe).abs().max()
    if not bool(wrong < TOLERANCE * 10) or not bool((layout.slope != 0).all()):
        raise UnsupportedPipeline(
            "what lies between the noise and the autoencoder is no scaling of "
            f"channels: off by {float(wrong):.3g} standard deviations"
        )
    return layout


def _by_channel(probe: torch.Tensor, seen: torch.Tensor) -> Layout | None:
    """The common case: nothing is moved, and each channel has one scale and offset."""
    if [n for n in probe.shape if n > 1] != [n for n in seen.shape if n > 1]:
        return None
    axis = next((i for i, n in enumerate(seen.shape) if n > 1), None)
    if axis is None:
        return None
    x = probe.reshape(seen.shape).to(seen.device).transpose(0, axis).flatten(1)
    y = seen.transpose(0, axis).flatten(1)
    x_mean, y_mean = x.mean(1, keepdim=True), y.mean(1, keepdim=True)
    slope = ((x - x_mean) * (y - y_mean)).sum(1, keepdim=True) / (
        (x - x_mean).square().sum(1, keepdim=True)
    )
    offset = y_mean - slope * x_mean
    if not bool(
        ((y - slope * x - offset).std(1, keepdim=True) <= TOLERANCE * slope.abs()).all()
    ):
        return None

    def spread(values: torch.Tensor) -> torch.Tensor:
        shape = [1] * seen.ndim
        shape[axis] = seen.shape[axis]
        return values.reshape(shape).expand(seen.shape).reshape(-1).contiguous()

    return Layout(
        tuple(probe.shape), tuple(seen.shape), None, spread(slope), spread(offset)
    )


def _by_digits(dry: DryRun, drawn: tuple[int, ...], decoded: torch.Tensor) -> Layout:
    """Any permutation: a number is told by the digits of its place, drawn in turn."""
    count = decoded.numel()
    offset = dry(torch.zeros(drawn))[0].float().reshape(-1)
    slope = dry(torch.ones(drawn))[0].float().reshape(-1) - offset
    base = 512 if decoded.dtype in (torch.float32, torch.float64) else 16
    places = torch.arange(count)
    order = torch.zeros(count, dtype=torch.int64)
    unit = 1
    while unit < count:
        digits = (places // unit % base).float() / base
        found = (dry(digits.reshape(drawn))[0].float().reshape(-1) - offset) / slope
        order += torch.nan_to_num(found * base).round().long().cpu() * unit
        unit *= base
    if not torch.equal(order.sort().values, places):
        raise UnsupportedPipeline(
            "what the autoencoder is handed is no permutation of the noise"
        )
    return Layout(drawn, tuple(decoded.shape), order, slope, offset)
