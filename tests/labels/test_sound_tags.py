"""MP3, FLAC and Ogg byte for byte."""

from __future__ import annotations

import struct
import zlib

import pytest
from benchmarks.conformance.containers import flac
from tests.labels.writing import AIGC, LABEL, OTHER, comments, read, write

from watermark.assets import DamagedAsset
from watermark.errors import UnsupportedFormat

MP3, FLAC, OGG = "audio/mpeg", "audio/flac", "audio/ogg"
SOUND = (bytes.fromhex("fffb9000") + bytes(413)) * 3


def synchsafe(size: int) -> bytes:
    return bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))


def frame(name: bytes, body: bytes, version: int = 3, flags: bytes = b"\0\0") -> bytes:
    if version == 2:
        return name + len(body).to_bytes(3, "big") + body
    size = synchsafe(len(body)) if version == 4 else struct.pack(">I", len(body))
    return name + size + flags + body


def tag(body: bytes, version: int = 3, flags: int = 0) -> bytes:
    return b"ID3" + bytes([version, 0, flags]) + synchsafe(len(body)) + body


def label_frame(version: int = 3, label: bytes = LABEL) -> bytes:
    name = b"TXX" if version == 2 else b"TXXX"
    return frame(name, b"\0AIGC\0" + label, version)


TITLE = frame(b"TIT2", b"\0A title")


def test_cn_01_an_mp3_without_a_tag_gets_one() -> None:
    assert write(SOUND, MP3) == tag(label_frame()) + SOUND


@pytest.mark.parametrize("version", [2, 3, 4])
def test_cn_01_cn_03_the_frame_joins_a_tag_in_its_version(version: int) -> None:
    title = frame(b"TT2" if version == 2 else b"TIT2", b"\0" + b"T" * 200, version)
    new = write(tag(title, version) + SOUND, MP3)
    assert new == tag(label_frame(version) + title, version) + SOUND
    assert read(new, MP3) == [LABEL]


def test_padding_is_used_up_first() -> None:
    room = len(label_frame())
    for padding in (room, room + 100):
        data = tag(TITLE + bytes(padding)) + SOUND
        new = write(data, MP3)
        assert new == tag(label_frame() + TITLE + bytes(padding - room)) + SOUND
        assert write(new, MP3, OTHER, replace=True) == new.replace(LABEL, OTHER)
    tight = write(tag(TITLE + bytes(room - 1)) + SOUND, MP3)
    assert tight == tag(label_frame() + TITLE) + SOUND


def utf16(text: bytes) -> bytes:
    return text.decode().encode("utf-16")


