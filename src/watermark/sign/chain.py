"""A linter for certificate chains, because the native library says one thing for all.

For a missing AKI, a missing key usage, a CA as leaf or a reversed chain the library's
answer is the same "the certificate is invalid". Each check here has a name instead.
The rules are those of C2PA 2.4, 14.5.1, and of the C2PA certificate profile.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from watermark.errors import KeyFileError, SigningError
from watermark.sign.signer import algorithm_of

# The native library accepts only emailProtection unless told of the other two.
CLAIM_SIGNING = ObjectIdentifier("1.3.6.1.4.1.62558.2.1")  # C2PA's own
DOCUMENT_SIGNING = ObjectIdentifier("1.3.6.1.5.5.7.3.36")  # RFC 9336
PURPOSES = (CLAIM_SIGNING, DOCUMENT_SIGNING, ExtendedKeyUsageOID.EMAIL_PROTECTION)

MAX_CHAIN = 8  # real chains have two or three certificates
MAX_PEM_BYTES = 1 << 16

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


def load(chain_pem: bytes) -> tuple[x509.Certificate, ...]:
    """The certificates of a chain, in the order of the file.

    Raises:
        SigningError: no certificate, too many, or damaged PEM.
    """
    if len(chain_pem) > MAX_PEM_BYTES:
        raise _failed("parse", f"{len(chain_pem)} bytes", f"at most {MAX_PEM_BYTES}")
    try:
        chain = tuple(x509.load_pem_x509_certificates(chain_pem))
        for certificate in chain:
            _ = certificate.extensions, certificate.public_key()
    except Exception as error:  # ValueError, UnsupportedAlgorithm, DuplicateExtension
        raise _failed(
            "parse", f"no readable certificate ({error})", "PEM certificates"
        ) from error
    if len(chain) > MAX_CHAIN:
        raise _failed("parse", f"{len(chain)} certificates", f"at most {MAX_CHAIN}")
    return chain


def check(chain: Sequence[x509.Certificate], now: datetime | None = None) -> None:
    """Return if `chain` can sign C2PA claims now.

    Raises:
        SigningError: the message starts with the name of the check that failed.
    """
    for look in (_basic, _order, _key, _key_usage, _purpose, _authority, _organisation):
        look(chain)
    _dates(chain, now or datetime.now(UTC))


def organisation(leaf: x509.Certificate) -> str:
    """The organisation in the subject, or an empty string."""
    values = leaf.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return str(values[0].value) if values else ""


def _basic(chain: Sequence[x509.Certificate]) -> None:
    if not chain:
        raise _failed("parse", "no certificate", "the leaf, then its issuers")
    basic = _extension(chain[0], x509.BasicConstraints)
    if basic is not None and basic.ca:
        raise _failed(
            "leaf first", "a CA certificate in the first place", "the leaf there"
        )


def _order(chain: Sequence[x509.Certificate]) -> None:
    for subject, issuer in itertools.pairwise(chain):
        try:
            subject.verify_directly_issued_by(issuer)
        except Exception as error:  # InvalidSignature, ValueError, TypeError
            raise _failed(
                "order",
                f"{_name(subject)} not issued by the next one, {_name(issuer)}",
                "each certificate followed by its issuer, the leaf first",
            ) from error


def _key(chain: Sequence[x509.Certificate]) -> None:
    try:
        algorithm_of(chain[0].public_key())
    except KeyFileError as error:
        raise _failed("key", str(error), "a key C2PA allows") from error


def _key_usage(chain: Sequence[x509.Certificate]) -> None:
    usage = _extension(chain[0], x509.KeyUsage)
    if usage is None or not usage.digital_signature:
        raise _failed(
            "key usage",
            "no digitalSignature in the leaf",
            "a KeyUsage extension with digitalSignature",
        )


def _purpose(chain: Sequence[x509.Certificate]) -> None:
    purposes = _extension(chain[0], x509.ExtendedKeyUsage)
    if purposes is None or not set(purposes) & set(PURPOSES):
        found = ", ".join(p.dotted_string for p in purposes or ()) or "none"
        wanted = ", ".join(p.dotted_string for p in PURPOSES)
        raise _failed("extended key usage", found, f"one of {wanted}")


def _authority(chain: Sequence[x509.Certificate]) -> None:
    if _extension(chain[0], x509.AuthorityKeyIdentifier) is None:
        raise _failed(
            "authority key identifier",
            "none in the leaf",
            "an AuthorityKeyIdentifier extension",
        )


def _organisation(chain: Sequence[x509.Certificate]) -> None:
    if not organisation(chain[0]):
        raise _failed(
            "organisation", "none in the subject", "an O attribute: it names the signer"
        )


def _dates(chain: Sequence[x509.Certificate], now: datetime) -> None:
    for certificate in chain:
        start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if not start <= now <= end:
            raise _failed(
                "dates",
                f"{_name(certificate)} valid from {start:%Y-%m-%d} to {end:%Y-%m-%d}",
                f"a certificate valid on {now:%Y-%m-%d}: renew it",
            )


def _extension(
    certificate: x509.Certificate, kind: Callable[..., _Extension]
) -> _Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value  # type: ignore[arg-type]
    except x509.ExtensionNotFound:
        return None


def _name(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string()[:200]


def _failed(check: str, found: str, expected: str) -> SigningError:
    return SigningError(
        f"certificate check {check!r}: found {found}; expected {expected}"
    )
