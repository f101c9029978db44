"""`pixel`: a keyed spread spectrum for finished pictures, whoever made them.

A mark is +1 or -1 times an amplitude on the first nine AC coefficients of the luma's
8x8 cosine blocks, where JPEG keeps most. The signs are a sign code
(`watermark.schemes.signs`) on a tile of 32x32 blocks, and do not depend on the picture;
nonce and mark id do: they are an HMAC of its pixels.

Tiles. The code repeats every 256 pixels, so that any size and any crop carries it, and
`watermark.detectors.pixel` sums all tiles into one. Each tile is multiplied by keyed
signs of its own, which repeat only after 1,024 pixels: averaging the tiles of one
picture shows nothing up to that size. Above it a picture holds several copies of the
same pattern, and who averages them can erase the mark of that one picture.

Amplitudes are chosen with the picture in sight. A coefficient is moved only where the
detector, which clips at 8 units, can see it move; by 12 units times a mask from 0.8 in
flat blocks to 1.6 in busy ones; low frequencies first, until the mean square of the
change reaches that of 42.15 dB. A few strong coefficients outlive JPEG 25 where many
weak ones do not. The measurements are in docs/decisions/0004-pixel.md.

The synchronisation template (`watermark.schemes.template`) takes 5 % of the energy in
flat pictures and up to 20 % in busy ones, whose own spectrum is loud.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from watermark.errors import InvalidSignal
from watermark.kernels import pixel_coefficients, pixel_embed, stream
from watermark.keys import KeyRecord, Parameter
from watermark.prf import state, tag
from watermark.schemes import template
from watermark.schemes.base import Scheme, within
from watermark.schemes.signs import MARK_ID_BYTES, SignCode

BLOCK = 8  # pixels on a side
COEFFICIENTS = 9  # of each block
TILE = 32  # blocks on a side: the code repeats after 256 pixels
SPREAD = template.PERIOD // BLOCK  # blocks after which the pattern itself repeats
LEAST_SIDE = 96  # pixels: 12 x 12 blocks hold the least that a code can be read from
PSNR = 42.15  # dB of the marked picture against the original, on RGB
PSNRS = (30.0, 55.0)  # dB; above, rounding to whole grey levels takes all there is
ROUNDING = 1 / 12  # mean square of rounding to whole grey levels


def _check(parameters: Mapping[str, Parameter]) -> None:
    within(parameters, "nonce_bits", 0, 24)


SCHEME = Scheme("pixel", 1, "pixels", {"nonce_bits": 16}, _check)


@dataclass(frozen=True)
class Code:
    """Everything keyed that marking and finding share, made once for a key record."""

    record: KeyRecord

    @cached_property
    def signs(self) -> SignCode:
        """The sign code of one tile, of shape (32, 32, 9)."""
        return SignCode(self.record, (TILE, TILE, COEFFICIENTS))

    @cached_property
    def spread(self) -> NDArray[np.int8]:
        """The signs that each tile is multiplied by: int8 (128, 128, 9), +1 or -1."""
        shape = (SPREAD, SPREAD, COEFFICIENTS)
        count = SPREAD * SPREAD * COEFFICIENTS
        words = stream(state(self.record, "spread", shape), 0, count // 32)
        bits = np.unpackbits(np.frombuffer(words, np.uint8), bitorder="little")
        return (1 - 2 * bits.astype(np.int8)).reshape(shape)

    @cached_property
    def template(self) -> NDArray[np.int16]:
        """The synchronisation template, int16 (1024, 1024)."""
        return template.tile(self.record)

    def chips(self, nonce: int, mark_id: bytes) -> NDArray[np.int8]:
        """+1 or -1 for each coefficient of one period: int8 (128, 128, 9)."""
        repeats = SPREAD // TILE
        signs = self.signs.signs(nonce, mark_id).astype(np.int8)
        return np.tile(signs, (repeats, repeats, 1)) * self.spread

    def identify(self, pixels: NDArray[np.uint8]) -> tuple[int, bytes]:
        """(nonce, mark id) of a picture: an HMAC of its size and pixels."""
        size = ",".join(map(str, pixels.shape)).encode()
        digest = tag(self.record, "mark-id", size, pixels.tobytes())
        nonce_bits = int(self.record.parameters["nonce_bits"])
        nonce = int.from_bytes(digest[8:12], "little") & ((1 << nonce_bits) - 1)
        return nonce, digest[:MARK_ID_BYTES]


def checked(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`pixels`, contiguous.

    Raises:
        InvalidSignal: not uint8 (height, width, 3), or a side under 96 pixels.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise InvalidSignal(
            f"found pixels of shape {pixels.shape} and dtype {pixels.dtype}, expected "
            "(height, width, 3) and uint8"
        )
    height, width, _ = pixels.shape
    if min(height, width) < LEAST_SIDE:
        raise InvalidSignal(
            f"found a picture of {width}x{height} pixels, expected at least "
            f"{LEAST_SIDE}x{LEAST_SIDE}: a smaller one cannot hold the code"
        )
    return np.ascontiguousarray(pixels)


def mark(
    pixels: NDArray[np.uint8],
    code: Code,
    mark_id: bytes | None = None,
    *,
    psnr: float = PSNR,
) -> tuple[NDArray[np.uint8], int, bytes]:
    """`pixels` with a mark, of the same shape.

    Args:
        pixels: uint8 (height, width, 3), RGB, at least 96 pixels on each side.
        code: the code of a key record of this scheme; keep it for the next picture.
        mark_id: 8 bytes, or None for an HMAC of the pixels.
        psnr: what the change is held to, in dB on RGB, 30 to 55. No detector needs to
            know it; values beside the default are there to be measured.

    Returns:
        (marked, nonce, mark id). All three channels of a pixel change by the same
        amount; by default at least 42 dB PSNR.

    Raises:
        InvalidSignal: another shape or dtype, or smaller than the code needs.
        ValueError: the mark id does not have 8 bytes, or `psnr` is out of range.
    """
    if not PSNRS[0] <= psnr <= PSNRS[1]:
        raise ValueError(f"psnr is {psnr!r}, expected {PSNRS[0]:g} to {PSNRS[1]:g} dB")
    pixels = checked(pixels)
    nonce, own = code.identify(pixels)
    if mark_id is None:
        mark_id = own
    if len(mark_id) != MARK_ID_BYTES:
        raise ValueError(
            f"the mark id has {len(mark_id)} bytes, expected {MARK_ID_BYTES}"
        )
    error = 255**2 / 10 ** (psnr / 10)
    budget = int((error - ROUNDING) * 256 * pixels.shape[0] * pixels.shape[1])
    marked = pixel_embed(
        pixels,
        pixel_coefficients(pixels),
        code.chips(nonce, mark_id),
        code.template,
        int(template.ENERGY * 256 * BLOCK * BLOCK) + 1,
        budget,
    )
    return marked, nonce, mark_id
