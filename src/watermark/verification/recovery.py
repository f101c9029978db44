"""Recovery: from a mark to the manifest that was stripped, and whether it belongs here.

C2PA 2.4, 18.10.5.1: a manifest that was looked up counts only if its soft bindings are
those that were found in the content. A signature alone proves nothing: whoever can
write the ledger, or copies a mark to other content, has signed manifests at hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from watermark.assets import text_fingerprint
from watermark.assets.loading import Asset
from watermark.record import BINDING_PREFIX, Record
from watermark.report import Evidence, Reason
from watermark.sign.claims import FINGERPRINT
from watermark.sign.manifest import ManifestResult
from watermark.verification.manifest import bare, manifest_evidence
from watermark.verification.setting import Findings, Setting, binding, decides

# Share of a text's runs of words that its record's text has as well: a text of that
# record has nearly all, another has none but common phrases.
SAME_WORDS = 0.8
RELATED = 0.3
UNLIKE = 16  # records that are looked at though nothing says that they are alike


@dataclass(frozen=True)
class Candidate:
    """A record that a mark leads to.

    Attributes:
        record: as its newest entry has it.
        alike: how much of the shorter of a text and the record's is in the other, 0 to
            1; None: not told.
        share: how much of the text is in the record's, which is less if it was added
            to; None: not told.
    """

    record: Record
    alike: float | None = None
    share: float | None = None

    @property
    def told(self) -> str:
        """How alike, in words, or ""."""
        if self.alike is None:
            return ""
        return f", its words {self.alike:.0%} alike"


def ranked(asset: Asset, records: Iterable[Record]) -> list[Candidate]:
    """The records that one mark leads to, the likeliest first.

    A mark of few bits leads to many records. Those of texts are told apart by their
    words; where that cannot be done, they stay in the order of the ledger.
    """
    found = list(records)
    if asset.text is None or not any(r.fingerprint for r in found):
        return [Candidate(record) for record in found]
    said = bare(asset)[0].text or ""
    seen = text_fingerprint.fingerprint(said)
    candidates = [_candidate(record, seen) for record in found]
    return sorted(candidates, key=lambda c: -(RELATED if c.alike is None else c.alike))


def recover(
    asset: Asset,
    setting: Setting,
    found: Findings,
    manifest: ManifestResult | None,
    mark: Evidence,
    candidates: Sequence[Candidate],
) -> bool:
    """Find the manifests of the records that a mark leads to.

    What belongs to this content is evidence, state ``recovered``; what contradicts it,
    or the manifest that the file has, is a conflict.

    Returns:
        Whether the ledger has a manifest of this content, or of this mark.
    """
    if asset.data is None and asset.text is None:
        return False
    if manifest is not None and manifest.state in ("trusted", "valid"):
        return _compare_embedded(asset, setting, found, manifest, mark, candidates)
    told, at_hand = found.evidence.copy(), False
    for candidate in _worth_reading(candidates):
        record_id = candidate.record.record_id
        for name, result in _manifests(asset, setting, record_id):
            if result.manifest_id not in ("", name):
                once(
                    found.notes,
                    Reason(
                        "manifest-refused",
                        f"on file as {name!r:.100} is the manifest "
                        f"{result.manifest_id!r:.100}",
                    ),
                )
            elif _belongs(result, candidate):
                at_hand = True
                one = manifest_evidence(result, "recovered", (record_id,))
                if one not in told:
                    found.evidence.append(one)
                compare_bindings(setting, found, result)
                _compare_words(found, result, candidate)
    return at_hand


def _worth_reading(candidates: Sequence[Candidate]) -> Iterator[Candidate]:
    """Those whose words are alike, and the first few others: each is a signature."""
    spare = UNLIKE
    for candidate in candidates:
        if candidate.alike is None or candidate.alike < RELATED:
            if not spare:
                continue
            spare -= 1
        yield candidate


def _belongs(result: ManifestResult, candidate: Candidate) -> bool:
    """Whether a manifest may be that of this content, by its signature and words."""
    if not is_signed(result):
        return False
    alike = candidate.alike
    return result.content_matches or alike is None or alike >= RELATED


def is_signed(result: ManifestResult) -> bool:
    """Whether a trusted signature holds, be it over this content or over another."""
    return result.content_only_broken or result.state == "trusted"


def held_against(asset: Asset, setting: Setting, store: bytes) -> ManifestResult:
    """What a manifest from elsewhere says, and whether it is of this very content."""
    from watermark.sign import c2pa, text

    if asset.text is not None:
        return text.read(
            (bare(asset)[0].text or "").encode(),
            anchors=setting.anchors,
            tsa_anchors=setting.tsa_anchors,
            sidecar=store,
        )
    return c2pa.read(
        asset.data or b"",
        asset.media_type,
        anchors=setting.anchors,
        tsa_anchors=setting.tsa_anchors,
        manifest=store,
    )


def _manifests(
    asset: Asset, setting: Setting, record_id: str
) -> Iterator[tuple[str, ManifestResult]]:
    """Id and what was found of each manifest of a record, held against this content."""
    for name, store in _on_file(setting, record_id):
        yield name, held_against(asset, setting, store)


def _on_file(setting: Setting, record_id: str) -> Iterator[tuple[str, bytes]]:
    """Id and bytes of each manifest of a record that the log signs.

    One behind its newest checkpoint could make a conflict, or keep one from being told.
    """
    ledger = setting.ledger
    if ledger is None:
        return
    for row, store in ledger.logged_of(record_id):
        if ledger.signed([row]):
            yield row.manifest_id, store


def _compare_embedded(
    asset: Asset,
    setting: Setting,
    found: Findings,
    manifest: ManifestResult,
    mark: Evidence,
    candidates: Sequence[Candidate],
) -> bool:
    """Whether the manifest in the file is of a record that the mark leads to.

    One that names the mark knows of it, whoever signed it: so does who signs again. So
    does one whose parent is on file: an editor need not know our marks.
    """
    named = (binding(mark), mark.payload) in manifest.soft_bindings
    ids = [candidate.record.record_id for candidate in candidates]
    if named or manifest.record_id in ids:
        return True
    on_file = (name for one in ids for name, _ in _on_file(setting, one))
    if not edited(manifest).isdisjoint(on_file):
        return True
    others = [
        result.signer
        for record_id in ids[:UNLIKE]
        for _, result in _manifests(asset, setting, record_id)
        if is_signed(result)
    ]
    if others:
        found.conflicts.append(two_manifests(manifest, others))
    return bool(others)


def edited(inside: ManifestResult) -> set[str]:
    """Ids of the manifest in the file, and of those that it says it was edited from."""
    sound = inside.state in ("trusted", "valid")
    return {inside.manifest_id, *(inside.parents if sound else ())}


def two_manifests(inside: ManifestResult, others: Sequence[str]) -> Reason:
    """The manifest in the file, and the signers of those that its mark leads to."""
    signers = ", ".join(sorted({repr(signer) for signer in others}))
    return Reason(
        "two-manifests",
        f"the file's manifest is signed by {inside.signer!r}, the one that its mark "
        f"leads to by {signers}: one of them is not of this content",
    )


def compare_bindings(setting: Setting, found: Findings, result: ManifestResult) -> None:
    """Every watermark that a manifest names must be the one that was found."""
    named = _by_name(result.soft_bindings)
    marks = [e for e in found.evidence if decides(e, setting) and e.payload]
    seen = _by_name((binding(e), e.payload or b"") for e in marks)
    for name, values in named.items():
        ours = name.startswith(f"{BINDING_PREFIX}.")
        if not ours or name == FINGERPRINT:
            continue  # no mark, or none that is ours to find
        if name not in seen:
            once(
                found.notes,
                Reason(
                    "mark-not-seen",
                    f"the manifest on file names a mark {name}, which was not found "
                    "or not looked for here",
                ),
            )
        elif not values & seen[name]:
            once(
                found.conflicts,
                Reason("other-mark", "the manifest on file names another mark id"),
            )


def _compare_words(
    found: Findings, result: ManifestResult, candidate: Candidate
) -> None:
    """Whether a text's words are those of the record; nothing about other media."""
    if candidate.record.kind != "text":
        return
    if result.content_matches:
        once(found.notes, Reason("same-words", "the text is the one that was signed"))
    elif candidate.share is None:
        reason = "the record has no fingerprint: its words were not compared"
        once(found.notes, Reason("content-not-compared", reason))
    elif candidate.share >= SAME_WORDS:
        reason = f"{candidate.share:.0%} of its words are those of the record's text"
        once(found.notes, Reason("same-words", reason))
    else:
        reason = (
            f"only {candidate.share:.0%} of its words are those of the record's text: "
            "it was edited or added to since"
        )
        once(found.notes, Reason("other-words", reason))


def _candidate(record: Record, seen: bytes) -> Candidate:
    kept = record.fingerprint
    if not kept or not seen:
        return Candidate(record)
    try:
        return Candidate(
            record,
            text_fingerprint.similarity(kept, seen),
            text_fingerprint.share(kept, seen),
        )
    except ValueError:  # of another version
        return Candidate(record)


def _by_name(pairs: Iterable[tuple[str, bytes]]) -> Mapping[str, set[bytes]]:
    found: dict[str, set[bytes]] = {}
    for name, value in pairs:
        found.setdefault(name, set()).add(value)
    return found


def once(reasons: list[Reason], reason: Reason) -> None:
    """Add a reason that is not there yet."""
    if reason not in reasons:
        reasons.append(reason)
