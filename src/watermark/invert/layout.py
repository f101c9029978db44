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
LEAST = 0.5  # of the draw: less is no sample of noise


@dataclass(frozen=True)
class Layout:
    """``decoded = slope * drawn[order] + offset``, all as flat float32 vectors.

    Attributes:
        drawn: shape of the draw, one sample, with its batch axis.
        decoded: shape of what the decoder is handed.
        order: for each decoded number, which drawn one it is; None: the same one.
        slope: of each decoded number; 0 where it is none of the drawn ones, as in a
            film's first frame where that is given.
        offset: of each decoded number.
    """

    drawn: tuple[int, ...]
    decoded: tuple[int, ...]
    order: torch.Tensor | None
    slope: torch.Tensor
    offset: torch.Tensor

    def back(self, decoded: torch.Tensor) -> torch.Tensor:
        """The draw that a loop which changes nothing would have decoded to this.

        Numbers that did not reach the decoder are 0: nothing is known of them.
        """
        slope = self.slope.to(decoded.device)
        flat = (decoded.float().reshape(-1) - self.offset.to(decoded.device)) / slope
        if self.order is None:
            return flat.reshape(self.drawn)
        kept = slope != 0
        out = torch.zeros_like(flat)
        out[self.order.to(decoded.device)[kept]] = flat[kept]
        return out.reshape(self.drawn)


def learn(dry: DryRun) -> Layout:
    """The layout of a pipeline at one size.

    Raises:
        UnsupportedPipeline: it is no permutation with a scale and an offset of each
            channel.
    """
    decoded, shapes = dry(None)
    count = decoded.numel()
    # The latest first: an autoencoder's posterior may be drawn in another shape.
    fitting = dict.fromkeys(s for s in reversed(shapes) if math.prod(s) == count)
    reason = UnsupportedPipeline(
        f"the autoencoder is handed {tuple(decoded.shape)}, but draws are of "
        f"{', '.join(map(str, shapes)) or 'no shape'}: not one number for each"
    )
    for drawn in fitting:
        try:
            return _between(dry, drawn, decoded)
        except UnsupportedPipeline as error:
            reason = error
    raise reason


def _between(dry: DryRun, drawn: tuple[int, ...], decoded: torch.Tensor) -> Layout:
    """The layout between draws of one shape and what is decoded.

    Raises:
        UnsupportedPipeline: as `learn`.
    """
    probe = torch.randn(drawn, generator=torch.Generator().manual_seed(1))
    seen = dry(probe)[0].float()
    return _by_channel(probe, seen) or _by_digits(dry, probe, seen, decoded.dtype)


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
        ((y - slope * x - offset).std(1, keepdim=True) < TOLERANCE * slope.abs()).all()
    ):
        return None

    def spread(values: torch.Tensor) -> torch.Tensor:
        shape = [1] * seen.ndim
        shape[axis] = seen.shape[axis]
        return values.reshape(shape).expand(seen.shape).reshape(-1).contiguous()

    return Layout(
        tuple(probe.shape), tuple(seen.shape), None, spread(slope), spread(offset)
    )


def _by_digits(
    dry: DryRun, probe: torch.Tensor, seen: torch.Tensor, dtype: torch.dtype
) -> Layout:
    """Any permutation: a number is told by the digits of its place, drawn in turn.

    What is put in the place of some numbers, like the first frame of a film that is
    made of a picture, is told from them: it is not what was drawn as the probe.
    """
    drawn, count = probe.shape, probe.numel()
    offset = dry(torch.zeros(drawn))[0].float().reshape(-1)
    slope = dry(torch.ones(drawn))[0].float().reshape(-1) - offset
    base = 512 if dtype in (torch.float32, torch.float64) else 16
    places = torch.arange(count)
    order = torch.zeros(count, dtype=torch.int64)
    unit = 1
    while unit < count:
        digits = (places // unit % base).float() / base
        found = (dry(digits.reshape(drawn))[0].float().reshape(-1) - offset) / slope
        digit = torch.nan_to_num(found * base).round().clamp(0, base - 1)
        order += digit.long().cpu() * unit
        unit *= base
    there = (order < count).to(seen.device)
    given = probe.reshape(-1)[order.clamp(max=count - 1)].to(seen.device)
    wrong = ((seen.reshape(-1) - offset) / slope - given).abs()
    there &= (slope != 0) & (wrong <= TOLERANCE * (1 + given.abs()))
    kept = order[there.cpu()]
    if len(kept) < LEAST * count or int(torch.bincount(kept).max()) > 1:
        raise UnsupportedPipeline(
            "what the autoencoder is handed is no permutation of the noise, and no "
            "scaling of its numbers"
        )
    slope = torch.where(there, slope, 0)
    return Layout(tuple(drawn), tuple(seen.shape), order, slope, offset)
