"""`noise`: keyed signs on the user's own initial noise. The default for diffusion.

The magnitudes stay the user's draw; the signs come from a code keyed by a nonce and a
64-bit mark id. Nonce and mark id are an HMAC of the magnitudes, quantised to one bit at
64 keyed coordinates: the same seed and key give the same image, each sample of a batch
its own mark, and the noise stays exactly N(0, I) per image over the draw of the key
(joint independence holds until a nonce repeats: about 1,300 images per key, epoch and
shape).

A quarter of the coordinates is a pilot, by which the nonce is found; the rest carries
the mark id in a tail-biting byte trellis (`watermark.kernels.reference`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from watermark.errors import InvalidSignal
from watermark.kernels import code_bits, stream
from watermark.keys import KeyRecord, Parameter
from watermark.prf import state, tag
from watermark.schemes.base import Scheme, within

MEDIAN = 0.6745  # of |z| for z ~ N(0, 1): each quantised bit is fair
TAGGED = 64  # coordinates whose quantised magnitudes make nonce and mark id
MARK_ID_BYTES = 8
MIN_NUMBERS = 1024  # below this no code of 64 bits could ever be read


def _check(parameters: Mapping[str, Parameter]) -> None:
    within(parameters, "nonce_bits", 0, 24)


SCHEME = Scheme("noise", 1, "latents", {"nonce_bits": 20}, _check)


@dataclass(frozen=True)
class Code:
    """The sign code of one key record for one array shape (without the batch axis)."""

    record: KeyRecord
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.size < MIN_NUMBERS:
            raise InvalidSignal(
                f"a latent of shape {self.shape} holds {self.size} numbers, expected "
                f"at least {MIN_NUMBERS}: generate a larger output"
            )

    @property
    def size(self) -> int:
        """Numbers in one sample, n."""
        return int(np.prod(self.shape, dtype=np.int64))

    @cached_property
    def _order(self) -> NDArray[np.int64]:
        words = stream(state(self.record, "order", self.shape), 0, 2 * self.size)
        keys = np.frombuffer(words, dtype="<u8")
        return np.argsort(keys, kind="stable")

    @cached_property
    def pilot(self) -> NDArray[np.int64]:
        """Flat indices of the pilot coordinates, n // 4 of them, in code order."""
        return self._order[: self.size // 4]

    @cached_property
    def data(self) -> NDArray[np.int64]:
        """Flat indices of the coordinates that carry the mark id, in code order."""
        return self._order[self.size // 4 :]

    @cached_property
    def masks(self) -> NDArray[np.uint16]:
        """The trellis mask of each data coordinate."""
        count = (len(self.data) + 1) // 2
        words = stream(state(self.record, "masks", self.shape), 0, count)
        masks: NDArray[np.uint16] = np.frombuffer(words, dtype="<u2")
        return masks[: len(self.data)]

    @cached_property
    def pilot_state(self) -> bytes:
        """The PRF state of the pilot's signs."""
        return state(self.record, "pilot", self.shape)

    @cached_property
    def _data_state(self) -> bytes:
        return state(self.record, "data", self.shape)

    def pilot_signs(self, nonce: int) -> NDArray[np.int32]:
        """+1 or -1 for each pilot coordinate."""
        return _signs(self.pilot_state, nonce, len(self.pilot))

    def data_signs(self, nonce: int) -> NDArray[np.int32]:
        """+1 or -1 for each data coordinate, before the mark id is added."""
        return _signs(self._data_state, nonce, len(self.data))

    def signs(self, nonce: int, mark_id: bytes) -> NDArray[np.int32]:
        """+1 or -1 for every coordinate, in the array's own shape."""
        coded = np.frombuffer(code_bits(self.masks, mark_id), dtype=np.uint8)
        out = np.empty(self.size, dtype=np.int32)
        out[self.pilot] = self.pilot_signs(nonce)
        out[self.data] = self.data_signs(nonce) * (1 - 2 * coded.astype(np.int32))
        return out.reshape(self.shape)

    def identify(self, magnitudes: NDArray[np.floating]) -> tuple[int, bytes]:
        """(nonce, mark id) of a draw: an HMAC of its quantised magnitudes.

        One-bit quantisation at 64 coordinates survives fp16 rounding in 99.65 % of
        draws and needs no copy of the whole latent.

        Args:
            magnitudes: |z|, any float dtype, of this code's shape.

        Raises:
            InvalidSignal: NaN or infinity, or another shape.
        """
        if magnitudes.shape != self.shape:
            raise InvalidSignal(
                f"found noise of shape {magnitudes.shape}, expected {self.shape}"
            )
        if not np.isfinite(magnitudes).all():
            raise InvalidSignal("the initial noise holds NaN or infinity")
        chosen = magnitudes.reshape(-1)[self._order[:TAGGED]]
        bits = np.packbits(chosen > MEDIAN).tobytes()
        shape = ",".join(map(str, self.shape)).encode()
        digest = tag(self.record, "mark-id", shape, bits)
        nonce_bits = int(self.record.parameters["nonce_bits"])
        nonce = int.from_bytes(digest[8:12], "little") & ((1 << nonce_bits) - 1)
        return nonce, digest[:MARK_ID_BYTES]


def _signs(state: bytes, nonce: int, count: int) -> NDArray[np.int32]:
    packed = np.frombuffer(stream(state, nonce, (count + 31) // 32), dtype=np.uint8)
    bits = np.unpackbits(packed, bitorder="little")[:count]
    return 1 - 2 * bits.astype(np.int32)


def mark(
    z: NDArray[np.floating], code: Code
) -> tuple[NDArray[np.floating], int, bytes]:
    """`z` with the signs of its code: same magnitudes, same dtype.

    Args:
        z: a draw from N(0, I), of the code's shape.
        code: the code of this key record and shape.

    Returns:
        (marked, nonce, mark id). A zero becomes the smallest positive number, so that
        every coordinate has a sign.

    Raises:
        InvalidSignal: NaN, infinity, or another shape.
    """
    if z.dtype.kind != "f":
        raise InvalidSignal(f"found noise of dtype {z.dtype}, expected floats")
    magnitudes = np.abs(z)
    nonce, mark_id = code.identify(magnitudes)
    magnitudes[magnitudes == 0] = np.finfo(z.dtype).tiny
    return magnitudes * code.signs(nonce, mark_id).astype(z.dtype), nonce, mark_id
