"""One request with limits: where it may go, and how long it may take."""

import contextlib
import time
from http.server import BaseHTTPRequestHandler

import pytest
from tests.sign.servers import reply, serving

from watermark.sign.fetching import Refused, TooSlow, Unreachable, exchange

LIMIT = 1000


def get(url: str, seconds: float = 5, public_only: bool = False) -> bytes:
    return exchange(url, limit=LIMIT, seconds=seconds, public_only=public_only)


def test_an_answer_is_given_whole() -> None:
    with serving(lambda body, to: reply(to, "text/plain", b"x" * LIMIT)) as url:
        assert get(url) == b"x" * LIMIT


def test_what_is_posted_arrives() -> None:
    asked = []

    def answer(body: bytes, handler: BaseHTTPRequestHandler) -> None:
        asked.append((body, handler.headers["Content-Type"], handler.path))
        reply(handler, "text/plain", b"ok")

    with serving(answer) as url:
        exchange(f"{url}a?b=c", body=b"q", content_type="a/b", limit=9, seconds=5)
    assert asked == [(b"q", "a/b", "/a?b=c")]


def test_one_byte_too_many_is_refused() -> None:
    with (
        serving(lambda body, to: reply(to, "text/plain", b"x" * (LIMIT + 1))) as url,
        pytest.raises(Refused, match="more than 1000 bytes"),
    ):
        get(url)


def test_a_chunk_of_less_than_nothing_is_not_read_without_end() -> None:
    sent = 0

    def flood(body: bytes, handler: BaseHTTPRequestHandler) -> None:
        nonlocal sent
        handler.protocol_version = "HTTP/1.1"
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"-1\r\n")
        with contextlib.suppress(OSError):
            for _ in range(64):
                sent += handler.wfile.write(bytes(1 << 20))

    with serving(flood) as url, pytest.raises(Unreachable, match="more than"):
        get(url)
    assert sent < 32 << 20


def test_an_answer_that_is_cut_is_told() -> None:
    def cut(body: bytes, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "900")
        handler.end_headers()
        handler.wfile.write(b"x" * 10)

    with serving(cut) as url, pytest.raises(Unreachable, match="missing"):
        get(url)


def test_a_body_that_drips_ends_at_the_deadline() -> None:
    def drip(body: bytes, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(400):
            handler.wfile.write(b"x")
            time.sleep(0.05)

    start = time.monotonic()
    with serving(drip) as url, pytest.raises(TooSlow):
        get(url, seconds=0.3)
    assert time.monotonic() - start < 8  # of the 20 seconds that it would drip


INSIDE = (
    "127.0.0.1",
    "[::1]",
    "0.0.0.0",
    "10.0.0.1",
    "192.168.1.1",
    "169.254.169.254",  # where clouds keep secrets
    "[::ffff:127.0.0.1]",
    "[fe80::1]",
    "[64:ff9b::a00:1]",  # 10.0.0.1 by NAT64
    "[::a00:1]",  # 10.0.0.1 as it was written of old
    "[fec0::1]",  # site-local
    "[ff0e::1]",  # multicast
    "224.0.1.1",
    "[2002:7f00:1::]",  # 127.0.0.1 by 6to4
    "localhost",
)


@pytest.mark.parametrize("host", INSIDE)
def test_no_address_inside_this_network_is_asked_for_a_stranger(host: str) -> None:
    with pytest.raises(Refused, match="not a public address"):
        get(f"http://{host}:9/", public_only=True)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org",
        "file:///etc/passwd",
        "http://",
        "http://[::1",
        "http://host:port/",
        "http://user:secret@host/",
        "http://host/a b",
        "http://host/\r\nX: y",
        "http://höst/",
        "http://host/" + "a" * 3000,
    ],
)
def test_a_strange_url_is_refused_before_anything_is_asked(url: str) -> None:
    with pytest.raises(Refused) as caught:
        get(url)
    assert "secret" not in str(caught.value)
    assert caught.value.status == 0


def test_junk_instead_of_http_is_typed() -> None:
    def junk(body: bytes, handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"\0\xff" * 50 + b"\r\n\r\n")

    with serving(junk) as url, pytest.raises(Unreachable):
        get(url)
