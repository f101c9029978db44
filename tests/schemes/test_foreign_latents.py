"""Gaussian Shading, VideoShield and Tree-Ring put down as their own code does."""

from __future__ import annotations

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from watermark.errors import InvalidSignal
from watermark.schemes.foreign import gaussian_shading, tree_ring, videoshield
from watermark.schemes.foreign.tree_ring import KINDS, Pattern, disc, spectrum

KEY, NONCE = bytes(range(32)), bytes.fromhex("000000090000004a00000000")
IMAGE, VIDEO = (4, 16, 16), (4, 8, 8, 8)


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def shading(shape: tuple[int, ...] = IMAGE) -> gaussian_shading.Code:
    return gaussian_shading.Code(shape=shape, key=KEY, nonce=NONCE)


def test_the_key_stream_is_that_of_rfc_8439() -> None:
    # Section 2.3.2 has block 1 of this key and nonce; our stream starts at block 0.
    bits = shading((4, 64, 64)).keystream.reshape(-1)

    stream = np.packbits(bits).tobytes()
    assert stream[64:80].hex() == "10f1e7e4d13b5915500fdd1fa32071c4"


def test_the_message_lies_where_the_published_code_puts_it() -> None:
    code = shading()
    message = rng().integers(0, 2, code.bits, dtype=np.uint8)

    # Their steps: repeat the watermark, encrypt its packed bits, bit 1 is positive.
    tiled = np.tile(message.reshape(4, 2, 2), (1, 8, 8)).reshape(-1)
    cipher = Cipher(ChaCha20(KEY, bytes(4) + NONCE), mode=None).encryptor()
    sent = np.unpackbits(
        np.frombuffer(cipher.update(np.packbits(tiled).tobytes()), dtype=np.uint8)
    )
    expected = 2 * sent.astype(int).reshape(IMAGE) - 1
    assert np.array_equal(code.signs(message), expected)
    assert code.bits == 16


def test_videoshield_puts_copies_beside_each_other_as_its_code_does() -> None:
    code = videoshield.code(VIDEO, KEY, NONCE, local=2)
    message = rng().integers(0, 2, code.bits, dtype=np.uint8)

    cells = message.reshape(4, 1, 2, 2)
    for axis in (1, 2, 3):
        cells = np.repeat(cells, 2, axis=axis)
    expected = np.tile(cells, (1, 4, 2, 2))
    assert np.array_equal(code.spread(message), expected)
    assert (code.bits, code.copies) == (16, 128)


@pytest.mark.parametrize(
    "code", [shading(), videoshield.code(VIDEO, KEY, NONCE, local=4)], ids=str
)
def test_gathering_undoes_spreading(code: gaussian_shading.Code) -> None:
    message = rng().integers(0, 2, code.bits, dtype=np.uint8)

    copies = code.gather(code.spread(message))
    assert np.array_equal(copies, np.repeat(message[:, None], code.copies, axis=1))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_shading_keeps_magnitudes_and_dtype(dtype: type[np.floating]) -> None:
    code = shading()
    z = rng().standard_normal(IMAGE).astype(dtype)
    z[0, 0, :2] = 0
    message = rng().integers(0, 2, code.bits, dtype=np.uint8)

    marked = gaussian_shading.mark(z, code, message)
    assert marked.dtype == dtype
    assert np.array_equal(np.sign(marked), code.signs(message))
    assert np.array_equal(np.abs(marked)[z != 0], np.abs(z)[z != 0])


def test_shading_says_what_does_not_fit() -> None:
    code, z = shading(), rng().standard_normal(IMAGE)
    message = np.zeros(code.bits, dtype=np.uint8)

    with pytest.raises(InvalidSignal, match="NaN"):
        gaussian_shading.mark(np.full(IMAGE, np.nan), code, message)
    with pytest.raises(InvalidSignal, match="shape"):
        gaussian_shading.mark(z[:2], code, message)
    with pytest.raises(InvalidSignal, match="bits"):
        gaussian_shading.mark(z, code, message[1:])
    with pytest.raises(InvalidSignal, match="bits"):
        gaussian_shading.mark(z, code, message + 2)
    with pytest.raises(InvalidSignal, match="repeated"):
        shading((4, 12, 16))
    with pytest.raises(InvalidSignal, match="repeated"):
        videoshield.code(VIDEO, KEY, NONCE, local=3)
    with pytest.raises(ValueError, match="32 and 12"):
        gaussian_shading.Code(shape=IMAGE, key=KEY[1:], nonce=NONCE)


def test_no_key_is_shown() -> None:
    assert KEY.hex() not in repr(shading())
    assert str(KEY) not in repr(shading())
    pattern = Pattern(draw=rng().standard_normal(IMAGE), radius=5)
    assert "draw" not in repr(pattern)


def test_the_disc_is_theirs() -> None:
    # Their mask by its definition: rows counted from below.
    size, radius = 8, 2
    expected = np.array(
        [
            [(x - 4) ** 2 + (size - 1 - row - 4) ** 2 <= radius**2 for x in range(size)]
            for row in range(size)
        ]
    )
    assert np.array_equal(disc(size, radius), expected)
    assert list(np.flatnonzero(expected[:, 4])) == [1, 2, 3, 4, 5]  # not 2 to 6


def test_rings_are_constant_and_taken_from_the_first_row() -> None:
    draw = rng().standard_normal(IMAGE)
    pattern = Pattern(draw=draw, kind="ring", channel=1, radius=4)

    own = np.fft.fftshift(np.fft.fft2(draw[1]))
    inner = np.zeros((16, 16), dtype=bool)
    for radius in range(1, 5):
        ring = disc(16, radius) & ~inner
        assert np.all(pattern.patch[ring] == own[0, radius])
        inner = disc(16, radius)
    assert np.array_equal(pattern.mask, inner)


@pytest.mark.parametrize("kind", KINDS)
def test_tree_ring_changes_one_channel(kind: str) -> None:
    z = rng().standard_normal(IMAGE).astype(np.float32)
    pattern = Pattern(draw=rng().standard_normal(IMAGE)[::-1], kind=kind, radius=5)

    marked = tree_ring.mark(z, pattern)
    assert marked.dtype == z.dtype
    assert np.array_equal(marked[:3], z[:3])
    # Of what was written only the part that real noise can hold is left.
    written = spectrum(z[3])
    written[pattern.mask] = pattern.patch[pattern.mask]
    mirrored = np.roll(written[::-1, ::-1], (1, 1), (0, 1)).conj()
    kept = spectrum(marked[3])
    assert np.allclose(kept, (written + mirrored) / 2, atol=1e-4)


def test_tree_ring_says_what_does_not_fit() -> None:
    draw = rng().standard_normal(IMAGE)
    with pytest.raises(ValueError, match="kind"):
        Pattern(draw=draw, kind="disc")
    with pytest.raises(InvalidSignal, match="radius"):
        Pattern(draw=draw, radius=8)
    with pytest.raises(InvalidSignal, match="channel"):
        Pattern(draw=draw, radius=5, channel=4)
    with pytest.raises(InvalidSignal, match="shape"):
        Pattern(draw=draw[:, 1:], radius=5)
    pattern = Pattern(draw=draw, radius=5)
    with pytest.raises(InvalidSignal, match="NaN"):
        tree_ring.mark(np.full(IMAGE, np.inf), pattern)
    with pytest.raises(InvalidSignal, match="shape"):
        tree_ring.mark(draw[:2], pattern)
