"""One certificate against the C2PA profile: every missing or wrong field has a code.

The rules are those of C2PA 2.4, 14.5.1, as the native library applies them (it refuses
what is an error here), and of the C2PA certificate profile 0.2 (warnings).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID
from cryptography.x509.oid import SignatureAlgorithmOID as Signed

from watermark.errors import KeyFileError
from watermark.sign import chain, der
from watermark.sign.findings import Finding, error, warning
from watermark.sign.signer import algorithm_of

Certificate = x509.Certificate

SOON = timedelta(days=30)
MAX_LIFE = timedelta(days=366)  # certificate profile 0.2, claim signing leaf
MIN_RSA_BITS = 2048

_SIGNATURES = {
    Signed.RSA_WITH_SHA256,
    Signed.RSA_WITH_SHA384,
    Signed.RSA_WITH_SHA512,
    Signed.ECDSA_WITH_SHA256,
    Signed.ECDSA_WITH_SHA384,
    Signed.ECDSA_WITH_SHA512,
    Signed.RSASSA_PSS,
    Signed.ED25519,
}
_HASHES = ("sha256", "sha384", "sha512")
# Critical extensions that the native library handles; any other makes it refuse.
_CRITICAL = {
    ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
    ExtensionOID.SUBJECT_KEY_IDENTIFIER,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.CERTIFICATE_POLICIES,
    ExtensionOID.POLICY_MAPPINGS,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.NAME_CONSTRAINTS,
    ExtensionOID.POLICY_CONSTRAINTS,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.CRL_DISTRIBUTION_POINTS,
    ExtensionOID.INHIBIT_ANY_POLICY,
    ExtensionOID.AUTHORITY_INFORMATION_ACCESS,
}
_UNIQUE_IDS = (0x81, 0x82)  # RFC 5280, 4.1: [1] and [2] IMPLICIT BIT STRING
_REISSUE = "have the certificate issued anew"


def examine(certificate: Certificate, place: int, now: datetime) -> Iterator[Finding]:
    """What is wrong with one certificate of a chain.

    Args:
        certificate: the certificate.
        place: where it stands; 0 is the leaf.
        now: the time at which it has to be valid.
    """
    about = subject(certificate, place)
    yield from _any(certificate, about, now)
    try:
        _ = list(certificate.extensions)
    except Exception as failure:  # DuplicateExtension, ValueError
        yield _unreadable(failure, about)
        return
    yield from (_issuer if place else _leaf)(certificate, about)


def subject(certificate: Certificate, place: int) -> str:
    """How a finding names a certificate: its place and its subject."""
    return f"certificate {place + 1} ({chain.name(certificate)})"


def _any(certificate: Certificate, about: str, now: datetime) -> Iterator[Finding]:
    if certificate.version is not x509.Version.v3:
        yield error(
            "version",
            about,
            f"X.509 {certificate.version.name}",
            "v3: only that has extensions",
            f"{_REISSUE}; with openssl x509 give -extfile",
        )
    if certificate.serial_number <= 0:
        yield warning(
            "serial", about, "serial number 0 or less", "a positive one", _REISSUE
        )
    yield from _dates(certificate, about, now)
    if certificate.signature_algorithm_oid not in _SIGNATURES:
        yield error(
            "signature-algorithm",
            about,
            f"signed with {certificate.signature_algorithm_oid.dotted_string}",
            "RSA, RSA-PSS or ECDSA with SHA-256, -384 or -512, or Ed25519",
            _REISSUE,
        )
    elif certificate.signature_algorithm_oid == Signed.RSASSA_PSS:
        yield from _pss(certificate, about)
    if any(e.tag in _UNIQUE_IDS for e in _tbs(certificate)):
        yield error(
            "unique-id",
            about,
            "an issuerUniqueID or subjectUniqueID",
            "neither (RFC 5280, 4.1.2.8)",
            _REISSUE,
        )
    yield from _public_key(certificate, about)


def _pss(certificate: Certificate, about: str) -> Iterator[Finding]:
    """The library wants one of three hashes, and the same one in the mask (MGF1)."""
    try:
        digest = certificate.signature_hash_algorithm
        parameters = certificate.signature_algorithm_parameters
        mask = (
            parameters.mgf._algorithm if isinstance(parameters, padding.PSS) else None
        )
    except Exception:  # UnsupportedAlgorithm, ValueError
        digest = mask = None
    names = [one.name if one is not None else "none" for one in (digest, mask)]
    if names[0] not in _HASHES or names[0] != names[1]:
        yield error(
            "pss-parameters",
            about,
            f"signed with RSA-PSS, hash {names[0]} and MGF1 with {names[1]}",
            f"one of {', '.join(_HASHES)}, the same in both places",
            _REISSUE,
        )


def _dates(certificate: Certificate, about: str, now: datetime) -> Iterator[Finding]:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    found = f"valid from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"
    expected = f"one that is valid on {now:%Y-%m-%d %H:%M} UTC"
    if now > end:
        yield error("expired", about, found, expected, "renew it")
    elif now < start:
        action = "wait, or check the clock of this machine"
        yield error("not-yet-valid", about, found, expected, action)
    elif end - now < SOON < end - start:
        yield warning("expires-soon", about, found, "30 days or more", "renew it")


def _tbs(certificate: Certificate) -> list[der.Element]:
    try:
        return der.element(certificate.tbs_certificate_bytes).children()
    except der.Malformed:  # cryptography has read it, so this cannot be
        return []


def _public_key(certificate: Certificate, about: str) -> Iterator[Finding]:
    allowed = "P-256, P-384, P-521, Ed25519, or RSA of 2048 bits or more"
    action = "make a new key, and have a certificate issued for it"
    try:
        key = certificate.public_key()
    except Exception as failure:  # UnsupportedAlgorithm, ValueError: a broken point
        yield error("key-algorithm", about, f"a key that is {failure}", allowed, action)
        return
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < MIN_RSA_BITS:
            yield error("key-size", about, f"RSA, {key.key_size} bits", allowed, action)
        return
    try:
        algorithm_of(key)
    except KeyFileError as failure:
        found = str(failure).partition(" cannot sign")[0]
        yield error("key-algorithm", about, found, allowed, action)


def _unreadable(failure: Exception, about: str) -> Finding:
    if isinstance(failure, x509.DuplicateExtension):
        return error(
            "duplicate-extension",
            about,
            f"extension {failure.oid.dotted_string} twice",
            "every extension once (RFC 5280, 4.2)",
            _REISSUE,
        )
    return error(
        "extensions", about, f"one that cannot be read ({failure})", "DER", _REISSUE
    )


def _leaf(leaf: Certificate, about: str) -> Iterator[Finding]:
    basic = chain.extension(leaf, x509.BasicConstraints)
    if basic is not None and basic.ca:
        yield error(
            "ca-leaf",
            about,
            "CA:TRUE in BasicConstraints",
            "CA:FALSE in the certificate that signs claims",
            "put the leaf first, or have a leaf issued under this CA",
        )
    yield from _usage(leaf, about)
    yield from _purposes(leaf, about)
    if chain.extension(leaf, x509.AuthorityKeyIdentifier) is None:
        yield error(
            "no-authority-key-identifier",
            about,
            "no AuthorityKeyIdentifier",
            "one (RFC 5280, 4.2.1.1)",
            f"{_REISSUE}; with openssl: authorityKeyIdentifier=keyid",
        )
    if chain.extension(leaf, x509.SubjectKeyIdentifier) is None:
        yield warning(
            "no-subject-key-identifier",
            about,
            "no SubjectKeyIdentifier",
            "one: the C2PA certificate profile wants it",
            f"{_REISSUE}; with openssl: subjectKeyIdentifier=hash",
        )
    yield from _critical(leaf, about)
    yield from _names(leaf, about)
    life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    if life > MAX_LIFE:
        expected = f"at most {MAX_LIFE.days}: the C2PA certificate profile"
        yield warning("long-life", about, f"{life.days} days", expected, _REISSUE)


def _usage(leaf: Certificate, about: str) -> Iterator[Finding]:
    usage = chain.extension(leaf, x509.KeyUsage)
    expected = "a critical KeyUsage with digitalSignature"
    action = f"{_REISSUE}; with openssl: keyUsage=critical,digitalSignature"
    if usage is None:
        yield error("no-key-usage", about, "no KeyUsage", expected, action)
        return
    if not usage.digital_signature:
        found = "a KeyUsage without digitalSignature"
        yield error("key-usage", about, found, expected, action)
    if usage.key_cert_sign:
        found = "keyCertSign, which is for CAs"
        yield error("key-usage-of-a-ca", about, found, expected, action)
    if not leaf.extensions.get_extension_for_class(x509.KeyUsage).critical:
        found = "a KeyUsage that is not critical"
        yield warning("key-usage-not-critical", about, found, expected, action)


def _purposes(leaf: Certificate, about: str) -> Iterator[Finding]:
    wanted = ", ".join(p.dotted_string for p in chain.PURPOSES)
    expected = f"one of {wanted} (c2pa-kp-claimSigning, documentSigning, email)"
    line = f"extendedKeyUsage={chain.CLAIM_SIGNING.dotted_string},emailProtection"
    action = f"{_REISSUE}; with openssl: {line}"
    purposes = chain.extension(leaf, x509.ExtendedKeyUsage)
    if purposes is None:
        found = "no ExtendedKeyUsage"
        yield error("no-extended-key-usage", about, found, expected, action)
        return
    there = set(purposes)
    names = ", ".join(p.dotted_string for p in purposes)
    if ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in there:
        yield error("any-extended-key-usage", about, names, expected, action)
    elif not there & set(chain.PURPOSES):
        yield error("extended-key-usage", about, names, expected, action)
    elif there & {ExtendedKeyUsageOID.TIME_STAMPING, ExtendedKeyUsageOID.OCSP_SIGNING}:
        found = f"{names}: time-stamping or OCSP signing among others"
        yield error("mixed-extended-key-usage", about, found, expected, action)
    elif chain.CLAIM_SIGNING not in there:
        yield warning(
            "no-claim-signing",
            about,
            names,
            f"{chain.CLAIM_SIGNING.dotted_string} (c2pa-kp-claimSigning) too",
            "C2PA's conformance programme wants it: ask the authority",
        )


def _critical(leaf: Certificate, about: str) -> Iterator[Finding]:
    for extension in leaf.extensions:
        if extension.critical and extension.oid not in _CRITICAL:
            yield error(
                "unknown-critical-extension",
                about,
                f"{extension.oid.dotted_string} as critical",
                "no critical extension that verifiers do not know",
                _REISSUE,
            )


def _names(leaf: Certificate, about: str) -> Iterator[Finding]:
    if not chain.organisation(leaf):
        yield error(
            "no-organisation",
            about,
            "no O in the subject",
            "an O attribute: it is the name that people are shown",
            _REISSUE,
        )
    for attribute, text in ((NameOID.COUNTRY_NAME, "C"), (NameOID.COMMON_NAME, "CN")):
        if not leaf.subject.get_attributes_for_oid(attribute):
            expected = f"{text} too: the C2PA certificate profile"
            code = f"no-{'country' if text == 'C' else 'common-name'}"
            yield warning(code, about, f"no {text}", expected, _REISSUE)


def _issuer(issuer: Certificate, about: str) -> Iterator[Finding]:
    basic = chain.extension(issuer, x509.BasicConstraints)
    if basic is None or not basic.ca:
        yield error(
            "issuer-not-ca",
            about,
            "no CA:TRUE in BasicConstraints",
            "a CA behind the leaf",
            "take certificates out that issued nothing here",
        )
    usage = chain.extension(issuer, x509.KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        yield error(
            "issuer-key-usage",
            about,
            "a KeyUsage without keyCertSign",
            "keyCertSign in a CA",
            "have the CA's certificate issued anew",
        )
    if chain.extension(issuer, x509.SubjectKeyIdentifier) is None:
        yield warning(
            "issuer-no-subject-key-identifier",
            about,
            "no SubjectKeyIdentifier",
            "one in every CA (RFC 5280, 4.2.1.2)",
            "have the CA's certificate issued anew",
        )
