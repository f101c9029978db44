"""What carries a mark: media types, told by their first bytes, and their limits.

A file's name and what somebody says of its type are not believed. Only the types in
`MEDIA_TYPES` are ever handed to a decoder.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from dataclasses import dataclass

from watermark.errors import UnsupportedFormat, WatermarkError
from watermark.record import Kind

MIB = 1 << 20
TEXT_BYTES = 16 * MIB  # War and Peace five times; detection is linear in it
IMAGE_BYTES = 64 * MIB  # a 16-bit RGB PNG of 10 megapixels
MEDIA_BYTES = 256 * MIB  # what `watermark.sign.c2pa` holds in memory at most

SNIFFED_TEXT = MIB  # text is judged by its first mebibyte; `text.decode` reads it all


class DamagedAsset(WatermarkError):
    """A file of a known type that cannot be read, or is too large to be read."""


@dataclass(frozen=True, slots=True)
class MediaType:
    """One row of the allow-list.

    Attributes:
        name: as registered with IANA (``audio/wav`` as C2PA has it).
        kind: what sort of medium.
        suffixes: of file names, the usual one first.
        max_bytes: larger files are refused before they are parsed.
    """

    name: str
    kind: Kind
    suffixes: tuple[str, ...]
    max_bytes: int


MEDIA_TYPES: dict[str, MediaType] = {
    media_type.name: media_type
    for media_type in (
        MediaType("image/png", "image", (".png",), IMAGE_BYTES),
        MediaType("image/jpeg", "image", (".jpg", ".jpeg"), IMAGE_BYTES),
        MediaType("image/webp", "image", (".webp",), IMAGE_BYTES),
        MediaType("audio/wav", "audio", (".wav",), MEDIA_BYTES),
        MediaType("video/mp4", "video", (".mp4", ".m4v"), MEDIA_BYTES),
        MediaType("application/pdf", "document", (".pdf",), IMAGE_BYTES),
        MediaType("text/plain", "text", (".txt", ".md", ".text"), TEXT_BYTES),
    )
}

# Major brands of files that hold video. HEIC, AVIF and M4A are `ftyp` files as well.
_MP4_BRANDS = frozenset(
    b"isom iso2 iso3 iso4 iso5 iso6 iso7 iso8 iso9 mp41 mp42 avc1 dash MSNV".split()
) | {b"M4V "}


def sniff(data: bytes) -> str | None:
    """The media type by the content alone, or None if it is not in the allow-list."""
    for name, matches in _SIGNATURES.items():
        if matches(data):
            return name
    return "text/plain" if _is_text(data) else None


def kind_of(media_type: str) -> Kind:
    """What sort of medium a type is.

    Raises:
        UnsupportedFormat: not in the allow-list.
    """
    return _row(media_type).kind


def media_type_for_suffix(suffix: str) -> str:
    """The type that a suffix such as ``.png`` asks for when writing.

    Raises:
        UnsupportedFormat: no type has this suffix.
    """
    for media_type in MEDIA_TYPES.values():
        if suffix.lower() in media_type.suffixes:
            return media_type.name
    known = ", ".join(s for m in MEDIA_TYPES.values() for s in m.suffixes)
    raise UnsupportedFormat(f"found suffix {suffix!r}, expected one of {known}")


def check_size(data: bytes, media_type: str) -> None:
    """Return if `data` is no larger than its type may be.

    Raises:
        DamagedAsset: it is larger.
        UnsupportedFormat: the type is not in the allow-list.
    """
    limit = _row(media_type).max_bytes
    if len(data) > limit:
        raise DamagedAsset(
            f"{len(data)} bytes of {media_type} found, expected at most {limit}"
        )


def _row(media_type: str) -> MediaType:
    if media_type not in MEDIA_TYPES:
        raise UnsupportedFormat(
            f"found media type {media_type!r}, expected one of {', '.join(MEDIA_TYPES)}"
        )
    return MEDIA_TYPES[media_type]


def _riff(form: bytes) -> Callable[[bytes], bool]:
    return lambda data: data[:4] == b"RIFF" and data[8:12] == form


def _is_mp4(data: bytes) -> bool:
    return data[4:8] == b"ftyp" and data[8:12] in _MP4_BRANDS


def _is_text(data: bytes) -> bool:
    if not data or b"\0" in data:
        return False
    # Incremental, so that a character cut in two at the limit is no error.
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        decoder.decode(data[:SNIFFED_TEXT], final=len(data) <= SNIFFED_TEXT)
    except UnicodeDecodeError:
        return False
    return True


_SIGNATURES: dict[str, Callable[[bytes], bool]] = {
    "image/png": lambda data: data[:8] == b"\x89PNG\r\n\x1a\n",
    "image/jpeg": lambda data: data[:3] == b"\xff\xd8\xff",
    "image/webp": _riff(b"WEBP"),
    "audio/wav": _riff(b"WAVE"),
    "video/mp4": _is_mp4,
    "application/pdf": lambda data: data[:5] == b"%PDF-",
}
