"""Finished media: marked, signed, published, and found again when all else is gone."""

from __future__ import annotations

import io
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.conformance.containers import containers
from benchmarks.sounds import RATE, music
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from scipy.io import wavfile
from scipy.ndimage import gaussian_filter

from watermark.api import Watermark
from watermark.assets import audio
from watermark.assets.loading import Audio, load
from watermark.errors import NotMarked, UnsupportedFormat
from watermark.record import Mark, Record
from watermark.report import Evidence, Report, Verdict


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Watermark:
    return Watermark.create(tmp_path_factory.mktemp("acme") / "home", provider="Acme")


def photo(seed: int, mode: str = "RGB") -> Image.Image:
    """Blobs of colour and texture, 512 x 384."""
    rng = np.random.default_rng(seed)
    blobs = gaussian_filter(rng.standard_normal((384, 512, 3)), (20, 20, 0))
    values = 128 + 50 * blobs / blobs.std() + 8 * rng.standard_normal(blobs.shape)
    picture = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
    if mode == "RGBA":
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
        return picture
    return picture.convert(mode)


def saved(picture: Image.Image, format: str, **options: Any) -> bytes:
    data = io.BytesIO()
    picture.save(data, format, **options)
    return data.getvalue()


def mark(report: Report, scheme: str) -> Evidence:
    [found] = [e for e in report.evidence if e.scheme == scheme]
    return found


def test_a_photograph_is_found_after_its_metadata_is_gone(w: Watermark) -> None:
    marked = w.embed(saved(photo(1), "JPEG", quality=92))
    bare = Image.open(io.BytesIO(marked.data)).convert("RGB")
    again = saved(bare, "JPEG", quality=60)
    whole, stripped = w.verify(marked.data), w.verify(again)

    assert whole.verdict == stripped.verdict == Verdict.MARKED
    assert mark(stripped, "pixel").payload == marked.record.marks[0].mark_id
    assert stripped.record_ids == (marked.record.record_id,)
    assert {e.state for e in stripped.evidence} >= {"recovered", "logged"}


@pytest.mark.parametrize(
    ("format", "mode"),
    [("PNG", "RGB"), ("PNG", "L"), ("PNG", "RGBA"), ("JPEG", "L"), ("WEBP", "RGBA")],
)
def test_mode_and_container_stay(w: Watermark, format: str, mode: str) -> None:
    options = {"lossless": True} if format == "WEBP" else {}
    data = saved(photo(2, mode), format, **options)
    before = Image.open(io.BytesIO(data))
    marked = w.embed(data)
    after = Image.open(io.BytesIO(marked.data))
    change = np.asarray(after, float) - np.asarray(before, float)

    assert (after.format, after.mode) == (format, mode)
    assert after.size == before.size
    assert 0 < np.sqrt(np.mean(change**2)) < 3
    if mode == "RGBA":
        assert after.getchannel("A").tobytes() == before.getchannel("A").tobytes()
    assert w.verify(marked.data).verdict == Verdict.MARKED


def test_exif_and_xmp_and_profile_stay_and_the_picture_is_upright(
    w: Watermark,
) -> None:
    exif = Image.Exif()
    exif[0x8298] = "Copyright Acme"
    exif[0x0112] = 6  # turned a quarter
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"></x:xmpmeta>'
    for format in ("JPEG", "WEBP"):
        data = saved(photo(3), format, exif=exif, xmp=xmp, icc_profile=b"profile")
        after = Image.open(io.BytesIO(w.embed(data).data))

        assert after.getexif()[0x8298] == "Copyright Acme"
        assert 0x0112 not in after.getexif()
        assert after.size == (384, 512)
        assert after.info["icc_profile"] == b"profile"
        assert b"xmpmeta" in after.info["xmp"]


def test_a_picture_in_memory_is_marked_before_its_container_is_chosen(
    w: Watermark, tmp_path: Path
) -> None:
    path = w.embed(photo(4)).save(tmp_path / "photo.webp")

    assert mark(w.verify(path), "pixel").payload
    assert w.verify(path).verdict == Verdict.MARKED


@pytest.mark.parametrize("kind", [np.int16, np.float32, np.uint8])
def test_a_recording_is_marked_and_its_samples_keep_their_type(
    w: Watermark, kind: type
) -> None:
    sound = music(5, seconds=8)
    if kind is np.int16:
        sound = sound * 32767
    if kind is np.uint8:
        sound = 128 + sound * 127
    data = io.BytesIO()
    wavfile.write(data, RATE, sound.astype(kind))
    marked = w.embed(data.getvalue())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the manifest's chunk
        rate, samples = wavfile.read(io.BytesIO(marked.data))
    read, _ = audio.decode(marked.data)

    assert (rate, samples.dtype, samples.shape) == (RATE, kind, sound.shape)
    assert w.verify(marked.data).verdict == Verdict.MARKED
    assert w.verify(Audio(read[9_999:], rate)).verdict == Verdict.MARKED


