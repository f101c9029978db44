"""Sign with C2PA and read it back; the only module that imports c2pa.

Nothing here opens a socket: manifests behind a link are never fetched, revocation is
not asked for, and no time-stamp authority is called. Contexts are made anew for every
call (0.3 ms), because the library's do not survive a fork.
"""

from __future__ import annotations

import io
import re
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from cryptography import x509

from watermark.errors import (
    KeyFileError,
    MissingDependency,
    SigningError,
    UnsupportedFormat,
)
from watermark.sign import chain, claims, manifest
from watermark.sign.credential import Credential
from watermark.sign.manifest import ManifestResult
from watermark.sign.signer import Remembering

try:
    import c2pa  # noqa: TID251  # this is the module the ban speaks of
except ImportError as error:
    raise MissingDependency("c2pa-python", "all") from error

MAX_BYTES = 256 << 20  # the library held 650 MB for 200 MB of WAV
EMBEDDABLE = (
    "image/png",
    "image/jpeg",
    "image/webp",
    "audio/wav",
    "video/mp4",
    "application/pdf",
)

# How every manifest store starts: a JUMBF description box with the type C2PA.
_STORE = b"jumdc2pa\x00\x11\x00\x10"
_REMOTE = re.compile(r"must fetch remote manifests from url (https?://\S+)")


@dataclass(frozen=True, slots=True)
class SignedAsset:
    """A file with its manifest, already read back.

    Attributes:
        data: the file; for a sidecar the input, unchanged.
        manifest: the manifest store: what a repository keeps, or the sidecar holds.
        manifest_id: label of the active manifest.
    """

    data: bytes
    manifest: bytes
    manifest_id: str


def sign(
    data: bytes,
    media_type: str,
    definition: dict[str, Any],
    credential: Credential,
    *,
    parent: tuple[bytes, str] | None = None,
) -> SignedAsset:
    """Put a signed manifest into a file and read it back.

    Args:
        data: the file.
        media_type: one of `EMBEDDABLE`.
        definition: from `watermark.sign.claims.definition`.
        credential: who signs.
        parent: the input file and its media type, where the first action is
            `c2pa.opened` (`claims.needs_parent`).

    Raises:
        UnsupportedFormat: the format carries no manifest, or the file is too large.
        SigningError: the file is damaged, or the read-back was not as it must be.
        Exception: whatever a signing callback raised.
    """
    if media_type not in EMBEDDABLE:
        raise UnsupportedFormat(
            f"{media_type!r} found, expected one of {', '.join(EMBEDDABLE)}: "
            "sign_sidecar writes the manifest beside any other file"
        )
    signed, store = _build(data, media_type, definition, credential, parent, embed=True)
    return _read_back(signed, media_type, credential, store, embedded=True)


def sign_sidecar(
    data: bytes,
    media_type: str,
    definition: dict[str, Any],
    credential: Credential,
    *,
    parent: tuple[bytes, str] | None = None,
) -> SignedAsset:
    """Sign a manifest that lies beside the file: for text, or where none fits in.

    Raises:
        UnsupportedFormat: the file is too large.
        SigningError: the read-back was not as it must be.
        Exception: whatever a signing callback raised.
    """
    _, store = _build(data, media_type, definition, credential, parent, embed=False)
    return _read_back(data, media_type, credential, store, embedded=False)


def read(
    data: bytes,
    media_type: str,
    *,
    anchors: bytes = b"",
    manifest: bytes | None = None,
) -> ManifestResult:
    """What the manifest of a file says; damaged and hostile content is a result.

    Args:
        data: the file, as it came.
        media_type: as sniffed; a wrong one is put right where the library can.
        anchors: PEM certificates that are trusted; with none, no signer is.
        manifest: a manifest store from beside the file or from a repository, read in
            place of the one inside.

    Raises:
        UnsupportedFormat: the file is too large.
        KeyFileError: `anchors` are not PEM certificates.
    """
    _limit(data)
    if manifest is not None:
        _limit(manifest)
    with _reading(anchors) as context:
        try:
            return _read(data, media_type, context, manifest)
        except Exception as error:  # the library's, and all that hostile bytes raise
            return _failure(data, manifest, error)


def _reading(anchors: bytes) -> Any:
    """A context for reading; a bad trust list is an error of the caller's."""
    try:
        if anchors:
            x509.load_pem_x509_certificates(anchors)
        return c2pa.Context.from_dict(_settings(anchors))
    except (ValueError, c2pa.C2paError) as error:
        raise KeyFileError(
            f"the trust anchors cannot be read ({error}); expected PEM certificates"
        ) from error


def _settings(anchors: bytes) -> dict[str, Any]:
    trust = {"trust_config": "".join(f"{p.dotted_string}\n" for p in chain.PURPOSES)}
    if anchors:  # the library takes no empty list
        trust["trust_anchors"] = anchors.decode()
    return {
        "trust": trust,
        "verify": {
            "remote_manifest_fetch": False,
            "ocsp_fetch": False,
            "verify_after_sign": False,  # `_read_back` does, and more strictly
        },
        "core": {"allowed_network_hosts": []},
        "builder": {
            "thumbnail": {"enabled": False},  # 50-100 ms, and up to 1 MB
            # An ingredient takes no `created` flag; without this it is gathered.
            "created_assertion_labels": ["c2pa.ingredient"],
        },
    }


