"""Files of every known type, embedded and verified: a mark, or a reason in words."""

import warnings

import pytest
from benchmarks.conformance.containers import containers
from benchmarks.label_samples import pictures, sounds_and_films

from watermark.api import Watermark
from watermark.assets import MEDIA_TYPES, image, sniff
from watermark.errors import NotMarked, UnsupportedFormat
from watermark.finished import CARRIERS
from watermark.report import Verdict
from watermark.sign import c2pa

MARKED = {name for names in CARRIERS.values() for name in names}
SAMPLES = (*pictures(), *sounds_and_films())
FILES = {sample.media_type: sample.data for sample in SAMPLES}
FILES |= containers()
UNMARKED = sorted({*FILES} - MARKED)
UNSIGNED = sorted({*FILES} - {*c2pa.EMBEDDABLE})
SVG = "image/svg+xml"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Watermark:
    return Watermark.create(tmp_path_factory.mktemp("acme") / "home", provider="Acme")


def test_the_files_are_of_every_type_and_told_by_their_bytes() -> None:
    made_by_ffmpeg = {"audio/ogg", "video/x-matroska", "video/webm", "video/x-flv"}
    assert {*MEDIA_TYPES} - {*FILES} <= {"text/plain", *made_by_ffmpeg}
    assert {name: sniff(data) for name, data in FILES.items()} == {n: n for n in FILES}


@pytest.mark.parametrize("media_type", UNMARKED)
def test_finished_media_that_takes_no_mark_says_so(
    home: Watermark, media_type: str
) -> None:
    why = r"cannot be marked when|no mark for finished"
    with pytest.raises(NotMarked, match=why):
        home.embed(FILES[media_type], require_mark=True)
    if media_type in UNSIGNED:
        return
    with pytest.warns(UserWarning, match=why):
        marked = home.embed(FILES[media_type])

    assert marked.record.marks == ()


@pytest.mark.parametrize("media_type", sorted(FILES))
def test_what_no_detector_looks_at_is_inconclusive(
    home: Watermark, media_type: str
) -> None:
    """Also where a file ends early, or is garbage behind its first bytes."""
    data = FILES[media_type]
    half = data[: len(data) // 2]
    for each in (data, half, data[:64] + bytes(range(256)) * 4, data[:12]):
        report = home.verify(each)
        assert report.verdict == Verdict.INCONCLUSIVE, report.reasons
        if each is data and media_type in UNMARKED:
            codes = {reason.code for reason in report.reasons}
            assert codes & {"unreadable", "no-detector"}


@pytest.mark.parametrize("media_type", [n for n in UNMARKED if n.startswith("image/")])
def test_decoders_get_three_formats_of_pictures_only(media_type: str) -> None:
    with pytest.raises(UnsupportedFormat, match="expected image/png, image/jpeg"):
        image.decode(FILES[media_type])


def test_what_is_said_of_an_svg_is_what_was_looked_at(home: Watermark) -> None:
    """It has no pixels to look at, and its manifest is read all the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        signed = home.embed(FILES[SVG]).data
    plain, own = home.verify(FILES[SVG]), home.verify(signed)

    assert plain.verdict == Verdict.INCONCLUSIVE
    assert any(SVG in reason.detail for reason in plain.reasons)
    assert own.verdict == Verdict.SIGNED
    assert any(SVG in reason.detail for reason in own.reasons)
    spoilt = signed.replace(b'width="5"', b'width="6"')
    assert spoilt != signed
    assert home.verify(spoilt).verdict == Verdict.CONFLICT


@pytest.mark.parametrize(
    "media_type", [n for n in FILES if n.startswith(("application/vnd", "image/heif"))]
)
def test_an_office_file_or_a_heif_is_signed_and_trusted(
    home: Watermark, media_type: str
) -> None:
    with pytest.warns(UserWarning, match="carries no mark"):
        signed = home.embed(FILES[media_type]).data
    report = home.verify(signed)

    assert sniff(signed) == media_type
    assert [e.state for e in report.evidence if e.layer == "manifest"] == ["trusted"]


@pytest.mark.parametrize("media_type", UNSIGNED)
def test_a_file_that_holds_no_manifest_is_never_handed_out_without(
    home: Watermark, media_type: str
) -> None:
    with (
        pytest.warns(UserWarning, match="carries no mark"),
        pytest.raises(UnsupportedFormat, match=f"{media_type}' found, expected one of"),
    ):
        home.embed(FILES[media_type])
