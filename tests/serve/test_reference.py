"""byReference fetches from hosts that were allowed, over TLS, and from nowhere else."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.serve.conftest import Provider, stripped
from tests.serve.running import Answer, Service, changed


class Host(NamedTuple):
    """A server with TLS on localhost, and what it was asked for."""

    name: str
    asked: list[str]
    content: list[bytes]


@pytest.fixture
def host(
    tmp_path: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Host]:
    asked: list[str] = []
    content = [stripped(provider.file)]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            if self.path == "/elsewhere":
                self.send_response(302)
                self.send_header("Location", "https://127.0.0.1/secret")
                self.end_headers()
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content[0])

        def log_message(self, *_: object) -> None:
            pass

    pem = tmp_path / "server.pem"
    pem.write_bytes(_certificate())
    # OpenSSL's own way to name trusted roots: the service trusts this server.
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Host(f"localhost:{server.server_port}", asked, content)
    server.shutdown()
    server.server_close()


def _certificate() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    names = [x509.DNSName("localhost")]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + made.public_bytes(pem)


def ask(service: Service, url: str, length: int = 1 << 20, **more: Any) -> Answer:
    body = {"referenceUrl": url, "assetLength": length, **more}
    return service.send("/matches/byReference", body)


def test_off_by_default(service: Service, host: Host) -> None:
    assert ask(service, f"https://{host.name}/a.png").status == 403
    assert host.asked == []


def test_an_allowed_host(service: Service, provider: Provider, host: Host) -> None:
    allowed = {"references": frozenset({host.name}), "private_references": True}
    with changed(service, **allowed):
        answer = ask(service, f"https://{host.name}/a.png")
        short = ask(service, f"https://{host.name}/a.png", 100)
        moved = ask(service, f"https://{host.name}/elsewhere")

    assert answer.json == {"matches": [{"manifestId": provider.manifest_id}]}
    assert (short.status, moved.status) == (400, 400)
    assert host.asked == ["/a.png", "/a.png", "/elsewhere"]  # no redirect followed


def test_what_has_no_detector(service: Service, host: Host) -> None:
    """The specification has no 415 on this route."""
    host.content[:] = [b"PK\3\4" + bytes(100)]
    allowed = {"references": frozenset({host.name}), "private_references": True}
    with changed(service, **allowed):
        assert ask(service, f"https://{host.name}/a.zip").status == 400
    assert service.settled() == 0


def test_what_is_fetched_has_a_budget(service: Service, host: Host) -> None:
    """It is held in memory as an upload is: there is room for it, or no request."""
    allowed = {"references": frozenset({host.name}), "private_references": True}
    size = service.state.settings.content
    budget = service.state.budget
    budget.take(size, "127.0.0.1")
    try:
        with changed(service, **allowed):
            first = ask(service, f"https://{host.name}/a", 1000)
            full = ask(service, f"https://{host.name}/a", size)
    finally:
        budget.give(size, "127.0.0.1")

    assert (first.status, full.status) == (400, 503)
    assert host.asked == ["/a"]


def test_an_allowed_name_at_a_private_address(service: Service, host: Host) -> None:
    """As a name does that is bound anew to an address within."""
    with changed(service, references=frozenset({host.name})):
        answer = ask(service, f"https://{host.name}/a.png")

    assert answer.status == 400
    assert host.asked == []


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("https://{}@evil.example/a", 403),
        ("https://{}.evil.example/a", 403),
        ("https://evil.example/{}", 403),
        ("https://user@{}/a", 403),
        ("https://{}./a", 403),
        ("https://[::1]/a", 403),
        ("https://[/a", 403),
        ("http://{}/a", 400),
        ("file:///etc/passwd", 400),
        ("gopher://{}/a", 400),
        ("", 400),
    ],
)
def test_what_is_not_quite_that_host(
    service: Service, host: Host, url: str, status: int
) -> None:
    allowed = {"references": frozenset({host.name}), "private_references": True}
    with changed(service, **allowed):
        assert ask(service, url.format(host.name)).status == status
    assert host.asked == []


def test_more_than_is_taken(service: Service, host: Host) -> None:
    allowed = {"references": frozenset({host.name}), "private_references": True}
    with changed(service, **allowed):
        assert ask(service, f"https://{host.name}/a", 1 << 40).status == 400
        assert ask(service, f"https://{host.name}/a", 0).status == 400
    assert host.asked == []
