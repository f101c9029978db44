"""The label of a picture lies in its XMP; pixels and other metadata stay."""

import io
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import pytest
from benchmarks.conformance.containers import box, picture
from PIL import Image, PngImagePlugin
from tests.labels.carriers import (
    DRAWN,
    LABEL,
    OTHER,
    PICTURES,
    exiftool,
    files,
    labelled,
    labels,
    pixels,
)

from watermark.api import Watermark
from watermark.assets import DamagedAsset
from watermark.errors import LabelError, UnsupportedFormat
from watermark.labels import containers, xmp

ELEMENT = f"<TC260:AIGC>{escape(LABEL.decode())}</TC260:AIGC>".encode()
PACKET = xmp.with_label(None, LABEL)
LOOSE = b'{"AIGC":' + OTHER + b"}"

# Where TC260-PG-20259A places it, byte by byte.
PLACES: dict[str, Callable[[bytes], bytes]] = {
    "image/jpeg": lambda data: (
        b"\xff\xe1"
        + struct.pack(">H", len(PACKET) + 31)
        + b"http://ns.adobe.com/xap/1.0/\0"
        + PACKET
    ),
    "image/png": lambda data: png_chunk(
        b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + PACKET
    ),
    "image/gif": lambda data: (
        b"\x21\xff\x0bXMP DataXMP" + PACKET + b"\1" + bytes(range(255, -1, -1)) + b"\0"
    ),
    "image/tiff": lambda data: struct.pack(
        "<HHII", 700, 7, len(PACKET), data.index(PACKET)
    ),
    "image/avif": lambda data: b"mime\0application/rdf+xml\0",
    "image/heic": lambda data: b"mime\0application/rdf+xml\0",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Watermark:
    return Watermark.create(tmp_path_factory.mktemp("acme") / "home", provider="Acme")


def png_chunk(name: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + check


def loose_jpeg(kind: str) -> bytes:
    """A JPEG with a label where it should not be."""
    data, exif = files()["image/jpeg"], Image.Exif()
    if kind == "segment":
        return (
            data[:2]
            + b"\xff\xe2"
            + struct.pack(">H", len(OTHER) + 6)
            + (b"AIGC" + OTHER + data[2:])
        )
    if kind == "comment":
        exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0" + LOOSE
    else:
        exif[0x010E] = LOOSE.decode()
    exif[0x010F] = "Lamp & Sons"
    output = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        image.save(output, "JPEG", exif=exif, quality="keep")
    return output.getvalue()


@pytest.mark.parametrize("media_type", PICTURES)
def test_cn_01_the_label_lies_where_the_guide_says(media_type: str) -> None:
    data = labelled(files()[media_type], media_type)

    assert labels(data, media_type) == [LABEL]
    assert containers.read_xmp(io.BytesIO(data), media_type) == PACKET
    assert data.count(ELEMENT) == 1
    assert data.count(PLACES[media_type](data)) == 1
    if media_type == "image/png":
        assert data.index(ELEMENT) < data.index(b"IDAT")


@pytest.mark.parametrize("media_type", PICTURES)
def test_cn_01_exiftool_reads_the_label(media_type: str, tmp_path: Path) -> None:
    data = labelled(files()[media_type], media_type)
    suffix = "." + media_type.removeprefix("image/")

    assert exiftool(data, tmp_path, suffix, "XMP-TC260:all") == LABEL.decode() + "\n"


@pytest.mark.parametrize("media_type", PICTURES)
def test_cn_02_two_writes_leave_one_label(media_type: str) -> None:
    once = labelled(files()[media_type], media_type)
    with pytest.raises(LabelError, match=r"GB 45438-2025, 6\.1 c\)"):
        labelled(once, media_type)
    twice = labelled(once, media_type, OTHER, replace=True)

    assert labels(twice, media_type) == [OTHER]
    assert twice.count(b"TC260:AIGC>") == 2  # the two tags of one element
    assert ELEMENT not in twice


@pytest.mark.parametrize("media_type", PICTURES)
def test_cn_03_other_properties_stay(media_type: str) -> None:
    target = io.BytesIO()
    before = xmp.put(None, {xmp.AI_SYSTEM_USED: "acme", xmp.AIGC: OTHER.decode()})
    source = io.BytesIO(files()[media_type])
    containers.write_xmp(source, target, media_type, before)
    data = labelled(target.getvalue(), media_type, replace=True)
    after = containers.read_xmp(io.BytesIO(data), media_type)

    assert after == xmp.with_label(before, LABEL)
    assert xmp.get(after, xmp.AI_SYSTEM_USED) == ["acme"]


@pytest.mark.parametrize("media_type", [*DRAWN, "animated", "sequence", "big"])
def test_cn_14_every_pixel_stays(media_type: str) -> None:
    output = io.BytesIO()
    frames = [Image.open(io.BytesIO(picture("PNG"))).rotate(a) for a in (0, 90, 180)]
    more = {"save_all": True, "append_images": frames[1:]}
    if media_type == "animated":
        media_type = "image/gif"
        frames[0].save(output, "GIF", loop=3, duration=[10, 20, 30], **more)
    elif media_type == "sequence":
        media_type = "image/avif"
        frames[0].save(output, "AVIF", **more)
    elif media_type == "big":
        media_type = "image/tiff"
        frames[0].save(output, "TIFF", big_tiff=True, **more)
    before = output.getvalue() or files()[media_type]
    after = labelled(labelled(before, media_type), media_type, OTHER, replace=True)

    shown = pixels(before)
    assert len(shown) == (3 if output.getvalue() else 1)
    for one, other in zip(shown, pixels(after), strict=True):
        np.testing.assert_array_equal(one, other)


def test_cn_14_the_media_of_a_heic_file_moves_as_a_whole() -> None:
    before = files()["image/heic"]
    after = labelled(before, "image/heic")
    media = before[before.index(b"mdat") + 4 :]

    assert after.count(media) == 1
    # The one offset that was there points to the same bytes.
    was = struct.pack(">I", before.index(media))
    now = struct.pack(">I", after.index(media))
    assert was in before[: before.index(b"mdat")]
    assert now in after[: after.index(b"mdat")]


@pytest.mark.parametrize("media_type", PICTURES)
def test_a_picture_that_is_signed_after_is_trusted(
    home: Watermark, media_type: str
) -> None:
    data = labelled(files()[media_type], media_type)
    with pytest.warns(UserWarning, match="carries no mark"):
        signed = home.embed(data, mark=False).data
    report = home.verify(signed)

    states = [each.state for each in report.evidence if each.layer == "manifest"]
    assert states == ["trusted"]
    assert labels(signed, media_type) == [LABEL]


@pytest.mark.parametrize("kind", ["segment", "comment", "description"])
def test_cn_08_labels_in_other_places_of_a_jpeg_are_read_and_replaced(
    kind: str,
) -> None:
    data = loose_jpeg(kind)
    expected = b"AIGC" + OTHER if kind == "segment" else LOOSE

    assert labels(data, "image/jpeg") == [expected]
    with pytest.raises(LabelError, match="1 label found"):
        labelled(data, "image/jpeg")
    after = labelled(data, "image/jpeg", replace=True)
    assert labels(after, "image/jpeg") == [LABEL]
    assert OTHER not in after
    with Image.open(io.BytesIO(after)) as image:
        assert image.getexif().get(0x010F) == (
            None if kind == "segment" else "Lamp & Sons"
        )


@pytest.mark.parametrize("name", ["tEXt", "zTXt", "iTXt", "eXIf", "packed XMP"])
def test_cn_08_labels_in_other_chunks_of_a_png_are_read_and_replaced(name: str) -> None:
    output, about = io.BytesIO(), PngImagePlugin.PngInfo()
    about.add_text("Comment", "AIGC")
    exif = Image.Exif()
    expected = LOOSE
    if name == "eXIf":
        exif[0x010E] = LOOSE.decode()
    elif name == "packed XMP":
        packet = xmp.with_label(None, OTHER).decode()
        about.add_itxt("XML:com.adobe.xmp", packet, zip=True)
        expected = OTHER
    elif name == "iTXt":
        about.add_itxt("AIGC", LOOSE.decode(), zip=True)
    else:
        about.add_text("AIGC", LOOSE.decode(), zip=name == "zTXt")
    with Image.open(io.BytesIO(files()["image/png"])) as image:
        image.save(output, "PNG", pnginfo=about, exif=exif)
    data = output.getvalue()

    assert labels(data, "image/png") == [expected]
    after = labelled(data, "image/png", replace=True)
    assert labels(after, "image/png") == [LABEL]
    with Image.open(io.BytesIO(after)) as image:
        assert image.info["Comment"] == "AIGC"


def test_a_description_that_is_no_label_is_left_alone() -> None:
    output, exif = io.BytesIO(), Image.Exif()
    exif[0x010E] = '{"label":"a cat"}'
    with Image.open(io.BytesIO(files()["image/png"])) as image:
        image.save(output, "TIFF", exif=exif)

    assert labels(output.getvalue(), "image/tiff") == []


def test_extended_xmp_of_a_jpeg_is_read_and_is_not_written_over() -> None:
    data = files()["image/jpeg"]
    packet = xmp.with_label(None, OTHER)
    head = b"http://ns.adobe.com/xmp/extension/\0" + b"D" * 32
    parts = b""
    for at in (200, 0):  # out of order
        piece = packet[at:] if at else packet[:200]
        content = head + struct.pack(">II", len(packet), at) + piece
        parts += b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content
    data = data[:2] + parts + data[2:]

    assert labels(data, "image/jpeg") == [OTHER]
    with pytest.raises(LabelError, match="2 labels read back"):
        labelled(data, "image/jpeg", replace=True)


def test_a_packet_that_no_segment_holds_is_refused() -> None:
    long = xmp.put(None, {xmp.AI_SYSTEM_USED: "a" * 65_600})
    with pytest.raises(UnsupportedFormat, match="holds no more in one segment"):
        containers.write_xmp(
            io.BytesIO(files()["image/jpeg"]), io.BytesIO(), "image/jpeg", long
        )


@pytest.mark.parametrize(
    ("media_type", "data"),
    [
        ("image/jpeg", b""),
        ("image/jpeg", b"\xff\xd8\xff\xe1\0\1"),
        ("image/jpeg", b"\xff\xd8" + b"\xff\xfe\0\2" * 9000),
        ("image/png", b"\x89PNG\r\n\x1a\n" + b"\xff" * 12),
        ("image/png", files()["image/png"][:-1]),
        ("image/jpeg", b"\xff\xd8" + b"\xff" * 90 + files()["image/jpeg"][2:]),
        ("image/gif", b"GIF89a" + bytes(20)),
        ("image/gif", b"GIF89a" + bytes(7) + b"\x21\xfe" + b"\1a" * (1 << 20) + b"\0;"),
        ("image/gif", b"GIF89a" + bytes(7) + b"\x21\xfe\0" * 70_000 + b";"),
        ("image/gif", files()["image/gif"][:-1]),
        ("image/tiff", b"II*\0\xff\xff\xff\xff"),
        ("image/tiff", b"II*\0\x08\0\0\0\0\0"),
        ("image/avif", files()["image/avif"].replace(b"meta", b"free", 1)),
        ("image/avif", files()["image/avif"][:-1]),
    ],
)
def test_cn_15_what_cannot_be_read_is_damage(media_type: str, data: bytes) -> None:
    with pytest.raises(DamagedAsset):
        labels(data, media_type)
    with pytest.raises(DamagedAsset):
        labelled(data, media_type)


def test_cn_15_items_of_more_pieces_than_bytes_are_damage() -> None:
    """Numbers of no bytes: 65,535 items take six bytes each, and as many pieces."""
    location = b"\0\0\0\0\0\0\xff\xff" + b"\0\1\0\0\xff\xff" * 65_535
    others = box(b"pitm", bytes(6)), box(b"iinf", bytes(6))
    meta = box(b"meta", bytes(4), *others, box(b"iloc", location))
    with pytest.raises(DamagedAsset, match="more than 65536 pieces"):
        labels(box(b"ftyp", b"avif") + meta, "image/avif")


def test_cn_15_a_text_that_unpacks_without_end_is_damage() -> None:
    bomb = zlib.compress(bytes(64 << 20), 9)
    chunk = png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + bomb)
    data = files()["image/png"]

    with pytest.raises(DamagedAsset, match="larger than is read"):
        labels(data[:33] + chunk + data[33:], "image/png")


@pytest.mark.parametrize(
    "media_type", ["image/bmp", "text/plain", "application/zip", ""]
)
def test_a_type_without_a_place_for_labels_is_refused(media_type: str) -> None:
    with pytest.raises(UnsupportedFormat, match="nothing says where a label lies"):
        labels(b"", media_type)


@pytest.mark.parametrize("media_type", ["image/jpeg", "image/png"])
def test_a_label_is_written_in_five_milliseconds(media_type: str) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (600, 600, 3), dtype=np.uint8)
    output = io.BytesIO()
    name = media_type.removeprefix("image/").upper()
    Image.fromarray(pixels).save(output, name, quality=100, subsampling=0)
    data = output.getvalue()
    labelled(data, media_type)
    times = []
    for _ in range(15):
        start = time.perf_counter()
        labelled(data, media_type)
        times.append(time.perf_counter() - start)

    assert len(data) > 600_000
    assert min(times) < 0.005
