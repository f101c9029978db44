"""A type is told by content, never by a name, and only from the allow-list."""

import io

import pytest
from benchmarks.conformance.containers import containers, flac, mp3, zipped
from PIL import Image

from watermark import assets
from watermark.assets import OOXML, DamagedAsset
from watermark.errors import UnsupportedFormat


def picture(kind: str) -> bytes:
    output = io.BytesIO()
    Image.new("RGB", (3, 2), "teal").save(output, kind)
    return output.getvalue()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (picture("PNG"), "image/png"),
        (picture("JPEG"), "image/jpeg"),
        (picture("WEBP"), "image/webp"),
        (picture("PDF"), "application/pdf"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "audio/wav"),
        (b"\0\0\0\x18ftypisom\0\0\2\0isomiso2", "video/mp4"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", "video/mp4"),
        ("灯台 naïve\n".encode(), "text/plain"),
        (b"\xef\xbb\xbfwith a mark", "text/plain"),
        (picture("GIF"), "image/gif"),
        (picture("TIFF"), "image/tiff"),
        (picture("AVIF"), "image/avif"),
        (b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0", "image/tiff"),
        (b"\0\0\0\x18ftypheix\0\0\0\0mif1heix", "image/heic"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "image/heic"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", "image/avif"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1unci", "image/heif"),
        (b"\0\0\0\x18ftypM4A \0\0\0\0", "audio/mp4"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "video/quicktime"),
        (b"RIFF\x24\0\0\0AVI LIST", "video/avi"),
        (b"\x1a\x45\xdf\xa3\x93\x42\x82\x88matroska", "video/x-matroska"),
        (b"\x1a\x45\xdf\xa3\x8f\x42\x82\x84webm", "video/webm"),
        (b"FLV\1\5\0\0\0\x09\0\0\0\0", "video/x-flv"),
        (b"OggS\0\2" + bytes(20), "audio/ogg"),
        (mp3(), "audio/mpeg"),
        (mp3()[10:], "audio/mpeg"),
        (b"ID3\4\0\0\0\0\0\0" + flac(), "audio/flac"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"),
        (
            b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- a --><!-- b --> "
            b"<svg id='x' xmlns='http://www.w3.org/2000/svg'/>",
            "image/svg+xml",
        ),
        (
            zipped({"[Content_Types].xml": b"", "xl/a.xml": b""}),
            OOXML + "spreadsheetml.sheet",
        ),
        (
            zipped({"[Content_Types].xml": b"", "ppt/a.xml": b""}),
            OOXML + "presentationml.presentation",
        ),
        (zipped({"word/document.xml": b""}), "application/zip"),
        (b"PK\3\4\x14\0\0\0", "application/zip"),
    ],
)
def test_known_types_are_told_by_their_first_bytes(data: bytes, expected: str) -> None:
    assert assets.sniff(data) == expected


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"text with a \0 in it",
        "lone \ud800".encode("utf-8", "surrogatepass"),
        b"latin-1 na\xefve",
        b"cut in a character \xe7\x81",
        picture("BMP"),
        b"RIFF\x24\0\0\0ACONLIST",
        b"\0\0\0\x18ftypcrx \0\0\0\0",  # a camera's raw file
        b"\x1a\x45\xdf\xa3\x42\x82\x84abcd",
        b"fLaC\0\0\0\1\xff",
        mp3()[10 : 10 + 417],  # one frame alone: any two bytes may look like one
        b"\x7fELF\2\1\1\0",
    ],
)
def test_everything_else_is_unknown(data: bytes) -> None:
    assert assets.sniff(data) is None


@pytest.mark.parametrize(
    "data",
    [
        b"GIF89a is a format",
        b"ID3 tags are older",
        b"fLaC and OggS begin so",
        b"II* or MM\n",
        b"FLV\1 and more",
        b"PK",
        b"ftypisom",
        b"<?xml version='1.0'?><html xmlns='http://www.w3.org/1999/xhtml'><svg/></html>",
        b"<svg>without its namespace</svg>",
        b"<!-- a comment that does not end <svg xmlns='http://www.w3.org/2000/svg'>",
        b"<!doctype html><p>",
    ],
)
def test_a_text_about_a_type_is_a_text(data: bytes) -> None:
    assert assets.sniff(data) == "text/plain"


@pytest.mark.parametrize("name", containers())
def test_a_file_of_each_type_that_is_signed_is_told(name: str) -> None:
    assert assets.sniff(containers()[name]) == name


@pytest.mark.parametrize(
    ("data", "suffix", "expected"),
    [
        (b"# A heading", ".md", "text/markdown"),
        (b"# A heading", ".MARKDOWN", "text/markdown"),
        (b"# A heading", "", "text/plain"),
        (b"<!doctype html><p>", "", "text/html"),
        (b"\xef\xbb\xbf\n<!-- > -->\n<HTML lang=en>", ".txt", "text/html"),
        (b"<p>Half a page", ".htm", "text/html"),
        (b"<p>Half a page", "", "text/plain"),
        (b"<!--" * 2000, "", "text/plain"),
        (picture("PNG"), ".md", "image/png"),
        (b"\0", ".md", None),
    ],
)
def test_a_label_has_its_own_place_in_markdown_and_html(
    data: bytes, suffix: str, expected: str | None
) -> None:
    assert assets.format_of(data, suffix) == expected


def test_a_character_across_the_sniffing_limit_is_text() -> None:
    data = b"x" * (assets.SNIFFED_TEXT - 1) + "灯".encode()

    assert assets.sniff(data) == "text/plain"


def test_every_type_has_a_kind_and_a_suffix_that_leads_back() -> None:
    for name, media_type in assets.MEDIA_TYPES.items():
        assert assets.kind_of(name) == media_type.kind
        for suffix in media_type.suffixes:
            assert assets.media_type_for_suffix(suffix.upper()) == name


@pytest.mark.parametrize("name", ["", "image/bmp", "text/html"])
def test_an_unlisted_type_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedFormat, match="expected one of image/png"):
        assets.kind_of(name)


@pytest.mark.parametrize("suffix", ["", "png", ".bmp", ".doc"])
def test_an_unlisted_suffix_is_refused(suffix: str) -> None:
    with pytest.raises(UnsupportedFormat, match=r"expected one of \.png"):
        assets.media_type_for_suffix(suffix)


def test_a_file_over_its_limit_is_refused() -> None:
    assets.check_size(bytes(assets.TEXT_BYTES), "text/plain")
    with pytest.raises(DamagedAsset, match="expected at most 16777216"):
        assets.check_size(bytes(assets.TEXT_BYTES + 1), "text/plain")
