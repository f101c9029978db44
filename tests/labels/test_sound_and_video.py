"""Labels in sounds and films that ffmpeg made: one, read by others, nothing else moved.

The names CN-.. are those of the conformance list for the labelling standards.
"""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import tracemalloc
from pathlib import Path

import pytest
from benchmarks.label_corruption import NAMES, attack, counted
from benchmarks.label_samples import (
    FILM,
    SOUND,
    ffmpeg,
    sounds_and_films,
)
from tests.labels.writing import LABEL, OTHER, read, write

from watermark.assets import DamagedAsset, media_type_for_suffix
from watermark.errors import LabelError
from watermark.labels import containers
from watermark.record import Record
from watermark.sign import c2pa, claims
from watermark.sign.credential import Credential

needs_ffmpeg = pytest.mark.skipif(
    shutil.which("ffmpeg") is None, reason="ffmpeg is not installed"
)
SAMPLES = {sample.name: sample for sample in sounds_and_films()}
every_sample = pytest.mark.parametrize("name", SAMPLES or [""])
pytestmark = needs_ffmpeg

SHOWN_BY_EXIFTOOL = {
    "end.mp4", "start.mp4", "keys.mp4", "fragments.mp4", "start.mov", "start.m4a",
    "index.flv", "plain.mp3", "older.mp3", "bare.mp3", "plain.flac", "vorbis.ogg",
    "opus.opus", "flac.oga", "live.webm",
}  # fmt: skip
# ffmpeg's own RIFF reader knows no chunk AIGC at the top of a WAV.
HIDDEN_FROM_FFPROBE = {"pcm.wav"}


@functools.cache
def labelled(name: str) -> bytes:
    sample = SAMPLES[name]
    return write(sample.data, sample.media_type)


def run(folder: Path, name: str, data: bytes, *command: str) -> str:
    """A program's output on the file; its name stands for ``FILE``."""
    path = folder / name
    path.write_bytes(data)
    words = [str(path) if word == "FILE" else word for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return done.stdout


def packets(
    folder: Path, name: str, data: bytes, *before: str
) -> list[tuple[str, ...]]:
    """Stream, times, size and hash of every packet, as ffmpeg finds them."""
    shown = run(
        folder, name, data,
        "ffmpeg", "-loglevel", "quiet", *before, "-i", "FILE", "-map", "0",
        "-c", "copy", "-f", "framemd5", "-",
    )  # fmt: skip
    rows = [line.split(",") for line in shown.splitlines() if line[0] != "#"]
    return [tuple(field.strip() for field in row[:6]) for row in rows]


def tags(folder: Path, name: str, data: bytes) -> dict[str, str]:
    """Every tag that ffprobe shows, of the file and of its streams."""
    shown = run(
        folder, name, data,
        "ffprobe", "-loglevel", "quiet", "-show_format", "-show_streams",
        "-of", "json", "FILE",
    )  # fmt: skip
    found = json.loads(shown)
    rows = [found["format"], *found["streams"]]
    return {k.upper(): v for row in rows for k, v in row.get("tags", {}).items()}


@every_sample
def test_cn_02_a_file_has_one_label_after_two_writes(name: str) -> None:
    media_type = SAMPLES[name].media_type
    once = labelled(name)
    assert read(SAMPLES[name].data, media_type) == []
    assert read(once, media_type) == [LABEL]
    with pytest.raises(LabelError, match="exactly one"):
        write(once, media_type, OTHER)
    twice = write(once, media_type, OTHER, replace=True)
    assert read(twice, media_type) == [OTHER]
    assert b"0123456789abcdef" in once
    assert b"0123456789abcdef" not in twice


@every_sample
def test_the_same_label_again_changes_nothing(name: str) -> None:
    once = labelled(name)
    assert write(once, SAMPLES[name].media_type, LABEL, replace=True) == once


@every_sample
def test_cn_03_and_01_ffprobe_reads_the_label_and_all_other_tags(
    name: str, tmp_path: Path
) -> None:
    before = tags(tmp_path, name, SAMPLES[name].data)
    after = tags(tmp_path, name, labelled(name))
    grown = len(labelled(name)) - len(SAMPLES[name].data)
    for moved in {"FILESIZE", "LASTKEYFRAMELOCATION"} & set(before):  # of an FLV
        before[moved] = str(int(before[moved]) + grown)
    wanted = {} if name in HIDDEN_FROM_FFPROBE else {"AIGC": LABEL.decode()}
    assert after == before | wanted


@every_sample
def test_cn_14_packets_and_their_times_stay(name: str, tmp_path: Path) -> None:
    before = packets(tmp_path, name, SAMPLES[name].data)
    assert len(before) > 10
    assert packets(tmp_path, name, labelled(name)) == before


@pytest.mark.parametrize(
    "name", [n for n, s in SAMPLES.items() if s.media_type.startswith("video")] or [""]
)
def test_cn_14_seeking_finds_the_same_packets(name: str, tmp_path: Path) -> None:
    """Indexes still point to what they did, also behind a label that needs room."""
    sample = SAMPLES[name]
    longer = write(sample.data, sample.media_type, LABEL * 9)
    before = packets(tmp_path, name, sample.data, "-ss", "1.2")
    assert packets(tmp_path, name, longer, "-ss", "1.2") == before


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is missing")
@pytest.mark.parametrize("name", sorted(SHOWN_BY_EXIFTOOL & set(SAMPLES)) or [""])
def test_cn_01_exiftool_reads_the_label(name: str, tmp_path: Path) -> None:
    shown = run(tmp_path, name, labelled(name), "exiftool", "-a", "-G1", "FILE")
    rows = [row for row in shown.splitlines() if "aigc" in row.lower()]
    assert len(rows) == 1
    assert rows[0].endswith(LABEL.decode())
    assert "Warning" not in shown
    assert "Error" not in shown


@pytest.mark.parametrize(
    "name",
    [n for n, s in SAMPLES.items() if s.media_type in c2pa.EMBEDDABLE] or [""],
)
def test_a_file_that_is_signed_after_it_was_labelled_is_trusted(
    name: str, credential: Credential
) -> None:
    media_type = SAMPLES[name].media_type
    record = Record(kind="video", provider="Acme", record_id="ab" * 16)
    definition = claims.definition(record)
    signed = c2pa.sign(labelled(name), media_type, definition, credential).data
    assert credential.root_pem is not None
    found = c2pa.read(signed, media_type, anchors=credential.root_pem)
    assert found.state == "trusted"
    assert read(signed, media_type) == [LABEL]
    changed = bytearray(signed)
    changed[signed.index(LABEL) + 12] ^= 1
    spoilt = c2pa.read(bytes(changed), media_type, anchors=credential.root_pem)
    assert spoilt.state == "invalid"  # the label is under the signature


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("a.mp4", FILM + "-movflags use_metadata_tags"),
        ("a.mov", FILM + "-movflags use_metadata_tags"),
        ("a.m4a", SOUND + "-movflags use_metadata_tags"),
        ("a.mkv", SOUND),
        ("a.webm", SOUND + "-c:a libopus"),
        ("a.flv", SOUND + "-ar 44100"),
        ("a.mp3", SOUND),
        ("a.flac", SOUND),
        ("a.ogg", SOUND + "-c:a libvorbis"),
        ("a.opus", SOUND + "-c:a libopus"),
    ],
)
def test_cn_08_labels_that_ffmpeg_wrote_are_read_and_replaced(
    name: str, how: str
) -> None:
    """The guides' own recipe: ``-metadata AIGC=...``."""
    media_type = media_type_for_suffix(Path(name).suffix)
    data = ffmpeg(name, f"{how} -metadata AIGC={LABEL.decode()}")
    assert read(data, media_type) == [LABEL]
    new = write(data, media_type, OTHER, replace=True)
    assert read(new, media_type) == [OTHER]
    assert LABEL not in new


