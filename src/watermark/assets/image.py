"""Images: decoding untrusted bytes, encoding, and the digest that recognises one."""

from __future__ import annotations

import hashlib
import io
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from watermark.assets import DamagedAsset, check_size, sniff
from watermark.errors import UnsupportedFormat

if TYPE_CHECKING:
    from numpy.typing import NDArray

# 8192 x 8192: 192 MiB as RGB. Below the size at which Pillow warns of a bomb (89.5
# million), so that whatever Pillow would warn of is refused here.
MAX_PIXELS = 1 << 26

JPEG_QUALITY = 95  # above it files grow and no detector of ours gains
FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP"}

_OPTIONS: dict[str, dict[str, Any]] = {
    "image/png": {},
    "image/jpeg": {"quality": JPEG_QUALITY, "subsampling": 0},
    "image/webp": {"lossless": True, "exact": True},
}
_MODES = {
    "image/png": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "image/jpeg": ("L", "RGB", "CMYK"),
    "image/webp": ("RGB", "RGBA"),
}
_PNG_XMP = "XML:com.adobe.xmp"
_SRGB_GAMMA = b"gAMA" + (45455).to_bytes(4, "big")  # what is meant without it
_DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")


def decode(data: bytes) -> Image.Image:
    """The picture in a file, its first frame, upright as its EXIF orientation says.

    Raises:
        UnsupportedFormat: not PNG, JPEG or WebP.
        DamagedAsset: truncated, broken, or too large.
    """
    media_type = sniff(data)
    if media_type not in FORMATS:
        raise UnsupportedFormat(
            f"found {media_type or 'an unknown type'}, expected {', '.join(FORMATS)}"
        )
    check_size(data, media_type)
    try:
        with Image.open(io.BytesIO(data), formats=[FORMATS[media_type]]) as image:
            _check_pixels(image)
            image.load()
            return ImageOps.exif_transpose(image)
    except DamagedAsset:
        raise
    except Exception as error:  # Pillow raises a dozen types, warnings among them
        raise DamagedAsset(
            f"this {media_type} cannot be decoded ({type(error).__name__}: {error}): "
            "it is truncated or damaged"
        ) from error


def frames(source: bytes | Image.Image) -> int:
    """How many frames a picture has that is shown as one: several where it moves.

    1 for JPEG, whose further pictures are previews, and where it cannot be told.
    """
    try:
        if isinstance(source, Image.Image):
            return int(getattr(source, "n_frames", 1)) if source.format != "MPO" else 1
        media_type = sniff(source) or ""
        if media_type == "image/jpeg":
            return 1
        with Image.open(io.BytesIO(source), formats=[FORMATS[media_type]]) as picture:
            return int(getattr(picture, "n_frames", 1))
    except Exception:  # Pillow raises a dozen types on damaged metadata
        return 1


def check_plain(data: bytes) -> None:
    """Return if 8 bits of RGB, one frame, hold all that a file's picture says.

    Raises:
        UnsupportedFormat: more bits, several frames, or colours of another meaning.
    """
    media_type = sniff(data) or ""
    with Image.open(io.BytesIO(data), formats=[FORMATS[media_type]]) as image:
        if int(getattr(image, "n_frames", 1)) > 1:
            raise UnsupportedFormat("it has several frames, and only the first is read")
    if media_type == "image/png":
        if data[24] > 8:  # of IHDR; Pillow reads 16 bits of colour as 8
            raise UnsupportedFormat(f"it has {data[24]} bits a channel, expected 8")
        for name in (b"cICP", b"mDCV", b"cLLI", b"gAMA", b"cHRM"):
            at = data.find(name, 33, data.find(b"IDAT"))
            if at > 0 and data[at : at + 8] != _SRGB_GAMMA:
                raise UnsupportedFormat(
                    f"its colours are told by {name.decode()}, which would be lost"
                )


