"""Marks that people see and hear, measured as they were rendered (GB 45438-2025, 5)."""

from __future__ import annotations

import io
import math
import shutil
import subprocess
import time
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.pictures import photograph

from watermark.assets import DamagedAsset, audio, image
from watermark.assets.loading import Audio
from watermark.errors import LabelError
from watermark.labels import (
    explicit,
    explicit_audio,
    explicit_image,
    explicit_page,
    explicit_text,
    explicit_video,
    regimes,
)
from watermark.labels.explicit import Wish

needs_ffmpeg = pytest.mark.skipif(
    shutil.which("ffmpeg") is None, reason="there is no ffmpeg"
)
CN = explicit_text.WORDING


def saved(picture: Image.Image, format: str) -> bytes:
    data = io.BytesIO()
    picture.save(data, format)
    return data.getvalue()


# --- text -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "good"),
    [
        ("AI生成", True),
        ("人工智能合成", True),
        ("由AI助手生成", True),
        ("本文为人工智能生成合成内容", True),
        ("detailed chair 生成", False),
        ("AI", False),
        ("AIGC生成", False),
        ("生成", False),
        ("", False),
    ],
)
def test_both_elements_are_wanted(said: str, good: bool) -> None:
    assert explicit_text.says_generated(said) is good


def test_a_text_says_so_at_both_ends() -> None:
    text = "x" * 500 + "\n"
    marked = explicit_text.mark(text)

    assert not explicit_text.is_marked(text)
    assert marked == f"{CN}\n\n{'x' * 500}\n\n{CN}\n"
    assert explicit_text.is_marked(marked[:300])
    assert explicit_text.is_marked(marked[300:])
    assert not explicit_text.is_marked("x" * 100 + CN + "x" * 100)


def test_front_matter_stays_the_first_thing() -> None:
    marked = explicit_text.mark("---\ntitle: AI生成\n---\nHello\n")

    assert marked == f"---\ntitle: AI生成\n---\n{CN}\n\nHello\n\n{CN}\n"
    assert not explicit_text.is_marked("---\ntitle: AI生成\n---\nHello\n")


def test_hostile_texts_are_read_in_linear_time() -> None:
    lines = "---\r\n" + "a\r\n" * 200_000
    hostile = ("<body ", "<!--", "<![CDATA[", "<", "<a x='", "</", "&", "<script>")
    started = time.process_time()
    explicit_text.is_marked(lines)
    for piece in hostile:
        explicit_page.body(piece * 100_000)

    assert time.process_time() - started < 5


def test_a_manifest_in_invisible_characters_hides_no_mark() -> None:
    assert explicit_text.is_marked("x" * 200 + "\n" + CN + "\ufe00" * 3000)


def test_a_page_says_so_in_its_body() -> None:
    page = (
        "<html><head><title>AI生成</title></head><!-- <body> -->"
        "<body class='a'><script>'<body>'</script><p>Hello</p></body></html>"
    )
    marked = explicit_page.mark(page)

    assert f"<body class='a'><p>{CN}</p><script>" in marked
    assert marked.endswith(f"<p>{CN}</p></body></html>")
    assert explicit.is_there(page.encode(), "text/html", "page", Wish()) is False
    assert explicit.is_there(marked.encode(), "text/html", "page", Wish()) is True
    assert explicit_page.mark("bare") == f"<p>{CN}</p>bare<p>{CN}</p>"


def test_words_that_would_be_markup_are_refused() -> None:
    for wording in ("", "a\nb", "<b>AI生成</b>"):
        with pytest.raises(LabelError, match=r"5\.1"):
            explicit_text.mark("x", wording)


def test_a_hint_for_the_interface_names_the_filing() -> None:
    hint = explicit_text.ui_hint(CN, provider="Acme", model="L-1", filing="B-2026")

    assert hint == "AI生成 · Acme L-1 (B-2026)"


# --- pictures -------------------------------------------------------------------------


def heights(pixels: np.ndarray, count: int) -> list[int]:
    """Rows of ink of the last `count` characters in white on black."""
    ink = pixels.mean(axis=2) > 130
    runs = [
        [x for x, _ in run]
        for has, run in groupby(enumerate(ink.any(axis=0)), key=lambda p: bool(p[1]))
        if has
    ]
    rows = [np.flatnonzero(ink[:, run].any(axis=1)) for run in runs[-count:]]
    return [int(r[-1] - r[0] + 1) for r in rows]


