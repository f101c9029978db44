"""RFC 3161 time-stamps: what is asked, and whether the answer can be believed.

A time-stamp authority (TSA) signs a digest and the time. It is believed when the digest
is the one that was asked about, the nonce comes back, the signature verifies, the
certificate is for time-stamping alone and leads to a trusted one, and the time is not
far from our own. Nothing here opens a socket: `watermark.sign.stamping` does.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from watermark.errors import SigningError
from watermark.sign import chain, der
from watermark.sign.der import Element, Malformed

MAX_TOKEN = 1 << 16  # those of public TSAs have 3 to 8 KB

_SIGNED_DATA, _TST_INFO = "1.2.840.113549.1.7.2", "1.2.840.113549.1.9.16.1.4"
_CONTENT_TYPE, _MESSAGE_DIGEST = "1.2.840.113549.1.9.3", "1.2.840.113549.1.9.4"
_ESS_V1, _ESS_V2 = "1.2.840.113549.1.9.16.2.12", "1.2.840.113549.1.9.16.2.47"
_SHA256 = "2.16.840.1.101.3.4.2.1"
_HASHES: dict[str, hashes.HashAlgorithm] = {
    _SHA256: hashes.SHA256(),
    "2.16.840.1.101.3.4.2.2": hashes.SHA384(),
    "2.16.840.1.101.3.4.2.3": hashes.SHA512(),
}
# Signature algorithms whose name fixes the hash; None: that of the digest algorithm.
_SIGNATURES: dict[str, hashes.HashAlgorithm | None] = {
    "1.2.840.113549.1.1.1": None,  # rsaEncryption
    "1.2.840.113549.1.1.11": hashes.SHA256(),
    "1.2.840.113549.1.1.12": hashes.SHA384(),
    "1.2.840.113549.1.1.13": hashes.SHA512(),
    "1.2.840.10045.2.1": None,  # id-ecPublicKey, as some TSAs write it
    "1.2.840.10045.4.3.2": hashes.SHA256(),
    "1.2.840.10045.4.3.3": hashes.SHA384(),
    "1.2.840.10045.4.3.4": hashes.SHA512(),
    "1.3.101.112": None,  # Ed25519
}
_PSS = "1.2.840.113549.1.1.10"
_TIME = re.compile(rb"(\d{14})(?:\.(\d{1,9}))?Z")
_GRANTED = (0, 1)  # granted, grantedWithMods
_FAILURES = {
    0: "badAlg",
    2: "badRequest",
    5: "badDataFormat",
    14: "timeNotAvailable",
    15: "unacceptedPolicy",
    16: "unacceptedExtension",
    17: "addInfoNotAvailable",
    25: "systemFailure",
}


class TimestampError(SigningError):
    """There is no time-stamp that can be believed."""


class Refusal(TimestampError):
    """The TSA answered that it will not stamp."""


class Untrustworthy(TimestampError):
    """The TSA's answer is not what was asked for, or cannot be believed."""


@dataclass(frozen=True, slots=True)
class TimeStamp:
    """A time-stamp that was verified.

    Attributes:
        token: the TimeStampToken in DER: what a manifest or a ledger keeps.
        time: when the TSA saw the digest.
        authority: the organisation, or the whole subject, of the TSA's certificate.
        policy: OID of the policy it stamped under.
        serial: the TSA's number for it.
    """

    token: bytes
    time: datetime
    authority: str
    policy: str
    serial: int


def imprint(message: bytes) -> bytes:
    """SHA-256 of a message: all that a TSA learns of it."""
    return hashlib.sha256(message).digest()


def request(digest: bytes, nonce: int) -> bytes:
    """A TimeStampReq (RFC 3161, 2.4.1) that asks for the certificate too.

    Args:
        digest: SHA-256, 32 bytes.
        nonce: a random number, so that no old answer fits.
    """
    return der.encode(
        der.SEQUENCE,
        der.integer(1),
        _message_imprint(digest),
        der.integer(nonce),
        der.encode(der.BOOLEAN, b"\xff"),
    )


def answer(response: bytes) -> bytes:
    """The token in a TimeStampResp (RFC 3161, 2.4.2).

    Raises:
        Refusal: the TSA gave none; the message says why.
        Untrustworthy: this is no TimeStampResp.
    """
    try:
        parts = der.element(response, der.SEQUENCE).children()
        status, *more = parts[0].children()
        code = der.number(status)
        if code not in _GRANTED:
            raise Refusal(f"the TSA refused with status {code} ({_reason(more)})")
        return parts[1].encoded
    except (Malformed, IndexError, ValueError) as error:
        raise Untrustworthy(f"no time-stamp response was answered: {error}") from error


