"""Record: one output of one call, and the one object every layer is written from.

The ledger row, the manifest's assertions and (later) the labels are all made from a
`Record`, so they cannot disagree. A record holds no personal data and no secret.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, Self

from watermark.errors import StoreError

SCHEMA = "watermark.record/1"
BINDING_PREFIX = "org.watermark-sdk"  # C2PA wants reverse-DNS names (2.4, 18.10)

Kind = Literal["text", "image", "audio", "video", "document"]
Source = Literal["trained", "composite", "data"]
KINDS: tuple[Kind, ...] = ("text", "image", "audio", "video", "document")


def utc_now() -> str:
    """The time now, RFC 3339, UTC, whole seconds: ``2026-11-23T09:00:00Z``."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What was put into the signal of one output.

    Attributes:
        scheme: name of the scheme, as in `watermark.schemes`.
        version: version of the scheme's bits.
        key_id: public name of the key.
        epoch: epoch of the sub-key.
        mark_id: what the mark carries (8 bytes for ``noise``); empty for presence only.
        coverage: share in [0, 1] of the output's tokens or numbers that the scheme
            was allowed to choose; 0.0 means that nothing was marked.
        nonce: which of the key's signs were used: 12 bytes for ``noise`` and
            ``latent``, which with ``registry=1`` are found by those on file, and
            otherwise have the record found where the mark is too faint for its id to
            be read; else empty.
    """

    scheme: str
    version: int
    key_id: str
    epoch: int = 0
    mark_id: bytes = b""
    coverage: float = 1.0
    nonce: bytes = b""

    @property
    def binding(self) -> str:
        """Name of the C2PA soft-binding algorithm whose value is `mark_id`."""
        return f"{BINDING_PREFIX}.{self.scheme}.{self.version}"

    @property
    def nonce_binding(self) -> str:
        """Name under which `nonce` is on file: detection has to try each of them."""
        return f"nonce.{self.key_id}.{self.epoch}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data, bytes as hex."""
        # Only where there is one: a mark of before there were any stays as it is.
        nonce = {"nonce": self.nonce.hex()} if self.nonce else {}
        return {
            "scheme": self.scheme,
            "version": self.version,
            "key_id": self.key_id,
            "epoch": self.epoch,
            "mark_id": self.mark_id.hex(),
            "coverage": round(self.coverage, 6),
            **nonce,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        known = {
            "mark_id": bytes.fromhex(data["mark_id"]),
            "nonce": bytes.fromhex(data.get("nonce", "")),
        }
        return cls(**{**data, **known})


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """Who runs the model, as a verifier is told. All of it is published.

    Attributes:
        name: the legal name.
        url: home page.
        contact: e-mail address or URL.
        detector: URL where anybody can have an output checked for marks.
        filings: authority and number of each registration of the model or service.
    """

    name: str
    url: str = ""
    contact: str = ""
    detector: str = ""
    filings: tuple[tuple[str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data; what is not known is left out."""
        known = {
            "name": self.name,
            "url": self.url,
            "contact": self.contact,
            "detector": self.detector,
            "filings": [{"authority": a, "number": n} for a, n in self.filings],
        }
        return {key: value for key, value in known.items() if value}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        filings = tuple((f["authority"], f["number"]) for f in data.get("filings", ()))
        return cls(**{**data, "filings": filings})


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One output of one call; each sample of a batch has its own.

    Attributes:
        record_id: 32 hex digits, 128 random bits; never derived from content.
        kind: what sort of medium.
        origin: ``created`` by a model here, or ``altered`` from existing media.
        created_at: RFC 3339, UTC, whole seconds.
        provider: who runs the model.
        system: name and version of the software that generated, ``name/version``.
        model: name of the model, or None when unknown.
        marks: what is in the signal; empty is the recorded fact ``mark: none``.
        content: SHA-256 digests (hex) by which an output is recognised again before
            any metadata: of pixels, of UTF-8 text, of token ids.
        fingerprint: what the content looks like, coarsely
            (`watermark.assets.fingerprint`), or empty: by it a mark that was carried
            over to other content is told.
        source: how it came to be: ``trained``: all of it is a model's;
            ``composite``: a model changed or added to existing media; ``data``: a
            model made a table or the like. None: ``trained`` if created here.
        model_id: which model exactly, such as
            ``pkg:huggingface/acme/lighthouse@3f2a``; or "".
        model_type: its type in C2PA's list (2.4, 18.11), or "".
        oversight: ``fully_autonomous``, ``prompt_guided``, ``human_validated``, or "".
        about: more on the provider, or None.
    """

    record_id: str = field(default_factory=lambda: secrets.token_hex(16))
    kind: Kind
    origin: Literal["created", "altered"] = "created"
    created_at: str = field(default_factory=utc_now)
    provider: str
    system: str = ""
    model: str | None = None
    marks: tuple[Mark, ...] = ()
    content: tuple[str, ...] = ()
    fingerprint: bytes = b""
    source: Source | None = None
    model_id: str = ""
    model_type: str = ""
    oversight: str = ""
    about: Provider | None = None

    def with_content(self, *digests: str) -> Self:
        """This record, recognised by `digests` as well."""
        return replace(self, content=tuple(dict.fromkeys((*self.content, *digests))))

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data, the schema named first."""
        # Only where there is one: a record of before there were any stays as it is.
        later: dict[str, Any] = {
            "fingerprint": self.fingerprint.hex(),
            "source": self.source,
            "model_id": self.model_id,
            "model_type": self.model_type,
            "oversight": self.oversight,
            "about": self.about.to_dict() if self.about else None,
        }
        return {
            "schema": SCHEMA,
            "record_id": self.record_id,
            "kind": self.kind,
            "origin": self.origin,
            "created_at": self.created_at,
            "provider": self.provider,
            "system": self.system,
            "model": self.model,
            "mark": [m.to_dict() for m in self.marks] or "none",
            "content": list(self.content),
            **{key: value for key, value in later.items() if value},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`.

        Raises:
            StoreError: another schema, or a field is missing or of the wrong type.
        """
        if data.get("schema") != SCHEMA:
            raise StoreError(
                f"found a record of schema {data.get('schema')!r}, expected {SCHEMA!r}:"
                " it was written by another version of watermark-sdk"
            )
        try:
            marks, about = data["mark"], data.get("about")
            return cls(
                record_id=str(data["record_id"]),
                kind=data["kind"],
                origin=data["origin"],
                created_at=data["created_at"],
                provider=data["provider"],
                system=data["system"],
                model=data["model"],
                marks=()
                if marks == "none"
                else tuple(Mark.from_dict(mark) for mark in marks),
                content=tuple(data["content"]),
                fingerprint=bytes.fromhex(data.get("fingerprint", "")),
                source=data.get("source"),
                model_id=data.get("model_id", ""),
                model_type=data.get("model_type", ""),
                oversight=data.get("oversight", ""),
                about=Provider.from_dict(about) if about else None,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(f"a record cannot be read: {error!r}") from error