WIDE = b"\1" + utf16(b"AIGC") + b"\0\0" + utf16(OTHER)  # with an order mark ff fe
OTHERS = {
    "UTF-8": tag(frame(b"TXXX", b"\3AIGC\0" + OTHER + b"\0", 4), 4),
    "UTF-16": tag(frame(b"TXXX", WIDE)),
    "UTF-16BE": tag(
        frame(b"TXXX", b"\2\0A\0I\0G\0C\0\0" + OTHER.decode().encode("utf-16-be"), 4), 4
    ),
    "small letters": tag(frame(b"TXXX", b"\0aigc\0" + OTHER)),
    "second tag": tag(TITLE) + tag(label_frame(4, OTHER), 4),
    "packed": tag(
        frame(
            b"TXXX",
            struct.pack(">I", 6 + len(OTHER)) + zlib.compress(b"\0AIGC\0" + OTHER),
            3,
            b"\0\x80",
        )
    ),
    "grouped, length said": tag(
        frame(b"TXXX", b"\7" + synchsafe(200) + b"\0AIGC\0" + OTHER, 4, b"\0\x41"), 4
    ),
    "unsynchronised frame": tag(
        frame(
            b"TXXX",
            WIDE.replace(b"\xff", b"\xff\0"),
            4,
            b"\0\2",
        ),
        4,
    ),
    "unsynchronised tag": tag(
        frame(b"TXXX", WIDE).replace(b"\xff", b"\xff\0"),
        3,
        0x80,
    ),
    "iTunes' sizes": tag(
        frame(b"TIT2", b"\0" + b"T" * 300) + frame(b"TXXX", b"\0AIGC\0" + OTHER), 4
    ),
    "extended header of 2.3": tag(bytes.fromhex("00000006000000000000")
        + label_frame(3, OTHER), 3, 0x40),
    "extended header of 2.4": tag(bytes.fromhex("000000060100")
        + label_frame(4, OTHER), 4, 0x40),
    "footer": tag(label_frame(4, OTHER), 4, 0x10)
    + tag(label_frame(4, OTHER), 4, 0x10)[:10].replace(b"ID3", b"3DI"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_cn_08_other_writers_frames_are_read_and_replaced(name: str) -> None:
    data = OTHERS[name] + SOUND
    assert read(data, MP3) == [OTHER]
    new = write(data, MP3, replace=True)
    assert read(new, MP3) == [LABEL]
    assert new.endswith(SOUND)
    for text in (OTHER[20:], utf16(OTHER)[40:]):
        assert text not in new


def test_an_unsynchronised_tag_stays_one() -> None:
    """Its other frames hold what looks like sound."""
    picture = frame(b"APIC", b"\0image/jpeg\0\3\0\xff\xd8\xff\xe0\xff\0\xff")
    stored = picture.replace(b"\xff\0", b"\xff\0\0").replace(b"\xff\xe0", b"\xff\0\xe0")
    data = tag(stored + b"\0" * 10, 3, 0x80) + SOUND
    new = write(data, MP3)
    assert stored in new
    assert new[5] == 0x80
    assert read(new, MP3) == [LABEL]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "ends at byte|nothing found"),
        (b"\0" * 2000, "nothing found"),
        (b"RIFF" + SOUND, "expected the header"),
        (tag(label_frame())[:-1], "cut off"),
        (tag(label_frame()), "nothing found"),
        (tag(label_frame()) + SOUND[2:], "expected the header"),
        (tag(label_frame(), 5) + SOUND, "2.5"),
        (tag(label_frame()[:-9]) + SOUND, "a frame b'TXXX'"),
        (tag(label_frame() + b"\0" * 20 + b"x") + SOUND, "padding"),
        (tag(b"txxx" + label_frame()[4:]) + SOUND, "a frame b'txxx'"),
        (tag(frame(b"TXXX", b"\7AIGC\0" + OTHER)) + SOUND, "encoding 07"),
        (tag(frame(b"TXXX", b"\0" + OTHER, 3, b"\0\x40")) + SOUND, "encrypted"),
        (tag(frame(b"TXXX", bytes(4) + OTHER, 3, b"\0\x80")) + SOUND, "compressed"),
        (tag(frame(b"TXXX", b"\2\xd8\0\0\0x")) + SOUND, "is not in utf-16"),
        (tag(frame(b"TXXX", b"\2\0A\0I\0G\0C\0\0x")) + SOUND, "is not in utf-16"),
        (tag(b"\0\1\0\0" + label_frame(), 3, 0x40) + SOUND, "extended header"),
        (tag(label_frame(2), 2, 0x40) + SOUND, "2.2 tag is compressed"),
        (tag(label_frame(4), 4, 0x10) + SOUND, "no footer"),
    ],
)
def test_cn_15_an_mp3_that_is_not_whole(data: bytes, why: str) -> None:
    for act in (read, write):
        with pytest.raises(DamagedAsset, match=why):
            act(data, MP3)


def block(kind: int, body: bytes, last: bool = False) -> bytes:
    return bytes([kind | 0x80 * last]) + len(body).to_bytes(3, "big") + body


STREAMINFO = flac()[8:42]
FRAME = flac()[42:]


def test_cn_01_a_flac_without_comments_gets_some_behind_its_streaminfo() -> None:
    made = comments(AIGC, vendor=b"watermark")
    wanted = b"fLaC" + block(0, STREAMINFO) + block(4, made, last=True) + FRAME
    assert write(flac(), FLAC) == wanted
    assert write(wanted, FLAC, OTHER, replace=True) == wanted.replace(LABEL, OTHER)


