"""What was signed, read as a stranger would read it before anybody gets it."""

from __future__ import annotations

from dataclasses import dataclass

from watermark.errors import SigningError
from watermark.sign import countersign
from watermark.sign.credential import Credential
from watermark.sign.jumbf import parse
from watermark.sign.manifest import ManifestResult
from watermark.sign.native import Trust, read
from watermark.sign.stamps import Plan, When


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
        another = "" if whole else ", with another manifest than was signed"
        raise SigningError(
            f"read back as {found.state!r} ({', '.join(found.codes) or 'no code'})"
            f"{another}; expected {expected!r}: the file was not handed out. Check "
            "that root.pem is the root of chain.pem"
        )
    if plan.when == "now" and found.timestamp != "trusted":
        raise SigningError(
            f"the time-stamp was read back as {found.timestamp!r}, expected 'trusted': "
            "the file was not handed out. Check the anchors of `wm stamp use`"
        )
    if plan.when == "deferred":
        plan.remember(found.manifest_id, countersign.message(parse(store).signature))
    return SignedAsset(data, store, found.manifest_id, plan.when)
