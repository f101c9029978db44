"""Every format gets all that its laws ask for, or is refused by the clause.

Names are those of the conformance list: CN, X.
"""

from __future__ import annotations

import shutil
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.sounds import RATE, music
from tests.labelling.outputs import (
    TODAY,
    embedded,
    generated,
    labels_in,
    made,
    own,
    sound,
    states,
    written,
)

from watermark import labelling
from watermark.api import Watermark
from watermark.assets.loading import Audio
from watermark.errors import LabelError, UnsupportedFormat
from watermark.labels.check import check
from watermark.labels.regimes import Duty, Level
from watermark.report import Verdict
from watermark.sign import jumbf

WORKS: dict[str, Callable[[], bytes]] = {
    "a.png": written("PNG"),
    "a.jpg": written("JPEG"),
    "a.webp": written("WEBP"),
    "a.wav": sound,
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
        ("a.pdf", written("PDF"), "Art. 50(2)"),
        ("a.gif", written("GIF"), "Art. 50(2)"),
        ("a.wav", sound, "no spoken notice"),
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
    (tmp_path / "a.pdf").write_bytes(written("PDF")())
    options = {"record": made("document"), "regimes": ["cn"]}
    with pytest.raises(LabelError, match="explicit='placed'"):
        embedded(w, tmp_path / "a.pdf", **options)
    out = embedded(w, tmp_path / "a.pdf", explicit="placed", **options)
    said = jumbf.parse(out.manifest).content(labelling.ASSERTION)

    assert states(out)["explicit"] == "declared"
    assert set(said["declared"]) == {"explicit"}
    assert labels_in(out.data, "application/pdf")


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


def test_a_line_of_words_is_put_into_no_data(w: Watermark, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    options = {"record": generated(w, "text"), "regimes": ["cn"]}
    with pytest.raises(LabelError, match=r"would break a \.json file"):
        embedded(w, tmp_path / "a.json", **options)
    out = embedded(w, tmp_path / "a.json", explicit="placed", **options)
    assert out.data == b"{}"


def test_a_notice_is_read_back_and_silence_is_none(w: Watermark) -> None:
    options = {"record": made("audio"), "regimes": ["in"]}
    out = embedded(w, sound(), notice=Audio(music(2, 1), RATE), **options)
    assert states(out)["explicit"] == "verified"
    for notice in (np.zeros(RATE), music(2, 1)[: RATE // 4]):
        with pytest.raises(LabelError, match="notice"):
            embedded(w, sound(), notice=Audio(notice, RATE), **options)
