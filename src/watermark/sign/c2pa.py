"""Sign files with C2PA and read them back.

The native library lays a file out (`native.draft`), we sign it (`reseal`), and what
was signed is read as a stranger would read it before anybody gets it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from watermark.errors import SigningError, UnsupportedFormat
from watermark.sign import claims, cose, countersign, native, stamps
from watermark.sign.cose import NoRoom
from watermark.sign.credential import Credential
from watermark.sign.jumbf import parse
from watermark.sign.manifest import ManifestResult
from watermark.sign.native import Trust as Trust
from watermark.sign.native import draft as draft
from watermark.sign.native import read as read
from watermark.sign.native import validation as validation
from watermark.sign.packing import ZIP_TYPES, stored
from watermark.sign.reseal import Claimed, Held
from watermark.sign.splice import splice
from watermark.sign.stamps import Plan, When

EMBEDDABLE = (
    "image/png",
    "image/jpeg",
    "image/webp",
    "image/tiff",
    "image/gif",
    "image/avif",
    "image/heic",
    "image/heif",
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

# Without any of these a file carries no manifest, and no link to one.
_TRACES = (native.STORE, b"dcterms:provenance")
_TRACE_IN_SVG = b"c2pa:manifest"


@dataclass(frozen=True, slots=True)
class SignedAsset:
    """A file with its manifest, already read back.

    Attributes:
        data: the file; for a sidecar the input, unchanged.
        manifest: the manifest store: what a repository keeps, or the sidecar holds.
        manifest_id: label of the active manifest.
        timestamp: ``now``: it has one. ``deferred``: it has room for one, and
            `watermark.sign.restamp` puts it there. ``never``.
    """

    data: bytes
    manifest: bytes
    manifest_id: str
    timestamp: When = "never"


def sign(
    data: bytes,
    media_type: str,
    definition: dict[str, Any],
    credential: Credential,
    *,
    parent: tuple[bytes, str] | None = None,
    parent_manifest: bytes | None = None,
    timestamp: When | None = None,
) -> SignedAsset:
    """Put a signed manifest into a file and read it back.

    A manifest that the file carries already is never replaced: it has to be the
    parent's, and then it is kept inside the new one.

    Args:
        data: the file.
        media_type: one of `EMBEDDABLE`. Members of ZIP-based files are stored: the
            library reads no compressed ones, so such a file grows.
        definition: from `watermark.sign.claims.definition`.
        credential: who signs.
        parent: the input file and its media type, where the first action is
            `c2pa.opened` (`claims.needs_parent`).
        parent_manifest: the parent's manifest store, where it lies beside that file.
        timestamp: ``now``, ``deferred`` or ``never``; None: as the credential's
            settings say (`watermark.sign.stamps`).

    Raises:
        UnsupportedFormat: the format carries no manifest, or the file is too large.
        SigningError: the file is damaged, or the read-back was not as it must be.
        TimestampError: no authority gave a time-stamp that can be believed.
        Exception: whatever a signing callback raised.
    """
    if media_type not in EMBEDDABLE:
        raise UnsupportedFormat(
            f"{media_type!r} found, expected one of {', '.join(EMBEDDABLE)}: "
            "sign_sidecar writes the manifest beside any other file"
        )
    if media_type in ZIP_TYPES:
        native.limit(data)
        data = stored(data, native.MAX_BYTES)
    before = manifest_before(data, media_type, parent)
    plan = stamps.plan(credential.stamps, timestamp)
    held = _held(parent, parent_manifest)
    signed, store = laid_out(
        data, media_type, definition, credential, parent, held, plan, embed=True
    )
    if before.encode() not in store:
        raise SigningError(
            f"the manifest {before} was not kept inside the new one: the file was not "
            "handed out"
        )
    return read_back(signed, media_type, credential, store, plan, embedded=True)


def sign_sidecar(
    data: bytes,
    media_type: str,
    definition: dict[str, Any],
    credential: Credential,
    *,
    parent: tuple[bytes, str] | None = None,
    parent_manifest: bytes | None = None,
    held: Held | None = None,
    timestamp: When | None = None,
) -> SignedAsset:
    """Sign a manifest that lies beside the file: for text, or where none fits in.

    Args:
        data: the file; it stays as it is, with whatever manifest it carries.
        media_type: any.
        definition: as for `sign`.
        credential: as for `sign`.
        parent: as for `sign`.
        parent_manifest: as for `sign`.
        held: the same, already validated.
        timestamp: as for `sign`.

    Raises:
        UnsupportedFormat: the file is too large.
        SigningError: the read-back was not as it must be.
        TimestampError: no authority gave a time-stamp that can be believed.
        Exception: whatever a signing callback raised.
    """
    plan = stamps.plan(credential.stamps, timestamp)
    held = held or _held(parent, parent_manifest)
    _, store = laid_out(
        data, media_type, definition, credential, parent, held, plan, embed=False
    )
    return read_back(data, media_type, credential, store, plan, embedded=False)


def laid_out(
    data: bytes,
    media_type: str,
    definition: dict[str, Any],
    credential: Credential,
    parent: tuple[bytes, str] | None,
    held: Held | None,
    plan: Plan,
    *,
    embed: bool,
    update: bool = False,
) -> tuple[bytes, bytes]:
    """The signed file and its manifest store, in as much room as it takes.

    Raises:
        UnsupportedFormat: the file is too large.
        SigningError: the file is damaged.
        TimestampError: no authority gave a time-stamp that can be believed.
        Exception: whatever a signing callback raised.
    """
    if not update:
        check_parent(definition, parent)
    reserve = max(0, cose.size(credential, plan.room) - ROOM)
    while True:
        file, old = draft(
            *(data, media_type, definition, parent),
            embed=embed,
            reserve=reserve,
            update=update,
        )
        try:
            claimed = Claimed(old, held=held)
            store = claimed.signed(credential, len(old) if embed else None, plan)
        except NoRoom as error:
            reserve += error.missing
            continue
        return (splice(file, old, store) if embed else data), store


def manifest_before(
    data: bytes, media_type: str, parent: tuple[bytes, str] | None
) -> str:
    """Label of the manifest that the file or its parent carries, or an empty string.

    Raises:
        SigningError: the file carries one that is not the parent's, and would be gone.
    """
    held = _carried(*parent) if parent is not None else None
    same = parent is not None and parent[0] == data
    found = held if same else _carried(data, media_type)
    if found is not None and not same:
        names = (found.manifest_id, found.remote_url)
        known = held is not None and names == (held.manifest_id, held.remote_url)
        if not known or not any(names):
            raise SigningError(
                "this file has a manifest already, which signing would replace: sign "
                "the output as it was generated, or say what it was made from (a "
                "record of origin 'altered', and this file as the parent)"
            )
    if held is not None and not (held.manifest_id or held.remote_url):
        raise SigningError(
            "this file has a manifest that cannot be read, and signing would drop it: "
            "have it taken out first, if nobody needs it"
        )
    return "" if held is None else held.manifest_id


def _carried(data: bytes, media_type: str) -> ManifestResult | None:
    """The manifest in a file, be it a broken one or a link, or None."""
    traces = (*_TRACES, _TRACE_IN_SVG) if "svg" in media_type else _TRACES
    if not any(trace in data for trace in traces):  # most files: nothing to read
        return None
    found = read(data, media_type)
    return None if found.state == "none" else found


def _held(parent: tuple[bytes, str] | None, store: bytes | None) -> Held | None:
    """The parent's manifest from beside it, with what validating it finds."""
    if parent is None or store is None:
        return None
    return Held(store, validation(*parent, store))


