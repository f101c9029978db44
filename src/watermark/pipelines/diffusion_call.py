"""One running call of an attached pipeline: what is marked in it, and for which output.

The call is a context variable: wrappers on shared objects (an autoencoder that several
pipelines use, blocks of a pipeline) act for the call of their own thread and for no
other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import torch

from watermark.errors import NotMarked
from watermark.keys import KeyRecord
from watermark.pipelines.diffusion_draw import DrawMode
from watermark.record import Mark
from watermark.schemes.noise import Code as NoiseCode
from watermark.schemes.signs import MIN_NUMBERS

ACTIVE: ContextVar[Call | None] = ContextVar("watermark_call", default=None)


@dataclass
class Codes:
    """The codes of an attachment's key records, made once for each shape."""

    noise: KeyRecord
    latent: KeyRecord | None = None
    _made: dict[tuple[str, tuple[int, ...]], Any] = field(
        default_factory=dict, repr=False
    )

    def of(self, layer: str, shape: tuple[int, ...]) -> Any:
        """The code of a layer for one sample's shape.

        Raises:
            InvalidSignal: too few numbers.
        """
        if (layer, shape) not in self._made:
            if layer == "noise":
                made: Any = NoiseCode(self.noise, shape)
            else:
                scheme: Any = import_module("watermark.schemes.latent")
                made = scheme.Code(self.latent, shape)
            self._made[layer, shape] = made
        return self._made[layer, shape]


@dataclass
class Call:
    """What one call marks (`noise`, `latent`), and has marked so far."""

    codes: Codes
    noise: bool
    latent: bool
    own: frozenset[str] = frozenset()  # prepare methods that get the caller's latents
    replaced: bool = False
    inside: bool = False
    too_small: tuple[int, ...] | None = None
    # (layer, sample shape) -> one list of marks for each batch that was marked
    marks: dict[tuple[str, tuple[int, ...]], list[list[Mark]]] = field(
        default_factory=dict
    )
    # The prepare method that drew, with its arguments: how latents are packed.
    prepared: Any = None

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """The scope in which the initial noise is drawn."""
        self.inside = True
        try:
            with DrawMode(self.mark_noise):
                yield
        finally:
            self.inside = False

    def mark_noise(self, drawn: torch.Tensor) -> torch.Tensor:
        """`drawn` (batch, ...) with every sample's signs set by its code.

        Vectors (an embedding) and draws too small for a code stay as they are.
        """
        shape = tuple(drawn.shape[1:])
        if drawn.ndim < 3 or not drawn.is_floating_point():
            return drawn
        if drawn[:1].numel() < MIN_NUMBERS:
            self.too_small = shape
            return drawn
        return self._mark("noise", drawn, self._sign)

    def mark_latents(self, final: torch.Tensor) -> torch.Tensor:
        """Final latents (batch, ...), each sample with its `latent` mark."""
        scheme: Any = import_module("watermark.schemes.latent")
        return self._mark("latent", final, scheme.mark)

    def _mark(self, layer: str, batch: torch.Tensor, mark: Any) -> torch.Tensor:
        code = self.codes.of(layer, tuple(batch.shape[1:]))
        rows, marks = [], []
        for sample in batch:
            marked, _, mark_id = mark(sample, code)
            rows.append(marked)
            marks.append(
                Mark(
                    scheme=code.record.scheme,
                    version=code.record.version,
                    key_id=code.record.kid,
                    epoch=code.record.epoch,
                    mark_id=mark_id,
                )
            )
        self.marks.setdefault((layer, code.shape), []).append(marks)
        return torch.stack(rows)

    @staticmethod
    def _sign(sample: torch.Tensor, code: NoiseCode) -> tuple[torch.Tensor, int, bytes]:
        magnitudes = sample.abs()
        nonce, mark_id = code.identify(magnitudes.float().cpu().numpy())
        signs = torch.from_numpy(code.signs(nonce, mark_id)).to(sample)
        tiny = torch.finfo(sample.dtype).tiny
        return magnitudes.clamp(min=tiny) * signs, nonce, mark_id

    @property
    def draws(self) -> int:
        """Samples marked so far, in the layer that has most."""
        return max((sum(map(len, sets)) for sets in self.marks.values()), default=0)

    def of_outputs(self, outputs: int) -> list[tuple[Mark, ...]]:
        """The marks of each output.

        A batch of as many samples as there are outputs belongs to them one by one; so
        do single draws (a list of generators), in turn. More samples than outputs (an
        ensemble, the frames of a video) belong in equal runs.

        Raises:
            NotMarked: a layer that is on marked nothing, or what it marked fits no
                output.
        """
        for layer, on in (("noise", self.noise), ("latent", self.latent)):
            if on and not any(name == layer for name, _ in self.marks):
                raise NotMarked(self._missing(layer, outputs))
        found: list[dict[Mark, None]] = [{} for _ in range(outputs)]
        for (layer, shape), batches in self.marks.items():
            total = sum(map(len, batches))
            if total == 1:
                pairs = [(index, batches[0][0]) for index in range(outputs)]
            elif all(len(batch) == outputs for batch in batches):
                pairs = [pair for batch in batches for pair in enumerate(batch)]
            elif layer == "noise" and all(len(batch) == 1 for batch in batches):
                pairs = [(i % outputs, mark) for i, [mark] in enumerate(batches)]
            elif outputs and total % outputs == 0:
                run = total // outputs
                flat = [mark for batch in batches for mark in batch]
                pairs = [(i // run, mark) for i, mark in enumerate(flat)]
            else:
                raise NotMarked(
                    f"{outputs} outputs were generated, but {total} samples of shape "
                    f"{shape} were marked by {layer!r}: none is handed over"
                )
            for index, mark in pairs:
                found[index][mark] = None
        if not all(found):
            raise NotMarked(
                f"{sum(not marks for marks in found)} of {outputs} outputs were made "
                "from noise that was not marked: none is handed over"
            )
        return [tuple(marks) for marks in found]

    def _missing(self, layer: str, outputs: int) -> str:
        if layer == "latent":
            return (
                "no latents were handed to the autoencoder, so 'latent' marked none: "
                "nothing is handed over"
            )
        small = (
            f" (a draw of shape {self.too_small} is too small for a mark, expected at "
            f"least {MIN_NUMBERS} numbers)"
            if self.too_small
            else ""
        )
        return (
            f"{outputs} outputs were generated, but 0 initial noises were marked"
            f"{small}: none is handed over"
        )
