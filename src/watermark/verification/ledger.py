"""The ledger layer: records found by digest or by what the mark carries."""

from __future__ import annotations

from collections.abc import Sequence

from watermark.assets import DamagedAsset, audio, image
from watermark.assets import text as text_asset
from watermark.assets.loading import Asset
from watermark.errors import UnsupportedFormat
from watermark.report import Evidence, Reason
from watermark.sign.manifest import ManifestResult
from watermark.store.leaf import ASSET, CONTENT, Row
from watermark.store.reader import LedgerReader
from watermark.verification.content import compare, picture
from watermark.verification.manifest import bare
from watermark.verification.recovery import ranked, recover
from watermark.verification.setting import Findings, Setting, binding, decides

# A payload may be the same in every output: it then names all records there are.
MOST_ENTRIES = 1000


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
        known = [*hits, (manifest and manifest.record_id) or ""]
        name = binding(evidence), evidence.payload
        rows, every = _entries(ledger, *name, known)
        records = {row.record.record_id: row.record for row in rows}
        candidates = ranked(asset, records.values())
        for one in candidates:
            hits.setdefault(one.record.record_id, f"by mark id{one.told}")
        if every:
            compare(asset, evidence, list(records.values()), found)
        else:
            found.notes.append(
                Reason(
                    "many-records",
                    f"the mark id {evidence.payload.hex()} names more records than "
                    f"can be told apart: only the newest {MOST_ENTRIES} entries, and "
                    "what was found otherwise, were looked at",
                )
            )
        recover(asset, setting, found, manifest, evidence, candidates)
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


def _entries(
    ledger: LedgerReader, alg: str, value: bytes, known: Sequence[str]
) -> tuple[list[Row], bool]:
    """The entries that a mark leads to, and whether these are all.

    If they are too many, those of the records `known` are among them nevertheless, so
    that nothing contradicts them for being old.
    """
    rows = ledger.by_binding(alg, value, newest=MOST_ENTRIES + 1)
    if len(rows) <= MOST_ENTRIES:
        return rows, True
    older = [row for record_id in known for row in ledger.by_record(record_id)]
    rows += [row for row in older if (alg, value) in row.bindings]
    found = {row.idx: row for row in rows[1:]}
    return [found[idx] for idx in sorted(found)], False


def content_digests(asset: Asset) -> list[str]:
    """Digests by which the ledger may know this content, whatever holds it."""
    try:
        if asset.tokens is not None:
            return [text_asset.tokens_digest(asset.tokens.tolist())]
        if asset.text is not None:
            said = bare(asset)[0].text or ""
            return [text_asset.digest(said), text_asset.digest(said.strip())]
        if asset.kind == "image":
            return [image.digest(picture(asset))]
        if asset.kind == "audio":
            return [audio.digest(*audio.decode(asset.data or b""))]
    except (DamagedAsset, UnsupportedFormat):
        return []
    return []
