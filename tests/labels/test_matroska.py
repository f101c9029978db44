"""Matroska and WebM byte for byte: where the tags go, and who knows of it."""

from __future__ import annotations

import struct
import zlib

import pytest
from tests.labels.writing import LABEL, OTHER, read, write

from watermark.assets import DamagedAsset
from watermark.errors import UnsupportedFormat

MKV = "video/x-matroska"
SEGMENT, CLUSTER, CUES = "18538067", "1f43b675", "1c53bb6b"
SEEK_HEAD, TAGS, INFO, TRACKS = "114d9b74", "1254c367", "1549a966", "1654ae6b"
UNKNOWN = b"\x01" + b"\xff" * 7


def element(name: str, *parts: bytes, size: bytes | None = None) -> bytes:
    body = b"".join(parts)
    if size is None:
        size = (
            bytes([0x80 | len(body)])
            if len(body) < 127
            else (1 << 14 | len(body)).to_bytes(2, "big")
        )
    return bytes.fromhex(name) + size + body


def checked(name: str, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return element(name, element("bf", struct.pack("<I", zlib.crc32(body))), body)


def void(length: int) -> bytes:
    if length < 100:
        return element("ec", bytes(length - 2))
    return b"\xec" + (1 << 56 | length - 9).to_bytes(8, "big") + bytes(length - 9)


def header(kind: bytes = b"matroska") -> bytes:
    return element("1a45dfa3", element("4282", kind))


def simple(name: bytes, value: bytes) -> bytes:
    return element("67c8", element("45a3", name), element("4487", value))


def tag(*simples: bytes) -> bytes:
    return element("7373", element("63c0"), *simples)


def seek(name: str, place: int) -> bytes:
    at = element("53ac", place.to_bytes(2, "big"))
    return element("4dbb", element("53ab", bytes.fromhex(name)), at)


def segment(*parts: bytes, kind: bytes = b"matroska") -> bytes:
    body = b"".join(parts)
    size = (1 << 56 | len(body)).to_bytes(8, "big")
    return header(kind) + element(SEGMENT, body, size=size)


INFO_1 = element(INFO, element("2ad7b1", b"\x0f\x42\x40"))
TRACKS_1 = element(TRACKS, element("ae", element("d7", b"\1")))
BLOCKS = element("e7", b"\0"), element("a3", b"\x81\0\0\x80picture")
CLUSTER_1 = element(CLUSTER, *BLOCKS)
CLUSTER_2 = element(CLUSTER, element("e7", b"\x20"), element("a3", b"\x81\0\0\x80two"))
CUES_1 = element(CUES, element("bb", element("b3", b"\0")))
TITLE = tag(simple(b"TITLE", b"A title"))
OURS = tag(simple(b"AIGC", LABEL))
NEW = checked(TAGS, OURS)
MEDIA = CLUSTER_1 + CLUSTER_2


def places(data: bytes) -> list[tuple[str, int]]:
    """What the SeekHead says, each as far into the segment as it is true."""
    base = data.index(bytes.fromhex(SEGMENT)) + 12
    start = data.index(bytes.fromhex(SEEK_HEAD))
    found = []
    place = data.find(b"\x53\xab\x84", start)
    while place >= 0:
        name = data[place + 3 : place + 7]
        wide = data[place + 9] & 0x7F
        at = int.from_bytes(data[place + 10 : place + 10 + wide], "big")
        assert data[base + at : base + at + 4] == name
        found.append((name.hex(), at))
        place = data.find(b"\x53\xab\x84", place + 10)
    return found


def listed(gap: int, *more: bytes) -> bytes:
    """A file as muxers write it: a SeekHead, room behind it, clusters, cues."""
    length = len(element(SEEK_HEAD, *[seek(INFO, 0)] * 3))
    front = [void(gap)] if gap else []
    info = length + gap
    cues = info + len(INFO_1 + TRACKS_1 + b"".join(more) + MEDIA)
    entries = seek(INFO, info), seek(TRACKS, info + len(INFO_1)), seek(CUES, cues)
    head = element(SEEK_HEAD, *entries)
    return segment(head, *front, INFO_1, TRACKS_1, *more, MEDIA, CUES_1)


def media_at(data: bytes) -> int:
    return data.index(MEDIA) - data.index(bytes.fromhex(SEGMENT))


def test_the_files_of_these_tests_say_where_things_are() -> None:
    assert [name for name, _ in places(listed(40))] == [INFO, TRACKS, CUES]


@pytest.mark.parametrize("gap", [len(NEW) + 23, len(NEW) + 40, 900])
def test_cn_01_with_room_the_tags_lie_in_front_of_the_clusters(gap: int) -> None:
    data = listed(gap)
    new = write(data, MKV)
    assert len(new) == len(data)
    assert media_at(new) == media_at(data)
    assert new.index(NEW) < new.index(MEDIA)
    assert [name for name, _ in places(new)] == [INFO, TRACKS, CUES, TAGS]
    assert write(new, MKV, OTHER, replace=True).index(MEDIA) == data.index(MEDIA)


def test_with_room_for_an_entry_only_the_tags_lie_at_the_end() -> None:
    data = listed(60)
    new = write(data, MKV)
    assert media_at(new) == media_at(data)
    assert new.endswith(CUES_1 + NEW)
    assert [name for name, _ in places(new)] == [INFO, TRACKS, CUES, TAGS]
    again = write(new, MKV, LABEL * 5, replace=True)
    assert media_at(again) == media_at(data)
    assert places(again)[:3] == places(new)[:3]
    assert again.endswith(CUES_1 + checked(TAGS, tag(simple(b"AIGC", LABEL * 5))))


def test_without_room_the_tags_lie_at_the_end_unlisted() -> None:
    data = listed(0)
    assert write(data, MKV) == segment(data[data.index(b"\x11\x4d\x9b\x74") :], NEW)


def test_cn_03_other_tags_stay_and_the_old_place_is_freed() -> None:
    old = element(TAGS, TITLE, tag(simple(b"AIGC", OTHER), simple(b"ARTIST", b"B")))
    data = listed(30, old)
    assert read(data, MKV) == [OTHER]
    new = write(data, MKV, replace=True)
    merged = checked(TAGS, TITLE, tag(simple(b"ARTIST", b"B")), OURS)
    assert merged in new
    assert OTHER not in new
    assert media_at(new) == media_at(data)
    assert [name for name, _ in places(new)] == [INFO, TRACKS, CUES, TAGS]


def test_a_recording_without_an_index_has_the_tags_in_front() -> None:
    """There readers look who never come to its end."""
    for size in (None, UNKNOWN):
        live = element(CLUSTER, *BLOCKS, size=size) + element(
            CLUSTER, *BLOCKS, size=size
        )
        data = header(b"webm") + element(SEGMENT, INFO_1, TRACKS_1, live, size=UNKNOWN)
        wanted = element(SEGMENT, INFO_1, TRACKS_1, NEW, live, size=UNKNOWN)
        assert write(data, "video/webm") == header(b"webm") + wanted


def test_a_recording_whose_clusters_say_their_place_keeps_them_there() -> None:
    says = element(CLUSTER, element("e7", b"\0"), element("a7", b"\x40"))
    data = segment(INFO_1, TRACKS_1, says)
    assert write(data, MKV) == segment(INFO_1, TRACKS_1, says, NEW)


def test_tags_between_clusters_become_void() -> None:
    old = element(TAGS, tag(simple(b"AIGC", OTHER)))
    data = segment(INFO_1, TRACKS_1, CLUSTER_1, old, CLUSTER_2, CUES_1)
    new = write(data, MKV, replace=True)
    assert new == segment(
        INFO_1, TRACKS_1, CLUSTER_1, void(len(old)), CLUSTER_2, CUES_1, NEW
    )


def test_a_small_segment_size_gets_the_bytes_that_it_needs() -> None:
    body = INFO_1 + TRACKS_1 + CLUSTER_1
    data = header() + element(SEGMENT, body)
    new = write(data, MKV)
    assert new == header() + element(SEGMENT, INFO_1, TRACKS_1, NEW, CLUSTER_1)


@pytest.mark.parametrize(
    "inside",
    [
        tag(simple(b"aigc", OTHER)),
        tag(element("67c8", element("45a3", b"AIGC"), element("4485", OTHER))),
        tag(element("67c8", element("45a3", b"SET"), simple(b"AIGC", OTHER))),
        checked(
            "7373", element("63c0", element("63c5", b"\1")), simple(b"AIGC", OTHER)
        ),
    ],
    ids=["small", "binary", "nested", "of a track"],
)
def test_cn_08_labels_of_other_writers_are_read_and_replaced(inside: bytes) -> None:
    data = listed(40, element(TAGS, TITLE, inside))
    assert read(data, MKV) == [OTHER]
    new = write(data, MKV, replace=True)
    assert read(new, MKV) == [LABEL]
    assert OTHER not in new
    assert TITLE in new


def test_a_second_index_that_would_be_wrong_is_refused() -> None:
    old = element(TAGS, tag(simple(b"AIGC", OTHER)))
    place = len(INFO_1 + TRACKS_1)
    second = element(SEEK_HEAD, seek(TAGS, place))
    data = segment(INFO_1, TRACKS_1, old, CLUSTER_1, second)
    with pytest.raises(UnsupportedFormat, match="second index"):
        write(data, MKV, replace=True)


NESTED = simple(b"x", b"y")
for _ in range(10):
    NESTED = element("67c8", element("45a3", b"x"), NESTED)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no EBML element"),
        (listed(0)[:-1], "cut off"),
        (segment(MEDIA, kind=b"other"), "expected matroska or webm"),
        (header(), "one segment"),
        (segment(MEDIA) + segment(MEDIA)[len(header()) :], "one segment"),
        (segment(INFO_1, TRACKS_1), "no cluster"),
        (segment(element("1254c366"), MEDIA), "element 1254c366"),
        (segment(element(TAGS, TITLE, size=UNKNOWN), MEDIA), "element 1254c367"),
        (segment(element(TAGS, element("7374"), OURS), MEDIA), "expected a tag"),
        (segment(NEW.replace(LABEL, OTHER), MEDIA), "checksum"),
        (segment(element(TAGS, tag(element("67c8", element("45a3", b"AIGC")))), MEDIA),
         "no value"),
        (segment(element(TAGS, tag(NESTED)), MEDIA), "nested"),
        (segment(element(TAGS, b"\x73\x73\x40"), MEDIA), "no EBML element"),
        (segment(element(TAGS, b"\x73\x73\x84abc"), MEDIA), "cut off"),
        (segment(MEDIA, b"\0"), "no EBML element"),
    ],
)  # fmt: skip
def test_cn_15_a_matroska_that_is_not_whole(data: bytes, why: str) -> None:
    for act in (read, write):
        with pytest.raises(DamagedAsset, match=why):
            act(data, MKV)
