"""State: what the routes of one running service share, and how they look at content."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request

from watermark.errors import KeyFileError
from watermark.home import Home
from watermark.serve.gauges import Gauges
from watermark.serve.limits import Budget, Rates
from watermark.serve.parameters import FETCH
from watermark.serve.problems import Problem, busy
from watermark.serve.repository import Repository
from watermark.serve.settings import FORM_BYTES, Settings
from watermark.serve.tokens import Tokens
from watermark.serve.workers import Bill, Busy, Failed, Workers

FULL = "verify:full"
LOOK_SECONDS = 1.0  # of a worker, that one look pays for
SHARES = 4  # of all bytes in flight an asker has one


@dataclass(frozen=True)
class State:
    """One running service."""

    home: Home
    settings: Settings
    repository: Repository
    tokens: Tokens
    workers: Workers
    gauges: Gauges = field(default_factory=Gauges)
    budget: Budget = field(init=False)
    rates: Rates = field(init=False)

    def __post_init__(self) -> None:
        chosen = self.settings
        rates = Rates(chosen.rate, chosen.burst)
        object.__setattr__(self, "rates", rates)
        # No asker alone can keep everybody else from sending anything.
        share = max(chosen.in_flight // SHARES, chosen.content + FORM_BYTES)
        object.__setattr__(self, "budget", Budget(chosen.in_flight, share))

    def scopes(self, secret: str | None) -> frozenset[str]:
        """What a caller with this token may do; without one, nothing special.

        Raises:
            Problem: 403: it is no token here.
        """
        if not secret:
            return frozenset()
        try:
            found = self.tokens.scopes(secret)
        except KeyFileError:
            raise busy("the tokens cannot be read now") from None
        if found is None:
            raise _forbidden("invalid_token", "this token is not known here")
        return found

    def require(self, request: Request, scope: str, *, open: bool = False) -> None:
        """Return if the caller may.

        Args:
            request: with or without ``Authorization: Bearer``.
            scope: what is needed.
            open: whether anybody may, as long as reading is open to all.

        Raises:
            Problem: 403: they may not.
        """
        found = self.scopes(bearer(request))
        if scope in found or (open and self.settings.anonymous_read):
            return
        raise _forbidden("insufficient_scope", f"this needs a token for {scope}")

    def admit(self, request: Request, scopes: frozenset[str]) -> Bill:
        """Count a look by an address without a token for full looks.

        Returns:
            What `ask` is to be given: a look that took longer than `LOOK_SECONDS`
            counts as several, so that nobody has the workers for themselves.

        Raises:
            Problem: 403: only holders of a token may look; 429: it looked too often.
        """
        if FULL in scopes:
            return free
        if FETCH not in scopes and not self.settings.anonymous_read:
            raise _forbidden("insufficient_scope", f"this needs a token for {FETCH}")
        who = address(request)
        rates = self.rates
        wait = rates.take(who)
        if wait:
            self.gauges.refused["rate"] += 1
            headers = {"Retry-After": str(math.ceil(wait))}
            detail = "too many looks from this address: come back later"
            raise Problem(429, "too-many-requests", detail, headers)
        return lambda spent: rates.charge(who, max(0.0, spent / LOOK_SECONDS - 1))

    async def ask(self, body: bytes, bill: Bill, **job: Any) -> dict[str, Any]:
        """Have a worker look at content.

        Args:
            body: the content.
            bill: of `admit`, or `free`.
            job: what `child` shall do.

        Raises:
            Problem: 503 there is no room or time, 400 it cannot be looked at.
        """
        start = time.monotonic()
        try:
            return await self.workers.ask(body, bill, **job)
        except Busy:
            self.gauges.refused["queue"] += 1
            raise busy("too many wait already") from None
        except Failed as failed:
            self.gauges.refused[failed.reason] += 1
            raise _failed(failed.reason) from None
        finally:
            self.gauges.looked(time.monotonic() - start)


def free(seconds: float) -> None:
    """The bill of those whose looks are not counted."""


def state(request: Request) -> State:
    """Of the service that has this request."""
    found: State = request.app.state.service
    return found


def address(request: Request) -> str:
    """Of who asks, behind the proxies that are believed; or ""."""
    return request.client.host if request.client else ""


def bearer(request: Request) -> str | None:
    """The token of a request, or None."""
    kind, _, secret = request.headers.get("authorization", "").partition(" ")
    return secret.strip() if kind.lower() == "bearer" else None


def _forbidden(error: str, detail: str) -> Problem:
    headers = {"WWW-Authenticate": f'Bearer error="{error}"'}
    return Problem(403, error.replace("_", "-"), detail, headers)


def _failed(reason: str) -> Problem:
    if reason == "too-slow":
        return busy("looking at this took too long")
    if reason == "store":
        return busy("the ledger cannot be read now")
    if reason == "bug":
        return Problem(500, "bug", "looking at this failed: please report it")
    detail = "this content takes too much memory, or breaks the process that looks"
    return Problem(400, f"content-{reason}", detail)
