"""Gather the evidence of every layer, and judge it.

Nothing here raises on bad content: hostile bytes are a verdict. A mark's evidence is a
function of the asset and the key records alone; the ledger is a layer of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from watermark.assets import DamagedAsset
from watermark.assets import text as text_asset
from watermark.assets.loading import Asset
from watermark.detectors import greenlist, gumbel
from watermark.detectors import noise as noise_detector
from watermark.detectors.base import Score
from watermark.errors import (
    InvalidSignal,
    TokenizerMismatch,
    UnsupportedFormat,
    UnsupportedPipeline,
)
from watermark.keys import KeyRecord
from watermark.record import Mark
from watermark.report import Evidence, Reason, Report, Verdict
from watermark.schemes.noise import Code
from watermark.sign.manifest import ManifestResult
from watermark.store.leaf import ASSET, CONTENT
from watermark.store.ledger import Ledger
from watermark.tokenizer import TextTokenizer

TEXT_DETECTORS = {"gumbel": gumbel, "greenlist": greenlist}
# Looks at one picture: (steps of the inversion, share pi of the error budget). The test
# is p = min p_j / pi_j with the pi fixed beforehand, so stopping early costs nothing
# beyond the share. What is left of the budget is for geometry.
LOOKS = {
    "quick": ((10, 0.5),),
    "normal": ((10, 0.5), (25, 0.25), (50, 0.125)),
}
WEAK = -3.0  # log10 p that decides nothing, yet is too small to report as nothing
_CAPTURED = ("digitalCapture", "computationalCapture", "negativeFilm", "positiveFilm")


@runtime_checkable
class Inverter(Protocol):
    """From a picture to an estimate of its initial noise (`watermark.invert`)."""

    def noise(
        self, pixels: NDArray[np.uint8], *, steps: int, rounds: int = 1
    ) -> NDArray[np.float32]:
        """float32 of the shape that the pipeline draws for one sample."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What verification has to work with.

    Attributes:
        records: key records that could have marked the asset.
        tokenizers: to read text with; each counts as a hypothesis.
        given_tokenizer: whether the caller named the tokenizer.
        inverter: of the pipeline that could have made the picture, or None.
        ledger: to look marks and digests up in, or None.
        anchors: trusted root certificates, PEM.
        revoked: ids of revoked keys.
        own: ids of the keys of one provider: two of them firing is no contradiction.
        max_fpr: a mark decides at or below this adjusted p-value.
        effort: a row of `LOOKS`.
    """

    records: Sequence[KeyRecord] = ()
    tokenizers: Sequence[TextTokenizer] = ()
    given_tokenizer: bool = False
    inverter: Inverter | None = None
    ledger: Ledger | None = None
    anchors: bytes = b""
    revoked: frozenset[str] = frozenset()
    own: frozenset[str] = frozenset()
    max_fpr: float = 1e-6
    effort: str = "normal"


@dataclass(slots=True)
class _Findings:
    evidence: list[Evidence] = field(default_factory=list)
    open: list[Reason] = field(default_factory=list)  # a layer could not be looked at
    conflicts: list[Reason] = field(default_factory=list)
    power: list[Reason] = field(default_factory=list)


def verify(asset: Asset, setting: Setting) -> Report:
    """Look at every layer of `asset` and judge.

    Raises:
        TokenizerMismatch: the caller's tokenizer is none that a key record names.
    """
    found = _Findings()
    if asset.problem:
        found.open.append(Reason("unreadable", asset.problem))
    elif asset.kind == "text":
        _text_marks(asset, setting, found)
    elif asset.kind == "image":
        _image_marks(asset, setting, found)
    else:
        found.open.append(
            Reason("no-detector", f"no detector for the marks of {asset.kind} yet")
        )
    manifest = _manifest(asset, setting, found)
    _ledger(asset, setting, found, manifest)
    return _judge(asset, setting, found, manifest)


# --- marks ---------------------------------------------------------------------------


def _text_marks(asset: Asset, setting: Setting, found: _Findings) -> None:
    records = [r for r in setting.records if r.scheme in TEXT_DETECTORS]
    if not records:
        found.open.append(Reason("no-key", "no key record of a text scheme is at hand"))
        return
    pairs = _readings(asset, records, setting)
    read = {record.test for record, _ in pairs}
    unread = [r for r in records if r.test not in read]
    if unread and not setting.given_tokenizer:
        found.open.append(
            Reason(
                "no-tokenizer",
                f"{len(unread)} key records could not be tested: a text mark lives in "
                "token ids. Name the tokenizer of the model that could have written "
                "this, or give the ids themselves",
            )
        )
    if not pairs:
        return
    seen: dict[str, int] = {}
    for record, ids in pairs:
        score = TEXT_DETECTORS[record.scheme].score(ids, record)
        found.evidence.append(_evidence(record, score, len(pairs), setting))
        seen[record.scheme] = max(seen.get(record.scheme, 0), score.n)
    # A scheme that is only there by default tells its power; one that is known to be
    # in use, or the default scheme itself, has to have it.
    in_use = {r.scheme for r in records if r.vocab_size is not None} | {"gumbel"}
    for scheme, n in seen.items():
        enough = TEXT_DETECTORS[scheme].ENOUGH
        detail = (
            f"{n} distinct contexts for {scheme}; about {enough} decide in 90 % of "
            "cases at 1 nat a token"
        )
        if n < enough and scheme in in_use:
            found.open.append(Reason("too-short", detail))
        else:
            found.power.append(Reason("power", detail))


def _readings(
    asset: Asset, records: Sequence[KeyRecord], setting: Setting
) -> list[tuple[KeyRecord, Any]]:
    """Each distinct test with the ids it applies to."""
    pairs: dict[tuple[Any, ...], tuple[KeyRecord, Any]] = {}
    if asset.tokens is not None:
        for record in records:
            pairs.setdefault(record.test, (record, asset.tokens))
        return list(pairs.values())
    for tokenizer in setting.tokenizers:
        usable = [r for r in records if r.tokenizer in (None, tokenizer.digest)]
        wanted = {r.tokenizer for r in records if r.tokenizer is not None}
        fits = tokenizer.digest in wanted or any(
            r.tokenizer is None and r.vocab_size is not None for r in records
        )
        if setting.given_tokenizer and wanted and not fits:
            names = ", ".join(sorted(digest[:12] for digest in wanted))
            raise TokenizerMismatch(
                f"the tokenizer given has digest {tokenizer.digest[:12]}, the key "
                f"records name {names}: its ids would mean nothing. Pass the tokenizer "
                "of the model that marked"
            )
        ids = np.asarray(tokenizer.encode(asset.text or ""), dtype=np.uint32)
        for record in usable:
            pairs.setdefault((*record.test, tokenizer.digest), (record, ids))
    return list(pairs.values())


def _image_marks(asset: Asset, setting: Setting, found: _Findings) -> None:
    tests = {r.test: r for r in setting.records if r.scheme == "noise"}
    if not tests:
        found.open.append(Reason("no-key", "no key record of scheme noise is at hand"))
        return
    try:
        pixels = _pixels(asset)
    except (DamagedAsset, UnsupportedFormat) as error:
        found.open.append(Reason("unreadable", str(error)))
        return
    if setting.inverter is None:
        found.open.append(
            Reason(
                "no-pipeline",
                "a mark in the noise is read by inverting the pipeline: name the one "
                "that could have made this",
            )
        )
        return
    try:
        for evidence in _look(pixels, list(tests.values()), setting):
            found.evidence.append(evidence)
    except (InvalidSignal, UnsupportedPipeline, RuntimeError, ValueError) as error:
        # The picture's size is the file's choice; a size the model refuses is content.
        found.open.append(
            Reason("not-invertible", f"{type(error).__name__}: {str(error)[:200]}")
        )
        return
    found.power.append(
        Reason(
            "power",
            "expected to find unresized outputs of this pipeline with this key; how "
            "often, `python -m benchmarks diffusion` measures. After resizing, "
            "cropping or rotation this test finds nothing",
        )
    )


def _pixels(asset: Asset) -> NDArray[np.uint8]:
    from watermark.assets import image

    if asset.picture is None:
        return image.to_rgb8(image.decode(asset.data or b""))
    return image.to_rgb8(image.loaded(asset.picture))


def _look(
    pixels: NDArray[np.uint8], records: Sequence[KeyRecord], setting: Setting
) -> list[Evidence]:
    best: dict[tuple[Any, ...], Evidence] = {}
    if setting.inverter is None:
        return []
    for steps, share in LOOKS[setting.effort]:
        estimate = setting.inverter.noise(pixels, steps=steps)
        for record in records:
            score = noise_detector.score(estimate, Code(record, estimate.shape))
            tests = math.ceil(len(records) / share)
            evidence = _evidence(record, score, tests, setting)
            evidence = replace(evidence, detail=f"{evidence.detail}, {steps} steps")
            before = best.get(record.test)
            if before is None or (evidence.log10_p or 0.0) < (before.log10_p or 0.0):
                best[record.test] = evidence
        if any(_decides(evidence, setting) for evidence in best.values()):
            break
    return list(best.values())


def _evidence(
    record: KeyRecord, score: Score, tests: int, setting: Setting
) -> Evidence:
    codes = ("key-revoked",) if record.kid in setting.revoked else ()
    return Evidence(
        layer="mark",
        detector=record.scheme,
        scheme=record.scheme,
        key_id=record.kid,
        log10_p=score.log10_p(tests),
        log10_p_raw=score.ln_p / math.log(10),
        hypotheses=score.hypotheses * tests,
        n=score.n,
        payload=score.payload,
        codes=codes,
        detail=f"statistic {score.statistic:.2f} over {score.n} observations",
    )


def _decides(evidence: Evidence, setting: Setting) -> bool:
    return (
        evidence.layer == "mark"
        and evidence.log10_p is not None
        and evidence.log10_p <= math.log10(setting.max_fpr)
    )


# --- manifest ------------------------------------------------------------------------


def _manifest(
    asset: Asset, setting: Setting, found: _Findings
) -> ManifestResult | None:
    if asset.picture is not None:
        found.open.append(
            Reason("pixels-only", "pixels hold no manifest: pass the file itself")
        )
    if asset.data is None or not asset.media_type:
        return None
    from watermark.sign import c2pa

    result = c2pa.read(
        asset.data, asset.media_type, anchors=setting.anchors, manifest=asset.sidecar
    )
    if asset.sidecar is not None and asset.shared and result.state == "invalid":
        result = replace(result, state="none", codes=())  # another file's, by its name
    if result.state == "invalid" and _only_expired(result):
        found.evidence.append(_manifest_evidence(result, "valid"))
        found.open.append(
            Reason(
                "expired-signer",
                f"signed by {result.signer!r} with a certificate that has expired; no "
                "time stamp says that it was signed before",
            )
        )
        return replace(result, state="valid")
    found.evidence.append(_manifest_evidence(result, result.state))
    if result.state == "valid":
        found.open.append(
            Reason("untrusted-signer", f"signed by {result.signer!r}, who is no anchor")
        )
    elif result.state == "remote":
        found.open.append(
            Reason("remote-manifest", "the manifest lies elsewhere and was not fetched")
        )
    elif result.state == "invalid":
        found.conflicts.append(
            Reason("broken-signature", f"the manifest fails: {', '.join(result.codes)}")
        )
    return result


def _only_expired(result: ManifestResult) -> bool:
    """Whether nothing is wrong but that the signer's certificate has run out."""
    allowed = {"signingCredential.expired", "signingCredential.untrusted"}
    codes = set(result.codes)
    return (
        "signingCredential.expired" in codes
        and codes <= allowed
        and result.content_matches
    )


