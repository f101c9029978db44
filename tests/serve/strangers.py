"""Repositories of somebody else's: real servers that say what they like."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.serve.conftest import Provider, stripped

from watermark.record import Mark
from watermark.sign import c2pa, claims

Handler = BaseHTTPRequestHandler


@contextmanager
def stranger(answer: Callable[[Handler], None]) -> Iterator[tuple[str, list[str]]]:
    """A server that lets `answer` answer, and the paths that it was asked for."""
    asked: list[str] = []

    class Answering(Handler):
        def do_GET(self) -> None:  # noqa: N802  # the library's name
            asked.append(self.path)
            answer(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def answering(said: Callable[[str], bytes]) -> Iterator[tuple[str, list[str]]]:
    """A server that answers 200, with what `said` has for a path."""
    with stranger(lambda handler: send(handler, said(handler.path))) as found:
        yield found


@contextmanager
def offering(
    manifests: Sequence[tuple[str, bytes]],
) -> Iterator[tuple[str, list[str]]]:
    """One that has these manifests, by their ids, for whatever it is asked."""
    matches = [{"manifestId": name} for name, _ in manifests]

    def said(path: str) -> bytes:
        if path.startswith("/matches"):
            return json.dumps({"matches": matches}).encode()
        return dict(manifests)[path.rpartition("/")[2]]

    with answering(said) as found:
        yield found


def send(handler: Handler, body: bytes, status: int = 200, **headers: str) -> None:
    """Answer with `body`, as what a repository should answer there."""
    kind = "c2pa" if handler.path.startswith("/manifests") else "json"
    handler.send_response(status)
    handler.send_header("Content-Type", f"application/{kind}")
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def signed(provider: Provider, **changes: Any) -> tuple[str, bytes]:
    """A manifest of the provider's own for the picture, with other facts in it."""
    record = replace(provider.marked.record, **changes)
    made = c2pa.sign_sidecar(
        stripped(provider.file) + b" ",  # so that its hash is that of no picture
        "image/png",
        claims.definition(replace(record, origin="created")),
        provider.home.credential,
    )
    [name] = [c2pa.read(b"-", "text/plain", manifest=made.manifest).manifest_id]
    return name, made.manifest


def marks(*pairs: tuple[str, bytes]) -> tuple[Mark, ...]:
    return tuple(
        Mark(scheme=scheme, version=1, key_id="k", mark_id=mark_id)
        for scheme, mark_id in pairs
    )
