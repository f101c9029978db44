"""The benchmark of the service: what it sends, and what it calls a failure."""

from __future__ import annotations

import random
import zlib
from typing import Any

from benchmarks import serve, serve_requests
from benchmarks.serve import Seen
from benchmarks.serve_requests import BROKEN
from tests.serve.conftest import Provider
from tests.serve.running import Service

Held = tuple[int, int]


def test_no_hostile_request_is_a_server_error(
    service: Service, provider: Provider
) -> None:
    mark = provider.marked.record.marks[0]
    has = {
        "png": provider.file,
        "manifest": provider.marked.manifest,
        "id": provider.manifest_id.encode(),
        "alg": mark.binding.encode(),
        "value": mark.mark_id,
    }
    every = list(serve_requests.asks(has, random.Random(0)))
    asks = [ask for n, ask in enumerate(every) if ask[0] == "hostile" or n < 12]
    seen = Seen()
    serve._load(service.port, asks, len(asks), 4, seen, 1, [])
    statuses = {status for _, status in seen.statuses}

    assert len(every) == 3 * sum(kind == "hostile" for kind, _ in every)
    assert not {status for status in statuses if status >= 500} - {503}
    assert {status for kind, status in seen.statuses if kind != "hostile"} == {200}
    assert statuses >= {200, 400, 403, 404, 413, 414}
    assert service.get("/readyz").status == 200


def test_a_flood_is_small_until_it_is_decoded() -> None:
    data = serve_requests._flood(3000)
    start = data.index(b"IDAT") + 4
    end = data.index(b"IEND") - 8

    assert len(data) < 100_000
    assert len(zlib.decompress(data[start:end])) == 3000 * (1 + 3 * 3000)


def result(statuses: dict[tuple[str, int], int], memory: list[Held]) -> dict[str, Any]:
    seen = Seen()
    for (kind, status), count in statuses.items():
        for _ in range(count):
            seen.add(kind, status, 0.1)
    found = serve._result(seen, memory, 10, 2, 1.0, True)
    return {target.name: target.reached for target in found.targets}


def test_what_counts_as_a_failure() -> None:
    flat, errors = [(100, 50)] * 3, "server errors other than 503"
    lost, growth = (
        "fair requests without an answer",
        "growth of the memory of the service",
    )
    good = {("read", 200): 5, ("look", 503): 2, ("hostile", BROKEN): 1}

    grew = growth.removesuffix("the service")
    assert all(result(good, flat).values())
    assert not result({**good, ("hostile", 500): 1}, flat)[errors]
    assert not result({**good, ("look", BROKEN): 1}, flat)[lost]
    assert not result(good, [*flat, (120, 50)])[growth]
    assert not result(good, [*flat, (100, 60)])[f"{grew}its largest worker"]
