"""What carries a mark: media types, told by their first bytes, and their limits.

A file's name and what somebody says of its type are not believed. Only the types in
`MEDIA_TYPES` are ever handed to a decoder.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

from watermark.assets import signatures
from watermark.errors import UnsupportedFormat, WatermarkError
from watermark.record import Kind

MIB = 1 << 20
TEXT_BYTES = 16 * MIB  # War and Peace five times; detection is linear in it
IMAGE_BYTES = 64 * MIB  # a 16-bit RGB PNG of 10 megapixels
MEDIA_BYTES = 256 * MIB  # what `watermark.sign.c2pa` holds in memory at most

OOXML = "application/vnd.openxmlformats-officedocument."

SNIFFED_TEXT = MIB  # text is judged by its first mebibyte; `text.decode` reads it all

_PAGE_HEAD = 4096  # bytes in which a page shows that it is one
_PAGE = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*+(?:<!--(?:(?!-->).)*+-->\s*+|<\?xml[^>]*+>\s*+)*+"
    rb"(?:<!doctype\s++html\b|<html[\s>])",
    re.IGNORECASE | re.DOTALL,
)


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
        MediaType("image/gif", "image", (".gif",), MEDIA_BYTES),
        MediaType("image/tiff", "image", (".tif", ".tiff"), MEDIA_BYTES),
        MediaType("image/avif", "image", (".avif",), MEDIA_BYTES),
        MediaType("image/heic", "image", (".heic",), MEDIA_BYTES),
        MediaType("image/heif", "image", (".heif",), MEDIA_BYTES),
        MediaType("image/svg+xml", "image", (".svg",), TEXT_BYTES),
        MediaType("audio/wav", "audio", (".wav",), MEDIA_BYTES),
        MediaType("audio/mpeg", "audio", (".mp3",), MEDIA_BYTES),
        MediaType("audio/flac", "audio", (".flac",), MEDIA_BYTES),
        MediaType("audio/mp4", "audio", (".m4a",), MEDIA_BYTES),
        MediaType("audio/ogg", "audio", (".ogg", ".oga", ".opus"), MEDIA_BYTES),
        MediaType("video/mp4", "video", (".mp4", ".m4v"), MEDIA_BYTES),
        MediaType("video/quicktime", "video", (".mov",), MEDIA_BYTES),
        MediaType("video/avi", "video", (".avi",), MEDIA_BYTES),
        MediaType("video/x-matroska", "video", (".mkv",), MEDIA_BYTES),
        MediaType("video/webm", "video", (".webm",), MEDIA_BYTES),
        MediaType("video/x-flv", "video", (".flv",), MEDIA_BYTES),
        MediaType("application/pdf", "document", (".pdf",), MEDIA_BYTES),
        MediaType("application/zip", "document", (".zip",), MEDIA_BYTES),
        MediaType("application/epub+zip", "document", (".epub",), MEDIA_BYTES),
        MediaType(
            OOXML + "wordprocessingml.document", "document", (".docx",), MEDIA_BYTES
        ),
        MediaType(OOXML + "spreadsheetml.sheet", "document", (".xlsx",), MEDIA_BYTES),
        MediaType(
            OOXML + "presentationml.presentation", "document", (".pptx",), MEDIA_BYTES
        ),
        MediaType("text/plain", "text", (".txt", ".md", ".text"), TEXT_BYTES),
    )
}


def sniff(data: bytes) -> str | None:
    """The media type by the content alone, or None if it is not in the allow-list."""
    name = signatures.told(data)
    if name is not None:
        return name
    return "text/plain" if _is_text(data) else None


def format_of(data: bytes, suffix: str = "") -> str | None:
    """As `sniff`, but Markdown and HTML are told from other texts.

    They are texts to every detector, but have places of their own for a label. Nothing
    in a file says that it is Markdown, so its name does.

    Args:
        data: the file.
        suffix: of its name, such as ``.md``.
    """
    name = sniff(data)
    if name != "text/plain":
        return name
    if suffix.lower() in (".md", ".markdown"):
        return "text/markdown"
    page = _PAGE.match(data[:_PAGE_HEAD]) is not None
    return "text/html" if page or suffix.lower() in (".html", ".htm") else name


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
