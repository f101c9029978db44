"""Trust lists are dated files; nothing but an explicit command fetches one."""

import hashlib
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.sign.pki import MIDDLE, MIDDLE_CERT, ROOT_CERT, Plan, authority, pkcs8

from watermark.sign import chain, trust
from watermark.sign.fetching import FetchError, Refused, TooSlow, Unreachable
from watermark.sign.trust import TrustListError

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=40)
OTHER = authority("other").made()
ONE = chain.pem([ROOT_CERT])
TWO = chain.pem([ROOT_CERT, OTHER])


def test_the_newest_list_counts_and_the_older_stays(tmp_path: Path) -> None:
    first = trust.update(tmp_path, "manifest", ONE, source="list.pem", now=NOW)
    second = trust.update(tmp_path, "manifest", TWO, source="list.pem", now=LATER)

    assert first.added == ("CN=root,O=Acme,C=ZZ",)
    assert (second.added, second.removed) == (("CN=other,O=Acme,C=ZZ",), ())
    assert trust.anchors(tmp_path, "manifest") == TWO
    assert [one.taken_at for one in trust.history(tmp_path, "manifest")] == [NOW, LATER]
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "manifest-20261123T120000Z.pem",
        "manifest-20270102T120000Z.pem",
    ]


def test_what_is_removed_is_told(tmp_path: Path) -> None:
    trust.update(tmp_path, "manifest", TWO, source="a", now=NOW)
    done = trust.update(tmp_path, "manifest", ONE, source="b", now=LATER)

    assert (done.added, done.removed) == ((), ("CN=other,O=Acme,C=ZZ",))
    assert trust.anchors(tmp_path, "manifest") == ONE


def test_kinds_are_kept_apart(tmp_path: Path) -> None:
    trust.update(tmp_path, "tsa", ONE, source="a", now=NOW)

    assert trust.anchors(tmp_path, "tsa") == ONE
    assert trust.anchors(tmp_path, "manifest") == b""
    assert trust.current(tmp_path, "manifest") is None
    assert trust.history(tmp_path / "none", "tsa") == []


def test_a_list_says_where_and_when_it_was_taken(tmp_path: Path) -> None:
    source = "https://example.org/list\n# sha256: 0"
    trust.update(tmp_path, "tsa", TWO + ONE, source=source, now=NOW)
    found = trust.current(tmp_path, "tsa")

    assert found is not None
    assert (found.kind, found.taken_at) == ("tsa", NOW)
    assert found.source == "https://example.org/list?# sha256: 0"
    assert len(found.certificates) == 2  # each once
    assert found.expired(NOW) == []
    assert len(found.expired(NOW + timedelta(days=9000))) == 2


def test_the_publishers_digest_is_compared(tmp_path: Path) -> None:
    right = hashlib.sha256(ONE).hexdigest().upper()
    trust.update(tmp_path, "tsa", ONE, source="a", digest=right, now=NOW)
    with pytest.raises(TrustListError, match="changed on the way"):
        trust.update(tmp_path, "tsa", TWO, source="a", digest=right, now=LATER)
    assert trust.anchors(tmp_path, "tsa") == ONE


LEAF = chain.pem([Plan().made(MIDDLE)])


@pytest.mark.parametrize(
    ("pem", "message"),
    [
        (b"", "no readable certificate"),
        (b"<html>not found</html>", "no readable certificate"),
        (ONE + LEAF, r"certificate 2 \(CN=leaf.*is no CA"),
        (ONE + pkcs8(MIDDLE.key), "a private key found"),
        (b"#" * (chain.MAX_LIST_BYTES + 1), "bytes; expected at most"),
    ],
)
def test_what_is_no_list_is_refused_and_the_old_one_counts(
    pem: bytes, message: str, tmp_path: Path
) -> None:
    trust.update(tmp_path, "manifest", ONE, source="a", now=NOW)
    with pytest.raises(TrustListError, match=message):
        trust.update(tmp_path, "manifest", pem, source="b", now=LATER)
    assert trust.anchors(tmp_path, "manifest") == ONE


