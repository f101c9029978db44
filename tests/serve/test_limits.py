"""Limits: of an address, of a body, of all of them; and of one look."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.serve.conftest import Provider, picture
from tests.serve.running import Service, changed

from watermark.serve.limits import SITE_SHARE, Body, Budget, Rates
from watermark.serve.patience import Impatient
from watermark.serve.problems import Problem
from watermark.serve.settings import MIB, Settings
from watermark.serve.workers import KILL_SECONDS, Busy, Failed, Workers

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


def test_a_site_of_ipv6_is_limited_as_well() -> None:
    """It has 65,536 networks: each is new, and all are one house's."""
    now = [0.0]
    rates = Rates(60, 2, clock=lambda: now[0])
    taken = [rates.take(f"2001:db8:7:{n:x}::1") == 0 for n in range(100)]

    assert sum(taken) == SITE_SHARE * 2
    assert rates.take("2001:db8:8::1") == 0
    now[0] = 1.0
    assert rates.take("2001:db8:7:ff::1") == 0


def test_what_costs_much_is_a_debt() -> None:
    now = [0.0]
    rates = Rates(60, 3, clock=lambda: now[0])
    assert rates.take("192.0.2.1") == 0
    rates.charge("192.0.2.1", 20)
    assert rates.take("192.0.2.1") == pytest.approx(19)
    assert rates.take("192.0.2.2") == 0
    now[0] = 19.0
    assert rates.take("192.0.2.1") == 0


def test_addresses_are_forgotten() -> None:
    rates = Rates(1, 1, addresses=100)
    for n in range(1000):
        rates.take(f"10.0.{n // 256}.{n % 256}")

    assert len(rates._buckets) == 100


def test_the_service_counts_looks(service: Service, provider: Provider) -> None:
    before = service.state.rates
    object.__setattr__(service.state, "rates", Rates(0.01, 2))
    try:
        text = b"a text that nobody marked"
        codes = [service.post("/v1/verify", text).status for _ in range(3)]
        refused = service.post("/matches/byContent", text, content_type="text/plain")
        form = service.form(text="a text")
        known = service.post("/v1/verify", text, token=provider.token)
    finally:
        object.__setattr__(service.state, "rates", before)

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


def test_no_asker_has_the_whole_budget() -> None:
    budget = Budget(100, share=12)
    one, other = (body([b"1234567"], budget=budget, who="a") for _ in range(2))
    another = body([b"1234567"], budget=budget, who="b")
    asyncio.run(drained(one, 1))
    with pytest.raises(Problem) as told:
        asyncio.run(drained(other, 1))
    assert told.value.status_code == 503
    asyncio.run(drained(another, 1))
    assert budget.used == 14
    for each in (one, other, another):
        each.close()

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


def test_an_answer_that_nobody_reads(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not kept for ever: all connections could be held so."""
    monkeypatch.setattr(Impatient, "stalled_seconds", 0.3)
    asked = b"GET /static/style.css HTTP/1.1\r\nHost: a\r\n\r\n" * 100
    with socket.socket() as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.settimeout(0.2)
        wire.connect(("127.0.0.1", service.port))
        with pytest.raises(ConnectionError):
            send_for(SECONDS, wire, asked)


def send_for(seconds: float, wire: socket.socket, data: bytes) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(TimeoutError):
            wire.sendall(data)


def test_a_codec_that_takes_hours(service: Service) -> None:
    """Of punycode 300 kB held the whole service for 8 seconds, 32 MiB for a day."""
    head = b'--b\r\nContent-Disposition: form-data; name="text-"\r\n\r\n'
    data = head + b"a" * 20_000 + b"-" + b"a" * 20_000 + b"\r\n--b--\r\n"
    kind = "multipart/form-data; boundary=b; charset={}"

    for name, status in (("punycode", 400), ("idna", 400), ("UTF-8", 400)):
        answer = service.post("/verify", data, content_type=kind.format(name))
        assert answer.status == status
        wrong_codec = b"Expected a form in UTF-8" in answer.body
        assert wrong_codec == (name != "UTF-8")  # that one has only no text field


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
        # One bill for each look; the two that cost a process pay for a new one.
        assert len(bills) == 5
        assert [bill >= KILL_SECONDS for bill in bills] == [True, False, True] + (
            [False] * 2
        )
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
    before = service.state.rates
    object.__setattr__(service.state, "rates", Rates(0.01, 5))
    try:
        answer = service.post("/v1/verify", image())
        # Four of five looks were left, but that one cost a worker, which are ten.
        assert service.post("/v1/verify", b"a text").status == 429
    finally:
        service.state.workers._settings = service.state.settings
        object.__setattr__(service.state, "rates", before)
    after = service.post("/v1/verify", b"a text")

    assert (answer.status, after.status) == (503, 200)
    assert int(answer.headers["retry-after"]) > 0
    assert service.state.workers.killed == killed + 1
    assert b'wm_refused_total{reason="too-slow"} 1' in service.get("/metrics").body


def test_a_caller_who_goes_away_leaves_nothing(service: Service) -> None:
    def bugs() -> int:
        return service.state.gauges.requests["POST", "/v1/verify", 500]

    before = bugs()
    line = b"POST /v1/verify HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", service.port)) as wire:
            wire.sendall(line + bytes(500))
    deadline = time.monotonic() + SECONDS
    while b"wm_requests_in_flight 1\n" not in service.get("/metrics").body:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert service.settled() == 0
    assert bugs() == before  # of which each is a page in the log


def test_a_bug_is_answered_as_everything_else(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.state.repository, "_ledger", None)
    answer = service.get("/log/checkpoint")
    monkeypatch.undo()
    metrics = service.get("/metrics").body

    assert (answer.status, answer.json["type"][-3:]) == (500, "bug")
    assert "NoneType" not in answer.body.decode()
    assert answer.headers["cache-control"] == "no-store"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert b'route="/log/checkpoint",status="500"} 1' in metrics
    assert b'status="0"' not in metrics


def test_what_a_worker_says_breaks_no_line_of_the_log(
    service: Service, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    [worker] = service.state.workers._all
    said = {"error": "bug", "detail": "a\nERROR forged line"}

    async def ask(*_: Any) -> dict[str, Any]:
        return dict(said)

    monkeypatch.setattr(worker, "ask", ask)
    assert service.post("/v1/verify", b"a text").status == 500
    monkeypatch.undo()

    assert "a look failed: bug" in caplog.text
    assert "\nERROR forged" not in caplog.text


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


def test_a_workers_memory_is_its_own_and_not_that_of_who_started_it() -> None:
    code = (
        "import subprocess, sys; held = b'x' * (300 << 20); "
        "print(subprocess.run([sys.executable, '-c', 'from watermark.serve.child "
        "import _peak; print(_peak())'], capture_output=True, text=True).stdout)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert 5 * MIB < int(told.stdout) < 280 * MIB
