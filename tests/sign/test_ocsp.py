"""Revocation, asked of a local `openssl ocsp` and of responders that lie."""

import subprocess
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ocsp as rfc6960
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.sign.servers import OPENSSL, needs_openssl, reply, serving

from watermark.sign import chain
from watermark.sign.authority import Authority
from watermark.sign.ocsp import OcspError, read, status
from watermark.sign.signer import generate, private_pem

ACME = Authority.create("Acme")
STRANGER = Authority.create("Acme")
NOW = datetime.now(UTC)
LEAF = ACME.certify(generate("es256").public_key())
CHAIN = ACME.chain_pem(LEAF)
PURPOSE = [ExtendedKeyUsageOID.OCSP_SIGNING]
RESPONDER_KEY = ec.generate_private_key(ec.SECP256R1())


def responder(authority: Authority = ACME, **more: Any) -> x509.Certificate:
    given = {"role": "ocsp", "purposes": PURPOSE, **more}
    return authority.certify(RESPONDER_KEY.public_key(), **given)


def answered(
    *,
    leaf: x509.Certificate = LEAF,
    issuer: x509.Certificate = ACME.certificate,
    signer: x509.Certificate | None = None,
    state: rfc6960.OCSPCertStatus = rfc6960.OCSPCertStatus.GOOD,
    start: datetime = NOW - timedelta(hours=1),
    end: datetime | None = NOW + timedelta(hours=1),
    nonce: bytes | None = None,
) -> bytes:
    """A response of a delegated responder."""
    revoked = state is rfc6960.OCSPCertStatus.REVOKED
    builder = rfc6960.OCSPResponseBuilder().add_response(
        cert=leaf,
        issuer=issuer,
        algorithm=hashes.SHA256(),
        cert_status=state,
        this_update=start,
        next_update=end,
        revocation_time=NOW - timedelta(days=1) if revoked else None,
        revocation_reason=x509.ReasonFlags.key_compromise if revoked else None,
    )
    own = signer or responder()
    builder = builder.responder_id(rfc6960.OCSPResponderEncoding.HASH, own)
    builder = builder.certificates([own])
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    made = builder.sign(RESPONDER_KEY, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.DER)


def test_good_revoked_and_unknown_are_told_apart() -> None:
    good = read(answered(), LEAF, ACME.certificate)
    assert (good.state, good.revoked_at, good.reason) == ("good", None, None)

    gone = read(answered(state=rfc6960.OCSPCertStatus.REVOKED), LEAF, ACME.certificate)
    assert (gone.state, gone.reason) == ("revoked", "keyCompromise")
    assert gone.revoked_at is not None
    assert abs(gone.revoked_at - (NOW - timedelta(days=1))) < timedelta(seconds=2)

    unknown = answered(state=rfc6960.OCSPCertStatus.UNKNOWN)
    assert read(unknown, LEAF, ACME.certificate).state == "unknown"


