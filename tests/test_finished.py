"""Finished media: marked, signed, published, and found again when all else is gone."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.sounds import RATE, music
from PIL import Image
from scipy.io import wavfile
from scipy.ndimage import gaussian_filter

from watermark.api import Watermark
from watermark.assets import audio
from watermark.assets.loading import Audio
from watermark.errors import NotMarked
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
    sound = music(5, seconds=4)
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


@pytest.mark.parametrize(
    ("asset", "reason"),
    [
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
