"""The native C2PA library, and the only module that imports it.

Nothing here opens a socket: manifests behind a link are never fetched, revocation is
not asked for, and no time-stamp authority is called. Threads share the library's
contexts, which take 0.3 ms to make; a process that was forked makes its own.
"""

from __future__ import annotations

import functools
import io
import os
import re
from dataclasses import replace
from typing import Any, TypedDict
from xml.sax.saxutils import unescape

from cryptography import x509

from watermark.errors import (
    KeyFileError,
    MissingDependency,
    SigningError,
    UnsupportedFormat,
)
from watermark.sign import authority, chain, claims, manifest
from watermark.sign.jumbf import well_formed
from watermark.sign.manifest import ManifestResult, unreadable
from watermark.sign.overlong import overlong
from watermark.sign.packing import ZIP_TYPES

try:
    import c2pa  # noqa: TID251  # this is the module the ban speaks of
except ImportError as error:
    raise MissingDependency("c2pa-python", "all") from error

MAX_BYTES = 256 << 20  # the library held 650 MB for 200 MB of WAV

# How every manifest store starts: a JUMBF description box with the type C2PA.
STORE = b"jumdc2pa\x00\x11\x00\x10\x80\x00\x00\xaa\x008\x9bq"
_REMOTE = re.compile(r"must fetch remote manifests from url (https?://\S+)")


class Trust(TypedDict, total=False):
    """Whom `read` trusts: these two of its arguments."""

    anchors: bytes
    tsa_anchors: bytes


def read(
    data: bytes,
    media_type: str,
    *,
    anchors: bytes = b"",
    tsa_anchors: bytes = b"",
    manifest: bytes | None = None,
    in_text: bool = False,
) -> ManifestResult:
    """What the manifest of a file says; damaged and hostile content is a result.

    Args:
        data: the file, as it came.
        media_type: as sniffed; a wrong one is put right where the library can.
        anchors: PEM certificates that are trusted; with none, no signer is.
        tsa_anchors: those that vouch for time-stamp authorities, and for no signer;
            `anchors` vouch for both.
        manifest: a manifest store from beside the file or from a repository, read in
            place of the one inside.
        in_text: `manifest` was found in this text; see `manifest.parse`.

    Raises:
        UnsupportedFormat: the file is too large.
        KeyFileError: `anchors` are not PEM certificates.
    """
    limit(data)
    if manifest is not None:
        limit(manifest)
        if not well_formed(manifest):
            return unreadable()
    if overlong(data if manifest is None else manifest):
        return unreadable()
    context = _reading(anchors, tsa_anchors)
    try:
        return _read(data, media_type, context, manifest, in_text)
    except Exception as error:  # the library's, and all that hostile bytes raise
        return _failure(data, manifest, error)


def _reading(anchors: bytes, tsa_anchors: bytes) -> Any:
    """A context for reading; a bad trust list is an error of the caller's."""
    try:
        _parse(anchors)
        _parse(tsa_anchors)
        return _context(anchors, tsa_anchors, os.getpid())
    except (ValueError, c2pa.C2paError) as error:
        raise KeyFileError(
            f"the trust anchors cannot be read ({error}); expected PEM certificates"
        ) from error


@functools.lru_cache(maxsize=8)
def _context(anchors: bytes, tsa_anchors: bytes, process: int) -> Any:
    return c2pa.Context.from_dict(_settings(anchors, tsa_anchors))


@functools.lru_cache(maxsize=1)
def _drafting(process: int) -> Any:
    """A context to write with, by a key that nobody trusts."""
    info = c2pa.C2paSignerInfo("ed25519", *_throw_away(), None)
    with c2pa.Settings.from_dict(_settings(b"")) as settings:
        return c2pa.Context(settings, c2pa.Signer.from_info(info))


@functools.lru_cache(maxsize=16)
def _parse(anchors: bytes) -> tuple[x509.Certificate, ...]:
    """The certificates: the library takes garbage without a word."""
    return tuple(x509.load_pem_x509_certificates(anchors)) if anchors else ()


@functools.lru_cache(maxsize=16)
def _stamping_alone(anchors: bytes, tsa_anchors: bytes) -> str:
    """The anchors (PEM) for time-stamps that are none for signers."""
    known = set(_parse(anchors))
    return chain.pem(c for c in _parse(tsa_anchors) if c not in known).decode()


def _settings(anchors: bytes, tsa_anchors: bytes = b"") -> dict[str, Any]:
    purposes = "".join(f"{p.dotted_string}\n" for p in chain.PURPOSES)
    trust: dict[str, Any] = {"trust_config": purposes}
    if anchors:  # the library takes no empty list
        trust["trust_anchors"] = anchors.decode()
    if stamping := _stamping_alone(anchors, tsa_anchors):
        # The library believes signers too that lead there: `manifest.parse` does not.
        trust["anchors"] = [
            {"trust_anchors": stamping, "trust_kind": "tsa", "trust_uri": "tsa"}
        ]
    return {
        "trust": trust,
        "verify": {
            "remote_manifest_fetch": False,
            "ocsp_fetch": False,
            "verify_after_sign": False,  # `checked` does, and more strictly
        },
        "core": {"allowed_network_hosts": []},
        "builder": {
            "thumbnail": {"enabled": False},  # 50-100 ms, and up to 1 MB
            # An ingredient takes no `created` flag; without this it is gathered.
            "created_assertion_labels": ["c2pa.ingredient"],
        },
    }


