"""What a manifest store says of itself: the active manifest, and what it was made from.

This is for reading only. Whether a word of it is true, `watermark.sign.c2pa` has told:
here nothing is verified, everything has a limit, and what cannot be read is left out.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

import cbor2

from watermark.sign.jumbf import boxes, well_formed

MAX_NODES, MAX_DEPTH, MAX_ITEMS, MAX_TEXT = 64, 8, 32, 300
_NOTHING = (b"", b"")
_PREFIX = "self#jumbf=/c2pa/"
_UNREADABLE = (
    *(cbor2.CBORError, struct.error),
    *(ValueError, TypeError, KeyError, IndexError, RecursionError, OverflowError),
)

Node = dict[str, Any]


def read(store: bytes) -> Node | None:
    """The active manifest and its ingredients, as JSON-ready data; None: unreadable.

    Returns:
        ``label``, ``generator``, ``actions`` (each ``action`` and ``source``) and
        ``ingredients``: each ``relationship``, ``title``, ``format`` and, where its
        manifest is in the store, ``manifest``: a node as this one.
    """
    if not well_formed(store):
        return None
    try:
        manifests = dict(_manifests(store))
    except _UNREADABLE:
        return None
    if not manifests:
        return None
    left = [MAX_NODES]
    return _node(list(manifests)[-1], manifests, (), left)


def active_only(store: bytes) -> bytes:
    """A store with the active manifest of this one alone; as it is, if unreadable."""
    try:
        ((kind, whole),) = boxes(store)
        about, *_, active = boxes(whole)
    except _UNREADABLE:
        return store
    return _box(kind, _box(*about) + _box(*active))


def _box(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I4s", len(payload) + 8, kind) + payload


def _manifests(store: bytes) -> Iterator[tuple[str, bytes]]:
    _, whole = next(boxes(store), _NOTHING)
    for kind, payload in boxes(whole):
        if kind == b"jumb":
            yield _label(payload), payload


def _node(
    label: str, manifests: dict[str, bytes], above: tuple[str, ...], left: list[int]
) -> Node:
    left[0] -= 1
    claim, assertions = _parts(manifests[label])
    node: Node = {"label": _text(label), "generator": _generator(claim)}
    node["actions"] = list(_actions(assertions))[:MAX_ITEMS]
    node["ingredients"] = []
    for name, said in assertions:
        if not name.startswith("c2pa.ingredient") or not isinstance(said, dict):
            continue
        found: Node = {
            "relationship": _text(said.get("relationship")),
            "title": _text(said.get("dc:title")),
            "format": _text(said.get("dc:format")),
        }
        below = _pointed(said)
        inner = below in manifests and below not in (*above, label)
        if inner and len(above) < MAX_DEPTH and left[0] > 0:
            found["manifest"] = _node(below, manifests, (*above, label), left)
        elif below:
            found["label"] = _text(below)
        node["ingredients"].append(found)
        if len(node["ingredients"]) >= MAX_ITEMS:
            break
    return node


def _parts(payload: bytes) -> tuple[dict[str, Any], list[tuple[str, Any]]]:
    """The claim, and label and content of each assertion that can be read."""
    claim: dict[str, Any] = {}
    assertions: list[tuple[str, Any]] = []
    try:
        for kind, part in boxes(payload):
            name = _label(part) if kind == b"jumb" else ""
            if name.startswith("c2pa.claim"):
                found = _content(part)
                claim = found if isinstance(found, dict) else {}
            elif name == "c2pa.assertions":
                for inner, each in boxes(part):
                    if inner == b"jumb":
                        assertions.append((_label(each), _content(each)))
    except _UNREADABLE:
        pass  # what was read so far
    return claim, assertions


def _label(payload: bytes) -> str:
    _, about = next(boxes(payload), _NOTHING)
    return about[17:].partition(b"\0")[0].decode()


def _content(payload: bytes) -> Any:
    """What a CBOR or JSON assertion holds; None for any other, or a damaged one."""
    for kind, data in boxes(payload):
        try:
            if kind == b"cbor":
                return cbor2.loads(data)
            if kind == b"json":
                return json.loads(data)
        except _UNREADABLE:
            return None
    return None


def _generator(claim: dict[str, Any]) -> str:
    info = claim.get("claim_generator_info")
    if isinstance(info, list):
        info = info[0] if info else None
    if isinstance(info, dict):
        words = (_text(info.get("name")), _text(info.get("version")))
        return " ".join(word for word in words if word)
    return _text(claim.get("claim_generator"))


def _actions(assertions: list[tuple[str, Any]]) -> Iterator[dict[str, str]]:
    for name, said in assertions:
        if not name.startswith("c2pa.actions") or not isinstance(said, dict):
            continue
        listed = said.get("actions")
        for action in listed[:MAX_ITEMS] if isinstance(listed, list) else ():
            if isinstance(action, dict):
                yield {
                    "action": _text(action.get("action")),
                    "source": _text(action.get("digitalSourceType")),
                }


def _pointed(ingredient: dict[str, Any]) -> str:
    """Label of the manifest that an ingredient points to, or ""."""
    for field in ("activeManifest", "c2pa_manifest"):
        link = ingredient.get(field)
        url = link.get("url") if isinstance(link, dict) else None
        if isinstance(url, str) and url.startswith(_PREFIX):
            return url.removeprefix(_PREFIX)
    return ""


def _text(value: Any) -> str:
    return value[:MAX_TEXT] if isinstance(value, str) else ""
