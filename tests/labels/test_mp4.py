"""MP4, MOV and M4A byte for byte, and everything that points into the file."""

from __future__ import annotations

import struct

import pytest
from benchmarks.conformance.containers import box, movie
from tests.labels.writing import LABEL, OTHER, read, write

from watermark.assets import DamagedAsset
from watermark.errors import UnsupportedFormat

MP4, MOV = "video/mp4", "video/quicktime"
START = box(b"ftyp", b"isom", bytes(4), b"isommp42")
MEDIA = b"chunk one, chunk two and the third"
MDTA = box(b"hdlr", bytes(8), b"mdta", bytes(13))
MDIR = box(b"hdlr", bytes(8), b"mdir", b"appl", bytes(9))
KEYS = bytes.fromhex("0000001c 6b657973 00000000 00000001 0000000c 6d647461 41494743")


def value(text: bytes) -> bytes:
    return box(b"data", bytes.fromhex("0000000100000000"), text)


def item(kind: bytes, text: bytes) -> bytes:
    return box(kind, value(text))


def keys(*names: bytes) -> bytes:
    rows = b"".join(struct.pack(">I", 8 + len(n)) + b"mdta" + n for n in names)
    return box(b"keys", bytes(4), struct.pack(">I", len(names)), rows)


def numbered(*texts: bytes) -> bytes:
    rows = (item(struct.pack(">I", n), text) for n, text in enumerate(texts, 1))
    return box(b"ilst", *rows)


def meta(*parts: bytes) -> bytes:
    return box(b"meta", bytes(4), *parts)


OURS = meta(MDTA, KEYS, numbered(LABEL))


def track(*offsets: bytes) -> bytes:
    return box(b"trak", box(b"mdia", box(b"minf", box(b"stbl", *offsets))))


def stco(*offsets: int, wide: str = "I") -> bytes:
    name = b"stco" if wide == "I" else b"co64"
    return box(name, struct.pack(f">II{len(offsets)}{wide}", 0, len(offsets), *offsets))


def placed(
    *inside: bytes, wide: str = "I", between: bytes = b"", large: bool = False
) -> tuple[bytes, int]:
    """A file with its movie header in front; where the offsets in it begin."""
    media = box(b"mdat", MEDIA)
    if large:  # with a size of 64 bits
        media = struct.pack(">I4sQ", 1, b"mdat", 16 + len(MEDIA)) + MEDIA
    empty = box(b"moov", track(stco(0, 0, wide=wide)), *inside)
    first = len(START + empty + between + media) - len(MEDIA)
    table = stco(first, first + 11, wide=wide)
    data = START + box(b"moov", track(table), *inside) + between + media
    return data, data.index(table) + len(table) - struct.calcsize(f"2{wide}")


def offsets(data: bytes, place: int, wide: str = "I") -> tuple[int, ...]:
    found: tuple[int, ...] = struct.unpack_from(f">2{wide}", data, place)
    return found


def test_cn_01_the_label_has_the_bytes_of_the_guide() -> None:
    data = movie(b"isom", b"isom")
    udta = box(b"udta", OURS)
    new = write(data, MP4)
    moov = data.index(b"moov") - 4
    (size,) = struct.unpack_from(">I", data, moov)
    assert new == (
        data[:moov]
        + struct.pack(">I", size + len(udta))
        + data[moov + 4 : moov + size]
        + udta
        + data[moov + size :]
    )


@pytest.mark.parametrize("wide", ["I", "Q"])
@pytest.mark.parametrize("large", [False, True])
def test_cn_14_chunk_offsets_move_with_the_media(wide: str, large: bool) -> None:
    data, place = placed(wide=wide, large=large)
    before = offsets(data, place, wide)
    assert [data[n : n + 9] for n in before] == [b"chunk one", b"chunk two"]
    new = write(data, MP4)
    after = offsets(new, place, wide)
    assert after != before
    assert [new[n : n + 9] for n in after] == [b"chunk one", b"chunk two"]
    again = write(new, MP4, LABEL * 3, replace=True)
    assert again[offsets(again, place, wide)[1] :].startswith(b"chunk two")


