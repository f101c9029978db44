"""European Union: two layers, a time-stamp, short texts, systems of before.

Names are those of the conformance list: EU.
"""

from __future__ import annotations

import io
import warnings
from datetime import date
from pathlib import Path

import pytest
from PIL import Image
from tests import toys
from tests.labelling.outputs import (
    SETTINGS,
    TODAY,
    embedded,
    generated,
    home,
    labels_in,
    made,
    picture,
    states,
    stripped,
)
from tests.sign.servers import PlainTsa, serving

from watermark import labelling, labels
from watermark.api import Watermark
from watermark.errors import LabelError
from watermark.labels import explicit_image
from watermark.marked import Marked
from watermark.report import Verdict
from watermark.sign import c2pa, jumbf
from watermark.sign.authority import Authority
from watermark.sign.stamps import Stamps
from watermark.tokenizer import TextTokenizer


def test_eu_01_two_layers_or_the_reason_why_not(marked: Marked) -> None:
    counted = {"watermark", "label", "iptc", "manifest", "explicit"}
    verified = {e.name for e in marked.layers if e.state == "verified"} & counted

    assert {"watermark", "manifest"} <= verified


def test_eu_01_a_mark_that_cannot_be_is_refused(w: Watermark) -> None:
    noise = picture(1, 40)
    with (
        pytest.warns(UserWarning, match="carries no mark"),
        pytest.raises(LabelError, match="watermark") as caught,
    ):
        embedded(w, noise, record=made(), format="png", regimes=["eu"])
    assert "Art. 50(2)" in caught.value.clause


def test_eu_02_without_metadata_the_mark_is_found(w: Watermark, marked: Marked) -> None:
    bare = stripped(marked.data)
    report = w.verify(bare)

    assert not labels_in(bare)
    assert report.verdict is Verdict.MARKED
    assert marked.record.record_id in report.record_ids


@pytest.mark.parametrize("quality", [90, 75])
def test_eu_03_after_re_encoding_the_mark_is_found(
    w: Watermark, marked: Marked, quality: int
) -> None:
    report = w.verify(stripped(marked.data, "JPEG", quality=quality))

    assert report.verdict is Verdict.MARKED
    assert marked.record.record_id in report.record_ids


def test_eu_04_signed_and_stamped_and_a_flipped_byte_tells(tmp_path: Path) -> None:
    w = home(tmp_path / "home")
    tsa = Authority.create("Stamps")
    with serving(PlainTsa(tsa)) as url:
        Stamps.save(tmp_path / "home/credential", [url], tsa.root_pem, room=3000)
        w = Watermark.open(tmp_path / "home")
        out = w.embed(
            picture(), record=generated(w), format="png", regimes=["eu"], as_of=TODAY
        )
    read = c2pa.read(
        *(out.data, "image/png"), anchors=w.home.anchors, tsa_anchors=tsa.root_pem
    )
    flipped = bytearray(out.data)
    flipped[-30] ^= 1

    assert states(out)["timestamp"] == "verified"
    assert (read.state, read.timestamp) == ("trusted", "trusted")
    assert c2pa.read(bytes(flipped), "image/png").state == "invalid"


def test_eu_04_without_an_authority_it_is_refused_or_deferred(
    w: Watermark, marked: Marked
) -> None:
    for timestamp in (None, "never"):
        with pytest.raises(LabelError, match="wm stamp use") as caught:
            embedded(
                w, picture(), record=generated(w), format="png", timestamp=timestamp
            )
        assert "Measure 1.1.1" in caught.value.clause
    assert marked.timestamp == "deferred"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Watermark:
    """A home that knows a tokenizer: one word, one token."""
    w = home(tmp_path_factory.mktemp("reader") / "home")
    w.home.add_tokenizer(TextTokenizer.of(toys.words()))
    return w


def words(count: int) -> str:
    return " ".join(f"w{n % toys.VOCABULARY}" for n in range(count))


def test_eu_05_a_text_of_199_tokens_is_excused_and_one_of_200_is_not(
    reader: Watermark,
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = embedded(reader, words(199), record=made("text"), regimes=["eu"])
        [layer] = [e for e in out.layers if e.name == "watermark"]
        with pytest.raises(LabelError, match="carries no mark"):
            embedded(reader, words(200), record=made("text"), regimes=["eu"])

    assert (layer.state, layer.detail) == ("exempt", "very short (199 tokens)")
    said = jumbf.parse(out.manifest).content(labelling.ASSERTION)
    assert said["exempt"] == {"watermark": "very short (199 tokens)"}


def test_eu_05_without_a_tokenizer_nobody_is_excused(w: Watermark) -> None:
    with (
        pytest.warns(UserWarning, match="carries no mark"),
        pytest.raises(LabelError, match="no mark"),
    ):
        embedded(w, words(10), record=made("text"), regimes=["eu"])


def test_eu_07_no_prompt_and_nobodys_name_in_the_manifest(
    w: Watermark, tmp_path: Path
) -> None:
    source = io.BytesIO()
    exif = Image.Exif()
    exif[0x013B] = "Jane Doe"  # Artist
    picture(4).save(source, "JPEG", exif=exif, quality=95)
    out = embedded(w, source.getvalue(), record=made())

    assert b"Jane Doe" not in out.manifest
    assert b"prompt" not in out.manifest.lower().replace(b"prompt_guided", b"")


def test_eu_08_the_log_alone_is_not_enough() -> None:
    needs = labels.regimes.requirements(["eu"], "image", as_of=TODAY)
    account = labelling.account.Account(needs)
    account.enter("ledger", "placed")
    account.enter("manifest", "verified")
    account.enter("explicit", "declared")
    with pytest.raises(LabelError, match="1 layers found") as caught:
        account.check_minimum()
    assert caught.value.clause == "Code of Practice, Measure 1.1"
    account.enter("watermark", "verified")
    account.check_minimum()


def test_eu_10_a_legacy_system_has_until_december(tmp_path: Path) -> None:
    legacy = SETTINGS.replace("[about]", "on_market = 2026-03-01\n[about]")
    w = home(tmp_path / "home", legacy)
    plain = {
        "record": generated(w),
        "format": "png",
        "regimes": ["eu"],
        "timestamp": None,
    }
    with pytest.warns(UserWarning, match="timestamp"):
        out = embedded(w, picture(), as_of=date(2026, 12, 1), **plain)
    assert states(out)["timestamp"] == "missing"
    with pytest.raises(LabelError, match="timestamp"):
        embedded(w, picture(), as_of=date(2026, 12, 2), **plain)


def test_a_caller_may_ask_for_the_eu_icon(w: Watermark) -> None:
    options = {"record": generated(w), "format": "png", "regimes": ["eu"]}
    without = embedded(w, picture(), **options)
    icon = embedded(w, picture(), explicit=True, **options)

    assert "explicit" not in states(without)
    assert states(icon)["explicit"] == "verified"
    shown = Image.open(io.BytesIO(icon.data))
    assert explicit_image.is_drawn(shown, "AI", corner="top-right")
