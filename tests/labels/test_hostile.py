"""Files made to mislead a reader: to hide a label, or to cost it time or memory."""

import io
import re
import struct
import time
import zipfile
import zlib
from collections.abc import Callable

import pytest
from benchmarks.conformance.containers import box, mp3, zipped
from benchmarks.label_samples import streamed_pdf
from PIL import Image
from tests.labels.carriers import DOCX, LABEL, OTHER, files, labelled, labels, pdf

from watermark.assets import DamagedAsset, sniff
from watermark.errors import LabelError, UnsupportedFormat
from watermark.labels import aigc, elements, xmp
from watermark.labels.containers import heif, ooxml

PDF, HEIC, WEBP = "application/pdf", "image/heic", "image/webp"
TABLE, STREAM = labelled(pdf(), PDF), labelled(streamed_pdf(), PDF)
SECONDS = 2.0  # of the processor, for a file of a few megabytes


def changed(data: bytes, old: bytes, new: bytes) -> bytes:
    """With the last `old` as `new`."""
    head, found, tail = data.rpartition(old)
    assert found
    return head + new + tail


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(changed(TABLE, b"/AIGC (", b"/AIGC \1"), id="value"),
        pytest.param(changed(TABLE, b"/AIGC (", b"/AIGC 7 % ("), id="number"),
        pytest.param(changed(TABLE, b"/AIGC (", b"/AIGC /N % ("), id="name"),
        pytest.param(changed(TABLE, b"/Info 6 0 R", b"/Info 9 0 R"), id="no object"),
        pytest.param(changed(TABLE, b"/Info 6 0 R", b"/Info 1 0 R"), id="a stream"),
        pytest.param(
            re.sub(rb"\n\d{8}(?=\d\d 0{5} n \n)", b"\n99999999", TABLE), id="row"
        ),
        pytest.param(changed(TABLE, b"6 1\n", b"7 1\n"), id="number of the row"),
        pytest.param(changed(TABLE, b" 00000 n", b" 00x00 n"), id="generation"),
        pytest.param(changed(TABLE, b" 00000 n", b" 00000 q"), id="kind"),
        pytest.param(changed(TABLE, b" 00000 n", b" 00000 f"), id="free"),
        pytest.param(changed(TABLE, b"6 0 obj", b"5 0 obj"), id="object"),
        pytest.param(changed(STREAM, b"/Index [4", b"/Indox [4"), id="no index"),
        pytest.param(changed(STREAM, b"/Index [4", b"/Index [6"), id="index twice"),
        pytest.param(changed(STREAM, b"/Index [4", b"/Index [3"), id="other index"),
        pytest.param(changed(STREAM, b"/W [1 8 2]", b"/W [1 8 3]"), id="widths"),
    ],
)
def test_a_pdf_is_never_taken_for_its_earlier_version(data: bytes) -> None:
    with pytest.raises(DamagedAsset):
        labels(data, PDF)


@pytest.mark.parametrize(
    "value", [b"/AIGC <%s>" % LABEL.hex().encode(), b"/aigc (x)", b"/AIGC 2 0 R"]
)
def test_a_label_of_a_pdf_is_read_however_it_is_written(value: bytes) -> None:
    wanted = {b"/aigc (x)": b"x", b"/AIGC 2 0 R": b"indirect"}.get(value, LABEL)
    data = b"%PDF-1.4\n"
    objects = (b"<</Type/Catalog>>", b"(indirect)", b"<</Title (T)\n" + value + b">>")
    rows = b"0000000000 65535 f \n"
    for number, content in enumerate(objects, 1):
        rows += b"%010d 00000 n \n" % len(data)
        data += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    start = len(data)
    data += b"xref\n0 4\n" + rows + b"trailer\n<</Size 4/Root 1 0 R/Info 3 0 R>>\n"
    data += b"startxref\n%d\n%%%%EOF\n" % start

    assert labels(data, PDF) == [wanted]
    assert labels(labelled(data, PDF, replace=True), PDF) == [LABEL]


