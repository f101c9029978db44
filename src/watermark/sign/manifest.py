"""What a manifest was found to say, read from the library's JSON report.

The report quotes an untrusted file: the library has checked hashes and signatures, but
not one type or length of what an assertion holds. So every step here checks its type,
every list is cut and every string has a limit.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from watermark.sign.claims import RECORD, SOFT_BINDING, SPEC_VERSION

State = Literal["trusted", "valid", "invalid", "none", "remote"]
Results = dict[str, Any]  # validation results, as an ingredient keeps them
Stamped = Literal["trusted", "untrusted", "none"]

MAX_REPORT_CHARS = 1 << 24  # ours take 6 thousand; a hostile one is not parsed
MAX_ITEMS = 64  # per list: ours hold a handful
MAX_TEXT = 2048  # no code, name or URL we know of is longer
MAX_BINDING_BYTES = 1024  # ours are 8; fingerprints in the C2PA list stay under 512

GENERAL_ERROR = "general.error"  # C2PA 2.4, 15.2.2: anything without its own code
CONTENT_HASH_CODES = frozenset(
    {
        "assertion.dataHash.mismatch",
        "assertion.bmffHash.mismatch",
        "assertion.boxesHash.mismatch",
        "assertion.collectionHash.mismatch",
    }
)
CONTENT_MATCH_CODES = frozenset(
    {
        "assertion.dataHash.match",
        "assertion.bmffHash.match",
        "assertion.boxesHash.match",
        "assertion.collectionHash.match",
    }
)
SIGNATURE_GOOD, SIGNER_TRUSTED = "claimSignature.validated", "signingCredential.trusted"
STAMP, STAMP_TRUSTED = "timeStamp.", {"timeStamp.validated", "timeStamp.trusted"}
SIGNER_UNKNOWN = "signingCredential.untrusted"
CREDENTIAL_INVALID = "signingCredential.invalid"
_UNKNOWN = {"code": SIGNER_UNKNOWN}
# How the library says that it was among `trust_anchors`, where those for signers are.
# If the wording changes, nobody is trusted and a test says so.
FOUND_AMONG_SIGNERS = (
    "signing certificate trusted, found in [system_anchors] trust anchors"
)
# All that the library knows of manifests in text: it looks for none there, so where
# one is excluded from the hash it says this. `watermark.sign.text` looks itself.
NOT_LOCATED = "data hash exclusion does not match the manifest location in the asset"

_STATES: dict[str, State] = {"Trusted": "trusted", "Valid": "valid"}
_RECORD_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestResult:
    """What was found; `state` says how far it can be believed.

    Attributes:
        state: ``trusted``: all checks pass, and the signer leads to an anchor.
            ``valid``: all checks pass, the signer is unknown. ``invalid``: a check
            failed. ``none``: no manifest. ``remote``: only a pointer to one.
        signer: organisation in the signer's certificate.
        signed_at: when a trusted time-stamp authority saw the signature, or None.
        timestamp: ``trusted``: of an authority that leads to an anchor. ``untrusted``:
            there is one, and its time says nothing. ``none``.
        manifest_id: label of the active manifest.
        parents: labels of the manifests of what this was made from by editing, the
            nearest first (C2PA 2.4, ``parentOf``).
        codes: C2PA's codes of what failed, unchanged; ``general.error`` where the
            file could not be read at all.
        soft_bindings: algorithm and value of each soft binding.
        source_types: URIs of the digital source types of the active manifest.
        record_id: record named by our own assertion.
        remote_url: where the file says its manifest is; never fetched.
        content_only_broken: a trusted signature over other content, and nothing else
            wrong: what a manifest looked up for a re-encoded file shows.
        content_matches: the content hash was checked, and it matches.
        manifest: the bytes of the manifest store.
        exclusions: start and length of what the hard binding leaves out, in bytes;
            only of a text.
    """

    state: State
    signer: str = ""
    signed_at: str | None = None
    timestamp: Stamped = "none"
    manifest_id: str = ""
    parents: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    soft_bindings: tuple[tuple[str, bytes], ...] = ()
    source_types: tuple[str, ...] = ()
    record_id: str | None = None
    remote_url: str | None = None
    content_only_broken: bool = False
    content_matches: bool = False
    manifest: bytes | None = field(default=None, repr=False)
    exclusions: tuple[tuple[int, int], ...] = ()


def unreadable(code: str = GENERAL_ERROR) -> ManifestResult:
    """The result for a manifest that is there and cannot be read."""
    return ManifestResult(state="invalid", codes=(code,))


def parse(report: str, *, in_text: bool = False) -> ManifestResult:
    """Read the library's JSON report; anything unexpected is `unreadable`.

    Args:
        report: as the library wrote it.
        in_text: the manifest was found in a text, and the caller compares the place
            with the exclusion: that the library cannot do so counts for nothing.
    """
    if len(report) > MAX_REPORT_CHARS:
        return unreadable()
    try:
        data = json.loads(report)
    except (ValueError, RecursionError):
        return unreadable()
    label = _text(_get(data, "active_manifest"))
    active = _get(_get(data, "manifests"), label)
    if not label or not isinstance(active, dict):
        return unreadable()
    data = _signers_alone(data)
    if in_text:
        data = _without_location(data)
    claimed = replace(_claimed(label, active), parents=_parents(data, label))
    return _judged(data, claimed)


def results(report: str, *, in_text: bool = False) -> Results:
    """What validating a manifest found, to be kept in that of which it is the parent.

    Codes and places of C2PA 2.4, 18.16.10; nothing else of the report.
    """
    try:
        data = json.loads(report) if len(report) <= MAX_REPORT_CHARS else {}
    except (ValueError, RecursionError):
        data = {}
    if in_text:
        data = _without_location(data)
    active = _get(_get(data, "validation_results"), "activeManifest")
    return {
        "activeManifest": {
            part: [
                {key: text for key in ("code", "url") if (text := _text(_get(f, key)))}
                for f in _dicts(_get(active, part))
                if _text(f.get("code"))
            ]
            for part in ("success", "informational", "failure")
        },
        "specVersion": SPEC_VERSION,
    }


def exclusions(report: str) -> tuple[tuple[int, int], ...]:
    """Start and length of what the hard binding leaves out, from the crJSON report."""
    if len(report) > MAX_REPORT_CHARS:
        return ()
    try:
        data = json.loads(report)
    except (ValueError, RecursionError):
        return ()
    active = next(_dicts(_get(data, "manifests")), None)
    binding = _get(_get(active, "assertions"), "c2pa.hash.data")
    return tuple(
        (each["start"], each["length"])
        for each in _dicts(_get(binding, "exclusions"))
        if type(each.get("start")) is int and type(each.get("length")) is int
    )


def _signers_alone(data: dict[str, Any]) -> dict[str, Any]:
    """The report, as it would be if anchors for time-stamps vouched for no signer.

    The library asks no anchor what it is for (0.38.1); it says where it found one.
    """
    results = _get(data, "validation_results")
    active = _get(results, "activeManifest")
    passed = _get(active, "success")
    if not isinstance(passed, list) or not isinstance(results, dict):
        return data
    trusted = [f for f in passed if _get(f, "code") == SIGNER_TRUSTED]
    if all(_get(f, "explanation") == FOUND_AMONG_SIGNERS for f in trusted):
        return data
    failures = _get(active, "failure")
    unknown = [*(failures if isinstance(failures, list) else []), _UNKNOWN]
    rest = [f for f in passed if f not in trusted]
    active = {**active, "success": rest, "failure": unknown}
    state = "Valid" if data.get("validation_state") == "Trusted" else "Invalid"
    results = {**results, "activeManifest": active}
    return {**data, "validation_state": state, "validation_results": results}


def _without_location(data: dict[str, Any]) -> dict[str, Any]:
    """The report, as it would be if the library knew where a text's manifest lies."""
    results = _get(data, "validation_results")
    active = _get(results, "activeManifest")
    failures = _get(active, "failure")
    if not isinstance(failures, list) or not isinstance(results, dict):
        return data
    rest = [f for f in failures if _get(f, "explanation") != NOT_LOCATED]
    if len(rest) == len(failures):
        return data
    passed, failed = set(_codes(active, "success")), set(_codes({"f": rest}, "f"))
    state = "Invalid"
    sound = SIGNATURE_GOOD in passed and passed & CONTENT_MATCH_CODES
    if sound and len(rest) == len(failures) - 1 and not _ingredient_codes(results):
        if not rest and SIGNER_TRUSTED in passed:
            state = "Trusted"
        elif rest and failed == {SIGNER_UNKNOWN}:
            state = "Valid"
    active = {**active, "failure": rest}
    results = {**results, "activeManifest": active}
    return {**data, "validation_state": state, "validation_results": results}


