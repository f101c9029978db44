"""Files under several laws: written layer by layer, read back, and found again.

Names are those of the conformance list: CN, EU, CA by the law, X for what all share.
"""

from __future__ import annotations

import functools
import io
import json
import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.sounds import RATE, music
from PIL import Image

from tests import toys
from tests.pictures import photograph
from tests.sign.servers import PlainTsa, serving
from watermark import api, labelling, labels
from watermark.api import Watermark
from watermark.assets.loading import Audio
from watermark.cli import main
from watermark.errors import (
    HomeError,
    LabelError,
    SigningError,
    StoreError,
    UnsupportedFormat,
)
from watermark.labels import aigc, containers, explicit_image, facts, sm2
from watermark.labels.check import check
from watermark.labels.platform import classify
from watermark.labels.regimes import Duty, Level, Regime
from watermark.labels.unmarked import UnmarkedRequest
from watermark.marked import Marked
from watermark.record import Mark, Provider, Record
from watermark.report import Verdict
from watermark.sign import c2pa, jumbf
from watermark.sign.authority import Authority
from watermark.sign.stamps import Stamps
from watermark.store.ledger import Ledger
from watermark.tokenizer import TextTokenizer

CODE = "001191110102MAD55U9H0F10002"
SETTINGS = f"""
[label]
producer = "{CODE}"
system = "acme-image/1.2"
sm2_key = "sm2.pem"

[about]
detector = "https://acme.example/detect"
filings = [{{ authority = "CAC", number = "Beijing-123" }}]
"""
unmarked = pytest.mark.filterwarnings("ignore:.*carries no mark:UserWarning")
LAWS = ["cn", "eu", "us-ca"]
TODAY = date(2026, 11, 23)


def home(folder: Path, settings: str = SETTINGS) -> Watermark:
    w = Watermark.create(folder, provider="Acme")
    sm2.PrivateKey.create(folder / "sm2.pem")
    with (folder / "home.toml").open("a", encoding="utf-8") as file:
        file.write(settings)
    return w


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Watermark:
    return home(tmp_path_factory.mktemp("acme") / "home")


def made(kind: Any = "image", **more: Any) -> Record:
    return Record(kind=kind, provider="Acme", **more)


def generated(w: Watermark, kind: Any = "image", **more: Any) -> Record:
    """A record as an adapter leaves it: the mark was placed while it was generated."""
    scheme = {"image": "noise", "audio": "noise", "text": "gumbel"}[kind]
    mark = Mark(scheme=scheme, version=1, key_id=w.home.ring.newest.key.kid)
    return made(kind, marks=(mark,), **more)


def picture(seed: int = 1, size: int = 256) -> Image.Image:
    return Image.fromarray(photograph(seed, size, size))


def embedded(w: Watermark, asset: Any, **more: Any) -> Marked:
    options = {"regimes": LAWS, "timestamp": "deferred", "as_of": TODAY, **more}
    return w.embed(asset, **options)


@pytest.fixture(scope="module")
def marked(w: Watermark) -> Marked:
    """One picture under the three laws."""
    return embedded(w, picture(), record=made(), format="png")


def states(marked: Marked) -> dict[str, str]:
    return {layer.name: layer.state for layer in marked.layers}


def labels_in(data: bytes, media_type: str = "image/png") -> list[bytes]:
    return containers.read(io.BytesIO(data), media_type)


def stripped(data: bytes, format: str = "PNG", **options: Any) -> bytes:
    """The pixels alone, saved again."""
    bare = Image.open(io.BytesIO(data)).convert("RGB")
    output = io.BytesIO()
    Image.fromarray(np.asarray(bare)).save(output, format, **options)
    return output.getvalue()


# --- one call for all of them ---------------------------------------------------------


