"""The ledger layer: records found by digest or by what the mark carries.

An entry that no signed checkpoint covers counts as not there: whoever can write the
database, and holds no log key, could have put it there. Of each that counts the path to
the signed root is checked, for it can decide a verdict, or accuse somebody. Where the
ledger has no manifest for a mark, the repositories that the caller named are asked
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


class _Log:
    """The entries that a ledger's newest checkpoint signs; each is proved once.

    Attributes:
        reader: the ledger.
        unsigned: whether an entry was met that no checkpoint covers.
    """

    def __init__(self, reader: LedgerReader) -> None:
        self.reader, self.unsigned = reader, False
        self._known: dict[tuple[int, bytes], bool] = {}

    def signed(self, rows: Sequence[Row]) -> list[Row]:
        """Those of `rows` that are signed; `LedgerCorrupt` where one was rewritten."""
        new = [row for row in rows if (row.idx, row.body) not in self._known]
        self._known |= {(row.idx, row.body): False for row in new}
        self._known |= {(row.idx, row.body): True for row in self.reader.signed(new)}
        found = [row for row in rows if self._known[row.idx, row.body]]
        self.unsigned |= len(found) < len(rows)
        return found


def look_up(
    asset: Asset,
    setting: Setting,
    found: Findings,
    manifest: ManifestResult | None,
) -> None:
    """Records that the ledger knows by digest or by mark id, and their manifests."""
    hits: dict[str, str] = {}
    log = None if setting.ledger is None else _Log(setting.ledger)
    if log is not None:
        _by_digest(asset, log, hits)
    asked: set[tuple[str, bytes]] = set()
    for evidence in list(found.evidence):
        if not decides(evidence, setting) or evidence.payload is None:
            continue
        at_hand = log is not None and _by_mark(
            asset, setting, found, manifest, evidence, log, hits
        )
        name = binding(evidence), evidence.payload
        if not at_hand and name not in asked and len(asked) < MOST_ASKED:
            asked.add(name)
            ask(asset, setting, found, manifest, evidence)
    if log is not None:
        _tell(log, hits, found)


def _by_digest(asset: Asset, log: _Log, hits: dict[str, str]) -> None:
    """Add the records of this very file or content to `hits`."""
    names = [(ASSET, asset.sha256)] if asset.sha256 else []
    names += [(CONTENT, digest) for digest in content_digests(asset)]
    for alg, digest in names:
        # The same few words may be in very many records.
        rows = log.reader.by_binding(alg, bytes.fromhex(digest), newest=MOST_ENTRIES)
        first: dict[str, Row] = {}
        for row in rows:
            first.setdefault(row.record.record_id, row)
        for row in log.signed([row for one, row in first.items() if one not in hits]):
            hits[row.record.record_id] = f"by {alg}"


def _by_mark(
    asset: Asset,
    setting: Setting,
    found: Findings,
    manifest: ManifestResult | None,
    mark: Evidence,
    log: _Log,
    hits: dict[str, str],
) -> bool:
    """Add the records that a mark leads to; whether a manifest of theirs is at hand."""
    payload = mark.payload or b""
    known = [*hits, (manifest and manifest.record_id) or ""]
    rows, every = _entries(log, binding(mark), payload, known)
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


def _tell(log: _Log, hits: Mapping[str, str], found: Findings) -> None:
    """One evidence for each record that was found, or that there is none."""
    for record_id, how in hits.items():
        rows = reversed(log.reader.by_record(record_id))
        newest = next((row for row in rows if log.signed([row])), None)
        if newest is None:
            continue
        record = newest.record
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
    if log.unsigned:
        found.notes.append(
            Reason(
                "entry-unsigned",
                "the ledger has an entry for this that no signed checkpoint covers: it "
                "counts as not there until the log key signs it (Ledger.sign, or the "
                "next append with that key)",
            )
        )


def _entries(
    log: _Log, alg: str, value: bytes, known: Sequence[str]
) -> tuple[list[Row], bool]:
    """The entries that a mark leads to, and whether these are all.

    If they are too many, those of the records `known` are among them nevertheless, so
    that nothing contradicts them for being old.
    """
    rows = log.reader.by_binding(alg, value, newest=MOST_ENTRIES + 1)
    if len(rows) <= MOST_ENTRIES:
        return log.signed(rows), True
    older = [row for record_id in known for row in log.reader.by_record(record_id)]
    rows += [row for row in older if (alg, value) in row.bindings]
    found = {row.idx: row for row in log.signed(rows[1:])}
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
