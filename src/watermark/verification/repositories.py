"""Asking other repositories for a manifest that the ledger does not have.

What a repository answers is a stranger's word, and counts for nothing by itself. A
manifest from there counts if a trusted signer signed it, under the name it was found
by, and if it names the very mark that was asked for (C2PA 2.4, 18.10.5.1). What such a
manifest says and this content contradicts is a conflict, as it is of our own. A
repository that lies can hold back, therefore, and no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from watermark.assets.loading import Asset
from watermark.errors import UnsupportedFormat
from watermark.record import Record
from watermark.report import Evidence, Reason
from watermark.sign.claims import FINGERPRINT
from watermark.sign.manifest import ManifestResult
from watermark.verification.content import compare
from watermark.verification.manifest import manifest_evidence
from watermark.verification.recovery import (
    compare_bindings,
    edited,
    held_against,
    is_signed,
    once,
    two_manifests,
)
from watermark.verification.setting import Findings, Setting, binding

if TYPE_CHECKING:
    from watermark.resolution.client import Found

UNIQUE = 8  # bytes of a mark id that no two outputs share; a shorter one names a set
FROM_REPOSITORY, NOT_COMPARED = "from-repository", "not-compared"


@dataclass(frozen=True, slots=True)
class _Held:
    """A manifest that counts, held against the content.

    Attributes:
        endpoint: whose answer it is.
        manifest_id: its label.
        evidence: what it is evidence of, if it fits.
        seen: what came of the comparison; conflicts: it does not fit.
    """

    endpoint: str
    manifest_id: str
    evidence: Evidence
    seen: Findings


def ask(
    asset: Asset,
    setting: Setting,
    found: Findings,
    manifest: ManifestResult | None,
    mark: Evidence,
) -> None:
    """Ask the repositories of `setting` what `mark` leads to, and judge the answers.

    Evidence has the state ``recovered``, or ``candidate`` where the mark id is short
    and nothing tells whether the manifest is of this text or of another with that id.
    Sent is what the mark carries, and nothing of the content.
    """
    if setting.resolver is None or (asset.data is None and asset.text is None):
        return
    inside = manifest if manifest and manifest.state in ("trusted", "valid") else None
    if inside and (binding(mark), mark.payload) in inside.soft_bindings:
        return  # nothing was stripped
    from watermark.resolution.client import FOLLOWED, More, Silent

    accepted: dict[str, tuple[str, ManifestResult]] = {}
    for answer in setting.resolver.resolve(binding(mark), mark.payload or b""):
        if isinstance(answer, Silent):
            detail = f"{answer.endpoint} gave no answer: {answer.why}"
            once(found.notes, Reason("repository-silent", detail))
            continue
        if isinstance(answer, More):
            detail = (
                f"{answer.endpoint} has more than {FOLLOWED} manifests for this mark: "
                "the others were not looked at"
            )
            once(found.notes, Reason("repository-more", detail))
            continue
        result = _read(asset, setting, answer)
        wrong = _wrong(answer, result, mark)
        if wrong or result is None:
            _refuse(found, answer.manifest_id, answer.endpoint, wrong)
            continue
        accepted.setdefault(result.manifest_id, (answer.endpoint, result))
    if inside is not None:
        _compare_inside(found, inside, [result for _, result in accepted.values()])
        return
    exact = {n: one for n, one in accepted.items() if one[1].content_matches}
    _take(
        found,
        [
            _held(asset, setting, found, mark, endpoint, result)
            for endpoint, result in (exact or accepted).values()
        ],
    )


def _refuse(found: Findings, name: str, endpoint: str, why: str) -> None:
    detail = f"{name!r:.100} of {endpoint}: {why}"
    once(found.notes, Reason("repository-refused", detail))


def _read(asset: Asset, setting: Setting, answer: Found) -> ManifestResult | None:
    try:
        return held_against(asset, setting, answer.store)
    except UnsupportedFormat:  # too large for the library
        return None


def _wrong(answer: Found, result: ManifestResult | None, mark: Evidence) -> str:
    """Why a manifest does not count, or ""."""
    if result is None:
        return "it is too large to be read"
    if not is_signed(result):
        codes = ", ".join(result.codes[:4]) or result.state
        return f"no trusted signature holds ({codes})"
    if result.manifest_id != answer.manifest_id:
        return f"what lies there is the manifest {result.manifest_id!r:.100}"
    named = {v for name, v in result.soft_bindings if name == binding(mark)}
    if named != {mark.payload}:
        return "it does not name the mark that was found, and that alone"
    return ""


def _compare_inside(
    found: Findings, inside: ManifestResult, others: list[ManifestResult]
) -> None:
    """Hold the manifest in the file against those that its mark leads to."""
    if not edited(inside).isdisjoint(other.manifest_id for other in others):
        return
    if others:
        once(found.conflicts, two_manifests(inside, [o.signer for o in others]))


def _held(
    asset: Asset,
    setting: Setting,
    found: Findings,
    mark: Evidence,
    endpoint: str,
    result: ManifestResult,
) -> _Held:
    """Hold a manifest that counts against this content."""
    seen = Findings(evidence=found.evidence, frames=found.frames)
    compare_bindings(setting, seen, result)
    compared = result.content_matches or _compare_picture(asset, seen, mark, result)
    if result.content_matches:
        once(
            seen.notes,
            Reason("same-content", "the content is the one that was signed"),
        )
    state, codes = "recovered", (*result.codes, FROM_REPOSITORY)
    if not compared:
        codes = (*codes, NOT_COMPARED)
        if len(mark.payload or b"") < UNIQUE:
            state = "candidate"
    known = (result.record_id,) if state == "recovered" and result.record_id else ()
    evidence = replace(
        manifest_evidence(result, state),
        codes=codes,
        record_ids=known,
        detail=f"{result.manifest_id}, from {endpoint}",
    )
    return _Held(endpoint, result.manifest_id, evidence, seen)


def _take(found: Findings, answers: Sequence[_Held]) -> None:
    """Evidence of the manifests that fit, or the conflict where none of them does.

    One mark id may be of several outputs: a seed was used twice, or the mark is short.
    Then a manifest that does not fit is of another of them, and accuses nobody.
    """
    fits = any(not one.seen.conflicts for one in answers)
    for one in answers:
        if not one.seen.conflicts:
            for note in one.seen.notes:
                once(found.notes, note)
            if one.evidence not in found.evidence:  # another mark led there
                found.evidence.append(one.evidence)
        elif fits or one.evidence.state == "candidate":
            why = "; ".join(reason.detail for reason in one.seen.conflicts)
            _refuse(found, one.manifest_id, one.endpoint, f"it is of another: {why}")
        else:
            for reason in one.seen.conflicts:
                once(found.conflicts, reason)


def _compare_picture(
    asset: Asset, seen: Findings, mark: Evidence, result: ManifestResult
) -> bool:
    """Whether a picture was compared with the fingerprint in its manifest.

    A text's manifest has none: its words cannot be told from another's.
    """
    kept = [value for name, value in result.soft_bindings if name == FINGERPRINT]
    if asset.kind != "image" or not kept:
        detail = "the repository's manifest does not say what its content is like"
        once(seen.notes, Reason("content-not-compared", detail))
        return False
    records = [
        Record(kind="image", provider=result.signer, fingerprint=value)
        for value in kept
    ]
    before = len(seen.notes)
    compare(asset, mark, records, seen)
    return len(seen.notes) == before