OTHER = ACME.certify(generate("es256").public_key())
LIES: dict[str, tuple[str, dict[str, Any]]] = {
    "another certificate": ("about another certificate", {"leaf": OTHER}),
    "another issuer": (
        "about another certificate",
        {"issuer": STRANGER.certificate},
    ),
    "a stranger's responder": ("signed neither", {"signer": responder(STRANGER)}),
    "a leaf as responder": (
        "signed neither",
        {"signer": responder(purposes=chain.PURPOSES)},
    ),
    "an old answer": (
        "expected one for",
        {"start": NOW - timedelta(days=3), "end": NOW - timedelta(days=2)},
    ),
    "an old answer without an end": (
        "expected one for",
        {"start": NOW - timedelta(days=30), "end": None},
    ),
    "another nonce": ("another nonce", {"nonce": b"0" * 16}),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_an_error_and_never_good(lie: str) -> None:
    message, change = LIES[lie]
    with pytest.raises(OcspError, match=message):
        read(answered(**change), LEAF, ACME.certificate, nonce=b"1" * 16)


def test_a_changed_signature_and_junk_are_errors() -> None:
    whole = answered(state=rfc6960.OCSPCertStatus.REVOKED)
    for at in range(0, len(whole), 7):
        broken = bytearray(whole)
        broken[at] ^= 0xFF
        try:
            found = read(bytes(broken), LEAF, ACME.certificate)
        except OcspError:
            continue
        assert found.state == "revoked"  # what is not signed may change; this may not
    for junk in (b"", b"junk", whole[:-1]):
        with pytest.raises(OcspError):
            read(junk, LEAF, ACME.certificate)


def test_a_refusal_is_told() -> None:
    refusal = rfc6960.OCSPResponseBuilder.build_unsuccessful(
        rfc6960.OCSPResponseStatus.TRY_LATER
    )
    with pytest.raises(OcspError, match="TRY_LATER"):
        read(refusal.public_bytes(serialization.Encoding.DER), LEAF, ACME.certificate)


def test_nobody_is_asked_for_a_stranger() -> None:
    asked = []

    def answer(query: bytes, handler: BaseHTTPRequestHandler) -> None:
        asked.append(query)

    with serving(answer) as url:
        theirs = STRANGER.certify(generate("es256").public_key(), ocsp=url)
        with pytest.raises(OcspError, match="nobody is asked for a stranger"):
            status(STRANGER.chain_pem(theirs), ACME.root_pem)
    assert not asked


def test_a_certificate_cannot_make_us_ask_inside_this_network() -> None:
    asked = []

    def answer(query: bytes, handler: BaseHTTPRequestHandler) -> None:
        asked.append(query)

    with serving(answer) as url:
        leaf = ACME.certify(generate("es256").public_key(), ocsp=url)
        with pytest.raises(OcspError, match="not a public address"):
            status(ACME.chain_pem(leaf), ACME.root_pem)
    assert not asked


def test_a_leaf_without_a_responder() -> None:
    with pytest.raises(OcspError, match="names no OCSP responder"):
        status(CHAIN, ACME.root_pem)


def test_a_responder_that_is_down_or_slow() -> None:
    with pytest.raises(OcspError, match="gave no answer"):
        status(CHAIN, ACME.root_pem, responder="http://127.0.0.1:9/", seconds=1)
    with (
        serving(lambda query, handler: time.sleep(1)) as url,
        pytest.raises(OcspError, match=r"within 0\.2 seconds"),
    ):
        status(CHAIN, ACME.root_pem, responder=url, seconds=0.2)


def test_a_named_responder_is_asked() -> None:
    def answer(query: bytes, handler: BaseHTTPRequestHandler) -> None:
        asked = rfc6960.load_der_ocsp_request(query)
        nonce = asked.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce
        reply(handler, "application/ocsp-response", answered(nonce=nonce))

    with serving(answer) as url:
        assert status(CHAIN, ACME.root_pem, responder=url).state == "good"


@needs_openssl
@pytest.mark.parametrize("mark", ["V", "R"])
def test_openssl_answers(mark: str, tmp_path: Path) -> None:
    """`openssl ocsp` knows the leaf from its index file."""
    assert OPENSSL is not None
    ended = (LEAF.not_valid_after_utc).strftime("%y%m%d%H%M%SZ")
    gone = (NOW - timedelta(days=1)).strftime("%y%m%d%H%M%SZ,keyCompromise")
    serial = f"{LEAF.serial_number:X}"
    serial = serial.zfill(len(serial) + len(serial) % 2)
    row = (
        f"{mark}\t{ended}\t{gone if mark == 'R' else ''}\t{serial}\tunknown\t/CN=leaf\n"
    )
    (tmp_path / "index.txt").write_text(row)
    (tmp_path / "ca.pem").write_bytes(chain.pem([ACME.certificate]))
    (tmp_path / "own.pem").write_bytes(chain.pem([responder()]))
    (tmp_path / "key.pem").write_bytes(private_pem(RESPONDER_KEY))

    def answer(query: bytes, handler: BaseHTTPRequestHandler) -> None:
        (tmp_path / "q.der").write_bytes(query)
        subprocess.run(
            [
                *(OPENSSL, "ocsp", "-index", "index.txt", "-CA", "ca.pem"),
                *("-rsigner", "own.pem", "-rkey", "key.pem", "-ndays", "1"),
                *("-reqin", "q.der", "-respout", "r.der"),
            ],
            check=True,
            capture_output=True,
            cwd=tmp_path,
        )
        data = (tmp_path / "r.der").read_bytes()
        reply(handler, "application/ocsp-response", data)

    with serving(answer) as url:
        found = status(CHAIN, ACME.root_pem, responder=url)
    expected = {"V": ("good", None), "R": ("revoked", "keyCompromise")}[mark]
    assert (found.state, found.reason) == expected
