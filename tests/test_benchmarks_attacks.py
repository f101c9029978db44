"""Attacks are pure: equal things and generators give equal results."""

from __future__ import annotations

import io
import shutil
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from benchmarks.attacks import (
    Attack,
    audio,
    forgery,
    image,
    metadata,
    named,
    swept,
    text,
    thinned,
    untouched,
    video,
)
from benchmarks.sounds import RATE, music
from numpy.typing import NDArray
from PIL import Image

PROSE = (
    "The keeper climbed the stairs before dusk. Wind came from the west; the lamp "
    'turned slowly. "Listen," she said, "the sea answers." Nobody wrote it down, and '
    "the storm took three boats that night. In the morning the keeper counted them.\n\n"
    "A list of errors follows\u2026 Some of them are old, others are new and rare."
)
SOURCES = text.Sources.of([PROSE * 5])


def picture() -> image.Pixels:
    ramp = np.linspace(0, 255, 96)
    rows, columns = np.meshgrid(ramp[:80], ramp, indexing="ij")
    stack = [rows, columns, (rows + columns) / 2]
    noise = np.random.default_rng(0).normal(0, 8, (80, 96, 3))
    return np.clip(np.stack(stack, -1) + noise, 0, 255).astype(np.uint8)


def twice(change: Callable[..., Any], thing: Any) -> tuple[Any, Any]:
    first, second = (change(thing, np.random.default_rng(5)) for _ in range(2))
    return first, second


@pytest.mark.parametrize("attack", image.table().values(), ids=lambda a: str(a.name))
def test_a_picture_stays_one(attack: Attack[image.Pixels]) -> None:
    before = picture()
    kept = before.copy()
    first, second = twice(attack.change, before)

    assert np.array_equal(first, second)
    assert np.array_equal(before, kept)
    assert first.dtype == np.uint8
    assert first.shape[2] == 3
    assert np.array_equal(first, before) == (attack.name == "none")
    if attack.family not in ("resize", "quarter turn"):
        assert first.shape == before.shape


def test_what_many_pictures_have_in_common_is_found_and_taken_out() -> None:
    rng = np.random.default_rng(1)
    pattern = 6 * np.sign(rng.standard_normal((64, 64, 3)))
    plain = [rng.integers(60, 190, (64, 64, 3)) for _ in range(400)]
    other = rng.integers(60, 190, (64, 64, 3)).astype(np.uint8)
    marked = [np.clip(p + pattern, 0, 255).astype(np.uint8) for p in plain]
    common = forgery.averaged(marked)
    cleaned = forgery.subtracted(marked[0], rng, common=common)
    forged = forgery.added(marked[0], rng, common=common, cover=other)

    assert np.corrcoef(common.ravel(), pattern.ravel())[0, 1] > 0.5
    put = forged.astype(float) - other
    assert np.mean(put * pattern) > 0.5 * np.mean(pattern * pattern)
    left = cleaned.astype(float) - plain[0]
    assert np.mean(left * pattern) < 0.5 * np.mean(pattern * pattern)


def test_each_mean_is_of_as_many_pictures_as_its_name_says() -> None:
    asked: list[int] = []

    def common(count: int) -> NDArray[np.float64]:
        asked.append(count)
        return np.full((4, 4, 3), float(count))

    start = np.full((4, 4, 3), 100, np.uint8)
    table = forgery.averages(common, lambda: start + 20, (4, 64))
    left = {n: a.change(start, np.random.default_rng(0)) for n, a in table.items()}

    assert asked == [4, 64, forgery.ADDED]
    assert {n: int(p[0, 0, 0]) for n, p in left.items()} == {
        "average subtracted, of 4": 96,
        "average subtracted, of 64": 36,
        f"forged: average of {forgery.ADDED} added": 120 + forgery.ADDED,
    }
    assert [n for n, a in table.items() if a.forges] == [list(table)[-1]]


@pytest.mark.parametrize("attack", audio.table().values(), ids=lambda a: str(a.name))
def test_a_sound_stays_one(attack: Attack[audio.Sound]) -> None:
    before = music(1, 2)
    first, second = twice(attack.change, before)

    assert np.array_equal(first, second)
    assert first.ndim == 1
    assert np.isfinite(first).all()
    if attack.family in ("cut to", "speed"):
        factor = attack.strength or 0.0
        wanted = factor if attack.family == "cut to" else 1 / factor
        assert len(first) == pytest.approx(wanted * len(before), abs=2)
    elif attack.name not in ("none", "upside down", "half cut out, MP3 64 kbit/s"):
        n = min(len(first), len(before))
        assert n > 0.9 * len(before)
        assert not np.array_equal(first[:n], before[:n])


