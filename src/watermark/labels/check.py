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

from watermark.assets import DamagedAsset, format_of
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
    """One file as far as it was read; `unread`: why its labels are not known."""

    asset: Asset
    source: BinaryIO
    form: str
    needs: Requirements
    anchors: bytes
    labels: list[bytes] = field(default_factory=list)
    unread: str = ""
    broken: bool = False
    manifest: ManifestResult | None = None


def check(
    path: Path,
    regime: str | Regime | Sequence[str | Regime],
    *,
    as_of: date | None = None,
    on_market: date | None = None,
    anchors: bytes = b"",
    trusted: Sequence[bytes] = (),
) -> list[Finding]:
    """Every clause of `regime` that is about such a file, and what the file shows.

    Never raises on bad content: what cannot be read is ``unclear``.

    Args:
        path: the file.
        regime: one or several.
        as_of: the day whose rules are meant; None: today.
        on_market: since when the system that made it is on the market; None: not known,
            and then the rules of new ones hold.
        anchors: PEM certificates of signers and time-stamp authorities that are
            trusted.
        trusted: public keys of labels that are known from elsewhere.

    Raises:
        LabelError: no such regime, or several that contradict each other.
        KeyFileError: `anchors` are no PEM certificates.
        OSError: the file cannot be read.
    """
    wanted = [regime] if isinstance(regime, str | Regime) else list(regime)
    asset = load(path)
    told = format_of(asset.data or b"", path.suffix) or asset.media_type
    form = regimes.form_of(told, asset.kind, path.suffix)
    day = as_of or datetime.now(UTC).date()
    needs = regimes.requirements(wanted, form, as_of=day, on_market=on_market)
    if asset.kind == "unknown" or asset.data is None:
        return [not_read(asset.problem)]
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


def not_read(problem: str) -> Finding:
    """What is found of a file that could not be read at all."""
    return Finding("file", "unclear", Level.REQUIRED, "", problem)


def _read(file: _File) -> None:
    data, asset = file.asset.data or b"", file.asset
    texts = {"markdown": "text/markdown", "page": "text/html"}
    media_type = texts.get(file.form, asset.media_type)
    if media_type in containers.SUPPORTED:
        try:
            file.labels = containers.read(file.source, media_type)
        except DamagedAsset as error:
            file.unread, file.broken = f"the container cannot be read: {error}", True
    else:
        file.unread = f"nothing says where a label lies in {media_type}"
    if asset.problem:
        file.unread, file.broken = asset.problem, True
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
            yield "unclear" if file.unread else "missed", "no label found to hold it"
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
    if file.unread:
        yield "unclear", file.unread
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
            yield "missed", f"not as Annex E has it: {', '.join(bad):.300}"
        else:
            odd = [e for e in read.deviations if e != "producer is no code"]
            note = f"; readers have to put up with: {', '.join(odd)}" if odd else ""
            level = aigc.LEVELS[read.label.label]
            number = read.label.produce_id
            yield "met", f"{level} generated, ProduceID {number:.80}{note}"


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
    try:
        where = explicit.find(data, media_type, file.form, file.needs.wording)
    except UnsupportedFormat as error:
        return "outside", f"{error}: a person has to see, or hear"
    except (DamagedAsset, LabelError) as error:
        return "unclear", str(error)
    if where:
        return "met", where
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
    return "unclear" if file.broken else "missed", "nothing says how it came to be"


def _manifest(layer: str, file: _File) -> tuple[State, str]:
    """Of the layers that stand in the manifest."""
    found = file.manifest
    readable = found is not None and found.state in ("trusted", "valid")
    if layer in ("filing", "detector") and not readable:
        return "outside", "no manifest names it; elsewhere it may be told"
    if found is None:
        return "unclear", "the file is too large to look for a manifest"
    if found.state not in ("trusted", "valid"):
        if found.state == "remote":
            return "unclear", "the manifest lies elsewhere, and is not fetched"
        if file.broken:
            return "unclear", f"no manifest can be read: {file.unread}"
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
        if layer == "facts":
            return "unclear", "not in the manifest as we write it: see wm verify"
        return "outside", "the manifest does not name it; elsewhere it may be told"
    key = {"filing": "filings", "detector": "detector"}[layer]
    if about.get(key):
        return "met", f"the manifest names {key}"
    return "outside", "the manifest does not name it; elsewhere it may be told"
