"""Regimes as data: the strictest of each row, dates, contradictions."""

from __future__ import annotations

from datetime import date

import pytest

from watermark.errors import LabelError
from watermark.labels import regimes
from watermark.labels.regimes import (
    FORMS,
    LAYERS,
    Duty,
    Level,
    Regime,
    form_of,
    requirements,
)

TODAY = date(2026, 11, 23)


def level(names: str, layer: str, form: str = "image", **more: date | bool) -> Level:
    options = {"as_of": TODAY, **more}
    return requirements(names.split(), form, **options).level(layer)  # type: ignore[arg-type]


def test_every_row_is_one_that_the_code_knows() -> None:
    assert regimes.names() == ("cn", "eu", "us-ca", "in", "kr", "global")
    for name in regimes.names():
        for regime in regimes.load(name):
            assert {d.layer for d in regime.duties} <= set(LAYERS)
            assert {f for d in regime.duties for f in d.forms} <= set(FORMS)
            assert set(regime.minimum) <= set(FORMS)
            assert all(d.clause for d in regime.duties)


def test_several_regimes_take_the_strictest_of_each_row() -> None:
    for layer in LAYERS:
        for form in FORMS:
            single = [level(name, layer, form) for name in ("cn", "eu", "us-ca")]
            assert level("cn eu us-ca", layer, form) == max(single)
            assert level("us-ca eu cn", layer, form) == max(single)


def test_a_layer_names_the_clauses_that_it_serves() -> None:
    found = requirements(["cn", "eu"], "image", as_of=TODAY)

    assert found.clause("label") == (
        "GB 45438-2025, 6.1 and Annex E; Labelling Measures, Art. 5"
    )
    assert found.rows["watermark"].clauses == (
        "AI Act, Art. 50(2); Code, Measure 1.1.2",
    )
    assert len(found.rows["watermark"].served) == 2


def test_the_union_is_as_strict_as_any() -> None:
    for form in FORMS:
        union = requirements(["global"], form, as_of=TODAY)
        for name in ("cn", "eu", "us-ca", "in", "kr"):
            one = requirements([name], form, as_of=TODAY)
            assert union.minimum >= one.minimum
            assert union.retention_days >= one.retention_days
            assert all(union.level(layer) >= one.level(layer) for layer in LAYERS)
    audio = requirements(["global"], "audio", as_of=TODAY)
    assert (audio.minimum, audio.sound) == (3, "both")
    assert audio.wording == "AI生成 AI-generated"


def test_california_asks_nothing_of_text() -> None:
    assert requirements(["us-ca"], "text", as_of=TODAY).rows == {}


def test_free_text_needs_no_manifest_in_the_eu_and_a_page_does() -> None:
    assert level("eu", "manifest", "text") is Level.OFF
    assert level("eu", "manifest", "page") is Level.REQUIRED
    assert level("eu", "watermark", "text") is Level.REQUIRED


@pytest.mark.parametrize(
    ("as_of", "on_market", "expected"),
    [
        (date(2026, 8, 1), None, Level.ON),
        (date(2026, 8, 2), None, Level.REQUIRED),
        (date(2026, 8, 2), date(2026, 8, 2), Level.REQUIRED),
        (date(2026, 8, 2), date(2026, 8, 1), Level.ON),
        (date(2026, 12, 1), date(2026, 8, 1), Level.ON),
        (date(2026, 12, 2), date(2026, 8, 1), Level.REQUIRED),
    ],
)
def test_eu_10_systems_from_before_have_until_december(
    as_of: date, on_market: date | None, expected: Level
) -> None:
    for layer in ("watermark", "manifest", "timestamp"):
        found = requirements(["eu"], "image", as_of=as_of, on_market=on_market)
        assert found.level(layer) is expected


def test_nothing_is_counted_before_a_law_is_in_force() -> None:
    def minimum(as_of: date, on_market: date | None = None) -> int:
        found = requirements(["eu"], "image", as_of=as_of, on_market=on_market)
        return found.minimum

    old = date(2026, 8, 1)
    assert [minimum(date(2026, 8, day)) for day in (1, 2)] == [0, 2]
    assert minimum(date(2026, 12, 1), on_market=old) == 0
    assert minimum(date(2026, 12, 2), on_market=old) == 2


