"""Lint a file against a regime, clause by clause: ours, or anybody's.

Only the file is looked at. What it cannot show (a log, a mark whose key is elsewhere, a
notice on a page) is said to be outside it, and never counted as met.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import BinaryIO, Literal

from watermark.assets import DamagedAsset
from watermark.assets.loading import Asset, load
from watermark.errors import LabelError, SigningError, UnsupportedFormat
from watermark.labels import (
    aigc,
    containers,
    explicit,
    facts,
    provider,
    regimes,
    security,
    xmp,
)
from watermark.labels.regimes import Level, Regime, Requirements
from watermark.sign import claims
from watermark.sign.manifest import ManifestResult

State = Literal["met", "missed", "unclear", "outside"]
# Deviations that a strict writer avoids and every reader must put up with.
TOLERATED = ("producer is no code", "not compact", "order", "padded", "wrapped")
_OUTSIDE = {
    "watermark": "a mark is found with its key: wm verify",
    "ledger": "the provider's log is not in the file",
    "keep-marks": "what was in the input is not known",
    "consent": "consent to a voice or face is not in the file",
    "notice": "the notice stands beside the file",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What a file shows of one clause.

    Attributes:
        layer: of `watermark.labels.regimes.LAYERS`, or ``file``.
        state: ``met``; ``missed``; ``unclear``: it could not be read; ``outside``: a
            file does not show it.
        level: how much the regime asks for it.
        clause: where that is written.
        detail: one sentence: what was found, what was expected.
    """

    layer: str
    state: State
    level: Level
    clause: str
    detail: str

    @property
    def severity(self) -> Literal["error", "warning", "note", "none"]:
        """As SARIF names them; ``none`` where the clause is met."""
        if self.state == "met":
            return "none"
        if self.state == "outside":
            return "note"
        return "error" if self.level is Level.REQUIRED else "warning"


@dataclass(slots=True)
class _File:
    """One file as far as it was read."""

    asset: Asset
    source: BinaryIO
    form: str
    needs: Requirements
    anchors: bytes
    labels: list[bytes] = field(default_factory=list)
    damage: str = ""
    manifest: ManifestResult | None = None


def check(
    path: Path,
    regime: str | Regime | Sequence[str | Regime],
    *,
    as_of: date | None = None,
    anchors: bytes = b"",
    trusted: Sequence[bytes] = (),
) -> list[Finding]:
    """Every clause of `regime` that is about such a file, and what the file shows.

    Never raises on bad content: what cannot be read is ``unclear``.

    Args:
        path: the file.
        regime: one or several.
        as_of: the day whose rules are meant; None: today.
        anchors: PEM certificates of signers that are trusted.
        trusted: public keys of labels that are known from elsewhere.

    Raises:
        LabelError: no such regime.
        OSError: the file cannot be read.
    """
    wanted = [regime] if isinstance(regime, str | Regime) else list(regime)
    asset = load(path)
    form = regimes.form_of(asset.media_type, asset.kind, path.suffix)
    needs = regimes.requirements(
        wanted, form, as_of=as_of or datetime.now(UTC).date(), public=True
    )
    if asset.kind == "unknown" or asset.data is None:
        return [Finding("file", "unclear", Level.REQUIRED, "", asset.problem)]
    file = _File(asset, io.BytesIO(asset.data), form, needs, anchors)
    _read(file)
    found = []
    for layer in regimes.LAYERS:
        if needs.level(layer) is Level.OFF:
            continue
        for state, detail in _look(layer, file, trusted):
            row = needs.rows[layer]
            if row.level is Level.OPTIONAL and state != "met":
                continue
            found.append(Finding(layer, state, row.level, row.clause, detail))
    return found


def _read(file: _File) -> None:
    data, asset = file.asset.data or b"", file.asset
    if asset.problem:
        file.damage = asset.problem
    texts = {"markdown": "text/markdown", "page": "text/html"}
    media_type = texts.get(file.form, asset.media_type)
    if media_type in containers.SUPPORTED:
        try:
            file.labels = containers.read(file.source, media_type)
        except DamagedAsset as error:
            file.damage = str(error)
    try:
        if asset.kind == "text":
            from watermark.sign import text

            file.manifest = text.read(data, anchors=file.anchors, sidecar=asset.sidecar)
        else:
            from watermark.sign import c2pa

            file.manifest = c2pa.read(data, asset.media_type, anchors=file.anchors)
    except UnsupportedFormat:
        file.manifest = None


def _look(
    layer: str, file: _File, trusted: Sequence[bytes]
) -> Iterator[tuple[State, str]]:
    """What the file shows of one layer."""
    if layer in _OUTSIDE:
        yield "outside", _OUTSIDE[layer]
    elif layer == "label":
        yield from _label(file)
    elif layer in ("provider-code", "security"):
        label = _parsed(file)
        if label is None:
            yield "unclear" if file.damage else "missed", "there is no label to hold it"
        elif layer == "security":
            yield _security(label, trusted)
        else:
            yield _provider_code(label)
    elif layer == "iptc":
        yield _iptc(file)
    elif layer == "explicit":
        yield _explicit(file)
    elif layer == "origin":
        yield _origin(file)
    else:
        yield _manifest(layer, file)