def test_every_layer_is_read_back_and_names_its_clauses(marked: Marked) -> None:
    assert states(marked) == {
        "consent": "outside",
        "keep-marks": "verified",
        "origin": "verified",
        "facts": "verified",
        "filing": "verified",
        "detector": "verified",
        "watermark": "verified",
        "explicit": "verified",
        "provider-code": "verified",
        "security": "verified",
        "label": "verified",
        "iptc": "verified",
        "manifest": "verified",
        "timestamp": "deferred",
        "ledger": "placed",
    }
    clauses = {layer.name: " ".join(layer.clauses) for layer in marked.layers}
    assert "GB 45438-2025, 6.1" in clauses["label"]
    assert "Art. 50(2)" in clauses["watermark"]
    assert "22757.3(b)(4)" in clauses["watermark"]
    assert all(clauses.values())
    assert marked.ui_hint == "AI生成 · Acme acme-image (Beijing-123)"


def test_one_record_id_stands_everywhere(w: Watermark, marked: Marked) -> None:
    name = marked.record.record_id
    [raw] = labels_in(marked.data)
    packet = containers.read_xmp(io.BytesIO(marked.data), "image/png") or b""
    [published] = [r for r in w.home.ledger.by_record(name) if r.event == "published"]

    assert aigc.parse(raw).label.produce_id == name  # type: ignore[union-attr]
    assert f"xmp.iid:{name}".encode() in packet
    assert facts.of_manifest(marked.manifest).identifier == name
    assert published.record.record_id == name
    assert w.verify(marked.data).record_id == name


def test_a_labelled_file_stays_trusted(w: Watermark, marked: Marked) -> None:
    report = w.verify(marked.data)
    found = {e.layer: e.state for e in report.evidence}

    assert report.verdict is Verdict.MARKED
    assert found["manifest"] == "trusted"
    assert found["label"] == "present"


def test_the_manifest_names_the_label_by_its_digest_only(marked: Marked) -> None:
    said = jumbf.parse(marked.manifest).content(labelling.ASSERTION)

    assert said["regimes"] == LAWS
    assert said["timestamp"] == "deferred"
    assert len(said["label_sha256"]) == 64
    assert b"AIGC" not in marked.manifest


# --- China ----------------------------------------------------------------------------


def test_cn_02_one_label_even_where_there_was_one(w: Watermark) -> None:
    before = io.BytesIO()
    other = aigc.Label("1", CODE, "other").encode()
    data = stripped(_png(picture(2)))
    containers.write(io.BytesIO(data), before, "image/png", other)
    again = embedded(w, before.getvalue(), record=made(), regimes=["cn"])

    [label] = [aigc.parse(raw).label for raw in labels_in(again.data)]
    assert label is not None
    assert label.produce_id == again.record.record_id


def test_cn_art_10_somebody_elses_label_is_not_replaced(w: Watermark) -> None:
    before = io.BytesIO()
    other = aigc.Label("1", "somebody", "other").encode()
    containers.write(io.BytesIO(_png(picture(2))), before, "image/png", other)
    with pytest.raises(LabelError, match="label of 'somebody' already") as caught:
        embedded(w, before.getvalue(), record=made(), regimes=["cn"])
    assert "Art. 10" in caught.value.clause
    beside = embedded(w, before.getvalue(), record=made(), regimes=["eu"])
    assert labels_in(beside.data) == [other]  # no law of ours here: it stays


@pytest.mark.parametrize(
    ("label", "declared", "traces", "level"),
    [
        (False, False, False, ""),
        (False, False, True, "3"),
        (False, True, False, "2"),
        (False, True, True, "2"),
        (True, False, False, "1"),
        (True, False, True, "1"),
        (True, True, False, "1"),
        (True, True, True, "1"),
    ],
)
def test_cn_12_what_a_platform_says(
    label: bool, declared: bool, traces: bool, level: str
) -> None:
    assert classify(label=label, declared=declared, traces=traces) == level


def test_cn_13_without_its_mark_a_file_needs_a_request(w: Watermark) -> None:
    options = {"record": generated(w), "format": "png", "explicit": False}
    with pytest.raises(LabelError, match="only on the user's request") as caught:
        embedded(w, picture(), **options)
    assert "Labelling Measures, Art. 9" in caught.value.clause
    for lacking in ({"recipient": " "}, {"agreement": ""}):
        request = UnmarkedRequest(**{"recipient": "u-1", "agreement": "v3", **lacking})
        with pytest.raises(LabelError, match="is empty"):
            embedded(w, picture(), unmarked=request, **options)