def test_an_intermediate_may_be_an_anchor(tmp_path: Path) -> None:
    pem = chain.pem([MIDDLE_CERT])
    trust.update(tmp_path, "manifest", pem, source="a", now=NOW)

    assert trust.anchors(tmp_path, "manifest") == pem


def test_a_list_is_never_older_than_the_one_before(tmp_path: Path) -> None:
    trust.update(tmp_path, "manifest", ONE, source="a", now=LATER)
    with pytest.raises(TrustListError, match="clock"):
        trust.update(tmp_path, "manifest", TWO, source="a", now=NOW)


@pytest.mark.parametrize("damage", [b"", b"junk", TWO])
def test_a_damaged_file_is_an_error_and_not_an_empty_list(
    damage: bytes, tmp_path: Path
) -> None:
    path = trust.update(tmp_path, "manifest", ONE, source="a", now=NOW).new.path
    path.write_bytes(damage)
    with pytest.raises(TrustListError, match="is damaged"):
        trust.anchors(tmp_path, "manifest")


def test_an_added_certificate_is_noticed(tmp_path: Path) -> None:
    path = trust.update(tmp_path, "manifest", ONE, source="a", now=NOW).new.path
    path.write_bytes(path.read_bytes() + chain.pem([OTHER]))
    with pytest.raises(TrustListError, match="is damaged"):
        trust.anchors(tmp_path, "manifest")


def test_other_files_are_not_lists(tmp_path: Path) -> None:
    (tmp_path / "manifest-old.pem").write_bytes(ONE)

    assert trust.current(tmp_path, "manifest") is None


# Fetching

ANSWERS: dict[str, bytes] = {"/list.pem": TWO, "/large": b"x" * (1 << 23)}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/away":
            self.send_response(301)
            self.send_header("Location", "/list.pem")
            self.end_headers()
            return
        if self.path == "/slow":
            threading.Event().wait(1)
        data = ANSWERS.get(self.path)
        self.send_response(200 if data else 404)
        self.end_headers()
        self.wfile.write(data or b"")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """An https server here, and the file with the root of its certificate."""
    folder = tmp_path_factory.mktemp("https")
    here = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    names = (x509.SubjectAlternativeName([here]), False)
    plan = Plan(purposes=(ExtendedKeyUsageOID.SERVER_AUTH,), more=(names,))
    (folder / "chain.pem").write_bytes(chain.pem([plan.made(MIDDLE), MIDDLE_CERT]))
    (folder / "key.pem").write_bytes(pkcs8(plan.key))
    (folder / "root.pem").write_bytes(ONE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "chain.pem", folder / "key.pem")
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.socket = context.wrap_socket(made.socket, server_side=True)
    made.handle_error = lambda *_: None  # type: ignore[method-assign]  # hung up
    thread = threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{made.server_address[1]}", folder / "root.pem"
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.fixture
def url(server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> str:
    """Its URL, where its certificate is believed."""
    monkeypatch.setenv("SSL_CERT_FILE", str(server[1]))
    return server[0]


def test_a_list_is_fetched(url: str, tmp_path: Path) -> None:
    pem = trust.fetch(f"{url}/list.pem")
    trust.update(tmp_path, "manifest", pem, source=url, now=NOW)

    assert trust.anchors(tmp_path, "manifest") == TWO


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("/none", Refused, "answered 404"),
        ("/away", Refused, "redirects are not followed"),
        ("/large", Refused, "more than 4194304 bytes"),
        ("/slow", TooSlow, "within"),
    ],
)
def test_what_cannot_be_fetched_is_told(
    path: str, error: type[FetchError], message: str, url: str
) -> None:
    with pytest.raises(error, match=message):
        trust.fetch(url + path, seconds=0.5)


def test_a_server_without_a_good_certificate_is_not_believed(
    server: tuple[str, Path],
) -> None:
    with pytest.raises(Unreachable, match="CERTIFICATE_VERIFY_FAILED"):
        trust.fetch(f"{server[0]}/list.pem")


@pytest.mark.parametrize("address", ["http://example.org/x", "file:///x", "ftp://x/y"])
def test_only_https_is_fetched(address: str) -> None:
    with pytest.raises(Refused, match="https://"):
        trust.fetch(address)
