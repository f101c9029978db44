"""A time-stamp put into a finished file that was signed with room for one.

The token stands in the header of the claim signature that nobody signs, in place of
padding (`watermark.sign.countersign`), so that the file keeps its length, its hashes
and its signature. It counts from the time in it: a short-lived certificate has to be
valid then, so that digests that wait are best stamped soon (`due`).
"""

from __future__ import annotations

import base64

from cryptography import x509

from watermark.errors import SigningError
from watermark.sign import c2pa, countersign, jumbf, text, text_wrapper, timestamp
from watermark.sign.c2pa import SignedAsset
from watermark.sign.cose import Signature
from watermark.sign.manifest import ManifestResult
from watermark.sign.place import Located
from watermark.sign.splice import splice
from watermark.sign.stamping import Round
from watermark.sign.stamps import Stamps
from watermark.sign.timestamp import Untrustworthy

TEXT = "text/plain"


def due(stamps: Stamps) -> Round:
    """Get the stamps that wait; the files are touched by `stamp` alone.

    Raises:
        StoreError: the folder cannot be read or written.
    """
    waiting = stamps.waiting()
    return Round((), 0, None) if waiting is None else waiting.stamp(stamps.stamper())


def stamp(
    data: bytes,
    media_type: str,
    stamps: Stamps,
    *,
    anchors: bytes = b"",
    sidecar: bytes | None = None,
) -> SignedAsset:
    """The file with a time-stamp: the one that it waited for, or a new one.

    Args:
        data: the signed file.
        media_type: as sniffed; ``text/plain`` for all texts.
        stamps: who is asked.
        anchors: PEM certificates that are trusted, to read back with.
        sidecar: the manifest store beside a text; then that is what changes.

    Raises:
        SigningError: no manifest, one with a time-stamp or without room for it, or one
            that is not sound.
        TimestampError: no authority gave one that can be believed.
        UnsupportedFormat: the file is too large.
    """
    before = _read(data, media_type, stamps, anchors, sidecar)
    store = before.manifest
    if store is None:
        raise SigningError(
            f"found no manifest to be stamped (state {before.state!r}), expected a "
            "signed file"
        )
    if before.timestamp == "trusted":
        raise SigningError(f"this was stamped already, at {before.signed_at}")
    manifest = _taken_apart(store)
    token = _token(before.manifest_id, manifest.signature, stamps)
    if sidecar is not None:
        new, after = _same_length(manifest, token), data
    elif media_type == TEXT:
        new, after = _in_text(data, manifest, token)
    else:
        new = _same_length(manifest, token)
        after = splice(data, store, new)
    found = _read(after, media_type, stamps, anchors, None if sidecar is None else new)
    if found.timestamp != "trusted" or found.manifest != new or not _sound(found):
        raise SigningError(
            f"with its time-stamp read back as {found.state!r} "
            f"({', '.join(found.codes) or 'no code'}), expected a sound manifest: the "
            "file was left as it is"
        )
    return SignedAsset(after, new, found.manifest_id, "now")


def _sound(found: ManifestResult) -> bool:
    return found.state in ("trusted", "valid") and found.content_matches


def _read(
    data: bytes,
    media_type: str,
    stamps: Stamps,
    anchors: bytes,
    sidecar: bytes | None,
) -> ManifestResult:
    trust: c2pa.Trust = {"anchors": anchors, "tsa_anchors": stamps.anchors}
    if media_type == TEXT:
        return text.read(data, sidecar=sidecar, **trust)
    return c2pa.read(data, media_type, manifest=sidecar, **trust)


def _taken_apart(store: bytes) -> jumbf.Manifest:
    manifest = jumbf.parse(store)
    if manifest.store(manifest.claim_bytes, manifest.signature) != store:
        raise SigningError(
            "this manifest was laid out by another writer: its time-stamp has to come "
            "from there"
        )
    return manifest


def _token(name: str, cose: bytes, stamps: Stamps) -> bytes:
    """The stamp that was got meanwhile, if it is over this signature; or a new one."""
    message = countersign.message(cose)
    waiting = stamps.waiting()
    kept = None if waiting is None else waiting.token(name)
    if kept is not None:
        roots = x509.load_pem_x509_certificates(stamps.anchors)
        try:
            return timestamp.verify(kept, timestamp.imprint(message), roots).token
        except Untrustworthy:  # of an authority that is no longer trusted
            pass
    return stamps.stamper().stamp(message).token


def _same_length(manifest: jumbf.Manifest, token: bytes) -> bytes:
    cose = countersign.attach(manifest.signature, token)
    return manifest.store(manifest.claim_bytes, cose)


def _in_text(
    data: bytes, manifest: jumbf.Manifest, token: bytes
) -> tuple[bytes, bytes]:
    """The manifest store, and the text with it."""
    wrapped = text_wrapper.locate(data)
    if not isinstance(wrapped, Located):
        new = _same_length(manifest, token)
        old = manifest.store(manifest.claim_bytes, manifest.signature)
        return new, data.replace(base64.b64encode(old), base64.b64encode(new))
    signature = Signature(*countersign.parts(manifest.signature), token)
    ((start, length),) = wrapped.ranges

    def around(cose: bytes) -> bytes:
        return manifest.store(manifest.claim_bytes, cose)

    store = text_wrapper.fitting(around, signature, length)
    if store is None:
        raise SigningError(
            f"a time-stamp of {len(token)} bytes does not fit into the {length} bytes "
            "of this wrapper: sign with more room (`wm stamp use`)"
        )
    wrapper = text_wrapper.wrapper(store).encode()
    return store, wrapped.data[:start] + wrapper + wrapped.data[start + length :]
