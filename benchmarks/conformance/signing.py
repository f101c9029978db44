"""One file of every container and one text of every carrier, signed, as crJSON."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import c2pa as native  # noqa: TID251  # its crJSON is what the rubrics are written for

from benchmarks.conformance.containers import containers
from watermark.record import Mark, Provider, Record
from watermark.sign import c2pa, claims, text
from watermark.sign.credential import Credential
from watermark.sign.manifest import NOT_LOCATED
from watermark.sign.packing import ZIP_TYPES

TEXT = "The lamp turned, and the sea answered: naïve, 灯台.\n".encode()
PAGE = b"<!DOCTYPE html>\n<html><head><title>x</title></head><body>y</body></html>\n"
TEXTS: dict[str, tuple[text.Carrier, str, bytes]] = {
    "text wrapper": ("wrapper", ".txt", TEXT),
    "text Markdown": ("structured", ".md", TEXT),
    "text front matter": ("structured", ".md", b"---\ntitle: x\n---\n" + TEXT),
    "text source code": ("structured", ".py", b"x = 1\n"),
    "text HTML": ("html", ".html", PAGE),
    "text sidecar": ("sidecar", ".txt", TEXT),
}

RECORD = Record(
    kind="image",
    provider="Acme",
    system="acme-diffusion/3.1",
    model="lighthouse",
    oversight="prompt_guided",
    marks=(
        Mark(scheme="noise", version=1, key_id="k", mark_id=bytes(range(8))),
        Mark(scheme="latent", version=1, key_id="k"),
    ),
    fingerprint=b"\1" + bytes(288),
    about=Provider(
        name="Acme Ltd",
        detector="https://acme.example/detect",
        filings=(("CAC", "0000-0000"),),
    ),
)


@dataclass(frozen=True, slots=True)
class Signed:
    """What was signed, and the native library's report on it."""

    name: str
    origin: str
    state: str
    report: dict[str, Any]
    is_text: bool = False


def everything(credential: Credential) -> Iterator[Signed]:
    """Every container and carrier: created here, and made from somebody's file."""
    for origin in ("created", "altered"):
        record = replace(RECORD, origin=origin)
        for media_type, data in containers().items():
            yield _container(media_type, data, record, credential)
        for name in TEXTS:
            yield _text(name, replace(record, kind="text"), credential)


def _container(
    media_type: str, data: bytes, record: Record, credential: Credential
) -> Signed:
    parent = (data, media_type) if record.origin == "altered" else None
    definition = claims.definition(record)
    signed = c2pa.sign(data, media_type, definition, credential, parent=parent)
    found = c2pa.read(signed.data, media_type, anchors=credential.root_pem or b"")
    kind = ZIP_TYPES.get(media_type, media_type)
    report = _report(signed.data, kind, None, credential)
    return Signed(media_type, record.origin, found.state, report)


def _text(name: str, record: Record, credential: Credential) -> Signed:
    carrier, suffix, data = TEXTS[name]
    parent = (data, "text/plain") if record.origin == "altered" else None
    signed = text.sign(
        data,
        claims.definition(record),
        credential,
        carrier=carrier,
        suffix=suffix,
        parent=parent,
    )
    beside = signed.manifest if carrier == "sidecar" else None
    anchors = credential.root_pem or b""
    found = text.read(signed.data, anchors=anchors, sidecar=beside)
    report = _report(signed.data, "text/plain", signed.manifest, credential)
    if found.state == "trusted":
        # The library looks for no manifest in a text; `text.read` did, and found it
        # exactly where the hash leaves something out.
        results = report["manifests"][0]["validationResults"]
        results["failure"] = [
            each for each in results["failure"] if each["explanation"] != NOT_LOCATED
        ]
    return Signed(name, record.origin, found.state, report, is_text=True)


def _report(
    data: bytes, kind: str, store: bytes | None, credential: Credential
) -> dict[str, Any]:
    settings = {
        "trust": {
            "trust_anchors": (credential.root_pem or b"").decode(),
            "trust_config": "1.3.6.1.4.1.62558.2.1\n",
        },
        "verify": {"remote_manifest_fetch": False},
    }
    with (
        native.Context.from_dict(settings) as context,
        native.Reader(kind, io.BytesIO(data), store, context=context) as reader,
    ):
        report = json.loads(reader.crjson())
    assert isinstance(report, dict)
    return report