def test_a_movie_header_behind_the_media_moves_nothing() -> None:
    data = START + box(b"mdat", MEDIA) + box(b"moov", track(stco(32, 43)))
    new = write(data, MP4)
    assert new.startswith(START + box(b"mdat", MEDIA))
    assert track(stco(32, 43)) in new


@pytest.mark.parametrize("left", [0, 8, 500])
def test_a_free_box_gives_the_room(left: int) -> None:
    room = 8 + len(OURS) + left
    data, place = placed(between=box(b"free", bytes(room - 8)))
    new = write(data, MP4)
    assert len(new) == len(data)
    assert new[-len(MEDIA) - 8 :] == data[-len(MEDIA) - 8 :]
    assert offsets(new, place) == offsets(data, place)
    assert (b"free" in new) == bool(left)
    assert read(new, MP4) == [LABEL]
    shorter = write(new, MP4, LABEL[:-20] + b'"}', replace=True)
    assert shorter[-len(MEDIA) :] == MEDIA
    assert shorter[offsets(shorter, place)[0] :].startswith(b"chunk one")


def test_a_free_box_that_is_too_small_moves_too() -> None:
    data, place = placed(between=box(b"free", bytes(len(OURS) - 1)))
    new = write(data, MP4)
    assert new[offsets(new, place)[1] :].startswith(b"chunk two")


def test_offsets_that_no_longer_fit_are_refused() -> None:
    data = START + box(b"moov", track(stco(0xFFFFFFF0))) + box(b"mdat", MEDIA)
    with pytest.raises(UnsupportedFormat, match="4 GiB"):
        write(data, MP4)


def fragments(*before: bytes) -> tuple[bytes, int, int]:
    """A fragmented file whose fragment and index say where they lie."""
    header = START + b"".join(before) + box(b"moov", box(b"mvex"))
    at = len(header)
    tfhd = box(b"tfhd", struct.pack(">IIQ", 1, 1, at))
    data = header + box(b"moof", box(b"traf", tfhd)) + box(b"mdat", MEDIA)
    entries = b"".join(struct.pack(">IQQBBB", 0, 9, at, 1, 1, 1)[4:] for _ in range(2))
    tfra = box(b"tfra", struct.pack(">IIII", 1 << 24, 1, 0, 2), entries)
    return data + box(b"mfra", tfra), data.index(b"tfhd") + 12, len(data) + 8 + 32


def test_fragments_and_their_index_move() -> None:
    data, base, index = fragments()
    new = write(data, MP4)
    more = len(new) - len(data)
    moof = new.index(b"moof") - 4
    assert struct.unpack_from(">Q", new, base + more) == (moof,)
    assert struct.unpack_from(">Q", new, index + more) == (moof,)
    assert struct.unpack_from(">Q", new, index + 19 + more) == (moof,)
    assert moof == data.index(b"moof") - 4 + more


def test_auxiliary_data_moves() -> None:
    saio = box(b"saio", struct.pack(">III", 0, 1, 1000))
    data = START + box(b"moov", track(saio)) + box(b"mdat", bytes(1000))
    new = write(data, MP4)
    place = new.index(b"saio") + 12
    assert struct.unpack_from(">I", new, place) == (1000 + len(new) - len(data),)


def test_what_counts_from_the_file_s_start_in_another_way_is_refused() -> None:
    data, *_ = fragments(box(b"sidx", bytes(24)))
    with pytest.raises(UnsupportedFormat, match="index in front"):
        write(data, MP4)
    items = meta(box(b"iloc", bytes(8)))
    for data in (placed(between=items)[0], placed(items)[0]):
        with pytest.raises(UnsupportedFormat, match="items"):
            write(data, MP4)
    ending = START + items + box(b"mdat", MEDIA) + box(b"moov")
    assert read(write(ending, MP4), MP4) == [LABEL]


ITUNES = meta(MDIR, box(b"ilst", item(b"\xa9nam", b"Title")), box(b"free", bytes(9)))