def _read(
    data: bytes, media_type: str, context: Any, store: bytes | None
) -> ManifestResult:
    stream = io.BytesIO(data)
    with c2pa.Reader(media_type, stream, store, context=context) as reader:
        result = manifest.parse(reader.json())
        return replace(result, manifest=store or _store(reader, result.manifest_id))


def _store(reader: Any, manifest_id: str) -> bytes | None:
    """The whole manifest store: the resource that has the active manifest's name."""
    stream = io.BytesIO()
    try:
        reader.resource_to_stream(manifest_id, stream)
    except c2pa.C2paError:
        return None
    found = stream.getvalue()
    return found if _STORE in found[:64] else None


def _failure(data: bytes, store: bytes | None, error: Exception) -> ManifestResult:
    """The result where the library gave no report."""
    if remote := _REMOTE.search(str(error)):
        url = remote[1][: manifest.MAX_TEXT]
        return ManifestResult(state="remote", remote_url=url)
    if store is not None:
        return manifest.unreadable()
    nothing = (c2pa.C2paError.ManifestNotFound, c2pa.C2paError.NotSupported)
    if isinstance(error, nothing):
        return ManifestResult(state="none")
    if _STORE in data:
        return manifest.unreadable()
    return ManifestResult(state="none", codes=(manifest.GENERAL_ERROR,))


def _build(
    data: bytes,
    media_type: str,
    definition: dict[str, Any],
    credential: Credential,
    parent: tuple[bytes, str] | None,
    *,
    embed: bool,
) -> tuple[bytes, bytes]:
    """The signed file and its manifest store."""
    _limit(data)
    _check_parent(definition, parent)
    callback = Remembering(credential.signer)
    output = io.BytesIO()
    try:
        with ExitStack() as stack:
            signer = _native_signer(credential, callback)
            settings = c2pa.Settings.from_dict(_settings(b""))
            stack.enter_context(settings)
            context = stack.enter_context(c2pa.Context(settings, signer))
            builder = stack.enter_context(c2pa.Builder(definition, context=context))
            if not embed:
                builder.set_no_embed()
            if parent is not None:
                _add_parent(builder, *parent)
            store = builder.sign(media_type, io.BytesIO(data), output)
    except c2pa.C2paError as error:
        if callback.failure is not None:  # the library swallows it
            raise callback.failure from None
        raise SigningError(f"signing {media_type} failed: {error}") from error
    return output.getvalue(), store


def _check_parent(definition: dict[str, Any], parent: tuple[bytes, str] | None) -> None:
    if claims.needs_parent(definition) != (parent is not None):
        found = "none" if parent is None else "one"
        raise SigningError(
            f"parent file: found {found}; expected one exactly where the first action "
            "is c2pa.opened (a record of origin 'altered')"
        )
    if parent is not None:
        _limit(parent[0])


def _add_parent(builder: Any, data: bytes, media_type: str) -> None:
    ingredient = {"label": claims.PARENT, "relationship": "parentOf"}  # no file name
    builder.add_ingredient(ingredient, media_type, io.BytesIO(data))


def _native_signer(credential: Credential, callback: Remembering) -> Any:
    # A callback reserves 11.5 KB for the signature; a key in PEM only what it needs.
    pem = credential.signer.pem
    if pem is not None:
        info = c2pa.C2paSignerInfo(
            credential.algorithm,
            credential.chain_pem,
            pem,
            None,  # not b"": that is an "internal error"
        )
        return c2pa.Signer.from_info(info)
    algorithm = c2pa.C2paSigningAlg[credential.algorithm.upper()]
    return c2pa.Signer.from_callback(
        callback, algorithm, credential.chain_pem.decode(), None
    )


def _read_back(
    data: bytes,
    media_type: str,
    credential: Credential,
    store: bytes,
    *,
    embedded: bool,
) -> SignedAsset:
    """What was signed, if a verifier finds it as it must be."""
    anchors = credential.root_pem or b""
    found = read(
        data, media_type, anchors=anchors, manifest=None if embedded else store
    )
    expected = "trusted" if anchors else "valid"
    if found.state != expected or not found.content_matches:
        raise SigningError(
            f"read back as {found.state!r} ({', '.join(found.codes) or 'no code'}), "
            f"expected {expected!r}: the file was not handed out. Check that root.pem "
            "is the root of chain.pem"
        )
    return SignedAsset(data, store, found.manifest_id)


def _limit(data: bytes) -> None:
    if len(data) > MAX_BYTES:
        raise UnsupportedFormat(
            f"{len(data)} bytes found, expected at most {MAX_BYTES}: larger files are "
            "not read into memory"
        )
