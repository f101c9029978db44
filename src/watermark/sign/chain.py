"""Certificate chains: read from PEM, and followed to a trust anchor.

What is wrong with a chain is told by `watermark.sign.linter`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import (
    ExtendedKeyUsageOID,
    ExtensionOID,
    NameOID,
    ObjectIdentifier,
)

from watermark.errors import SigningError

# The native library accepts only emailProtection unless told of the other two.
CLAIM_SIGNING = ObjectIdentifier("1.3.6.1.4.1.62558.2.1")  # C2PA's own
DOCUMENT_SIGNING = ObjectIdentifier("1.3.6.1.5.5.7.3.36")  # RFC 9336
PURPOSES = (CLAIM_SIGNING, DOCUMENT_SIGNING, ExtendedKeyUsageOID.EMAIL_PROTECTION)

MAX_CHAIN = 8  # real chains have two or three certificates
MAX_PEM_BYTES = 1 << 16
MAX_LIST_BYTES = 1 << 22  # the C2PA trust list of August 2026 has 30 certificates
MAX_POOL = 32  # certificates that come with a time-stamp or an OCSP answer
MAX_STEPS = 64  # signatures checked while a path is looked for

# A CA that limits what it vouches for in another way is not followed (RFC 5280, 4.2).
_UNDERSTOOD = {
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.SUBJECT_KEY_IDENTIFIER,
    ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
    ExtensionOID.CERTIFICATE_POLICIES,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
}
_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


class Unreadable(SigningError):
    """No certificates could be read from a file.

    Attributes:
        found: what is there.
        expected: what should be.
    """

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(
            f"certificate check 'parse': found {found}; expected {expected}"
        )
        self.found, self.expected = found, expected


def load(chain_pem: bytes) -> tuple[x509.Certificate, ...]:
    """The certificates of a chain, in the order of the file.

    Raises:
        Unreadable: no certificate, too many, or damaged PEM.
    """
    found = load_many(chain_pem, MAX_PEM_BYTES)
    if len(found) > MAX_CHAIN:
        raise Unreadable(f"{len(found)} certificates", f"at most {MAX_CHAIN}")
    return found


def load_many(pem: bytes, limit: int = MAX_LIST_BYTES) -> tuple[x509.Certificate, ...]:
    """Any number of certificates, such as a trust list, from at most `limit` bytes.

    Raises:
        Unreadable: no certificate, too many bytes, or damaged PEM.
    """
    if len(pem) > limit:
        raise Unreadable(f"{len(pem)} bytes", f"at most {limit}")
    try:
        found = tuple(x509.load_pem_x509_certificates(pem))
        for certificate in found:
            _touch(certificate)
    except Exception as error:  # ValueError; or a warning, where those are errors
        raise Unreadable(
            f"no readable certificate ({error})",
            "PEM, '-----BEGIN CERTIFICATE-----', with the leaf first",
        ) from error
    return found


def load_der(encoded: Iterable[bytes]) -> tuple[x509.Certificate, ...]:
    """Certificates from DER, without those that cannot be read; at most `MAX_POOL`."""
    found = []
    for data in itertools.islice(encoded, MAX_POOL):
        try:
            certificate = x509.load_der_x509_certificate(data)
            _touch(certificate)
        except Exception:  # ValueError, UnsupportedAlgorithm, a warning as an error
            continue
        found.append(certificate)
    return tuple(found)


def _touch(certificate: x509.Certificate) -> None:
    """Have the fields read that cryptography otherwise reads when they are used."""
    _ = certificate.subject, certificate.issuer, certificate.version
    _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    _ = certificate.signature_algorithm_oid, certificate.serial_number


def pem(certificates: Iterable[x509.Certificate]) -> bytes:
    """Certificates as PEM, in their order."""
    encoding = serialization.Encoding.PEM
    return b"".join(certificate.public_bytes(encoding) for certificate in certificates)


def organisation(leaf: x509.Certificate) -> str:
    """The organisation in the subject, or an empty string."""
    values = leaf.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return str(values[0].value) if values else ""


def name(certificate: x509.Certificate) -> str:
    """The subject as text, cut to 200 characters."""
    return certificate.subject.rfc4514_string()[:200]


def extension(
    certificate: x509.Certificate, kind: Callable[..., _Extension]
) -> _Extension | None:
    """The extension of that class, or None.

    Raises:
        ValueError: the extensions of this certificate cannot be read.
        DuplicateExtension: one stands there twice.
    """
    try:
        return certificate.extensions.get_extension_for_class(kind).value  # type: ignore[arg-type]
    except x509.ExtensionNotFound:
        return None


def issued_by(subject: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether the names fit and the issuer's key made the subject's signature."""
    try:
        subject.verify_directly_issued_by(issuer)
    except Exception:  # InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm
        return False
    return True


def path(
    leaf: x509.Certificate,
    others: Sequence[x509.Certificate],
    anchors: Sequence[x509.Certificate],
    at: datetime | None = None,
) -> tuple[x509.Certificate, ...] | None:
    """The certificates from `leaf` to one of `anchors`, or None if none leads there.

    RFC 5280, 6.1, without policies and name constraints: a CA that has those as
    critical is not followed. Anchors are trusted as they are; their dates are not
    looked at (6.1.1). An anchor may be an intermediate, or the leaf itself.

    Args:
        leaf: where to start; what it may be used for is the caller's to check.
        others: certificates that may stand between, in any order.
        anchors: those that are trusted.
        at: when the path has to be valid, by default now.
    """
    when = at or datetime.now(UTC)
    steps = [MAX_STEPS]  # a hostile pool of certificates must not cost hours
    return _follow((leaf,), others, anchors, when, steps)


def _follow(
    so_far: tuple[x509.Certificate, ...],
    others: Sequence[x509.Certificate],
    anchors: Sequence[x509.Certificate],
    when: datetime,
    steps: list[int],
) -> tuple[x509.Certificate, ...] | None:
    last = so_far[-1]
    valid = last.not_valid_before_utc <= when <= last.not_valid_after_utc
    if last in anchors and (valid or len(so_far) > 1):
        return so_far
    if not valid:
        return None
    for trusted, pool in ((True, anchors), (False, others)):
        for issuer in pool:
            if issuer.subject != last.issuer or issuer in so_far:
                continue
            steps[0] -= 1
            if steps[0] < 0 or len(so_far) >= MAX_CHAIN:
                return None
            if not _may_issue(issuer, below=len(so_far) - 1):
                continue
            if not issued_by(last, issuer):
                continue
            if trusted:
                return (*so_far, issuer)
            if found := _follow((*so_far, issuer), others, anchors, when, steps):
                return found
    return None


def _may_issue(issuer: x509.Certificate, *, below: int) -> bool:
    """Whether this is a CA that may have `below` other CAs under it."""
    try:
        basic = extension(issuer, x509.BasicConstraints)
        usage = extension(issuer, x509.KeyUsage)
        odd = [e for e in issuer.extensions if e.critical and e.oid not in _UNDERSTOOD]
    except Exception:  # extensions that cannot be read
        return False
    return (
        basic is not None
        and basic.ca
        and (basic.path_length is None or basic.path_length >= below)
        and (usage is None or usage.key_cert_sign)
        and not odd
    )