def test_cn_13_the_log_keeps_who_got_it_and_cannot_forget(tmp_path: Path) -> None:
    w = home(tmp_path / "home")
    request = UnmarkedRequest("user-4711", "terms-v3")
    out = embedded(
        *(w, picture()),
        record=generated(w),
        format="png",
        explicit=False,
        unmarked=request,
        regimes=["cn"],
    )
    name = out.record.record_id
    [row] = w.home.ledger.by_record(name)

    assert states(out)["explicit"] == "exempt"
    assert labels_in(out.data)  # the label stays
    assert set(row.personal) == {"recipient", "agreement", "requested_at"}
    assert days_kept(row) >= 184
    assert "user-4711" not in repr(request)
    assert b"user-4711" not in out.data + row.body
    with pytest.raises(StoreError, match="hold"):
        w.home.ledger.erase(name)


def test_cn_13_every_copy_that_goes_out_is_held(tmp_path: Path) -> None:
    w = home(tmp_path / "home")
    record = generated(w)
    options = {"record": record, "explicit": False, "regimes": ["cn"]}
    for user, format in (("u-1", "png"), ("u-2", "jpeg")):
        request = UnmarkedRequest(user, "terms-v3")
        embedded(w, picture(), unmarked=request, format=format, **options)
    rows = w.home.ledger.by_record(record.record_id)

    assert [w.home.ledger.personal(r.idx)["recipient"] for r in rows] == ["u-1", "u-2"]
    holds = w.home.ledger.holds()
    assert set(holds) == {f"Labelling Measures, Art. 9: entry {r.idx}" for r in rows}
    w.home.ledger.release(f"Labelling Measures, Art. 9: entry {rows[0].idx}")
    with pytest.raises(StoreError, match="hold"):
        w.home.ledger.erase(record.record_id)


@pytest.mark.parametrize("fault", ["hold", "erased"])
def test_cn_13_nothing_goes_out_that_the_log_does_not_keep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    w = home(tmp_path / "home")
    hold, record = Ledger.hold, generated(w)

    def faulty(ledger: Ledger, name: str, record_id: str = "", **more: Any) -> Any:
        if fault == "hold":
            raise StoreError("the disk is full")
        ledger.erase(record_id)  # somebody was faster
        return hold(ledger, name, record_id, **more)

    monkeypatch.setattr(Ledger, "hold", faulty)
    out = embedded(
        w,
        picture(),
        record=record,
        explicit=False,
        regimes=["cn"],
        unmarked=UnmarkedRequest("u-1", "v3"),
    )
    with pytest.raises((StoreError, LabelError)):
        out.save(tmp_path / "a.png")
    with pytest.raises(UnsupportedFormat):
        _ = out.data
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize("regimes", [["in"], ["cn", "in"], ["global"]])
def test_cn_13_is_no_waiver_under_another_law(w: Watermark, regimes: list[str]) -> None:
    request = UnmarkedRequest("u-1", "v3")
    options = {"record": generated(w), "format": "png", "regimes": regimes}
    with pytest.raises(LabelError, match="on nobody's request") as caught:
        embedded(w, picture(), explicit=False, unmarked=request, **options)
    assert "IT Rules" in caught.value.clause


def test_a_request_that_would_be_ignored_is_told(w: Watermark) -> None:
    request = UnmarkedRequest("u-1", "v3")
    options = {"record": generated(w), "format": "png", "unmarked": request}
    with pytest.raises(ValueError, match="explicit=False"):
        embedded(w, picture(), regimes=["cn"], **options)
    with pytest.raises(LabelError, match="leave unmarked= out"):
        embedded(w, picture(), regimes=["eu"], explicit=False, **options)
    with pytest.raises(ValueError, match="'no' found"):
        embedded(w, picture(), record=generated(w), explicit="no")
    with pytest.raises(ValueError, match="as_of"):
        embedded(w, picture(), record=generated(w), as_of="2026-11-23")
    with pytest.raises(LabelError, match="requested_at"):
        UnmarkedRequest("u-1", "v3", "yesterday").check()


