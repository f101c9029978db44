"""Signed reports: what was found in a content, at that time, as a JWS (RFC 7515).

A report is signed with the home's credential, and carries its certificates (``x5c``):
whoever trusts their root can check it later, without this service. It signs for what a
detector saw, and not for what is true of the content.
"""

from __future__ import annotations

import base64
import binascii
import json
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import Encoding

import watermark
from watermark.errors import SigningError, VerificationError
from watermark.record import utc_now
from watermark.sign import chain
from watermark.sign.credential import Credential

SCHEMA = "watermark.signedreport/1"
TYPE = "watermark-report+jws"
MEDIA_TYPE = "application/jose"
MAX_CHARS = 32 << 20

# RFC 7518, 3.1, and RFC 8037: C2PA's name of the algorithm, and JOSE's.
_NAMES = {
    "es256": "ES256",
    "es384": "ES384",
    "es512": "ES512",
    "ps256": "PS256",
    "ps384": "PS384",
    "ps512": "PS512",
    "ed25519": "EdDSA",
}
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "256": hashes.SHA256(),
    "384": hashes.SHA384(),
    "512": hashes.SHA512(),
}
_CURVES = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}


def sign(
    report: dict[str, Any], *, sha256: str, size: int, credential: Credential
) -> str:
    """The compact JWS of a report.

    Args:
        report: JSON-ready data that names its schema.
        sha256: hex digest of the content that was looked at.
        size: its bytes.
        credential: who signs.

    Raises:
        SigningError: the signer's answer is no signature.
        Exception: whatever a signing callback raised.
    """
    certificates = chain.load(credential.chain_pem)
    header = {
        "alg": _NAMES[credential.algorithm],
        "typ": TYPE,
        "x5c": [
            base64.b64encode(each.public_bytes(Encoding.DER)).decode()
            for each in certificates
        ],
    }
    payload = {
        "schema": SCHEMA,
        "time": utc_now(),
        "sha256": sha256,
        "bytes": size,
        "detector": {"name": "watermark-sdk", "version": watermark.__version__},
        "report": report,
    }
    signing = f"{_encode(header)}.{_encode(payload)}"
    signature = credential.signer.sign(signing.encode())
    key = certificates[0].public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        signature = _joined(signature, (key.curve.key_size + 7) // 8)
    return f"{signing}.{_base64url(signature)}"


def verify(jws: str, *, anchors: bytes) -> dict[str, Any]:
    """The payload of a signed report, once its signature and chain are good.

    The chain is looked at for the time that the report names: a report outlives the
    certificate it was signed with. Who holds its key can put another time there.

    Args:
        jws: compact.
        anchors: PEM certificates that you trust.

    Returns:
        The payload, and in ``signer`` the organisation in the certificate that signed
        it: where `anchors` vouch for several, look whether it is the one you mean.

    Raises:
        VerificationError: anything at all is wrong.
        Unreadable: `anchors` are no certificates.
    """
    trusted = chain.load_many(anchors)
    parts = jws.strip().split(".") if len(jws) <= MAX_CHARS else []
    if len(parts) != 3:
        raise VerificationError("this is no compact JWS: expected three parts")
    header, payload = _decode(parts[0]), _decode(parts[1])
    certificates, key = _certificates(header)
    if header.get("typ") != TYPE or payload.get("schema") != SCHEMA or "crit" in header:
        raise VerificationError(
            f"found a JWS of type {header.get('typ')!r:.80}, expected {TYPE}"
        )
    message = f"{parts[0]}.{parts[1]}".encode()
    _check(header.get("alg"), key, _bytes(parts[2]), message)
    try:
        when = datetime.strptime(str(payload["time"]), "%Y-%m-%dT%H:%M:%SZ")
    except (KeyError, ValueError) as error:
        raise VerificationError(f"the report names no time: {error}") from error
    leaf, others = certificates[0], certificates[1:]
    _check_purpose(leaf)
    if chain.path(leaf, others, trusted, when.replace(tzinfo=UTC)) is None:
        raise VerificationError(
            f"the report is signed by {chain.name(leaf)!r}, who leads to none of the "
            "certificates that you trust"
        )
    return {**payload, "signer": chain.organisation(leaf)}


def _check_purpose(leaf: x509.Certificate) -> None:
    """Raise if this is a certificate of something else, such as a web server's."""
    try:
        usage = chain.extension(leaf, x509.ExtendedKeyUsage)
        basic = chain.extension(leaf, x509.BasicConstraints)
    except Exception as error:  # extensions that cannot be read
        raise VerificationError(f"x5c cannot be read: {error!r:.200}") from error
    if basic is not None and basic.ca:
        raise VerificationError("the report is signed by a CA itself, expected a leaf")
    if usage is None or not set(usage) & set(chain.PURPOSES):
        found = ", ".join(purpose.dotted_string for purpose in usage or ()) or "none"
        wanted = ", ".join(purpose.dotted_string for purpose in chain.PURPOSES)
        raise VerificationError(
            f"the certificate's purposes are {found[:200]}, expected one of {wanted}"
        )


def _check(algorithm: object, key: Any, signature: bytes, message: bytes) -> None:
    """Raise unless this is the key's signature with an algorithm that fits the key."""
    name = str(algorithm)
    digest = _HASHES.get(name[2:])
    try:
        if isinstance(key, ed25519.Ed25519PublicKey) and name == "EdDSA":
            return key.verify(signature, message)
        if isinstance(key, rsa.RSAPublicKey) and name[:2] == "PS" and digest:
            salted = padding.PSS(padding.MGF1(digest), padding.PSS.DIGEST_LENGTH)
            return key.verify(signature, message, salted, digest)
        if isinstance(key, ec.EllipticCurvePublicKey) and digest:
            length = (key.curve.key_size + 7) // 8
            if key.curve.name == _CURVES.get(name) and len(signature) == 2 * length:
                r, s = signature[:length], signature[length:]
                der = encode_dss_signature(
                    int.from_bytes(r, "big"), int.from_bytes(s, "big")
                )
                return key.verify(der, message, ec.ECDSA(digest))
    except (InvalidSignature, ValueError) as error:
        raise VerificationError(
            "the signature is not the certificate's: the report was altered"
        ) from error
    raise VerificationError(f"the algorithm {name!r:.40} is not for this key")


def _certificates(header: dict[str, Any]) -> tuple[tuple[x509.Certificate, ...], Any]:
    """What a report carries, and the public key of the first."""
    encoded = header.get("x5c")
    if not isinstance(encoded, list) or not 1 <= len(encoded) <= chain.MAX_CHAIN:
        raise VerificationError("the report carries no certificates (x5c)")
    try:
        data = [base64.b64decode(each, validate=True) for each in encoded]
        found = chain.load_der(data)
        if len(found) != len(data):
            raise ValueError(f"{len(data) - len(found)} certificates are damaged")
        chain.organisation(found[0])
        return found, found[0].public_key()  # of an algorithm that is not known: raises
    except Exception as error:  # what hostile certificates raise
        raise VerificationError(f"x5c cannot be read: {error!r:.200}") from error


def _joined(der: bytes, length: int) -> bytes:
    """R and s of an ECDSA signature; joined ones stay (RFC 7518, 3.4)."""
    if len(der) == 2 * length:
        return der
    try:
        r, s = decode_dss_signature(der)
        return r.to_bytes(length, "big") + s.to_bytes(length, "big")
    except (ValueError, OverflowError) as error:
        raise SigningError("the signer answered no ECDSA signature") from error


def _encode(value: dict[str, Any]) -> str:
    return _base64url(json.dumps(value, separators=(",", ":")).encode())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(part: str) -> bytes:
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise VerificationError(f"a part is no base64url: {error}") from error


def _decode(part: str) -> dict[str, Any]:
    try:
        found = json.loads(_bytes(part))
    except (ValueError, RecursionError) as error:
        raise VerificationError(f"a part is no JSON: {error!r:.200}") from error
    if not isinstance(found, dict):
        raise VerificationError("a part is no JSON object")
    return found
