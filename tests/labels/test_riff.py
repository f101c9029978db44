"""WAV, AVI and WebP byte for byte."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from benchmarks.conformance.containers import avi, riff, wav
from PIL import Image
from tests.labels.writing import LABEL, OTHER, read, write

from watermark.assets import DamagedAsset
from watermark.labels import containers, xmp

WAV, AVI, WEBP = "audio/wav", "video/avi", "image/webp"


def resized(data: bytes) -> bytes:
    """With the size of its RIFF list as it is."""
    return b"RIFF" + struct.pack("<I", len(data) - 8) + data[8:]


def test_cn_01_a_wav_has_a_chunk_at_the_end() -> None:
    assert len(LABEL) % 2 == 0
    chunk = b"AIGC" + struct.pack("<I", len(LABEL)) + LABEL
    assert write(wav(), WAV) == resized(wav() + chunk)


def test_a_chunk_of_odd_length_is_padded() -> None:
    odd = LABEL.replace(b'"1"', b'"12"', 1)
    chunk = b"AIGC" + struct.pack("<I", len(odd)) + odd + b"\0"
    assert write(wav(), WAV, odd) == resized(wav() + chunk)
    assert read(resized(wav() + chunk), WAV) == [odd]


def test_sound_of_odd_length_without_padding_is_padded() -> None:
    data = resized(wav()[:36] + b"data" + struct.pack("<I", 3) + b"abc")
    assert write(data, WAV)[: len(data) + 8] == (
        resized(write(data, WAV))[:8]
        + data[8:]
        + b"\0AIGC"
        + struct.pack("<H", 186)
        + b"\0"
    )


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_a_wav_that_was_streamed_gets_its_sizes(size: int) -> None:
    """Else the label would be sound."""
    raw = struct.pack("<I", size)
    streamed = b"RIFF" + raw + wav()[8:40] + raw + wav()[44:]
    assert read(streamed, WAV) == []
    assert write(streamed, WAV) == write(wav(), WAV)


def test_a_wav_with_the_entry_of_an_avi_is_read_and_loses_it() -> None:
    others = riff(b"INAM", b"Name\0") + riff(b"AIGC", OTHER) + riff(b"ICMT", b"Note")
    data = resized(wav() + riff(b"LIST", b"INFO" + others))
    assert read(data, WAV) == [OTHER]
    kept = riff(b"LIST", b"INFO" + riff(b"INAM", b"Name\0") + riff(b"ICMT", b"Note"))
    assert write(data, WAV, replace=True) == write(resized(wav() + kept), WAV)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (wav()[:-1], "cut off"),
        (wav() + b"\0\1", "expected RIFF|ends at byte"),
        (resized(wav()[:36]), "no chunk 'data'"),
        (resized(wav() + b"\xffABC" + bytes(4)), "found at byte"),
        (resized(wav() + b"AIGC" + struct.pack("<I", 400) + LABEL), "found at byte"),
        (resized(b"RIFF    WEBP" + wav()[12:]), "WEBP"),
    ],
)
def test_cn_15_a_wav_that_is_not_whole(data: bytes, why: str) -> None:
    with pytest.raises(DamagedAsset, match=why):
        read(data, WAV)


def test_zeros_behind_a_wav_are_no_damage() -> None:
    assert read(wav() + bytes(512), WAV) == []


def test_cn_01_an_avi_has_an_entry_of_info() -> None:
    entry = b"AIGC" + struct.pack("<I", len(LABEL) + 1) + LABEL + b"\0\0"
    info = b"LIST" + struct.pack("<I", 4 + len(entry)) + b"INFO" + entry
    assert write(avi(), AVI) == resized(avi() + info)


def film(junk: bytes, *more: bytes) -> bytes:
    """An AVI with this in front of its pictures, and more RIFF lists behind."""
    pictures = avi().index(b"LIST", 20)
    return resized(avi()[:pictures] + junk + avi()[pictures:]) + b"".join(more)


@pytest.mark.parametrize("spare", [0, 8, 300])
def test_junk_in_front_of_the_pictures_gives_the_room(spare: int) -> None:
    """All that lies behind stays where it is."""
    needed = 12 + 8 + len(LABEL) + 2
    data = film(riff(b"JUNK", bytes(needed + spare - 8)))
    new = write(data, AVI)
    assert len(new) == len(data)
    assert new.index(b"movi") == data.index(b"movi")
    assert new.index(b"AIGC") < new.index(b"movi")
    assert (b"JUNK" in new) == bool(spare)
    assert read(new, AVI) == [LABEL]
    shorter = write(new, AVI, b"{}" + LABEL, replace=True)
    assert shorter.index(b"LIST", 200) >= new.index(b"movi") - 8


@pytest.mark.parametrize(
    "junk", [b"", riff(b"JUNK", bytes(100)), riff(b"JUNK", b"x" * 400)]
)
def test_without_room_the_entry_lies_behind_the_pictures(junk: bytes) -> None:
    """Also where JUNK is no junk: cameras write into it."""
    data = film(junk)
    new = write(data, AVI)
    assert new[8 : len(data)] == data[8:]
    assert new.index(b"AIGC") > new.index(b"movi")
    assert write(new, AVI, OTHER, replace=True) == new.replace(LABEL, OTHER)


def test_later_lists_of_a_long_avi_stay_where_they_are() -> None:
    """An index of OpenDML counts from the file's start."""
    later = riff(b"RIFF", b"AVIX" + riff(b"LIST", b"movi" + riff(b"01wb", b"sound")))
    data = film(riff(b"JUNK", bytes(20)), later, later)
    new = write(data, AVI)
    for sound in (data.index(b"AVIX"), data.rindex(b"AVIX")):
        assert new[sound : sound + 4] == b"AVIX"
    assert new.endswith(b"\0\0")
    assert read(new, AVI) == [LABEL]
    early = riff(b"LIST", b"INFO" + riff(b"AIGC", OTHER))
    labelled = film(riff(b"JUNK", bytes(20)) + early, later)
    new = write(labelled, AVI, replace=True)
    assert new.index(b"AVIX") == labelled.index(b"AVIX")
    assert read(new, AVI) == [LABEL]


