"""Certificates with one thing wrong each, and what the native library makes of them."""

from __future__ import annotations

import datetime
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import c2pa  # noqa: TID251  # the judge of the linter
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from PIL import Image

from watermark.sign import chain, der

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)

USAGES = (
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

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def usage(*wanted: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{n: n in wanted for n in USAGES})


def p256() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@dataclass
class Plan:
    """A certificate to be made; the defaults are right for a leaf."""

    common_name: str | None = "leaf"
    organisation: str | None = "Acme"
    country: str | None = "ZZ"
    key: Any = field(default_factory=p256)
    start: datetime.datetime = NOW - DAY
    end: datetime.datetime = NOW + 300 * DAY
    ca: bool | None = False
    pathlen: int | None = None
    usages: tuple[str, ...] | None = ("digital_signature", "content_commitment")
    usage_critical: bool = True
    purposes: tuple[x509.ObjectIdentifier, ...] | None = chain.PURPOSES
    ski: bool = True
    aki: bool = True
    more: tuple[tuple[x509.ExtensionType, bool], ...] = ()

    @property
    def name(self) -> x509.Name:
        parts = (
            (NameOID.COUNTRY_NAME, self.country),
            (NameOID.ORGANIZATION_NAME, self.organisation),
            (NameOID.COMMON_NAME, self.common_name),
        )
        return x509.Name([x509.NameAttribute(o, v) for o, v in parts if v])

    def made(self, issuer: Plan | None = None, **signing: Any) -> x509.Certificate:
        """The certificate, self-signed unless there is an issuer."""
        above = issuer or self
        extensions = [
            (x509.BasicConstraints(bool(self.ca), self.pathlen), True, self.ca),
            (usage(*self.usages or ()), self.usage_critical, self.usages),
            (
                x509.ExtendedKeyUsage(self.purposes or chain.PURPOSES),
                False,
                self.purposes,
            ),
            (
                x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()),
                False,
                self.ski or None,
            ),
            (
                x509.AuthorityKeyIdentifier.from_issuer_public_key(
                    above.key.public_key()
                ),
                False,
                self.aki or None,
            ),
        ]
        builder = x509.CertificateBuilder(
            above.name,
            self.name,
            self.key.public_key(),
            x509.random_serial_number(),
            self.start,
            self.end,
        )
        for extension, critical, wanted in extensions:
            if wanted is not None:
                builder = builder.add_extension(extension, critical)
        for extension, critical in self.more:
            builder = builder.add_extension(extension, critical)
        return builder.sign(above.key, _digest(above.key), **signing)


def _digest(key: Key) -> hashes.SHA256 | None:
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()


def authority(common_name: str, **more: Any) -> Plan:
    """A plan for a CA."""
    given: dict[str, Any] = {
        "common_name": common_name,
        "ca": True,
        "usages": ("key_cert_sign", "crl_sign"),
        "purposes": None,
        "end": NOW + 3000 * DAY,
    }
    return Plan(**{**given, **more})


ROOT = authority("root")
MIDDLE = authority("middle", pathlen=0)
ROOT_CERT = ROOT.made()
MIDDLE_CERT = MIDDLE.made(ROOT)


def chain_of(leaf: Plan) -> bytes:
    """The leaf under the intermediate of this module."""
    return chain.pem([leaf.made(MIDDLE), MIDDLE_CERT])


Edit = Callable[[list[bytes]], list[bytes]]


def edited(leaf: Plan, edit: Edit) -> bytes:
    """The chain of a leaf whose TBSCertificate fields `edit` changed, signed anew."""
    made = leaf.made(MIDDLE)
    fields = [e.encoded for e in der.element(made.tbs_certificate_bytes).children()]
    tbs = der.encode(der.SEQUENCE, *edit(fields))
    assert isinstance(MIDDLE.key, ec.EllipticCurvePrivateKey)
    signature = MIDDLE.key.sign(tbs, ec.ECDSA(hashes.SHA256()))
    algorithm = der.encode(der.SEQUENCE, der.oid("1.2.840.10045.4.3.2"))
    bits = der.encode(der.BIT_STRING, b"\0", signature)
    whole = der.encode(der.SEQUENCE, tbs, algorithm, bits)
    return chain.pem([x509.load_der_x509_certificate(whole), MIDDLE_CERT])


def pkcs8(key: Key) -> bytes:
    """A key as plain PKCS#8 PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def native_refusal(chain_pem: bytes, key: Key, algorithm: str = "es256") -> str | None:
    """What the native library says when it shall sign with that, or None."""
    picture, signed = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "PNG")
    picture.seek(0)
    info = c2pa.C2paSignerInfo(algorithm, chain_pem, pkcs8(key), None)
    purposes = "".join(f"{p.dotted_string}\n" for p in chain.PURPOSES)
    settings = {
        "trust": {"trust_config": purposes},
        "verify": {"verify_after_sign": False, "remote_manifest_fetch": False},
        "builder": {"thumbnail": {"enabled": False}},
    }
    try:
        with (
            c2pa.Signer.from_info(info) as signer,
            c2pa.Context(c2pa.Settings.from_dict(settings), signer) as context,
            c2pa.Builder({"assertions": []}, context=context) as builder,
        ):
            builder.sign("image/png", picture, signed)
    except c2pa.C2paError as error:
        return str(error)
    return None
