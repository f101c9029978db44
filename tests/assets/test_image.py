"""Images come out of any container as they went in, or as a typed error."""

import hashlib
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from watermark.assets import DamagedAsset, image
from watermark.errors import UnsupportedFormat

LOSSLESS = ("image/png", "image/webp")
TYPES = (*LOSSLESS, "image/jpeg")


def noise(mode: str = "RGB", size: tuple[int, int] = (31, 17)) -> Image.Image:
    bands = len(Image.new(mode, (1, 1)).getbands())
    shape = (size[1], size[0], bands) if bands > 1 else (size[1], size[0])
    pixels = np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)
    return Image.frombytes(mode, size, pixels.tobytes())


def chunk(name: bytes, body: bytes) -> bytes:
    crc = struct.pack(">I", zlib.crc32(name + body))
    return struct.pack(">I", len(body)) + name + body + crc


def bomb(width: int, height: int) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + header + body + chunk(b"IEND", b"")


@pytest.mark.parametrize("media_type", LOSSLESS)
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_lossless_types_keep_every_pixel_and_the_digest(
    media_type: str, mode: str
) -> None:
    original = noise(mode)
    decoded = image.decode(image.encode(original, media_type))

    assert decoded.tobytes() == original.tobytes()
    assert image.digest(decoded) == image.digest(original)


def test_jpeg_is_close_and_keeps_full_chroma() -> None:
    ramp = np.zeros((64, 64, 3), dtype=np.uint8)
    ramp[..., 0] = np.arange(64) * 4
    data = image.encode(Image.fromarray(ramp), "image/jpeg")
    decoded = Image.open(io.BytesIO(data))

    assert np.abs(image.to_rgb8(decoded).astype(int) - ramp).max() <= 6
    start = data.index(b"\xff\xc0")
    assert data[start + 11] == 0x11  # sampling of Y: as fine as the others


def test_encoding_is_deterministic() -> None:
    for media_type in TYPES:
        assert image.encode(noise(), media_type) == image.encode(noise(), media_type)


@pytest.mark.parametrize("media_type", TYPES)
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_every_mode_can_be_written_everywhere(media_type: str, mode: str) -> None:
    source = noise("RGB").convert(mode) if mode != "RGBA" else noise("RGBA")
    decoded = image.decode(image.encode(source, media_type))

    assert decoded.size == source.size
    if media_type in LOSSLESS:
        assert np.array_equal(image.to_rgb8(decoded), image.to_rgb8(source))


def test_metadata_stays_behind_and_the_profile_does_not() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    source = noise()
    exif = source.getexif()
    exif[0x010E] = "a private description"
    stored = io.BytesIO()
    source.save(stored, "JPEG", exif=exif, icc_profile=profile, comment=b"private")
    decoded = image.decode(stored.getvalue())
    for media_type in TYPES:
        data = image.encode(decoded, media_type)

        assert b"private" not in data
        assert image.decode(data).info["icc_profile"] == profile


def test_a_profile_of_another_colour_model_is_dropped() -> None:
    source = noise("CMYK")
    source.info["icc_profile"] = b"a profile for ink"

    assert "icc_profile" not in image.decode(image.encode(source, "image/png")).info


