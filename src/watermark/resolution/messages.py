"""What client and server of the Soft Binding Resolution API say to each other.

C2PA 2.4, "Decoupled", OpenAPI 2.3.0. Everything read here comes from strangers: each
list is cut, each text has a limit, and what does not fit is an error of ours.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from watermark.errors import VerificationError

DEFAULT_RESULTS, MAX_RESULTS = 10, 100
MAX_ALG = 256  # characters; the longest in C2PA's list has 40
MAX_VALUE = 1024  # bytes; a perceptual fingerprint has some hundred
MAX_ANSWER = 1 << 20  # bytes of a JSON answer
MAX_MANIFEST = 32 << 20  # the native library's own limit

_ALG = re.compile(rf"[!-~]{{1,{MAX_ALG}}}")
_MANIFEST_ID = re.compile(r"[!-.0-~]{1,256}")  # no slash: it is one part of a path
_STANDARD = str.maketrans("-_ ", "+/+")


@dataclass(frozen=True, slots=True)
class Match:
    """One manifest that a repository answered.

    Attributes:
        manifest_id: label of the manifest.
        endpoint: base URL of the repository that has it, or "": the one asked.
        score: 0 to 100 of a fingerprint, or None.
    """

    manifest_id: str
    endpoint: str = ""
    score: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data; what is not known is left out."""
        found: dict[str, Any] = {"manifestId": self.manifest_id}
        if self.endpoint:
            found["endpoint"] = self.endpoint
        if self.score is not None:
            found["similarityScore"] = self.score
        return found


def is_alg(text: str) -> bool:
    """Whether this can name a soft-binding algorithm."""
    return _ALG.fullmatch(text) is not None


def is_manifest_id(text: str) -> bool:
    """Whether this can be the label of a manifest, as one part of a path."""
    return _MANIFEST_ID.fullmatch(text) is not None and text not in (".", "..")


def decode_value(text: str) -> bytes:
    """The bytes of a soft-binding value: base64, the URL's alphabet too.

    A plus that nobody escaped reaches a server as a space, and is one again here.

    Raises:
        ValueError: not base64, empty, or more than `MAX_VALUE` bytes.
    """
    if len(text) > 2 * MAX_VALUE:
        raise ValueError(f"a value has at most {MAX_VALUE} bytes")
    plain = text.translate(_STANDARD).rstrip("=")
    try:
        value = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"the value is no base64: {error}") from None
    if not 0 < len(value) <= MAX_VALUE:
        raise ValueError(f"{len(value)} bytes found, expected 1 to {MAX_VALUE}")
    return value


def encode_value(value: bytes) -> str:
    """A soft-binding value as base64."""
    return base64.b64encode(value).decode()


def read_matches(data: bytes) -> list[Match]:
    """What a repository answered to a query, at most `MAX_RESULTS` of it.

    Raises:
        VerificationError: it is no softBindingQueryResult.
    """
    matches = read_json(data).get("matches")
    if not isinstance(matches, list):
        raise VerificationError("the answer holds no list of matches")
    return [_match(item) for item in matches[:MAX_RESULTS]]


def read_json(data: bytes) -> dict[str, Any]:
    """The object in an answer.

    Raises:
        VerificationError: it is no JSON object.
    """
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise VerificationError(f"the answer is no JSON: {error!r:.200}") from error
    if not isinstance(found, dict):
        raise VerificationError("the answer is no JSON object")
    return found


def texts(items: Sequence[Any]) -> list[str]:
    """Those that are texts of a sane length."""
    return [item for item in items if isinstance(item, str) and len(item) <= MAX_ALG]


def _match(item: Any) -> Match:
    found = item if isinstance(item, dict) else {}
    name, endpoint = found.get("manifestId"), found.get("endpoint", "")
    score = found.get("similarityScore")
    if not isinstance(name, str) or not is_manifest_id(name):
        raise VerificationError(f"found {item!r:.200}, expected a manifestId")
    if not isinstance(endpoint, str) or len(endpoint) > 2048:
        raise VerificationError(f"the endpoint of {name!r:.80} is no URL")
    whole = type(score) is int and 0 <= score <= 100
    return Match(name, endpoint, score if whole else None)
