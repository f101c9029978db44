"""A development certificate authority: root, intermediate and leaf in one call.

Nobody else trusts its root. It is for development and tests, and for the first day
with a new home; a conformance certificate from a C2PA authority replaces it. `issue`
drops the private keys of root and intermediate as soon as the leaf exists, so that a
copied home cannot issue more certificates. An `Authority` that is kept issues leaves
that live for days or minutes (`watermark.sign.shortlived`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from watermark.errors import KeyFileError, SigningError
from watermark.files import read_private, write_atomically
from watermark.sign import chain
from watermark.sign.signer import PublicKey, generate, load_key, private_pem, spki

LEAF_LIFE = timedelta(days=365)  # the C2PA certificate profile allows 366
INTERMEDIATE_LIFE = timedelta(days=5 * 365)
ROOT_LIFE = timedelta(days=10 * 365)
COUNTRY = "ZZ"  # ISO 3166-1 leaves it to users: a development CA is nowhere
MAX_NAME = 64  # X.520, ub-organization-name and ub-common-name
CLOCK_SKEW = timedelta(minutes=5)
CLAIM_SIGNING = "development claim signing"

ROOT, CERTIFICATE, KEY = "root.pem", "issuer.pem", "issuer-key.pem"

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
class Authority:
    """A root, an intermediate under it, and the intermediate's private key.

    Attributes:
        organisation: the O of every subject.
        root: what verifiers have to trust; its private key is dropped.
        certificate: the intermediate, which issues.
    """

    organisation: str
    root: x509.Certificate
    certificate: x509.Certificate
    _key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def create(cls, organisation: str) -> Self:
        """A P-384 root and a P-256 intermediate.

        Raises:
            SigningError: a name that does not fit a certificate.
        """
        name = _checked(organisation)
        root_key = ec.generate_private_key(ec.SECP384R1())
        key = ec.generate_private_key(ec.SECP256R1())
        top = _name(name, "development root")
        root = _ca(top, root_key.public_key(), top, root_key, ROOT_LIFE, None)
        middle = _name(name, "development intermediate")
        issuer = _ca(middle, key.public_key(), top, root_key, INTERMEDIATE_LIFE, 0)
        return cls(name, root, issuer, key)

    @property
    def root_pem(self) -> bytes:
        """The root as PEM."""
        return chain.pem([self.root])

    def certify(
        self,
        public_key: PublicKey,
        *,
        role: str = CLAIM_SIGNING,
        purposes: Sequence[x509.ObjectIdentifier] = chain.PURPOSES,
        critical: bool = False,
        life: timedelta = LEAF_LIFE,
        ocsp: str | None = None,
    ) -> x509.Certificate:
        """A leaf for `public_key`, valid from five minutes ago.

        Args:
            public_key: the subject's.
            role: ends the common name.
            purposes: the ExtendedKeyUsage.
            critical: whether that is critical, as it is for time-stamping.
            life: until it expires, from now.
            ocsp: the URL of a responder, as AuthorityInfoAccess.
        """
        subject = _name(self.organisation, role)
        builder = (
            _builder(subject, public_key, self.certificate.subject, self._key, life)
            .add_extension(x509.BasicConstraints(False, None), critical=True)
            .add_extension(
                _usage("digital_signature", "content_commitment"), critical=True
            )
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=critical)
        )
        if ocsp is not None:
            location = x509.UniformResourceIdentifier(ocsp)
            access = x509.AccessDescription(
                AuthorityInformationAccessOID.OCSP, location
            )
            builder = builder.add_extension(
                x509.AuthorityInformationAccess([access]), critical=False
            )
        return builder.sign(self._key, hashes.SHA256())

    def chain_pem(self, leaf: x509.Certificate) -> bytes:
        """The leaf and the intermediate as PEM."""
        return chain.pem([leaf, self.certificate])

    def save(self, folder: Path, *, passphrase: str | None = None) -> None:
        """Keep the authority in `folder`: whoever has it can sign in its name.

        Raises:
            KeyFileError: one of its files exists, or the folder cannot be written.
        """
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            key = private_pem(self._key, passphrase)
            write_atomically(folder / KEY, key, mode=0o600)
            write_atomically(folder / CERTIFICATE, chain.pem([self.certificate]))
            write_atomically(folder / ROOT, self.root_pem)
        except OSError as error:
            raise KeyFileError(f"the authority in {folder}: {error}") from error

    @classmethod
    def load(cls, folder: Path, passphrase: str | None = None) -> Self:
        """An authority that was saved.

        Raises:
            KeyFileError: a file is missing, damaged or open to others, or the
                passphrase is wrong.
        """
        try:
            key = load_key(read_private(folder / KEY), passphrase)
            (issuer,) = chain.load((folder / CERTIFICATE).read_bytes())
            (root,) = chain.load((folder / ROOT).read_bytes())
        except (OSError, ValueError, KeyFileError, SigningError) as error:
            raise KeyFileError(f"the authority in {folder}: {error}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise KeyFileError(f"{folder / KEY} is no elliptic curve key")
        if spki(key.public_key()) != spki(issuer.public_key()):
            raise KeyFileError(f"{folder / KEY} is not the key of {CERTIFICATE}")
        return cls(chain.organisation(issuer), root, issuer, key)

    def __reduce__(self) -> NoReturn:
        raise TypeError("an Authority is never pickled: load it from its folder")


def issue(
    organisation: str,
    *,
    passphrase: str | None = None,
    algorithm: str = "es256",
    life: timedelta = LEAF_LIFE,
    under: Authority | None = None,
) -> Issued:
    """Issue a leaf with a fresh key; the authority is dropped unless it is given.

    Args:
        organisation: who signs; the O of every subject.
        passphrase: encrypt the leaf's key with this.
        algorithm: what the leaf signs with, such as ``ed25519``.
        life: of the leaf.
        under: who issues, by default a fresh authority.

    Raises:
        SigningError: a name that does not fit a certificate, an unknown algorithm.
    """
    authority = Authority.create(organisation) if under is None else under
    key = generate(algorithm)
    leaf = authority.certify(key.public_key(), life=life)
    return Issued(
        authority.root_pem, authority.chain_pem(leaf), private_pem(key, passphrase)
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


def _name(organisation: str, role: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, COUNTRY),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
            x509.NameAttribute(
                NameOID.COMMON_NAME, f"{organisation} {role}"[:MAX_NAME]
            ),
        ]
    )


def _ca(
    subject: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    life: timedelta,
    pathlen: int | None,
) -> x509.Certificate:
    return (
        _builder(subject, public_key, issuer, issuer_key, life)
        .add_extension(x509.BasicConstraints(True, pathlen), critical=True)
        .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
        .sign(issuer_key, hashes.SHA384())
    )


def _builder(
    subject: x509.Name,
    public_key: PublicKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    life: timedelta,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    ski = x509.SubjectKeyIdentifier.from_public_key(public_key)
    aki = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + life)
        .add_extension(ski, critical=False)
        .add_extension(aki, critical=False)
    )


def _usage(*wanted: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{usage: usage in wanted for usage in _USAGES})
