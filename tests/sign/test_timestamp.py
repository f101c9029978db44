"""Time-stamps from a local authority; one that is down, slow or lying is told apart."""

import random
import socket
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from tests.sign.servers import (
    OPENSSL,
    OpenSslTsa,
    PlainTsa,
    needs_openssl,
    reply,
    serving,
    stamped,
)

from watermark.errors import KeyFileError, SigningError, StoreError
from watermark.sign import chain, der, timestamp
from watermark.sign.authority import Authority
from watermark.sign.stamping import Deferred, Slow, TimeStamper, Unavailable
from watermark.sign.timestamp import Refusal, TimestampError, Untrustworthy

ACME = Authority.create("Acme")
STRANGER = Authority.create("Acme")  # the same name, another authority
ROOTS = chain.load(ACME.root_pem)
MESSAGE = b"the claim signature"
DIGEST = timestamp.imprint(MESSAGE)


def stamper(*urls: str, **more: Any) -> TimeStamper:
    given = {"anchors": ACME.root_pem, "seconds": 5, "pause": 0.01, **more}
    return TimeStamper(urls, **given)


def closed() -> str:
    """A URL where nobody listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{one.getsockname()[1]}/"


@needs_openssl
def test_openssl_stamps_and_is_believed(tmp_path: Path) -> None:
    with serving(OpenSslTsa(tmp_path, ACME)) as url:
        found = stamper(url).stamp(MESSAGE)

    assert found.authority == "Acme"
    assert found.policy == "1.2.3.4.1"
    assert found.serial >= 1
    assert abs(found.time - datetime.now(UTC)) < timedelta(seconds=30)
    assert timestamp.verify(found.token, DIGEST, ROOTS) == found


@needs_openssl
@pytest.mark.parametrize("whole_chain", [False, True])
@pytest.mark.parametrize("ess", ["sha1", "sha256", "sha512"])
@pytest.mark.parametrize("algorithm", ["es384", "ps256"])  # the latter as PKCS#1 v1.5
def test_what_public_authorities_answer_is_believed(
    algorithm: str, ess: str, whole_chain: bool, tmp_path: Path
) -> None:
    tsa = OpenSslTsa(tmp_path, ACME, algorithm, ess=ess, whole_chain=whole_chain)
    token = timestamp.answer(tsa.answer(timestamp.request(DIGEST, 5)))

    assert timestamp.verify(token, DIGEST, ROOTS, nonce=5).authority == "Acme"


@needs_openssl
def test_openssl_verifies_what_we_asked_for(tmp_path: Path) -> None:
    assert OPENSSL is not None
    tsa = OpenSslTsa(tmp_path, ACME)
    (tmp_path / "token").write_bytes(
        timestamp.answer(tsa.answer(timestamp.request(DIGEST, 5)))
    )
    (tmp_path / "root.pem").write_bytes(ACME.root_pem)
    line = f"ts -verify -digest {DIGEST.hex()} -in token -token_in -CAfile root.pem"
    subprocess.run(
        [OPENSSL, *line.split()], check=True, capture_output=True, cwd=tmp_path
    )


@needs_openssl
def test_a_token_of_openssl_is_about_one_message_only(tmp_path: Path) -> None:
    tsa = OpenSslTsa(tmp_path, ACME)
    token = timestamp.answer(tsa.answer(timestamp.request(DIGEST, 5)))

    timestamp.verify(token, DIGEST, ROOTS, nonce=5)
    with pytest.raises(Untrustworthy, match="about something else"):
        timestamp.verify(token, timestamp.imprint(b"other"), ROOTS)
    with pytest.raises(Untrustworthy, match="nonce \\[5\\] found, expected 6"):
        timestamp.verify(token, DIGEST, ROOTS, nonce=6)
    with pytest.raises(Untrustworthy, match="leads to none of the 1 trusted"):
        timestamp.verify(token, DIGEST, chain.load(STRANGER.root_pem))


@needs_openssl
def test_openssl_refuses_and_says_why(tmp_path: Path) -> None:
    tsa = OpenSslTsa(tmp_path, ACME)
    sha1 = timestamp.request(DIGEST, 5).replace(
        der.oid("2.16.840.1.101.3.4.2.1"), der.oid("2.16.840.1.101.3.4.2.9")
    )
    with pytest.raises(Refusal, match=r"status 2 .*badAlg"):
        timestamp.answer(tsa.answer(sha1))


# Lies


def lies(change: str, value: Any, **leaf: Any) -> PlainTsa:
    tsa = PlainTsa(ACME, **leaf)
    if change:
        setattr(tsa, change, value)
    return tsa


LONG_AGO = datetime.now(UTC) - timedelta(hours=3)
LIES: dict[str, tuple[str, Callable[[], PlainTsa]]] = {
    "another message": (
        "about something else",
        lambda: lies("digest", timestamp.imprint(b"other")),
    ),
    "an old answer": ("answer to another question", lambda: lies("nonce", 1)),
    "a stranger's": ("leads to none of", lambda: PlainTsa(STRANGER)),
    "a certificate for e-mail": (
        "is not for time-stamping",
        lambda: PlainTsa(ACME, purposes=chain.PURPOSES),
    ),
    "a purpose that is not critical": (
        "is not for time-stamping",
        lambda: PlainTsa(ACME, critical=False),
    ),
    "a clock in the future": (
        "its clock is wrong",
        lambda: lies("time", datetime.now(UTC) + timedelta(hours=3)),
    ),
    "a time before its certificate": (
        "its own was not valid then",
        lambda: lies("time", LONG_AGO),
    ),
    "a signature over something else": (
        "over another content",
        lambda: lies("signed_twice", True),
    ),
    "somebody else's certificate": (
        "two different certificates",
        lambda: lies("named", ACME.certificate),
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_told_and_not_asked_for_again(lie: str) -> None:
    message, make = LIES[lie]
    asked = []
    tsa = make()

    def answer(query: bytes, handler: BaseHTTPRequestHandler) -> None:
        asked.append(query)
        tsa(query, handler)

    with serving(answer) as url, pytest.raises(Untrustworthy, match=message) as caught:
        stamper(url).stamp(MESSAGE)
    assert url in str(caught.value)
    assert len(asked) == 1


def test_without_a_lie_the_same_authority_is_believed() -> None:
    with serving(PlainTsa(ACME)) as url:
        assert stamper(url).stamp(MESSAGE).serial == 7


def test_every_changed_byte_of_a_token_is_noticed() -> None:
    token = timestamp.answer(PlainTsa(ACME).answer(timestamp.request(DIGEST, 5)))
    timestamp.verify(token, DIGEST, ROOTS, nonce=5)
    believed = []
    for at in range(len(token)):
        broken = bytearray(token)
        broken[at] ^= 1
        try:
            found = timestamp.verify(bytes(broken), DIGEST, ROOTS, nonce=5)
        except Untrustworthy:
            continue
        believed.append((at, found))

    # What CMS leaves unsigned (versions, the set of digest algorithms, the name of the
    # issuer in the SignerInfo, the issuer's certificate beside a trusted root) may
    # change; what is believed may not.
    assert len(believed) < 120
    good = timestamp.verify(token, DIGEST, ROOTS, nonce=5)
    for _, found in believed:
        same = (found.time, found.authority, found.policy, found.serial)
        assert same == (good.time, good.authority, good.policy, good.serial)


def test_random_junk_is_a_typed_error() -> None:
    rng = random.Random(7)
    token = timestamp.answer(PlainTsa(ACME).answer(timestamp.request(DIGEST, 5)))
    for _ in range(300):
        cut = bytearray(token[: rng.randrange(len(token))])
        for _ in range(rng.randrange(4)):
            if cut:
                cut[rng.randrange(len(cut))] = rng.randrange(256)
        with pytest.raises(Untrustworthy):
            timestamp.verify(bytes(cut), DIGEST, ROOTS)
        with pytest.raises(TimestampError):
            timestamp.answer(bytes(cut))
    with pytest.raises(Untrustworthy, match="at most"):
        timestamp.verify(b"0" * (1 << 17), DIGEST, ROOTS)


# Down, slow, and other trouble


def test_an_authority_that_is_down() -> None:
    with pytest.raises(Unavailable, match=r"cannot be reached.*http://127"):
        stamper(closed()).stamp(MESSAGE)


def test_an_authority_that_is_slow() -> None:
    def sleeps(query: bytes, handler: BaseHTTPRequestHandler) -> None:
        time.sleep(10)

    start = time.monotonic()
    with serving(sleeps) as url, pytest.raises(Slow, match=r"within 0\.2 seconds"):
        stamper(url, seconds=0.2, rounds=2).stamp(MESSAGE)
    assert time.monotonic() - start < 8


def test_an_authority_that_sends_a_byte_now_and_then() -> None:
    def drips(query: bytes, handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.0 200 OK\r\nX: ")
        for _ in range(400):
            handler.wfile.write(b"x")
            time.sleep(0.05)

    start = time.monotonic()
    with serving(drips) as url, pytest.raises(Slow):
        stamper(url, seconds=0.3, rounds=1).stamp(MESSAGE)
    assert time.monotonic() - start < 8  # of the 20 seconds that it would drip


def test_an_authority_that_comes_back_is_asked_again() -> None:
    asked = []
    tsa = PlainTsa(ACME)

    def recovers(query: bytes, handler: BaseHTTPRequestHandler) -> None:
        asked.append(query)
        if len(asked) < 3:
            handler.send_error(503)
        else:
            tsa(query, handler)

    with serving(recovers) as url:
        assert stamper(url, rounds=3).stamp(MESSAGE).serial == 7
    assert len(set(asked)) == 3  # a fresh nonce each time


def test_the_next_authority_is_asked() -> None:
    with serving(PlainTsa(STRANGER)) as liar, serving(PlainTsa(ACME)) as honest:
        found = stamper(closed(), liar, honest, rounds=1).stamp(MESSAGE)
    assert timestamp.verify(found.token, DIGEST, ROOTS) == found


@pytest.mark.parametrize(
    ("kind", "data", "error", "message"),
    [
        ("text/html", b"<html>", Unavailable, "answered 'text/html'"),
        ("application/timestamp-reply", b"<html>", Untrustworthy, "no time-stamp resp"),
        ("application/timestamp-reply", b"", Untrustworthy, "no time-stamp response"),
        (
            "application/timestamp-reply",
            b"0" * (1 << 17),
            Unavailable,
            "more than 65536 bytes",
        ),
    ],
)
def test_other_answers(
    kind: str, data: bytes, error: type[Exception], message: str
) -> None:
    with (
        serving(lambda query, handler: reply(handler, kind, data)) as url,
        pytest.raises(error, match=message),
    ):
        stamper(url, rounds=1).stamp(MESSAGE)


def test_a_redirect_is_not_followed() -> None:
    followed = []

    def away(query: bytes, handler: BaseHTTPRequestHandler) -> None:
        if handler.path == "/there":
            followed.append(1)
        handler.send_response(302)
        handler.send_header("Location", "/there")
        handler.end_headers()

    with serving(away) as url, pytest.raises(Unavailable, match="not followed"):
        stamper(url, rounds=1).stamp(MESSAGE)
    assert not followed


def test_a_refusal_is_told_with_its_reason() -> None:
    text = der.encode(der.SEQUENCE, der.encode(der.UTF8_STRING, b"out of ink"))
    bits = der.encode(der.BIT_STRING, b"\6", b"\0\0\0\x40")  # bit 25
    status = der.encode(der.SEQUENCE, der.integer(2), text, bits)
    data = der.encode(der.SEQUENCE, status)
    with (
        serving(lambda query, handler: stamped(handler, data)) as url,
        pytest.raises(Refusal, match="out of ink, systemFailure"),
    ):
        stamper(url).stamp(MESSAGE)


@pytest.mark.parametrize(
    "url", ["ftp://x/", "file:///etc/passwd", "http://", "http://a b/", "http://u:p@h/"]
)
def test_only_plain_http_urls_are_asked(url: str) -> None:
    with pytest.raises(Unavailable, match="expected"):
        stamper(url, rounds=1).stamp(MESSAGE)


def test_all_of_these_are_signing_errors() -> None:
    for error in (Unavailable, Slow, Refusal, Untrustworthy):
        assert issubclass(error, TimestampError)
        assert issubclass(error, SigningError)


def test_bad_anchors_are_told_before_anybody_is_asked() -> None:
    with pytest.raises(KeyFileError, match="TSA anchors"):
        TimeStamper([], anchors=b"junk")


def test_no_authority_at_all() -> None:
    with pytest.raises(Unavailable, match="no time-stamp authority was given"):
        stamper().stamp(MESSAGE)


# Later


def test_what_waits_is_stamped_later(tmp_path: Path) -> None:
    queue = Deferred(tmp_path / "stamps")
    queue.put("urn:c2pa:one", b"one")
    queue.put("urn:c2pa:two", b"two")
    assert queue.waiting() == ["urn:c2pa:one", "urn:c2pa:two"]
    assert queue.token("urn:c2pa:one") is None

    down = queue.stamp(stamper(closed(), rounds=1))
    assert (down.stamped, down.waiting) == ((), 2)
    assert isinstance(down.failure, Unavailable)

    with serving(PlainTsa(ACME)) as url:
        up = Deferred(tmp_path / "stamps").stamp(stamper(url))
    assert (up.stamped, up.waiting, up.failure) == (
        ("urn:c2pa:one", "urn:c2pa:two"),
        0,
        None,
    )
    token = queue.token("urn:c2pa:two")
    assert token is not None
    timestamp.verify(token, timestamp.imprint(b"two"), ROOTS)


def test_a_queue_that_was_never_used(tmp_path: Path) -> None:
    queue = Deferred(tmp_path / "none")

    assert queue.waiting() == []
    assert queue.token("x") is None
    assert queue.stamp(stamper()).waiting == 0


def test_one_name_waits_for_one_message(tmp_path: Path) -> None:
    queue = Deferred(tmp_path)
    queue.put("a", b"one")
    queue.put("a", b"one")

    with pytest.raises(StoreError, match="something else"):
        queue.put("a", b"two")
    assert queue.waiting() == ["a"]


def test_a_damaged_queue_is_a_typed_error(tmp_path: Path) -> None:
    queue = Deferred(tmp_path)
    queue.put("a", b"one")
    next(tmp_path.glob("*.pending")).write_bytes(b"{}")
    with pytest.raises(StoreError, match="is damaged"):
        queue.stamp(stamper())
