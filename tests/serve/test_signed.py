"""Signed reports: who signed what, when; and every change of them is seen."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID as PURPOSES  # noqa: N814

from watermark.errors import VerificationError
from watermark.serve import signed
from watermark.sign import chain
from watermark.sign.authority import Authority
from watermark.sign.credential import Credential

REPORT = {"schema": "watermark.publicreport/1", "verdict": "MARKED"}
DIGEST = hashlib.sha256(b"content").hexdigest()


@pytest.fixture(scope="module")
def credential(tmp_path_factory: pytest.TempPathFactory) -> Credential:
    return Credential.create_dev(tmp_path_factory.mktemp("c") / "c", "Acme")


@pytest.fixture(scope="module")
def jws(credential: Credential) -> str:
    return signed.sign(REPORT, sha256=DIGEST, size=7, credential=credential)


@pytest.mark.parametrize("algorithm", ["es256", "es384", "es512", "ps256", "ed25519"])
def test_round_trip(tmp_path: Path, algorithm: str) -> None:
    made = Credential.create_dev(tmp_path / "c", "Acme", algorithm=algorithm)
    jws = signed.sign(REPORT, sha256=DIGEST, size=7, credential=made)
    payload = signed.verify(jws, anchors=made.root_pem or b"")

    assert payload["report"] == REPORT
    assert (payload["sha256"], payload["bytes"]) == (DIGEST, 7)
    assert payload["signer"] == "Acme"
    assert payload["detector"]["name"] == "watermark-sdk"
    assert payload["time"].endswith("Z")


def test_a_stranger_is_not_trusted(jws: str, tmp_path: Path) -> None:
    other = Credential.create_dev(tmp_path / "other", "Acme")
    with pytest.raises(VerificationError, match="leads to none"):
        signed.verify(jws, anchors=other.root_pem or b"")


@pytest.mark.parametrize("purpose", [PURPOSES.SERVER_AUTH, PURPOSES.TIME_STAMPING])
def test_another_certificate_under_the_same_root(
    credential: Credential, jws: str, purpose: x509.ObjectIdentifier
) -> None:
    """Whoever runs a web server of that company is not its detector."""
    authority = Authority.create("Acme")
    key = ec.generate_private_key(ec.SECP256R1())
    for purposes, good in ([purpose], False), ([*chain.PURPOSES], True):
        leaf = authority.certify(key.public_key(), purposes=purposes)
        certificates = [leaf, authority.certificate]
        header = {
            **decoded(jws.split(".")[0]),
            "x5c": [
                base64.b64encode(each.public_bytes(Encoding.DER)).decode()
                for each in certificates
            ],
        }
        message = f"{encoded(header)}.{jws.split('.')[1]}"
        der = key.sign(message.encode(), ec.ECDSA(hashes.SHA256()))
        joined = signed._joined(der, 32)
        text = base64.urlsafe_b64encode(joined).rstrip(b"=").decode()
        if good:
            assert signed.verify(f"{message}.{text}", anchors=authority.root_pem)
        else:
            with pytest.raises(VerificationError, match="purposes"):
                signed.verify(f"{message}.{text}", anchors=authority.root_pem)


def test_a_key_that_is_not_known(credential: Credential, jws: str) -> None:
    """An error of ours, whatever the certificate has for a key."""
    der = base64.b64decode(decoded(jws.split(".")[0])["x5c"][0])
    curve = bytes.fromhex("06082a8648ce3d030107")  # of the key, prime256v1
    assert curve in der
    for other in (
        bytes.fromhex("06082a8648ce3d030101"),
        bytes.fromhex("0608") + b"\1" * 8,
    ):
        odd = base64.b64encode(der.replace(curve, other)).decode()
        with pytest.raises(VerificationError):
            signed.verify(changed(jws, x5c=[odd]), anchors=credential.root_pem or b"")


def encoded(value: Any) -> str:
    data = json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(part: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def changed(jws: str, **header: Any) -> str:
    head, payload, signature = jws.split(".")
    return f"{encoded({**decoded(head), **header})}.{payload}.{signature}"


@pytest.mark.parametrize(
    "name",
    ["payload", "alg-none", "alg-hmac", "alg-other", "crit", "typ", "x5c", "cut", ""],
)
def test_a_change_is_seen(credential: Credential, jws: str, name: str) -> None:
    head, payload, signature = jws.split(".")
    other = encoded({**decoded(payload), "report": {"verdict": "NO_EVIDENCE"}})
    bad = {
        "payload": f"{head}.{other}.{signature}",
        "alg-none": changed(jws, alg="none")[: -len(signature)],
        "alg-hmac": changed(jws, alg="HS256"),
        "alg-other": changed(jws, alg="ES384"),
        "crit": changed(jws, crit=["exp"]),
        "typ": changed(jws, typ="JWT"),
        "x5c": changed(jws, x5c=[]),
        "cut": jws[:-3],
        "": "",
    }[name]

    assert signed.verify(jws, anchors=credential.root_pem or b"")
    with pytest.raises(VerificationError):
        signed.verify(bad, anchors=credential.root_pem or b"")


@pytest.mark.parametrize(
    "bad", ["..", "a.b.c", "e30.e30.e30", "." * 10, "\ud800.\ud800.", "W10.W10.W10"]
)
def test_hostile_ones_are_refused(credential: Credential, bad: str) -> None:
    with pytest.raises(VerificationError):
        signed.verify(bad, anchors=credential.root_pem or b"")
