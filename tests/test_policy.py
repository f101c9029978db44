"""Policies: each returns where it is met, and raises with what was found elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from watermark.errors import VerificationError
from watermark.policy import AllOf, AnyOf, Marked, Policy, Signed
from watermark.report import Evidence, Report, Verdict


def mark(log10_p: float | None) -> Evidence:
    return Evidence(layer="mark", detector="gumbel", log10_p=log10_p)


def manifest(state: str, by: str = "Acme") -> Evidence:
    return Evidence(layer="manifest", detector="c2pa", state=state, key_id=by)


def report(*evidence: Evidence, verdict: Verdict = Verdict.NO_EVIDENCE) -> Report:
    return Report(verdict=verdict, kind="text", evidence=evidence)


def met(policy: Policy, found: Report) -> bool:
    try:
        found.require(policy)
    except VerificationError:
        return False
    return True


@pytest.mark.parametrize(
    ("log10_p", "expected"), [(-6.0, True), (-5.99, False), (-300.0, True), (0, False)]
)
def test_marked_compares_the_adjusted_p_value(log10_p: float, expected: bool) -> None:
    assert met(Marked(), report(mark(log10_p))) is expected


def test_marked_takes_the_best_mark() -> None:
    assert met(Marked(), report(mark(-1.0), mark(-7.0), mark(None)))


def test_marked_asks_the_mark_layer_alone() -> None:
    ledger = Evidence(layer="ledger", detector="ledger", log10_p=-50.0)

    assert not met(Marked(), report(ledger))


def test_marked_is_met_by_a_conflict() -> None:
    """Otherwise a second mark would hide the first."""
    assert met(Marked(), report(mark(-9.0), verdict=Verdict.CONFLICT))


def test_marked_is_not_met_by_a_verdict_alone() -> None:
    assert not met(Marked(), report(verdict=Verdict.MARKED))


@pytest.mark.parametrize("max_fpr", [0.0, 1.0, -1e-6, math.nan, math.inf])
def test_an_impossible_error_rate_is_refused(max_fpr: float) -> None:
    with pytest.raises(ValueError, match="max_fpr"):
        Marked(max_fpr=max_fpr)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("trusted", True),
        ("valid", False),
        ("invalid", False),
        ("none", False),
        ("remote", False),
        ("recovered", False),
    ],
)
def test_signed_wants_a_trusted_manifest(state: str, expected: bool) -> None:
    assert met(Signed(), report(manifest(state))) is expected


def test_signed_takes_a_recovered_manifest_only_when_asked() -> None:
    assert met(Signed(recovered=True), report(manifest("recovered")))
    assert not met(Signed(recovered=True), report(manifest("valid")))


@pytest.mark.parametrize("by", ["acme", "Acme Inc", "Acm", "", "Acme "])
def test_signed_by_is_exact(by: str) -> None:
    assert met(Signed(by="Acme"), report(manifest("trusted")))
    assert not met(Signed(by=by), report(manifest("trusted")))


def test_a_name_in_an_untrusted_manifest_counts_for_nothing() -> None:
    found = report(manifest("valid", "Acme"), manifest("trusted", "Other"))

    assert not met(Signed(by="Acme"), found)


def test_all_of_needs_every_policy() -> None:
    policy = AllOf([Marked(), Signed(by="Acme")])

    assert met(policy, report(mark(-9.0), manifest("trusted")))
    assert not met(policy, report(mark(-9.0)))
    assert not met(policy, report(manifest("trusted")))


def test_any_of_needs_one_policy_and_tells_every_failure() -> None:
    policy = AnyOf([Marked(), Signed(by="Acme")])

    assert met(policy, report(mark(-9.0)))
    assert met(policy, report(manifest("trusted")))
    with pytest.raises(VerificationError, match=r"no mark.*none was tested.*'Acme'"):
        report().require(policy)


@pytest.mark.parametrize("kind", [AllOf, AnyOf])
def test_an_empty_policy_is_an_error(kind: Callable[[list[Policy]], Any]) -> None:
    with pytest.raises(ValueError, match="at least one"):
        kind([])


def test_a_failure_says_what_was_found() -> None:
    with pytest.raises(VerificationError, match=r"1e-05.*1e-3\.2.*INCONCLUSIVE"):
        report(mark(-3.2), verdict=Verdict.INCONCLUSIVE).require(Marked(max_fpr=1e-5))
    with pytest.raises(VerificationError, match=r"valid by 'Eve'.*signer 'Acme'"):
        report(manifest("valid", "Eve")).require(Signed(by="Acme"))
