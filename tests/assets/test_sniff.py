"""A type is told by content, never by a name, and only from the allow-list."""

import io

import pytest
from PIL import Image

from watermark import assets
from watermark.assets import DamagedAsset
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
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "text/plain"),
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
        picture("GIF"),
        picture("TIFF"),
        picture("BMP"),
        b"RIFF\x24\0\0\0AVI LIST",
        b"\0\0\0\x18ftypM4A \0\0\0\0",
        b"\0\0\0\x18ftypheic\0\0\0\0",
        b"\0\0\0\x18ftypavif\0\0\0\0",
        b"PK\3\4\x14\0\0\0",
        b"\x7fELF\2\1\1\0",
    ],
)
def test_everything_else_is_unknown(data: bytes) -> None:
    assert assets.sniff(data) is None


def test_a_character_across_the_sniffing_limit_is_text() -> None:
    data = b"x" * (assets.SNIFFED_TEXT - 1) + "灯".encode()

    assert assets.sniff(data) == "text/plain"


def test_every_type_has_a_kind_and_a_suffix_that_leads_back() -> None:
    for name, media_type in assets.MEDIA_TYPES.items():
        assert assets.kind_of(name) == media_type.kind
        for suffix in media_type.suffixes:
            assert assets.media_type_for_suffix(suffix.upper()) == name


@pytest.mark.parametrize("name", ["", "image/gif", "text/html"])
def test_an_unlisted_type_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedFormat, match="expected one of image/png"):
        assets.kind_of(name)


@pytest.mark.parametrize("suffix", ["", "png", ".gif", ".docx"])
def test_an_unlisted_suffix_is_refused(suffix: str) -> None:
    with pytest.raises(UnsupportedFormat, match=r"expected one of \.png"):
        assets.media_type_for_suffix(suffix)


def test_a_file_over_its_limit_is_refused() -> None:
    assets.check_size(bytes(assets.TEXT_BYTES), "text/plain")
    with pytest.raises(DamagedAsset, match="expected at most 16777216"):
        assets.check_size(bytes(assets.TEXT_BYTES + 1), "text/plain")
