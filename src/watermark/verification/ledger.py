"""The ledger layer: records found by digest or by what the mark carries."""

from __future__ import annotations

from collections.abc import Sequence

from PIL.Image import Image

from watermark.assets import DamagedAsset, audio, fingerprint, image
from watermark.assets import text as text_asset
from watermark.assets.loading import Asset
from watermark.errors import UnsupportedFormat
from watermark.record import Record
from watermark.report import Evidence, Reason
from watermark.sign.manifest import ManifestResult
from watermark.store.leaf import ASSET, CONTENT
from watermark.verification.manifest import bare, manifest_evidence
from watermark.verification.setting import Findings, Setting, binding, decides


def look_up(
    asset: Asset,
    setting: Setting,
    found: Findings,
    manifest: ManifestResult | None,
) -> None:
    """Records that the ledger knows by digest or by mark id."""
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
        if not decides(evidence, setting) or evidence.payload is None:
            continue
        rows = ledger.by_binding(binding(evidence), evidence.payload)
        for row in rows:
            hits.setdefault(row.record.record_id, "by mark id")
        records = {row.record.record_id: row.record for row in rows}
        _compare(asset, evidence, list(records.values()), found)
        _recover(asset, setting, found, manifest, evidence, tuple(records))
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


def _compare(
    asset: Asset, mark: Evidence, records: Sequence[Record], found: Findings
) -> None:
    """Whether a marked picture looks like what its record is of.

    Only a whole picture does: what was cut, turned or resized cannot be compared.
    """
    kept = {r.fingerprint for r in records if r.fingerprint}
    if asset.kind != "image" or not kept:
        return
    try:
        seen = fingerprint.fingerprint(image.to_rgb8(_picture(asset)))
        kept = {one for one in kept if fingerprint.same_size(one, seen)}
        if not kept or "other-geometry" in mark.codes:
            found.notes.append(
                Reason(
                    "content-not-compared",
                    "the picture was cut, turned or resized since: whether it shows "
                    "what its record is of was not looked at",
                )
            )
            return
        apart = min(fingerprint.distance(one, seen) for one in kept)
    except (DamagedAsset, UnsupportedFormat, ValueError) as error:
        found.notes.append(Reason("content-not-compared", str(error)))
        return
    if apart > fingerprint.LIMIT:
        found.conflicts.append(
            Reason(
                "other-content",
                f"the mark's record is of a picture that looks different: {apart:.1f} "
                f"grey levels apart, expected at most {fingerprint.LIMIT:g} after "
                "re-encoding; it was edited since, or its mark carried over to another",
            )
        )


def content_digests(asset: Asset) -> list[str]:
    """Digests by which the ledger may know this content, whatever holds it."""
    try:
        if asset.tokens is not None:
            return [text_asset.tokens_digest(asset.tokens.tolist())]
        if asset.text is not None:
            said = bare(asset)[0].text or ""
            return [text_asset.digest(said), text_asset.digest(said.strip())]
        if asset.kind == "image":
            return [image.digest(_picture(asset))]
        if asset.kind == "audio":
            return [audio.digest(*audio.decode(asset.data or b""))]
    except (DamagedAsset, UnsupportedFormat):
        return []
    return []


def _picture(asset: Asset) -> Image:
    """The picture of an image asset, decoded.

    Raises:
        DamagedAsset: it cannot be decoded.
        UnsupportedFormat: a type that is not read.
    """
    if asset.picture is None:
        return image.decode(asset.data or b"")
    return image.loaded(asset.picture)


def _recover(
    asset: Asset,
    setting: Setting,
    found: Findings,
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
            values = [v for name, v in result.soft_bindings if name == binding(mark)]
            if values and mark.payload not in values:
                found.conflicts.append(
                    Reason("other-mark", "the manifest on file names another mark id")
                )
            found.evidence.append(manifest_evidence(result, "recovered", (record_id,)))