def _manifest_evidence(
    result: ManifestResult, state: str, record_ids: tuple[str, ...] = ()
) -> Evidence:
    if not record_ids and result.record_id and state == "trusted":
        record_ids = (result.record_id,)
    return Evidence(
        layer="manifest",
        detector="c2pa",
        key_id=result.signer,
        state=state,
        codes=result.codes,
        record_ids=record_ids,
        detail=result.manifest_id,
    )


# --- ledger --------------------------------------------------------------------------


def _ledger(
    asset: Asset,
    setting: Setting,
    found: _Findings,
    manifest: ManifestResult | None,
) -> None:
    ledger = setting.ledger
    if ledger is None:
        return
    names = [(ASSET, asset.sha256)] if asset.sha256 else []
    names += [(CONTENT, digest) for digest in content_digests(asset)]
    hits: dict[str, str] = {}
    for alg, digest in names:
        for row in ledger.by_binding(alg, bytes.fromhex(digest)):
            hits.setdefault(row.record.record_id, f"by {alg}")
    for evidence in list(found.evidence):
        if not _decides(evidence, setting) or evidence.payload is None:
            continue
        alg = Mark(scheme=evidence.scheme, version=1, key_id=evidence.key_id).binding
        for row in ledger.by_binding(alg, evidence.payload):
            hits.setdefault(row.record.record_id, "by mark id")
        _recover(asset, setting, found, manifest, evidence, tuple(hits))
    for record_id, how in hits.items():
        record = ledger.record(record_id)
        if record is None:
            continue
        what = f"{record.kind} {record.origin} {record.created_at}"
        found.evidence.append(
            Evidence(
                layer="ledger",
                detector="ledger",
                state="logged",
                record_ids=(record_id,),
                detail=f"{what}, found {how}",
                codes=(f"origin-{record.origin}",),
            )
        )
    if not hits:
        found.evidence.append(Evidence(layer="ledger", detector="ledger", state="none"))


