"""Proof that an entry is in a log, checked with nothing but the log's public key."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from watermark.errors import VerificationError
from watermark.store import checkpoint, merkle
from watermark.store.checkpoint import Checkpoint, Verifier

ALGORITHM = "RFC9162_SHA256"
MAX_PATH = 64  # no tree has more than 2^64 leaves


@dataclass(frozen=True, slots=True, kw_only=True)
class InclusionProof:
    """Where a leaf is in a tree, the hashes that prove it, and the signed root.

    Attributes:
        index: place of the leaf.
        size: number of leaves of the tree.
        path: hashes from the leaf up to the root.
        checkpoint: signed note for this `size`; empty if none was ever signed, and
            then the proof can be checked only against a root known otherwise.
    """

    index: int
    size: int
    path: tuple[bytes, ...]
    checkpoint: str = ""

    def verify(self, body: bytes, *, verifier: str) -> Checkpoint:
        """Check that the leaf `body` is in the log, and that the log signed for it.

        Args:
            body: the leaf's bytes, `Row.body`.
            verifier: the log's public key, `LogKey.public`.

        Returns:
            The verified checkpoint.

        Raises:
            VerificationError: anything at all is wrong.
        """
        if not self.checkpoint:
            raise VerificationError(
                f"the proof for entry {self.index} has no checkpoint, expected one for "
                f"{self.size} entries: ask the log for a proof at a signed size"
            )
        signed = checkpoint.verify(self.checkpoint, Verifier.parse(verifier))
        if signed.size != self.size:
            raise VerificationError(
                f"the proof is for {self.size} entries, its checkpoint for "
                f"{signed.size}"
            )
        self.verify_root(body, root=signed.root)
        return signed

    def verify_root(self, body: bytes, *, root: bytes) -> None:
        """Check that the leaf `body` is under `root`, which the caller trusts.

        Raises:
            VerificationError: it is not.
        """
        leaf = merkle.leaf_hash(body)
        merkle.verify_inclusion(leaf, self.index, self.size, self.path, root)

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data, in the names of C2PA's repository receipts."""
        return {
            "alg": ALGORITHM,
            "leaf_index": self.index,
            "tree_size": self.size,
            "path": [base64.b64encode(value).decode() for value in self.path],
            "checkpoint": self.checkpoint,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`, for data of strangers.

        Raises:
            VerificationError: it is not a proof.
        """
        try:
            proof = cls(
                index=data["leaf_index"],
                size=data["tree_size"],
                path=tuple(
                    base64.b64decode(value, validate=True)
                    for value in data["path"][: MAX_PATH + 1]
                ),
                checkpoint=data["checkpoint"],
            )
            good = data["alg"] == ALGORITHM and proof._is_sound()
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise VerificationError(
                f"an inclusion proof cannot be read: {error!r:.200}"
            ) from error
        if not good:
            raise VerificationError(
                f"found {data!r:.200}, expected an inclusion proof of {ALGORITHM}"
            )
        return proof

    def _is_sound(self) -> bool:
        return (
            type(self.index) is type(self.size) is int
            and isinstance(self.checkpoint, str)
            and len(self.path) <= MAX_PATH
            and all(len(value) == merkle.HASH_BYTES for value in self.path)
        )
