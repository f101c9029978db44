"""The table of verdicts: signatures on texts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.toys import text_of, words
from tests.verification.reports import codes, layer, met

from watermark import policy
from watermark.api import Watermark
from watermark.assets import text as text_asset
from watermark.record import Record
from watermark.report import Verdict
from watermark.sign import c2pa, claims
from watermark.store.leaf import Entry

pytestmark = pytest.mark.filterwarnings("ignore:.*carries no mark:UserWarning")


def signed_text(w: Watermark, folder: Path, text: str, **more: Any) -> Path:
    record = Record(kind="text", provider=w.home.provider, **more)
    return w.embed(text, record=record).save(folder / "a.txt")


def test_a_signed_text_is_signed_and_logged(w: Watermark, tmp_path: Path) -> None:
    path = signed_text(w, tmp_path, "A text that was signed once.\n")
    report = w.verify(path)
    [manifest], [ledger] = layer(report, "manifest"), layer(report, "ledger")

    assert report.verdict == Verdict.SIGNED
    assert (manifest.state, manifest.key_id) == ("trusted", "Acme")
    assert ledger.state == "logged"
    assert report.record_id == ledger.record_ids[0]
    assert met(report, policy.Signed(by="Acme"))
    assert not met(report, policy.Marked())


def test_a_marked_and_signed_text_is_marked(
    w: Watermark, marked_ids: list[int], tmp_path: Path
) -> None:
    path = signed_text(w, tmp_path, text_of(marked_ids))
    report = w.verify(path, tokenizer=words())

    assert report.verdict == Verdict.MARKED
    assert met(report, policy.AllOf([policy.Marked(), policy.Signed(by="Acme")]))


def test_a_text_changed_after_signing_is_a_conflict(
    w: Watermark, tmp_path: Path
) -> None:
    path = signed_text(w, tmp_path, "We agree.\n")
    path.write_text("We disagree.\n")
    report = w.verify(path)

    assert report.verdict == Verdict.CONFLICT
    assert codes(report) == {"broken-signature"}
    assert not met(report, policy.Signed())


def test_a_broken_signature_does_not_hide_a_mark(
    w: Watermark, marked_ids: list[int], tmp_path: Path
) -> None:
    path = signed_text(w, tmp_path, text_of(marked_ids))
    path.write_text(path.read_text() + " w9")
    report = w.verify(path, tokenizer=words())

    assert report.verdict == Verdict.CONFLICT
    assert met(report, policy.Marked())


@pytest.mark.parametrize("data", [b"", b"\0", b"not a manifest", b"jumdc2pa" * 9])
def test_a_damaged_sidecar_is_a_conflict(
    w: Watermark, tmp_path: Path, data: bytes
) -> None:
    path = signed_text(w, tmp_path, "A text that was signed.\n")
    path.with_name(path.name + ".c2pa").write_bytes(data)

    assert w.verify(path).verdict == Verdict.CONFLICT


def test_another_home_is_an_untrusted_signer(
    w: Watermark, stranger: Watermark, tmp_path: Path
) -> None:
    path = signed_text(stranger, tmp_path, "A text that Eve signed.\n")
    report = w.verify(path)
    trusting = w.verify(path, trust=stranger.home.path / "credential" / "root.pem")

    assert report.verdict == Verdict.INCONCLUSIVE
    assert "untrusted-signer" in codes(report)
    assert not met(report, policy.Signed())
    assert report.record_ids == ()  # whoever is not trusted leads nowhere
    assert trusting.verdict == Verdict.SIGNED


def test_an_untrusted_signer_does_not_hide_a_mark(
    w: Watermark, stranger: Watermark, marked_ids: list[int], tmp_path: Path
) -> None:
    path = signed_text(stranger, tmp_path, text_of(marked_ids))

    assert w.verify(path, tokenizer=words()).verdict == Verdict.MARKED


def test_a_manifest_that_says_camera_beside_a_mark_is_a_conflict(
    w: Watermark, marked_ids: list[int], tmp_path: Path
) -> None:
    text = text_of(marked_ids)
    definition = claims.definition(Record(kind="text", provider="Acme"))
    captured = claims.GENERATED.replace("trainedAlgorithmicMedia", "digitalCapture")
    action = definition["assertions"][0]["data"]["actions"][0]
    action["digitalSourceType"] = captured
    signed = c2pa.sign_sidecar(
        text.encode(), "text/plain", definition, w.home.credential
    )
    (tmp_path / "a.txt").write_bytes(signed.data)
    (tmp_path / "a.c2pa").write_bytes(signed.manifest)
    report = w.verify(tmp_path / "a.txt", tokenizer=words())

    assert report.verdict == Verdict.CONFLICT
    assert codes(report) == {"captured-but-marked"}
    assert met(report, policy.Marked())


@pytest.mark.parametrize(
    "change",
    [str.strip, lambda text: f"\n {text}\n\n"],
    ids=["less space", "more space"],
)
def test_a_generated_text_is_known_to_the_ledger_without_its_manifest(
    w: Watermark, change: Callable[[str], str]
) -> None:
    text = f"A text that was generated, with {change.__name__}."
    record = Record(
        kind="text", provider="Acme", content=(text_asset.digest(text.strip()),)
    )
    w.home.ledger.append([Entry(event="generated", record=record)])
    report = w.verify(change(text))

    assert report.verdict == Verdict.SIGNED
    assert report.record_id == record.record_id