@pytest.mark.parametrize(
    ("width", "height"), [(600, 600), (1080, 1920), (2100, 900), (256, 256)]
)
@pytest.mark.parametrize("corner", ["bottom-right", "top-left"])
def test_cn_09_the_ink_is_five_hundredths_of_the_shortest_side(
    width: int, height: int, corner: str
) -> None:
    black = Image.new("RGB", (width, height))
    drawn, told = explicit_image.draw(black, corner=corner)
    left, top, right, bottom = told.box
    patch = np.asarray(drawn)[top:bottom, left:right]
    least = math.ceil(0.05 * min(width, height))

    assert min(heights(patch, 2)) >= least  # 生 and 成
    assert told.ink >= least
    assert told.share >= 0.05
    assert abs(min(heights(patch, 2)) - told.ink) <= 1


def test_cn_09_less_than_the_law_wants_is_refused() -> None:
    with pytest.raises(LabelError, match=r"0\.049") as caught:
        explicit_image.draw(Image.new("RGB", (600, 600)), share=0.049)

    assert caught.value.clause == "GB 45438-2025, 5.2"


@pytest.mark.parametrize("corner", explicit_image.CORNERS)
def test_the_mark_stands_in_its_corner_and_nothing_else_changes(corner: str) -> None:
    before = Image.fromarray(photograph(1, 300, 400))
    after, told = explicit_image.draw(before, corner=corner)
    change = np.abs(np.asarray(after, int) - np.asarray(before, int)).max(axis=2)
    rows, columns = np.flatnonzero(change.any(1)), np.flatnonzero(change.any(0))
    left, top, right, bottom = told.box

    assert (top, bottom) == (rows[0], rows[-1] + 1)
    assert (left, right) == (columns[0], columns[-1] + 1)
    assert (bottom > 290) is corner.startswith("bottom")
    assert (right > 390) is corner.endswith("right")


