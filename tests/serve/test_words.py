"""What anybody may see of a report: no number, place or detail to climb by."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watermark.assets import loading
from watermark.report import Evidence, Reason, Report, Verdict
from watermark.serve import panels, words
from watermark.verification.setting import Findings, Setting
from watermark.verification.verdict import judge

FPR = 1e-6


def report(log10_p: float, verdict: Verdict = Verdict.INCONCLUSIVE) -> Report:
    return Report(
        verdict=verdict,
        kind="text",
        reasons=(Reason("below-threshold", f"gumbel has log10 p {log10_p:.1f}"),),
        evidence=(
            Evidence(
                layer="mark",
                detector="gumbel",
                scheme="gumbel",
                key_id="k1",
                log10_p=log10_p,
                log10_p_raw=log10_p - 1,
                hypotheses=7,
                n=321,
                payload=b"payload!",
                spans=((3, 45),),
                map=((0.5, 0.75),),
                detail=f"statistic {-log10_p:.2f}",
            ),
        ),
    )


@settings(deadline=None, max_examples=50)
@given(st.floats(-5.99, 0), st.floats(-5.99, 0))
def test_below_the_threshold_all_look_alike(one: float, other: float) -> None:
    found = [words.public(report(p).to_dict(), FPR) for p in (one, other)]

    assert found[0] == found[1]
    assert found[0]["layers"]["mark"] == {"state": "not-found"}


def test_above_it_too() -> None:
    found = [
        words.public(report(p, Verdict.MARKED).to_dict(), FPR) for p in (-6.0, -60.0)
    ]

    assert found[0] == found[1]
    assert found[0]["layers"]["mark"] == {"state": "found", "schemes": ["gumbel"]}


def test_nothing_finer_gets_out() -> None:
    text = json.dumps(words.public(report(-4.25).to_dict(), FPR))
    sentences = dict(words.reasons(report(-4.25).to_dict(), full=False))

    for secret in ("4.2", "5.2", "321", b"payload!".hex(), "45", "0.75", "k1"):
        assert secret not in text
        assert secret not in str(sentences)
    assert "below-threshold" not in text
    assert sentences == {}
    full = dict(words.reasons(report(-4.25).to_dict(), full=True))
    assert full["below-threshold"].endswith("log10 p -4.2")


def judged(log10_p: float, *more: Reason) -> dict[str, Any]:
    """What the real judge says of one mark, and of what could not be looked at."""
    [evidence] = report(log10_p).evidence
    found = Findings(
        evidence=[evidence],
        open=list(more),
        power=[Reason("power", "1000 contexts")],
        notes=[Reason("altered-characters", "3 hidden")],
    )
    asset = loading.load("a text")
    return judge(asset, Setting(max_fpr=FPR), found, None).to_dict()


def test_a_weak_mark_is_no_second_step() -> None:
    """Neither by a reason, nor by the verdict that follows from it."""
    weak, none = judged(-4.0), judged(-1.0)
    assert (weak["verdict"], none["verdict"]) == ("INCONCLUSIVE", "NO_EVIDENCE")
    assert words.public(weak, FPR) == words.public(none, FPR)
    assert words.public(weak, FPR)["verdict"] == "NO_EVIDENCE"

    short = Reason("too-short", "12 contexts")
    weak, none = judged(-4.0, short), judged(-1.0, short)
    assert words.public(weak, FPR) == words.public(none, FPR)
    assert words.public(weak, FPR)["verdict"] == "INCONCLUSIVE"
    assert words.public(judged(-6.0), FPR)["verdict"] == "MARKED"


def test_no_word_says_who_made_it() -> None:
    every = words.MEANING, words.REASONS, words.STATES, {"": words.CAUTION}
    said = " ".join(text for each in every for text in each.values()).lower()

    for word in ("human", "authentic", "real ", "genuine", "proves that"):
        assert word not in said
    assert set(words.MEANING) == {str(verdict) for verdict in Verdict}


def test_a_signature_is_not_called_generated() -> None:
    """A camera's trusted manifest is SIGNED, too: it says the opposite."""
    assert "generated" not in words.MEANING["SIGNED"]


def test_a_signers_name_is_cut() -> None:
    """Whoever signs chooses it: it must not become the page."""
    long = "Checked by Acme. " * 5000
    found = Report(
        verdict=Verdict.INCONCLUSIVE,
        kind="image",
        reasons=(Reason("untrusted-signer", f"signed by {long!r}"),),
        evidence=(
            Evidence(layer="manifest", detector="c2pa", key_id=long, state="valid"),
        ),
    )

    assert len(json.dumps(words.public(found.to_dict(), FPR))) < 1500


def test_signers_are_named_to_all() -> None:
    found = Report(
        verdict=Verdict.CONFLICT,
        kind="image",
        reasons=(Reason("two-manifests", "signed by 'A', by 'B'"),),
    )
    [told] = words.public(found.to_dict(), FPR)["reasons"]

    assert told["code"] == "two-manifests"
    assert told["detail"].endswith("signed by 'A', by 'B'")


def test_two_manifests_are_both_told() -> None:
    """An embedded one and the one that the mark leads to: both signers are named."""
    both = tuple(
        Evidence(layer="manifest", detector="c2pa", key_id=who, state=state)
        for who, state in (("A", "trusted"), ("B", "recovered"), ("B", "recovered"))
    )
    report = Report(verdict=Verdict.CONFLICT, kind="image", evidence=both).to_dict()
    told = words.public(report, FPR)["layers"]["manifest"]

    assert [(one["signer"], one["state"]) for one in told] == [
        ("A", "trusted"),
        ("B", "recovered"),
    ]


def test_a_layer_that_was_not_looked_at_is_not_called_empty() -> None:
    nothing = Report(verdict=Verdict.INCONCLUSIVE, kind="image").to_dict()

    assert words.public(nothing, FPR)["layers"]["mark"]["state"] == "not-looked-at"


@pytest.mark.parametrize("codes", [(), ("assertion.dataHash.mismatch",)])
def test_content_that_was_not_changed_is_not_called_changed(
    codes: tuple[str, ...],
) -> None:
    """A copied text is what was signed; a picture that was compressed again is not."""
    recovered = Evidence(
        layer="manifest", detector="c2pa", key_id="A", state="recovered", codes=codes
    )
    report = Report(verdict=Verdict.MARKED, kind="text", evidence=(recovered,))
    said = str(panels.layers(words.public(report.to_dict(), FPR)))

    assert "found again by the mark" in said
    assert ("changed since it was signed" in said) == bool(codes)


@settings(deadline=None, max_examples=200)
@given(st.floats(-400, 0))
def test_a_chance_is_never_understated(log10_p: float) -> None:
    said = words.chance(log10_p)
    scale = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12}
    if said.startswith("about"):
        assert log10_p > -1
        return
    if said == "nothing unusual":
        assert log10_p > -0.1
        return
    number, _, name = said.removeprefix("at most 1 in ").partition(" ")
    power = float(number.removeprefix("10^")) if "^" in number else len(number) - 1

    assert power + scale.get(name, 0) <= -log10_p
    assert power + scale.get(name, 0) > -log10_p - 1