def test_the_second_list_of_an_avi_has_to_be_one() -> None:
    with pytest.raises(DamagedAsset, match="AVIX"):
        read(avi() + wav(), AVI)


def picture(mode: str, **options: object) -> bytes:
    pixels = np.random.default_rng(3).integers(0, 256, (37, 51, 4), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(data, "WEBP", **options)
    return data.getvalue()


def exif() -> bytes:
    fields = Image.Exif()
    fields[0x010F] = "Maker"
    return fields.tobytes()


def packet(label: str) -> bytes:
    return xmp.with_label(None, label.encode())


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("lossless", [False, True])
def test_cn_01_cn_14_a_webp_has_xmp_and_its_pixels(mode: str, lossless: bool) -> None:
    """A simple file gets the extended header; sides and alpha are the picture's."""
    data = picture(mode, lossless=lossless)
    new = write(data, WEBP)
    assert new[12:16] == b"VP8X"
    assert new[20] & 0x04
    assert bool(new[20] & 0x10) == (mode == "RGBA")
    before, after = Image.open(io.BytesIO(data)), Image.open(io.BytesIO(new))
    assert (after.mode, after.size) == (mode, (51, 37))
    assert np.array_equal(np.asarray(before), np.asarray(after))
    assert after.info["xmp"] == packet(LABEL.decode())
    assert read(new, WEBP) == [LABEL]


def test_cn_03_other_chunks_of_a_webp_stay() -> None:
    data = picture("RGB", exif=exif(), icc_profile=b"profile!")
    after = Image.open(io.BytesIO(write(data, WEBP)))
    assert after.getexif()[0x010F] == "Maker"
    assert after.info["icc_profile"] == b"profile!"


def test_a_webp_packet_is_replaced_where_it_lies() -> None:
    data = picture("RGB", xmp=packet("old"), exif=exif())
    assert read(data, WEBP) == [b"old"]
    new = write(data, WEBP, replace=True)
    assert new.count(b"XMP ") == 1
    assert read(new, WEBP) == [LABEL]
    target = io.BytesIO()
    containers.write_xmp(io.BytesIO(new), target, WEBP, packet("third"))
    assert containers.read_xmp(target, WEBP) == packet("third")


@pytest.mark.parametrize("end", [8, 11, 20, 30, -1])
def test_cn_15_a_webp_that_is_cut_off(end: int) -> None:
    with pytest.raises(DamagedAsset):
        read(write(picture("RGB"), WEBP)[:end], WEBP)


def test_cn_15_a_webp_without_a_picture() -> None:
    with pytest.raises(DamagedAsset, match="without a picture"):
        read(riff(b"RIFF", b"WEBP" + riff(b"VP8X", bytes(10))), WEBP)