@pytest.mark.parametrize("ground", ["white", "black", "red", (128, 128, 128)])
def test_it_is_read_on_any_ground(ground: str) -> None:
    """Contrast of letters and plate, by WCAG 2's formula; 4.5 is asked of text."""
    after, told = explicit_image.draw(Image.new("RGB", (400, 400), ground))
    left, top, right, bottom = told.box
    seen = np.asarray(after, float)[top:bottom, left:right].reshape(-1, 3) / 255
    linear = np.where(seen <= 0.04045, seen / 12.92, ((seen + 0.055) / 1.055) ** 2.4)
    light = linear @ [0.2126, 0.7152, 0.0722]
    plate = after.getpixel((right - 4, (top + bottom) // 2))
    dark = np.array(plate) / 255
    dark = np.where(dark <= 0.04045, dark / 12.92, ((dark + 0.055) / 1.055) ** 2.4)

    assert (light.max() + 0.05) / (dark @ [0.2126, 0.7152, 0.0722] + 0.05) > 4.5


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "1"])
def test_every_mode_is_marked(mode: str) -> None:
    picture = Image.fromarray(photograph(2, 200, 200)).convert(mode)
    if mode == "RGBA":
        picture.putalpha(0)
    after, told = explicit_image.draw(picture)

    assert explicit_image.is_drawn(after)
    if mode == "RGBA":  # it is seen even where the picture is not
        left, top, right, bottom = told.box
        middle = ((left + right) // 2, (top + bottom) // 2)
        assert np.asarray(after)[middle[1], middle[0], 3] == 255


def test_a_missing_glyph_is_an_error_and_never_a_box() -> None:
    with pytest.raises(LabelError, match="font has no '성'"):
        explicit_image.draw(Image.new("RGB", (600, 600)), "AI 생성".replace("생", "성"))


def test_the_shipped_font_has_every_wording_of_the_regimes() -> None:
    for name in regimes.names():
        for form in ("image", "video"):
            needs = regimes.requirements(
                [name], form, as_of=regimes.load("eu")[0].since
            )
            explicit_image.draw(Image.new("RGB", (900, 900)), needs.wording)
    explicit_image.draw(Image.new("RGB", (900, 900)), "人工智能生成合成")


def test_a_picture_too_small_for_words_is_refused() -> None:
    with pytest.raises(LabelError, match="no room"):
        explicit_image.draw(Image.new("RGB", (24, 32)))


def test_eu_icon_stands_at_the_top_right() -> None:
    icon, told = explicit_image.draw(
        Image.new("RGB", (800, 600), "white"), "AI", corner="top-right"
    )

    assert told.box[0] > 700
    assert told.box[1] < 20
    assert explicit_image.is_drawn(icon, "AI", corner="top-right")


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_a_file_is_marked_and_read_back(format: str) -> None:
    data = saved(Image.fromarray(photograph(3)), format)
    media_type = f"image/{format.lower()}"
    marked = explicit.write(data, media_type, "image", Wish())

    assert explicit.is_there(data, media_type, "image", Wish()) is False
    assert explicit.is_there(marked, media_type, "image", Wish()) is True
    poor = io.BytesIO()
    image.decode(marked).convert("RGB").save(poor, "JPEG", quality=40)
    assert explicit.is_there(poor.getvalue(), "image/jpeg", "image", Wish()) is True


def test_photographs_without_a_mark_are_not_taken_for_marked() -> None:
    pictures = [Image.fromarray(photograph(seed, 128, 128)) for seed in range(60)]

    assert not any(explicit_image.is_drawn(picture) for picture in pictures)


# --- sound ----------------------------------------------------------------------------

RATE = 16_000


def noisy(seed: int, seconds: float = 3.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    tone = 0.2 * np.sin(2 * np.pi * 220 * time) * (np.sin(2 * np.pi * 3 * time) > 0)
    return (tone + 0.05 * rng.standard_normal(len(time))).astype(np.float32)


def test_morse_is_ai_at_the_stated_lengths() -> None:
    rhythm = explicit_audio.morse(RATE)
    on = np.abs(rhythm).reshape(-1, RATE // 100).max(axis=1) > 0.05  # 10 ms each
    runs = [(bool(key), len(list(run))) for key, run in groupby(on)]

    assert len(rhythm) == round(1.1 * RATE)
    assert [length for _, length in runs] == [10, 10, 30, 30, 10, 10, 10]
    assert [key for key, _ in runs] == [True, False] * 3 + [True]
    assert np.abs(rhythm).max() == pytest.approx(10 ** (-12 / 20), rel=0.01)
    spectrum = np.abs(np.fft.rfft(rhythm))
    assert abs(spectrum.argmax() * RATE / len(rhythm) - 880) < 2


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("seed", range(4))
def test_the_rhythm_is_heard_and_the_sound_itself_is_unchanged(
    where: str, seed: int
) -> None:
    sound = noisy(seed)
    data = Audio(sound, RATE).to_wav()
    marked = explicit_audio.place(data, **{where: explicit_audio.morse(RATE)})
    before, _ = audio.decode(data)
    after, rate = audio.decode(marked)
    kept = after[-len(before) :] if where == "before" else after[: len(before)]

    assert not explicit_audio.is_heard(before, rate)
    assert explicit_audio.is_heard(after, rate)
    assert np.array_equal(kept, before)
    assert len(after) == len(before) + round(1.4 * RATE)


@needs_ffmpeg
def test_cn_11_the_rhythm_survives_mp3_at_64_kbps(tmp_path: Path) -> None:
    wav, mp3, back = (tmp_path / name for name in ("a.wav", "a.mp3", "b.wav"))
    data = Audio(noisy(1), RATE).to_wav()
    wav.write_bytes(explicit_audio.place(data, after=explicit_audio.morse(RATE)))
    quiet = ["ffmpeg", "-v", "error", "-nostdin"]
    subprocess.run([*quiet, "-i", str(wav), "-b:a", "64k", str(mp3)], check=True)
    subprocess.run([*quiet, "-i", str(mp3), str(back)], check=True)

    assert explicit_audio.is_heard(*audio.decode(back.read_bytes()))


@pytest.mark.parametrize("change", ["N", "A alone", "even", "noise"])
def test_another_rhythm_is_not_taken_for_it(change: str) -> None:
    rhythm = explicit_audio.morse(RATE)
    tone = rhythm[: RATE // 10]
    gap = np.zeros(RATE // 10, np.float32)
    long = np.tile(tone, 3)
    other = {
        "N": [long, gap, tone, gap, gap, gap, tone, gap, tone],
        "A alone": [tone, gap, long],
        "even": [tone, gap] * 6,
        "noise": [noisy(9)],
    }[change]

    assert explicit_audio.is_heard(rhythm, RATE)
    assert not explicit_audio.is_heard(np.concatenate(other), RATE)


@pytest.mark.parametrize("bits", [8, 16, 24, 32, 33])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_kind_of_pcm_is_marked(bits: int, channels: int) -> None:
    import struct

    width, form = (4, 3) if bits == 33 else (bits // 8, 1)
    body = bytes([128 if bits == 8 else 0]) * (width * channels * 801)
    head = struct.pack(
        *("<4sIHHIIHH", b"fmt ", 16, form, channels, RATE),
        *(RATE * width * channels, width * channels, width * 8),
    )
    rest = b"LIST\x04\0\0\0INFO"
    chunks = head + struct.pack("<4sI", b"data", len(body)) + body
    chunks += b"\0" * (len(body) % 2) + rest
    data = struct.pack("<4sI4s", b"RIFF", 4 + len(chunks), b"WAVE") + chunks
    marked = explicit_audio.place(data, after=explicit_audio.morse(RATE))
    samples, rate = audio.decode(marked)

    assert marked.endswith(rest)
    assert int.from_bytes(marked[4:8], "little") == len(marked) - 8
    assert samples.shape[0] == 801 + round(1.4 * RATE)
    assert explicit_audio.is_heard(samples, rate)


@pytest.mark.parametrize("rate", [1, 40, 7999])
def test_hostile_sounds_are_listened_to(rate: int) -> None:
    odd = np.array([np.nan, np.inf, -1e300, 0.0] * 4000)

    assert not explicit_audio.is_heard(odd, rate)
    assert not explicit_audio.is_heard(odd, RATE)
    assert not explicit_audio.is_heard(np.zeros((0, 2)), RATE)


def test_a_spoken_notice_comes_first_and_has_to_be_given() -> None:
    data = Audio(noisy(2), RATE).to_wav()
    with pytest.raises(LabelError, match="notice=Audio"):
        explicit.write(data, "audio/wav", "audio", Wish(sound="notice"))
    spoken = noisy(5, 1.0)
    wish = Wish(sound="both", notice=spoken)
    marked = explicit.write(data, "audio/wav", "audio", wish)
    samples, rate = audio.decode(marked)

    assert np.abs(samples[: len(spoken)] - spoken).max() < 1e-4
    assert explicit_audio.is_heard(samples, rate)


def test_what_is_no_plain_sound_is_refused() -> None:
    with pytest.raises(LabelError, match="no WAV"):
        explicit_audio.place(b"ID3")
    with pytest.raises(DamagedAsset):
        explicit_audio.place(b"RIFF\0\0\0\0WAVE")
    with pytest.raises(LabelError, match="longer than"):
        explicit_audio.place(
            Audio(noisy(1), RATE).to_wav(), before=np.zeros(30 * RATE, np.float32)
        )


# --- video ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five seconds of a test picture, 9:16, with sound."""
    path = tmp_path_factory.mktemp("clip") / "in.mp4"
    quiet = ["ffmpeg", "-v", "error", "-nostdin", "-f", "lavfi"]
    picture = ["-i", "testsrc=size=216x384:rate=10:duration=5", "-f", "lavfi"]
    sound = ["-i", "sine=duration=5", "-shortest", "-pix_fmt", "yuv420p"]
    subprocess.run([*quiet, *picture, *sound, str(path)], check=True)
    return path


def frame(video: Path, second: float, to: Path) -> Image.Image:
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y", "-i", str(video)]
    shot = ["-ss", str(second), "-frames:v", "1", str(to)]
    subprocess.run([*command, *shot], check=True)
    return Image.open(to).convert("RGB")


@needs_ffmpeg
def test_cn_10_the_opening_two_seconds_say_so(clip: Path, tmp_path: Path) -> None:
    marked, shot = tmp_path / "out.mp4", tmp_path / "shot.png"
    drawn = explicit_video.draw(clip, marked, "video/mp4")

    assert drawn.share >= 0.05
    for second in (0, 1, 1.9, 2.5):
        assert explicit_image.is_drawn(frame(marked, second, shot)), second
    assert not explicit_image.is_drawn(frame(marked, 4, shot))
    assert not explicit_image.is_drawn(frame(clip, 0, shot))
    assert explicit.is_there(marked.read_bytes(), "video/mp4", "video", Wish()) is True
    length = explicit_video.probe(marked, "video/mp4").seconds
    assert length == pytest.approx(5, abs=0.2)


@needs_ffmpeg
def test_cn_10_less_than_two_seconds_is_told(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"1\.9 seconds"):
        explicit_video.draw(clip, tmp_path / "x.mp4", "video/mp4", seconds=1.9)
    png, _ = explicit_image.overlay(216, 384)
    (tmp_path / "w.png").write_bytes(png)
    short = tmp_path / "short.mp4"
    only = "[0:v][1:v]overlay=enable='lte(t,1.5)'"
    inputs = ["-i", str(clip), "-i", str(tmp_path / "w.png")]
    quiet = ["ffmpeg", "-v", "error", "-nostdin", *inputs]
    subprocess.run([*quiet, "-filter_complex", only, str(short)], check=True)

    assert explicit.is_there(short.read_bytes(), "video/mp4", "video", Wish()) is False


@needs_ffmpeg
def test_the_sound_of_a_video_is_copied(clip: Path, tmp_path: Path) -> None:
    marked = tmp_path / "out.mp4"
    explicit_video.draw(clip, marked, "video/mp4")

    def sound(path: Path) -> bytes:
        command = ["ffmpeg", "-v", "error", "-nostdin", "-i", str(path), "-map", "0:a"]
        done = subprocess.run(
            [*command, "-c", "copy", "-f", "md5", "-"], check=True, capture_output=True
        )
        return done.stdout

    assert sound(marked) == sound(clip)


@needs_ffmpeg
def test_the_subtitles_of_a_video_are_copied(tmp_path: Path) -> None:
    words, source, marked = (tmp_path / n for n in ("a.srt", "a.mkv", "b.mkv"))
    words.write_text("1\n00:00:00,000 --> 00:00:01,000\nHello there\n")
    ffmpeg = ["ffmpeg", "-v", "error", "-nostdin"]
    picture = ["-f", "lavfi", "-i", "testsrc=size=128x128:rate=5:duration=1"]
    subprocess.run([*ffmpeg, *picture, "-i", str(words), str(source)], check=True)
    explicit_video.draw(source, marked, "video/x-matroska")

    read = [*ffmpeg, "-i", str(marked), "-map", "0:s", "-f", "srt", "-"]
    assert b"Hello there" in subprocess.run(read, capture_output=True).stdout


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_bytes(b"nothing")
    with pytest.raises(LabelError, match=r"5\.4"):
        explicit_video.draw(tmp_path / "x.mp4", tmp_path / "y.mp4", "video/mp4")


def test_a_notice_is_heard_at_the_start_and_nowhere_else() -> None:
    rng = np.random.default_rng(5)
    notice = rng.normal(0, 0.2, 8000).astype(np.float32)
    sound = rng.normal(0, 0.2, 16000).astype(np.float32)
    said = explicit_audio.place(Audio(sound, 8000).to_wav(), before=notice)
    samples, rate = audio.decode(said)

    assert explicit_audio.is_said(samples, notice, rate)
    assert explicit_audio.is_said(np.stack([samples] * 2, 1), notice, rate)
    assert not explicit_audio.is_said(samples[100:], notice, rate)
    assert not explicit_audio.is_said(samples[:4000], notice, rate)
    assert not explicit_audio.is_said(sound, notice, rate)


@pytest.mark.parametrize("wrong", ["short", "long", "silent", "stereo", "infinite"])
def test_a_notice_that_nobody_hears_is_refused(wrong: str) -> None:
    noise = np.random.default_rng(6).normal(0, 0.2, 21 * 8000)
    notice = {
        "short": noise[:3999],
        "long": noise,
        "silent": noise[:8000] / 100,
        "stereo": noise[:16000].reshape(-1, 2),
        "infinite": np.append(noise[:8000], np.inf),
    }[wrong]
    with pytest.raises(LabelError, match="a notice"):
        explicit_audio.check_notice(notice, 8000)
    explicit_audio.check_notice(noise[:8000], 8000)


def test_only_our_own_words_keep_a_text_from_being_marked() -> None:
    def written(text: str, form: str, wording: str = explicit_text.WORDING) -> str:
        wish = explicit.Wish(wording)
        return explicit.write(text.encode(), "text/plain", form, wish).decode()

    for form in ("text", "markdown", "page"):
        once = written("AI技术能生成图像", form)
        assert once != "AI技术能生成图像"
        assert written(once, form) == once
    assert written("MAIL\n", "text", "AI") == "AI\n\nMAIL\n\nAI\n"


def test_without_ffmpeg_the_clause_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabelError, match="install ffmpeg") as caught:
        explicit_video.probe(tmp_path / "x.mp4", "video/mp4")

    assert caught.value.clause == "GB 45438-2025, 5.4"


def test_a_document_has_to_be_marked_before() -> None:
    with pytest.raises(LabelError, match="explicit='placed'"):
        explicit.write(b"%PDF-1.7", "application/pdf", "document", Wish())