def _claimed(label: str, active: dict[str, Any]) -> ManifestResult:
    assertions = list(_dicts(_get(active, "assertions")))
    signature = _get(active, "signature_info")
    return ManifestResult(
        state="invalid",
        manifest_id=label,
        signer=_text(_get(signature, "issuer")),
        signed_at=_text(_get(signature, "time")) or None,
        soft_bindings=tuple(_soft_bindings(assertions))[:MAX_ITEMS],
        source_types=tuple(dict.fromkeys(_source_types(assertions)))[:MAX_ITEMS],
        record_id=_record_id(assertions),
    )


def _parents(data: Any, label: str) -> tuple[str, ...]:
    found = [label]
    for one in found:  # it grows: the parents of parents
        for each in _dicts(_get(_get(_get(data, "manifests"), one), "ingredients")):
            above = _text(_get(each, "active_manifest"))
            if each.get("relationship") != "parentOf" or not above or above in found:
                continue
            if len(found) > MAX_ITEMS:
                return tuple(found[1:])
            found.append(above)
    return tuple(found[1:])


def _judged(data: Any, claimed: ManifestResult) -> ManifestResult:
    results = _get(data, "validation_results")
    active = _get(results, "activeManifest")
    passed, failed = set(_codes(active, "success")), _codes(active, "failure")
    state = _STATES.get(_text(_get(data, "validation_state")), "invalid")
    stamped = _stamped(active)
    signed = {SIGNATURE_GOOD, SIGNER_TRUSTED} <= passed
    below = _ingredient_codes(results) if state == "invalid" else []
    codes = tuple(dict.fromkeys([*failed, *below]))[:MAX_ITEMS]
    return replace(
        claimed,
        state=state,
        timestamp=stamped,
        signed_at=claimed.signed_at if stamped == "trusted" else None,
        codes=codes or ((GENERAL_ERROR,) if state == "invalid" else ()),
        content_only_broken=signed
        and state == "invalid"
        and bool(codes)
        and set(codes) <= CONTENT_HASH_CODES,
        content_matches=bool(passed & CONTENT_MATCH_CODES)
        and not CONTENT_HASH_CODES & set(codes),
    )


