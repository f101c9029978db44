"""A report quotes an untrusted file: no shape of JSON raises."""

import base64
import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watermark.sign import manifest
from watermark.sign.manifest import ManifestResult

GOOD = json.dumps(
    {
        "active_manifest": "m",
        "manifests": {
            "m": {
                "assertions": [
                    {"label": "c2pa.soft-binding", "data": {"alg": "", "blocks": []}},
                    {"label": "c2pa.actions.v2", "data": {"actions": []}},
                    {"label": "org.watermark-sdk.record", "data": {"record_id": ""}},
                ],
                "signature_info": {"issuer": "", "time": ""},
            }
        },
        "validation_state": "Trusted",
        "validation_results": {
            "activeManifest": {"success": [{"code": ""}], "failure": []},
            "ingredientDeltas": [{"validationDeltas": {}}],
        },
        "digitalSourceType": "assertion.dataHash.mismatch",
        "value": "claimSignature.validated",
    }
)
TRUSTED = {
    "code": manifest.SIGNER_TRUSTED,
    "explanation": manifest.FOUND_AMONG_SIGNERS,
}
STRINGS = sorted(set(re.findall(r'"([^"]+)"', GOOD)))  # every name a report can use
KEYS = WORDS = st.sampled_from(STRINGS)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | WORDS
JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(KEYS | st.text(max_size=3), inner, max_size=6)
    ),
    max_leaves=15,
)


def report(**changes: Any) -> dict[str, Any]:
    assertions = [
        {"label": "c2pa.soft-binding", "data": {"alg": "a.b", "blocks": []}},
        {"label": "c2pa.actions.v2", "data": {"actions": []}},
    ]
    active = {"assertions": assertions, "signature_info": {"issuer": "Acme"}}
    good = [{"code": manifest.SIGNATURE_GOOD}, TRUSTED]
    results = {"success": good, "failure": []}
    return {
        "active_manifest": "m",
        "manifests": {"m": active},
        "validation_state": "Trusted",
        "validation_results": {"activeManifest": results},
    } | changes


def with_bindings(*values: Any) -> dict[str, Any]:
    data = report()
    blocks = [{"scope": {}, "value": value} for value in values]
    data["manifests"]["m"]["assertions"][0]["data"]["blocks"] = blocks
    return data


def parse(data: Any) -> ManifestResult:
    return manifest.parse(json.dumps(data))


@settings(max_examples=60, deadline=None)
@given(JSON)
def test_no_json_raises(data: Any) -> None:
    assert parse(data).state in ("trusted", "valid", "invalid")


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(KEYS, JSON, max_size=4), JSON)
def test_no_assertion_raises(changes: dict[str, Any], assertion: Any) -> None:
    data = report(**changes)
    data["manifests"] = {"m": {"assertions": [assertion, changes], **changes}}
    found = parse(data | {"active_manifest": "m"})

    assert len(found.codes) <= manifest.MAX_ITEMS


@pytest.mark.parametrize("text", ["", "[", "null", "[]", "{}", "[" * 100_000, "NaN"])
def test_what_is_no_report_is_unreadable(text: str) -> None:
    assert manifest.parse(text) == manifest.unreadable()


def test_an_overlong_report_is_not_parsed() -> None:
    assert manifest.parse(" " * (1 << 24) + "{}") == manifest.unreadable()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (base64.b64encode(bytes(8)).decode(), bytes(8)),
        ([1, 2, 255], b"\1\2\xff"),
        ("2*0101", b"2*0101"),
        ("", None),
        ([1, 256], None),
        ([1, True], None),
        ([1.0], None),
        ("A" * 5000, None),
        ([0] * 5000, None),
        (None, None),
        ({"a": 1}, None),
    ],
)
def test_soft_bindings_are_decoded_leniently(value: Any, expected: bytes) -> None:
    found = parse(with_bindings(value)).soft_bindings

    assert found == ((("a.b", expected),) if expected else ())


def test_lists_are_cut() -> None:
    assert len(parse(with_bindings(*["AAAA"] * 500)).soft_bindings) == 64


@pytest.mark.parametrize("record_id", ["AB" * 16, "ab" * 15, "ab" * 16 + "\n", 7, None])
def test_a_record_id_is_32_hex_digits_or_nothing(record_id: Any) -> None:
    data = report()
    record = {"label": "org.watermark-sdk.record", "data": {"record_id": record_id}}
    data["manifests"]["m"]["assertions"].append(record)

    assert parse(data).record_id is None


