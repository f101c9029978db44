"""FLV byte for byte, and the indexes in its metadata."""

from __future__ import annotations

import struct

import pytest
from tests.labels.writing import LABEL, OTHER, read, write

from watermark.assets import DamagedAsset
from watermark.errors import UnsupportedFormat

FLV = "video/x-flv"
HEAD = b"FLV\1\5" + struct.pack(">I", 9) + bytes(4)


def tag(kind: int, body: bytes, *, back: int | None = None) -> bytes:
    size = len(body) + 11
    head = bytes([kind]) + len(body).to_bytes(3, "big") + bytes(7)
    return head + body + struct.pack(">I", size if back is None else back)


def name(text: bytes) -> bytes:
    return struct.pack(">H", len(text)) + text


def number(value: float) -> bytes:
    return b"\0" + struct.pack(">d", value)


def text(value: bytes) -> bytes:
    return b"\2" + name(value)


def array(*rows: bytes) -> bytes:
    return b"\x08" + struct.pack(">I", len(rows)) + b"".join(rows) + b"\0\0\x09"


def script(*rows: bytes) -> bytes:
    return tag(18, text(b"onMetaData") + array(*rows))


MEDIA = tag(9, b"\x17picture one") + tag(8, b"\xafsound") + tag(9, b"\x17picture two")
WIDTH = name(b"width") + number(64)
ENTRY = b"\0\4AIGC\2" + name(LABEL)


def test_cn_01_cn_03_the_label_is_the_last_property() -> None:
    data = HEAD + script(WIDTH, name(b"title") + text(b"T")) + MEDIA
    wanted = HEAD + script(WIDTH, name(b"title") + text(b"T"), ENTRY) + MEDIA
    assert write(data, FLV) == wanted
    assert read(wanted, FLV) == [LABEL]
    assert write(wanted, FLV, OTHER, replace=True) == wanted.replace(LABEL, OTHER)


def test_cn_01_a_file_without_metadata_gets_some() -> None:
    assert write(HEAD + MEDIA, FLV) == HEAD + script(ENTRY) + MEDIA


def test_a_long_label_is_a_long_string() -> None:
    long = LABEL * 400
    new = write(HEAD + MEDIA, FLV, long)
    assert (
        new
        == HEAD + script(b"\0\4AIGC\x0c" + struct.pack(">I", len(long)) + long) + MEDIA
    )
    assert read(new, FLV) == [long]


def test_an_object_in_place_of_an_array() -> None:
    def data(*rows: bytes) -> bytes:
        whole = text(b"onMetaData") + b"\3" + b"".join(rows) + b"\0\0\x09"
        return HEAD + tag(18, whole) + MEDIA

    assert write(data(WIDTH), FLV) == data(WIDTH, ENTRY)


def indexed(*rows: bytes) -> bytes:
    """A file that says where both pictures are, and how long it is."""
    places = list[float]()
    data = b""
    for _ in range(2):
        numbers = [*places, 0.0, 0.0][:2]
        positions = b"\x0a" + struct.pack(">I", 2) + b"".join(map(number, numbers))
        times = b"\x0a" + struct.pack(">I", 2) + number(0) + number(5000)
        frames = name(b"filepositions") + positions + name(b"times") + times
        size = float(len(data)) if data else 0.0
        data = HEAD + script(
            name(b"hasKeyframes") + b"\1\1",
            name(b"keyframes") + b"\3" + frames + b"\0\0\x09",
            name(b"filesize") + number(size),
            name(b"date") + b"\x0b" + bytes(10),
            name(b"none") + b"\5",
            name(b"lastkeyframelocation") + number(numbers[1]),
            *rows,
        )
        data += MEDIA
        places = [
            data.index(b"\x17picture one") - 11.0,
            data.index(b"\x17picture two") - 11.0,
        ]
    return data


def test_cn_14_positions_and_size_are_those_of_the_new_file() -> None:
    """The times, which are as large as positions, stay."""
    assert write(indexed(), FLV) == indexed(ENTRY)
    old = b"\0\4AIGC\2" + name(OTHER * 9)
    assert read(indexed(old), FLV) == [OTHER * 9]
    assert write(indexed(old), FLV, replace=True) == indexed(ENTRY)


def test_every_label_leaves_but_the_new_one() -> None:
    small = b"\0\4aigc\2" + name(OTHER)
    other = b"\0\4AIGC" + number(1)
    data = HEAD + script(small, WIDTH, other) + MEDIA + script(small) + MEDIA
    assert read(data, FLV) == [OTHER, number(1), OTHER]
    assert write(data, FLV, replace=True) == (
        HEAD + script(WIDTH, ENTRY) + MEDIA + script() + MEDIA
    )


def test_other_scripts_stay() -> None:
    cue = tag(18, text(b"onCuePoint") + b"\x09 not AMF")
    data = HEAD + cue + script(WIDTH) + MEDIA
    assert write(data, FLV) == HEAD + cue + script(WIDTH, ENTRY) + MEDIA


def test_sizes_behind_tags_as_some_write_them() -> None:
    for back in (0, 6):
        data = HEAD + script(WIDTH) + tag(8, b"\xafsound", back=back)
        assert read(data, FLV) == []
    assert read(write((HEAD + script(WIDTH))[:-4], FLV), FLV) == [LABEL]


DEEP = b"".join(b"\3" + name(b"a") for _ in range(12)) + b"\5" + b"\0\0\x09" * 12


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (HEAD, "no tag"),
        (b"F4V" + HEAD[3:] + MEDIA, "expected FLV"),
        (HEAD[:-1] + b"\1" + MEDIA, "expected 0"),
        (HEAD + MEDIA[:-5], "found at byte|ends at byte"),
        (HEAD + MEDIA[:-6], "found at byte"),
        (HEAD + tag(7, b"body") + MEDIA, "type 7"),
        (HEAD + tag(8, b"body", back=99) + MEDIA, "size of 99"),
        (HEAD + tag(18, text(b"onMetaData") + b"\6"), "no object"),
        (HEAD + tag(18, text(b"onMetaData") + array(WIDTH)[:-3]), "cut off"),
        (HEAD + tag(18, text(b"onMetaData") + array(WIDTH[:-2])[:-3]), "cut off"),
        (HEAD + tag(18, text(b"onMetaData") + array() + b"x"), "behind the object"),
        (HEAD + script(name(b"x") + b"\x0e"), "type 14"),
        (HEAD + script(name(b"x") + DEEP), "nested"),
        (HEAD + script(name(b"x") + b"\x0a\xff\xff\xff\xff"), "type|cut off"),
        (HEAD + script(*[WIDTH] * 150_000), "expected <= 2097152"),
        (HEAD + script() * 65, "more than 64"),
    ],
)  # fmt: skip
def test_cn_15_an_flv_that_is_not_whole(data: bytes, why: str) -> None:
    for act in (read, write):
        with pytest.raises(DamagedAsset, match=why):
            act(data, FLV)


def test_metadata_beyond_a_tag_is_refused() -> None:
    with pytest.raises(UnsupportedFormat, match="16777215"):
        write(HEAD + MEDIA, FLV, b"x" * (1 << 24))