def days_kept(row: Any) -> int:
    return (
        date.fromisoformat(row.retain_until[:10]) - date.fromisoformat(row.ts[:10])
    ).days


def test_without_a_provider_code_nothing_is_invented(tmp_path: Path) -> None:
    w = home(tmp_path / "home", SETTINGS.replace(f'producer = "{CODE}"', ""))
    with pytest.raises(LabelError, match="provider-code: none is known") as caught:
        embedded(w, picture(), record=generated(w), format="png")
    assert "Annex E" in caught.value.clause


def test_a_mistyped_provider_code_is_refused(tmp_path: Path) -> None:
    w = home(tmp_path / "home", SETTINGS.replace("MAD55U9H0F", "MAD55U9H1F"))
    with pytest.raises(LabelError, match="check character"):
        embedded(w, picture(), record=generated(w), format="png")


def test_a_file_that_nobody_says_is_generated_is_not_labelled(w: Watermark) -> None:
    with pytest.raises(LabelError, match="nothing says that a model made"):
        embedded(w, picture(), format="png")
    changed = made(origin="altered", source="composite")
    out = embedded(w, _png(picture(5)), record=changed)
    assert states(out)["manifest"] == "verified"


# --- European Union -------------------------------------------------------------------


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


def test_a_required_layer_that_nobody_saw_to_is_told() -> None:
    needs = labels.regimes.requirements(["cn"], "image", as_of=TODAY)
    account = labelling.account.Account(needs)
    for layer in needs.rows:
        if layer != "keep-marks":
            account.enter(layer, "verified")
    with pytest.raises(LabelError, match="keep-marks: required") as caught:
        account.check()
    assert "Art. 10" in caught.value.clause


def own(*duties: Duty) -> Regime:
    return Regime(name="xx", title="Elsewhere", since=TODAY, duties=duties)


def test_a_regime_of_ones_own_gets_its_label_or_an_error(tmp_path: Path) -> None:
    w = home(tmp_path / "home", SETTINGS.replace(f'producer = "{CODE}"', ""))
    duty = Duty(layer="label", level=Level.REQUIRED, clause="Elsewhere, Art. 1")
    with pytest.raises(LabelError, match="no provider to name") as caught:
        embedded(w, picture(), record=generated(w), format="png", regimes=[own(duty)])
    assert caught.value.clause == "Elsewhere, Art. 1"


def test_what_a_regime_forbids_is_not_there(w: Watermark) -> None:
    duty = Duty(layer="manifest", level=None, clause="Elsewhere, Art. 2")
    with pytest.raises(LabelError, match="manifest: it is there") as caught:
        embedded(w, picture(), record=generated(w), format="png", regimes=[own(duty)])
    assert caught.value.clause == "Elsewhere, Art. 2"


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


# --- California -----------------------------------------------------------------------

FACTS = ["provider", "system", "version", "made_at", "identifier"]
EXPECTED = {"provider": "Acme", "system": "acme-image", "version": "1.2"}


@pytest.mark.parametrize("fact", FACTS)
def test_ca_01_to_05_from_the_manifest(marked: Marked, fact: str) -> None:
    found = facts.of_manifest(marked.manifest)
    record = marked.record
    expected = EXPECTED | {"made_at": record.created_at, "identifier": record.record_id}

    assert getattr(found, fact) == expected[fact]


@pytest.mark.parametrize("fact", FACTS)
def test_ca_01_to_05_from_the_mark_through_the_ledger(
    w: Watermark, marked: Marked, fact: str
) -> None:
    report = w.verify(stripped(marked.data, "JPEG", quality=85))
    [mark] = [e for e in report.evidence if e.layer == "mark" and e.scheme == "pixel"]
    rows = w.home.ledger.by_binding("org.watermark-sdk.pixel.1", mark.payload or b"")
    found = facts.of_record(
        next(r.record for r in rows if r.record.record_id == marked.record.record_id)
    )

    assert getattr(found, fact) == getattr(facts.of_manifest(marked.manifest), fact)


