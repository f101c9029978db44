"""Sign files with C2PA and read them back.

The native library lays a file out (`native.draft`), we sign it (`reseal`), and what
was signed is read as a stranger would read it before anybody gets it.
"""

from __future__ import annotations

from typing import Any

from watermark.errors import SigningError, UnsupportedFormat
from watermark.sign import claims, cose, native, stamps
from watermark.sign.cose import NoRoom
from watermark.sign.credential import Credential
from watermark.sign.jumbf import labelled_active
from watermark.sign.locating import locate
from watermark.sign.manifest import ManifestResult
from watermark.sign.native import Trust as Trust
from watermark.sign.native import draft as draft
from watermark.sign.native import read as read
from watermark.sign.native import validation as validation
from watermark.sign.packing import ZIP_TYPES, stored
from watermark.sign.place import Linked, Located, Unusable
from watermark.sign.readback import SignedAsset as SignedAsset
from watermark.sign.readback import checked as checked
from watermark.sign.readback import read_back as read_back
from watermark.sign.readback import trusting as trusting
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

TEXT = "text/plain"  # as the native library is told: it reads no other text
ROOM = 2000  # bytes that the library leaves for a signature at least

# Without any of these a file carries no manifest, and no link to one.
_TRACES: tuple[bytes, ...] = (native.STORE, b"dcterms:provenance")
_TRACE_IN_SVG, _TRACE_IN_ID3 = b"manifest", b"GEOB"  # base64; perhaps compressed
_UNREADABLE = (
    "this file has a manifest that cannot be read, and signing would drop it: have it "
    "taken out first, if nobody needs it"
)


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
    held = parents_manifest(parent, parent_manifest)
    signed, store = laid_out(
        data, media_type, definition, credential, parent, held, plan, embed=True
    )
    check_kept(before, store)
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
        data: the file; it stays as it is. One that holds a manifest itself is refused:
            readers would look at that one.
        media_type: any.
        definition: as for `sign`.
        credential: as for `sign`.
        parent: as for `sign`.
        parent_manifest: as for `sign`.
        held: the same, already validated.
        timestamp: as for `sign`.

    Raises:
        UnsupportedFormat: the file is too large.
        SigningError: the file holds a manifest, or the read-back was not as it must
            be.
        TimestampError: no authority gave a time-stamp that can be believed.
        Exception: whatever a signing callback raised.
    """
    inside = _carried(data, media_type) if media_type in EMBEDDABLE else None
    if inside is not None and not inside.remote_url:
        raise SigningError(
            "this file holds a manifest itself, and readers would not look beside it: "
            "sign the file (`sign`), with this one as the parent"
        )
    plan = stamps.plan(credential.stamps, timestamp)
    held = held or parents_manifest(parent, parent_manifest)
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
        raise SigningError(_UNREADABLE)
    return "" if held is None else held.manifest_id


def _carried(data: bytes, media_type: str) -> ManifestResult | None:
    """The manifest in a file, be it a broken one or a link, or None."""
    traces = _TRACES
    if "svg" in media_type:
        traces += (_TRACE_IN_SVG,)
    elif media_type.startswith("audio/"):
        traces += (_TRACE_IN_ID3,)
    if not any(trace in data for trace in traces):  # most files: nothing to read
        return None
    found = read(data, media_type)
    return None if found.state == "none" else found


def check_kept(before: str, store: bytes) -> None:
    """Return if the manifest of this label is inside the new store.

    Raises:
        SigningError: it is not.
    """
    if before.encode() not in store:
        raise SigningError(
            f"the manifest {before} was not kept inside the new one: the file was not "
            "handed out"
        )


def parents_manifest(
    parent: tuple[bytes, str] | None, beside: bytes | None = None
) -> Held | None:
    """The parent's manifest, where the native library does not find it by itself.

    With what validating it finds. The library keeps those inside of containers.

    Args:
        parent: the input file and its media type; any text if the library knows none.
        beside: the manifest store from beside that file.

    Raises:
        SigningError: it would be lost: it cannot be read, lies elsewhere, or is not
            the only one.
        UnsupportedFormat: the file is too large.
    """
    if parent is None:
        return None
    data, media_type = parent
    if media_type not in EMBEDDABLE:
        return _of_text(data, media_type, beside)
    found = _carried(data, media_type)
    if found is not None and not (found.manifest_id or found.remote_url):
        raise SigningError(_UNREADABLE)
    if found is not None and found.manifest_id:
        _check_alone(found.manifest_id, beside)
        return None
    return _beside(data, media_type, beside)


def _of_text(data: bytes, media_type: str, beside: bytes | None) -> Held | None:
    place = locate(data)
    if isinstance(place, Unusable) and place.meant:
        raise SigningError(_UNREADABLE)
    if isinstance(place, Located):
        _check_alone(labelled_active(place.store), beside)
        found = validation(place.data, TEXT, place.store, in_text=True)
        return Held(place.store, found)
    if isinstance(place, Linked) and beside is None:
        raise SigningError(
            f"the parent says that its manifest is at {place.url[:200]}, and signing "
            "would drop it: get it from there, and hand it over as parent_manifest"
        )
    return _beside(data, media_type, beside)


def _beside(data: bytes, media_type: str, store: bytes | None) -> Held | None:
    if store is None:
        return None
    return Held(store, validation(data, media_type, store))


def _check_alone(label: str, beside: bytes | None) -> None:
    """Return if what lies beside a file is the manifest in it once more, or nothing.

    Raises:
        SigningError: it is another one.
    """
    if beside is not None and labelled_active(beside) != label:
        raise SigningError(
            f"the parent carries the manifest {label}, and another one lies beside it: "
            "one of them would be lost. Hand over the one that counts"
        )


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