def test_a_thinned_table_has_every_family_by_its_ends_and_middle() -> None:
    def change(thing: int, rng: object, strength: float) -> int:
        return thing

    table = named(
        [
            Attack("none", untouched),
            *(a for n in "2345" for a in swept(f"of {n}", change, range(int(n)))),
        ]
    )
    few = thinned(table)

    assert list(few) == [
        *("none", "of 2 1", "of 3 0", "of 3 1", "of 3 2"),
        *("of 4 0", "of 4 2", "of 4 3", "of 5 0", "of 5 2", "of 5 4"),
    ]
    assert thinned(few) == few
    tables: list[dict[str, Attack[Any]]]
    tables = [image.table(), audio.table(), text.table(SOURCES)]
    for whole in tables:
        assert {a.family for a in thinned(whole).values()} == {
            a.family for a in whole.values()
        }


def test_noise_has_the_level_it_says() -> None:
    before = music(2, 2)
    added = audio.noisy(before, np.random.default_rng(0), 25) - before
    decibels = 20 * np.log10(before.std() / added.std())

    assert decibels == pytest.approx(25, abs=0.2)
    assert len(before) == 2 * RATE


@pytest.mark.parametrize(
    "attack", text.table(SOURCES).values(), ids=lambda a: str(a.name)
)
def test_a_text_stays_one(attack: Attack[str]) -> None:
    first, second = twice(attack.change, PROSE)

    assert first == second
    assert isinstance(first, str)
    assert first
    assert (first == PROSE) == (attack.name == "none")


def test_text_attacks_do_what_they_say() -> None:
    rng = np.random.default_rng(3)
    words = PROSE.split()

    assert sorted(text.shuffled(PROSE, rng).split()) == sorted(words)
    assert (
        text.zero_width(PROSE, rng, 0.3).translate(
            dict.fromkeys(map(ord, text.ZERO_WIDTH))
        )
        == PROSE
    )
    kept = len(text.truncated(PROSE, rng, 0.5).split())
    assert kept == pytest.approx(len(words) / 2, abs=1)
    host = SOURCES.pasted(PROSE, rng, 0.25)
    assert PROSE in host
    assert len(host.split()) == pytest.approx(4 * len(words), rel=0.05)
    changed = SOURCES.substituted(PROSE, rng, 1.0).split()
    assert len(changed) == len(words)
    assert sum(a != b for a, b in zip(changed, words, strict=True)) > 0.8 * len(words)


def test_other_ways_to_set_a_text_keep_its_words() -> None:
    rng = np.random.default_rng(6)
    lines = text.wrapped(PROSE, rng).split("\n")

    assert text.upper_case(PROSE, rng).lower() == PROSE.lower()
    assert text.title_case("the cat's 3rd", rng) == "The Cat's 3rd"
    assert text.normalised("\ufb01ne \u2460\u2026", rng) == "fine 1..."
    assert text.retokenised('"Listen," she', rng) == '" Listen , " she'
    assert max(map(len, lines)) <= text.LINE
    whole = "".join(line.removesuffix("-") for line in lines)
    assert whole.replace(" ", "") == "".join(PROSE.split())


def test_every_slip_of_the_finger_and_every_other_word_is_another() -> None:
    rng = np.random.default_rng(4)
    slips = [text._mistyped(word, rng) for word in ["qp", "Pq", "az", "lm"] * 200]

    assert all(
        slip != word
        for slip, word in zip(slips, ["qp", "Pq", "az", "lm"] * 200, strict=True)
    )
    for word in SOURCES.words:
        assert word not in {SOURCES.alike(" " + word, rng).strip() for _ in range(20)}


@pytest.mark.models
def test_the_model_rewrites_only_what_is_chosen() -> None:
    from benchmarks.language import Language
    from benchmarks.options import MODELS

    language = Language.load(MODELS / "lm")
    sources = text.Sources.of([PROSE * 5], language)
    ids = language.reader.encode(PROSE)
    for change in (sources.proposed, sources.reworded, sources.paraphrased):
        whole, again = (change(PROSE, np.random.default_rng(1), 1.0) for _ in range(2))
        assert whole == again != PROSE
        assert change(PROSE, np.random.default_rng(1), 0.0).strip() == PROSE
    words = sources.reworded(PROSE, np.random.default_rng(1), 0.3).split()
    assert len(words) == len(PROSE.split())
    kept = sum(a == b for a, b in zip(words, PROSE.split(), strict=True))
    assert 0.5 * len(words) < kept < 0.9 * len(words)
    new = language.reader.encode(sources.proposed(PROSE, np.random.default_rng(1), 0.2))
    same = sum(a == b for a, b in zip(ids, new, strict=False))
    assert 0.3 * len(ids) < same < len(ids)


