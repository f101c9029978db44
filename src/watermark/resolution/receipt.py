"""Receipts: that a repository logged a manifest, checked without asking it.

A receipt holds the leaf of the ledger that names the manifest and its SHA-256, the path
from there to the root, and the checkpoint in which the log signed that root. Whoever
has the log's public key needs nothing else.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any

from watermark.errors import StoreError, VerificationError
from watermark.store import leaf
from watermark.store.leaf import Row
from watermark.store.proof import InclusionProof

TYPE = "org.c2pa.manifest-receipt"
CONTEXT = {
    "c2pa": "https://c2pa.org/ns/",
    "receipt": "https://c2pa.org/ns/manifest-receipt#",
}
MAX_LEAF = 1 << 20  # characters of base64; ours have some thousand

_FIELDS = {"@context", "@type", "repository", "anchor"}
_ANSWER = {"verified", "error"}  # what a verified receipt has besides


def make(row: Row, proof: InclusionProof, *, uri: str, verifier: str) -> dict[str, Any]:
    """The receipt of the manifest that a ledger entry names.

    Args:
        row: the entry.
        proof: that it is in the log, with a checkpoint.
        uri: of the repository, without a slash at the end.
        verifier: the log's public key.
    """
    return {
        "@context": CONTEXT,
        "@type": TYPE,
        "repository": {"uri": uri, "manifestId": row.manifest_id},
        "anchor": {
            "uri": f"{uri}/log/checkpoint",
            "parameters": {
                "verifier": verifier,
                "leaf": base64.b64encode(row.body).decode(),
            },
            "proof": proof.to_dict(),
        },
    }


def verify(
    receipt: Mapping[str, Any], *, verifier: str, manifest: bytes | None = None
) -> Row:
    """Check a receipt against the log's public key, from a place you trust.

    Proven are the manifest's id, its SHA-256 and its entry in the log. The URIs are
    words of whoever handed the receipt over: they say where to ask, and no more.

    Args:
        receipt: as a repository gave it.
        verifier: ``name+keyid+base64``; the key in the receipt itself proves nothing.
        manifest: the manifest store that it shall be the receipt of.

    Returns:
        The entry of the log.

    Raises:
        VerificationError: anything at all is wrong.
    """
    name, anchor = _checked(receipt)
    parameters, proof = anchor.get("parameters"), anchor["proof"]
    encoded = parameters.get("leaf") if isinstance(parameters, dict) else None
    if not isinstance(encoded, str) or len(encoded) > MAX_LEAF:
        raise VerificationError("the receipt holds no leaf of a log")
    try:
        body = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise VerificationError(f"the receipt's leaf is no base64: {error}") from error
    if not isinstance(proof, dict):
        raise VerificationError("the receipt's proof is no object")
    found = InclusionProof.from_dict(proof)
    found.verify(body, verifier=verifier)
    try:
        row = leaf.decode(found.index, body)
    except StoreError as error:
        raise VerificationError(f"the receipt's leaf cannot be read: {error}") from None
    if not isinstance(row, Row) or row.manifest_id != name or not row.manifest_sha256:
        raise VerificationError(f"the log entry is not of the manifest {name!r:.200}")
    digest = "" if manifest is None else hashlib.sha256(manifest).hexdigest()
    if digest and digest != row.manifest_sha256:
        raise VerificationError(
            f"the log entry is of a manifest of SHA-256 {row.manifest_sha256}, found "
            f"one of {digest}"
        )
    return row


def _checked(receipt: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Manifest id and anchor of a receipt that has the form of one."""
    if not isinstance(receipt, Mapping) or not set(receipt) - _ANSWER == _FIELDS:
        raise VerificationError(
            f"found {sorted(map(str, receipt))[:8]}, expected a receipt with "
            f"{', '.join(sorted(_FIELDS))}"
        )
    repository, anchor = receipt["repository"], receipt["anchor"]
    if receipt["@context"] != CONTEXT:  # another could give every name another meaning
        raise VerificationError(
            f"found the context {receipt['@context']!r:.200}, expected {CONTEXT}"
        )
    if receipt["@type"] != TYPE:
        raise VerificationError(
            f"found the type {receipt['@type']!r:.80}, expected {TYPE}"
        )
    named = isinstance(repository, dict) and set(repository) == {"uri", "manifestId"}
    if not named or not all(isinstance(value, str) for value in repository.values()):
        raise VerificationError("the receipt names no repository and manifest")
    if not isinstance(anchor, dict) or not isinstance(anchor.get("uri"), str):
        raise VerificationError("the receipt has no anchor with a uri")
    if "proof" not in anchor:
        raise VerificationError("the receipt's anchor has no proof")
    return repository["manifestId"], anchor
