"""The application: routes, limits and the processes that look, put together."""

from __future__ import annotations

import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

from watermark.errors import MissingDependency

try:
    import uvicorn
    from fastapi import FastAPI, Request
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import PlainTextResponse, Response
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect
except ImportError as error:
    raise MissingDependency("fastapi", "serve") from error
if find_spec("python_multipart") is None:  # what Starlette reads forms with
    raise MissingDependency("python-multipart", "serve")

import watermark
from watermark.errors import HomeError, StoreError
from watermark.home import Home
from watermark.serve import api, gauges, looks, problems
from watermark.serve.guard import Guard
from watermark.serve.patience import Impatient
from watermark.serve.repository import Repository
from watermark.serve.settings import Settings
from watermark.serve.state import State, state
from watermark.serve.tokens import Tokens
from watermark.serve.workers import Workers

CONNECTIONS = 400  # beyond these uvicorn itself answers 503
DRAIN_SECONDS = 15


def create(
    home: Path, settings: Settings | None = None, *, passphrase: str | None = None
) -> FastAPI:
    """The application for one home.

    Args:
        home: its folder.
        settings: by default `Settings()`.
        passphrase: of the home's keys and credential.

    Raises:
        MissingDependency: the extra ``[serve]`` is not installed.
        HomeError: there is no home there.
        KeyFileError: its keys cannot be read, or the passphrase is not theirs.
        StoreError: its ledger cannot be read.
    """
    chosen = settings or Settings()
    opened = Home.open(home, passphrase=passphrase)
    opened.key_records()  # what is wrong with them is told now, and not by a worker
    workers = Workers(home, passphrase, chosen)
    service = State(
        home=opened,
        settings=chosen,
        repository=Repository(opened.ledger, opened.path),
        tokens=Tokens(opened.path),
        workers=workers,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await workers.start()
        try:
            yield
        finally:
            await workers.close()
            opened.ledger.close()

    app = FastAPI(
        title="watermark",
        version=watermark.__version__,
        description="C2PA Soft Binding Resolution API 2.3.0 (C2PA 2.4), and reports.",
        lifespan=lifespan,
        docs_url=None,  # it loads scripts of another origin
        redoc_url=None,
        redirect_slashes=False,  # it would believe the Host header
        exception_handlers={
            HTTPException: problems.on_http,
            RequestValidationError: problems.on_validation,
            StoreError: problems.on_store,
            ClientDisconnect: problems.on_gone,
        },
    )
    app.state.service = service
    app.add_middleware(
        Guard, settings=chosen, gauges=service.gauges, budget=service.budget
    )
    app.include_router(api.router)
    app.include_router(looks.router)
    _add_health(app)
    return app


def run(app: FastAPI, listening: socket.socket, *, proxies: str = "127.0.0.1") -> None:
    """Serve until SIGTERM or SIGINT; requests that have begun are answered.

    Args:
        app: of `create`.
        listening: where.
        proxies: addresses whose X-Forwarded-For is believed.

    Raises:
        HomeError: it did not start; what is wrong was told before.
    """
    # uvicorn raises the signal once more when it has ended: ending was all it asked.
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: None)
    served = server(app, proxies=proxies)
    served.run(sockets=[listening])
    if not served.started:
        raise HomeError("the service did not start: see what is told above")


def server(app: FastAPI, *, proxies: str = "127.0.0.1") -> uvicorn.Server:
    """The server that `run` runs."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=Impatient,
            ws="none",
            access_log=False,  # paths hold what marks carry
            server_header=False,
            forwarded_allow_ips=proxies,
            limit_concurrency=CONNECTIONS,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=DRAIN_SECONDS,
            h11_max_incomplete_event_size=32 << 10,
            log_level="warning",
        )
    )


def _add_health(app: FastAPI) -> None:
    @app.get("/livez", include_in_schema=False)
    async def livez() -> PlainTextResponse:
        """This process answers."""
        return PlainTextResponse("ok\n")

    @app.get("/readyz", include_in_schema=False)
    def readyz(request: Request) -> PlainTextResponse:
        """The ledger can be read, and somebody is there to look."""
        service = state(request)
        service.repository.checkpoint()
        if not service.workers.alive:
            raise problems.busy("no worker is up")
        return PlainTextResponse("ready\n")

    @app.get("/metrics", include_in_schema=False)
    async def metrics(request: Request) -> Response:
        """What was counted, for Prometheus."""
        service = state(request)
        text = service.gauges.text(
            workers=service.workers.alive,
            workers_waiting=service.workers.waiting,
            workers_killed=service.workers.killed,
        )
        return Response(text, media_type=gauges.MEDIA_TYPE)

    @app.get("/log/checkpoint", response_class=PlainTextResponse)
    def checkpoint(request: Request) -> PlainTextResponse:
        """The newest signed checkpoint of the log: keep copies, to see a rollback."""
        return PlainTextResponse(state(request).repository.checkpoint())