def test_cn_03_other_blocks_and_comments_of_a_flac_stay() -> None:
    drawn = struct.pack(">II4sI3s16sI2s", 3, 4, b"a/bc", 3, b"abc", bytes(16), 2, b"xy")
    seek, picture = block(3, bytes(18)), block(6, drawn)
    old = block(4, comments(b"TITLE=T", b"aigc=" + OTHER, b"ARTIST=A=B", b"AIGC=2"))
    data = b"fLaC" + block(0, STREAMINFO) + seek + old + block(6, drawn, True) + FRAME
    assert read(data, FLAC) == [OTHER, b"2"]
    new = block(4, comments(b"TITLE=T", b"ARTIST=A=B", AIGC))
    wanted = b"fLaC" + block(0, STREAMINFO) + seek + new + picture
    spare = len(old) - len(new)
    assert spare >= 4
    wanted += block(1, bytes(spare - 4), True) + FRAME
    assert write(data, FLAC, replace=True) == wanted


@pytest.mark.parametrize("left", [0, 4, 300])
def test_padding_of_a_flac_gives_the_room(left: int) -> None:
    old = block(4, comments(b"TITLE=T"))
    room = len(AIGC) + 4 + left
    padded = block(1, bytes(room - 100)) + block(1, bytes(92), True)
    data = b"fLaC" + block(0, STREAMINFO) + old + padded + FRAME
    new = write(data, FLAC)
    assert len(new) == len(data)
    wanted = block(4, comments(b"TITLE=T", AIGC), last=not left)
    wanted += block(1, bytes(left - 4), True) if left else b""
    assert new == b"fLaC" + block(0, STREAMINFO) + wanted + FRAME


def test_a_flac_with_an_id3_tag_in_front() -> None:
    data = tag(TITLE + label_frame(3, OTHER)) + flac()
    assert read(data, FLAC) == [OTHER]
    new = write(data, FLAC, replace=True)
    assert new == tag(TITLE + bytes(len(label_frame()))) + write(flac(), FLAC)


def stream(*blocks: bytes) -> bytes:
    """A FLAC with these blocks behind its STREAMINFO."""
    return b"".join([b"fLaC", block(0, STREAMINFO), *blocks, FRAME])


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (flac()[1:], "expected fLaC"),
        (b"fLaC" + block(4, comments(), True) + FRAME, "type 4"),
        (b"fLaC" + block(0, STREAMINFO, True), "cut off"),
        (flac().replace(FRAME, b"\xff\xfb" + FRAME), "expected a FLAC frame"),
        (stream(block(127, b"", True)), "type 127"),
        *(
            (stream(block(kind, comments(AIGC), True)), f"type {kind}")
            for kind in (0, 1, 3, 6, 7)
        ),
        (stream(block(0, STREAMINFO, True)), "type 0"),
        (stream(block(4, comments(AIGC)[:-1], True)), "Vorbis comment of 191 bytes"),
        (stream(block(4, b"\4\0\0", True)), "within a length"),
        (
            stream(block(4, comments(AIGC).replace(b"\1\0", b"\0\0", 1), True)),
            "behind 0 comments",
        ),
    ],
)
def test_cn_15_a_flac_that_is_not_whole(data: bytes, why: str) -> None:
    with pytest.raises(DamagedAsset, match=why):
        read(data, FLAC)


def test_a_flac_whose_comments_are_full_is_refused() -> None:
    full = block(4, comments(b"A=" + b"x" * ((1 << 24) - 100)), True)
    with pytest.raises(UnsupportedFormat, match="16777215"):
        write(stream(full), FLAC)


def test_a_name_in_utf_16_ends_where_a_whole_character_is_zero() -> None:
    """The zeros of Ā, which is 00 01, and of what is before it are no end."""
    name = "AĀ".encode("utf-16-le")
    body = b"\1\xff\xfe" + name + b"\0\0" + utf16(b"value")
    data = tag(frame(b"TXXX", body) + label_frame()) + SOUND
    assert read(data, MP3) == [LABEL]
    assert write(data, MP3, OTHER, replace=True) == (
        tag(label_frame(label=OTHER) + frame(b"TXXX", body)) + SOUND
    )


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (tag(b"") * 70, "more than 64"),
        (tag(frame(b"TXXX", b"\0a\0") * 20_000), "more than 16384"),
    ],
)
def test_cn_15_a_flood_of_frames_is_damage(data: bytes, why: str) -> None:
    with pytest.raises(DamagedAsset, match=why):
        read(data + SOUND, MP3)