def verify(
    token: bytes,
    digest: bytes,
    anchors: Sequence[x509.Certificate],
    *,
    nonce: int | None = None,
) -> TimeStamp:
    """The time-stamp in `token`, if it can be believed.

    Args:
        token: a TimeStampToken in DER.
        digest: SHA-256 of what it has to be about.
        anchors: certificates that TSAs have to lead to.
        nonce: what was asked with; None where that is no longer known.

    Raises:
        Untrustworthy: it is malformed, about something else, or not to be believed.
    """
    if len(token) > MAX_TOKEN:
        raise Untrustworthy(f"{len(token)} bytes found, expected at most {MAX_TOKEN}")
    try:
        return _verified(token, digest, anchors, nonce)
    except Untrustworthy:
        raise
    except Exception as error:  # Malformed; IndexError and whatever keys raise
        raise Untrustworthy(f"the time-stamp is malformed: {error}") from error


def _verified(
    token: bytes,
    digest: bytes,
    anchors: Sequence[x509.Certificate],
    nonce: int | None,
) -> TimeStamp:
    content, certificates, signer = _signed_data(token)
    policy, time, serial = _info(content, digest, nonce)
    leaf = _signed(content, certificates, signer)
    _for_time_stamping(leaf)
    if chain.path(leaf, certificates, anchors, time) is None:
        raise Untrustworthy(
            f"the TSA {chain.name(leaf)} leads to none of the {len(anchors)} trusted "
            "TSA certificates, or its own was not valid then"
        )
    authority = chain.organisation(leaf) or chain.name(leaf)
    return TimeStamp(token, time, authority, policy, serial)


def _signed_data(
    token: bytes,
) -> tuple[bytes, tuple[x509.Certificate, ...], list[Element]]:
    """The TSTInfo, the certificates, and the one SignerInfo (RFC 5652, 5.1)."""
    kind, wrapped = der.element(token, der.SEQUENCE).children()
    if der.dotted(kind) != _SIGNED_DATA:
        raise Malformed("no SignedData")
    parts = der.element(wrapped.content, der.SEQUENCE).children()
    what, inner = parts[2].children()
    if der.dotted(what) != _TST_INFO:
        raise Malformed("the signed content is no TSTInfo")
    content = der.element(inner.content, der.OCTET_STRING).content
    pool = [p for p in parts[3:] if p.tag == 0xA0]
    certificates = chain.load_der(e.encoded for p in pool for e in p.children())
    (signer,) = parts[-1].children()
    return content, certificates, signer.children()


def _info(
    content: bytes, digest: bytes, nonce: int | None
) -> tuple[str, datetime, int]:
    """Policy, time and serial number of a TSTInfo about `digest`."""
    version, policy, about, serial, time, *more = der.element(content).children()
    if der.number(version) != 1:
        raise Malformed(f"TSTInfo version {der.number(version)}")
    algorithm, found = about.children()
    if der.dotted(algorithm.children()[0]) != _SHA256 or found.content != digest:
        raise Untrustworthy(
            "the time-stamp is about something else than what was asked: the digests "
            "differ"
        )
    nonces = [der.number(e) for e in more if e.tag == der.INTEGER]
    if nonce is not None and nonces != [nonce]:
        raise Untrustworthy(
            f"nonce {nonces or 'none'} found, expected {nonce}: this is the answer to "
            "another question, perhaps an old one"
        )
    return der.dotted(policy), _time(time), der.number(serial)


