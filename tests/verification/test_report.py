"""The report: its fields, and that asking for it changes nothing."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests.toys import text_of, words

from watermark.api import Watermark
from watermark.assets.loading import Asset
from watermark.sign.manifest import ManifestResult
from watermark.verification.manifest import only_expired

pytestmark = pytest.mark.filterwarnings("ignore:.*carries no mark:UserWarning")


def test_a_report_has_the_documented_fields(
    w: Watermark, marked_ids: list[int]
) -> None:
    data = json.loads(w.verify(marked_ids).to_json())

    assert set(data) == {
        "schema",
        "verdict",
        "kind",
        "sha256",
        "record_id",
        "record_ids",
        "reasons",
        "evidence",
    }
    assert {e["layer"] for e in data["evidence"]} == {"mark", "ledger"}


def test_a_report_has_no_truth_value(w: Watermark, marked_ids: list[int]) -> None:
    with pytest.raises(TypeError, match="policy"):
        bool(w.verify(marked_ids))


def test_verifying_writes_nothing(w: Watermark, marked_ids: list[int]) -> None:
    size = w.home.ledger.size
    w.verify(marked_ids)
    w.verify(b"\0")

    assert w.home.ledger.size == size


def test_the_same_asset_gives_the_same_report(
    w: Watermark, marked_ids: list[int]
) -> None:
    asset = Asset(kind="text", text=text_of(marked_ids))

    assert w.verify(asset, tokenizer=words()) == w.verify(asset, tokenizer=words())


def test_an_expired_signer_is_no_contradiction() -> None:
    result = ManifestResult(
        state="invalid",
        signer="Acme",
        codes=("signingCredential.untrusted", "signingCredential.expired"),
        content_matches=True,
    )

    assert only_expired(result)
    assert not only_expired(replace(result, content_matches=False))
    broken = replace(result, codes=(*result.codes, "claimSignature.mismatch"))
    assert not only_expired(broken)
