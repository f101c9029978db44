"""What is claimed about an output: a Record as a C2PA manifest definition.

The definition is what c2pa-python's Builder takes. Section numbers are those of the
C2PA 2.4 specification. The prompt is never claimed, nor any digest by which the
ledger recognises an output.

A record of origin ``altered`` says that somebody's finished file was marked here and
that nobody here generated it. Its first action is then `c2pa.opened`, which names the
input file as its parent ingredient and says nothing of how that came to be: 18.15.2
wants one created or opened action first, and 18.15 allows no source type on opened.
"""

from __future__ import annotations

import base64
import functools
import importlib.metadata
from typing import Any

from watermark.record import SCHEMA, Record

GENERATOR = "watermark-sdk"
SPEC_VERSION = "2.4.0"  # 10.2.3.2; the conformance programme requires it
ACTIONS = "c2pa.actions.v2"
SOFT_BINDING = "c2pa.soft-binding"
DISCLOSURE = "c2pa.ai-disclosure"
RECORD = "org.watermark-sdk.record"
PARENT = "parent"  # joins the opened action to its ingredient while signing

GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"

Json = dict[str, Any]


def definition(record: Record) -> Json:
    """The manifest definition for one output."""
    assertions = [_assertion(ACTIONS, _actions(record))]
    assertions += [
        _assertion(SOFT_BINDING, _soft_binding(mark.binding, mark.mark_id))
        for mark in record.marks
        if mark.mark_id and mark.coverage > 0
    ]
    if record.origin == "created":
        assertions.append(_assertion(DISCLOSURE, _disclosure(record)))
    assertions.append(_assertion(RECORD, _record(record)))
    return {"claim_generator_info": [_generator()], "assertions": assertions}


def needs_parent(manifest_definition: Json) -> bool:
    """Whether the input file has to be added as the parent ingredient."""
    actions = manifest_definition["assertions"][0]["data"]["actions"]
    return bool(actions[0]["action"] == "c2pa.opened")


def _assertion(label: str, data: Json) -> Json:
    # Without `created` an assertion counts as gathered: not the signer's own (10.2.2).
    return {"label": label, "created": True, "data": data}


def _generator() -> Json:
    return {"name": GENERATOR, "version": _version(), "specVersion": SPEC_VERSION}


@functools.cache
def _version() -> str:
    try:
        return importlib.metadata.version(GENERATOR)
    except importlib.metadata.PackageNotFoundError:  # run from a source tree
        return "0"


def _actions(record: Record) -> Json:
    first: Json = {"action": "c2pa.created", "digitalSourceType": GENERATED}
    if record.origin == "altered":
        first = {"action": "c2pa.opened", "parameters": {"ingredientIds": [PARENT]}}
    first["when"] = record.created_at
    if record.system:
        first["softwareAgent"] = _agent(record.system)
    # A mark that carries an identifier is bound by the soft binding that repeats it;
    # one that only says "present" is unbound (18.15.5). One that covers nothing is
    # not there, and is not claimed.
    marked = [
        {"action": f"c2pa.watermarked.{'bound' if mark.mark_id else 'unbound'}"}
        for mark in record.marks
        if mark.coverage > 0
    ]
    return {"allActionsIncluded": True, "actions": [first, *marked]}


def _agent(system: str) -> Json:
    name, slash, version = system.rpartition("/")
    return {"name": name, "version": version} if slash and name else {"name": system}


def _soft_binding(algorithm: str, value: bytes) -> Json:
    # The library writes a text string where 18.10.2 wants bytes (c2pa-rs#2689), so
    # the value is base64, as in the lookup API of the specification.
    text = base64.b64encode(value).decode()
    return {"alg": algorithm, "blocks": [{"scope": {}, "value": text}]}


def _disclosure(record: Record) -> Json:
    disclosure = {"modelType": "c2pa.types.model"}  # 18.28: the one required field
    if record.model:
        disclosure["modelName"] = record.model
    return disclosure


def _record(record: Record) -> Json:
    return {
        "schema": SCHEMA,
        "record_id": record.record_id,
        "provider": record.provider,
        "kind": record.kind,
        "mark": record.to_dict()["mark"],
    }