def _label(file: _File) -> Iterator[tuple[State, str]]:
    if file.damage:
        yield "unclear", f"the container cannot be read: {file.damage}"
        return
    if len(file.labels) != 1:
        clause = f" ({aigc.ONE_LABEL})" if file.labels else ""
        yield "missed", f"{len(file.labels)} labels found, expected exactly one{clause}"
    for raw in file.labels:
        read = aigc.parse(raw)
        if read.label is None:
            yield "missed", f"a label that cannot be read: {', '.join(read.deviations)}"
            continue
        bad = [each for each in read.deviations if each not in TOLERATED]
        if bad:
            yield "missed", f"not as Annex E has it: {', '.join(bad)}"
        else:
            odd = [e for e in read.deviations if e != "producer is no code"]
            note = f"; readers have to put up with: {', '.join(odd)}" if odd else ""
            level = aigc.LEVELS[read.label.label]
            number = read.label.produce_id
            yield "met", f"{level} generated, ProduceID {number}{note}"


def _parsed(file: _File) -> aigc.Label | None:
    found = [aigc.parse(raw).label for raw in file.labels]
    return next((label for label in found if label is not None), None)


def _provider_code(label: aigc.Label) -> tuple[State, str]:
    producer = label.content_producer
    if not provider.is_code(producer):
        if not producer:
            return "missed", "ContentProducer is empty, expected a code or a name"
        if not producer.isascii():
            return "missed", f"{producer:.40} is no code, and a name has to be ASCII"
        return "met", f"{producer:.40} is a name; the guides advise the code"
    try:
        code = provider.ProviderCode.parse(producer)
    except LabelError as error:
        return "missed", str(error)
    doubt = "" if code.checked else "; its check character is not known here"
    return "met", f"{code}, service {provider.SERVICES[code.service]}{doubt}"


def _security(label: aigc.Label, trusted: Sequence[bytes]) -> tuple[State, str]:
    worth = security.verify(label, trusted)
    if worth.state in ("intact", "authentic"):
        return "met", f"{worth.state}: {worth.detail}"
    if worth.state == "broken":
        return "missed", f"the signature fails: {worth.detail}"
    return "missed", f"{worth.state}: {worth.detail or 'no security information'}"


def _iptc(file: _File) -> tuple[State, str]:
    if file.asset.media_type not in containers.WITH_XMP:
        return "outside", f"no XMP is read from {file.asset.media_type}"
    try:
        packet = containers.read_xmp(file.source, file.asset.media_type)
        types = xmp.get(packet, xmp.DIGITAL_SOURCE_TYPE) if packet else []
    except DamagedAsset as error:
        return "unclear", f"the XMP cannot be read: {error}"
    if any(each in claims.SOURCES.values() for each in types):
        return "met", f"DigitalSourceType {types[0].rpartition('/')[2]}"
    said = types[0][:80] if types else "none"
    return "missed", f"DigitalSourceType {said}, expected the URI of a generated one"


def _explicit(file: _File) -> tuple[State, str]:
    data, media_type = file.asset.data or b"", file.asset.media_type
    wording = file.needs.wording
    if file.form in ("image", "video"):
        corner = explicit.corner_of(data, media_type, wording)
        if corner:
            return "met", f"{wording} at {corner}"
    elif explicit.is_there(data, media_type, file.form, explicit.Wish(wording)):
        return "met", "Morse AI" if file.form == "audio" else wording
    if file.form in ("text", "markdown", "page"):
        return "missed", f"neither end says {file.needs.wording!r}"
    return "outside", "no mark of ours; whether there is another, a person has to see"


def _origin(file: _File) -> tuple[State, str]:
    manifest, label = file.manifest, _parsed(file)
    if manifest is not None and manifest.state in ("trusted", "valid"):
        for source in manifest.source_types:
            if source in claims.SOURCES.values():
                return "met", source.rpartition("/")[2]
    if label is not None and label.label in aigc.LEVELS:
        return "met", f"the label: {aigc.LEVELS[label.label]} generated"
    return "unclear" if file.damage else "missed", "nothing says how it came to be"


def _manifest(layer: str, file: _File) -> tuple[State, str]:
    """Of the layers that stand in the manifest."""
    found = file.manifest
    readable = found is not None and found.state in ("trusted", "valid")
    if layer in ("filing", "detector") and not readable:
        return "outside", "no manifest names it; elsewhere it may be told"
    if found is None:
        return "missed", f"{file.asset.media_type} holds no manifest"
    if found.state not in ("trusted", "valid"):
        if found.state == "remote":
            return "unclear", "the manifest lies elsewhere, and is not fetched"
        codes = f": {', '.join(found.codes)}" if found.codes else ""
        return "missed", f"manifest {found.state}{codes}"
    if layer == "manifest":
        return "met", f"{found.state}, signed by {found.signer!r}"
    if layer == "timestamp":
        return _timestamp(found)
    return _claimed(layer, found)


def _timestamp(found: ManifestResult) -> tuple[State, str]:
    if found.timestamp == "trusted":
        return "met", f"stamped {found.signed_at}"
    if found.timestamp == "untrusted":
        return "unclear", "there is one, of an authority that is not trusted here"
    return "missed", "there is none"


def _claimed(layer: str, found: ManifestResult) -> tuple[State, str]:
    store = found.manifest or b""
    try:
        if layer == "facts":
            missing = facts.of_manifest(store).missing
            if missing:
                return "missed", f"missing: {', '.join(missing)}"
            return "met", "provider, system, version, time, identifier"
        about = facts.provider_of(store)
    except SigningError:
        return "outside", "not in the manifest as we write it: see wm verify"
    key = {"filing": "filings", "detector": "detector"}[layer]
    if about.get(key):
        return "met", f"the manifest names {key}"
    return "outside", f"the manifest names no {key}; elsewhere it may be told"
