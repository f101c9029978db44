"""A development certificate authority: root, intermediate and leaf in one call.

Nobody else trusts its root. It is for development and tests, and for the first day
with a new home; a conformance certificate from a C2PA authority replaces it. The
private keys of root and intermediate are dropped as soon as the leaf exists, so that
a copied home cannot issue more certificates.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from watermark.errors import SigningError
from watermark.sign.chain import PURPOSES

LEAF_DAYS = 365  # the C2PA certificate profile allows 366
INTERMEDIATE_DAYS = 5 * 365
ROOT_DAYS = 10 * 365
COUNTRY = "ZZ"  # ISO 3166-1 leaves it to users: a development CA is nowhere
MAX_NAME = 64  # X.520, ub-organization-name and ub-common-name
CLOCK_SKEW = timedelta(minutes=5)

_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


@dataclass(frozen=True, slots=True)
class Issued:
    """A new chain, and the leaf's private key as PKCS#8 PEM."""

    root_pem: bytes
    chain_pem: bytes
    key_pem: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Party:
    """A name, its key, and the certificate once there is one."""

    name: x509.Name
    key: ec.EllipticCurvePrivateKey = field(repr=False)


def issue(organisation: str, *, passphrase: str | None = None) -> Issued:
    """Issue a fresh chain (P-384 root, P-256 intermediate and leaf).

    Args:
        organisation: who signs; the O of every subject.
        passphrase: encrypt the leaf's key with this.

    Raises:
        SigningError: a name that does not fit a certificate.
    """
    name = _checked(organisation)
    root = _party(name, "development root", ec.SECP384R1())
    middle = _party(name, "development intermediate", ec.SECP256R1())
    leaf = _party(name, "development claim signing", ec.SECP256R1())
    root_cert = _authority(root, root, ROOT_DAYS, pathlen=None)
    middle_cert = _authority(middle, root, INTERMEDIATE_DAYS, pathlen=0)
    return Issued(
        _pem(root_cert),
        _pem(_leaf(leaf, middle)) + _pem(middle_cert),
        _private_pem(leaf.key, passphrase),
    )


def _checked(organisation: str) -> str:
    if not organisation.strip() or len(organisation) > MAX_NAME:
        raise SigningError(
            f"the organisation has {len(organisation.strip())} characters, "
            f"expected 1 to {MAX_NAME}: it becomes the O of the certificate"
        )
    if not organisation.isprintable():
        raise SigningError(
            f"the organisation {organisation!r} holds control characters: take them out"
        )
    return organisation.strip()


def _party(organisation: str, role: str, curve: ec.EllipticCurve) -> _Party:
    return _Party(
        x509.Name(
            [
                x509.NameAttribute(NameOID.COUNTRY_NAME, COUNTRY),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
                x509.NameAttribute(
                    NameOID.COMMON_NAME, f"{organisation} {role}"[:MAX_NAME]
                ),
            ]
        ),
        ec.generate_private_key(curve),
    )


def _authority(
    subject: _Party, issuer: _Party, days: int, *, pathlen: int | None
) -> x509.Certificate:
    builder = (
        _builder(subject, issuer, days)
        .add_extension(x509.BasicConstraints(True, pathlen), critical=True)
        .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
    )
    return _signed(builder, issuer)


def _leaf(subject: _Party, issuer: _Party) -> x509.Certificate:
    builder = (
        _builder(subject, issuer, LEAF_DAYS)
        .add_extension(x509.BasicConstraints(False, None), critical=True)
        .add_extension(_usage("digital_signature", "content_commitment"), critical=True)
        .add_extension(x509.ExtendedKeyUsage(PURPOSES), critical=False)
    )
    return _signed(builder, issuer)


def _builder(subject: _Party, issuer: _Party, days: int) -> x509.CertificateBuilder:
    start = datetime.now(UTC) - CLOCK_SKEW
    own, above = subject.key.public_key(), issuer.key.public_key()
    ski = x509.SubjectKeyIdentifier.from_public_key(own)
    aki = x509.AuthorityKeyIdentifier.from_issuer_public_key(above)
    return (
        x509.CertificateBuilder()
        .subject_name(subject.name)
        .issuer_name(issuer.name)
        .public_key(own)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=days))
        .add_extension(ski, critical=False)
        .add_extension(aki, critical=False)
    )


def _usage(*wanted: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{usage: usage in wanted for usage in _USAGES})


def _signed(builder: x509.CertificateBuilder, issuer: _Party) -> x509.Certificate:
    large = isinstance(issuer.key.curve, ec.SECP384R1)
    return builder.sign(issuer.key, hashes.SHA384() if large else hashes.SHA256())


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private_pem(key: ec.EllipticCurvePrivateKey, passphrase: str | None) -> bytes:
    sealing: serialization.KeySerializationEncryption
    if passphrase is None:
        sealing = serialization.NoEncryption()
    else:
        sealing = serialization.BestAvailableEncryption(passphrase.encode())
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, sealing
    )
