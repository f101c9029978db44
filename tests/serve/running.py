"""A service that really listens on localhost, and a plain client for it."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from watermark.serve import app as serving
from watermark.serve.settings import Settings
from watermark.serve.state import State

PATIENCE = 60.0


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Service:
    """One running service."""

    port: int
    state: State

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        token: str | None = None,
        **headers: str,
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            told["Authorization"] = f"Bearer {token}"
        try:
            connection.request(method, path, body, told)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read())
        finally:
            connection.close()

    def settled(self) -> int:
        """Bytes of bodies that are held, once all that was answered is let go.

        An answer is with the client a moment before the service lets go of its body.
        """
        deadline = time.monotonic() + PATIENCE
        while self.state.budget.used and time.monotonic() < deadline:
            time.sleep(0.01)
        return self.state.budget.used

    def get(self, path: str, **more: Any) -> Answer:
        return self.ask("GET", path, **more)

    def post(self, path: str, body: bytes, **more: Any) -> Answer:
        return self.ask("POST", path, body, **more)

    def send(self, path: str, data: Any, method: str = "POST", **more: Any) -> Answer:
        body = json.dumps(data).encode()
        return self.ask(method, path, body, content_type="application/json", **more)

    def form(self, **fields: bytes | str) -> Answer:
        """POST /verify, as a browser does it."""
        line, parts = "----boundary", []
        for name, value in fields.items():
            if isinstance(value, bytes):
                head = f'name="{name}"; filename="given"\r\nContent-Type: image/png'
            else:
                head, value = f'name="{name}"', value.encode()
            head = f"--{line}\r\nContent-Disposition: form-data; {head}\r\n\r\n"
            parts.append(head.encode() + value + b"\r\n")
        body = b"".join(parts) + f"--{line}--\r\n".encode()
        kind = f"multipart/form-data; boundary={line}"
        return self.post("/verify", body, content_type=kind)


@contextmanager
def running(home: Path, **settings: Any) -> Iterator[Service]:
    """A service on a port of its own, until the block is left."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(128)
        port = listening.getsockname()[1]
        told = {"workers": 1, "rate": 1e6, "burst": 10_000, **settings}
        told.setdefault("public_url", f"http://127.0.0.1:{port}")
        app = serving.create(home, Settings(**told))
        server = serving.server(app)
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        deadline = time.monotonic() + PATIENCE
        while not server.started:
            assert thread.is_alive(), "the service did not start"
            assert time.monotonic() < deadline, "the service does not start"
            time.sleep(0.02)
        try:
            yield Service(port, app.state.service)
        finally:
            server.should_exit = True
            thread.join(PATIENCE)
            assert not thread.is_alive()


@contextmanager
def changed(service: Service, **settings: Any) -> Iterator[None]:
    """The same service with other settings; those of its workers stay."""
    before = service.state.settings
    object.__setattr__(service.state, "settings", replace(before, **settings))
    try:
        yield
    finally:
        object.__setattr__(service.state, "settings", before)
