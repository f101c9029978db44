"""Where a label lies in a file: found, and written, without touching the rest.

One module for each container. They parse the container's own structure only, bounded
and streaming: media bytes are copied, never decoded or held. `read` never takes an
unreadable container for one without a label.
"""

from __future__ import annotations

import importlib
from typing import BinaryIO, Protocol, cast

from watermark.assets import OOXML, DamagedAsset
from watermark.errors import LabelError, UnsupportedFormat
from watermark.labels.aigc import ONE_LABEL

# Media type to module; those of pictures read and write XMP as well.
_PICTURES = {
    "image/jpeg": "jpeg",
    "image/png": "png",
    "image/gif": "gif",
    "image/tiff": "tiff",
    "image/webp": "webp",
    "image/avif": "heif",
    "image/heic": "heif",
    "image/heif": "heif",
}
_OTHERS = {
    "audio/wav": "riff",
    "video/avi": "riff",
    "audio/mp4": "mp4",
    "video/mp4": "mp4",
    "video/quicktime": "mp4",
    "video/x-matroska": "matroska",
    "video/webm": "matroska",
    "video/x-flv": "flv",
    "audio/mpeg": "id3",
    "audio/flac": "flac",
    "audio/ogg": "ogg",
    OOXML + "wordprocessingml.document": "ooxml",
    OOXML + "spreadsheetml.sheet": "ooxml",
    OOXML + "presentationml.presentation": "ooxml",
    "application/pdf": "pdf",
    "text/markdown": "markdown",
    "text/html": "html",
}

SUPPORTED = frozenset({*_PICTURES, *_OTHERS})
WITH_XMP = frozenset(_PICTURES)


class Container(Protocol):
    """What a container's module has: sources are read from their start."""

    def read(self, source: BinaryIO) -> list[bytes]:
        """Every label's value, in the order of the file.

        Raises:
            DamagedAsset: the container cannot be read to where labels end.
        """

    def write(self, source: BinaryIO, target: BinaryIO, label: bytes) -> None:
        """Copy the file, with this label in place of any there were.

        Raises:
            DamagedAsset: as for `read`.
            UnsupportedFormat: this file has no room for a label.
        """


class Picture(Container, Protocol):
    """What the module of a container with XMP has besides."""

    def read_xmp(self, source: BinaryIO) -> bytes | None:
        """The XMP packet, or None."""

    def write_xmp(self, source: BinaryIO, target: BinaryIO, packet: bytes) -> None:
        """Copy the file, with this packet in place of its own."""


def read(source: BinaryIO, media_type: str) -> list[bytes]:
    """The values of every AIGC label in a file, raw; see `aigc.parse`.

    Args:
        source: the file, seekable; read from its start.
        media_type: one of `SUPPORTED`.

    Raises:
        DamagedAsset: the container cannot be read to where labels end: whether it has
            one is not known.
        UnsupportedFormat: another media type.
    """
    module = _module(media_type)
    source.seek(0)
    return module.read(source)


def write(
    source: BinaryIO,
    target: BinaryIO,
    media_type: str,
    label: bytes,
    *,
    replace: bool = False,
) -> None:
    """Copy a file with exactly one label, and read it back.

    Other metadata and the media's own bytes stay as they are. After an error the target
    holds nothing of use.

    Args:
        source: the file, seekable; read from its start.
        target: empty, seekable and readable, as ``open(path, "w+b")`` gives it.
        media_type: one of `SUPPORTED`.
        label: from `Label.encode` or `aigc.propagated`.
        replace: take the place of labels that are there.

    Raises:
        LabelError: there is a label already, or the read-back found another.
        DamagedAsset: the container cannot be read.
        UnsupportedFormat: another media type, or a file that has no room for a label.
    """
    there = read(source, media_type)
    if there and not replace:
        raise LabelError(
            ONE_LABEL,
            f"{len(there)} label found in this file, expected none: a file has exactly "
            "one; pass replace=True to write another in its place",
        )
    source.seek(0)
    _module(media_type).write(source, target, label)
    if (found := read(target, media_type)) != [label]:
        raise LabelError(
            ONE_LABEL,
            f"{len(found)} labels read back from this {media_type} file, expected the "
            "one that was written: the file was not labelled",
        )


def read_xmp(source: BinaryIO, media_type: str) -> bytes | None:
    """The XMP packet of a picture, or None.

    Args:
        source: the file, seekable; read from its start.
        media_type: one of `WITH_XMP`.

    Raises:
        DamagedAsset: the container cannot be read.
        UnsupportedFormat: another media type.
    """
    module = _picture(media_type)
    source.seek(0)
    return module.read_xmp(source)


def write_xmp(
    source: BinaryIO, target: BinaryIO, media_type: str, packet: bytes
) -> None:
    """Copy a picture with this XMP packet in place of its own, and read it back.

    Args:
        source: the file, seekable; read from its start.
        target: empty, seekable and readable.
        media_type: one of `WITH_XMP`.
        packet: the whole packet; see `watermark.labels.xmp`.

    Raises:
        DamagedAsset: the container cannot be read, or the packet read back is another.
        UnsupportedFormat: another media type, or a file that has no room for it.
    """
    module = _picture(media_type)
    source.seek(0)
    module.write_xmp(source, target, packet)
    if read_xmp(target, media_type) != packet:
        raise DamagedAsset(f"the XMP of this {media_type} file was not written")


def _module(media_type: str) -> Container:
    name = _PICTURES.get(media_type) or _OTHERS.get(media_type)
    if name is None:
        raise UnsupportedFormat(
            f"found media type {media_type!r}, expected one of "
            f"{', '.join(sorted(SUPPORTED))}: nothing says where a label lies in others"
        )
    return cast(Container, importlib.import_module(f"{__name__}.{name}"))


def _picture(media_type: str) -> Picture:
    if media_type not in WITH_XMP:
        raise UnsupportedFormat(
            f"found media type {media_type!r}, expected one of "
            f"{', '.join(sorted(WITH_XMP))}"
        )
    return cast(Picture, _module(media_type))
