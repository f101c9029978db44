"""How files of each type begin: told apart by their bytes alone.

A word at the start of a text is no signature. Every check below wants bytes that no
text holds, or the structure that has to follow.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable

_HEAD = 4096  # bytes in which a type shows

# Major brands of files that hold video. HEIC, AVIF and M4A are `ftyp` files as well.
_MP4 = frozenset(
    b"isom iso2 iso3 iso4 iso5 iso6 iso7 iso8 iso9 mp41 mp42 avc1 dash MSNV".split()
) | {b"M4V "}
_BRANDS = {
    **dict.fromkeys(_MP4, "video/mp4"),
    **dict.fromkeys((b"M4A ", b"M4B "), "audio/mp4"),
    b"qt  ": "video/quicktime",
    **dict.fromkeys((b"avif", b"avis"), "image/avif"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc"), "image/heic"),
}
_GENERAL = (b"mif1", b"msf1")  # of HEIF; compatible brands say how it is coded

_OOXML = "application/vnd.openxmlformats-officedocument."
_OFFICE = {
    "word/": _OOXML + "wordprocessingml.document",
    "xl/": _OOXML + "spreadsheetml.sheet",
    "ppt/": _OOXML + "presentationml.presentation",
}
_EPUB = b"mimetypeapplication/epub+zip"
_MEMBERS = 65_535  # of an archive that is not ZIP64
_UNREADABLE = (
    zipfile.BadZipFile,
    LookupError,
    NotImplementedError,
    OSError,
    ValueError,
)

_SVG = re.compile(rb"<svg[\s>][^>]*http://www\.w3\.org/2000/svg")
_BEFORE = ((b"<?", b"?>"), (b"<!--", b"-->"), (b"<!DOCTYPE svg", b">"))
# MPEG audio: kilobits per second of layer III, of version 1 and of 2 and 2.5.
_RATES = (
    (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
_SAMPLES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


def told(data: bytes) -> str | None:
    """The media type that these bytes are signed with, or None; texts are not."""
    for matches, name in _SIGNATURES:
        if matches(data):
            return name
    for tell in (_iso, _matroska, _zip, _mpeg):
        if found := tell(data):
            return found
    return "image/svg+xml" if _is_svg(data[:_HEAD]) else None


def _begins(start: bytes) -> Callable[[bytes], bool]:
    return lambda data: data.startswith(start)


def _riff(form: bytes) -> Callable[[bytes], bool]:
    return lambda data: data[:4] == b"RIFF" and data[8:12] == form


def _is_gif(data: bytes) -> bool:
    # Its last block but one ends with a zero.
    return data[:6] in (b"GIF87a", b"GIF89a") and b"\0" in data


def _is_flac(data: bytes) -> bool:
    return data[:4] == b"fLaC" and data[5:8] == b"\0\0\x22"  # STREAMINFO comes first


_SIGNATURES: tuple[tuple[Callable[[bytes], bool], str], ...] = (
    (_begins(b"\x89PNG\r\n\x1a\n"), "image/png"),
    (_begins(b"\xff\xd8\xff"), "image/jpeg"),
    (_riff(b"WEBP"), "image/webp"),
    (_riff(b"WAVE"), "audio/wav"),
    (_riff(b"AVI "), "video/avi"),
    (_begins(b"%PDF-"), "application/pdf"),
    (_is_gif, "image/gif"),
    (_begins(b"II*\0"), "image/tiff"),
    (_begins(b"MM\0*"), "image/tiff"),
    (_begins(b"II+\0\x08\0\0\0"), "image/tiff"),  # BigTIFF
    (_begins(b"MM\0+\0\x08\0\0"), "image/tiff"),
    (_is_flac, "audio/flac"),
    (_begins(b"OggS\0"), "audio/ogg"),
    (lambda data: data[:4] == b"FLV\1" and data[5:9] == b"\0\0\0\x09", "video/x-flv"),
)


def _iso(data: bytes) -> str | None:
    """ISO/IEC 14496-12, 4.3: by the major brand; a general one leaves it to others."""
    if data[4:8] != b"ftyp":
        return None
    major = data[8:12]
    if major not in _GENERAL:
        return _BRANDS.get(major)
    size = min(int.from_bytes(data[:4], "big"), _HEAD)
    for at in range(16, size, 4):
        name = _BRANDS.get(data[at : at + 4], "")
        if name.startswith("image/"):
            return name
    return "image/heif"


def _matroska(data: bytes) -> str | None:
    """RFC 8794, 11.2.4: an EBML header with the document's type."""
    if data[:4] != b"\x1a\x45\xdf\xa3":
        return None
    at = data.find(b"\x42\x82", 4, 64)
    size = data[at + 2 : at + 3] if at > 0 else b""
    kind = data[at + 3 : at + 3 + (size[0] & 0x7F)] if size else b""
    names = {b"webm": "video/webm", b"matroska": "video/x-matroska"}
    return names.get(kind.rstrip(b"\0"))


def _zip(data: bytes) -> str | None:
    """APPNOTE 4.3.6: by what is in it, as far as its directory can be read."""
    if data[:4] not in (b"PK\3\4", b"PK\5\6"):
        return None
    if data[30:58] == _EPUB:
        return "application/epub+zip"
    end = data.rfind(b"PK\5\6", max(0, len(data) - 65_557))
    if end < 0 or int.from_bytes(data[end + 10 : end + 12], "little") >= _MEMBERS:
        return "application/zip"
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
    except _UNREADABLE:
        return "application/zip"
    if "[Content_Types].xml" in names:
        for folder, name in _OFFICE.items():
            if any(member.startswith(folder) for member in names):
                return name
    return "application/zip"


def _mpeg(data: bytes) -> str | None:
    """An ID3v2 tag, or two frames of layer III (ISO/IEC 11172-3, 2.4.2.3)."""
    if data[:3] == b"ID3" and data[3:4] in (b"\2", b"\3", b"\4"):
        size = data[6:10]
        if len(size) < 4 or max(size) > 0x7F:
            return None
        at = 10 + (size[0] << 21 | size[1] << 14 | size[2] << 7 | size[3])
        return "audio/flac" if _is_flac(data[at : at + 8]) else "audio/mpeg"
    first = _frame(data[:4])
    second = _frame(data[first : first + 4]) if first else 0
    return "audio/mpeg" if second else None


def _frame(head: bytes) -> int:
    """Bytes of the frame with this header; 0 if it is none."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return 0
    version, rate, sampling = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or not 0 < rate < 15 or sampling == 3:
        return 0
    newest = version == 3
    kilobits = _RATES[0 if newest else 1][rate - 1]
    samples = _SAMPLES[version][sampling]
    return (144 if newest else 72) * kilobits * 1000 // samples + (head[2] >> 1 & 1)


def _is_svg(head: bytes) -> bool:
    """Whether the root of an XML document is SVG's, whatever stands before it."""
    rest = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    while not rest.startswith(b"<svg"):
        end = next((e for s, e in _BEFORE if rest.startswith(s)), None)
        if end is None:
            return False
        _, found, rest = rest.partition(end)
        if not found:
            return False
        rest = rest.lstrip()
    return _SVG.match(rest) is not None