@pytest.fixture(scope="module")
def credential(tmp_path_factory: pytest.TempPathFactory) -> Credential:
    return Credential.create_dev(tmp_path_factory.mktemp("acme") / "c", "Acme")


@every_sample
def test_cn_15_spoilt_files_are_never_called_unlabelled(name: str) -> None:
    outcome = attack(SAMPLES[name], range(60))
    assert outcome.wrong == []
    assert min(outcome.counts["damaged"], outcome.counts["label"]) > 0


@every_sample
def test_cn_15_a_file_cut_off_anywhere_in_its_metadata_is_damaged(name: str) -> None:
    """Or it still has the label, where that stands in front of the media."""
    data = labelled(name)
    near = range(0, data.index(b"AIGC") + len(LABEL), 37)
    for end in (*near, len(data) - 1):
        try:
            found = read(data[:end], SAMPLES[name].media_type)
        except DamagedAsset:
            continue
        assert found == [LABEL], end


@pytest.mark.parametrize("media_type", sorted({s.media_type for s in SAMPLES.values()}))
def test_cn_15_what_is_no_such_container_is_damaged(media_type: str) -> None:
    for data in (b"", b"\0" * 64, b"AIGC" + LABEL, bytes(range(256)) * 4):
        with pytest.raises(DamagedAsset):
            read(data, media_type)


def test_the_names_that_lead_to_a_label_are_in_the_files() -> None:
    """Else a trial would excuse every missing label."""
    for sample in SAMPLES.values():
        for name in NAMES[sample.media_type]:
            assert counted(labelled(sample.name), name), (sample.name, name)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("long.wav", SOUND.replace("duration=2", "duration=400")),
        ("long.flac", "-f lavfi -i anoisesrc=duration=100:seed=1 "),
        ("long.mp4", FILM.replace("64x48", "640x480") + "-c:v rawvideo -f mov"),
    ],
)
def test_media_is_copied_in_pieces(name: str, how: str, tmp_path: Path) -> None:
    media_type = {"wav": "audio/wav", "flac": "audio/flac", "mp4": "video/quicktime"}
    data = ffmpeg(name, how)
    assert len(data) > 6e6
    (tmp_path / name).write_bytes(data)
    with (
        (tmp_path / name).open("rb") as source,
        (tmp_path / f"labelled-{name}").open("w+b") as target,
    ):
        tracemalloc.start()
        containers.write(source, target, media_type[name[5:]], LABEL)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 3e6