def test_what_is_not_to_be_changed_is_signed_as_it_is(w: Watermark) -> None:
    before = saved(photo(6), "PNG")
    with pytest.warns(UserWarning, match="carries no mark"):
        marked = w.embed(before, mark=False)
    after = Image.open(io.BytesIO(marked.data))

    assert after.tobytes() == Image.open(io.BytesIO(before)).tobytes()
    assert w.verify(marked.data).verdict == Verdict.SIGNED


def chunk(name: bytes, body: bytes) -> bytes:
    size = len(body).to_bytes(4, "big")
    return size + name + body + zlib.crc32(name + body).to_bytes(4, "big")


def deep(seed: int) -> bytes:
    """A PNG of 16 bits a channel, RGB."""
    pixels = np.asarray(photo(seed)).astype(">u2") * 257
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    head = (512).to_bytes(4, "big") + (384).to_bytes(4, "big") + b"\x10\2\0\0\0"
    parts = (
        chunk(b"IHDR", head),
        chunk(b"IDAT", zlib.compress(rows)),
        chunk(b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def with_gamma(seed: int) -> bytes:
    """A PNG of linear light."""
    data = saved(photo(seed), "PNG")
    return data[:33] + chunk(b"gAMA", (100_000).to_bytes(4, "big")) + data[33:]


def see_through() -> Image.Image:
    picture = photo(11).convert("RGBA")
    picture.putalpha(0)
    return picture


def wav(sound: Any, kind: type, scale: float = 1.0, offset: float = 0.0) -> bytes:
    data = io.BytesIO()
    wavfile.write(data, RATE, (sound * scale + offset).astype(kind))
    return data.getvalue()


def beep() -> Any:
    sound = np.zeros(6 * RATE)
    sound[:400] = np.sin(np.arange(400))
    return sound


@pytest.mark.parametrize(
    ("asset", "reason"),
    [
        (deep(12), "16 bits a channel"),
        (with_gamma(12), "told by gAMA"),
        (saved(see_through(), "PNG"), "cannot be read back"),
        (saved(photo(13).resize((100, 100)), "PNG"), "cannot be read back"),
        (wav(music(14, 6) * 6e-4, np.int16, 32767), "cannot be read back"),
        (wav(music(14, 6) * 0.05, np.uint8, 127, 128), "cannot be read back"),
        (Audio(beep(), RATE), "cannot be read back"),
        (photo(7).resize((64, 64)), "at least 96x96"),
        (saved(photo(7), "PNG", save_all=True, append_images=[photo(8)]), "frames"),
        (photo(7).convert("CMYK"), "mode CMYK"),
        (Audio(np.zeros(2 * RATE), RATE), "silent"),
        (Audio(music(9, seconds=0.5), RATE), "0.50 seconds"),
    ],
)
def test_what_cannot_be_marked_says_why(w: Watermark, asset: Any, reason: str) -> None:
    format = "jpeg" if isinstance(asset, Image.Image) else None
    with pytest.raises(NotMarked, match=reason):
        w.embed(asset, format=format, require_mark=True)
    with pytest.warns(UserWarning, match=reason):
        marked = w.embed(asset, format=format)

    assert marked.record.marks == ()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("video/mp4", "no mark for finished video yet; mark it where it is made"),
        ("video/quicktime", "no mark for finished video yet"),
        ("video/avi", "no mark for finished video yet"),
        ("image/gif", "image/gif cannot be marked .* expected one of image/png"),
        ("image/tiff", "image/tiff cannot be marked"),
        ("image/svg+xml", "image/svg.xml cannot be marked"),
        ("audio/mpeg", "audio/mpeg cannot be marked .* expected one of audio/wav"),
        ("audio/flac", "audio/flac cannot be marked"),
        ("application/pdf", "no mark for finished document yet"),
    ],
)
def test_media_that_carry_no_mark_are_refused_or_signed_with_a_warning(
    w: Watermark, name: str, reason: str
) -> None:
    data = containers()[name]
    with pytest.raises(NotMarked, match=reason):
        w.embed(data, require_mark=True)
    with pytest.warns(UserWarning, match=reason):
        marked = w.embed(data)

    assert marked.record.marks == ()
    assert marked.record.kind == load(data).kind
    assert {e.state for e in w.verify(marked.data).evidence} >= {"trusted", "logged"}


def test_frames_in_matroska_are_refused(w: Watermark) -> None:
    webm = b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x84webm" + bytes(99)
    with pytest.raises((NotMarked, UnsupportedFormat), match="mark"):
        w.embed(webm, require_mark=True)


def test_a_film_that_was_generated_here_is_published_under_its_record(
    w: Watermark,
) -> None:
    made = Mark(scheme="noise", version=1, key_id="a" * 16, mark_id=bytes(8))
    record = Record(kind="video", provider="Acme", marks=(made,))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        marked = w.embed(containers()["video/mp4"], record=record, require_mark=True)

    assert marked.record.record_id == record.record_id


def test_a_second_embedding_of_what_was_published_adds_no_second_mark(
    w: Watermark,
) -> None:
    first = w.embed(photo(10), format="png")
    bare = Image.open(io.BytesIO(first.data)).convert("RGB")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second = w.embed(bare, format="png")

    assert second.record.record_id == first.record.record_id
    assert len(second.record.marks) == 1