def test_exif_orientation_is_applied() -> None:
    source = Image.new("RGB", (8, 4), "black")
    source.putpixel((0, 0), (255, 255, 255))
    exif = source.getexif()
    exif[0x0112] = 6  # turn clockwise
    stored = io.BytesIO()
    source.save(stored, "PNG", exif=exif)
    decoded = image.decode(stored.getvalue())

    assert decoded.size == (4, 8)
    assert decoded.getpixel((3, 0)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (Image.new("RGBA", (1, 1), (0, 0, 0, 0)), (255, 255, 255)),
        (Image.new("RGBA", (1, 1), (10, 20, 30, 255)), (10, 20, 30)),
        (Image.new("LA", (1, 1), (0, 128)), (127, 127, 127)),
        (Image.new("L", (1, 1), 200), (200, 200, 200)),
        (Image.new("1", (1, 1), 1), (255, 255, 255)),
        (Image.new("CMYK", (1, 1), (0, 255, 255, 0)), (255, 0, 0)),
        (Image.new("I;16", (1, 1), 65535), (255, 255, 255)),
        (Image.new("I;16", (1, 1), 32896), (128, 128, 128)),
        (Image.new("I", (1, 1), 70000), (255, 255, 255)),
        (Image.new("P", (1, 1), 0), (0, 0, 0)),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else str(value),
)
def test_to_rgb8_gives_what_a_viewer_shows(
    source: Image.Image, expected: tuple[int, int, int]
) -> None:
    pixels = image.to_rgb8(source)

    assert pixels.shape == (1, 1, 3)
    assert pixels.dtype == np.uint8
    assert tuple(pixels[0, 0].tolist()) == expected


def test_height_comes_first() -> None:
    assert image.to_rgb8(noise(size=(5, 3))).shape == (3, 5, 3)


def test_floating_point_images_are_refused() -> None:
    with pytest.raises(UnsupportedFormat, match="8 bits"):
        image.to_rgb8(Image.new("F", (2, 2)))


def test_the_digest_is_pinned() -> None:
    """Ledgers hold it: another value would orphan every record."""
    expected = hashlib.sha256(b"image/1 2x1 RGB \1\2\3\1\2\3").hexdigest()

    assert image.digest(Image.new("RGB", (2, 1), (1, 2, 3))) == expected


def test_the_digest_tells_pixels_and_shape_apart() -> None:
    pixels = noise(size=(4, 6)).tobytes()
    tall, wide = (Image.frombytes("RGB", s, pixels) for s in ((4, 6), (6, 4)))
    changed = tall.copy()
    changed.putpixel((0, 0), (1, 1, 1))
    clear = tall.copy()
    clear.putalpha(254)

    assert len({image.digest(i) for i in (tall, wide, changed, clear)}) == 4


def test_an_opaque_alpha_channel_does_not_change_the_digest() -> None:
    assert image.digest(noise().convert("RGBA")) == image.digest(noise())


@pytest.mark.parametrize("media_type", TYPES)
def test_truncated_and_flipped_files_are_damaged_or_decode(media_type: str) -> None:
    whole = image.encode(noise(size=(64, 48)), media_type)
    for cut in range(12, len(whole) - 40, len(whole) // 20):
        with pytest.raises(DamagedAsset, match="truncated or damaged"):
            image.decode(whole[:cut])
    for place in range(12, len(whole), 211):
        flipped = bytearray(whole)
        flipped[place] ^= 0xFF
        try:
            image.decode(bytes(flipped))
        except DamagedAsset:
            continue


@pytest.mark.parametrize("size", [(8193, 8192), (30000, 30000), (2**31 - 1, 2**31 - 1)])
def test_a_bomb_is_refused_by_its_header(size: tuple[int, int]) -> None:
    with pytest.raises(DamagedAsset, match=r"pixels|ImageSize"):
        image.decode(bomb(*size))


def test_a_missing_part_of_the_picture_is_damage() -> None:
    with pytest.raises(DamagedAsset):
        image.decode(bomb(100, 100))


def test_only_listed_types_reach_a_decoder() -> None:
    gif = io.BytesIO()
    noise().convert("P").save(gif, "GIF")
    for data in (gif.getvalue(), b"", b"text", b"%PDF-1.7"):
        with pytest.raises(UnsupportedFormat, match="expected image/png"):
            image.decode(data)


def test_only_listed_types_are_written() -> None:
    with pytest.raises(UnsupportedFormat, match="image/gif"):
        image.encode(noise(), "image/gif")
    with pytest.raises(UnsupportedFormat):
        image.encode(Image.new("RGB", (20000, 1)), "image/webp")
