"""Local servers: an RFC 3161 authority of `openssl ts`, one that lies, and bad ones."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from watermark.sign import chain, der
from watermark.sign.authority import Authority
from watermark.sign.signer import generate, private_pem

OPENSSL = shutil.which("openssl")
needs_openssl = pytest.mark.skipif(not OPENSSL, reason="openssl is not installed")

TS_FILES = ["-config", "ts.cnf", "-queryfile", "q.tsq", "-out", "r.tsr"]
STAMPING = [ExtendedKeyUsageOID.TIME_STAMPING]
Answer = Callable[[bytes, BaseHTTPRequestHandler], None]


@contextlib.contextmanager
def serving(answer: Answer) -> Iterator[str]:
    """A server on this machine whose every request goes to `answer`; gives its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            with contextlib.suppress(OSError):  # the client has hung up
                answer(self.rfile.read(length), self)

        def do_GET(self) -> None:
            with contextlib.suppress(OSError):
                answer(b"", self)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def reply(handler: BaseHTTPRequestHandler, kind: str, data: bytes) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


def stamped(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    reply(handler, "application/timestamp-reply", data)


class OpenSslTsa:
    """`openssl ts -reply` under a development authority."""

    def __init__(
        self,
        folder: Path,
        authority: Authority,
        algorithm: str = "es256",
        *,
        ess: str = "sha256",
        whole_chain: bool = False,
    ) -> None:
        key = generate(algorithm)
        leaf = authority.certify(
            key.public_key(), role="time-stamping", purposes=STAMPING, critical=True
        )
        self.anchors = authority.root_pem
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "key.pem").write_bytes(private_pem(key))
        (folder / "leaf.pem").write_bytes(chain.pem([leaf]))
        above = chain.pem([authority.certificate, authority.root])
        (folder / "above.pem").write_bytes(above)
        (folder / "serial").write_text("01")
        (folder / "ts.cnf").write_text(
            f"""[tsa]
default_tsa = here
[here]
serial = {folder}/serial
signer_cert = {folder}/leaf.pem
certs = {folder}/above.pem
signer_key = {folder}/key.pem
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1
ess_cert_id_chain = {"yes" if whole_chain else "no"}
ess_cert_id_alg = {ess}
"""
        )
        self._lock = threading.Lock()

    def answer(self, query: bytes) -> bytes:
        assert OPENSSL is not None
        with self._lock:
            (self._folder / "q.tsq").write_bytes(query)
            subprocess.run(
                [OPENSSL, "ts", "-reply", *TS_FILES],
                check=True,
                capture_output=True,
                cwd=self._folder,
            )
            return (self._folder / "r.tsr").read_bytes()

    def __call__(self, query: bytes, handler: BaseHTTPRequestHandler) -> None:
        stamped(handler, self.answer(query))


class PlainTsa:
    """The same in Python, so that each part of the answer can be a lie."""

    def __init__(self, authority: Authority, **leaf: Any) -> None:
        given = {"role": "tsa", "purposes": STAMPING, "critical": True, **leaf}
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = authority.certify(self.key.public_key(), **given)
        self.authority = authority
        self.time: datetime | None = None
        self.nonce: int | None = None
        self.digest: bytes | None = None
        self.status = 0
        self.named: x509.Certificate | None = None
        self.signed_twice = False
        self.more: list[x509.Certificate] = []

    def answer(self, query: bytes) -> bytes:
        _, imprint, nonce, _ = der.element(query).children()
        digest = self.digest or imprint.children()[1].content
        info = self._info(digest, self.nonce or der.number(nonce))
        status = der.encode(der.SEQUENCE, der.integer(self.status))
        return der.encode(der.SEQUENCE, status, self._token(info))

    def __call__(self, query: bytes, handler: BaseHTTPRequestHandler) -> None:
        stamped(handler, self.answer(query))

    def _info(self, digest: bytes, nonce: int) -> bytes:
        when = self.time or datetime.now(UTC)
        text = when.strftime("%Y%m%d%H%M%SZ").encode()
        algorithm = der.encode(der.SEQUENCE, der.oid("2.16.840.1.101.3.4.2.1"))
        return der.encode(
            der.SEQUENCE,
            der.integer(1),
            der.oid("1.2.3.4"),
            der.encode(der.SEQUENCE, algorithm, der.encode(der.OCTET_STRING, digest)),
            der.integer(7),
            der.encode(der.GENERALIZED_TIME, text),
            der.integer(nonce),
        )

    def _token(self, info: bytes) -> bytes:
        named = self.named or self.certificate
        sha256 = der.encode(der.SEQUENCE, der.oid("2.16.840.1.101.3.4.2.1"))
        ess = der.encode(
            der.SEQUENCE,
            der.encode(
                der.SEQUENCE,
                der.encode(
                    der.SEQUENCE,
                    der.encode(der.OCTET_STRING, named.fingerprint(hashes.SHA256())),
                ),
            ),
        )
        hashed = hashes.Hash(hashes.SHA256())
        hashed.update(b"other" if self.signed_twice else info)
        attributes = b"".join(
            der.encode(der.SEQUENCE, der.oid(kind), der.encode(der.SET, value))
            for kind, value in (
                ("1.2.840.113549.1.9.3", der.oid("1.2.840.113549.1.9.16.1.4")),
                (
                    "1.2.840.113549.1.9.4",
                    der.encode(der.OCTET_STRING, hashed.finalize()),
                ),
                ("1.2.840.113549.1.9.16.2.47", ess),
            )
        )
        signature = self.key.sign(
            der.encode(der.SET, attributes), ec.ECDSA(hashes.SHA256())
        )
        issuer = self.certificate.issuer.public_bytes()
        signer = der.encode(
            der.SEQUENCE,
            der.integer(1),
            der.encode(
                der.SEQUENCE, issuer, der.integer(self.certificate.serial_number)
            ),
            sha256,
            der.encode(0xA0, attributes),
            der.encode(der.SEQUENCE, der.oid("1.2.840.10045.4.3.2")),
            der.encode(der.OCTET_STRING, signature),
        )
        pool = [self.certificate, self.authority.certificate, *self.more]
        certificates = b"".join(c.public_bytes(Encoding.DER) for c in pool)
        content = der.encode(
            der.SEQUENCE,
            der.oid("1.2.840.113549.1.9.16.1.4"),
            der.encode(0xA0, der.encode(der.OCTET_STRING, info)),
        )
        data = der.encode(
            der.SEQUENCE,
            der.integer(3),
            der.encode(der.SET, sha256),
            content,
            der.encode(0xA0, certificates),
            der.encode(der.SET, signer),
        )
        return der.encode(
            der.SEQUENCE, der.oid("1.2.840.113549.1.7.2"), der.encode(0xA0, data)
        )
