"""What is claimed about an output: a Record as a C2PA manifest definition.

The definition is what c2pa-python's Builder takes, and ``resources`` beside it.
Section numbers are those of the C2PA 2.4 specification. The prompt is not claimed
unless it is given for that, and never any digest by which the ledger recognises an
output.

A record of origin ``altered`` says that somebody's finished file was marked here and
that nobody here generated it. Its first action is then `c2pa.opened`, which names the
input file as its parent ingredient and says nothing of how that came to be: 18.15.2
wants one created or opened action first, and 18.15 allows no source type on opened.
"""

from __future__ import annotations

import base64
import functools
import importlib.metadata
from collections.abc import Sequence
from typing import Any

from watermark.record import BINDING_PREFIX, SCHEMA, Record

GENERATOR = "watermark-sdk"
SPEC_VERSION = "2.4.0"  # 10.2.3.2; the conformance programme requires it
ACTIONS = "c2pa.actions.v2"
SOFT_BINDING = "c2pa.soft-binding"
DISCLOSURE = "c2pa.ai-disclosure"
RECORD = "org.watermark-sdk.record"
RESERVE = "org.watermark-sdk.reserve"  # room that the signature needs; never signed
BOUND, UNBOUND = "c2pa.watermarked.bound", "c2pa.watermarked.unbound"
PARENT = "parent"  # joins the opened action to its ingredient while signing

PROVIDER = "org.watermark-sdk.provider"
FINGERPRINT = f"{BINDING_PREFIX}.fingerprint.1"  # `watermark.assets.fingerprint`
MODEL, PROMPT = "model", "prompt"  # join the created action to its ingredients

# 18.15.4.5. The last one is for tables and the like, which are no media.
_IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"
GENERATED = _IPTC + "trainedAlgorithmicMedia"
SOURCES = {
    "trained": GENERATED,
    "composite": _IPTC + "compositeWithTrainedAlgorithmicMedia",
    "data": "http://c2pa.org/digitalsourcetype/trainedAlgorithmicData",
}

Json = dict[str, Any]


def definition(record: Record, *, prompt: str | None = None) -> Json:
    """The manifest definition for one output.

    Args:
        record: what is known of the output.
        prompt: that it was generated from, to be published with it. It can hold
            personal data, and a record never does.
    """
    assertions = [_assertion(ACTIONS, _actions(record, prompt))]
    # Those of the marks first, in the marks' order: they are tied to their actions
    # by it (`watermark.sign.reseal`).
    bindings = [
        (mark.binding, mark.mark_id)
        for mark in record.marks
        if mark.mark_id and mark.coverage > 0
    ]
    # The sketch of a text stays in the ledger: here it would cost an eighth of the
    # manifest, which may travel inside the text, and tell nobody where to look.
    if record.fingerprint and record.kind != "text":
        bindings.append((FINGERPRINT, record.fingerprint))
    assertions += [
        _assertion(SOFT_BINDING, _soft_binding(algorithm, value))
        for algorithm, value in bindings
    ]
    if _generated(record):
        assertions.append(_assertion(DISCLOSURE, _disclosure(record)))
    assertions.append(_assertion(RECORD, _record(record)))
    if record.about:
        assertions.append(_assertion(PROVIDER, record.about.to_dict()))
    manifest: Json = {
        "claim_generator_info": [_generator()],
        "assertions": assertions,
    }
    if ingredients := _ingredients(record, prompt):
        manifest["ingredients"] = ingredients
    return manifest | ({"resources": {PROMPT: prompt}} if prompt is not None else {})


def updated(assertions: Sequence[Json]) -> Json:
    """The definition of an update manifest, which says nothing of the content."""
    return {
        "claim_generator_info": [_generator()],
        "assertions": [{"created": True, **each} for each in assertions],
    }


def needs_parent(manifest_definition: Json) -> bool:
    """Whether the input file has to be added as the parent ingredient."""
    actions = manifest_definition["assertions"][0]["data"]["actions"]
    return bool(actions[0]["action"] == "c2pa.opened")


def _generated(record: Record) -> bool:
    """Whether a model had a hand in it, as far as is known."""
    return record.origin == "created" or record.source is not None


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


def _actions(record: Record, prompt: str | None) -> Json:
    made = _made(record, prompt)
    actions = [made]
    if record.origin == "altered":
        opened = {"action": "c2pa.opened", "parameters": {"ingredientIds": [PARENT]}}
        # 18.15.2 wants one created or opened action first, and on opened no source:
        # a change by a model is an action of its own.
        actions = [opened | {"when": record.created_at}]
        if record.source is not None:
            actions.append(made | {"action": "c2pa.edited"})
        elif record.system:
            actions[0]["softwareAgent"] = _agent(record.system)
    # A mark that carries an identifier is bound by the soft binding that repeats it;
    # one that only says "present" is unbound (18.15.5). One that covers nothing is
    # not there, and is not claimed.
    actions += [
        {"action": BOUND if mark.mark_id else UNBOUND}
        for mark in record.marks
        if mark.coverage > 0
    ]
    return {"allActionsIncluded": True, "actions": actions}


def _made(record: Record, prompt: str | None) -> Json:
    action: Json = {
        "action": "c2pa.created",
        "digitalSourceType": SOURCES[record.source or "trained"],
        "when": record.created_at,
    }
    if record.system:
        action["softwareAgent"] = _agent(record.system)
    if used := [each["label"] for each in _ingredients(record, prompt)]:
        action["parameters"] = {"ingredientIds": used}
    return action


def _agent(system: str) -> Json:
    name, slash, version = system.rpartition("/")
    return {"name": name, "version": version} if slash and name else {"name": system}


def _ingredients(record: Record, prompt: str | None) -> list[Json]:
    """The model, where it is known which one, and the prompt, where it is given."""
    found: list[Json] = []
    if record.model_id and _generated(record):
        types = ["c2pa.types.generator", record.model_type or "c2pa.types.model"]
        model = _input(MODEL, "application/octet-stream", types)
        found.append(model | {"title": record.model_id})
    if prompt is not None:
        prompted = _input(PROMPT, "text/plain", ["c2pa.types.generator.prompt"])
        data = {"format": "text/plain", "identifier": PROMPT}
        found.append(prompted | {"data": data})
    return found


def _input(label: str, media_type: str, types: list[str]) -> Json:
    return {
        "label": label,
        "format": media_type,
        "relationship": "inputTo",
        "data_types": [{"type": each} for each in types],
    }


def _soft_binding(algorithm: str, value: bytes) -> Json:
    # In JSON as base64; what is signed is a byte string (`watermark.sign.reseal`).
    text = base64.b64encode(value).decode()
    return {"alg": algorithm, "blocks": [{"scope": {}, "value": text}]}


def _disclosure(record: Record) -> Json:
    # 18.28: the type is the one required field.
    disclosure: Json = {"modelType": record.model_type or "c2pa.types.model"}
    if record.model:
        disclosure["modelName"] = record.model
    if record.model_id:
        disclosure["modelIdentifier"] = record.model_id
    if record.oversight:
        disclosure["contentProfile"] = {"humanOversightLevel": record.oversight}
    return disclosure


def _record(record: Record) -> Json:
    return {
        "schema": SCHEMA,
        "record_id": record.record_id,
        "provider": record.provider,
        "kind": record.kind,
        "mark": record.to_dict()["mark"],
    }
