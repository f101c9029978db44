"""ZIP-based files with their members stored: the native library reads no others.

EPUB and Office files are ZIP archives. What their members hold stays the same, byte
for byte, and so does their order (EPUB wants ``mimetype`` first); the file grows.
"""

from __future__ import annotations

import io
import zipfile
import zlib

from watermark.errors import UnsupportedFormat

_OFFICE = "application/vnd.openxmlformats-officedocument."
ZIP_TYPES = {
    "application/zip": "zip",  # the name by which the native library knows it
    "application/epub+zip": "epub",
    _OFFICE + "wordprocessingml.document": "docx",
    _OFFICE + "spreadsheetml.sheet": "zip",  # the library has no names for these
    _OFFICE + "presentationml.presentation": "zip",
}

# What zipfile raises of damaged and of unusual archives.
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RuntimeError,
    ValueError,
)
_ENCRYPTED = 1  # of the general purpose bits (APPNOTE 4.4.4)


def stored(data: bytes, limit: int) -> bytes:
    """The archive with nothing compressed; as it is, if nothing was.

    Args:
        data: the file.
        limit: of bytes when unpacked.

    Raises:
        UnsupportedFormat: no archive, encrypted, or too large.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            _check(members, limit)
            if all(m.compress_type == zipfile.ZIP_STORED for m in members):
                return data
            return _repacked(archive, members)
    except _UNREADABLE as error:
        raise UnsupportedFormat(f"this ZIP archive cannot be read: {error}") from error


def _check(members: list[zipfile.ZipInfo], limit: int) -> None:
    if sum(member.file_size for member in members) > limit:
        raise UnsupportedFormat(
            f"unpacked, this archive is larger than {limit} bytes: it is not signed"
        )
    names = [member.filename for member in members]
    if len(set(names)) != len(names):
        raise UnsupportedFormat("a name stands twice in this archive: pack it anew")
    if any(member.flag_bits & _ENCRYPTED for member in members):
        raise UnsupportedFormat(
            "this archive is encrypted, and what is in it cannot be signed: sign it "
            "before it is encrypted"
        )


def _repacked(archive: zipfile.ZipFile, members: list[zipfile.ZipInfo]) -> bytes:
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w", zipfile.ZIP_STORED) as packed:
        packed.comment = archive.comment
        for member in members:
            about = zipfile.ZipInfo(member.filename, member.date_time)
            about.external_attr, about.comment = member.external_attr, member.comment
            packed.writestr(about, archive.read(member))
    return output.getvalue()
