"""The definition says what the record says, in the words of C2PA 2.4."""

import json
from dataclasses import replace
from typing import Any

import pytest

from watermark.record import Mark, Record
from watermark.sign import claims

CREATED = {
    "action": "c2pa.created",
    "when": "2026-11-23T09:00:00Z",
    "digitalSourceType": (
        "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    ),
    "softwareAgent": {"name": "acme-diffusion", "version": "3.1"},
}


def data_of(definition: dict[str, Any], label: str) -> list[Any]:
    return [a["data"] for a in definition["assertions"] if a["label"] == label]


def test_the_whole_definition_is_as_written_down_here(record: Record) -> None:
    definition = claims.definition(record)

    version = definition["claim_generator_info"][0].pop("version")
    assert isinstance(version, str)
    assert definition == {
        "claim_generator_info": [{"name": "watermark-sdk", "specVersion": "2.4.0"}],
        "assertions": [
            {
                "label": "c2pa.actions.v2",
                "created": True,
                "data": {
                    "allActionsIncluded": True,
                    "actions": [
                        CREATED,
                        {"action": "c2pa.watermarked.bound"},
                        {"action": "c2pa.watermarked.bound"},
                        {"action": "c2pa.watermarked.unbound"},
                    ],
                },
            },
            {
                "label": "c2pa.soft-binding",
                "created": True,
                "data": {
                    "alg": "org.watermark-sdk.noise.1",
                    "blocks": [{"scope": {}, "value": "+Pn6+/z9/v8="}],
                },
            },
            {
                "label": "c2pa.soft-binding",
                "created": True,
                "data": {
                    "alg": "org.watermark-sdk.pixel.2",
                    "blocks": [{"scope": {}, "value": "AAECAwQFBgc="}],
                },
            },
            {
                "label": "c2pa.ai-disclosure",
                "created": True,
                "data": {
                    "modelType": "c2pa.types.model",
                    "modelName": "lighthouse-xl",
                },
            },
            {
                "label": "org.watermark-sdk.record",
                "created": True,
                "data": {
                    "schema": "watermark.record/1",
                    "record_id": record.record_id,
                    "provider": "Acme",
                    "kind": "image",
                    "mark": [mark.to_dict() for mark in record.marks],
                },
            },
        ],
    }


def test_content_digests_stay_out_of_the_manifest(record: Record) -> None:
    assert record.content[0] not in json.dumps(claims.definition(record))


def test_without_a_mark_none_is_claimed(record: Record) -> None:
    definition = claims.definition(replace(record, marks=()))

    assert data_of(definition, "c2pa.soft-binding") == []
    assert data_of(definition, "c2pa.actions.v2")[0]["actions"] == [CREATED]
    assert data_of(definition, "org.watermark-sdk.record")[0]["mark"] == "none"


@pytest.mark.parametrize("mark_id", [b"", b"12345678"])
def test_a_mark_that_covers_nothing_is_not_claimed(
    record: Record, mark_id: bytes
) -> None:
    mark = Mark(scheme="noise", version=1, key_id="k", mark_id=mark_id, coverage=0.0)
    definition = claims.definition(replace(record, marks=(mark,)))

    assert data_of(definition, "c2pa.soft-binding") == []
    assert data_of(definition, "c2pa.actions.v2")[0]["actions"] == [CREATED]


def test_altered_media_is_opened_and_its_origin_left_open(record: Record) -> None:
    definition = claims.definition(replace(record, origin="altered"))

    first = data_of(definition, "c2pa.actions.v2")[0]["actions"][0]
    assert first["action"] == "c2pa.opened"
    assert first["parameters"] == {"ingredientIds": ["parent"]}
    assert "digitalSourceType" not in first
    assert data_of(definition, "c2pa.ai-disclosure") == []
    assert claims.needs_parent(definition)
    assert not claims.needs_parent(claims.definition(record))


@pytest.mark.parametrize(
    ("system", "agent"),
    [
        ("acme/diffusion/3", {"name": "acme/diffusion", "version": "3"}),
        ("acme", {"name": "acme"}),
        ("/3", {"name": "/3"}),
        ("", None),
    ],
)
def test_software_agent_is_the_system(
    record: Record, system: str, agent: dict[str, str] | None
) -> None:
    definition = claims.definition(replace(record, system=system))

    first = data_of(definition, "c2pa.actions.v2")[0]["actions"][0]
    assert first.get("softwareAgent") == agent
