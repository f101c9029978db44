"""`latent`: keyed signs added to the final latents, just before they are decoded.

For what the initial noise cannot carry: pictures made from pictures, samplers that draw
new noise, models of few steps. Found with one encode and no denoiser. Unlike `noise` it
changes the picture: every latent number moves by a small amount, up or down by its
sign in a sign code (`watermark.schemes.signs`). Half of the numbers are the pilot: the
mark is found where its id is not read, which small latents often cannot afford.

Images are smooth where they are flat and rough where they are textured, and so are
their latents. `whiten` takes away what a number shares with its neighbours and weighs
the rest by one over the local power, the matched filter of signs in uneven noise; it is
a function of the image alone, so every p-value holds (`watermark.detectors.signs`).
So a number tells more where the image is flat, and moves more there: by the local power
to the -1/4, between what is best for the PSNR and what is best for the SSIM.
The amount is what the statistic then needs, `TARGET`, and no more: large latents
are hardly changed. `delta` limits its RMS, in thousandths of the latents' standard
deviation; where the limit is met, the mark is fainter than wanted (`strength`).

Nonce and mark id are an HMAC of the latents, each number quantised to one bit: each
output has its own, and what an average of outputs shows of one nonce says nothing of
the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark.errors import InvalidSignal
from watermark.keys import Parameter
from watermark.prf import tag
from watermark.schemes.base import Scheme, within
from watermark.schemes.signs import MARK_ID_BYTES, SignCode

# Of the statistic before decoding. A 64-bit mark id is read from 14.3; decoding, 8 bits
# and encoding left 0.4 of it on a small autoencoder (benchmarks/diffusion/cost.py).
TARGET = 40.0
FLOOR = 0.1  # of the mean power: nowhere is an image flat beyond this
SLOPE = -0.25  # of the step over the local power


def _check(parameters: Mapping[str, Parameter]) -> None:
    within(parameters, "nonce_bits", 0, 24)
    within(parameters, "delta", 1, 1000)


SCHEME = Scheme("latent", 1, "latents", {"nonce_bits": 16, "delta": 160}, _check)


class Code(SignCode):
    """The sign code of one key record for latents of one shape (no batch axis)."""

    @cached_property
    def pilot(self) -> NDArray[np.int64]:
        """Flat indices of the pilot coordinates, n // 2 of them, in code order."""
        return self.order[: self.size // 2]

    @cached_property
    def data(self) -> NDArray[np.int64]:
        """Flat indices of the coordinates that carry the mark id, in code order."""
        return self.order[self.size // 2 :]

    def identify(self, latents: NDArray[np.floating]) -> tuple[int, bytes]:
        """(nonce, mark id) of latents: an HMAC of which lie above their median."""
        bits = np.packbits(latents > np.median(latents)).tobytes()
        shape = ",".join(map(str, self.shape)).encode()
        digest = tag(self.record, "mark-id", shape, bits)
        nonce_bits = int(self.record.parameters["nonce_bits"])
        nonce = int.from_bytes(digest[8:12], "little") & ((1 << nonce_bits) - 1)
        return nonce, digest[:MARK_ID_BYTES]


def mark(latents: Any, code: Code) -> tuple[Any, int, bytes]:
    """Latents with the signs of their code added.

    Args:
        latents: one sample as the autoencoder's `decode` takes it, of the code's shape:
            channels first, space last. A numpy array or a torch tensor of floats.
        code: the code of this key record and shape.

    Returns:
        (marked, nonce, mark id); `marked` has the type, dtype and device of `latents`.

    Raises:
        InvalidSignal: NaN, infinity, all numbers equal, another shape or no floats.
    """
    values = _values(latents, code)
    nonce, mark_id = code.identify(values)
    signs = code.signs(nonce, mark_id)
    pattern = _pattern(values, signs)
    step, _ = _strength(values, pattern, signs, code)
    change = (step * pattern).astype(np.float32)
    if isinstance(latents, np.ndarray):
        return (values + change).astype(latents.dtype), nonce, mark_id
    import torch

    moved = latents.float() + torch.from_numpy(change).to(latents.device)
    return moved.to(latents.dtype), nonce, mark_id


def strength(latents: Any, code: Code) -> tuple[float, float]:
    """The RMS of `mark`'s change, and the statistic to expect undamaged.

    Raises:
        InvalidSignal: as `mark`.
    """
    values = _values(latents, code)
    signs = code.signs(*code.identify(values))
    return _strength(values, _pattern(values, signs), signs, code)


def whiten(latents: NDArray[np.floating]) -> NDArray[np.float64]:
    """Latents without what neighbours share, over the local power, of the same shape.

    Neighbours are 3 numbers along the last axis, or 3x3 along the last two where there
    are axes besides; a batch of one channel and frame at a time.
    """
    own, power = _high(np.asarray(latents, dtype=np.float64))
    if power is None:
        return own
    out: NDArray[np.float64] = own / power
    return out


def _high(
    values: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """(what neighbours do not share, its local power), both scaled alike.

    The power is None where there is nothing to weigh, or what is not finite.
    """
    own = values - _mean3(values)
    largest = float(np.max(np.abs(own))) if own.size else 0.0
    if not largest or not math.isfinite(largest):
        return own, None
    own /= largest  # so that no square overflows
    square = own * own
    return own, _mean3(square) + FLOOR * float(square.mean())


def _pattern(
    values: NDArray[np.float64], signs: NDArray[np.int32]
) -> NDArray[np.float64]:
    """The change for a step of 1, by RMS: the signs, larger where the image is flat."""
    _, power = _high(values)
    size = np.ones(values.shape) if power is None else power**SLOPE
    pattern: NDArray[np.float64] = signs * size / math.sqrt(float((size * size).mean()))
    return pattern


def _mean3(values: NDArray[np.float64]) -> NDArray[np.float64]:
    for axis in range(values.ndim - max(1, min(2, values.ndim - 1)), values.ndim):
        edges = [(1, 1) if i == axis else (0, 0) for i in range(values.ndim)]
        padded = np.moveaxis(np.pad(values, edges, mode="edge"), axis, 0)
        values = np.moveaxis((padded[:-2] + padded[1:-1] + padded[2:]) / 3, 0, axis)
    return values


def _strength(
    values: NDArray[np.float64],
    pattern: NDArray[np.float64],
    signs: NDArray[np.int32],
    code: Code,
) -> tuple[float, float]:
    """(step, statistic): the smallest step that reaches `TARGET`, or the largest."""
    largest = int(code.record.parameters["delta"]) / 1000 * float(values.std())

    def statistic(step: float) -> float:
        g = whiten(values + step * pattern)
        return float((g * signs).sum() / math.sqrt(float((g * g).sum())))

    found = statistic(largest)
    low, high = 0.0, largest
    if found > TARGET:
        for _ in range(6):  # to 2 % of the largest step
            middle = (low + high) / 2
            reached = statistic(middle)
            if reached > TARGET:
                high, found = middle, reached
            else:
                low = middle
    return high, found


def _values(latents: Any, code: Code) -> NDArray[np.float64]:
    if not isinstance(latents, np.ndarray):
        latents = latents.detach().cpu()
        if not latents.is_floating_point():
            raise InvalidSignal(f"found latents of {latents.dtype}, expected floats")
        latents = latents.double().numpy()
    if latents.dtype.kind != "f":
        raise InvalidSignal(f"found latents of dtype {latents.dtype}, expected floats")
    if latents.shape != code.shape:
        raise InvalidSignal(
            f"found latents of shape {latents.shape}, expected {code.shape}"
        )
    values: NDArray[np.float64] = latents.astype(np.float64)
    if not np.isfinite(values).all():
        raise InvalidSignal("the latents hold NaN or infinity: nothing can be marked")
    if float(values.min()) == float(values.max()):
        raise InvalidSignal("all latents are equal: a mark has no scale to go by")
    return values