def split(image: Image.Image) -> tuple[NDArray[np.uint8], Image.Image | None]:
    """Colours, (height, width, 3), and the alpha channel of a picture that has one.

    Raises:
        UnsupportedFormat: colours that 8 bits of RGB do not hold.
    """
    if image.mode in (*_DEEP_MODES, "F", "CMYK", "LAB", "HSV", "YCbCr"):
        raise UnsupportedFormat(
            f"a picture of mode {image.mode} found, expected 8 bits of grey or RGB: "
            "convert it first"
        )
    alpha = None
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
    return np.asarray(image.convert("RGB"), dtype=np.uint8), alpha


def joined(
    colours: NDArray[np.uint8], alpha: Image.Image | None, like: Image.Image
) -> Image.Image:
    """The inverse of `split`: grey where `like` is grey, and what goes with it."""
    picture = Image.fromarray(colours)
    if like.mode in ("1", "L", "LA"):
        picture = picture.convert("L")
    if alpha is not None:
        picture.putalpha(alpha)
    picture.info = {k: v for k, v in like.info.items() if k != "transparency"}
    return picture


def encode(
    image: Image.Image, media_type: str, *, like: Image.Image | None = None
) -> bytes:
    """A file of `image`: PNG, JPEG (quality 95, 4:4:4) or WebP (lossless).

    The colour profile stays; EXIF, comments and other metadata do not, but those of
    `like`. A picture that EXIF says is turned is put upright.

    Raises:
        UnsupportedFormat: another type, or an image this type cannot hold.
    """
    if media_type not in FORMATS:
        raise UnsupportedFormat(
            f"found {media_type!r}, expected one of {', '.join(FORMATS)}"
        )
    bare = _bare(upright(image), media_type)
    output = io.BytesIO()
    try:
        profile = bare.info.get("icc_profile")
        options = {**_OPTIONS[media_type], **_about(like, media_type)}
        bare.save(output, FORMATS[media_type], icc_profile=profile, **options)
    except (OSError, ValueError) as error:
        raise UnsupportedFormat(
            f"an image of mode {image.mode} and size {image.size} cannot be written "
            f"as {media_type}: {error}"
        ) from error
    return _with_iptc(output.getvalue(), like, media_type)


