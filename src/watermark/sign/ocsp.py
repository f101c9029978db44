"""Revocation by OCSP (RFC 6960): asked only when somebody calls `status`.

Reading a file never asks. The certificate that names the responder may come from a
stranger's file, so it has to lead to a trusted one first, and an address inside this
network is refused unless the caller names the responder himself.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from watermark.errors import WatermarkError
from watermark.sign import chain, fetching

MAX_ANSWER = 1 << 16
SKEW = timedelta(minutes=5)
MAX_AGE = timedelta(days=7)  # of an answer that does not say when the next one comes
NONCE_BYTES = 16

_State = Literal["good", "revoked", "unknown"]
_STATES: dict[ocsp.OCSPCertStatus, _State] = {
    ocsp.OCSPCertStatus.GOOD: "good",
    ocsp.OCSPCertStatus.REVOKED: "revoked",
    ocsp.OCSPCertStatus.UNKNOWN: "unknown",
}


class OcspError(WatermarkError):
    """No answer about a revocation that can be believed: neither good nor revoked."""


@dataclass(frozen=True, slots=True)
class Status:
    """What the responder says.

    Attributes:
        state: ``good``: not revoked. ``revoked``. ``unknown``: the responder does not
            know the certificate.
        revoked_at: since when, where it is revoked.
        reason: why, as RFC 5280 names it, where the responder says so.
        produced_at: when the responder signed.
    """

    state: _State
    revoked_at: datetime | None
    reason: str | None
    produced_at: datetime


def status(
    chain_pem: bytes,
    anchors: bytes,
    *,
    responder: str | None = None,
    seconds: float = 10,
    now: datetime | None = None,
) -> Status:
    """Ask whether the first certificate of a chain is revoked.

    Args:
        chain_pem: the certificates, leaf first.
        anchors: PEM certificates that the chain has to lead to.
        responder: whom to ask, by default the URL in the leaf; that one has to be at a
            public address.
        seconds: for the answer.
        now: the time at which the answer has to be valid.

    Raises:
        OcspError: the chain is not trusted, names no responder, or the answer cannot be
            had or believed.
    """
    leaf, issuer = _trusted(chain_pem, anchors, now)
    url = _responder(leaf) if responder is None else responder
    nonce = secrets.token_bytes(NONCE_BYTES)
    question = (
        ocsp.OCSPRequestBuilder()
        .add_certificate(leaf, issuer, hashes.SHA1())  # the one that all know; an id
        .add_extension(x509.OCSPNonce(nonce), critical=False)
        .build()
        .public_bytes(serialization.Encoding.DER)
    )
    try:
        answer = fetching.exchange(
            url,
            body=question,
            content_type="application/ocsp-request",
            answer_type="application/ocsp-response",
            limit=MAX_ANSWER,
            seconds=seconds,
            public_only=responder is None,
        )
    except fetching.FetchError as error:
        raise OcspError(f"the OCSP responder gave no answer: {error}") from error
    return read(answer, leaf, issuer, nonce=nonce, now=now)


def read(
    answer: bytes,
    leaf: x509.Certificate,
    issuer: x509.Certificate,
    *,
    nonce: bytes | None = None,
    now: datetime | None = None,
) -> Status:
    """What an OCSP response says of `leaf`, if it can be believed.

    Args:
        answer: the response in DER.
        leaf: the certificate in question.
        issuer: the certificate that issued it; it is trusted.
        nonce: what was asked with. An answer without one is taken, as responders that
            prepare their answers give none; an answer with another one is not.
        now: the time at which it has to be valid.

    Raises:
        OcspError: it cannot be read, is about another certificate, is not signed by the
            issuer or its delegate, or is not of now.
    """
    when = now or datetime.now(UTC)
    try:
        response = ocsp.load_der_ocsp_response(answer)
        if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            raise OcspError(
                f"the OCSP responder refused: {response.response_status.name}"
            )
        (single,) = list(response.responses)
        _about(single, leaf, issuer)
        _signature(response, issuer, when)
        _nonce(response, nonce)
        _fresh(single, when)
        state = _STATES[single.certificate_status]
        reason = single.revocation_reason
        return Status(
            state,
            single.revocation_time_utc,
            None if reason is None else reason.value,
            response.produced_at_utc,
        )
    except OcspError:
        raise
    except Exception as error:  # ValueError, and what damaged responses raise
        raise OcspError(f"the OCSP answer cannot be read: {error}") from error


def _trusted(
    chain_pem: bytes, anchors: bytes, now: datetime | None
) -> tuple[x509.Certificate, x509.Certificate]:
    """The leaf and its issuer, on a way to an anchor."""
    try:
        certificates = chain.load(chain_pem)
        trusted = chain.load_many(anchors)
    except chain.Unreadable as error:
        raise OcspError(str(error)) from error
    found = chain.path(certificates[0], certificates[1:], trusted, now)
    if found is None or len(found) < 2:
        raise OcspError(
            f"{chain.name(certificates[0])} leads to none of the {len(trusted)} "
            "trusted certificates: nobody is asked for a stranger's certificate"
        )
    return found[0], found[1]


def _responder(leaf: x509.Certificate) -> str:
    access = chain.extension(leaf, x509.AuthorityInformationAccess)
    for entry in access or ():
        location = entry.access_location
        if entry.access_method == AuthorityInformationAccessOID.OCSP and isinstance(
            location, x509.UniformResourceIdentifier
        ):
            return location.value
    raise OcspError(
        f"{chain.name(leaf)} names no OCSP responder: found no AuthorityInfoAccess "
        "with one, expected one, or `responder`"
    )


def _about(
    single: ocsp.OCSPSingleResponse, leaf: x509.Certificate, issuer: x509.Certificate
) -> None:
    """Compare CertID, made anew from the certificates that we hold."""
    same = ocsp.OCSPRequestBuilder().add_certificate(
        leaf, issuer, single.hash_algorithm
    )
    own = same.build()
    if (
        single.serial_number != own.serial_number
        or single.issuer_key_hash != own.issuer_key_hash
        or single.issuer_name_hash != own.issuer_name_hash
    ):
        raise OcspError("the OCSP answer is about another certificate")


def _signature(
    response: ocsp.OCSPResponse, issuer: x509.Certificate, when: datetime
) -> None:
    """RFC 6960, 4.2.2.2: the issuer itself, or one that it issued for this."""
    named = [c for c in response.certificates if _delegate(c, issuer, when)]
    for signer in (issuer, *named):
        if _verifies(response, signer.public_key()):
            return
    raise OcspError(
        "the OCSP answer is signed neither by the issuer of the certificate nor by a "
        "responder that the issuer named"
    )


def _delegate(
    certificate: x509.Certificate, issuer: x509.Certificate, when: datetime
) -> bool:
    try:
        purposes = chain.extension(certificate, x509.ExtendedKeyUsage) or ()
        start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except Exception:  # extensions or dates that cannot be read
        return False
    return (
        ExtendedKeyUsageOID.OCSP_SIGNING in purposes
        and start <= when <= end
        and chain.issued_by(certificate, issuer)
    )


def _verifies(response: ocsp.OCSPResponse, key: object) -> bool:
    signature, signed = response.signature, response.tbs_response_bytes
    digest = response.signature_hash_algorithm
    if isinstance(digest, hashes.SHA1 | hashes.MD5):
        return False
    try:
        if isinstance(key, ec.EllipticCurvePublicKey) and digest is not None:
            key.verify(signature, signed, ec.ECDSA(digest))
        elif isinstance(key, rsa.RSAPublicKey) and digest is not None:
            key.verify(signature, signed, padding.PKCS1v15(), digest)
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, signed)
        else:
            return False
    except Exception:  # InvalidSignature, UnsupportedAlgorithm
        return False
    return True


def _nonce(response: ocsp.OCSPResponse, nonce: bytes | None) -> None:
    try:
        found = response.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce
    except x509.ExtensionNotFound:
        return
    if nonce is not None and found != nonce:
        raise OcspError("the OCSP answer has another nonce: it is an old one")


def _fresh(single: ocsp.OCSPSingleResponse, when: datetime) -> None:
    start, end = single.this_update_utc, single.next_update_utc
    last = start + MAX_AGE if end is None else end
    if not start - SKEW <= when <= last + SKEW:
        raise OcspError(
            f"the OCSP answer is for {start:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} "
            f"UTC, expected one for {when:%Y-%m-%d %H:%M}"
        )
