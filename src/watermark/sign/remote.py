"""Manifests that lie elsewhere: a file only says where, and readers do not go there."""

from __future__ import annotations

import re
from typing import Any

from watermark.errors import SigningError, UnsupportedFormat
from watermark.sign import c2pa, html, stamps, text, text_structured
from watermark.sign.c2pa import SignedAsset
from watermark.sign.credential import Credential
from watermark.sign.packing import ZIP_TYPES
from watermark.sign.place import Linked
from watermark.sign.reseal import Claimed
from watermark.sign.stamps import When

# Without what XML has other names for: the library's reader does not know them.
_URL = re.compile(r"https?://[!#-%(-;=?-~]{1,2000}")


def sign(
    data: bytes,
    media_type: str,
    definition: dict[str, Any],
    credential: Credential,
    url: str,
    *,
    parent: tuple[bytes, str] | None = None,
    parent_manifest: bytes | None = None,
    timestamp: When | None = None,
) -> SignedAsset:
    """Sign a manifest that will lie at `url`; the file only says so, in its XMP.

    Readers answer ``remote`` with that URL and fetch nothing; with the manifest, from
    there or from a repository, the file reads as any other.

    Args:
        data: the file.
        media_type: one of `watermark.sign.c2pa.EMBEDDABLE`, but no ZIP.
        definition: as for `watermark.sign.c2pa.sign`.
        credential: as for `watermark.sign.c2pa.sign`.
        url: https or http; whoever reads the file sees it.
        parent: as for `watermark.sign.c2pa.sign`.
        parent_manifest: as for `watermark.sign.c2pa.sign`.
        timestamp: as for `watermark.sign.c2pa.sign`.

    Raises:
        UnsupportedFormat: the format has no place for a link, or the file is too large.
        SigningError: `url` is none, the file is damaged, or the read-back was not as
            it must be.
        TimestampError: no authority gave a time-stamp that can be believed.
        Exception: whatever a signing callback raised.
    """
    if media_type not in c2pa.EMBEDDABLE or media_type in ZIP_TYPES:
        raise UnsupportedFormat(
            f"{media_type!r} has no XMP that could name a URL: sign_sidecar writes the "
            "manifest beside it"
        )
    check_url(url)
    before = c2pa.manifest_before(data, media_type, parent)
    held = c2pa.parents_manifest(parent, parent_manifest)
    c2pa.check_parent(definition, parent)
    plan = stamps.plan(credential.stamps, timestamp)
    file, old = c2pa.draft(data, media_type, definition, parent, embed=False, url=url)
    store = Claimed(old, held=held).signed(credential, plan=plan)
    c2pa.check_kept(before, store)
    found = c2pa.read(file, media_type)
    if (found.state, found.remote_url) != ("remote", url):
        raise SigningError(
            f"the link read back as {found.state!r} ({found.remote_url}), expected "
            f"'remote' ({url}): the file was not handed out"
        )
    return c2pa.read_back(file, media_type, credential, store, plan, embedded=False)


def sign_text(
    data: bytes,
    definition: dict[str, Any],
    credential: Credential,
    url: str,
    *,
    carrier: text.Carrier,
    suffix: str = ".md",
    timestamp: When | None = None,
) -> SignedAsset:
    """Sign a manifest that will lie at `url`; the text only says so.

    The hash is over the whole text, with the line or element that holds the URL.

    Args:
        data: the text, UTF-8.
        definition: as for `watermark.sign.text.sign`.
        credential: who signs.
        url: https or http; whoever reads the text sees it.
        carrier: ``structured`` or ``html``.
        suffix: as for `watermark.sign.text.sign`.
        timestamp: as for `watermark.sign.text.sign`.

    Raises:
        UnsupportedFormat: such a text has no place for a link, or is too large.
        SigningError: `url` is none, the text carries a manifest or a link already, or
            the read-back was not as it must be.
        TimestampError: no authority gave a time-stamp that can be believed.
        Exception: whatever a signing callback raised.
    """
    check_url(url)
    if carrier not in ("structured", "html"):
        raise UnsupportedFormat(
            f"found carrier {carrier!r}, expected structured or html: nothing else has "
            "a place for a URL"
        )
    data = text.unburdened(data, carrier, None)
    if carrier == "html":
        linked = html.link(data, url)
    else:
        linked = text_structured.link(data, suffix, url)
    if text.locate(linked) != Linked(url):
        raise SigningError("the link is not found in this text: use 'sidecar'")
    return c2pa.sign_sidecar(
        linked, text.MEDIA_TYPE, definition, credential, timestamp=timestamp
    )


def check_url(url: str) -> None:
    """Return if a file can name this as the place of its manifest.

    Raises:
        SigningError: it cannot.
    """
    if not _URL.fullmatch(url):
        raise SigningError(
            f"URL {url[:200]!r} found, expected https://HOST/PATH of printable ASCII "
            "without quotes, & and angle brackets: readers differ on these"
        )
