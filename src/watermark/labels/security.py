"""`ReservedCode1`: a signature over the producer's three values (TC260-PG-202511A).

What is signed is ``"Label":"1","ContentProducer":"...","ProduceID":"..."`` in ASCII, so
that a platform can add its own values and the signature stays good. The key travels in
the label: a signature proves who made it only where the key is known from elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_der_public_key

from watermark.errors import LabelError
from watermark.labels import sm2
from watermark.labels.aigc import Label
from watermark.sign import chain
from watermark.sign.credential import Credential
from watermark.sign.signer import spki, verifies

CLAUSE = "TC260-PG-202511A"
SM2_WITH_SM3 = "1.2.156.10197.1.501"
# The algorithms of C2PA that a label can name, too; `gm` is false for them.
ALGORITHMS = {
    "es256": "1.2.840.10045.4.3.2",
    "es384": "1.2.840.10045.4.3.3",
    "es512": "1.2.840.10045.4.3.4",
    "ed25519": "1.3.101.112",
}
_NAMES = {oid: name for name, oid in ALGORITHMS.items()}
MAX_PARTS = 16  # of PubSD; those in use have two

State = Literal["none", "opaque", "unsupported", "broken", "intact", "authentic"]


class Signer(Protocol):
    """What signs labels."""

    @property
    def algorithm_id(self) -> str:
        """The dotted OID of the algorithm."""

    @property
    def public(self) -> bytes:
        """The public key as it stands in the label."""

    def sign(self, message: bytes) -> bytes:
        """The signature over `message` (not over a digest of it)."""


@dataclass(frozen=True, slots=True)
class Sm2Signer:
    """Signs with SM2 and SM3."""

    key: sm2.PrivateKey

    @property
    def algorithm_id(self) -> str:
        """SM2 with SM3."""
        return SM2_WITH_SM3

    @property
    def public(self) -> bytes:
        """65 bytes: ``04 x y``."""
        return self.key.public

    def sign(self, message: bytes) -> bytes:
        """A DER sequence of r and s."""
        return self.key.sign(message)


@dataclass(frozen=True, slots=True)
class CredentialSigner:
    """Signs with the key that signs the manifests, where there is no SM2 key."""

    credential: Credential

    def __post_init__(self) -> None:
        """Refuse what the label cannot name.

        Raises:
            LabelError: an RSA key, whose signature would fill the label.
        """
        if self.credential.algorithm not in ALGORITHMS:
            raise LabelError(
                CLAUSE,
                f"a key for {self.credential.algorithm} found, expected one for "
                f"{', '.join(ALGORITHMS)}, or an SM2 key",
            )

    @property
    def algorithm_id(self) -> str:
        """Of `ALGORITHMS`."""
        return ALGORITHMS[self.credential.algorithm]

    @property
    def public(self) -> bytes:
        """DER SubjectPublicKeyInfo."""
        return spki(chain.load(self.credential.chain_pem)[0].public_key())

    def sign(self, message: bytes) -> bytes:
        """What the credential's signer answers."""
        return self.credential.signer.sign(message)


@dataclass(frozen=True, slots=True)
class Security:
    """What the security information of a label is worth.

    Attributes:
        state: ``none``: there is none. ``opaque``: something that is not of the guide.
            ``unsupported``: no algorithm or key that we know. ``broken``: the signature
            does not fit the label. ``intact``: it does, by a key that only the label
            vouches for. ``authentic``: by a key that was named as trusted.
        gm: whether it was made with SM2 and SM3.
        key: the public key as in the label, hex.
        detail: one sentence for a reader.
    """

    state: State
    gm: bool = False
    key: str = ""
    detail: str = ""


def message(label: Label) -> bytes:
    """What is signed: the producer's three values (annex A.1 of the guide)."""
    fields = {
        "Label": label.label,
        "ContentProducer": label.content_producer,
        "ProduceID": label.produce_id,
    }
    return ",".join(f'"{k}":"{v}"' for k, v in fields.items()).encode(
        "utf-8", "replace"
    )


def signed(label: Label, signer: Signer) -> Label:
    """`label` with security information by `signer` in ``ReservedCode1``.

    Raises:
        Exception: whatever a signer elsewhere raised.
    """
    algorithm = signer.algorithm_id
    signature = {
        "Type": "DS",
        "AlgID": algorithm,
        "TBSData": {"Type": "Md"},
        "Signature": signer.sign(message(label)).hex(),
    }
    key = {"Type": "PubKey", "AlgID": algorithm, "KeyValue": signer.public.hex()}
    data = {"Type": "TC260PG", "Version": 1, "PubSD": [signature, key]}
    text = json.dumps({"SecurityData": data}, separators=(",", ":"))
    return replace(label, reserved_code1=text)


def verify(label: Label, trusted: Collection[bytes] = ()) -> Security:
    """What `label`'s ``ReservedCode1`` is worth. Never raises.

    Args:
        label: as it was read.
        trusted: public keys that are known from elsewhere, as they stand in labels.
    """
    if not label.reserved_code1:
        return Security("none")
    try:
        signature, algorithm, key = _parts(label.reserved_code1)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return Security("opaque", detail="not the form of the guide")
    gm = algorithm == SM2_WITH_SM3
    fits = _fits(algorithm, key, signature, message(label))
    if fits is None:
        detail = f"algorithm {algorithm:.40} with a key of {len(key)} bytes"
        return Security("unsupported", gm, key.hex(), detail)
    if not fits:
        detail = "the signature is not over these values"
        return Security("broken", gm, key.hex(), detail)
    if any(_same(algorithm, key, other) for other in trusted):
        return Security("authentic", gm, key.hex(), "by a trusted key")
    return Security("intact", gm, key.hex(), "by a key that only the label vouches for")


def _parts(text: str) -> tuple[bytes, str, bytes]:
    """Signature, algorithm and key of the first signature over the label."""
    parts: Any = json.loads(text)["SecurityData"]["PubSD"][:MAX_PARTS]
    # `LabelMataData` is what two producers write for the guide's `Md`.
    [signature, *_] = (
        part
        for part in parts
        if part["Type"] == "DS" and part["TBSData"]["Type"] in ("Md", "LabelMataData")
    )
    [key, *_] = (part for part in parts if part["Type"] == "PubKey")
    found = bytes.fromhex(signature["Signature"]), bytes.fromhex(key["KeyValue"])
    return found[0], str(signature["AlgID"]), found[1]


def _fits(algorithm: str, key: bytes, signature: bytes, said: bytes) -> bool | None:
    """Whether the signature is over `said`; None where that cannot be told."""
    if algorithm == SM2_WITH_SM3:
        points = sm2.points(key)
        # One producer signs the digest of the message as if it were the message.
        messages = (said, sm2.sm3(said))
        fits = (sm2.verify(p, m, signature) for p in points for m in messages)
        return any(fits) if points else None
    if algorithm not in _NAMES:
        return None
    try:
        public = load_der_public_key(key)
    except (ValueError, UnsupportedAlgorithm):
        return None
    return verifies(public, _NAMES[algorithm], signature, said)


def _same(algorithm: str, key: bytes, other: bytes) -> bool:
    if algorithm != SM2_WITH_SM3:
        return key == other
    # Half a point in a label can mean two: it is the one that verified, or neither.
    return len(points := sm2.points(other)) == 1 and points[0] in sm2.points(key)