def check_parent(definition: dict[str, Any], parent: tuple[bytes, str] | None) -> None:
    """Return if there is a parent exactly where the definition speaks of one.

    Raises:
        SigningError: there is one too few or too many.
        UnsupportedFormat: it is too large.
    """
    if claims.needs_parent(definition) != (parent is not None):
        found = "none" if parent is None else "one"
        raise SigningError(
            f"parent file: found {found}; expected one exactly where the first action "
            "is c2pa.opened (a record of origin 'altered')"
        )
    if parent is not None:
        native.limit(parent[0])


def read_back(
    data: bytes,
    media_type: str,
    credential: Credential,
    store: bytes,
    plan: Plan,
    *,
    embedded: bool,
) -> SignedAsset:
    """What was signed, read as a stranger would, and only then handed out.

    Raises:
        SigningError: it reads back in another way.
    """
    beside = None if embedded else store
    found = read(data, media_type, manifest=beside, **trusting(credential))
    return checked(data, credential, store, found, plan)


def trusting(credential: Credential) -> Trust:
    """Whom a reader trusts who trusts this credential, and who stamps for it."""
    found: Trust = {"anchors": credential.root_pem or b""}
    if credential.stamps is not None:
        found["tsa_anchors"] = credential.stamps.anchors
    return found


def checked(
    data: bytes,
    credential: Credential,
    store: bytes,
    found: ManifestResult,
    plan: Plan,
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
    if plan.when == "now" and found.timestamp != "trusted":
        raise SigningError(
            f"the time-stamp was read back as {found.timestamp!r}, expected 'trusted': "
            "the file was not handed out. Check the anchors of `wm stamp use`"
        )
    if plan.when == "deferred":
        plan.remember(found.manifest_id, countersign.message(parse(store).signature))
    return SignedAsset(data, store, found.manifest_id, plan.when)
