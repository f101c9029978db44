"""Updates of a signed file: more is said of it, and what is in it stays."""

from __future__ import annotations

from collections.abc import Sequence

from watermark.errors import SigningError, UnsupportedFormat
from watermark.sign import c2pa, claims, stamps
from watermark.sign.c2pa import SignedAsset
from watermark.sign.credential import Credential
from watermark.sign.stamps import When

# Formats whose update manifests the library writes so that it reads them as valid.
UPDATABLE = (
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/svg+xml",
    "image/avif",
    "image/heic",
    "audio/mp4",
    "video/mp4",
    "video/quicktime",
)


def update(
    data: bytes,
    media_type: str,
    assertions: Sequence[claims.Json],
    credential: Credential,
    *,
    timestamp: When | None = None,
) -> SignedAsset:
    """Add assertions to a signed file whose content stays, as an update manifest.

    C2PA 2.4, 11.2.3. The manifest that is there becomes its parent and stays whole.
    What reading answers is the new signer and these assertions; the marks and the
    record are those of the parent.

    Args:
        data: a signed file.
        media_type: PNG, JPEG, GIF, SVG or one of the MP4 family: what the library
            writes for others does not validate.
        assertions: such as a repository's receipt (18.27); no hash and no actions.
        credential: who signs the update.
        timestamp: as for `watermark.sign.c2pa.sign`.

    Raises:
        UnsupportedFormat: another format, or the file is too large.
        SigningError: the file has no sound manifest, or the read-back was not as it
            must be.
        TimestampError: no authority gave a time-stamp that can be believed.
        Exception: whatever a signing callback raised.
    """
    if media_type not in UPDATABLE:
        raise UnsupportedFormat(
            f"{media_type!r} found, expected one of {', '.join(UPDATABLE)}: for others "
            "the library writes no update that validates"
        )
    before = c2pa.read(data, media_type)
    if before.state not in ("trusted", "valid") or not before.content_matches:
        raise SigningError(
            f"a file whose manifest is {before.state!r} found, expected a signed one "
            "that nobody changed"
        )
    plan = stamps.plan(credential.stamps, timestamp)
    signed, store = c2pa.laid_out(
        *(data, media_type, claims.updated(assertions), credential),
        *(None, None, plan),
        embed=True,
        update=True,
    )
    return c2pa.read_back(signed, media_type, credential, store, plan, embedded=True)
