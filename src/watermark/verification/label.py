"""The label layer: what a file says of itself under the law of labels (GB 45438-2025).

Anybody can write a label, and anybody can take one out: it says something only in one
direction, and never decides. A container that cannot be read is no file without one.
"""

from __future__ import annotations

import io
import re

from watermark.assets import DamagedAsset, format_of
from watermark.assets.loading import Asset
from watermark.errors import UnsupportedFormat
from watermark.labels import aigc, containers, security
from watermark.report import Evidence, Reason
from watermark.sign.manifest import ManifestResult
from watermark.verification.setting import Findings

_IN_TEXT = ("text/markdown", "text/html")
_NAMED = re.compile(rb"(?i)aigc")


def read_label(asset: Asset, found: Findings, manifest: ManifestResult | None) -> None:
    """Enter the labels of a file as evidence, if there are any.

    Args:
        asset: the file.
        found: where they are entered.
        manifest: that was found; a trusted one vouches for the label, too.
    """
    if asset.data is None or asset.problem:
        return
    try:
        raws = _read(asset.data, asset.kind, asset.media_type)
    except DamagedAsset as error:
        found.open.append(
            Reason("label-unreadable", f"whether it has a label is not known: {error}")
        )
        return
    for raw in raws:
        said = _evidence(raw)
        found.evidence.append(said)
        if said.state == "broken":
            found.open.append(
                Reason(
                    "label-changed",
                    "the label's values are not those that its producer signed",
                )
            )
    if len(raws) > 1:
        found.open.append(
            Reason("several-labels", f"{len(raws)} labels found ({aigc.ONE_LABEL})")
        )
    vouched = manifest is not None and manifest.state == "trusted"
    if raws and not vouched:
        found.open.append(
            Reason(
                "label-unproven",
                "a label says that this is generated; it proves nothing, because "
                "anybody can write one",
            )
        )


def _read(data: bytes, kind: str, media_type: str) -> list[bytes]:
    if kind == "text":
        if not _NAMED.search(data):
            return []
        types = [media_type] if media_type in _IN_TEXT else list(_IN_TEXT)
    else:
        types = [media_type] if media_type in containers.SUPPORTED else []
    raws = []
    for each in types:
        try:
            raws += containers.read(io.BytesIO(data), each)
        except UnsupportedFormat:
            continue
        except DamagedAsset:
            # A text that is no page is not a damaged page.
            if each != "text/html" or format_of(data) == each:
                raise
    return raws


def _evidence(raw: bytes) -> Evidence:
    read = aigc.parse(raw)
    if read.label is None:
        return Evidence(
            layer="label", detector="aigc", state="unreadable", codes=read.deviations
        )
    label, worth = read.label, security.verify(read.label)
    level = aigc.LEVELS.get(label.label, "of an unknown level of being")
    parts = [f"{level} generated, ProduceID {label.produce_id or 'none'}"]
    if label.content_propagator:
        parts.append(f"propagated by {label.content_propagator}")
    if worth.detail:
        parts.append(f"security information: {worth.state}, {worth.detail}")
    return Evidence(
        layer="label",
        detector="aigc",
        key_id=label.content_producer,
        state="broken" if worth.state == "broken" else "present",
        codes=read.deviations,
        detail="; ".join(parts),
    )
