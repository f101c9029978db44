"""Requests for a service under load: what readers and senders ask, and hostile ones."""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import json
import random
import socket
import struct
import zlib
from collections.abc import Callable, Iterator

from PIL import Image

BROKEN = 0  # the connection ended without an answer: what closes it early may see that

Ask = Callable[[http.client.HTTPConnection], int]


def asks(has: dict[str, bytes], draw: random.Random) -> Iterator[tuple[str, Ask]]:
    """Kind and request; every third one is hostile.

    Args:
        has: what the service has: ``png``, ``manifest``, ``id``, ``alg``, ``value``.
        draw: for what is random.
    """
    name = has["id"].decode()
    value = base64.urlsafe_b64encode(has["value"]).decode()
    binding = f"/matches/byBinding?alg={has['alg'].decode()}&value={value}"
    stripped = io.BytesIO()
    Image.open(io.BytesIO(has["png"])).convert("RGB").save(stripped, "JPEG", quality=85)
    text = b"Some words of a text that nobody marked, and more of them. " * 40
    form = _form(has["png"])
    fair = [
        ("read", asked("GET", "/")),
        ("read", asked("GET", binding)),
        ("read", asked("GET", f"/manifests/{name}")),
        ("read", asked("GET", f"/manifests/{name}/receipts")),
        ("look", asked("POST", "/v1/verify", stripped.getvalue())),
        ("look", asked("POST", "/v1/verify", text, accept="application/jose")),
        (
            "look",
            asked("POST", "/matches/byContent", has["png"], content_type="image/png"),
        ),
        ("look", asked("POST", "/verify", form[1], content_type=form[0])),
    ]
    hostile = [("hostile", ask) for ask in _hostile(has, draw)]
    for n, bad in enumerate(hostile):
        yield fair[(2 * n) % len(fair)]
        yield bad
        yield fair[(2 * n + 1) % len(fair)]


def asked(method: str, path: str, body: bytes | None = None, **headers: str) -> Ask:
    """One request; gives the status."""
    told = {name.replace("_", "-"): value for name, value in headers.items()}

    def ask(connection: http.client.HTTPConnection) -> int:
        connection.request(method, path, body, told)
        answer = connection.getresponse()
        answer.read()
        return answer.status

    return ask


def _hostile(has: dict[str, bytes], draw: random.Random) -> Iterator[Ask]:
    png, manifest = has["png"], has["manifest"]
    look, kept = "/v1/verify", {"content_type": "application/json"}
    yield asked("POST", look, png[: len(png) // 2])
    yield asked("POST", look, _noisy(png, draw))
    yield asked("POST", look, _flood(30_000))
    yield asked("POST", look, _flood(9_000))  # 243 MB of one colour in 240 kB
    yield asked("POST", look, b"\xff\xd8\xff" + draw.randbytes(50_000))
    yield asked("POST", look, b"RIFF\xff\xff\xff\xffWEBPVP8L" + draw.randbytes(5000))
    yield asked("POST", look, b"RIFF\xff\xff\xff\x7fWAVEfmt " + b"\xff" * 4000)
    yield asked("POST", look, b"\0\0\0\x18ftypisom" + draw.randbytes(20_000))
    yield asked("POST", look, b"%PDF-1.7\n" + b"[" * 500_000)
    yield asked("POST", look, b"PK\3\4" + draw.randbytes(20_000))
    yield asked("POST", look, "\u202e\ufe0f\U000e0100".encode() * 30_000)
    yield asked("POST", look, b"a" * 2_000_000)
    yield asked("POST", look, b"C2PATXT\0" * 10_000 + b"-----BEGIN C2PA MANIFEST-----")
    yield asked("POST", look, _noisy(manifest, draw))
    yield asked("POST", "/matches/byContent", png, content_type="model/gltf")
    yield asked("POST", "/manifests", manifest, content_type="application/c2pa")
    yield asked("POST", "/bindings", b"[" * 60_000, **kept)
    yield asked("POST", "/matches/byBinding", b'{"alg": ' + b"1" * 60_000, **kept)
    reference = {"referenceUrl": "https://169.254.169.254/", "assetLength": 9}
    body = json.dumps(reference).encode()
    yield asked("POST", "/matches/byReference", body, **kept)
    yield asked(
        "POST",
        "/verify",
        b"--b\r\n" * 9000,
        content_type="multipart/form-data; boundary=b",
    )
    yield asked("GET", "/manifests/..%2f..%2fetc%2fpasswd")
    yield asked("GET", "/static/..%2fapp.py")
    yield asked("GET", "/matches/byBinding?alg=a&value=" + "A" * 20_000)
    yield asked("DELETE", f"/manifests/{has['id'].decode()}", authorization="Bearer x")
    start = b"POST /v1/verify HTTP/1.1\r\nHost: a\r\n"
    yield _raw(start + b"Content-Length: 99999999999\r\n\r\n")
    yield _raw(start + b"Content-Length: 1000\r\n\r\nleft")
    yield _raw(start + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n")
    yield _raw(b"GET / HTTP/1.1\r\n" + b"X: " + b"a" * 60_000)
    yield _raw(b"\x16\x03\x01\x02\x00" + draw.randbytes(200))


def _raw(data: bytes) -> Ask:
    """Bytes that may be no request; the answer is not waited for long."""

    def ask(connection: http.client.HTTPConnection) -> int:
        with socket.create_connection(("127.0.0.1", connection.port), 5) as wire:
            wire.sendall(data)
            wire.settimeout(1)
            try:
                words = wire.recv(64).split()
            except TimeoutError:
                return BROKEN
            return int(words[1]) if len(words) > 1 and words[1].isdigit() else BROKEN

    return ask


def _noisy(data: bytes, draw: random.Random) -> bytes:
    found = bytearray(data)
    for _ in range(50):
        found[draw.randrange(len(found))] = draw.randrange(256)
    return bytes(found)


def _flood(side: int) -> bytes:
    """A PNG of `side` pixels a side, all of one colour: small, until it is decoded."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1 + 3 * side) * min(side, 9000), 9)
    parts = chunk(b"IHDR", head), chunk(b"IDAT", rows), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _form(file: bytes) -> tuple[str, bytes]:
    line = hashlib.sha256(file).hexdigest()[:20]
    head = (
        f'--{line}\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    )
    body = head.encode() + file + f"\r\n--{line}--\r\n".encode()
    return f"multipart/form-data; boundary={line}", body
