"""Learned marks as layers: embedded, verified, told where they cannot be looked for."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from benchmarks.sounds import RATE, music
from PIL import Image
from scipy.io import wavfile
from scipy.ndimage import gaussian_filter
from skimage import data
from tests.learned.codecs import Answers, Carriers
from typer.testing import CliRunner

from watermark import Key, verify
from watermark.api import Watermark
from watermark.cli import app
from watermark.errors import (
    CodecError,
    MissingCodec,
    MissingDependency,
    NotMarked,
    UnsupportedFormat,
)
from watermark.report import Evidence, Report, Verdict
from watermark.schemes import learned
from watermark.schemes.learned import codec as codecs
from watermark.verifier import Verifier

HUM = Carriers(name="hum", bits=16, rate=16_000, least=16_000, most=32_000)
riva = pytest.mark.skipif(
    find_spec("imwatermark") is None or find_spec("onnxruntime") is None,
    reason="invisible-watermark and onnxruntime are not installed",
)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No codec may ask for anything: connecting fails the test, whoever tries."""

    def refuse(*_: Any, **__: Any) -> NoReturn:
        pytest.fail("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(autouse=True)
def as_found(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Codecs that a test registers are gone after it."""
    monkeypatch.setattr(codecs, "_registered", {})
    yield
    codecs._built_in.cache_clear()


@pytest.fixture
def w(tmp_path: Path) -> Watermark:
    return Watermark.create(tmp_path / "home", provider="Acme")


def photo(seed: int, side: int = 256) -> Image.Image:
    rng = np.random.default_rng(seed)
    blobs = gaussian_filter(rng.standard_normal((side, side, 3)), (12, 12, 0))
    values = 128 + 40 * blobs / blobs.std() + 6 * rng.standard_normal(blobs.shape)
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def person() -> Any:
    """A photograph, 512 x 512."""
    return data.astronaut()  # type: ignore[no-untyped-call]


def saved(picture: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    output = io.BytesIO()
    picture.save(output, format, **options)
    return output.getvalue()


def bare(data: bytes) -> bytes:
    """The same pixels, without the manifest."""
    return saved(Image.open(io.BytesIO(data)).convert("RGB"))


def mark(report: Report, scheme: str) -> Evidence:
    [found] = [e for e in report.evidence if e.scheme == scheme]
    return found


def reasons(report: Report) -> list[str]:
    return [reason.code for reason in report.reasons]


def test_a_codec_of_ones_own_marks_beside_pixel_and_is_found_again(
    w: Watermark,
) -> None:
    marked = w.embed(saved(photo(1)), layers=[Carriers(), "pixel"])
    assert [m.scheme for m in marked.record.marks] == ["learned-carriers", "pixel"]
    assert marked.record.marks[0].mark_id == b""
    found = w.verify(bare(marked.data))
    assert found.verdict is Verdict.MARKED
    evidence = mark(found, "learned-carriers")
    assert evidence.log10_p is not None
    assert evidence.log10_p < -6
    assert evidence.codes == ("copyable",)
    # Each key record that is tested is counted: pixel, latent, noise, and this one.
    assert evidence.hypotheses == 4
    assert mark(found, "pixel").payload == marked.record.marks[1].mark_id
    assert mark(found, "pixel").hypotheses % 4 == 0


def test_alone_it_is_a_mark_with_a_warning(w: Watermark) -> None:
    marked = w.embed(saved(photo(1)), layers=[Carriers()])
    found = w.verify(bare(marked.data))
    assert (found.verdict, reasons(found)) == (Verdict.MARKED, ["copyable"])


def test_whoever_has_one_marked_file_can_mark_another(w: Watermark) -> None:
    """The weakness, so that nobody takes it for less; and what it cannot do."""
    codec = Carriers()
    marked = w.embed(saved(photo(1)), layers=[codec])
    read = codec.decode(np.asarray(Image.open(io.BytesIO(marked.data)).convert("RGB")))
    other = codec.encode(np.asarray(photo(2)), np.asarray(read, np.uint8))
    forged = w.verify(saved(Image.fromarray(other)))
    assert (forged.verdict, reasons(forged)) == (Verdict.MARKED, ["copyable"])


def test_a_copied_mark_accuses_nobody(tmp_path: Path) -> None:
    """On a picture with another provider's firm mark it makes no conflict."""
    ours, theirs = (
        Watermark.create(tmp_path / name, provider=name) for name in ("a", "b")
    )
    codec = Carriers()
    learned.register(codec)
    foreign = learned.record(theirs.home.ring.newest.key, codec)
    marked = ours.embed(saved(photo(3)))
    pixels = np.asarray(Image.open(io.BytesIO(marked.data)).convert("RGB"))
    both = saved(Image.fromarray(learned.mark_picture(pixels, foreign)))
    keys = [ours.home.ring.newest.key, foreign]
    found = ours.verify(both, keys=keys)
    assert mark(found, "learned-carriers").key_id == foreign.kid
    assert found.verdict is Verdict.MARKED
    assert "copyable" in reasons(found)
    assert "two-keys" not in reasons(found)


def test_pictures_and_keys_that_were_not_used_are_not_found(w: Watermark) -> None:
    learned.register(Carriers())
    w.embed(saved(photo(1)), layers=["carriers"])
    unmarked = w.verify(saved(photo(4)))
    assert unmarked.verdict is not Verdict.MARKED
    assert (mark(unmarked, "learned-carriers").log10_p or 0) > -6
    marked = learned.mark_picture(
        np.asarray(photo(1)), learned.record(Key.generate(), "carriers")
    )
    other = w.verify(saved(Image.fromarray(marked)))
    assert (mark(other, "learned-carriers").log10_p or 0) > -6


def test_turned_pictures_are_read_with_more_effort(w: Watermark) -> None:
    marked = w.embed(saved(photo(1)), layers=[Carriers()])
    picture = Image.open(io.BytesIO(marked.data)).convert("RGB")
    for change in (Image.Transpose.ROTATE_90, Image.Transpose.TRANSVERSE):
        turned = saved(picture.transpose(change))
        assert w.verify(turned).verdict is not Verdict.MARKED
        found = w.verify(turned, effort="thorough")
        assert found.verdict is Verdict.MARKED
        evidence = mark(found, "learned-carriers")
        assert "other-geometry" in evidence.codes
        assert evidence.hypotheses == 4 * 14  # seven ways share half of the budget


def test_frames_of_a_film_vote(w: Watermark) -> None:
    learned.register(Carriers())
    record = learned.record(w.home.ring.newest.key, "carriers")
    frames = [np.asarray(photo(seed, 128)) for seed in range(10)]
    marked = [Image.fromarray(learned.mark_picture(f, record)) for f in frames]
    found = w.verify(marked, keys=[record])
    assert (found.verdict, reasons(found)[:1]) == (Verdict.MARKED, ["copyable"])
    assert "8 frames together" in mark(found, "learned-carriers").detail
    plain = w.verify([Image.fromarray(f) for f in frames], keys=[record])
    assert plain.verdict is not Verdict.MARKED


def test_sounds_are_marked_beside_wave_and_found(w: Watermark) -> None:
    output = io.BytesIO()
    wavfile.write(output, RATE, (music(1) * 32767).astype(np.int16))
    marked = w.embed(output.getvalue(), layers=[HUM, "wave"])
    assert [m.scheme for m in marked.record.marks] == ["learned-hum", "wave"]
    found = w.verify(marked.data)
    heard, ours = mark(found, "learned-hum"), mark(found, "wave")
    assert (heard.log10_p or 0) < -6
    assert ours.payload == marked.record.marks[1].mark_id
    assert heard.hypotheses == 2
    assert w.verify(output.getvalue()).verdict is not Verdict.MARKED


def test_of_four_keys_that_were_used_each_finds_its_own(w: Watermark) -> None:
    learned.register(Carriers())
    records = [learned.record(Key.generate(), "carriers") for _ in range(4)]
    pixels = learned.mark_picture(np.asarray(photo(1)), records[2])
    found = w.verify(saved(Image.fromarray(pixels)), keys=records)
    [hit] = [e for e in found.evidence if e.log10_p is not None and e.log10_p < -6]
    assert hit.key_id == records[2].kid


@pytest.mark.parametrize("first", [True, False])
def test_a_record_of_another_version_hides_none_of_this_one(first: bool) -> None:
    learned.register(Carriers())
    keys = [Key(np.random.default_rng(seed).bytes(32)) for seed in (8, 9)]
    own = learned.record(keys[0], "carriers")
    scheme = learned.scheme_of("learned-carriers")
    assert scheme is not None
    other = scheme.record(keys[1], bits=47, rate=0)
    marked = learned.mark_picture(np.asarray(photo(3)), own)
    records = [other, own] if first else [own, other]
    report = Verifier(None, keys=records)(Image.fromarray(marked))

    assert report.verdict == Verdict.MARKED
    alone = Verifier(None, keys=[other])(Image.fromarray(marked))
    assert alone.verdict == Verdict.INCONCLUSIVE
    assert "codec-failed" in reasons(alone)


def test_a_codec_that_is_gone_is_told_and_never_means_unmarked(w: Watermark) -> None:
    marked = w.embed(saved(photo(1)), layers=[Carriers()])
    codecs._registered.clear()
    found = w.verify(bare(marked.data))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "no-codec" in reasons(found)
    [reason] = [r for r in found.reasons if r.code == "no-codec"]
    assert "carriers was not looked for" in reason.detail
    assert not [e for e in found.evidence if e.scheme == "learned-carriers"]


@pytest.mark.parametrize(
    "answer",
    [np.full(48, np.nan), np.zeros(3), RuntimeError("broken"), MemoryError()],
    ids=["nan", "short", "raises", "memory"],
)
def test_a_decoder_that_fails_costs_its_layer_alone(w: Watermark, answer: Any) -> None:
    codec = Answers(answer=answer)
    learned.register(codec)
    record = learned.record(w.home.ring.newest.key, codec)
    marked = w.embed(saved(photo(1)))
    w.home.add_key_record(record)
    found = w.verify(bare(marked.data))
    assert found.verdict is Verdict.MARKED  # by pixel
    plain = w.verify(saved(photo(2)))
    assert plain.verdict is Verdict.INCONCLUSIVE
    assert "codec-failed" in reasons(plain)


def test_what_cannot_be_read_back_is_not_handed_out(w: Watermark) -> None:
    codec = Answers(answer=np.zeros(48))
    with pytest.raises(NotMarked, match="bits are read back"):
        w.embed(saved(photo(1)), layers=[codec])
    with pytest.raises(NotMarked, match="needs 64 pixels"):
        w.embed(saved(photo(1, 48)), layers=[Carriers()])
    with pytest.raises(CodecError, match="up to 4,096"):
        w.embed(saved(photo(1, 96)), layers=[Carriers(name="few", most=4096)])
    assert w.home.key_records() == w.home.key_records()
    assert not [r for r in w.home.key_records() if learned.is_learned(r.scheme)]


def test_layers_that_make_no_sense_are_refused(w: Watermark) -> None:
    picture = saved(photo(1))
    with pytest.raises(UnsupportedFormat, match="'wave'"):
        w.embed(picture, layers=["wave"])
    with pytest.raises(ValueError, match="expected a list"):
        w.embed(picture, layers="pixel")
    with pytest.raises(ValueError, match="expected a list"):
        w.embed(picture, layers=[])
    with pytest.raises(ValueError, match="mark=False"):
        w.embed(picture, layers=["pixel"], mark=False)
    with pytest.raises(MissingCodec, match="nobodys"):
        w.embed(picture, layers=["nobodys"])
    with pytest.raises(NotMarked, match="text"):
        w.embed("A text.", layers=["pixel"])


def test_a_layer_that_is_there_is_not_put_in_again(w: Watermark) -> None:
    first = w.embed(saved(photo(1)))
    second = w.embed(first.data, layers=["pixel", Carriers()])
    schemes = [m.scheme for m in second.record.marks]
    assert schemes == ["pixel", "learned-carriers"]
    assert second.record.marks[0] == first.record.marks[0]
    found = w.verify(bare(second.data))
    assert mark(found, "pixel").payload == first.record.marks[0].mark_id


# --- packages of others --------------------------------------------------------------


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Take a package away, installed or not."""

    def take(name: str) -> None:
        def find(wanted: str, *args: Any) -> Any:
            return None if wanted == name else find_spec(wanted, *args)

        for module in codecs.BUILT_IN:
            monkeypatch.setattr(f"watermark.schemes.learned.{module}.find_spec", find)
        codecs._built_in.cache_clear()

    return take


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("rivagan", "imwatermark"),
        ("trustmark", "trustmark"),
        ("videoseal", "videoseal"),
        ("audioseal", "audioseal"),
    ],
)
def test_a_package_that_is_missing_is_named_with_its_install_line(
    w: Watermark, without: Callable[[str], None], name: str, package: str
) -> None:
    without(package)
    with pytest.raises(MissingDependency, match=rf"pip install .*\[{name}\]"):
        w.embed(saved(photo(1)), layers=[name])
    scheme = learned.scheme_of(f"learned-{name}")
    assert scheme is not None
    record = scheme.record(w.home.ring.newest.key, bits=32)
    found = w.verify(saved(photo(1)), keys=[record])
    assert (found.verdict, reasons(found)) == (Verdict.INCONCLUSIVE, ["no-codec"])


@pytest.mark.parametrize("name", ["trustmark", "videoseal", "audioseal"])
def test_weights_that_are_missing_are_told_and_not_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """By empty packages of those names: nothing of them may be needed to say so."""
    package = tmp_path / "site" / name
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('was imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setenv("AUDIOSEAL_CACHE_DIR", str(tmp_path / "none"))
    monkeypatch.setenv("VIDEOSEAL_CHECKPOINT", str(tmp_path / "none.pth"))
    codecs._built_in.cache_clear()
    with pytest.raises(MissingCodec, match="nothing is fetched here") as told:
        learned.record(Key.generate(), name)
    assert str(tmp_path) in str(told.value)


# --- RivaGAN, whose weights are in its wheel ------------------------------------------


@riva
def test_rivagan_by_the_command_line(
    w: Watermark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATERMARK_HOME", str(w.home.path))
    source, target = tmp_path / "in.png", tmp_path / "out.png"
    source.write_bytes(saved(Image.fromarray(person()[:384, 64:448])))
    args = ["embed", str(source), "-o", str(target), "--layer", "rivagan"]
    done = CliRunner().invoke(app, args)
    assert done.exit_code == 0, done.output
    assert "learned-rivagan" in done.output
    bare_file = tmp_path / "bare.png"
    bare_file.write_bytes(bare(target.read_bytes()))
    told = CliRunner().invoke(app, ["verify", str(bare_file), "--json"])
    report = json.loads(told.stdout)
    assert report["verdict"] == "MARKED"
    assert [reason["code"] for reason in report["reasons"]] == ["copyable"]


def test_a_codec_that_the_command_line_cannot_have(
    w: Watermark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATERMARK_HOME", str(w.home.path))
    source = tmp_path / "in.png"
    source.write_bytes(saved(photo(5)))
    args = ["embed", str(source), "-o", str(tmp_path / "out.png"), "--layer"]
    for name, told in (("nobodys", "nobodys"), ("wave", "expected")):
        done = CliRunner().invoke(app, [*args, name])
        assert done.exit_code not in (0, 1), done.output
        assert told in done.output
    assert not (tmp_path / "out.png").exists()
    refused = CliRunner().invoke(app, [*args, "pixel", "--no-mark"])
    assert "--no-mark" in str(refused.exception)


@riva
def test_rivagan_after_jpeg_75_by_its_key_alone() -> None:
    """A photograph, from which it is read well; docs/decisions/0005 has the others."""
    mine, other = (
        learned.record(Key(np.random.default_rng(n).bytes(32)), "rivagan")
        for n in (2, 3)
    )
    before = np.ascontiguousarray(person()[:320, 100:420])
    marked = learned.mark_picture(before, mine)
    change = marked.astype(float) - before
    assert 10 * np.log10(255**2 / np.mean(change**2)) > 42
    lossy = saved(Image.fromarray(marked), "JPEG", quality=75)
    found = verify(lossy, keys=[mine, other])
    [hit] = [e for e in found.evidence if (e.log10_p or 0) < -6]
    assert hit.key_id == mine.kid
    assert (found.verdict, reasons(found)) == (Verdict.MARKED, ["copyable"])


@riva
def test_rivagan_reads_sizes_that_are_odd_and_refuses_those_too_large() -> None:
    record = learned.record(Key(np.random.default_rng(3).bytes(32)), "rivagan")
    pixels = np.asarray(photo(7, 320))[:257, :301]
    marked = learned.mark_picture(pixels, record)
    read = learned.read_picture(marked, learned.codec_of(record))
    assert read is not None
    assert int(np.sum(read == learned.message(record))) >= 31
    huge = np.zeros((1 << 11, 1 << 11, 3), np.uint8)
    with pytest.raises(CodecError, match="up to 2,097,152 pixels"):
        learned.mark_picture(huge, record)
