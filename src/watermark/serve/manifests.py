"""Manifests that are kept, their receipts, and the bindings that lead to them."""

from __future__ import annotations

import json
from typing import Annotated

from fastapi import APIRouter, Body, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from watermark.errors import VerificationError
from watermark.resolution import messages, receipt
from watermark.serve.parameters import (
    BIND,
    C2PA,
    FETCH,
    STORE,
    Json,
    check_alg,
    content,
    manifest_id_of,
    responses,
    value_of,
)
from watermark.serve.problems import malformed, not_found
from watermark.serve.repository import Ambiguous, Facts, Taken, Unknown
from watermark.serve.state import free, state
from watermark.serve.tree import active_only

router = APIRouter()


class NewBinding(BaseModel):
    """What POST and PUT /bindings ask. The specification has no `alg`; some send it."""

    binding_value: Annotated[str, Field(alias="bindingValue")]
    manifest_id: Annotated[str, Field(alias="manifestId")]
    alg: str | None = None


@router.post(
    "/manifests",
    responses=responses(400, 403, 500),
    openapi_extra=content([C2PA]),
)
async def post_manifest(
    request: Request, wanted: Annotated[bool, Query(alias="returnReceipt")] = False
) -> Json:
    """Keep and log a manifest store."""
    service = state(request)
    service.require(request, STORE)
    declared = request.headers.get("content-type", "").partition(";")[0].strip()
    if declared.lower() != C2PA:
        raise malformed(f"the body is {declared[:80]!r}, expected {C2PA}")
    store = await request.body()
    seen = await service.ask(store, free, job="manifest")
    if not seen["sound"]:
        codes = ", ".join(seen["codes"][:8]) or "no hard binding"
        raise malformed(f"this is no sound manifest store: {codes}"[:500])
    facts = Facts.of(seen)
    if not messages.is_manifest_id(facts.manifest_id):
        raise malformed("the manifest's label is no manifest id")
    try:
        await run_in_threadpool(service.repository.add, store, facts)
    except Taken:
        raise malformed("this manifest id is another manifest's already") from None
    answer: Json = {"manifestId": facts.manifest_id}
    if wanted:
        answer["receipt"] = await run_in_threadpool(
            service.repository.receipt, facts.manifest_id, _uri(request)
        )
    return answer


@router.get(
    "/manifests/{manifestId}",
    responses={
        200: {"content": {C2PA: {"schema": {"type": "string", "format": "binary"}}}},
        **responses(400, 403, 404, 500),
    },
    response_class=Response,
)
async def get_manifest(
    request: Request,
    manifestId: str,  # noqa: N803  # the specification's name
    active: Annotated[bool, Query(alias="returnActiveManifest")] = False,
) -> Response:
    """A manifest store, or one with its active manifest alone."""
    state(request).require(request, FETCH, open=True)
    name = manifest_id_of(manifestId)
    store = await run_in_threadpool(state(request).repository.manifest, name)
    if store is None:
        raise not_found("manifest")
    return Response(active_only(store) if active else store, media_type=C2PA)


@router.delete(
    "/manifests/{manifestId}",
    responses=responses(400, 403, 404, 500),
    status_code=204,
    response_class=Response,
)
async def delete_manifest(
    request: Request,
    manifestId: str,  # noqa: N803
) -> Response:
    """Hand out a manifest no more, and drop its bindings."""
    state(request).require(request, STORE)
    name = manifest_id_of(manifestId)
    try:
        await run_in_threadpool(state(request).repository.withdraw, name)
    except Unknown:
        raise not_found("manifest") from None
    return Response(status_code=204)


@router.get("/manifests/{manifestId}/receipts", responses=responses(400, 404, 500))
async def get_receipt(
    request: Request,
    manifestId: str,  # noqa: N803
) -> Json:
    """Proof that a manifest was logged, to be checked without this service."""
    state(request).require(request, FETCH, open=True)
    name = manifest_id_of(manifestId)
    repository = state(request).repository
    found = await run_in_threadpool(repository.receipt, name, _uri(request))
    if found is None:
        raise not_found("manifest")
    return {**found, **_verified(found, repository.verifier)}


@router.post(
    "/manifests/{manifestId}/receipts",
    responses=responses(400, 404, 500),
    response_model=Json,
)
async def post_receipt(
    request: Request,
    manifestId: str,  # noqa: N803
    given: Annotated[Json, Body()],
) -> Response:
    """Whether a receipt is one of this log's, for this manifest."""
    state(request).require(request, FETCH, open=True)
    name = manifest_id_of(manifestId)
    if set(given) != {"@context", "@type", "repository", "anchor"}:
        raise malformed("the body is no manifestReceipt")
    repository = state(request).repository
    store = await run_in_threadpool(repository.manifest, name)
    if store is None:
        raise not_found("manifest")
    found = _verified(given, repository.verifier, name, store)
    try:  # a stranger's JSON: it may be too deep, or hold half a character
        data = json.dumps({**given, **found}, allow_nan=False)
    except (ValueError, RecursionError):
        raise malformed("the body is no manifestReceipt") from None
    return Response(data, media_type="application/json")


def _verified(
    given: Json, verifier: str, name: str | None = None, store: bytes | None = None
) -> Json:
    try:
        row = receipt.verify(given, verifier=verifier, manifest=store)
        if name not in (None, row.manifest_id):
            raise VerificationError("the receipt is of another manifest")
    except VerificationError as error:
        return {"verified": False, "error": str(error)[:500]}
    return {"verified": True}


@router.post(
    "/bindings",
    responses=responses(400, 403, 404, 500),
    status_code=204,
    response_class=Response,
)
async def post_binding(request: Request, asked: NewBinding) -> Response:
    """Let a value lead to a manifest as well."""
    return await _bind(request, asked, replace=False)


@router.put(
    "/bindings",
    responses=responses(400, 403, 404, 500),
    status_code=204,
    response_class=Response,
)
async def put_binding(request: Request, asked: NewBinding) -> Response:
    """Let a value lead to this manifest instead."""
    return await _bind(request, asked, replace=True)


async def _bind(request: Request, asked: NewBinding, *, replace: bool) -> Response:
    state(request).require(request, BIND)
    check_alg(asked.alg)
    value, name = value_of(asked.binding_value), manifest_id_of(asked.manifest_id)
    repository = state(request).repository
    act = repository.rebind if replace else repository.bind
    try:
        await run_in_threadpool(act, asked.alg, value, name)
    except Unknown:
        raise not_found("manifest or binding") from None
    except Ambiguous:
        raise malformed("several algorithms are possible: name one as alg") from None
    return Response(status_code=204)


def _uri(request: Request) -> str:
    return state(request).settings.public_url.rstrip("/")