def content_digests(asset: Asset) -> list[str]:
    """Digests by which the ledger may know this content, whatever holds it."""
    try:
        if asset.tokens is not None:
            return [text_asset.tokens_digest(asset.tokens.tolist())]
        if asset.text is not None:
            return [
                text_asset.digest(asset.text),
                text_asset.digest(asset.text.strip()),
            ]
        if asset.kind == "image":
            from watermark.assets import image

            if asset.picture is None:
                return [image.digest(image.decode(asset.data or b""))]
            return [image.digest(image.loaded(asset.picture))]
    except (DamagedAsset, UnsupportedFormat):
        return []
    return []


def _recover(
    asset: Asset,
    setting: Setting,
    found: _Findings,
    manifest: ManifestResult | None,
    mark: Evidence,
    record_ids: tuple[str, ...],
) -> None:
    """Find the stripped manifest by the mark; check that the two belong together."""
    if setting.ledger is None or asset.data is None:
        return
    if manifest is not None and manifest.state != "none":
        return
    from watermark.sign import c2pa

    for record_id in record_ids:
        for _, store in setting.ledger.manifests_of(record_id):
            result = c2pa.read(
                asset.data, asset.media_type, anchors=setting.anchors, manifest=store
            )
            if not (result.content_only_broken or result.state == "trusted"):
                continue
            values = [value for _, value in result.soft_bindings]
            if mark.payload not in values:
                found.conflicts.append(
                    Reason("other-mark", "the manifest on file names another mark id")
                )
            found.evidence.append(_manifest_evidence(result, "recovered", (record_id,)))