def upright(image: Image.Image) -> Image.Image:
    """`image` as its EXIF orientation says, if that can be read."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # Pillow raises a dozen types on damaged metadata
        return image


def loaded(image: Image.Image) -> Image.Image:
    """`image`, its pixels read: Pillow opens files lazily.

    Raises:
        DamagedAsset: the file behind it is truncated, broken or too large.
    """
    _check_pixels(image)
    try:
        image.load()
    except Exception as error:  # Pillow raises a dozen types
        raise DamagedAsset(
            f"this picture cannot be read ({type(error).__name__}: {error})"
        ) from error
    return image


def to_rgb8(image: Image.Image) -> NDArray[np.uint8]:
    """What a viewer shows, as (height, width, 3); transparency lies on white.

    Raises:
        UnsupportedFormat: floating-point pixels, whose range is not known.
    """
    return np.asarray(_opaque(image), dtype=np.uint8)


def digest(image: Image.Image) -> str:
    """SHA-256 (hex) of size and pixels: the same in any lossless container.

    RGBA counts as RGB where every pixel is opaque.

    Raises:
        UnsupportedFormat: floating-point pixels, whose range is not known.
    """
    pixels = _rgb_or_rgba(image)
    width, height = pixels.size
    header = f"image/1 {width}x{height} {pixels.mode} ".encode()
    return hashlib.sha256(header + pixels.tobytes()).hexdigest()


def _check_pixels(image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise DamagedAsset(
            f"{width} x {height} pixels found, expected at most {MAX_PIXELS} in all"
        )


def _opaque(image: Image.Image) -> Image.Image:
    pixels = _rgb_or_rgba(image)
    if pixels.mode == "RGB":
        return pixels
    white = Image.new("RGBA", pixels.size, "white")
    return Image.alpha_composite(white, pixels).convert("RGB")


def _rgb_or_rgba(image: Image.Image) -> Image.Image:
    """8 bits per channel; RGBA only where some pixel is not opaque."""
    if image.mode in _DEEP_MODES:
        return _from_16_bits(image)
    if image.mode == "F":
        raise UnsupportedFormat(
            "floating-point pixels found, expected integers: scale them to 8 bits"
        )
    if not image.has_transparency_data:
        return image.convert("RGB")
    pixels = image.convert("RGBA")
    lowest, _ = pixels.getchannel("A").getextrema()
    return pixels.convert("RGB") if lowest == 255 else pixels


def _from_16_bits(image: Image.Image) -> Image.Image:
    deep = np.asarray(image).astype(np.int64).clip(0, 65535)
    grey = ((deep * 255 + 32767) // 65535).astype(np.uint8)  # rounded to nearest
    return Image.fromarray(grey).convert("RGB")


def _about(image: Image.Image | None, media_type: str) -> dict[str, Any]:
    """What a picture's file says of it, as Pillow's `save` takes it.

    EXIF, XMP, resolution, and the comments of PNG and JPEG.

    Raises:
        UnsupportedFormat: something of it cannot be read, or not be written back.
    """
    if image is None:
        return {}
    try:
        about = _resolution(image)
        exif = image.getexif()
        if len(exif):
            about["exif"] = exif.tobytes()
    except Exception as error:  # Pillow raises a dozen types on damaged metadata
        raise UnsupportedFormat(
            f"its metadata cannot be read ({type(error).__name__}: {error})"
        ) from error
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    if media_type == "image/png":
        about["pnginfo"] = _png_text(image, xmp)
    elif xmp:
        about["xmp"] = xmp if isinstance(xmp, bytes) else str(xmp).encode()
    if media_type == "image/jpeg" and "comment" in image.info:
        about["comment"] = image.info["comment"]
    return about


def _with_iptc(data: bytes, like: Image.Image | None, media_type: str) -> bytes:
    """A JPEG file with the image resources of `like`, IPTC records among them.

    Raises:
        UnsupportedFormat: they do not fit into one segment.
    """
    found = {} if like is None else like.info.get("photoshop")
    if media_type != "image/jpeg" or not isinstance(found, dict) or not found:
        return data
    body = b"Photoshop 3.0\0"
    for number, value in found.items():
        if isinstance(number, int) and isinstance(value, bytes):
            head = b"8BIM" + struct.pack(">HHI", number, 0, len(value))
            body += head + value + b"\0" * (len(value) % 2)
    if len(body) > 65_533:
        raise UnsupportedFormat("its image resources are larger than one segment")
    segment = b"\xff\xed" + struct.pack(">H", len(body) + 2) + body
    # After the first segment, which is JFIF's.
    end = 4 + int.from_bytes(data[4:6], "big") if data[2:4] == b"\xff\xe0" else 2
    return data[:end] + segment + data[end:]


def _resolution(image: Image.Image) -> dict[str, Any]:
    found = image.info.get("dpi")
    return {"dpi": found} if found else {}


def _png_text(image: Image.Image, xmp: Any) -> PngInfo:
    """The texts of a PNG file, and its XMP."""
    text = PngInfo()
    for name, value in image.info.items():
        if isinstance(name, str) and isinstance(value, str) and name != _PNG_XMP:
            text.add_itxt(name, value)
    if xmp:
        said = xmp.decode("utf-8", "replace") if isinstance(xmp, bytes) else str(xmp)
        text.add_itxt(_PNG_XMP, said)
    return text


def _bare(image: Image.Image, media_type: str) -> Image.Image:
    """In a mode the type can hold, and without the metadata Pillow would write back."""
    if image.mode in _MODES[media_type]:
        bare = image.copy()
    elif media_type == "image/jpeg":
        bare = _opaque(image)
    else:
        bare = _rgb_or_rgba(image)
    # A profile says what the numbers of one colour model mean, not of another.
    same = bare.mode == image.mode or image.mode in ("RGB", "RGBA", "P")
    keep = ("transparency", "icc_profile") if same else ("transparency",)
    bare.info = {k: v for k, v in image.info.items() if k in keep}
    return bare
