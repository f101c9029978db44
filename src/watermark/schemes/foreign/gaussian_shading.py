"""`gaussian_shading`: the initial noise's signs are an encrypted message, as published.

Yang et al., "Gaussian Shading" (CVPR 2024, arXiv 2404.04956), in the layout of their
``watermark.py`` at commit 09c678f: the message is tiled over the latent, encrypted with
ChaCha20 (its bits packed high bit first, block counter 0), and bit 1 of the cipher text
makes a number positive. For research and migration, weaknesses as published:

- Finding it needs the key, the nonce and the message of that very image. Their code
  draws key and nonce anew for each image and keeps them in memory alone.
- Whoever freezes the nonce instead gives every image with one message the same signs:
  images resemble each other, and an average of a few of them shows the pattern.
- Flips, turns and crops take the signs out of place; nothing searches for them.
- An image made again from the noise found in a marked one carries the mark too.

Magnitudes stay those of the noise that is given: |z| with new signs is distributed as
their truncated normals are, at once instead of in ten seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from numpy.typing import NDArray

from watermark.errors import InvalidSignal

REPEATS = (1, 8, 8)  # times that the message is repeated along (C, H, W)
KEY_BYTES, NONCE_BYTES = 32, 12


@dataclass(frozen=True, kw_only=True)
class Code:
    """Where each bit of a message lies, and the cipher above it.

    Attributes:
        shape: of one sample, such as (C, H, W).
        key: 32 bytes.
        nonce: 12 bytes; theirs is fresh for each image.
        repeats: times that the message is repeated along each axis.
        local: equal neighbours along each axis, a divisor of the repeats (VideoShield).
    """

    shape: tuple[int, ...]
    key: bytes = field(repr=False)
    nonce: bytes
    repeats: tuple[int, ...] = REPEATS
    local: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if (len(self.key), len(self.nonce)) != (KEY_BYTES, NONCE_BYTES):
            raise ValueError(
                f"a key of {len(self.key)} and a nonce of {len(self.nonce)} bytes, "
                f"expected {KEY_BYTES} and {NONCE_BYTES}"
            )
        local = self.local or (1,) * len(self.shape)
        object.__setattr__(self, "local", local)
        if not len(self.shape) == len(self.repeats) == len(local) or not all(
            size > 0 < same <= times and size % times == 0 == times % same
            for size, times, same in zip(self.shape, self.repeats, local, strict=False)
        ):
            raise InvalidSignal(
                f"a message cannot be repeated {self.repeats} times, {local} of them "
                f"beside each other, over a shape of {self.shape}"
            )

    @property
    def message_shape(self) -> tuple[int, ...]:
        """Of a message, one bit a cell."""
        return tuple(s // r for s, r in zip(self.shape, self.repeats, strict=True))

    @property
    def bits(self) -> int:
        """Bits of a message."""
        return math.prod(self.message_shape)

    @property
    def copies(self) -> int:
        """Numbers that carry each bit."""
        return math.prod(self.repeats)

    @cached_property
    def keystream(self) -> NDArray[np.uint8]:
        """Bits of the key stream, in the sample's shape."""
        size = math.prod(self.shape)
        # The first four bytes are the block counter.
        cipher = Cipher(ChaCha20(self.key, bytes(4) + self.nonce), mode=None)
        stream = cipher.encryptor().update(bytes((size + 7) // 8))
        bits = np.unpackbits(np.frombuffer(stream, dtype=np.uint8))[:size]
        return bits.reshape(self.shape)

    def signs(self, message: NDArray[np.uint8]) -> NDArray[np.int32]:
        """+1 or -1 for every number of a sample.

        Args:
            message: bits, `bits` of them in any shape.

        Raises:
            InvalidSignal: another number of bits.
        """
        bits = self.spread(message) ^ self.keystream
        return 2 * bits.astype(np.int32) - 1

    def spread(self, message: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A message repeated over the sample, not encrypted.

        Raises:
            InvalidSignal: another number of bits, or numbers above 1.
        """
        message = np.asarray(message, dtype=np.uint8)
        if message.size != self.bits or message.max() > 1:
            raise InvalidSignal(
                f"a message of {message.size} numbers, expected {self.bits} bits"
            )
        cells = message.reshape(self.message_shape)
        for axis, same in enumerate(self.local):
            cells = np.repeat(cells, same, axis=axis)
        return np.tile(
            cells, [r // s for r, s in zip(self.repeats, self.local, strict=True)]
        )

    def gather(self, values: NDArray[np.generic]) -> NDArray[np.generic]:
        """The numbers of a sample by message bit: (bits, copies)."""
        split: list[int] = []
        for size, times, same in zip(
            self.message_shape, self.repeats, self.local, strict=True
        ):
            split += [times // same, size, same]
        axes = len(self.shape)
        order = [*range(1, 3 * axes, 3)]
        order += [i for i in range(3 * axes) if i % 3 != 1]
        return values.reshape(split).transpose(order).reshape(self.bits, self.copies)


def mark(
    z: NDArray[np.floating], code: Code, message: NDArray[np.uint8]
) -> NDArray[np.floating]:
    """`z` with the signs of an encrypted message: same magnitudes, same dtype.

    Args:
        z: a draw from N(0, I), of the code's shape.
        code: the layout, key and nonce.
        message: `code.bits` bits.

    Raises:
        InvalidSignal: NaN, infinity, another shape, or another number of bits.
    """
    if z.dtype.kind != "f" or z.shape != code.shape:
        raise InvalidSignal(
            f"found {z.dtype} noise of shape {z.shape}, expected floats of {code.shape}"
        )
    if not np.isfinite(z).all():
        raise InvalidSignal("the initial noise holds NaN or infinity")
    magnitudes = np.abs(z)
    magnitudes[magnitudes == 0] = np.finfo(z.dtype).tiny  # a zero has no sign
    marked: NDArray[np.floating] = magnitudes * code.signs(message).astype(z.dtype)
    return marked
