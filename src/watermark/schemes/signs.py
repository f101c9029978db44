"""The sign code: keyed signs for an array, found by a nonce, carrying a mark id.

What `noise`, `latent`, `pixel` and `wave` have in common. The record's scheme is part
of every sub-key, so their codes are unrelated. A quarter of the coordinates is a pilot,
by which the nonce is found; the rest carries the 64-bit mark id in a tail-biting byte
trellis (`watermark.kernels.reference_noise`).

The nonce has 0 to 24 bits, and the detector tries them all; or, in records with the
parameter ``registry``, 96 bits, and the detector tries those that a ledger has on file.
The order of the coordinates and their masks are the same either way, the signs are not.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from watermark.errors import InvalidSignal
from watermark.kernels import code_bits, keyed_order, siphash128, stream
from watermark.keys import KeyRecord
from watermark.prf import state
from watermark.schemes.base import option

MARK_ID_BYTES = 8
NONCE_BYTES = 12  # of a nonce that a ledger has on file
MIN_NUMBERS = 1024  # below this no code of 64 bits could ever be read


@dataclass(frozen=True)
class SignCode:
    """The sign code of one key record for one array shape (without the batch axis)."""

    record: KeyRecord
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.size < MIN_NUMBERS:
            raise InvalidSignal(
                f"an array of shape {self.shape} holds {self.size} numbers, expected "
                f"at least {MIN_NUMBERS}: a larger output can be marked"
            )

    @property
    def size(self) -> int:
        """Numbers in one sample, n."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def registry(self) -> bool:
        """Whether nonces have 96 bits, and are found in a ledger."""
        return bool(option(self.record.parameters, "registry"))

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """All flat indices in the key's own order."""
        data = keyed_order(state(self.record, "order", self.shape), self.size)
        return np.frombuffer(data, dtype=np.int64)

    @cached_property
    def pilot(self) -> NDArray[np.int64]:
        """Flat indices of the pilot coordinates, n // 4 of them, in code order."""
        return self.order[: self.size // 4]

    @cached_property
    def data(self) -> NDArray[np.int64]:
        """Flat indices of the coordinates that carry the mark id, in code order."""
        return self.order[self.size // 4 :]

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
        return state(self.record, self._purpose("pilot"), self.shape)

    @cached_property
    def _data_state(self) -> bytes:
        return state(self.record, self._purpose("data"), self.shape)

    def _purpose(self, name: str) -> str:
        return f"registry-{name}" if self.registry else name

    def pilot_signs(self, nonce: int) -> NDArray[np.int32]:
        """+1 or -1 for each pilot coordinate."""
        return self._signs(self.pilot_state, nonce, len(self.pilot))

    def data_signs(self, nonce: int) -> NDArray[np.int32]:
        """+1 or -1 for each data coordinate, before the mark id is added."""
        return self._signs(self._data_state, nonce, len(self.data))

    def coded(self, mark_id: bytes) -> NDArray[np.int32]:
        """+1 or -1 for each data coordinate: what the mark id makes of its sign."""
        bits = np.frombuffer(code_bits(self.masks, mark_id), dtype=np.uint8)
        return 1 - 2 * bits.astype(np.int32)

    def signs(self, nonce: int, mark_id: bytes) -> NDArray[np.int32]:
        """+1 or -1 for every coordinate, in the array's own shape."""
        out = np.empty(self.size, dtype=np.int32)
        out[self.pilot] = self.pilot_signs(nonce)
        out[self.data] = self.data_signs(nonce) * self.coded(mark_id)
        return out.reshape(self.shape)

    def _signs(self, state: bytes, nonce: int, count: int) -> NDArray[np.int32]:
        words = (count + 31) // 32
        if self.registry:
            state = siphash128(state, nonce.to_bytes(NONCE_BYTES, "little"))
            nonce = 0
        packed = np.frombuffer(stream(state, nonce, words), dtype=np.uint8)
        bits = np.unpackbits(packed, bitorder="little")[:count]
        return 1 - 2 * bits.astype(np.int32)
