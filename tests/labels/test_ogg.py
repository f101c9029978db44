"""Ogg byte for byte: packets laid into pages anew, and all of them numbered."""

from __future__ import annotations

import struct

import pytest
from tests.labels.writing import AIGC, LABEL, OTHER, comments, read, write

from watermark.assets import DamagedAsset

OGG = "audio/ogg"
FIRST, LAST = 2, 4
OPUS = b"OpusHead" + bytes.fromhex("01013801803e0000000000")
VORBIS = b"\x01vorbis" + bytes(23)
SETUP = b"\x05vorbis" + bytes(range(256)) * 20


def crc(data: bytes) -> int:
    """RFC 3533, as it is written there: one bit after the other."""
    value = 0
    for byte in data:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value >> 31 else 0)) & 0xFFFFFFFF
    return value


def page(
    number: int, body: bytes, lacing: bytes, *, flags: int = 0, granule: int = 0,
    serial: int = 7,
) -> bytes:  # fmt: skip
    head = struct.pack("<4sBBqII", b"OggS", 0, flags, granule, serial, number)
    rest = bytes([len(lacing)]) + lacing + body
    return head + struct.pack("<I", crc(head + bytes(4) + rest)) + rest


def lacing(*packets: bytes) -> bytes:
    return b"".join(
        b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255])
        for packet in packets
    )


def whole(number: int, *packets: bytes, **more: int) -> bytes:
    """A page of whole packets."""
    return page(number, b"".join(packets), lacing(*packets), **more)


def pages(data: bytes) -> list[tuple[int, int, int, int, bytes, bytes]]:
    """Flags, granule, serial, number, lacing and body of each; checksums are right."""
    found = []
    while data:
        _, _, flags, granule, serial, number, check, count = struct.unpack_from(
            "<4sBBqIIIB", data
        )
        laces = data[27 : 27 + count]
        size = 27 + count + sum(laces)
        assert check == crc(data[:22] + bytes(4) + data[26:size])
        found.append((flags, granule, serial, number, laces, data[27 + count : size]))
        data = data[size:]
    return found


def opus(*entries: bytes, serial: int = 7) -> bytes:
    tags = b"OpusTags" + comments(*entries)
    return b"".join(
        [
            whole(0, OPUS, flags=FIRST, serial=serial),
            whole(1, tags, serial=serial),
            whole(2, b"sound", b"more", granule=960, serial=serial),
            whole(3, b"last", granule=1920, flags=LAST, serial=serial),
        ]
    )


def test_cn_01_cn_03_opus_has_one_more_comment() -> None:
    assert write(opus(b"TITLE=T"), OGG) == opus(b"TITLE=T", AIGC)
    labelled = opus(b"aigc=" + OTHER, b"TITLE=T", b"AIGC=2")
    assert read(labelled, OGG) == [OTHER, b"2"]
    assert write(labelled, OGG, replace=True) == opus(b"TITLE=T", AIGC)


def test_pages_behind_a_longer_header_are_numbered_anew() -> None:
    """And what they hold, and their clock, stays."""
    long = LABEL * 400
    new = pages(write(opus(b"TITLE=T"), OGG, long))
    assert [row[3] for row in new] == list(range(5))
    head, first, second, sound, last = new
    assert head == pages(opus())[0]
    assert (first[0], first[1], len(first[4])) == (0, -1, 255)
    assert (second[0], second[1]) == (1, 0)
    tags = b"OpusTags" + comments(b"TITLE=T", b"AIGC=" + long)
    assert first[5] + second[5] == tags
    assert first[4] + second[4] == lacing(tags)
    for before, after in zip(pages(opus())[2:], (sound, last), strict=True):
        assert (*before[:3], *before[4:]) == (*after[:3], *after[4:])
    back = write(write(opus(), OGG, long), OGG, replace=True)
    assert back == opus(AIGC)


def vorbis(tags: bytes, *, apart: bool) -> bytes:
    """The setup header on the page of the comments, or behind it."""
    header = whole(1, tags, SETUP)
    if apart:
        header = whole(1, tags) + whole(2, SETUP)
    first = whole(0, VORBIS, flags=FIRST)
    return first + header + whole(2 + apart, b"sound", granule=64, flags=LAST)


