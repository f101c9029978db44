"""The ledger layer: records found by digest or by what the mark carries.

An entry that no signed checkpoint covers counts as not there: whoever can write the
database, and holds no log key, could have put it there. Where the ledger has no
manifest for a mark, the repositories that the caller named are asked
(`watermark.verification.repositories`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
from watermark.verification.repositories import ask
from watermark.verification.setting import Findings, Setting, binding, decides

# A payload may be the same in every output: it then names all records there are.
MOST_ENTRIES = 1000
MOST_ASKED = 4  # mark ids of one content that other repositories are asked about


def look_up(
    asset: Asset,
    setting: Setting,
    found: Findings,
    manifest: ManifestResult | None,
) -> None:
    """Records that the ledger knows by digest or by mark id, and their manifests."""
    hits: dict[str, str] = {}
    if setting.ledger is not None:
        _by_digest(asset, setting.ledger, hits)
    asked: set[tuple[str, bytes]] = set()
    for evidence in list(found.evidence):
        if not decides(evidence, setting) or evidence.payload is None:
            continue
        at_hand = setting.ledger is not None and _by_mark(
            asset, setting, found, manifest, evidence, setting.ledger, hits
        )
        name = binding(evidence), evidence.payload
        if not at_hand and name not in asked and len(asked) < MOST_ASKED:
            asked.add(name)
            ask(asset, setting, found, manifest, evidence)
    if setting.ledger is not None:
        _tell(setting.ledger, hits, found)


def _by_digest(asset: Asset, ledger: LedgerReader, hits: dict[str, str]) -> None:
    """Add the records of this very file or content to `hits`."""
    names = [(ASSET, asset.sha256)] if asset.sha256 else []
    names += [(CONTENT, digest) for digest in content_digests(asset)]
    for alg, digest in names:
        # The same few words may be in very many records.
        rows = ledger.by_binding(alg, bytes.fromhex(digest), newest=MOST_ENTRIES)
        for row in rows:
            one = row.record.record_id
            # It can decide a verdict by itself.
            if one not in hits and ledger.proof_of(row) is not None:
                hits[one] = f"by {alg}"


def _by_mark(
    asset: Asset,
    setting: Setting,
    found: Findings,
    manifest: ManifestResult | None,
    mark: Evidence,
    ledger: LedgerReader,
    hits: dict[str, str],
) -> bool:
    """Add the records that a mark leads to; whether a manifest of theirs is at hand."""
    payload = mark.payload or b""
    known = [*hits, (manifest and manifest.record_id) or ""]
    rows, every = _entries(ledger, binding(mark), payload, known)
    records = {row.record.record_id: row.record for row in rows}
    candidates = ranked(asset, records.values())
    for one in candidates:
        hits.setdefault(one.record.record_id, f"by mark id{one.told}")
    if every:
        compare(asset, mark, list(records.values()), found)
    else:
        found.notes.append(
            Reason(
                "many-records",
                f"the mark id {payload.hex()} names more records than can be told "
                f"apart: only the newest {MOST_ENTRIES} entries, and what was found "
                "otherwise, were looked at",
            )
        )
    return recover(asset, setting, found, manifest, mark, candidates)


def _tell(ledger: LedgerReader, hits: Mapping[str, str], found: Findings) -> None:
    """One evidence for each record that was found, or that there is none."""
    signed = ledger.signed_size
    for record_id, how in hits.items():
        rows = [row for row in ledger.by_record(record_id) if row.idx < signed]
        if not rows:
            continue
        record = rows[-1].record
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
    signed = ledger.signed_size
    if len(rows) <= MOST_ENTRIES:
        return [row for row in rows if row.idx < signed], True
    older = [row for record_id in known for row in ledger.by_record(record_id)]
    rows += [row for row in older if (alg, value) in row.bindings]
    found = {row.idx: row for row in rows[1:] if row.idx < signed}
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