def directory(*fields: tuple[int, int, int, int]) -> bytes:
    """A TIFF file: its first directory, of tags, types, counts and values."""
    row = b"".join(struct.pack("<HHII", *field) for field in fields)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(fields)) + row + bytes(4)


WIDTH, HEIGHT, STRIPS = (256, 4, 1, 9), (257, 4, 1, 9), (273, 4, 1, 8)


def test_a_tiff_has_a_picture_in_its_first_directory() -> None:
    assert labels(directory(WIDTH, HEIGHT, STRIPS), "image/tiff") == []
    for bad in (
        directory(WIDTH, HEIGHT),
        directory(WIDTH, STRIPS),
        directory(WIDTH, (257, 2, 1, 9), STRIPS),
        directory(HEIGHT, WIDTH, STRIPS),
        directory(WIDTH, HEIGHT, STRIPS, (9999, 99, 1, 0)),
        directory(WIDTH, HEIGHT, STRIPS, (9999, 4, 3, 1 << 20)),
        directory(),
    ):
        with pytest.raises(DamagedAsset):
            labels(bad, "image/tiff")


@pytest.mark.parametrize("kind", ["WEBP", "PNG", "JPEG"])
def test_a_picture_with_an_empty_exif_block_takes_a_label(kind: str) -> None:
    output = io.BytesIO()
    Image.new("RGB", (9, 9)).save(output, kind, exif=Image.Exif().tobytes())
    media_type = f"image/{kind.lower()}"

    assert labels(labelled(output.getvalue(), media_type), media_type) == [LABEL]


def test_a_label_in_exif_is_read_behind_a_name_that_belongs_into_jpeg() -> None:
    exif = Image.Exif()
    exif[0x010E] = (b'{"AIGC":' + OTHER + b"}").decode()
    output = io.BytesIO()
    Image.new("RGB", (9, 9)).save(output, "WEBP", exif=exif)
    data = output.getvalue()
    at = data.index(b"EXIF") + 4
    (size,) = struct.unpack("<I", data[at : at + 4])
    named = struct.pack("<I", size + 6) + b"Exif\0\0" + data[at + 4 :]
    data = data[:4] + struct.pack("<I", len(data) - 2) + data[8:at] + named

    assert aigc.parse(labels(data, WEBP)[0]).label == aigc.parse(OTHER).label
    assert labels(labelled(data, WEBP, replace=True), WEBP) == [LABEL]


HEIF = labelled(files()[HEIC], HEIC)
INFE = b"infe\2\0\0\0\0\2\0\0mime\0application/rdf+xml\0"
ILOC = struct.pack(">H", 2) + b"\0\0\0\1"  # item, where it lies, and its pieces


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(changed(HEIF, ILOC, ILOC[:4] + b"\0\0"), id="no piece"),
        pytest.param(changed(HEIF, ILOC, b"\0\1" + ILOC[2:]), id="place of another"),
        pytest.param(
            changed(HEIF, b"iinf\0\0\0\0\0\2", b"iinf\0\0\0\0\0\1"), id="count"
        ),
        pytest.param(changed(HEIF, INFE, INFE.replace(b"\2", b"\1", 1)), id="version"),
        pytest.param(
            changed(HEIF, INFE, INFE.replace(b"\0\2", b"\0\1")), id="item twice"
        ),
        pytest.param(changed(HEIF, b"mime\0app", b"mime\xffapp"), id="no type"),
        pytest.param(changed(HEIF, b"iloc", b"ilox"), id="no places"),
        pytest.param(changed(HEIF, b"iinf", b"iinx"), id="no items"),
    ],
)
def test_items_of_a_heif_that_do_not_fit_together_are_damage(data: bytes) -> None:
    assert ILOC in HEIF
    with pytest.raises(DamagedAsset):
        labels(data, HEIC)


