"""Gather the evidence of every layer, and judge it.

Nothing here raises on bad content: hostile bytes are a verdict. A mark's evidence is a
function of the asset and the key records alone (and, of records with a registry, of the
nonces on file); the ledger is a layer of its own.
"""

from __future__ import annotations

from dataclasses import replace

from watermark.assets.loading import Asset
from watermark.report import Evidence, Reason, Report
from watermark.verification.audio import audio_marks
from watermark.verification.image import image_marks
from watermark.verification.label import read_label
from watermark.verification.latents import latents_marks
from watermark.verification.ledger import content_digests as content_digests
from watermark.verification.ledger import look_up
from watermark.verification.manifest import bare, read_manifest
from watermark.verification.setting import LOOKS as LOOKS
from watermark.verification.setting import Findings, decides
from watermark.verification.setting import Inverter as Inverter
from watermark.verification.setting import Setting as Setting
from watermark.verification.text import text_marks
from watermark.verification.verdict import judge
from watermark.verification.video import film_marks


def verify(asset: Asset, setting: Setting) -> Report:
    """Look at every layer of `asset` and judge.

    Raises:
        TokenizerMismatch: the caller's tokenizer is none that a key record names.
    """
    found = Findings()
    _look(asset, setting, found)
    manifest = read_manifest(asset, setting, found)
    read_label(asset, found, manifest)
    look_up(asset, setting, found, manifest)
    return judge(asset, setting, found, manifest)


def marks(asset: Asset, setting: Setting) -> list[Evidence]:
    """The marks that decide, of the mark layer alone.

    Raises:
        TokenizerMismatch: the caller's tokenizer is none that a key record names.
    """
    found = Findings()
    _look(asset, setting, found)
    return [evidence for evidence in found.evidence if decides(evidence, setting)]


def _look(asset: Asset, setting: Setting, found: Findings) -> None:
    """Run the detectors of the asset's kind."""
    if asset.problem:
        found.open.append(Reason("unreadable", asset.problem))
    elif asset.kind == "text":
        said, start, length = bare(asset)
        text_marks(said, setting, found)
        found.evidence = [_moved(e, start, length) for e in found.evidence]
    elif asset.kind == "image":
        image_marks(asset, setting, found)
    elif asset.kind == "audio":
        audio_marks(asset, setting, found)
    elif asset.kind == "video":
        film_marks(asset, setting, found)
    elif asset.kind == "latents":
        latents_marks(asset, setting, found)
    else:
        found.open.append(
            Reason("no-detector", f"no detector for the marks of {asset.kind} yet")
        )


def _moved(evidence: Evidence, start: int, length: int) -> Evidence:
    """Spans of a text without its manifest as spans of the text that was given."""
    if not length or not evidence.spans:
        return evidence
    spans = tuple(
        (a + length * (a >= start), b + length * (b > start)) for a, b in evidence.spans
    )
    return replace(evidence, spans=spans)