@pytest.mark.parametrize(
    "inside",
    [
        box(b"udta", meta(MDIR, box(b"ilst", item(b"AIGC", OTHER)))),
        box(b"udta", meta(MDTA, keys(b"other", b"aigc"), numbered(b"1", OTHER))),
        box(b"udta", box(b"meta", MDTA, KEYS, numbered(OTHER))),
        box(b"udta", ITUNES, meta(MDTA, KEYS, numbered(OTHER)), bytes(4)),
        meta(MDTA, KEYS, numbered(OTHER)),
        box(
            b"udta",
            meta(
                MDIR,
                box(
                    b"ilst",
                    box(
                        b"----",
                        box(b"mean", bytes(4), b"com.apple.iTunes"),
                        box(b"name", bytes(4), b"AIGC"),
                        value(OTHER),
                    ),
                ),
            ),
        ),
    ],
    ids=["no keys", "small", "QuickTime", "iTunes beside", "no udta", "free form"],
)
def test_cn_08_labels_of_other_writers_are_read_and_replaced(inside: bytes) -> None:
    data, place = placed(inside)
    assert read(data, MOV) == [OTHER]
    new = write(data, MOV, replace=True)
    assert read(new, MOV) == [LABEL]
    assert OTHER not in new
    assert new[offsets(new, place)[1] :].startswith(b"chunk two")


def test_cn_03_itunes_tags_stay_as_they_are_and_in_front() -> None:
    data, _ = placed(box(b"udta", ITUNES, box(b"name", b"A name")))
    new = write(data, MP4)
    udta = box(b"udta", ITUNES, box(b"name", b"A name"), OURS)
    assert udta in new


def test_cn_03_other_keys_keep_their_values() -> None:
    """Items are found by the number of their key."""
    table = keys(b"one", b"AIGC", b"three")
    one, two, three = (struct.pack(">I", n) for n in (1, 2, 3))
    row = box(b"ilst", item(three, b"c"), item(two, OTHER), item(one, b"a"))
    free = box(b"free", bytes(3))
    data, _ = placed(box(b"udta", meta(MDTA, table, row, free)))
    new = write(data, MP4, replace=True)
    row = box(b"ilst", item(two, b"c"), item(one, b"a"), item(three, LABEL))
    wanted = meta(MDTA, keys(b"one", b"three", b"AIGC"), row, free)
    assert box(b"udta", wanted) in new


def test_zeros_that_close_user_data_stay() -> None:
    data, _ = placed(box(b"udta", box(b"name", b"x"), bytes(4)))
    assert box(b"udta", box(b"name", b"x"), OURS, bytes(4)) in write(data, MOV)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (START + box(b"mdat", MEDIA), "0 boxes moov"),
        (START + box(b"moov") * 2, "2 boxes moov"),
        (START + box(b"moov", box(b"cmov", bytes(9))), "compressed"),
        (START + box(b"moov")[:-1], "found at byte|ends at byte"),
        (placed()[0][:-1], "found at byte"),
        (placed(box(b"udta", OURS))[0].replace(b"ilst", b"ilsu"), "no value"),
        (placed(box(b"udta", OURS))[0].replace(b"keys", b"kexs"), "key is missing"),
        (placed(box(b"udta", OURS))[0].replace(b"data", b"dato"), "holds no data"),
        (placed(b"\0\0\0\0udta" + OURS)[0], "box b'udta' of 0 bytes"),
        (
            placed(box(b"udta", meta(MDTA, keys(b"x") + KEYS[:15], numbered(b"1"))))[0],
            "found at byte|keys found|expected",
        ),
        (
            placed(box(b"udta", meta(MDTA, keys(*[b"k"] * 5000), numbered(b"1"))))[0],
            "more than 4096",
        ),
    ],
)
def test_cn_15_a_movie_that_is_not_whole(data: bytes, why: str) -> None:
    for act in (read, write):
        with pytest.raises(DamagedAsset, match=why):
            act(data, MP4)


@pytest.mark.parametrize(
    ("table", "why"),
    [
        (box(b"stco", struct.pack(">III", 0, 1 << 30, 99)), "1073741824 entries"),
        (box(b"stco", bytes(3)), "of 3 bytes"),
        (box(b"saio", bytes(2) + b"\1\1"), "of 4 bytes"),
    ],
)
def test_cn_15_a_table_that_is_not_whole(table: bytes, why: str) -> None:
    data = START + box(b"moov", track(table)) + box(b"mdat", MEDIA)
    with pytest.raises(DamagedAsset, match=why):
        write(data, MP4)