def _read(
    data: bytes, media_type: str, context: Any, store: bytes | None, in_text: bool
) -> ManifestResult:
    stream = io.BytesIO(data)
    kind = ZIP_TYPES.get(media_type, media_type)
    with c2pa.Reader(kind, stream, store, context=context) as reader:
        result = manifest.parse(reader.json(), in_text=in_text)
        if in_text:
            result = replace(result, exclusions=manifest.exclusions(reader.crjson()))
        return replace(result, manifest=store or _store(reader, result.manifest_id))


def _store(reader: Any, manifest_id: str) -> bytes | None:
    """The whole manifest store: the resource that has the active manifest's name."""
    stream = io.BytesIO()
    try:
        reader.resource_to_stream(manifest_id, stream)
    except c2pa.C2paError:
        return None
    found = stream.getvalue()
    return found if STORE in found[:64] else None


def _failure(data: bytes, store: bytes | None, error: Exception) -> ManifestResult:
    """The result where the library gave no report."""
    if remote := _REMOTE.search(str(error)):
        url = unescape(remote[1][: manifest.MAX_TEXT])
        return ManifestResult(state="remote", remote_url=url)
    if store is not None:
        return manifest.unreadable()
    nothing = (c2pa.C2paError.ManifestNotFound, c2pa.C2paError.NotSupported)
    if isinstance(error, nothing):
        return ManifestResult(state="none")
    if STORE in data:
        return manifest.unreadable()
    return ManifestResult(state="none", codes=(manifest.GENERAL_ERROR,))


def validation(
    data: bytes, media_type: str, store: bytes, *, in_text: bool = False
) -> manifest.Results:
    """What validating a parent's manifest finds, with nobody trusted.

    Raises:
        UnsupportedFormat: the file is too large.
        SigningError: `store` cannot be read.
    """
    limit(data)
    if not well_formed(store) or overlong(store):
        raise SigningError("the parent's manifest is damaged: it cannot be kept")
    kind = ZIP_TYPES.get(media_type, media_type)
    try:
        context = _reading(b"", b"")
        with c2pa.Reader(kind, io.BytesIO(data), store, context=context) as reader:
            return manifest.results(reader.json(), in_text=in_text)
    except c2pa.C2paError as error:
        raise SigningError(f"the parent's manifest cannot be read: {error}") from error


def draft(
    data: bytes,
    media_type: str,
    definition: dict[str, Any],
    parent: tuple[bytes, str] | None = None,
    *,
    embed: bool,
    reserve: int = 0,
    url: str = "",
    update: bool = False,
) -> tuple[bytes, bytes]:
    """A file and its manifest store as the library writes them, to be signed anew.

    Its signature is a throw-away key's, whom nobody trusts: `Claimed` puts the store
    right and has it signed.

    Args:
        data: the file.
        media_type: its type; any, where the store is not put into the file.
        definition: from `watermark.sign.claims.definition`.
        parent: the file that it was made from, and its type, or None.
        embed: put the store into the file, rather than beside it.
        reserve: bytes of room for the signature, beyond what the library leaves.
        url: to write into the file as the place of its manifest.
        update: of a signed file whose content stays (C2PA 2.4, 11.2.3).

    Raises:
        UnsupportedFormat: the file is too large.
        SigningError: the file is damaged.
    """
    limit(data)
    output = io.BytesIO()
    resources = definition.get("resources", {})
    definition = {k: v for k, v in definition.items() if k != "resources"}
    if reserve:
        room = {"label": claims.RESERVE, "data": {"room": "0" * reserve}}
        definition["assertions"] = [*definition["assertions"], room]
    try:
        with c2pa.Builder(definition, context=_drafting(os.getpid())) as builder:
            if update:
                builder.set_intent(c2pa.C2paBuilderIntent.UPDATE)
            if not embed:
                builder.set_no_embed()
            if url:
                builder.set_remote_url(url)
            for name, content in resources.items():
                builder.add_resource(name, io.BytesIO(content.encode()))
            if parent is not None:
                _add_parent(builder, *parent)
            kind = ZIP_TYPES.get(media_type, media_type)
            store = builder.sign(kind, io.BytesIO(data), output)
    except c2pa.C2paError as error:
        raise SigningError(f"signing {media_type} failed: {error}") from error
    return output.getvalue(), store


@functools.cache
def _throw_away() -> tuple[bytes, bytes]:
    """A chain and key for drafts: the library writes nothing without a signature."""
    issued = authority.issue("draft", algorithm="ed25519")  # the fastest
    return issued.chain_pem, issued.key_pem


def _add_parent(builder: Any, data: bytes, media_type: str) -> None:
    ingredient = {"label": claims.PARENT, "relationship": "parentOf"}  # no file name
    kind = ZIP_TYPES.get(media_type, media_type)
    builder.add_ingredient(ingredient, kind, io.BytesIO(data))


def limit(data: bytes) -> None:
    """Return if a file is not too large to be read into memory.

    Raises:
        UnsupportedFormat: it is.
    """
    if len(data) > MAX_BYTES:
        raise UnsupportedFormat(
            f"{len(data)} bytes found, expected at most {MAX_BYTES}: larger files are "
            "not read into memory"
        )
