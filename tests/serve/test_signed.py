"""Signed reports: who signed what, when; and every change of them is seen."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from watermark.errors import VerificationError
from watermark.serve import signed
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
    assert payload["detector"]["name"] == "watermark-sdk"
    assert payload["time"].endswith("Z")


def test_a_stranger_is_not_trusted(jws: str, tmp_path: Path) -> None:
    other = Credential.create_dev(tmp_path / "other", "Acme")
    with pytest.raises(VerificationError, match="leads to none"):
        signed.verify(jws, anchors=other.root_pem or b"")


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
