"""Guard: what is the same for every request: limits on its body, headers, counting."""

from __future__ import annotations

from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from watermark.resolution.messages import MAX_MANIFEST
from watermark.serve.gauges import OTHER, Gauges
from watermark.serve.limits import Body, Budget, asker, too_large
from watermark.serve.problems import Problem, answer
from watermark.serve.settings import FORM_BYTES, Settings

JSON_BYTES = 64 << 10  # of a query; a receipt has some thousand
CONTENTS = ("/matches/byContent", "/v1/verify", "/verify")

# Nothing of another origin is loaded, nothing is framed, nothing is kept.
HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; "
    "script-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"})


class Guard:
    """Stands before the application."""

    def __init__(
        self, app: ASGIApp, settings: Settings, gauges: Gauges, budget: Budget
    ) -> None:
        self._app, self._settings, self._gauges = app, settings, gauges
        self._budget = budget

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, with limits."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = self._most(scope["path"])
        host, _ = scope.get("client") or ("", 0)
        body = Body(
            receive,
            most=most,
            seconds=self._settings.body_seconds,
            budget=self._budget,
            who=asker(host),
        )
        status = [0]

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                status[0] = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        self._gauges.in_flight += 1
        try:
            stated = Headers(scope=scope).get("content-length", "0")
            if stated.isdecimal() and int(stated[:18]) > most:
                problem = too_large(most)  # told before it is sent
                await _problem(problem)(scope, receive, told)
            else:
                await self._app(scope, body.receive, told)
        except Exception:  # the server's log has it, and the client no word of it
            if not status[0]:
                bug = answer(500, "bug", "this is a bug: please report it")
                await bug(scope, receive, told)
            raise
        finally:
            body.close()
            self._gauges.in_flight -= 1
            method = scope["method"] if scope["method"] in METHODS else OTHER
            route = getattr(scope.get("route"), "path", OTHER)
            self._gauges.requests[method, route, status[0]] += 1

    def _most(self, path: str) -> int:
        if path in CONTENTS:
            return self._settings.content + FORM_BYTES
        return MAX_MANIFEST if path == "/manifests" else JSON_BYTES


def _problem(problem: Problem) -> ASGIApp:
    status = HTTPStatus(problem.status_code)
    return answer(status, problem.code, problem.detail, problem.headers)
