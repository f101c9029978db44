"""What goes wrong, as problem details (RFC 9457).

The API's specification leaves the bodies of errors free. Each has a code of ours in its
``type``, and a sentence; none quotes a file, a key or a path of this machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

MEDIA_TYPE = "application/problem+json"
PREFIX = "urn:watermark-sdk:problem:"
RETRY_SECONDS = 5


class Problem(HTTPException):
    """A request that is answered with an error."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, detail, headers=headers)
        self.code = code


def busy(detail: str) -> Problem:
    """503: there is no room for this request now."""
    headers = {"Retry-After": str(RETRY_SECONDS)}
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "overloaded", detail, headers)


def malformed(detail: str) -> Problem:
    """400: the request is not as the API has it."""
    return Problem(HTTPStatus.BAD_REQUEST, "malformed-request", detail)


def not_found(what: str) -> Problem:
    """404."""
    return Problem(HTTPStatus.NOT_FOUND, "not-found", f"there is no such {what} here")


def answer(
    status: int, code: str, detail: str, headers: Mapping[str, str] | None = None
) -> Response:
    """The body of RFC 9457."""
    body = {
        "type": PREFIX + code,
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    return JSONResponse(body, status, headers=headers, media_type=MEDIA_TYPE)


async def on_http(_: Request, error: Exception) -> Response:
    """A `Problem`, or what the framework raised: no such path, another method."""
    assert isinstance(error, HTTPException)
    code = error.code if isinstance(error, Problem) else "malformed-request"
    if error.status_code == HTTPStatus.NOT_FOUND:
        code = "not-found"
    return answer(error.status_code, code, error.detail, error.headers)


async def on_validation(_: Request, error: Exception) -> Response:
    """A parameter that is missing or of the wrong type."""
    assert isinstance(error, RequestValidationError)
    places = [".".join(map(str, each["loc"])) for each in error.errors()[:8]]
    detail = f"missing or of the wrong type: {', '.join(places)[:300]}"
    return answer(HTTPStatus.BAD_REQUEST, "malformed-request", detail)


async def on_store(_: Request, error: Exception) -> Response:
    """The ledger or the repository cannot be read or written."""
    headers = {"Retry-After": str(RETRY_SECONDS)}
    detail = "the repository cannot be read or written now"
    status = HTTPStatus.SERVICE_UNAVAILABLE
    return answer(status, "repository-unavailable", detail, headers)


async def on_gone(_: Request, error: Exception) -> Response:
    """The caller left before the body was there: nobody reads this."""
    return answer(400, "malformed-request", "the body did not arrive")