@pytest.mark.parametrize(
    ("change", "seed"), [("flip", 15), ("crop", 25), ("corner", 35)]
)
def test_what_was_cut_or_turned_is_no_contradiction(
    w: Watermark, change: str, seed: int
) -> None:
    """The record's fingerprint is of the whole picture, and is not compared."""
    marked = w.embed(photo(seed).resize((768, 576)), format="png")
    whole = Image.open(io.BytesIO(marked.data)).convert("RGB")
    changed = {
        "flip": lambda: whole.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        "crop": lambda: whole.crop((60, 60, 700, 540)),
        "corner": lambda: whole.crop((0, 0, 640, 512)),
    }[change]()
    report = w.verify(saved(changed, "PNG"), effort="thorough")

    assert report.verdict == Verdict.MARKED
    assert "content-not-compared" in {reason.code for reason in report.reasons}
    assert report.record_ids == (marked.record.record_id,)


def test_texts_of_a_png_and_the_comment_of_a_jpeg_stay(w: Watermark) -> None:
    text = PngInfo()
    text.add_text("Copyright", "Acme")
    png = w.embed(saved(photo(16), "PNG", pnginfo=text, dpi=(300, 300))).data
    jpeg = w.embed(saved(photo(16), "JPEG", comment=b"by Acme")).data

    assert Image.open(io.BytesIO(png)).info["Copyright"] == "Acme"
    assert round(Image.open(io.BytesIO(png)).info["dpi"][0]) == 300
    assert Image.open(io.BytesIO(jpeg)).info["comment"] == b"by Acme"


def test_the_iptc_records_of_a_jpeg_stay(w: Watermark) -> None:
    iptc = b"\x1c\x02\x50\x00\x04Acme"  # the by-line
    body = b"Photoshop 3.0\0" + b"8BIM\4\4\0\0" + len(iptc).to_bytes(4, "big") + iptc
    body += b"\0" * (len(iptc) % 2)
    data = saved(photo(26), "JPEG")
    segment = b"\xff\xed" + (len(body) + 2).to_bytes(2, "big") + body
    marked = w.embed(data[:20] + segment + data[20:])
    after = Image.open(io.BytesIO(marked.data))

    assert after.info["photoshop"][0x0404] == iptc
    assert w.verify(marked.data).verdict == Verdict.MARKED


def test_damaged_exif_is_signed_as_it_is(w: Watermark) -> None:
    data = saved(photo(17), "JPEG", exif=b"Exif\0\0garbage")
    with pytest.warns(UserWarning, match="carries no mark"):
        marked = w.embed(data)

    assert w.verify(marked.data).verdict == Verdict.SIGNED


def test_a_picture_in_memory_is_put_upright(w: Watermark) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = Image.open(io.BytesIO(saved(photo(18), "JPEG", exif=exif)))
    for mark_it in (True, False):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            marked = w.embed(turned, format="jpeg", mark=mark_it)

        assert Image.open(io.BytesIO(marked.data)).size == (384, 512)


def test_all_but_the_samples_of_a_recording_stays(w: Watermark) -> None:
    data = wav(music(19, 6), np.int16, 32767)
    about = b"LIST" + (16).to_bytes(4, "little") + b"INFOIART" + b"\4\0\0\0Acme"
    size = (len(data) + len(about) - 8).to_bytes(4, "little")
    marked = w.embed(data[:4] + size + data[8:] + about)

    assert about in marked.data
    assert marked.data[12:44] == data[12:44]


def test_loud_floats_and_24_bits_keep_their_range(w: Watermark) -> None:
    sound = music(20, 6)
    loud = w.embed(wav(sound * 4, np.float32)).data
    head = wav(sound, np.int32, 2**31 - 1)
    steps = np.rint(sound * (2**23 - 1)).astype("<i4")
    body = np.frombuffer(steps.tobytes(), np.uint8).reshape(-1, 4)[:, :3].tobytes()
    three = bytearray(head[:44])
    three[22:24] = (1).to_bytes(2, "little")
    three[28:32] = (RATE * 3).to_bytes(4, "little")
    three[32:36] = (3).to_bytes(2, "little") + (24).to_bytes(2, "little")
    three[40:44] = len(body).to_bytes(4, "little")
    three[4:8] = (36 + len(body)).to_bytes(4, "little")
    deep = w.embed(bytes(three) + body).data

    assert np.abs(audio.decode(loud)[0]).max() > 1.9
    assert w.verify(loud).verdict == w.verify(deep).verdict == Verdict.MARKED
    assert np.abs(audio.decode(deep)[0] - sound).max() < 0.1


def test_a_recording_that_was_published_is_not_marked_again(w: Watermark) -> None:
    first = w.embed(wav(music(21, 6), np.int16, 32767))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the manifest's chunk
        _, samples = wavfile.read(io.BytesIO(first.data))
    again = w.embed(wav(samples, np.int16))

    assert again.record.record_id == first.record.record_id
    assert w.verify(again.data).verdict == Verdict.MARKED
