"""One small real file for each container that can hold a manifest."""

import io
import struct
import wave
import zipfile

import numpy as np
from PIL import Image

from watermark.assets import OOXML

SVG = (
    b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="9" '
    b'height="9"><rect width="5" height="5"/></svg>\n'
)


def picture(kind: str, size: tuple[int, int] = (48, 64)) -> bytes:
    pixels = np.random.default_rng(7).integers(0, 256, (*size, 3), dtype=np.uint8)
    output = io.BytesIO()
    Image.fromarray(pixels).save(output, kind)
    return output.getvalue()


def wav() -> bytes:
    output = io.BytesIO()
    with wave.open(output, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(bytes(range(256)) * 8)
    return output.getvalue()


def box(name: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", len(body) + 8, name) + body


def movie(major: bytes, brands: bytes) -> bytes:
    """ISO/IEC 14496-12: a movie header without tracks, and some media data."""
    matrix = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    times = bytes(12) + struct.pack(">II", 1000, 0)  # version, dates, scale, duration
    rates = struct.pack(">IH", 0x10000, 0x100) + bytes(10)
    header = box(b"mvhd", times, rates, matrix, bytes(24), struct.pack(">I", 1))
    start = box(b"ftyp", major, struct.pack(">I", 512), brands)
    return start + box(b"moov", header) + box(b"mdat", bytes(range(256)))


def heic() -> bytes:
    """The boxes of an AVIF under the brands of HEIC: no decoder is asked."""
    avif = picture("AVIF")
    return avif.replace(b"ftypavif", b"ftypheic", 1).replace(b"mif1", b"heic", 1)


def heif() -> bytes:
    """The same under brands that say nothing of the codec."""
    avif = picture("AVIF")
    size = int.from_bytes(avif[:4], "big")
    return box(b"ftyp", b"mif1" + bytes(4) + b"mif1" * (size // 4 - 4)) + avif[size:]


def riff(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def avi() -> bytes:
    header = riff(b"LIST", b"hdrl" + riff(b"avih", bytes(56)))
    movie_data = riff(b"LIST", b"movi" + riff(b"00dc", bytes(range(200))))
    return riff(b"RIFF", b"AVI " + header + movie_data)


def mp3() -> bytes:
    """An empty ID3v2.4 tag and four silent frames of MPEG-1 layer III, 128 kbit/s."""
    return b"ID3\x04\0\0" + bytes(4) + (bytes.fromhex("fffb9000") + bytes(413)) * 4


def flac() -> bytes:
    sizes = struct.pack(">HH", 4096, 4096) + bytes(6)
    about = sizes + bytes.fromhex("0ac442f000000000") + bytes(16)
    block = b"\x80" + len(about).to_bytes(3, "big") + about
    return b"fLaC" + block + bytes.fromhex("fff8c9180000") + bytes(50)


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w", compression) as archive:
        for name, data in members.items():
            about = zipfile.ZipInfo(name)
            about.compress_type = compression
            archive.writestr(about, data)
    return output.getvalue()


EPUB = {
    "mimetype": b"application/epub+zip",
    "META-INF/container.xml": b"<container/>",
    "chapter.xhtml": b"<html/>",
}
TYPES = "[Content_Types].xml"
OFFICE = {TYPES: b"<Types/>", "word/document.xml": b"<w/>" * 50}


def containers() -> dict[str, bytes]:
    """The twenty-two, by media type."""
    return {
        "image/png": picture("PNG"),
        "image/jpeg": picture("JPEG"),
        "image/webp": picture("WEBP"),
        "image/tiff": picture("TIFF"),
        "image/gif": picture("GIF"),
        "image/avif": picture("AVIF"),
        "image/heic": heic(),
        "image/heif": heif(),
        "image/svg+xml": SVG,
        "application/pdf": picture("PDF"),
        "audio/wav": wav(),
        "video/avi": avi(),
        "audio/mpeg": mp3(),
        "audio/flac": flac(),
        "audio/mp4": movie(b"M4A ", b"M4A isommp42"),
        "video/mp4": movie(b"isom", b"isomiso2mp41"),
        "video/quicktime": movie(b"qt  ", b"qt  "),
        "application/zip": zipped({"a.txt": b"hello", "b/c.txt": b"x" * 99}),
        "application/epub+zip": zipped(EPUB),
        OOXML + "wordprocessingml.document": zipped(OFFICE),
        OOXML + "spreadsheetml.sheet": zipped(
            {TYPES: b"<Types/>", "xl/a.xml": b"<a/>" * 50}
        ),
        OOXML + "presentationml.presentation": zipped(
            {TYPES: b"<Types/>", "ppt/a.xml": b"<a/>" * 50}
        ),
    }