def _time(found: Element) -> datetime:
    match = _TIME.fullmatch(found.content)
    if found.tag != der.GENERALIZED_TIME or match is None:
        raise Malformed("genTime is no time in UTC")
    whole = datetime.strptime(match[1].decode(), "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    micros = int(((match[2] or b"0") + b"000000")[:6])
    return whole.replace(microsecond=micros)


def _signed(
    content: bytes, certificates: tuple[x509.Certificate, ...], signer: list[Element]
) -> x509.Certificate:
    """The certificate whose key signed `content` (RFC 5652, 5.4 and 5.6)."""
    _, who, digest_algorithm, attributes, algorithm, signature = signer[:6]
    if attributes.tag != 0xA0:
        raise Malformed("no signed attributes")
    values = _attributes(attributes)
    digest = _HASHES[der.dotted(digest_algorithm.children()[0])]
    if der.dotted(values[_CONTENT_TYPE]) != _TST_INFO:
        raise Malformed("the content type attribute is another one")
    if values[_MESSAGE_DIGEST].content != _digest(digest, content):
        raise Untrustworthy("the TSA's signature is over another content")
    leaf = _named(values, certificates)
    if who.tag == der.SEQUENCE and der.number(who.children()[1]) != leaf.serial_number:
        raise Untrustworthy("two different certificates are named as the signer's")
    as_set = bytes([der.SET]) + attributes.encoded[1:]  # RFC 5652, 5.4
    _check_signature(leaf.public_key(), signature.content, as_set, algorithm, digest)
    return leaf


def _attributes(attributes: Element) -> dict[str, Element]:
    found: dict[str, Element] = {}
    for row in attributes.children():
        kind, values = row.children()
        name = der.dotted(kind)
        if name in found:
            raise Malformed(f"attribute {name} twice")
        found[name] = values.children()[0]
    return found


def _named(
    values: dict[str, Element], certificates: tuple[x509.Certificate, ...]
) -> x509.Certificate:
    """The certificate that ESSCertID names (RFC 5035, RFC 5816)."""
    attribute = values.get(_ESS_V2) or values.get(_ESS_V1)
    if attribute is None:
        raise Untrustworthy("the TSA does not sign which certificate is its own")
    first, *_ = attribute.children()[0].children()[0].children()
    digest: hashes.HashAlgorithm = hashes.SHA256()
    if _ESS_V2 not in values:
        digest = hashes.SHA1()  # RFC 2634: it only names; the signature binds it
    elif first.tag == der.SEQUENCE:
        digest = _HASHES[der.dotted(first.children()[0])]
        first = attribute.children()[0].children()[0].children()[1]
    for certificate in certificates:
        if certificate.fingerprint(digest) == first.content:
            return certificate
    raise Untrustworthy("the TSA's certificate is not in its answer")


def _check_signature(
    key: object,
    signature: bytes,
    message: bytes,
    algorithm: Element,
    digest: hashes.HashAlgorithm,
) -> None:
    name = der.dotted(algorithm.children()[0])
    try:
        if isinstance(key, rsa.RSAPublicKey) and name == _PSS:
            pss = padding.PSS(padding.MGF1(digest), padding.PSS.AUTO)
            key.verify(signature, message, pss, digest)
        elif name not in _SIGNATURES:
            raise Malformed(f"signature algorithm {name}")
        elif isinstance(key, rsa.RSAPublicKey):
            used = _SIGNATURES[name] or digest
            key.verify(signature, message, padding.PKCS1v15(), used)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, message, ec.ECDSA(_SIGNATURES[name] or digest))
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, message)
        else:
            raise Malformed(f"a key of type {type(key).__name__}")
    except Malformed:
        raise
    except Exception as error:  # InvalidSignature, UnsupportedAlgorithm
        raise Untrustworthy("the TSA's signature does not verify") from error


def _for_time_stamping(leaf: x509.Certificate) -> None:
    """RFC 3161, 2.3: this purpose, alone, and critical."""
    try:
        found = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
        good = list(found.value) == [ExtendedKeyUsageOID.TIME_STAMPING]
    except x509.ExtensionNotFound:
        good = False
    if not good or not found.critical:
        raise Untrustworthy(
            f"the certificate of {chain.name(leaf)} is not for time-stamping: expected "
            "timeStamping alone, as a critical ExtendedKeyUsage"
        )


def _message_imprint(digest: bytes) -> bytes:
    algorithm = der.encode(der.SEQUENCE, der.oid(_SHA256), der.encode(der.NULL))
    return der.encode(der.SEQUENCE, algorithm, der.encode(der.OCTET_STRING, digest))


def _digest(algorithm: hashes.HashAlgorithm, content: bytes) -> bytes:
    context = hashes.Hash(algorithm)
    context.update(content)
    return context.finalize()


def _reason(more: list[Element]) -> str:
    """The words and the failure bits of a PKIStatusInfo."""
    words = []
    for part in more:
        if part.tag == der.SEQUENCE:
            texts = [e.content.decode("utf-8", "replace") for e in part.children()]
            words += [text[:200] for text in texts if text.isprintable()]
        if part.tag == der.BIT_STRING and part.content:
            bits = int.from_bytes(part.content[1:9].ljust(8, b"\0"), "big")
            words += [name for n, name in _FAILURES.items() if bits >> (63 - n) & 1]
    return ", ".join(words) or "no reason given"
