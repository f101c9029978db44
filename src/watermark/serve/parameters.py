"""What the routes of the API have in common: parameters, and how they are described."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query

from watermark.resolution import messages
from watermark.serve.problems import malformed

FETCH, STORE, BIND = "fetch:manifests", "store:manifests", "store:bindings"
C2PA = "application/c2pa"

Json = dict[str, Any]
Results = Annotated[int, Query(alias="maxResults", ge=1)]


def responses(*codes: int) -> dict[int | str, Json]:
    """Statuses beside the good one, for OpenAPI."""
    return {code: {"description": "see RFC 9110"} for code in codes}


def content(media_types: list[str]) -> Json:
    """A body of bytes of these types, for OpenAPI."""
    schema = {"schema": {"type": "string", "format": "binary"}}
    content = dict.fromkeys(media_types, schema)
    return {"requestBody": {"required": True, "content": content}}


def value_of(text: str) -> bytes:
    """The bytes of a soft-binding value.

    Raises:
        Problem: 400.
    """
    try:
        return messages.decode_value(text)
    except ValueError as error:
        raise malformed(str(error)) from None


def check_alg(alg: str | None) -> None:
    """Return if this can name an algorithm, or is None.

    Raises:
        Problem: 400.
    """
    if alg is not None and not messages.is_alg(alg):
        raise malformed("alg is no name of an algorithm")


def manifest_id_of(text: str) -> str:
    """A manifest id.

    Raises:
        Problem: 400.
    """
    if not messages.is_manifest_id(text):
        raise malformed("this is no manifest id")
    return text
