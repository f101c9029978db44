"""What the native library cannot write, written over what it wrote.

The library lays a file out, hashes it and reserves room for the manifest store. Its
JSON has no byte strings and no hashes of other assertions, so two things of
C2PA 2.4 cannot be said through it (c2pa-rs#2689, #2394): the value of a soft binding
is a byte string (18.10.2), and a related assertion is named with its hash
(18.15.4.8). Its claim is not in deterministic CBOR either (10.1). Here the store is
taken apart, these three are put right, and the claim is signed: once, by the real
credential. A store of the same length takes the place of the other, so that no offset
and no hash of the content changes. docs/decisions/0007-manifests.md has the reasons.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from typing import Any

from watermark.sign import cose, ingredient, jumbf
from watermark.sign.claims import ACTIONS, BOUND, RESERVE, SOFT_BINDING
from watermark.sign.credential import Credential
from watermark.sign.stamps import NEVER, Plan

HASH_DATA = "c2pa.hash.data"


@dataclass(frozen=True, slots=True)
class Held:
    """A parent's manifest store, and what validating it found."""

    store: bytes
    results: dict[str, Any]


class Claimed:
    """A manifest whose assertions are complete, to be signed."""

    def __init__(
        self,
        store: bytes,
        hash_data: dict[str, Any] | None = None,
        held: Held | None = None,
    ) -> None:
        """Put right the store that the native library made.

        Args:
            store: as the library made it a moment ago.
            hash_data: content of the hard binding, in place of the library's.
            held: the parent's manifest, where the library did not see it.

        Raises:
            SigningError: not a store as the library writes them.
        """
        self._manifest = manifest = jumbf.parse(store)
        manifest.assertions.pop(RESERVE, None)
        if held is not None:
            ingredient.adopt(manifest, held.store, held.results)
        if hash_data is not None:
            manifest.replace(HASH_DATA, hash_data)
        bindings = [
            label
            for label in manifest.assertions
            if label.partition("__")[0] == SOFT_BINDING
        ]
        for label in bindings:
            _as_bytes(manifest, label)
        _relate(manifest, bindings)
        for part in ("created_assertions", "gathered_assertions"):
            if part in manifest.claim:
                manifest.claim[part] = _references(manifest, manifest.claim[part])
        # 31 bytes of every text: which library laid the file out.
        manifest.claim["claim_generator_info"].pop("org.contentauth.c2pa_rs", None)
        self.claim = jumbf.encode(manifest.claim)

    def around(self, cose_bytes: bytes) -> bytes:
        """The store around a claim signature."""
        return self._manifest.store(self.claim, cose_bytes)

    def store(self, signature: cose.Signature, length: int | None = None) -> bytes:
        """The signed store, of `length` bytes or of as few as it takes.

        Raises:
            NoRoom: it is longer.
        """
        if length is None:
            return self.around(signature.encoded())
        return self.around(signature.padded(length - len(self.around(b""))))

    def signed(
        self, credential: Credential, length: int | None = None, plan: Plan = NEVER
    ) -> bytes:
        """Sign, and put all into `length` bytes, or into as few as it takes.

        Raises:
            NoRoom: it is longer; mostly found out before the credential is used.
            SigningError: what came back is no signature of this algorithm.
            TimestampError: no authority gave a time-stamp that can be believed.
            Exception: whatever a signing callback raised.
        """
        least = self.store(cose.unsigned(credential, plan.room), length)
        if plan.when == "deferred":
            length = len(least)
        return self.store(self.signature(credential, plan), length)

    def signature(self, credential: Credential, plan: Plan = NEVER) -> cose.Signature:
        """The claim signed, and stamped if that is the plan.

        Raises:
            SigningError: what came back is no signature of this algorithm.
            TimestampError: no authority gave a time-stamp that can be believed.
            Exception: whatever a signing callback raised.
        """
        signature = cose.sign(self.claim, credential)
        return replace(signature, token=plan.token(signature.message))


def _as_bytes(manifest: jumbf.Manifest, label: str) -> None:
    content = manifest.content(label)
    for block in content["blocks"]:
        block["value"] = base64.b64decode(block["value"])
    manifest.replace(label, content)


def _relate(manifest: jumbf.Manifest, bindings: list[str]) -> None:
    """Tie each bound mark to its soft binding: both are in the order of the marks."""
    content = manifest.content(ACTIONS)
    bound = [a for a in content["actions"] if a["action"] == BOUND]
    for action, label in zip(bound, bindings, strict=False):  # a fingerprint has none
        related = [manifest.reference(label)]
        action["parameters"] = {"relatedAssertions": related}
    manifest.replace(ACTIONS, content)


def _references(manifest: jumbf.Manifest, found: list[Any]) -> list[Any]:
    labels = [each["url"].rpartition("/")[2] for each in found]
    return [manifest.reference(label) for label in labels if label != RESERVE]