def test_a_failure_past_the_cut_still_counts() -> None:
    """Sixty-four harmless codes do not hide the one that matters."""
    failure = [{"code": "assertion.dataHash.mismatch"}] * 99
    failure += [{"code": "claimSignature.mismatch"}]
    good = [{"code": manifest.SIGNATURE_GOOD}, TRUSTED]
    results = {"activeManifest": {"success": good, "failure": failure}}
    data = report(validation_state="Invalid", validation_results=results)

    found = parse(data)
    assert found.codes == ("assertion.dataHash.mismatch", "claimSignature.mismatch")
    assert not found.content_only_broken


def test_a_broken_ingredient_is_no_content_only_break() -> None:
    mismatch = [{"code": "assertion.dataHash.mismatch"}]
    good = [{"code": manifest.SIGNATURE_GOOD}, TRUSTED]
    delta = {"validationDeltas": {"failure": [{"code": "claimSignature.mismatch"}]}}
    results = {
        "activeManifest": {"success": good, "failure": mismatch},
        "ingredientDeltas": [delta],
    }

    data = report(validation_state="Invalid", validation_results=results)
    assert not parse(data).content_only_broken
    results["ingredientDeltas"] = []
    assert parse(data).content_only_broken


def test_invalid_always_has_a_code() -> None:
    assert parse(report(validation_state="Novel")).codes == ("general.error",)


LOCATION = {
    "code": "assertion.dataHash.mismatch",
    "explanation": manifest.NOT_LOCATED,
}
GOOD_CODES = [
    "claimSignature.validated",
    "signingCredential.trusted",
    "assertion.dataHash.match",
]


def in_text(
    failures: list[Any], success: list[str] = GOOD_CODES, **more: Any
) -> ManifestResult:
    results = {
        "activeManifest": {
            "success": [
                TRUSTED if code == manifest.SIGNER_TRUSTED else {"code": code}
                for code in success
            ],
            "failure": failures,
        },
        **more,
    }
    data = report(validation_state="Invalid", validation_results=results)
    return manifest.parse(json.dumps(data), in_text=True)


def test_in_a_text_the_librarys_blindness_alone_is_passed_over() -> None:
    untrusted = {"code": "signingCredential.untrusted"}
    mismatch = {"code": "assertion.dataHash.mismatch", "explanation": "hash"}
    unknown = [GOOD_CODES[0], GOOD_CODES[2]]
    delta = {"validationDeltas": {"failure": [{"code": "claimSignature.mismatch"}]}}

    assert in_text([LOCATION]).state == "trusted"
    assert in_text([LOCATION, untrusted], unknown).state == "valid"
    assert in_text([LOCATION], unknown).state == "invalid"
    assert in_text([LOCATION, mismatch]).state == "invalid"
    assert in_text([LOCATION, LOCATION]).state == "invalid"
    assert in_text([LOCATION], GOOD_CODES[:2]).state == "invalid"
    assert in_text([LOCATION], GOOD_CODES[1:]).state == "invalid"
    assert in_text([LOCATION], ingredientDeltas=[delta]).state == "invalid"
    assert in_text([mismatch]).state == "invalid"
    assert in_text([]).state == "invalid"


@settings(max_examples=60, deadline=None)
@given(JSON)
def test_no_json_raises_in_a_text(data: Any) -> None:
    text = json.dumps(data)
    assert manifest.parse(text, in_text=True).state in ("trusted", "valid", "invalid")
    assert isinstance(manifest.exclusions(text), tuple)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([{"start": 3, "length": 4}], ((3, 4),)),
        ([{"start": True, "length": 4}, {"start": 1.0, "length": 2}, 7], ()),
        ({"start": 3}, ()),
        (None, ()),
    ],
    ids=range(4),
)
def test_exclusions_are_whole_numbers(found: Any, expected: Any) -> None:
    binding = {"c2pa.hash.data": {"exclusions": found}}
    text = json.dumps({"manifests": [{"assertions": binding}]})

    assert manifest.exclusions(text) == expected
    assert manifest.exclusions("[" * 100_000) == ()


def test_no_ingredient_is_the_one_too_many() -> None:
    """A list is cut where it is told, and not where it decides."""
    sound: dict[str, Any] = {"validationDeltas": {"failure": []}}
    broken = {"validationDeltas": {"failure": [{"code": "claimSignature.mismatch"}]}}
    many = [sound] * (manifest.MAX_ITEMS + 1)
    assert in_text([LOCATION], ingredientDeltas=many).state == "trusted"
    assert in_text([LOCATION], ingredientDeltas=[*many, broken]).state == "invalid"
