"""The definition says what the record says, in the words of C2PA 2.4."""

import json
from dataclasses import replace
from typing import Any

import pytest

from watermark.record import Mark, Provider, Record
from watermark.sign import c2pa, claims, jumbf
from watermark.sign.credential import Credential

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


def test_the_source_says_how_it_came_to_be(record: Record) -> None:
    for source, uri in [
        (
            None,
            "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia",
        ),
        ("data", "http://c2pa.org/digitalsourcetype/trainedAlgorithmicData"),
    ]:
        definition = claims.definition(replace(record, source=source))  # type: ignore[arg-type]  # both are sources
        first = data_of(definition, "c2pa.actions.v2")[0]["actions"][0]

        assert (first["action"], first["digitalSourceType"]) == ("c2pa.created", uri)


def test_a_change_by_a_model_is_an_edit_of_what_was_opened(record: Record) -> None:
    edited = replace(record, origin="altered", source="composite", marks=())
    definition = claims.definition(edited)
    opened, edit = data_of(definition, "c2pa.actions.v2")[0]["actions"]

    assert "digitalSourceType" not in opened
    assert "softwareAgent" not in opened
    assert edit == CREATED | {
        "action": "c2pa.edited",
        "digitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/"
        "compositeWithTrainedAlgorithmicMedia",
    }
    assert data_of(definition, "c2pa.ai-disclosure")


def test_the_model_is_disclosed_and_an_ingredient_where_it_is_known(
    record: Record,
) -> None:
    assert "ingredients" not in claims.definition(record)

    known = replace(
        record,
        model_id="pkg:huggingface/acme/lighthouse@3f2a",
        model_type="c2pa.types.model.diffusion",
        oversight="prompt_guided",
    )
    definition = claims.definition(known)
    first = data_of(definition, "c2pa.actions.v2")[0]["actions"][0]
    assert data_of(definition, "c2pa.ai-disclosure") == [
        {
            "modelType": "c2pa.types.model.diffusion",
            "modelName": "lighthouse-xl",
            "modelIdentifier": "pkg:huggingface/acme/lighthouse@3f2a",
            "contentProfile": {"humanOversightLevel": "prompt_guided"},
        }
    ]
    assert first["parameters"] == {"ingredientIds": ["model"]}
    assert definition["ingredients"] == [
        {
            "label": "model",
            "title": "pkg:huggingface/acme/lighthouse@3f2a",
            "format": "application/octet-stream",
            "relationship": "inputTo",
            "data_types": [
                {"type": "c2pa.types.generator"},
                {"type": "c2pa.types.model.diffusion"},
            ],
        }
    ]


def test_a_prompt_is_published_only_if_it_is_given_for_that(record: Record) -> None:
    definition = claims.definition(record, prompt="a lighthouse")
    first = data_of(definition, "c2pa.actions.v2")[0]["actions"][0]

    assert definition["resources"] == {"prompt": "a lighthouse"}
    assert first["parameters"] == {"ingredientIds": ["prompt"]}
    assert "resources" not in claims.definition(record)


def test_prompt_and_model_are_signed(
    record: Record, credential: Credential, files: dict[str, bytes]
) -> None:
    known = replace(record, model_id="pkg:huggingface/acme/lighthouse@3f2a")
    definition = claims.definition(known, prompt="a lighthouse at dusk")
    signed = c2pa.sign(files["image/png"], "image/png", definition, credential)
    manifest = jumbf.parse(signed.manifest)
    first = manifest.content("c2pa.actions.v2")["actions"][0]
    labels = ["c2pa.ingredient.v3", "c2pa.ingredient.v3__1"]

    assert first["parameters"]["ingredients"] == [*map(manifest.reference, labels)]
    assert b"a lighthouse at dusk" in manifest.assertions["c2pa.embedded-data"]
    assert manifest.content(labels[0])["dc:title"] == known.model_id


def test_the_provider_says_who_it_is_and_where_to_ask(record: Record) -> None:
    about = Provider(
        name="Acme Ltd",
        url="https://acme.example",
        detector="https://acme.example/detect",
        filings=(("CAC", "0000-0000"),),
    )
    definition = claims.definition(replace(record, about=about))

    assert data_of(definition, "org.watermark-sdk.provider") == [
        {
            "name": "Acme Ltd",
            "url": "https://acme.example",
            "detector": "https://acme.example/detect",
            "filings": [{"authority": "CAC", "number": "0000-0000"}],
        }
    ]


def test_the_fingerprint_is_the_last_soft_binding(record: Record) -> None:
    definition = claims.definition(replace(record, fingerprint=b"\1\2"))
    last = data_of(definition, "c2pa.soft-binding")[-1]
    bound = [
        action
        for action in data_of(definition, "c2pa.actions.v2")[0]["actions"]
        if action["action"] == "c2pa.watermarked.bound"
    ]

    assert last == {
        "alg": "org.watermark-sdk.fingerprint.1",
        "blocks": [{"scope": {}, "value": "AQI="}],
    }
    assert len(bound) == len(data_of(definition, "c2pa.soft-binding")) - 1


def test_a_record_keeps_what_it_is_told(record: Record) -> None:
    about = Provider(name="Acme Ltd", contact="a@b.example", filings=(("CAC", "1"),))
    full = replace(record, source="composite", model_id="x", about=about)

    assert Record.from_dict(full.to_dict()) == full
    assert set(full.to_dict()) - set(record.to_dict()) == {
        "source",
        "model_id",
        "about",
    }
