"""Looks: one content verified, for the page and for programs, with a signed report."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator
from importlib.resources import files
from typing import Any, NamedTuple

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, JSONResponse, Response
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from watermark.errors import WatermarkError
from watermark.serve import page, signed, words
from watermark.serve.problems import Problem, malformed, not_found
from watermark.serve.settings import FORM_BYTES, MIB
from watermark.serve.state import FULL, State, bearer, state
from watermark.serve.workers import Bill

STATIC = {
    "style.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_FILES = files("watermark.serve") / "static"

router = APIRouter()


class Sent(NamedTuple):
    """What somebody wants to be looked at."""

    data: bytes
    text: bool
    name: str = ""
    token: str | None = None


@router.get("/", response_class=HTMLResponse, include_in_schema=False)
async def home(request: Request) -> HTMLResponse:
    """The page."""
    service = state(request)
    megabytes = service.settings.content // MIB
    contact = service.settings.contact
    return HTMLResponse(page.form(service.home.provider, megabytes, contact))


@router.get("/static/{name}", include_in_schema=False)
async def static(name: str) -> Response:
    """What the page loads: all of it is here."""
    if name not in STATIC:
        raise not_found("file")
    headers = {"Cache-Control": "public, max-age=3600"}
    data = _FILES.joinpath(name).read_bytes()
    return Response(data, media_type=STATIC[name], headers=headers)


@router.post("/verify", response_class=HTMLResponse, include_in_schema=False)
async def from_form(request: Request) -> HTMLResponse:
    """The report on what a form sends, as a page."""
    service = state(request)
    provider = service.home.provider
    try:
        sent = await _sent(request, service)
        scopes = service.scopes(sent.token)
        seen = await _look(service, sent, service.admit(request, scopes))
    except Problem as problem:
        title = "This could not be checked"
        html = page.problem(provider, title, str(problem.detail))
        return HTMLResponse(html, problem.status_code, headers=problem.headers)
    full = FULL in scopes
    try:
        jws: str | None = await _signed(service, sent, seen, full)
    except WatermarkError:  # an expired credential never stops a look
        jws = None
    html = page.report(
        provider,
        seen,
        full=full,
        name=sent.name,
        jws=jws,
        contact=service.settings.contact,
    )
    return HTMLResponse(html)


@router.post(
    "/v1/verify",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def from_body(request: Request) -> Response:
    """The report on a content, as JSON; signed, if ``Accept: application/jose``.

    A token for ``verify:full`` gets `watermark.report/1`, anybody else the coarse
    `watermark.publicreport/1`.
    """
    service = state(request)
    scopes = service.scopes(bearer(request))
    bill = service.admit(request, scopes)
    sent = Sent(await request.body(), text=False)
    seen = await _look(service, sent, bill)
    full = FULL in scopes
    if signed.MEDIA_TYPE not in request.headers.get("accept", ""):
        return Ascii(_report(seen, full))
    try:
        jws = await _signed(service, sent, seen, full)
    except WatermarkError:
        detail = "the report cannot be signed now: ask for JSON"
        raise Problem(503, "not-signed", detail) from None
    return Response(jws, media_type=signed.MEDIA_TYPE)


async def _look(service: State, sent: Sent, bill: Bill) -> dict[str, Any]:
    if not sent.data:
        raise malformed("there is nothing to check: choose a file or paste a text")
    seen = await service.ask(sent.data, bill, job="verify", text=sent.text)
    # As anybody may see it: who reads the metrics has no token.
    service.gauges.verdicts[words.verdict(seen["report"])] += 1
    seen["report"]["sha256"] = hashlib.sha256(sent.data).hexdigest()  # of texts too
    return seen


def _report(seen: dict[str, Any], full: bool) -> dict[str, Any]:
    found: dict[str, Any] = seen["report"]
    return found if full else words.public(found, seen["max_fpr"])


async def _signed(service: State, sent: Sent, seen: dict[str, Any], full: bool) -> str:
    return await run_in_threadpool(
        lambda: signed.sign(
            _report(seen, full),
            sha256=seen["report"]["sha256"],
            size=len(sent.data),
            credential=service.home.credential,
        )
    )


class Ascii(JSONResponse):
    """JSON that can always be sent: what strangers wrote may hold half a character."""

    def render(self, content: Any) -> bytes:
        """As bytes."""
        return json.dumps(content, allow_nan=False).encode()


class _Parser(MultiPartParser):
    """Keeps what is sent in memory: nothing is written to a disk."""

    spool_max_size = 0  # set for each request


async def _sent(request: Request, service: State) -> Sent:
    """What a form holds: one file, or a text; and a token."""
    kind = request.headers.get("content-type", "").lower()
    if not kind.startswith("multipart/form-data"):
        raise malformed("expected a form (multipart/form-data)")
    # Some of Python's codecs take hours: punycode's time grows with the square.
    _, options = parse_options_header(kind)
    if options.get(b"charset", b"utf-8") != b"utf-8":
        raise malformed("expected a form in UTF-8")
    most = service.settings.content
    parser = _Parser(
        request.headers,
        _chunks(request),
        max_files=1,
        max_fields=4,
        max_part_size=most,
    )
    parser.spool_max_size = most + FORM_BYTES
    try:
        fields = await parser.parse()
    except (MultiPartException, UnicodeError, ValueError) as error:
        raise malformed(f"the form cannot be read: {error}"[:200]) from None
    try:
        token = fields.get("token")
        given = fields.get("file")
        secret = token.strip() if isinstance(token, str) else None
        if isinstance(given, UploadFile):
            data = await given.read()
            if data:
                return Sent(data, False, given.filename or "a file", secret)
        text = fields.get("text")
        # A form sends every line break as CR LF, which no model wrote.
        plain = text.replace("\r\n", "\n") if isinstance(text, str) else ""
        return Sent(plain.encode("utf-8", "replace"), True, "", secret)
    finally:
        await fields.close()


async def _chunks(request: Request) -> AsyncGenerator[bytes, None]:
    async for chunk in request.stream():
        yield chunk
