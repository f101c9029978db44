"""Sign with C2PA and read it back; the only module that imports c2pa.

Nothing here opens a socket: manifests behind a link are never fetched, revocation is
not asked for, and no time-stamp authority is called. Contexts are made anew for every
call (0.3 ms), because the library's do not survive a fork.
"""

from __future__ import annotations

import functools
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
from watermark.sign import authority, chain, claims, cose, manifest
from watermark.sign.cose import NoRoom
from watermark.sign.credential import Credential
from watermark.sign.jumbf import well_formed
from watermark.sign.manifest import ManifestResult, unreadable
from watermark.sign.packing import ZIP_TYPES, stored
from watermark.sign.reseal import Claimed
from watermark.sign.splice import splice

try:
    import c2pa  # noqa: TID251  # this is the module the ban speaks of
except ImportError as error:
    raise MissingDependency("c2pa-python", "all") from error

MAX_BYTES = 256 << 20  # the library held 650 MB for 200 MB of WAV
EMBEDDABLE = (
    "image/png",
    "image/jpeg",
    "image/webp",
    "image/tiff",
    "image/gif",
    "image/avif",
    "image/heic",
    "image/svg+xml",
    "application/pdf",
    "audio/wav",
    "audio/mpeg",
    "audio/flac",
    "audio/mp4",
    "video/mp4",
    "video/quicktime",
    "video/avi",
    *ZIP_TYPES,
)

ROOM = 2000  # bytes that the library leaves for a signature at least

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
        media_type: one of `EMBEDDABLE`. Members of ZIP-based files are stored: the
            library reads no compressed ones, so such a file grows.
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
    if media_type in ZIP_TYPES:
        _limit(data)
        data = stored(data, MAX_BYTES)
    signed, store = _signed(
        data, media_type, definition, credential, parent, embed=True
    )
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
    _, store = _signed(data, media_type, definition, credential, parent, embed=False)
    return _read_back(data, media_type, credential, store, embedded=False)


def read(
    data: bytes,
    media_type: str,
    *,
    anchors: bytes = b"",
    manifest: bytes | None = None,
    in_text: bool = False,
) -> ManifestResult:
    """What the manifest of a file says; damaged and hostile content is a result.

    Args:
        data: the file, as it came.
        media_type: as sniffed; a wrong one is put right where the library can.
        anchors: PEM certificates that are trusted; with none, no signer is.
        manifest: a manifest store from beside the file or from a repository, read in
            place of the one inside.
        in_text: `manifest` was found in this text; see `manifest.parse`.

    Raises:
        UnsupportedFormat: the file is too large.
        KeyFileError: `anchors` are not PEM certificates.
    """
    _limit(data)
    if manifest is not None:
        _limit(manifest)
        if not well_formed(manifest):
            return unreadable()
    with _reading(anchors) as context:
        try:
            return _read(data, media_type, context, manifest, in_text)
        except Exception as error:  # the library's, and all that hostile bytes raise
            return _failure(data, manifest, error)


def _reading(anchors: bytes) -> Any:
    """A context for reading; a bad trust list is an error of the caller's."""
    try:
        _parse(anchors)
        return c2pa.Context.from_dict(_settings(anchors))
    except (ValueError, c2pa.C2paError) as error:
        raise KeyFileError(
            f"the trust anchors cannot be read ({error}); expected PEM certificates"
        ) from error


@functools.lru_cache(maxsize=16)
def _parse(anchors: bytes) -> None:
    """Return if these are certificates: the library takes garbage without a word."""
    if anchors:
        x509.load_pem_x509_certificates(anchors)


def _settings(anchors: bytes) -> dict[str, Any]:
    trust = {"trust_config": "".join(f"{p.dotted_string}\n" for p in chain.PURPOSES)}
    if anchors:  # the library takes no empty list
        trust["trust_anchors"] = anchors.decode()
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


def draft(
    data: bytes,
    media_type: str,
    definition: dict[str, Any],
    parent: tuple[bytes, str] | None = None,
    *,
    embed: bool,
    reserve: int = 0,
) -> tuple[bytes, bytes]:
    """A file and its manifest store as the library writes them, to be signed anew.

    Its signature is a throw-away key's, whom nobody trusts: `Claimed` puts the store
    right and has it signed.

    Args:
        data: as for `sign`.
        media_type: as for `sign`; any, where the store is not put into the file.
        definition: as for `sign`.
        parent: as for `sign`.
        embed: put the store into the file, rather than beside it.
        reserve: bytes of room for the signature, beyond what the library leaves.

    Raises:
        UnsupportedFormat: the file is too large.
        SigningError: the file is damaged.
    """
    _limit(data)
    _check_parent(definition, parent)
    output = io.BytesIO()
    resources = definition.get("resources", {})
    definition = {k: v for k, v in definition.items() if k != "resources"}
    if reserve:
        room = {"label": claims.RESERVE, "data": {"room": "0" * reserve}}
        definition["assertions"] = [*definition["assertions"], room]
    try:
        with ExitStack() as stack:
            settings = c2pa.Settings.from_dict(_settings(b""))
            stack.enter_context(settings)
            info = c2pa.C2paSignerInfo("ed25519", *_throw_away(), None)
            signer = c2pa.Signer.from_info(info)
            context = stack.enter_context(c2pa.Context(settings, signer))
            builder = stack.enter_context(c2pa.Builder(definition, context=context))
            if not embed:
                builder.set_no_embed()
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


def _signed(
    data: bytes,
    media_type: str,
    definition: dict[str, Any],
    credential: Credential,
    parent: tuple[bytes, str] | None,
    *,
    embed: bool,
) -> tuple[bytes, bytes]:
    """The signed file and its manifest store."""
    reserve = max(0, cose.size(credential) - ROOM)
    while True:
        file, old = draft(
            data, media_type, definition, parent, embed=embed, reserve=reserve
        )
        try:
            store = Claimed(old).signed(credential, len(old) if embed else None)
        except NoRoom as error:
            reserve += error.missing
            continue
        return (splice(file, old, store) if embed else data), store


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


def _read_back(
    data: bytes,
    media_type: str,
    credential: Credential,
    store: bytes,
    *,
    embedded: bool,
) -> SignedAsset:
    anchors = credential.root_pem or b""
    found = read(
        data, media_type, anchors=anchors, manifest=None if embedded else store
    )
    return checked(data, credential, store, found)


def checked(
    data: bytes, credential: Credential, store: bytes, found: ManifestResult
) -> SignedAsset:
    """What was signed, if a verifier found it as it must be.

    Raises:
        SigningError: it did not.
    """
    expected = "trusted" if credential.root_pem else "valid"
    whole = found.manifest == store  # and not the draft, which nobody signed
    if found.state != expected or not found.content_matches or not whole:
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