def test_the_clause_of_the_minimum_is_that_of_who_asks_most() -> None:
    for name in ("cn", "in", "us-ca"):
        found = requirements([name], "image", as_of=TODAY)
        assert "Code of Practice" not in found.minimum_clause
    both = requirements(["cn", "eu"], "image", as_of=TODAY)
    assert (both.minimum, both.minimum_clause) == (2, "Code of Practice, Measure 1.1")


def test_only_china_waives_its_mark() -> None:
    def firm(*names: str) -> tuple[str, ...]:
        return requirements(names, "image", as_of=TODAY).rows["explicit"].firm

    assert firm("cn") == ()
    assert firm("cn", "eu") == ()
    assert len(firm("in")) == len(firm("cn", "in")) == len(firm("global")) == 1


def test_the_corner_is_that_of_who_asks_first() -> None:
    corners = {
        names: requirements(names.split(), "image", as_of=TODAY).corner
        for names in ("eu", "cn", "eu cn", "eu us-ca")
    }
    assert corners == {
        "eu": "top-right",
        "cn": "bottom-right",
        "eu cn": "bottom-right",
        "eu us-ca": "top-right",
    }


def test_dates_of_single_rows() -> None:
    before, after = date(2027, 2, 1), date(2027, 2, 2)

    assert level("eu", "detector", as_of=before) is Level.ON
    assert level("eu", "detector", as_of=after) is Level.REQUIRED
    assert level("us-ca", "keep-marks", as_of=date(2026, 12, 31)) is Level.ON
    assert level("us-ca", "keep-marks", as_of=date(2027, 1, 1)) is Level.REQUIRED
    assert level("cn", "label", as_of=date(2025, 8, 31)) is Level.ON


def test_a_closed_service_needs_no_filing_number() -> None:
    assert level("cn", "filing") is Level.REQUIRED
    assert level("cn", "filing", public=False) is Level.ON


def regime(name: str, *duties: Duty, **more: object) -> Regime:
    return Regime(name=name, title=name, since=TODAY, duties=duties, **more)  # type: ignore[arg-type]


def test_a_contradiction_names_both_clauses() -> None:
    against = Duty(layer="label", level=None, clause="Elsewhere, Art. 7")
    with pytest.raises(LabelError) as caught:
        requirements(["cn", regime("xx", against)], "image", as_of=TODAY)

    assert "GB 45438-2025, 6.1" in caught.value.clause
    assert "Elsewhere, Art. 7" in caught.value.clause


def test_what_is_forbidden_and_not_required_is_left_out() -> None:
    against = Duty(layer="iptc", level=None, clause="Elsewhere, Art. 8")
    found = requirements(["eu", regime("xx", against)], "image", as_of=TODAY)

    assert found.level("iptc") is Level.OFF


def test_two_retentions_that_exclude_each_other_name_both_clauses() -> None:
    short = regime("xx", retention_limit=30, retention_clause="Elsewhere, Art. 9")
    with pytest.raises(LabelError) as caught:
        requirements(["cn", short], "image", as_of=TODAY)

    assert "Labelling Measures, Art. 9" in caught.value.clause
    assert "Elsewhere, Art. 9" in caught.value.clause
    longer = regime("yy", retention_limit=184, retention_clause="Elsewhere, Art. 10")
    assert requirements(["cn", longer], "image", as_of=TODAY).retention_days == 184


def test_an_unknown_regime_is_told_with_those_that_there_are() -> None:
    with pytest.raises(LabelError, match="us-ca"):
        requirements(["california"], "image", as_of=TODAY)
    with pytest.raises(ValueError, match="0 regimes"):
        requirements([], "image", as_of=TODAY)


@pytest.mark.parametrize(
    ("media_type", "kind", "suffix", "form"),
    [
        ("image/png", "image", ".png", "image"),
        ("text/plain", "text", ".txt", "text"),
        ("text/plain", "text", ".MD", "markdown"),
        ("text/html", "text", "", "page"),
        ("text/plain", "text", ".html", "page"),
        ("application/pdf", "document", ".pdf", "document"),
        ("video/mp4", "video", ".mp4", "video"),
    ],
)
def test_the_form_of_a_file(media_type: str, kind: str, suffix: str, form: str) -> None:
    assert form_of(media_type, kind, suffix) == form