def test_items_that_all_lie_at_one_place_are_not_read_without_end() -> None:
    """Three thousand packets of a mebibyte, in a file of little more than one."""
    packet = xmp.with_label(None, LABEL) + b" " * (1 << 20)
    count, place = 3000, 1 << 18
    entry = b"\2\0\0\0%s\0\0mime\0application/rdf+xml\0"
    names = (box(b"infe", entry % struct.pack(">H", n + 1)) for n in range(count))
    where = (
        struct.pack(">HHHII", n + 1, 0, 1, place, len(packet)) for n in range(count)
    )
    meta = box(
        b"meta",
        bytes(4),
        box(b"pitm", bytes(6)),
        box(b"iinf", bytes(4), struct.pack(">H", count), *names),
        box(b"iloc", b"\0\0\0\0\x44\0", struct.pack(">H", count), *where),
    )
    start = box(b"ftyp", b"heic", bytes(4)) + meta
    data = start + box(b"mdat", bytes(place - len(start) - 8), packet)
    begun = time.thread_time()
    with pytest.raises(DamagedAsset, match="bytes of metadata"):
        labels(data, HEIC)
    assert time.thread_time() - begun < SECONDS


def test_a_heif_whose_picture_lies_in_its_list_of_items_is_refused() -> None:
    where, meta = heif._meta(io.BytesIO(files()[HEIC]))
    [extent] = meta.items[1].extents
    inside = struct.pack(">II", where.start + 9, extent.length)
    data = changed(files()[HEIC], struct.pack(">II", *extent[1:]), inside)
    with pytest.raises(UnsupportedFormat, match="lies within the box"):
        labelled(data, HEIC)


def png_with(*chunks: tuple[bytes, bytes]) -> bytes:
    data, made = files()["image/png"], b""
    for name, content in chunks:
        check = struct.pack(">I", zlib.crc32(name + content))
        made += struct.pack(">I", len(content)) + name + content + check
    return data[:33] + made + data[33:]


def compressed_frame(size: int) -> bytes:
    body = struct.pack(">I", size) + zlib.compress(b"\0AIGC\0" + bytes(size), 9)
    return b"TXXX" + struct.pack(">I", len(body)) + b"\0\x80" + body


def synchsafe(size: int) -> bytes:
    return bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))


def bomb_of_frames() -> bytes:
    frames = compressed_frame(8 << 20) * 200
    return b"ID3\3\0\0" + synchsafe(len(frames)) + frames + mp3()[10:]


def bomb_of_texts() -> bytes:
    text = b"AIGC\0\0" + zlib.compress(bytes(8 << 20), 9)
    return png_with(*[(b"zTXt", text)] * 200)


def pieces_of_xmp() -> bytes:
    """Eight thousand pieces; put together one by one they are copied each time."""
    name = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32
    part, count = b" " * 4000, 8000
    size = struct.pack(">H", len(name) + 8 + len(part) + 2)
    made = [
        b"\xff\xe1" + size + name + struct.pack(">II", count * 4000, at * 4000) + part
        for at in range(count)
    ]
    data = files()["image/jpeg"]
    return data[:2] + b"".join(made) + data[2:]


@pytest.mark.parametrize(
    ("make", "media_type"),
    [
        (bomb_of_frames, "audio/mpeg"),
        (bomb_of_texts, "image/png"),
        (pieces_of_xmp, "image/jpeg"),
    ],
)
def test_small_files_do_not_become_large_ones(
    make: Callable[[], bytes], media_type: str
) -> None:
    data = make()
    begun = time.thread_time()
    with pytest.raises(DamagedAsset):
        labels(data, media_type)
    assert time.thread_time() - begun < SECONDS


def test_a_text_that_lies_on_many_levels_is_held_once() -> None:
    depth, text = elements.MAX_DEPTH - 1, b"x" * (1 << 20)
    data = b"<a>y" * depth + text + b"</a>" * depth
    with pytest.raises(DamagedAsset, match="characters of text"):
        elements.parse(data)


