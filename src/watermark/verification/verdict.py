"""From evidence to a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from watermark.assets.loading import Asset
from watermark.keys import KeyRecord
from watermark.report import Evidence, Reason, Report, Verdict
from watermark.schemes.base import option
from watermark.schemes.foreign import FOREIGN
from watermark.schemes.gumbel import public_record
from watermark.sign.manifest import ManifestResult
from watermark.verification.setting import Findings, Setting, binding, decides

WEAK = -3.0  # log10 p that decides nothing, yet is too small to report as nothing
_COPYABLE = (
    "a learned mark can be read from one marked file and put on any other, so it is no "
    "proof of who made this and contradicts nothing"
)
_CAPTURED = ("digitalCapture", "computationalCapture", "negativeFilm", "positiveFilm")


def judge(
    asset: Asset,
    setting: Setting,
    found: Findings,
    manifest: ManifestResult | None,
) -> Report:
    """One word for everything that was found."""
    marks = [e for e in found.evidence if decides(e, setting)]
    firm = [mark for mark in marks if "copyable" not in mark.codes]
    _contradictions(firm, manifest, found, setting)
    if firm and len(firm) < len(marks):
        found.notes.append(Reason("copyable", _COPYABLE))
    weak = [e for e in found.evidence if e.log10_p is not None and e.log10_p <= WEAK]
    if weak and not marks:
        found.open.append(
            Reason(
                "below-threshold", f"{weak[0].scheme} has log10 p {weak[0].log10_p:.1f}"
            )
        )
    signed = manifest is not None and manifest.state == "trusted"
    logged = any(
        e.layer == "ledger" and "origin-created" in e.codes for e in found.evidence
    )
    reasons: list[Reason]
    if found.conflicts:
        # What could not be read was not compared with anything.
        unread = [reason for reason in found.open if reason.code == "unreadable"]
        verdict, reasons = Verdict.CONFLICT, [*found.conflicts, *unread]
    elif marks:
        verdict, reasons = Verdict.MARKED, []
        if all("key-revoked" in mark.codes for mark in firm or marks):
            reasons = [
                Reason(
                    "key-revoked",
                    "only revoked keys fire: whoever holds one could have forged it",
                )
            ]
        elif not firm:
            reasons = [Reason("copyable", f"only such marks fire: {_COPYABLE}")]
        elif all({"key-revoked", "weak-key"} & {*mark.codes} for mark in firm):
            reasons = [
                Reason(
                    "weak-key",
                    "only keys fire that are published or can be guessed: anybody "
                    "could have written this text with the mark in it",
                )
            ]
    elif signed or logged:
        verdict, reasons = Verdict.SIGNED, found.open
    elif found.open:
        verdict, reasons = Verdict.INCONCLUSIVE, found.open
    else:
        verdict, reasons = Verdict.NO_EVIDENCE, found.power
    return Report(
        verdict=verdict,
        kind=asset.kind,
        evidence=tuple(found.evidence),
        reasons=(*reasons, *found.notes),
        sha256=asset.sha256,
    )


def _contradictions(
    marks: Sequence[Evidence],
    manifest: ManifestResult | None,
    found: Findings,
    setting: Setting,
) -> None:
    holders = _holders(setting.records)
    keys = sorted({holders.get(mark.key_id, mark.key_id) for mark in marks})
    own = {holders.get(kid, kid) for kid in setting.own}
    if len(keys) > 1 and not own.issuperset(keys):
        found.conflicts.append(
            Reason("two-keys", f"marks of {' and '.join(keys)} fire")
        )
    if manifest is None or not marks or manifest.state not in ("trusted", "valid"):
        return
    if any(source.endswith(_CAPTURED) for source in manifest.source_types):
        found.conflicts.append(
            Reason("captured-but-marked", "the manifest says camera, but a mark fires")
        )
    bound = dict(manifest.soft_bindings)
    for mark in marks:
        if (
            mark.payload is not None
            and bound.get(binding(mark), mark.payload) != mark.payload
        ):
            found.conflicts.append(
                Reason(
                    "other-mark", "the manifest names another mark id than was found"
                )
            )


def _holders(records: Sequence[KeyRecord]) -> Mapping[str, str]:
    """For key ids with a key in common the id of one among them.

    The public half of a dual key is its holder's, not a second provider's. An engine's
    configuration and our record of it may name one key twice, and one with two keys may
    have one of another's: marks under both are marks of one holder.
    """
    above: dict[object, object] = {}  # from ids and keys towards that id

    def top(name: object) -> object:
        while name in above:
            name = above[name]
        return name

    def join(name: object, kid: str) -> None:
        if top(name) != top(kid):
            above[top(name)] = top(kid)

    for record in records:
        if record.scheme == "gumbel" and option(record.parameters, "dual"):
            join(public_record(record).kid, record.kid)
        elif record.scheme in FOREIGN and record.key is not None:
            for secret in FOREIGN[record.scheme].secrets(record):
                join((record.scheme, secret), record.kid)
    return {name: str(top(name)) for name in above if isinstance(name, str)}
