"""Many pictures back to their noise at once: as `watermark.invert` does it for one.

One evaluation of a small model costs a core about half as much for each of eight
pictures as for one alone. Estimates differ from those made one by one by rounding.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from watermark.errors import UnsupportedPipeline
from watermark.invert import taps
from watermark.invert.latents import CELLS, Inverter
from watermark.invert.layout import Layout, learn
from watermark.invert.schedules import inverse_of

Pixels = NDArray[np.uint8]
Noise = NDArray[np.float32]
AT_ONCE = 8  # pictures; more save nothing
COPIES = "num_images_per_prompt"


class Inversion:
    """The inversion of one pipeline.

    Attributes:
        one: the same for one picture at a time.
    """

    def __init__(self, pipe: Any) -> None:
        """Take a diffusers pipeline.

        Raises:
            UnsupportedPipeline: as `Inverter`.
        """
        self.one = Inverter(pipe)
        self._pipe, self._class = pipe, type(pipe)
        self._copies = COPIES in inspect.signature(self._class.__call__).parameters
        self._layouts: dict[tuple[int, int], Layout] = {}

    def noise(self, pictures: Sequence[Pixels], *, steps: int) -> list[Noise]:
        """The estimated initial noise of each picture, whatever their sizes.

        Raises:
            UnsupportedPipeline: as `Inverter.noise`.
        """
        found: dict[int, Noise] = {}
        sizes: dict[tuple[int, ...], list[int]] = {}
        for i, pixels in enumerate(pictures):
            sizes.setdefault(pixels.shape, []).append(i)
        for places in sizes.values():
            for start in range(0, len(places), AT_ONCE):
                few = places[start : start + AT_ONCE]
                made = self._together([pictures[i] for i in few], steps)
                found.update(zip(few, made, strict=True))
        return [found[i] for i in range(len(pictures))]

    def _together(self, pictures: Sequence[Pixels], steps: int) -> list[Noise]:
        if len(pictures) > 1 and self._copies:
            try:
                return self._batch(pictures, steps)
            except UnsupportedPipeline:  # alone it may still be cut to a size that fits
                pass
        return [self.one.noise(pixels, steps=steps) for pixels in pictures]

    def _batch(self, pictures: Sequence[Pixels], steps: int) -> list[Noise]:
        """Pictures of one size, none of which has to be cut to whole cells.

        Raises:
            UnsupportedPipeline: it has to, or the pipeline takes no batch.
        """
        encoded = [self.one.latents(pixels) for pixels in pictures]
        sides, cells = pictures[0].shape[:2], encoded[0].shape[-2:]
        if any(side % n or n % CELLS[-1] for side, n in zip(sides, cells, strict=True)):
            raise UnsupportedPipeline("a size of no whole number of cells")
        layout = self._layout(*sides)
        value = torch.cat([layout.back(torch.from_numpy(one)) for one in encoded])
        scheduler = inverse_of(self._pipe.scheduler)
        pipe = taps.shallow(self._pipe, self._class, scheduler, idle=False)
        size = {"height": sides[0], "width": sides[1], COPIES: len(pictures)}
        last, draws = taps.run(pipe, size, steps, value)
        if tuple(value.shape) not in draws or len(last) != len(pictures):
            raise UnsupportedPipeline("it does not draw one noise for each picture")
        return [layout.back(one).numpy()[0] for one in torch.split(last, 1)]

    def _layout(self, height: int, width: int) -> Layout:
        """As `learn`, once for each size."""
        if (height, width) not in self._layouts:
            still = inverse_of(self._pipe.scheduler, still=True)
            pipe = taps.shallow(self._pipe, self._class, still, idle=True)
            size = {"height": height, "width": width}
            self._layouts[height, width] = learn(
                lambda value: taps.run(pipe, size, 1, value)
            )
        return self._layouts[height, width]