@pytest.mark.parametrize("apart", [False, True])
def test_the_setup_of_vorbis_stays_behind_its_comments(apart: bool) -> None:
    def tags(*entries: bytes) -> bytes:
        return b"\x03vorbis" + comments(*entries) + b"\1"

    data = vorbis(tags(b"TITLE=T"), apart=apart)
    assert write(data, OGG) == vorbis(tags(b"TITLE=T", AIGC), apart=apart)


def test_a_packet_that_ends_where_a_segment_does() -> None:
    """Its lacing ends in a 0, which alone may be on the last page."""
    size = len(b"OpusTags" + comments(b"AIGC="))
    for more in (255 * 4 - size, 255 * 255 - size):
        label = b"x" * more
        new = pages(write(opus(), OGG, label))
        assert b"".join(row[4] for row in new[1:-2])[-2:] == b"\xff\0"
        assert read(write(opus(), OGG, label), OGG) == [label]


def test_flac_in_ogg_has_its_comments_in_a_block() -> None:
    def data(*entries: bytes) -> bytes:
        tags = comments(*entries)
        tags = b"\x84" + len(tags).to_bytes(3, "big") + tags
        first = whole(0, b"\x7fFLAC" + bytes(46), flags=FIRST)
        return first + whole(1, tags) + whole(2, b"\xff\xf8", granule=9, flags=LAST)

    assert write(data(b"A=B"), OGG) == data(b"A=B", AIGC)
    spoilt = whole(0, b"\x7fFLAC" + bytes(46), flags=FIRST) + whole(1, b"\x83\0\0\0")
    with pytest.raises(DamagedAsset, match="expected its comments"):
        read(spoilt, OGG)


def test_only_the_first_of_several_streams_gets_the_label() -> None:
    """Next to one another, or one behind the other; none keeps another one."""
    other = opus(b"TITLE=2", b"AIGC=" + OTHER, serial=8)
    one, two = opus(b"TITLE=1"), other
    rows = [split(one), split(two)]
    mixed = b"".join(row for pair in zip(*rows, strict=True) for row in pair)
    for data in (one + two, mixed):
        assert read(data, OGG) == [OTHER]
        new = write(data, OGG, replace=True)
        assert read(new, OGG) == [LABEL]
        labelled, bare = opus(b"TITLE=1", AIGC), opus(b"TITLE=2", serial=8)
        for row in (*split(labelled), *split(bare)):
            assert row in new
        assert len(new) == len(labelled + bare)


def split(data: bytes) -> list[bytes]:
    starts = [n for n in range(len(data)) if data.startswith(b"OggS", n)]
    return [data[a:b] for a, b in zip(starts, [*starts[1:], len(data)], strict=True)]


GOOD = split(opus(AIGC))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "comments of no stream"),
        (opus()[:-1], "cut off"),
        (opus()[1:], "expected an Ogg page"),
        (b"".join(GOOD[1:]), "its first page before it"),
        (b"".join(GOOD[:1]), "comments of no stream"),
        (b"".join([GOOD[0], GOOD[2]]), "header is missing|sound found"),
        (b"".join(GOOD).replace(LABEL, OTHER), "checksum"),
        (b"".join(GOOD).replace(b"OpusHead", b"OpusHaed"), "checksum"),
        (GOOD[0] + whole(1, b"OpusTags" + comments(), granule=5), "sound found"),
        (GOOD[0] + whole(1, b"OpusTag" + comments()), "expected its comments"),
        (GOOD[0] + page(1, bytes(255), b"\xff", granule=-1), "not of every one"),
        (whole(0, OPUS, b"x", flags=FIRST) + GOOD[1], "more or less than a packet"),
        (whole(0, b"fishead\0", flags=FIRST), "comments of no stream"),
        (GOOD[0] + opus(), "begins anew"),
    ],
)
def test_cn_15_an_ogg_that_is_not_whole(data: bytes, why: str) -> None:
    with pytest.raises(DamagedAsset, match=why):
        read(data, OGG)


def test_cn_15_a_damaged_page_is_not_given_a_new_checksum() -> None:
    data = opus().replace(b"sound", b"soond")
    assert read(data, OGG) == []
    assert b"soond" in write(data, OGG)  # where its number stays, so does the page
    with pytest.raises(DamagedAsset, match="checksum"):
        write(data, OGG, LABEL * 400)
