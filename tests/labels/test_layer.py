"""The label layer of a verification: what a file says of itself decides nothing."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from PIL import Image
from tests.pictures import photograph

from watermark.assets.loading import load
from watermark.labels import containers, security, sm2, xmp
from watermark.labels.aigc import Label
from watermark.report import Report, Verdict
from watermark.verification import Setting, verify

LABEL = Label("1", "001191110102MAD55U9H0F10002", "0123456789abcdef" * 2)


def png() -> bytes:
    output = io.BytesIO()
    Image.fromarray(photograph(1, 96, 96)).save(output, "PNG")
    return output.getvalue()


def labelled(raw: bytes) -> bytes:
    output = io.BytesIO()
    packet = xmp.put(None, {xmp.AIGC: raw.decode()})
    containers.write_xmp(io.BytesIO(png()), output, "image/png", packet)
    return output.getvalue()


def judged(data: bytes) -> Report:
    return verify(load(data), Setting())


def codes(report: Report) -> set[str]:
    return {reason.code for reason in report.reasons}


def test_a_label_alone_is_inconclusive_and_says_what_it_says() -> None:
    report = judged(labelled(LABEL.encode()))
    [found] = [e for e in report.evidence if e.layer == "label"]

    assert report.verdict is Verdict.INCONCLUSIVE
    assert "label-unproven" in codes(report)
    assert (found.detector, found.state) == ("aigc", "present")
    assert found.key_id == LABEL.content_producer
    assert LABEL.produce_id in found.detail
    assert found.record_ids == ()


def test_a_file_without_a_label_has_no_such_evidence() -> None:
    report = judged(png())

    assert "label" not in {e.layer for e in report.evidence}
    assert "label-unproven" not in codes(report)


def test_values_that_the_producer_did_not_sign_are_told() -> None:
    signed = security.signed(LABEL, security.Sm2Signer(sm2.PrivateKey.generate()))
    whole = judged(labelled(signed.encode()))
    changed = judged(labelled(replace(signed, produce_id="other").encode()))

    assert "label-changed" not in codes(whole)
    assert "label-changed" in codes(changed)
    assert [e.state for e in changed.evidence if e.layer == "label"] == ["broken"]


def test_a_container_that_cannot_be_read_is_not_one_without_a_label() -> None:
    whole = labelled(LABEL.encode())
    report = judged(whole[:-40])

    assert report.verdict is Verdict.INCONCLUSIVE
    assert "label-unreadable" in codes(report)


def test_a_page_that_is_cut_off_in_its_label_is_not_one_without() -> None:
    cut = b"<meta name=aigc content='{"

    assert "label-unreadable" in codes(judged(b"<html><head>" + cut))
    assert "label-unreadable" not in codes(judged(b"What aigc is: " + cut))


@pytest.mark.parametrize("raw", [b"[]", b'{"Label":"9"}', b"{" * 500])
def test_hostile_labels_are_evidence_and_never_raise(raw: bytes) -> None:
    report = judged(labelled(raw))

    assert report.verdict is Verdict.INCONCLUSIVE
    [found] = [e for e in report.evidence if e.layer == "label"]
    assert found.state in ("present", "unreadable")
    assert found.codes


def test_front_matter_and_pages_are_read_too() -> None:
    front = b'---\nAIGC:\n    Label: "2"\n    ContentPropagator: "p"\n---\nHello\n'
    page = (
        b"<html><head><meta name='AIGC' content='{&quot;Label&quot;:&quot;1&quot;}'>"
        b"</head><body>x</body></html>"
    )
    for text in (front, page):
        [found] = [e for e in judged(text).evidence if e.layer == "label"]
        assert "generated" in found.detail
    assert "label" not in {e.layer for e in judged(b"on AIGC labels\n").evidence}