def _codes(results: Any, key: str) -> list[str]:
    # Not cut to MAX_ITEMS: the code that matters could be the one cut off.
    items = _get(results, key)
    found = items if isinstance(items, list) else []
    return [code for item in found if (code := _text(_get(item, "code")))]


def _stamped(active: Any) -> Stamped:
    """How far the time can be believed: the library reports that of anybody."""
    parts = ("success", "informational", "failure")
    codes = {c for key in parts for c in _codes(active, key) if c.startswith(STAMP)}
    if not codes:
        return "none"
    # Of an authority whose certificate is for another purpose the library says this,
    # and all the same that its stamp is trusted (0.38.1).
    wrong = CREDENTIAL_INVALID in _codes(active, "failure")
    return "trusted" if codes == STAMP_TRUSTED and not wrong else "untrusted"


def _ingredient_codes(results: Any) -> list[str]:
    deltas = _get(results, "ingredientDeltas")  # not cut either
    return [
        code
        for delta in (deltas if isinstance(deltas, list) else ())
        for code in _codes(_get(delta, "validationDeltas"), "failure")
    ]


def _soft_bindings(assertions: list[dict[str, Any]]) -> Iterator[tuple[str, bytes]]:
    for assertion in assertions:
        if assertion.get("label") != SOFT_BINDING:
            continue
        algorithm = _text(_get(assertion.get("data"), "alg"))
        for block in _dicts(_get(assertion.get("data"), "blocks")):
            value = _binding_value(block.get("value"))
            if algorithm and value:
                yield algorithm, value


def _binding_value(value: Any) -> bytes | None:
    """The bytes, from base64 text (ours), a list of numbers (others'), or None.

    Text that is not base64 is taken as it stands, as UTF-8: some writers do so.
    """
    if isinstance(value, list) and len(value) <= MAX_BINDING_BYTES:
        numbers = all(type(item) is int and 0 <= item < 256 for item in value)
        return bytes(value) if numbers else None
    if not isinstance(value, str) or len(value) > 2 * MAX_BINDING_BYTES:
        return None
    try:
        decoded = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        decoded = value.encode("utf-8", "replace")
    return decoded if len(decoded) <= MAX_BINDING_BYTES else None


def _source_types(assertions: list[dict[str, Any]]) -> Iterator[str]:
    for assertion in assertions:
        if assertion.get("label") in ("c2pa.actions", "c2pa.actions.v2"):
            for action in _dicts(_get(assertion.get("data"), "actions")):
                if uri := _text(action.get("digitalSourceType")):
                    yield uri


def _record_id(assertions: list[dict[str, Any]]) -> str | None:
    for assertion in assertions:
        if assertion.get("label") == RECORD:
            found = _text(_get(assertion.get("data"), "record_id"))
            return found if _RECORD_ID.fullmatch(found) else None
    return None


def _get(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    items = value[:MAX_ITEMS] if isinstance(value, list) else ()
    return (item for item in items if isinstance(item, dict))


def _text(value: Any) -> str:
    return value if isinstance(value, str) and len(value) <= MAX_TEXT else ""