def test_a_second_part_of_custom_properties_hides_no_label() -> None:
    one = labelled(files()[DOCX], DOCX)
    with zipfile.ZipFile(io.BytesIO(one)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    second = f'<Relationship Id="x" Type="{ooxml._RELATION}" Target="docProps/b.xml"/>'
    relations = members["_rels/.rels"].replace(
        b"<Relationship ", second.encode() + b"<Relationship ", 1
    )
    data = zipped({**members, "_rels/.rels": relations, "docProps/b.xml": b"<a/>"}, 8)
    with pytest.raises(DamagedAsset, match="2 parts"):
        labels(data, DOCX)


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(b"\x2c" + bytes(8) + b"\0\2\1\0\0;" + LABEL, id="more behind it"),
        pytest.param(b";", id="no picture"),
        pytest.param(b"\x2c" + bytes(9) + b"\x0d\1\0\0;", id="codes of 13 bits"),
    ],
)
def test_a_gif_ends_where_it_says(end: bytes) -> None:
    head = b"GIF89a\1\0\1\0\0\0\0"
    assert labels(head + b"\x2c" + bytes(9) + b"\2\1\0\0;\0\0", "image/gif") == []
    with pytest.raises(DamagedAsset):
        labels(head + end, "image/gif")


def test_front_matter_that_begins_with_no_key_may_hold_a_label() -> None:
    kind = "text/markdown"
    data = labelled(b"---\ntitle: The lamp\n---\n# The lamp\n", kind)

    assert labels(data.replace(b"title: ", b"title"), kind) == [LABEL]
    assert labels(b"---\nAIGC: is a word\n---\nIt turned.\n", kind) != [LABEL]
    assert labels(b"---\nA text.\nAIGC: a word\n---\nIt turned.\n", kind) == []
    with pytest.raises(DamagedAsset):
        labels(data.replace(b"title: ", b"title:\0"), kind)


def test_an_element_of_no_size_in_a_cluster_takes_nothing_with_it() -> None:
    header = bytes.fromhex("1a45dfa3 8b 4282 88") + b"matroska"
    tag = bytes.fromhex("7373 9c 63c080 67c8 96 45a3 84") + b"AIGC"
    tags = tag + bytes.fromhex("4487 8c") + b"0123456789ab"
    tags = bytes.fromhex("1254c367") + bytes([0x80 | len(tags)]) + tags
    group, whole = bytes.fromhex("a0ff"), bytes.fromhex("a080")
    segment = bytes.fromhex("18538067 01ffffffffffffff 1f43b675 01ffffffffffffff")

    found = labels(header + segment + whole + tags, "video/x-matroska")
    assert found == [b"0123456789ab"]
    with pytest.raises(DamagedAsset, match="says no size"):
        labels(header + segment + group + tags, "video/x-matroska")


@pytest.mark.parametrize("media_type", [m for m in files() if m.startswith("image/")])
def test_a_label_that_xml_cannot_hold_is_refused_with_its_clause(
    media_type: str,
) -> None:
    """A producer's values are not the platform's to change."""
    raw = '{"Label":"1","ContentProducer":"\uffff","ProduceID":"7"}'.encode()
    label = aigc.propagated(aigc.parse(raw), "a", "b")
    with pytest.raises(LabelError, match="Annex E"):
        labelled(files()[media_type], media_type, label)


def test_what_a_label_says_can_be_written_down_as_utf_8() -> None:
    found = aigc.parse(b'{"Label":"1","\\ud800":"\\udfff","ProduceID":"\\ud800"}')
    assert "unknown ?" in found.deviations
    assert found.label is not None
    "".join((*found.deviations, found.label.produce_id)).encode()


def test_a_file_that_ends_in_its_first_bytes_is_of_no_type() -> None:
    for data in files().values():
        for end in range(1, 64):
            sniff(data[:end])
    head = b"\x1a\x45\xdf\xa3\x9f\x42\x82\x88matroska"
    assert [sniff(head[:end]) for end in range(7, len(head))] == [None] * 9
    assert sniff(head) == "video/x-matroska"