@pytest.mark.parametrize("attack", video.table().values(), ids=lambda a: str(a.name))
def test_a_video_stays_one(attack: Attack[video.Frames]) -> None:
    rng = np.random.default_rng(0)
    start = rng.integers(0, 255, (32, 48, 3))
    frames = np.stack([np.roll(start, i, axis=1) for i in range(12)]).astype(np.uint8)
    first, second = twice(attack.change, frames)

    assert np.array_equal(first, second)
    assert first.dtype == np.uint8
    assert first.shape[1:] == frames.shape[1:]
    assert 1 <= len(first) <= 12
    if attack.family in ("frames dropped", "trimmed"):
        assert {f.tobytes() for f in first} < {f.tobytes() for f in frames}


def with_manifest(format: str, store: bytes) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(data, format)
    plain = data.getvalue()
    if format == "PNG":
        chunk = struct.pack(">I", len(store)) + b"caBX" + store + b"\0\0\0\0"
        return plain[:33] + chunk + plain[33:]
    if format == "JPEG":
        segment = b"\xff\xeb" + struct.pack(">H", len(store) + 2) + store
        return plain[:2] + segment + plain[2:]
    chunk = b"C2PA" + struct.pack("<I", len(store)) + store + b"\0" * (len(store) % 2)
    size = struct.pack("<I", len(plain) + len(chunk) - 8)
    return b"RIFF" + size + plain[8:] + chunk


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_a_manifest_is_carried_over_whole(format: str) -> None:
    victim, donor = with_manifest(format, b"mine"), with_manifest(format, b"another's")
    moved = metadata.transplanted(victim, np.random.default_rng(0), donor=donor)

    assert moved == donor  # their pictures are the same
    with pytest.raises(ValueError, match="expected a PNG, JPEG"):
        metadata.transplanted(b"plain text", np.random.default_rng(0), donor=donor)


def test_a_file_that_is_rolled_back_is_what_it_was() -> None:
    first = with_manifest("PNG", b"first")

    def updated(data: bytes, rng: np.random.Generator) -> bytes:
        assert data == first
        return with_manifest("PNG", b"first, and more")

    table = metadata.table(b"", b"", resigned=updated, updated=updated)
    rng = np.random.default_rng(0)

    assert table["updated and rolled back"].change(first, rng) == first
    assert table["updated, no attack"].change(first, rng) != first


def test_curves_have_points_enough() -> None:
    tables = image.table(object()), text.table(text.Sources.of([PROSE], object()))
    families = [attack.family for table in tables for attack in table.values()]

    for family in (
        *("JPEG", "Gaussian noise", "crop", "img2img"),
        *("typos", "words deleted", "paraphrased"),
    ):
        assert families.count(family) >= 4, family


def test_two_attacks_of_one_name_are_refused() -> None:
    attack = Attack("blur", image.flipped, 2.0)

    assert attack.name == "blur 2"
    with pytest.raises(ValueError, match="blur 2"):
        named([attack, attack])


def test_a_film_that_is_encoded_again_is_looked_at() -> None:
    from benchmarks.options import Options
    from benchmarks.robustness.video import VideoSuite

    options = Options(only=("trimmed", "MPEG-4"))
    suite = VideoSuite()
    row = suite.worker(options).sample("pixel", 0)
    found = row["attacks"]

    assert found["none"]["exact"]
    assert found["trimmed 0.25"]["log10_p"] < -6
    assert all(one["null"] > -4 for one in found.values())
    assert row["quality"]["PSNR, dB"] > 40
    if shutil.which("ffmpeg"):
        assert found["MPEG-4, q 2"]["log10_p"] < -6
        assert set(found) < set(suite.spec(options).attacks)


def test_bits_of_the_content_are_flipped_whatever_the_manifest_s_length() -> None:
    """A manifest is not signed twice in the same bytes; a table shall be the same."""
    content = bytes(range(256)) * 20

    def signed(length: int) -> bytes:
        segment = b"\xff\xeb" + (length + 2).to_bytes(2, "big") + bytes(length)
        return b"\xff\xd8" + segment + b"\xff\xda" + content

    def flipped(length: int) -> tuple[bytes, int]:
        rng = np.random.default_rng(3)
        changed = metadata.flipped(signed(length), rng, 200)
        assert len(changed) == len(signed(length))
        rest = changed[:2] + changed[-len(content) - 2 :]
        return rest, sum(map(int.bit_count, changed[2 : 6 + length]))

    (short, hit), (long, also) = flipped(5_000), flipped(5_003)
    assert short == long != b"\xff\xd8\xff\xda" + content
    assert hit > 50
    assert also > 50
