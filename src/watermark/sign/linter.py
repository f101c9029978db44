"""A linter for certificates, because the native library says one thing for all.

For a missing AKI, a missing key usage, a CA as leaf or a reversed chain the library's
answer is the same "the certificate is invalid". Here each cause has a code, what was
found, what was expected, and what to do. An ``error`` is what the library refuses, or
what no verifier can make sense of; a ``warning`` is what it signs with, and what makes
strangers distrust the signature. `watermark.sign.profile` looks at each certificate,
this module at the file, the order, the key and the way to an anchor.

>>> print(*(finding.code for finding in lint(b"")))
parse
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from cryptography import x509

from watermark.errors import KeyFileError, SigningError
from watermark.sign import chain, profile
from watermark.sign.findings import Finding, error, warning
from watermark.sign.signer import OLD_FORMAT, FileSigner, spki

Certificate = x509.Certificate

_PEM_LABEL = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----")
_PKCS8 = "openssl pkcs8 -topk8 -in key.pem -out key-pkcs8.pem"


def lint(
    chain_pem: bytes,
    *,
    key_pem: bytes | None = None,
    passphrase: str | None = None,
    anchors: bytes | None = None,
    now: datetime | None = None,
) -> list[Finding]:
    """Everything that is wrong with a chain, errors first.

    Args:
        chain_pem: the certificates, leaf first.
        key_pem: the leaf's private key, to see whether it is the right one.
        passphrase: of the key.
        anchors: certificates (PEM) that verifiers trust, to see whether the chain gets
            to one of them.
        now: the time at which the certificates have to be valid, by default now.

    Raises:
        ValueError: `anchors` are not PEM certificates.
    """
    found = list(_file(chain_pem))
    try:
        certificates = chain.load(chain_pem)
    except chain.Unreadable as failure:
        if not found:
            action = "give the PEM file that the certificate authority sent"
            found.append(
                error("parse", "the file", failure.found, failure.expected, action)
            )
        return found
    found += examine(certificates, now)
    if key_pem is not None:
        found += _private_key(key_pem, passphrase, certificates[0])
    if anchors is not None:
        found += _anchored(certificates, anchors, now)
    return sorted(found, key=lambda finding: finding.level != "error")


def check(certificates: Sequence[Certificate], now: datetime | None = None) -> None:
    """Return if the chain can sign C2PA claims now.

    Raises:
        SigningError: the first error that `lint` would tell, and how many more.
    """
    errors = [f for f in examine(certificates, now) if f.level == "error"]
    if errors:
        more = f" ({len(errors) - 1} more: see wm keys lint)" if errors[1:] else ""
        raise SigningError(f"{errors[0]}{more}")


def examine(
    certificates: Sequence[Certificate], now: datetime | None = None
) -> Iterator[Finding]:
    """What is wrong with certificates that could be read; at least one, leaf first."""
    when = now or datetime.now(UTC)
    yield from _order(certificates)
    for place, certificate in enumerate(certificates):
        yield from profile.examine(certificate, place, when)


def _file(chain_pem: bytes) -> Iterator[Finding]:
    labels = [label.decode() for label in _PEM_LABEL.findall(chain_pem)]
    for label in labels:
        if label.endswith("PRIVATE KEY"):
            yield error(
                "private-key-in-chain",
                "the file",
                f"a {label}",
                "certificates only: the chain goes into every signed file",
                "keep the key in a file of its own, and replace it if this was shared",
            )
    if chain_pem[:1] == b"\x30" and not labels:
        yield error(
            "not-pem",
            "the file",
            "DER",
            "PEM",
            "openssl x509 -inform DER -in FILE -out chain.pem (or openssl pkcs7 / "
            "pkcs12 for such a bundle)",
        )
    if "PKCS7" in labels:
        yield error(
            "not-pem",
            "the file",
            "a PKCS#7 bundle",
            "certificates in PEM",
            "openssl pkcs7 -print_certs -in FILE -out chain.pem",
        )


def _order(certificates: Sequence[Certificate]) -> Iterator[Finding]:
    leaf, top = certificates[0], certificates[-1]
    linked = [chain.issued_by(a, b) for a, b in itertools.pairwise(certificates)]
    backwards = [chain.issued_by(b, a) for a, b in itertools.pairwise(certificates)]
    if backwards and all(backwards) and not all(linked):
        yield error(
            "reversed",
            "the chain",
            f"{chain.name(leaf)} first, which issued the next one",
            "the leaf first and each certificate followed by its issuer",
            "reverse the order of the certificates in the file",
        )
        return
    for place, good in enumerate(linked):
        if not good:
            yield error(
                "order",
                profile.subject(certificates[place], place),
                f"not issued by the next one, {chain.name(certificates[place + 1])}",
                f"its issuer next: {certificates[place].issuer.rfc4514_string()[:200]}",
                "put the certificates in order, and leave others out",
            )
    if len(certificates) == 1 and chain.issued_by(leaf, leaf):
        yield warning(
            "self-signed",
            profile.subject(leaf, 0),
            "a certificate that vouches for itself",
            "one that a certificate authority issued",
            "no stranger can trust it: use `wm keys dev-ca` for tests, and a C2PA "
            "authority for publishing",
        )
    elif len(certificates) == 1:
        yield warning(
            "no-issuer",
            "the chain",
            "the leaf alone",
            f"its issuer too: {top.issuer.rfc4514_string()[:200]}",
            "append the intermediate certificates that the authority gave you; "
            "without them only those who trust the issuer itself trust the leaf",
        )


def _private_key(
    key_pem: bytes, passphrase: str | None, leaf: Certificate
) -> Iterator[Finding]:
    try:
        signer = FileSigner(key_pem, passphrase)
    except KeyFileError as failure:
        code = "not-pkcs8" if OLD_FORMAT.search(key_pem) else "private-key"
        expected = "the leaf's own key, as PKCS#8 PEM"
        action = f"give it so, or convert it: {_PKCS8}"
        yield error(code, "the key", str(failure), expected, action)
        return
    try:
        same = spki(leaf.public_key()) == signer.public_bytes
    except Exception:  # a key in the leaf that cryptography does not know
        same = False
    if not same:
        yield error(
            "mismatched-key",
            "the key",
            "another key than that of the first certificate",
            "the leaf first, and the key that it was issued for",
            "look for the key that the certificate request was made with",
        )


def _anchored(
    certificates: Sequence[Certificate], anchors: bytes, now: datetime | None
) -> Iterator[Finding]:
    trusted = x509.load_pem_x509_certificates(anchors) if anchors.strip() else []
    if chain.path(certificates[0], certificates[1:], trusted, now) is None:
        yield warning(
            "not-anchored",
            "the chain",
            f"a chain that ends at {certificates[-1].issuer.rfc4514_string()[:200]}",
            f"one that leads to one of the {len(trusted)} certificates trusted here",
            "verifiers with that list will say `valid` and not `trusted`",
        )
