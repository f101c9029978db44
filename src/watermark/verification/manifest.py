"""The manifest layer: who signed, and whether it holds."""

from __future__ import annotations

import re
from dataclasses import replace

from watermark.assets.loading import Asset
from watermark.report import Evidence, Reason
from watermark.sign.manifest import ManifestResult
from watermark.verification.setting import Findings, Setting

# Names of the standard's blocks, or a run of the variation selectors of its wrapper.
_CARRIED = re.compile("(?i)c2pa|[\ufe00-\ufe0f\U000e0100-\U000e01ef]{8}")


def read_manifest(
    asset: Asset, setting: Setting, found: Findings
) -> ManifestResult | None:
    """Read and judge the manifest, if this asset can hold one."""
    if asset.in_memory:
        found.open.append(
            Reason("pixels-only", "pixels hold no manifest: pass the file itself")
        )
    if asset.kind == "text":
        if asset.text is None or (asset.data is None and not may_carry(asset.text)):
            return None
        from watermark.sign import text

        data = asset.text.encode() if asset.data is None else asset.data
        result = text.read(
            data,
            anchors=setting.anchors,
            tsa_anchors=setting.tsa_anchors,
            sidecar=asset.sidecar,
        )
        beside = asset.sidecar is not None and asset.shared
        if beside and result.state == "invalid" and not text.holds(data):
            # Another file's, by its name.
            result = replace(result, state="none", codes=())
    elif asset.data is None or not asset.media_type:
        return None
    else:
        from watermark.sign import c2pa

        result = c2pa.read(
            *(asset.data, asset.media_type),
            anchors=setting.anchors,
            tsa_anchors=setting.tsa_anchors,
        )
    if result.state == "invalid" and only_expired(result):
        found.evidence.append(manifest_evidence(result, "valid"))
        found.open.append(
            Reason(
                "expired-signer",
                f"signed by {result.signer!r} with a certificate that has expired; no "
                "time stamp says that it was signed before",
            )
        )
        return replace(result, state="valid")
    found.evidence.append(manifest_evidence(result, result.state))
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


def may_carry(text: str) -> bool:
    """Whether a text could hold a manifest, told without reading it."""
    return _CARRIED.search(text) is not None


def bare(asset: Asset) -> tuple[Asset, int, int]:
    """A text without what carries its manifest: a mark is in the words.

    Returns:
        (asset, start, length): the characters ``start .. start + length`` are gone.
    """
    if asset.text is None or not may_carry(asset.text):
        return asset, 0, 0
    from watermark.sign import text

    before, carrier, after = text.parted(asset.text.encode())
    said = (before + after).decode()
    # A mark after the carrier may belong to the letter before it, and split it.
    start = len(before.decode(errors="ignore"))
    return replace(asset, text=said), start, len(carrier.decode())


def only_expired(result: ManifestResult) -> bool:
    """Whether nothing is wrong but that the signer's certificate has run out."""
    allowed = {"signingCredential.expired", "signingCredential.untrusted"}
    codes = set(result.codes)
    return (
        "signingCredential.expired" in codes
        and codes <= allowed
        and result.content_matches
    )


def manifest_evidence(
    result: ManifestResult, state: str, record_ids: tuple[str, ...] = ()
) -> Evidence:
    """Evidence of one manifest; only a trusted one leads to its record."""
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
