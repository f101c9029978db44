"""Texts that carry their manifest, or have it beside them: sign and read.

* ``wrapper``     invisible characters at the end of any text (C2PA 2.4, A.8)
* ``structured``  a comment in source code, or Markdown's front matter (A.9)
* ``html``        an element in the head of a page (A.7)
* ``sidecar``     a file beside the text, which stays as it is

Each reader finds the manifest and what carries it; the native library, which knows
nothing of manifests in text, checks the rest: signature, trust, hash. That the hash
leaves out exactly what carries the manifest is checked here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from watermark.errors import SigningError, UnsupportedFormat
from watermark.sign import (
    c2pa,
    cose,
    html,
    manifest,
    stamps,
    text_structured,
    text_wrapper,
)
from watermark.sign.c2pa import SignedAsset
from watermark.sign.cose import NoRoom
from watermark.sign.credential import Credential
from watermark.sign.locating import READERS
from watermark.sign.locating import Carrier as Carrier
from watermark.sign.locating import locate as locate
from watermark.sign.manifest import ManifestResult
from watermark.sign.place import Linked, Located, Unusable
from watermark.sign.reseal import Claimed, Held
from watermark.sign.stamps import Plan, When

CARRIERS: tuple[Carrier, ...] = ("wrapper", "structured", "html", "sidecar")

MISPLACED = "assertion.dataHash.malformed"  # 15.12.1.3.1, step 3
MEDIA_TYPE = c2pa.TEXT

_TRIES = 4  # to leave enough room for a time-stamp, whose length varies a little

Ranges = list[dict[str, int]]


def sign(
    data: bytes,
    definition: dict[str, Any],
    credential: Credential,
    *,
    carrier: Carrier,
    suffix: str = ".md",
    parent: tuple[bytes, str] | None = None,
    parent_manifest: bytes | None = None,
    timestamp: When | None = None,
) -> SignedAsset:
    """Sign a text and read it back.

    Args:
        data: the text, UTF-8.
        definition: from `watermark.sign.claims.definition`.
        credential: who signs; for ``wrapper`` now and then more than once.
        carrier: where the manifest goes; see this module.
        suffix: of the file's name; ``structured`` writes the comments of such files.
        parent: the input and its media type, where the first action is `c2pa.opened`.
            A manifest that it carries is kept inside the new one.
        parent_manifest: the parent's manifest store, where it lies beside that file.
        timestamp: as for `watermark.sign.c2pa.sign`.

    Raises:
        UnsupportedFormat: this text cannot carry a manifest so; or it is too large.
        SigningError: it carries a manifest already, or the read-back was not as it
            must be.
        TimestampError: no authority gave a time-stamp that can be believed.
        Exception: whatever a signing callback raised.
    """
    if carrier not in CARRIERS:
        raise UnsupportedFormat(
            f"found carrier {carrier!r}, expected one of {', '.join(CARRIERS)}"
        )
    if not data:
        raise UnsupportedFormat(
            "an empty text cannot be signed: there is nothing in it"
        )
    held = c2pa.parents_manifest(parent, parent_manifest)
    data = unburdened(data, carrier, held)
    if carrier == "sidecar":
        return c2pa.sign_sidecar(
            *(data, MEDIA_TYPE, definition, credential),
            parent=parent,
            held=held,
            timestamp=timestamp,
        )
    plan = stamps.plan(credential.stamps, timestamp)
    content = _normal(data) if carrier == "wrapper" else data
    c2pa.check_parent(definition, parent)
    _, draft = c2pa.draft(content, MEDIA_TYPE, definition, parent, embed=False)

    def claim(ranges: Ranges) -> Claimed:
        digest = hashlib.sha256(content).digest()
        binding = {"exclusions": ranges, "alg": "sha256", "hash": digest, "pad": b""}
        return Claimed(draft, binding, held)

    def placed(plan: Plan) -> tuple[bytes, bytes]:
        if carrier == "wrapper":
            return text_wrapper.write(content, claim, credential, plan)
        if carrier == "html":
            return _inserted(lambda s: html.write(content, s), claim, credential, plan)
        return _inserted(
            lambda s: text_structured.write(content, suffix, s), claim, credential, plan
        )

    signed, store = _with_room(placed, plan)
    found = read(signed, **c2pa.trusting(credential))
    return c2pa.checked(signed, credential, store, found, plan)


def read(
    data: bytes,
    *,
    anchors: bytes = b"",
    tsa_anchors: bytes = b"",
    sidecar: bytes | None = None,
) -> ManifestResult:
    """What the manifest in a text says, or the one beside it if it holds none.

    Hostile content is a result.

    Args:
        data: the text, as it came.
        anchors: PEM certificates that are trusted; with none, no signer is.
        tsa_anchors: as for `watermark.sign.c2pa.read`.
        sidecar: a manifest store from beside the file or from a repository.

    Raises:
        UnsupportedFormat: the text is too large.
        KeyFileError: `anchors` are not PEM certificates.
    """
    place = locate(data)
    if isinstance(place, Unusable) and place.meant:
        return manifest.unreadable(place.code)
    if isinstance(place, Located):
        return _read(place, anchors, tsa_anchors)
    if sidecar is not None:
        return c2pa.read(
            *(data, MEDIA_TYPE),
            anchors=anchors,
            tsa_anchors=tsa_anchors,
            manifest=sidecar,
        )
    if isinstance(place, Linked):
        return ManifestResult(state="remote", remote_url=place.url)
    if isinstance(place, Unusable):
        return ManifestResult(state="none", codes=(place.code,))
    return ManifestResult(state="none")


def content(data: bytes) -> bytes:
    """The text that a manifest in it speaks of: without what carries the manifest.

    Detectors read this: a mark is in the words, and two thousand invisible characters
    after them are none.
    """
    before, _, after = parted(data)
    return before + after


def parted(data: bytes) -> tuple[bytes, bytes, bytes]:
    """What stands before the carrier of a manifest, the carrier, and what follows it.

    A text that carries none is all before it. The rest of a wrapped text is in normal
    form C, and may continue the last character before the wrapper.
    """
    place = locate(data)
    if not isinstance(place, Located) or not place.ranges:
        return data, b"", b""
    start, length = max(place.ranges, key=lambda r: r[1])
    end = start + length
    return place.data[:start], place.data[start:end], place.data[end:]


def holds(data: bytes) -> bool:
    """Whether a text holds a manifest itself, be it a broken one."""
    place = locate(data)
    return isinstance(place, Located) or (isinstance(place, Unusable) and place.meant)


def unburdened(data: bytes, carrier: Carrier, held: Held | None) -> bytes:
    """The text without the manifest that the new one holds.

    Raises:
        SigningError: it carries another one, which would be gone or broken.
        UnsupportedFormat: what it says would be taken for a manifest.
    """
    place = locate(data)
    if isinstance(place, Located) and held is not None and place.store == held.store:
        return content(data)
    if isinstance(place, Linked):
        raise SigningError(
            f"this text says that its manifest is at {place.url[:200]}: take that line "
            "out, or sign the text as it was generated"
        )
    if place is not None and not (isinstance(place, Unusable) and not place.meant):
        raise SigningError(
            "this text carries a manifest already, which another one would break: "
            "sign the text as it was generated, or say what it was made from (a record "
            "of origin 'altered', and this text as the parent)"
        )
    reader = READERS.get(carrier)
    if reader is not None and reader(data) is not None:
        raise UnsupportedFormat(
            "this text shows how manifests are written, and what it shows would be "
            f"taken for one: {carrier!r} cannot be used for it; 'sidecar' can"
        )
    return data


def _read(place: Located, anchors: bytes, tsa_anchors: bytes) -> ManifestResult:
    found = c2pa.read(
        *(place.data, MEDIA_TYPE),
        anchors=anchors,
        tsa_anchors=tsa_anchors,
        manifest=place.store,
        in_text=True,
    )
    excluded = found.exclusions
    if len(excluded) == 1 and excluded[0] in place.ranges:
        return found
    # The hash is not computed then (step 3), and what the library said of it is moot.
    codes = [c for c in found.codes if c not in manifest.CONTENT_HASH_CODES]
    return replace(
        found,
        state="invalid",
        codes=(MISPLACED, *codes),
        content_matches=False,
        content_only_broken=not codes
        and (found.content_only_broken or found.state == "trusted"),
    )


def _with_room(
    placed: Callable[[Plan], tuple[bytes, bytes]], plan: Plan
) -> tuple[bytes, bytes]:
    """The text and its store, in as much room as the time-stamp takes.

    Raises:
        SigningError: the authority's stamps are longer each time.
    """
    for _ in range(_TRIES):
        try:
            return placed(plan)
        except NoRoom as error:
            plan = replace(plan, room=plan.room + error.missing)
    raise SigningError(
        f"the time-stamp is longer than the {plan.room} bytes left for it, and longer "
        f"than the one before, {_TRIES} times: name another authority with "
        "`wm stamp use`"
    )


def _inserted(
    write: Callable[[bytes], tuple[bytes, int, int]],
    claim: Callable[[Ranges], Claimed],
    credential: Credential,
    plan: Plan,
) -> tuple[bytes, bytes]:
    """A text whose manifest takes the same bytes, whatever it says.

    Raises:
        NoRoom: the time-stamp is longer than the plan has room for.
    """
    unsigned = cose.unsigned(credential, plan.room)
    ranges: Ranges = [{"start": 0, "length": 0}]
    for _ in range(4):  # the numbers in it take more bytes once they are known
        store = claim(ranges).store(unsigned)
        _, start, length = write(store)
        if ranges == [{"start": start, "length": length}]:
            break
        ranges = [{"start": start, "length": length}]
    store = claim(ranges).signed(credential, len(store), plan)
    return write(store)[0], store


def _normal(data: bytes) -> bytes:
    try:
        return text_wrapper.normalise(data.decode()).encode()
    except ValueError as error:  # of UnicodeDecodeError too
        raise UnsupportedFormat(f"this text cannot be wrapped: {error}") from error
