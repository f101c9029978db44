"""Records and reports: round trips, pinned forms, and no truth value."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from watermark.errors import StoreError
from watermark.record import Mark, Record, utc_now
from watermark.report import Evidence, Reason, Report, Verdict


@pytest.fixture
def record() -> Record:
    mark = Mark(
        scheme="noise", version=1, key_id="k1", epoch=2, mark_id=b"\0" * 8, coverage=0.5
    )
    return Record(
        record_id="ab" * 16,
        kind="image",
        created_at="2026-11-23T09:00:00Z",
        provider="Acme",
        system="acme/1",
        model="tiny",
        marks=(mark,),
        content=("cd" * 32,),
    )


# --- records -------------------------------------------------------------------------


def test_a_record_round_trips_through_json(record: Record) -> None:
    assert Record.from_dict(json.loads(json.dumps(record.to_dict()))) == record


def test_the_form_of_a_record_is_pinned(record: Record) -> None:
    """It stands in every leaf of every ledger."""
    expected = {
        "schema": "watermark.record/1",
        "record_id": "ab" * 16,
        "kind": "image",
        "origin": "created",
        "created_at": "2026-11-23T09:00:00Z",
        "provider": "Acme",
        "system": "acme/1",
        "model": "tiny",
        "mark": [
            {
                "scheme": "noise",
                "version": 1,
                "key_id": "k1",
                "epoch": 2,
                "mark_id": "00" * 8,
                "coverage": 0.5,
            }
        ],
        "content": ["cd" * 32],
    }

    assert record.to_dict() == expected


def test_no_mark_is_a_recorded_fact() -> None:
    record = Record(kind="text", provider="Acme")

    assert record.to_dict()["mark"] == "none"
    assert Record.from_dict(record.to_dict()).marks == ()


def test_record_ids_are_128_random_bits() -> None:
    found = {Record(kind="text", provider="Acme").record_id for _ in range(100)}

    assert len(found) == 100
    assert all(re.fullmatch(r"[0-9a-f]{32}", record_id) for record_id in found)


def test_times_are_utc_in_whole_seconds() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", utc_now())


def test_a_content_digest_stands_once(record: Record) -> None:
    again = record.with_content("ef" * 32, "cd" * 32)

    assert again.content == ("cd" * 32, "ef" * 32)
    assert again.record_id == record.record_id


def test_a_binding_names_scheme_and_version() -> None:
    mark = Mark(scheme="noise", version=3, key_id="k1")

    assert mark.binding == "org.watermark-sdk.noise.3"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"schema": "watermark.record/2"}, id="schema"),
        pytest.param({"kind": None}, id="no-kind"),
        pytest.param({"mark": 3}, id="mark-number"),
        pytest.param({"mark": [{}]}, id="mark-empty"),
        pytest.param({"mark": [{"mark_id": "zz"}]}, id="mark-id"),
        pytest.param({"mark": [{"mark_id": "00", "new": 1}]}, id="mark-field"),
        pytest.param({"content": None}, id="no-content"),
    ],
)
def test_a_damaged_record_is_refused(record: Record, changes: dict[str, Any]) -> None:
    data = {k: v for k, v in (record.to_dict() | changes).items() if v is not None}
    with pytest.raises(StoreError):
        Record.from_dict(data)


# --- reports -------------------------------------------------------------------------


def report(*evidence: Evidence) -> Report:
    return Report(
        verdict=Verdict.MARKED,
        kind="text",
        evidence=evidence,
        reasons=(Reason("code", "why"),),
        sha256="ab",
    )


def test_a_report_has_no_truth_value() -> None:
    """Not even a report of nothing: `if verify(x):` is always a mistake."""
    for verdict in Verdict:
        with pytest.raises(TypeError, match="policy"):
            bool(Report(verdict=verdict, kind="text"))


def test_no_verdict_speaks_of_a_human_or_of_authenticity() -> None:
    expected = {"MARKED", "SIGNED", "INCONCLUSIVE", "NO_EVIDENCE", "CONFLICT"}

    assert {str(verdict) for verdict in Verdict} == expected


def test_the_form_of_a_report_is_pinned() -> None:
    evidence = Evidence(
        layer="mark",
        detector="noise",
        scheme="noise",
        key_id="k1",
        log10_p=-8.0,
        log10_p_raw=-9.0,
        hypotheses=10,
        n=5,
        payload=b"\x01\xff",
        spans=((0, 3),),
        map=((0.5, 1.0),),
        map_z=(((2.0,), (-1.5,)),),
        state="",
        codes=("key-revoked",),
        record_ids=("r1",),
        detail="why",
    )
    expected = {
        "schema": "watermark.report/1",
        "verdict": "MARKED",
        "kind": "text",
        "sha256": "ab",
        "record_id": "r1",
        "record_ids": ["r1"],
        "reasons": [{"code": "code", "detail": "why"}],
        "evidence": [
            {
                "layer": "mark",
                "detector": "noise",
                "scheme": "noise",
                "version": 1,
                "key_id": "k1",
                "log10_p": -8.0,
                "log10_p_raw": -9.0,
                "hypotheses": 10,
                "n": 5,
                "payload": "01ff",
                "spans": [[0, 3]],
                "map": [[0.5, 1.0]],
                "map_z": [[[2.0], [-1.5]]],
                "state": "",
                "codes": ["key-revoked"],
                "record_ids": ["r1"],
                "detail": "why",
            }
        ],
    }

    assert json.loads(report(evidence).to_json()) == expected


def test_one_record_is_named_and_several_are_not() -> None:
    ledger = [
        Evidence(layer="ledger", detector="ledger", record_ids=(name,))
        for name in ("r1", "r2", "r1")
    ]

    assert report().record_id is None
    assert report(ledger[0], ledger[2]).record_id == "r1"
    assert report(*ledger).record_id is None
    assert report(*ledger).record_ids == ("r1", "r2")


def test_a_report_in_words_names_every_layer_and_reason() -> None:
    text = str(
        report(
            Evidence(layer="mark", detector="gumbel", key_id="k1", log10_p=-8.26),
            Evidence(layer="manifest", detector="c2pa", key_id="Acme", state="trusted"),
        )
    )

    for part in ("MARKED", "k1", "-8.3", "manifest", "Acme", "trusted", "code: why"):
        assert part in text