# --- verdict -------------------------------------------------------------------------


def _judge(
    asset: Asset,
    setting: Setting,
    found: _Findings,
    manifest: ManifestResult | None,
) -> Report:
    marks = [e for e in found.evidence if _decides(e, setting)]
    _contradictions(marks, manifest, found, setting)
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
        verdict, reasons = Verdict.CONFLICT, found.conflicts
    elif marks:
        verdict, reasons = Verdict.MARKED, []
        if all("key-revoked" in mark.codes for mark in marks):
            reasons = [
                Reason(
                    "key-revoked",
                    "only revoked keys fire: whoever holds one could have forged it",
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
        reasons=tuple(reasons),
        sha256=asset.sha256,
    )


def _contradictions(
    marks: Sequence[Evidence],
    manifest: ManifestResult | None,
    found: _Findings,
    setting: Setting,
) -> None:
    keys = sorted({mark.key_id for mark in marks})
    if len(keys) > 1 and not setting.own.issuperset(keys):
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
        alg = Mark(scheme=mark.scheme, version=1, key_id=mark.key_id).binding
        if mark.payload is not None and bound.get(alg, mark.payload) != mark.payload:
            found.conflicts.append(
                Reason(
                    "other-mark", "the manifest names another mark id than was found"
                )
            )
