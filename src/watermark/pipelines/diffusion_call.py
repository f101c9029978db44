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
from watermark.record import Kind, Mark
from watermark.schemes.noise import Code as NoiseCode
from watermark.schemes.signs import MIN_NUMBERS, NONCE_BYTES

ACTIVE: ContextVar[Call | None] = ContextVar("watermark_call", default=None)


@contextmanager
def disarmed() -> Iterator[None]:
    """Within: no call is active, and nothing is marked (the caller's own code runs)."""
    token = ACTIVE.set(None)
    try:
        yield
    finally:
        ACTIVE.reset(token)


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
    """What one call marks (`noise`, `latent`), and has marked so far.

    `kept` is the share of the initial noise that reaches the output.
    """

    codes: Codes
    noise: bool
    latent: bool
    own: frozenset[str] = frozenset()  # prepare methods that get the caller's latents
    weak: bool = False  # `noise` is weak beside `latent`: none may be drawn at all
    kept: float = 1.0
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
            with DrawMode(self._take):
                yield
        finally:
            self.inside = False

    def _take(self, drawn: torch.Tensor) -> torch.Tensor:
        return self.mark_noise(drawn) if ACTIVE.get() is self else drawn

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
            marked, nonce, mark_id = mark(sample, code)
            rows.append(marked)
            marks.append(
                Mark(
                    scheme=code.record.scheme,
                    version=code.record.version,
                    key_id=code.record.kid,
                    epoch=code.record.epoch,
                    mark_id=mark_id,
                    coverage=self.kept if layer == "noise" else 1.0,
                    nonce=nonce.to_bytes(NONCE_BYTES, "little"),
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

    def of_outputs(self, outputs: int, medium: Kind) -> list[tuple[Mark, ...]]:
        """The marks of each output.

        Raises:
            NotMarked: a layer that is on marked nothing (unless it is `noise` that is
                weak beside `latent`), or what it marked fits no output.
        """
        for layer, on in (("noise", self.noise), ("latent", self.latent)):
            if layer == "noise" and self.weak:
                continue
            if on and not any(name == layer for name, _ in self.marks):
                raise NotMarked(self._missing(layer, outputs))
        found: list[dict[Mark, None]] = [{} for _ in range(outputs)]
        for (layer, shape), batches in self.marks.items():
            flat = [mark for batch in batches for mark in batch]
            if len(flat) == 1:
                for marks in found:
                    marks[flat[0]] = None
                continue
            owners = _owners(layer, shape, list(map(len, batches)), outputs, medium)
            if owners is None:
                raise NotMarked(
                    f"{outputs} outputs were generated, but {len(flat)} samples of "
                    f"shape {shape} were marked by {layer!r} in {len(batches)} "
                    "batches, and whose they are is unknown: none is handed over"
                )
            for owner, mark in zip(owners, flat, strict=True):
                found[owner][mark] = None
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


def _owners(
    layer: str, shape: tuple[int, ...], sizes: list[int], outputs: int, medium: Kind
) -> list[int] | None:
    """Which output each marked sample belongs to, or None: it cannot be told.

    A draw of as many samples as there are outputs belongs to them one by one; so do
    single draws (a list of generators), in turn. Latents are decoded output by output:
    those of all batches together belong in equal runs (the frames of a video, decoded
    in chunks; the samples of an ensemble, decoded at once). Several batches that hold
    more samples than there are outputs, and are no frames, might as well be the same
    outputs decoded again.
    """
    if not outputs:
        return None
    if layer == "noise" and all(size == outputs for size in sizes):
        return [i for size in sizes for i in range(size)]
    if layer == "noise" and all(size == 1 for size in sizes):
        return [i % outputs for i in range(len(sizes))]
    run, left = divmod(sum(sizes), outputs)
    frames = layer == "latent" and medium == "video" and len(shape) == 3
    if left or (run != 1 and outputs != 1 and len(sizes) != 1 and not frames):
        return None
    return [i // run for i in range(sum(sizes))]
