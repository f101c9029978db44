"""The checks of C2PA's asset rubric 0.2 for 2.4 that matter to what we write.

From c2pa-org/conformance-public, asset-rubric-conformance0.2-spec2.4.yml, by their
names there; evaluated over the same crJSON, without the json-formula interpreter.
"""

import io
import json
from dataclasses import replace
from typing import Any

import c2pa as native  # noqa: TID251  # its crJSON is what the rubric is written for
import pytest
from benchmarks.conformance.signing import TEXTS

from watermark.record import Record
from watermark.sign import c2pa, claims, packing, text
from watermark.sign.credential import Credential
from watermark.sign.manifest import NOT_LOCATED

ALLOWED = {
    "c2pa.actions.v2",
    "c2pa.ai-disclosure",
    "c2pa.hash.bmff.v3",
    "c2pa.hash.collection.data",
    "c2pa.hash.data",
    "c2pa.ingredient.v3",
    "c2pa.soft-binding",
}
ACTIONS = {
    "c2pa.created",
    "c2pa.opened",
    "c2pa.watermarked.bound",
    "c2pa.watermarked.unbound",
}


@pytest.fixture(params=c2pa.EMBEDDABLE)
def media_type(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["created", "altered"])
def manifest(
    request: pytest.FixtureRequest,
    media_type: str,
    files: dict[str, bytes],
    credential: Credential,
    record: Record,
) -> dict[str, Any]:
    """The active manifest, as crJSON."""
    definition = claims.definition(replace(record, origin=request.param))
    data = files[media_type]
    parent = (data, media_type) if request.param == "altered" else None
    asset = c2pa.sign(data, media_type, definition, credential, parent=parent)
    with (
        native.Context() as context,
        native.Reader(
            packing.ZIP_TYPES.get(media_type, media_type),
            io.BytesIO(asset.data),
            context=context,
        ) as reader,
    ):
        active = json.loads(reader.crjson())["manifests"][0]
    assert isinstance(active, dict)
    return active


@pytest.mark.parametrize("origin", ["created", "altered"])
@pytest.mark.parametrize("name", TEXTS)
def test_rubric_for_texts(
    credential: Credential, record: Record, name: str, origin: str
) -> None:
    """The same checks; the library's one failure is that it finds no manifest there."""
    carrier, suffix, data = TEXTS[name]
    definition = claims.definition(replace(record, kind="text", origin=origin))  # type: ignore[arg-type]  # both are origins
    parent = (data, "text/plain") if origin == "altered" else None
    signed = text.sign(
        data, definition, credential, carrier=carrier, suffix=suffix, parent=parent
    )
    stream = io.BytesIO(signed.data)
    with (
        native.Context() as context,
        native.Reader("text/plain", stream, signed.manifest, context=context) as reader,
    ):
        active = json.loads(reader.crjson())["manifests"][0]
    results = active["validationResults"]
    failures = [f for f in results["failure"] if f["explanation"] != NOT_LOCATED]

    assert len(results["failure"]) - len(failures) == (carrier != "sidecar")
    assert "assertion.dataHash.match" in {each["code"] for each in results["success"]}
    check(active | {"validationResults": {"failure": failures}})


def test_rubric(manifest: dict[str, Any]) -> None:
    check(manifest)


def check(manifest: dict[str, Any]) -> None:
    claim, assertions = manifest["claim.v2"], manifest["assertions"]
    actions = assertions["c2pa.actions.v2"]
    created = [reference["url"] for reference in claim["created_assertions"]]
    labels = {label.partition("__")[0] for label in assertions}
    first = actions["actions"][0]

    # mandatory_spec_version
    info = claim["claim_generator_info"]
    assert (info[0] if isinstance(info, list) else info)["specVersion"] == "2.4.0"
    # mandatory_all_actions_included
    assert actions["allActionsIncluded"] is True
    # inception_action_position
    assert first["action"] in ("c2pa.created", "c2pa.opened")
    inceptions = [a for a in actions["actions"] if a["action"] == first["action"]]
    assert len(inceptions) == 1
    in_order = [url for url in created if "c2pa.actions" in url]
    assert in_order[0].endswith("c2pa.actions.v2")
    # no_dst_for_opened_action
    assert ("digitalSourceType" in first) == (first["action"] == "c2pa.created")
    # no_deprecated_assertions, no_unsupported_assertions, no_unrecognized_custom_*
    assert {label for label in labels if label.startswith("c2pa.")} <= ALLOWED
    assert {label for label in labels if not label.startswith("c2pa.")} == {
        "org.watermark-sdk.record"
    }
    # no_deprecated_actions, no_unsupported_actions
    assert {action["action"] for action in actions["actions"]} <= ACTIONS
    # all of ours are the signer's own, none is gathered
    assert not claim.get("gathered_assertions")
    # well_formed_success, valid_success: an untrusted root is all that is missing
    failures = manifest["validationResults"].get("failure", [])
    assert {failure["code"] for failure in failures} == {"signingCredential.untrusted"}