@unmarked
@pytest.mark.parametrize("system", ["", "acme-image"])
def test_ca_02_without_a_version_it_is_refused(tmp_path: Path, system: str) -> None:
    without = SETTINGS.replace('system = "acme-image/1.2"\n', "")
    w = home(tmp_path / "home", without)
    with pytest.raises(LabelError, match="version of the system") as caught:
        embedded(w, picture(), record=made(system=system), format="png", mark=False)
    assert "22757.3(b)(1)" in caught.value.clause


def test_ca_06_a_persons_name_is_not_in_what_is_told(w: Watermark) -> None:
    source = io.BytesIO()
    exif = Image.Exif()
    exif[0x013B] = "Jane Doe"
    picture(6).save(source, "JPEG", exif=exif, quality=95)
    out = embedded(w, source.getvalue(), record=made())

    assert b"Jane Doe" in out.data  # the file is the user's own
    assert "Jane Doe" not in w.verify(out.data).to_json()


def test_ca_08_nothing_of_a_submission_stays(
    w: Watermark, marked: Marked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = {p: p.stat().st_size for p in w.home.path.rglob("*") if p.is_file()}
    w.verify(marked.data)
    after = {p: p.stat().st_size for p in w.home.path.rglob("*") if p.is_file()}

    assert after == before
    assert not list(tmp_path.iterdir())


# --- all of them ----------------------------------------------------------------------


def test_x_01_a_label_after_the_manifest_breaks_it_and_is_refused(
    w: Watermark, marked: Marked
) -> None:
    later = io.BytesIO()
    other = aigc.Label("1", CODE, "other").encode()
    containers.write(io.BytesIO(marked.data), later, "image/png", other, replace=True)

    assert w.verify(later.getvalue()).verdict is Verdict.CONFLICT
    with pytest.raises(SigningError, match="has a manifest already"):
        embedded(w, marked.data, record=generated(w), explicit="placed")


def test_x_02_a_platform_keeps_the_producers_chain(
    marked: Marked, w: Watermark, tmp_path: Path
) -> None:
    platform = Watermark.create(tmp_path / "home", provider="Platform")
    passed = platform.propagate(marked.data, code="platform", propagate_id="q1")
    [raw] = labels_in(passed.data)
    found = aigc.parse(raw).label
    [before] = labels_in(marked.data)
    producer = aigc.parse(before).label
    assert found is not None
    assert producer is not None

    assert (found.content_propagator, found.propagate_id) == ("platform", "q1")
    assert replace(found, content_propagator="", propagate_id="") == producer
    assert labels.security.verify(found).state == "intact"
    read = c2pa.read(passed.data, "image/png", anchors=platform.home.anchors)
    assert read.state == "trusted"
    [mine] = w.home.ledger.by_record(marked.record.record_id)
    assert mine.manifest_id.encode() in passed.manifest  # the producer's, inside ours
    assert mine.manifest_id != read.manifest_id


def test_a_platform_says_nothing_of_a_file_without_reason(w: Watermark) -> None:
    data = _png(picture(7, 64))
    with pytest.raises(LabelError, match="nothing is said"):
        w.propagate(data, code="platform", propagate_id="q1")
    told = w.propagate(data, code="platform", propagate_id="q1", declared=True)
    assert aigc.parse(labels_in(told.data)[0]).label == aigc.Label(
        "2", content_propagator="platform", propagate_id="q1"
    )


def _png(picture: Image.Image) -> bytes:
    output = io.BytesIO()
    picture.save(output, "PNG")
    return output.getvalue()


def _saved(format: str) -> Callable[[], bytes]:
    def call() -> bytes:
        output = io.BytesIO()
        options = {"lossless": True} if format == "WEBP" else {}
        picture(8, 384).save(output, format, **options)
        return output.getvalue()

    return call


@functools.cache
def _sound() -> bytes:
    return Audio(music(1, 5), RATE).to_wav()


WORKS: dict[str, Callable[[], bytes]] = {
    "a.png": _saved("PNG"),
    "a.jpg": _saved("JPEG"),
    "a.webp": _saved("WEBP"),
    "a.wav": _sound,
}


@pytest.mark.parametrize("name", WORKS)
def test_x_03_the_union_on_every_format_that_can_have_it_all(
    w: Watermark, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_bytes(WORKS[name]())
    kind = "audio" if name.endswith("wav") else "image"
    notice = Audio(music(2, 1), RATE) if kind == "audio" else None
    out = embedded(
        *(w, tmp_path / name),
        record=made(kind),
        regimes=["global"],
        notice=notice,
    )
    saved = out.save(tmp_path / f"out-{name}")
    good = {e.name for e in out.layers if e.state in ("verified", "placed")}

    assert {"watermark", "explicit", "label", "manifest"} <= good
    assert w.verify(saved).verdict is Verdict.MARKED
    missed = [f for f in check(saved, "global", as_of=TODAY) if f.severity == "error"]
    assert [f.layer for f in missed] == ["timestamp"]  # deferred, and so it says


@pytest.mark.parametrize("carrier", ["sidecar", "wrapper", "html"])
@pytest.mark.parametrize("name", ["a.md", "a.html", "a.txt"])
def test_x_03_the_union_on_texts(
    w: Watermark, tmp_path: Path, name: str, carrier: Any
) -> None:
    page = "<html><head><title>x</title></head><body><p>Hello</p></body></html>"
    is_page = name.endswith("html")
    if (carrier == "html") is not is_page and carrier != "sidecar":
        pytest.skip("not a carrier of this form")
    (tmp_path / name).write_text(page if is_page else "Hello\n")
    out = embedded(
        *(w, tmp_path / name),
        record=generated(w, "text"),
        carrier=carrier,
        regimes=["global"],
    )
    saved = out.save(tmp_path / f"out-{name}")
    report = w.verify(saved)

    assert {e.layer: e.state for e in report.evidence}["manifest"] == "trusted"
    assert states(out)["explicit"] == "verified"
    assert states(out)["label"] == ("exempt" if name == "a.txt" else "verified")


@pytest.mark.parametrize(
    ("name", "data", "clause"),
    [
        ("a.pdf", _saved("PDF"), "Art. 50(2)"),
        ("a.gif", _saved("GIF"), "Art. 50(2)"),
        ("a.wav", _sound, "no spoken notice"),
    ],
)
def test_x_03_what_cannot_have_it_all_is_refused_by_its_clause(
    w: Watermark, tmp_path: Path, name: str, data: Callable[[], bytes], clause: str
) -> None:
    (tmp_path / name).write_bytes(data())
    kind = {"a.pdf": "document", "a.gif": "image", "a.wav": "audio"}[name]
    size = w.home.ledger.size
    record = generated(w, "audio") if kind == "audio" else made(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(LabelError) as caught:
            embedded(w, tmp_path / name, record=record, regimes=["global"])

    assert clause in f"{caught.value.clause} {caught.value}"
    assert w.home.ledger.size == size  # nothing was published


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="there is no ffmpeg")
@pytest.mark.filterwarnings("ignore:.*no mark:UserWarning")
@pytest.mark.parametrize(("name", "signed"), [("a.mp4", True), ("a.mkv", False)])
def test_cn_10_a_video_is_marked_labelled_and_signed_where_it_can_be(
    w: Watermark, tmp_path: Path, name: str, signed: bool
) -> None:
    source = ["-f", "lavfi", "-i", "testsrc=size=216x216:rate=5:duration=3"]
    command = ["ffmpeg", "-v", "error", "-nostdin", *source, str(tmp_path / name)]
    subprocess.run(command, check=True)
    out = embedded(w, tmp_path / name, record=made("video"), regimes=["cn"])
    saved = out.save(tmp_path / f"out-{name}")
    report = w.verify(saved)
    found = {f.layer: f.state for f in check(saved, "cn", as_of=TODAY)}

    assert states(out)["explicit"] == "verified"
    assert states(out)["watermark"] == "missing"
    assert ("manifest" in states(out)) is signed
    assert (found["label"], found["explicit"]) == ("met", "met")
    assert report.verdict is Verdict.SIGNED  # by the ledger, if by no manifest
    with pytest.raises(LabelError, match="watermark"):
        embedded(w, tmp_path / name, record=made("video"), regimes=["eu"])
    if not signed:
        duty = Duty(layer="manifest", level=Level.REQUIRED, clause="Elsewhere, Art. 3")
        with pytest.raises(LabelError, match="holds none") as caught:
            embedded(w, tmp_path / name, record=made("video"), regimes=[own(duty)])
        assert caught.value.clause == "Elsewhere, Art. 3"


@pytest.mark.filterwarnings("ignore:.*no mark:UserWarning")
def test_a_document_may_have_been_marked_before(w: Watermark, tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(_saved("PDF")())
    options = {"record": made("document"), "regimes": ["cn"]}
    with pytest.raises(LabelError, match="explicit='placed'"):
        embedded(w, tmp_path / "a.pdf", **options)
    out = embedded(w, tmp_path / "a.pdf", explicit="placed", **options)
    said = jumbf.parse(out.manifest).content(labelling.ASSERTION)

    assert states(out)["explicit"] == "declared"
    assert set(said["declared"]) == {"explicit"}
    assert labels_in(out.data, "application/pdf")


def test_the_command_embeds_under_a_law(
    w: Watermark, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").write_bytes(_png(picture(9)))

    def run(*arguments: str) -> int:
        files = ["embed", str(tmp_path / "a.png"), "-o", str(tmp_path / "b.png")]
        here = ["--home", str(w.home.path), "--force"]
        with pytest.raises(SystemExit) as stopped:
            main([*files, *here, *arguments])
        return int(stopped.value.code or 0)

    laws = ["--regime", "cn", "--regime", "eu"]
    assert run("--regime", "xx") == 2
    assert run("--explicit", "yes") == 2
    assert run(*laws) == 3
    assert "nothing says that a model made this" in capsys.readouterr().err
    assert run(*laws, "--source", "trained") == 3
    assert "wm stamp use" in capsys.readouterr().err
    assert run(*laws, "--source", "trained", "--timestamp", "deferred") == 0
    told = capsys.readouterr().out
    assert "GB 45438-2025, 6.1" in told
    assert "AI生成 · Acme" in told
    assert labels_in((tmp_path / "b.png").read_bytes())


def public_names(module: Any) -> Iterator[str]:
    for name in vars(module):
        if not name.startswith("_"):
            yield name


def test_x_04_nothing_public_takes_a_mark_or_label_out() -> None:
    import importlib
    import pkgutil

    modules: list[Any] = [api, api.Watermark, Marked, labelling]
    for package in (labels, containers):
        for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            modules.append(importlib.import_module(found.name))
    words = ("strip", "remove", "erase", "unmark_", "delete", "clean", "scrub")
    names = [f"{m.__name__}.{n}" for m in modules for n in public_names(m)]

    assert len(names) > 200
    assert not [n for n in names if any(word in n.rpartition(".")[2] for word in words)]


def test_a_text_that_talks_of_it_is_marked_all_the_same(
    w: Watermark, tmp_path: Path
) -> None:
    said = "AI技术能生成图像。\n"
    (tmp_path / "a.txt").write_text(said)
    options = {"record": generated(w, "text"), "regimes": "cn"}
    out = embedded(w, tmp_path / "a.txt", **options)
    again = embedded(w, out.data, **options)

    assert out.data.decode() == f"AI生成\n\n{said.strip()}\n\nAI生成\n"
    assert again.data == out.data


def test_a_name_that_asks_for_more_is_refused(w: Watermark, tmp_path: Path) -> None:
    plain = embedded(w, "Hello", record=generated(w, "text"), regimes=["cn"])
    for name in ("a.md", "a.html"):
        with pytest.raises(UnsupportedFormat, match="another name asks"):
            plain.save(tmp_path / name)
    assert check(plain.save(tmp_path / "a.txt"), "cn", as_of=TODAY)
    page = embedded(
        *(w, b"<!DOCTYPE html><html><body><p>Hello</p></body></html>"),
        record=generated(w, "text"),
        regimes=["cn"],
    )
    assert labels_in(page.data, "text/html")  # whatever it was called


def test_the_command_tells_of_such_a_name_before_anything_is_published(
    w: Watermark, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_text("Hello")
    size = w.home.ledger.size
    files = ["embed", str(tmp_path / "a.txt"), "-o", str(tmp_path / "b.md")]
    with pytest.raises(SystemExit) as stopped:
        main([*files, "--home", str(w.home.path), "--regime", "cn"])

    assert stopped.value.code == 3
    assert "same suffix" in capsys.readouterr().err
    assert w.home.ledger.size == size


def test_a_line_of_words_is_put_into_no_data(w: Watermark, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    options = {"record": generated(w, "text"), "regimes": ["cn"]}
    with pytest.raises(LabelError, match=r"would break a \.json file"):
        embedded(w, tmp_path / "a.json", **options)
    out = embedded(w, tmp_path / "a.json", explicit="placed", **options)
    assert out.data == b"{}"


def test_a_system_of_ones_own_record_is_not_replaced(w: Watermark) -> None:
    options = {"format": "png", "regimes": ["us-ca"]}
    own = embedded(w, picture(), record=generated(w, system="acme-3d/2.0"), **options)
    found = facts.of_manifest(own.manifest)
    library = generated(w, system="diffusers/StableDiffusion3Pipeline")
    ours = facts.of_manifest(embedded(w, picture(), record=library, **options).manifest)

    assert (found.system, found.version) == ("acme-3d", "2.0")
    assert (ours.system, ours.version) == ("acme-image", "1.2")
    assert facts.of_record(library).missing == ("(B) version of the system",)


def test_a_notice_is_read_back_and_silence_is_none(w: Watermark) -> None:
    options = {"record": made("audio"), "regimes": ["in"]}
    out = embedded(w, _sound(), notice=Audio(music(2, 1), RATE), **options)
    assert states(out)["explicit"] == "verified"
    for notice in (np.zeros(RATE), music(2, 1)[: RATE // 4]):
        with pytest.raises(LabelError, match="notice"):
            embedded(w, _sound(), notice=Audio(notice, RATE), **options)


@pytest.mark.parametrize(
    "producer", [CODE[:-1], CODE.lower(), f"{CODE[:22]}2{CODE[23:]}"]
)
def test_what_is_no_code_of_a_generator_is_no_name_either(
    tmp_path: Path, producer: str
) -> None:
    w = home(tmp_path / "home", SETTINGS.replace(CODE, producer))
    with pytest.raises(LabelError, match="expected"):
        embedded(w, picture(), record=generated(w), format="png")


def test_a_filing_without_its_number_is_none(tmp_path: Path) -> None:
    w = home(tmp_path / "home", SETTINGS.replace("Beijing-123", ""))
    with pytest.raises(HomeError, match="a number"):
        embedded(w, picture(), record=generated(w), format="png")


def test_options_of_regimes_without_regimes_are_told(w: Watermark) -> None:
    with pytest.raises(ValueError, match="explicit found"):
        w.embed(picture(), record=made(), format="png", explicit=True)


def test_a_caller_may_ask_for_the_eu_icon(w: Watermark) -> None:
    options = {"record": generated(w), "format": "png", "regimes": ["eu"]}
    without = embedded(w, picture(), **options)
    icon = embedded(w, picture(), explicit=True, **options)

    assert "explicit" not in states(without)
    assert states(icon)["explicit"] == "verified"
    shown = Image.open(io.BytesIO(icon.data))
    assert explicit_image.is_drawn(shown, "AI", corner="top-right")


def test_korea_is_told_what_to_show(w: Watermark) -> None:
    out = embedded(w, picture(), record=generated(w), format="png", regimes=["kr"])
    [notice] = [e for e in out.layers if e.name == "notice"]

    assert notice.state == "declared"
    assert "AI-generated · Acme" in notice.detail


def test_details_of_the_provider_stand_in_the_manifest(marked: Marked) -> None:
    found = facts.provider_of(marked.manifest)
    expected = Provider(
        name="Acme",
        detector="https://acme.example/detect",
        filings=(("CAC", "Beijing-123"),),
    )

    assert found == expected.to_dict()
    assert json.dumps(found)
