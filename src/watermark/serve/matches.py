"""Which manifests a soft binding, or a content, leads to: ``/matches``."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from watermark.record import Mark
from watermark.resolution import messages
from watermark.resolution.messages import Match
from watermark.serve.limits import asker
from watermark.serve.parameters import (
    FETCH,
    Json,
    Results,
    check_alg,
    content,
    responses,
    value_of,
)
from watermark.serve.problems import Problem, malformed
from watermark.serve.repository import Repository, watermarks
from watermark.serve.state import address, bearer, state
from watermark.serve.words import fires
from watermark.serve.workers import Bill
from watermark.sign import fetching
from watermark.sign.fetching import FetchError

REFERENCE_SECONDS = 15.0
_CONTENT = re.compile(r"(image|audio|video|application|model|text)/[!-~]+")

router = APIRouter()


class Binding(BaseModel):
    """What POST /matches/byBinding asks."""

    alg: str
    value: str


class Reference(BaseModel):
    """What POST /matches/byReference asks."""

    reference_url: Annotated[str, Field(alias="referenceUrl", pattern="^https://")]
    asset_length: Annotated[int, Field(alias="assetLength", ge=1)]
    asset_type: Annotated[str | None, Field(alias="assetType")] = None
    region: list[Json] | None = None


@router.get("/matches/byBinding", responses=responses(400, 403, 414, 500))
async def get_by_binding(
    request: Request, alg: str, value: str, results: Results = messages.DEFAULT_RESULTS
) -> Json:
    """Manifests that a soft binding leads to."""
    if len(value) > 2 * messages.MAX_VALUE or len(alg) > messages.MAX_ALG:
        raise Problem(414, "uri-too-long", "a longer value is asked for with POST")
    return await _by_binding(request, alg, value, results)


@router.post("/matches/byBinding", responses=responses(400, 403, 500))
async def post_by_binding(
    request: Request, asked: Binding, results: Results = messages.DEFAULT_RESULTS
) -> Json:
    """Manifests that a soft binding leads to."""
    return await _by_binding(request, asked.alg, asked.value, results)


@router.post(
    "/matches/byContent",
    responses=responses(400, 403, 415, 500),
    openapi_extra=content(
        ["image/*", "audio/*", "video/*", "application/*", "model/*", "text/*"]
    ),
)
async def post_by_content(
    request: Request,
    alg: str | None = None,
    results: Results = messages.DEFAULT_RESULTS,
    hint_alg: Annotated[str | None, Query(alias="hintAlg")] = None,
    hint_value: Annotated[str | None, Query(alias="hintValue")] = None,
) -> Json:
    """Manifests that the marks in a content lead to."""
    declared = request.headers.get("content-type", "").partition(";")[0].strip()
    state(request).require(request, FETCH, open=True)
    if not _CONTENT.fullmatch(declared.lower()):
        raise _unsupported("expected the media type of an image, a sound, a text ...")
    hint = _hint(hint_alg, hint_value)
    check_alg(alg)
    bill = _admit(request)
    data = await request.body()
    return await _by_content(request, data, bill, alg, results, hint)


@router.post("/matches/byReference", responses=responses(400, 403, 500))
async def post_by_reference(
    request: Request,
    asked: Reference,
    alg: str | None = None,
    results: Results = messages.DEFAULT_RESULTS,
    hint_alg: Annotated[str | None, Query(alias="hintAlg")] = None,
    hint_value: Annotated[str | None, Query(alias="hintValue")] = None,
) -> Json:
    """As byContent, for what lies at a URL of a host that is allowed here."""
    service = state(request)
    service.require(request, FETCH, open=True)
    hint = _hint(hint_alg, hint_value)
    check_alg(alg)
    host = _host(asked.reference_url)
    if host not in service.settings.references:
        raise Problem(403, "reference-refused", "nothing is fetched from that host")
    if asked.asset_length > service.settings.content:
        raise malformed(f"at most {service.settings.content} bytes are fetched")
    bill = _admit(request)
    # What is fetched counts among what is sent, before it is there.
    who = asker(address(request))
    service.budget.take(asked.asset_length, who)
    try:
        # No redirect is followed, and the address that was checked is the one asked.
        data = await run_in_threadpool(
            fetching.exchange,
            asked.reference_url,
            limit=asked.asset_length,
            seconds=REFERENCE_SECONDS,
            https_only=True,
            public_only=not service.settings.private_references,
        )
        return await _by_content(request, data, bill, alg, results, hint)
    except FetchError:
        raise malformed("the reference cannot be fetched") from None
    except Problem as problem:
        if problem.status_code != HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
            raise
        raise malformed(problem.detail) from None  # this route has no 415
    finally:
        service.budget.give(asked.asset_length, who)


async def _by_binding(request: Request, alg: str, value: str, results: int) -> Json:
    state(request).require(request, FETCH, open=True)
    check_alg(alg)
    pairs = [(alg, value_of(value))]
    return await run_in_threadpool(_matches, state(request).repository, pairs, results)


async def _by_content(
    request: Request,
    data: bytes,
    bill: Bill,
    alg: str | None,
    results: int,
    hint: tuple[str, bytes] | None,
) -> Json:
    service = state(request)
    seen = await service.ask(data, bill, job="verify", text=False)
    report = seen["report"]
    marks = [e for e in report["evidence"] if e["layer"] == "mark"]
    if not seen["media_type"] or (
        report["kind"] in ("video", "document") and not marks
    ):
        raise _unsupported("there is no detector here for this type of content")
    pairs = [pair for e in marks if (pair := _pair(e, seen["max_fpr"], alg))]
    # A hint is looked up first if it is true, and never believed.
    pairs.sort(key=lambda pair: pair != hint)
    answer = await run_in_threadpool(
        _matches, service.repository, pairs, messages.MAX_RESULTS
    )
    # Of the manifests that a short mark leads to, verification has said which fit.
    fit = [e["detail"] for e in report["evidence"] if e["state"] == "recovered"]
    answer["matches"].sort(key=lambda match: match["manifestId"] not in fit)
    return {"matches": answer["matches"][:results]}


def _pair(evidence: Json, max_fpr: float, alg: str | None) -> tuple[str, bytes] | None:
    """The soft binding that a mark is, where it decides and carries an id."""
    if not fires(evidence, max_fpr) or not evidence["payload"]:
        return None
    name = Mark(
        scheme=evidence["scheme"], version=evidence["version"], key_id=""
    ).binding
    return (name, bytes.fromhex(evidence["payload"])) if alg in (None, name) else None


def _matches(
    repository: Repository, pairs: list[tuple[str, bytes]], results: int
) -> Json:
    most = min(results, messages.MAX_RESULTS)
    found = [n for pair in pairs for n in repository.by_binding(*pair, most)]
    names = list(dict.fromkeys(found))[:most]
    return {"matches": [Match(name).to_dict() for name in names]}


@router.get("/services/supportedAlgorithms", responses=responses(400, 403, 500))
async def get_algorithms(request: Request) -> Json:
    """The algorithms whose values are found in content here."""
    state(request).require(request, FETCH, open=True)
    return {"watermarks": [{"alg": alg} for alg in watermarks()], "fingerprints": []}


def _admit(request: Request) -> Bill:
    service = state(request)
    return service.admit(request, service.scopes(bearer(request)))


def _hint(alg: str | None, value: str | None) -> tuple[str, bytes] | None:
    check_alg(alg)
    found = value_of(value) if value is not None else None
    return (alg, found) if alg is not None and found is not None else None


def _host(url: str) -> str:
    """Host and port of a URL, as the allow-list has them, or ""."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port not in (None, 443) else ""
        if parts.username is not None or parts.password is not None:
            return ""
        return f"{parts.hostname or ''}{port}"
    except ValueError:
        return ""


def _unsupported(detail: str) -> Problem:
    return Problem(415, "unsupported-media-type", detail)
