"""Limits: of an address, of a body, of all of them; and of one look."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.serve.conftest import Provider, picture
from tests.serve.running import Service, changed

from watermark.serve.limits import Body, Budget, Rates
from watermark.serve.patience import Impatient
from watermark.serve.problems import Problem
from watermark.serve.settings import MIB, Settings
from watermark.serve.workers import Busy, Failed, Workers

SECONDS = 60.0


# --- of an address --------------------------------------------------------------------


def test_a_bucket_is_refilled() -> None:
    now = [0.0]
    rates = Rates(60, 3, clock=lambda: now[0])
    for _ in range(3):
        assert rates.take("192.0.2.1") == 0
    assert rates.take("192.0.2.1") == pytest.approx(1)
    assert rates.take("192.0.2.2") == 0
    now[0] = 1.0
    assert rates.take("192.0.2.1") == 0
    assert rates.take("192.0.2.1") > 0
    now[0] = 1000.0
    assert [rates.take("192.0.2.1") == 0 for _ in range(4)] == [True] * 3 + [False]


def test_a_network_of_ipv6_is_one_asker() -> None:
    rates = Rates(1, 1)
    assert rates.take("2001:db8::1") == 0
    assert rates.take("2001:db8::2") > 0
    assert rates.take("2001:db8:0:1::1") == 0


def test_addresses_are_forgotten() -> None:
    rates = Rates(1, 1, addresses=100)
    for n in range(1000):
        rates.take(f"10.0.{n // 256}.{n % 256}")

    assert len(rates._buckets) == 100


def test_the_service_counts_looks(service: Service, provider: Provider) -> None:
    before = service.state._rates  # type: ignore[attr-defined]
    object.__setattr__(service.state, "_rates", Rates(0.01, 2))
    try:
        text = b"a text that nobody marked"
        codes = [service.post("/v1/verify", text).status for _ in range(3)]
        refused = service.post("/matches/byContent", text, content_type="text/plain")
        form = service.form(text="a text")
        known = service.post("/v1/verify", text, token=provider.token)
    finally:
        object.__setattr__(service.state, "_rates", before)

    assert codes == [200, 200, 429]
    assert (refused.status, form.status, known.status) == (429, 429, 200)
    assert int(refused.headers["retry-after"]) > 1
    assert service.get("/livez").status == 200  # what costs nothing is not counted


# --- of a body ------------------------------------------------------------------------


def body(chunks: list[bytes], **more: Any) -> Body:
    left: Iterator[tuple[int, bytes]] = enumerate(chunks)

    async def receive() -> dict[str, Any]:
        n, chunk = next(left)
        more_body = n < len(chunks) - 1
        return {"type": "http.request", "body": chunk, "more_body": more_body}

    told = {"most": 10, "seconds": 5.0, "budget": Budget(100), **more}
    return Body(receive, **told)


async def drained(of: Body, times: int) -> None:
    for _ in range(times):
        await of.receive()


def test_a_body_is_cut_where_it_is_too_long() -> None:
    with pytest.raises(Problem) as told:
        asyncio.run(drained(body([b"12345", b"67890", b"1"]), 3))

    assert told.value.status_code == 413


def test_all_bodies_have_a_budget() -> None:
    budget = Budget(8)
    one, other = body([b"12345"], budget=budget), body([b"12345"], budget=budget)
    asyncio.run(drained(one, 1))
    with pytest.raises(Problem) as told:
        asyncio.run(drained(other, 1))
    assert told.value.status_code == 503
    one.close()
    other.close()

    assert budget.used == 0


def test_a_body_that_never_ends() -> None:
    async def receive() -> dict[str, Any]:
        await asyncio.sleep(SECONDS)
        return {}

    slow = Body(receive, most=10, seconds=0.05, budget=Budget(10))
    with pytest.raises(Problem) as told:
        asyncio.run(slow.receive())

    assert told.value.status_code == 408


def test_a_length_that_is_too_long_is_told_at_once(service: Service) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=SECONDS) as wire:
        wire.sendall(b"POST /v1/verify HTTP/1.1\r\nHost: a\r\n")
        wire.sendall(b"Content-Length: 999999999999\r\n\r\n")
        assert wire.recv(100).startswith(b"HTTP/1.1 413")


def test_a_chunked_body_is_counted(service: Service) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=SECONDS) as wire:
        wire.sendall(
            b"POST /bindings HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer x\r\n"
            b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        wire.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n1\r\n0\r\n0\r\n\r\n")
        assert wire.recv(100).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHos", b"GET"])
def test_a_head_that_never_ends(
    service: Service, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(Impatient, "seconds", 0.2)
    with socket.create_connection(("127.0.0.1", service.port), timeout=SECONDS) as wire:
        wire.sendall(sent)
        assert wire.recv(100) == b""


def test_a_second_head_that_never_ends(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Impatient, "seconds", 0.5)
    with socket.create_connection(("127.0.0.1", service.port), timeout=SECONDS) as wire:
        wire.sendall(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.recv(4000).startswith(b"HTTP/1.1 200")
        wire.sendall(b"GET /livez HTTP/1.1\r\nHost")
        while data := wire.recv(4000):
            assert b"200" not in data


def test_a_body_may_take_longer_than_a_head(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Impatient, "seconds", 0.5)
    with socket.create_connection(("127.0.0.1", service.port), timeout=SECONDS) as wire:
        wire.sendall(
            b"POST /v1/verify HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\na "
        )
        time.sleep(0.8)
        wire.sendall(b"text")
        assert wire.recv(100).startswith(b"HTTP/1.1 200")


# --- of a look ------------------------------------------------------------------------


def image() -> bytes:
    file = io.BytesIO()
    picture(1600).save(file, "PNG")
    return file.getvalue()


def test_whatever_a_look_does_the_next_one_works(provider: Provider) -> None:
    """Too slow, killed, too much memory: the process is replaced each time."""
    settings = Settings(workers=1, queue=1, memory=64 * MIB, seconds=SECONDS)
    large, small = image(), b"a text"

    async def looks() -> list[str]:
        workers = Workers(provider.home.path, None, settings)
        await workers.start()
        told, bills = list[str](), list[float]()

        async def look(data: bytes, text: bool = False) -> dict[str, Any]:
            return await workers.ask(data, bills.append, job="verify", text=text)

        try:
            [worker] = workers._all
            asked = asyncio.create_task(look(large))
            await asyncio.sleep(0.05)
            os.kill(worker.process.pid, signal.SIGKILL)
            told.append(await reason(asked))
            # It is being replaced: one waits for it, a second is one too many.
            waits = asyncio.create_task(look(small, text=True))
            await asyncio.sleep(0)
            with pytest.raises(Busy):
                await look(small, text=True)
            told.append((await waits)["report"]["verdict"])
            told.append(await reason(look(large)))
            told.append(await reason(look(small, text=True)))
            # One that ends while it has nothing to do: nobody's content is to blame.
            [worker] = workers._all
            os.kill(worker.process.pid, signal.SIGKILL)
            await worker.process.wait()
            assert workers.alive == 0
            told.append(await reason(look(small, text=True)))
            [worker] = workers._all
            told.append(str(workers.killed))
        finally:
            await workers.close()
        assert worker.process.returncode is not None
        return told

    assert asyncio.run(looks()) == [
        "crashed",
        "INCONCLUSIVE",
        "too-large",
        "fine",
        "fine",
        "2",
    ]


async def reason(asked: Any) -> str:
    try:
        await asked
    except Failed as failed:
        return failed.reason
    return "fine"


def test_a_look_that_takes_too_long(service: Service) -> None:
    killed = service.state.workers.killed
    service.state.workers._settings = Settings(workers=1, seconds=0.001)
    try:
        answer = service.post("/v1/verify", image())
    finally:
        service.state.workers._settings = service.state.settings
    after = service.post("/v1/verify", b"a text")

    assert (answer.status, after.status) == (503, 200)
    assert int(answer.headers["retry-after"]) > 0
    assert service.state.workers.killed == killed + 1
    assert b'wm_refused_total{reason="too-slow"} 1' in service.get("/metrics").body


def test_a_caller_who_goes_away_leaves_nothing(service: Service) -> None:
    line = b"POST /v1/verify HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", service.port)) as wire:
            wire.sendall(line + bytes(500))
    deadline = time.monotonic() + SECONDS
    while b"wm_requests_in_flight 1\n" not in service.get("/metrics").body:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_settings_that_make_no_sense() -> None:
    bad: list[dict[str, Any]] = [
        {"workers": 0},
        {"rate": 0},
        {"in_flight": 1},
        {"effort": "more"},
        {"public_url": "acme"},
        {"contact": "javascript:alert(1)"},
    ]
    for one in bad:
        with pytest.raises(ValueError, match="expected"):
            Settings(**one)


def test_a_ledger_that_cannot_be_read(service: Service, provider: Provider) -> None:
    """503, not 500: a client may come back."""
    path = service.state.repository._path
    service.state.repository._path = provider.home.path  # a folder
    try:
        with changed(service):
            answer = service.get(f"/manifests/{provider.manifest_id}")
    finally:
        service.state.repository._path = path

    assert answer.status == 503
    assert answer.json["type"].endswith("repository-unavailable")
    assert str(provider.home.path) not in answer.body.decode()
