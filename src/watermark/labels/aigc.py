"""The label of GB 45438-2025: seven keys, written strictly and read leniently.

The standard's Annex E defines the object and its characters; which of its two forms,
bare or inside ``{"AIGC": ...}``, stands where is the guides' matter: bare wherever the
container has a key of that name.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from watermark.errors import LabelError

GB = "GB 45438-2025"
ONE_LABEL = f"{GB}, 6.1 c)"
ANNEX_E = f"{GB}, Annex E"
CHARACTERS = f"{GB}, Annex E j)"

NAME = "AIGC"  # of the container's key
KEYS = {
    "Label": "label",
    "ContentProducer": "content_producer",
    "ProduceID": "produce_id",
    "ReservedCode1": "reserved_code1",
    "ContentPropagator": "content_propagator",
    "PropagateID": "propagate_id",
    "ReservedCode2": "reserved_code2",
}
LEVELS = {"1": "is", "2": "may be", "3": "is suspected to be"}  # generated
MAX_BYTES = 32_768  # half a JPEG segment; the standard names no limit

# Annex E j): 0x21, 0x23 to 0x5B and 0x5D to 0x7E; the quotation mark is escaped.
_VALUE = re.compile(r"[\x21-\x5B\x5D-\x7E]*")
_CODE = re.compile(r"00[0-9A-Z]{25}")  # TC260-PG-20252A
_MISSPELT = {"reservecode1": "ReservedCode1", "reservecode2": "ReservedCode2"}
_LOWER = {key.lower(): key for key in KEYS}


@dataclass(frozen=True, slots=True)
class Label:
    """The seven values of one label, as text; see `LEVELS` for the first.

    Any text may stand here, because other people's labels are read into it as well;
    `encode` is strict.

    Attributes:
        label: ``"1"``, ``"2"`` or ``"3"``.
        content_producer: the provider's code of 27 characters, or an ASCII name.
        produce_id: the provider's own number of this content.
        reserved_code1: the producer's security information, or "".
        content_propagator: code or name of the platform, or "".
        propagate_id: the platform's own number, or "".
        reserved_code2: the platform's security information, or "".
    """

    label: str
    content_producer: str = ""
    produce_id: str = ""
    reserved_code1: str = ""
    content_propagator: str = ""
    propagate_id: str = ""
    reserved_code2: str = ""

    def encode(self) -> bytes:
        """The object as it stands under a key named ``AIGC``: compact JSON, ASCII.

        Raises:
            LabelError: a value that the standard does not allow, with its clause.
        """
        if self.label not in LEVELS:
            raise LabelError(
                ANNEX_E, f"Label is {self.label!r}, expected one of {', '.join(LEVELS)}"
            )
        for key, name in KEYS.items():
            _check_value(key, getattr(self, name))
        producer = _check_pair(self, "ContentProducer", "ProduceID")
        propagator = _check_pair(self, "ContentPropagator", "PropagateID")
        if not producer and (self.label == "1" or not propagator):
            raise LabelError(
                ANNEX_E,
                "no ContentProducer found, expected the provider's code or name: only "
                "a platform that does not know the producer leaves it empty, with "
                "Label 2 or 3",
            )
        return _encoded(self)


@dataclass(frozen=True, slots=True)
class Found:
    """What a raw value says.

    Attributes:
        label: as far as it could be read; None where this is no label.
        deviations: what is not as the standard has it, in words such as ``"wrapped"``;
            with the key where it is about one: ``"missing ReservedCode2"``. See
            `parse`.
        raw: the value as it was found.
    """

    label: Label | None
    deviations: tuple[str, ...]
    raw: bytes


def parse(raw: bytes) -> Found:
    """Read a value from a container's ``AIGC`` place. Never raises.

    Deviations, K standing for a key's name: ``not UTF-8``, ``too long``, ``not JSON``,
    ``not an object``, ``no known key`` (all of these: no label); ``prefixed`` (the word
    AIGC before the object, as in bare JPEG segments), ``padded`` (BOM, NUL or spaces
    around it), ``wrapped``, ``not compact`` (spaces or needless escapes), ``order`` (of
    the keys), ``case of K``, ``misspelt K``, ``duplicate K``, ``unknown K``,
    ``missing K``, ``type of K`` (no string), ``charset of K``, ``level`` (Label is not
    1, 2 or 3), ``ServiceProvider`` (in place of ContentProducer), ``empty K`` (of the
    producer's pair), ``producer is no code`` (a name: allowed, but not what the guides
    advise).
    """
    text, seen = _text(raw)
    if text is None:
        return Found(None, tuple(seen), raw)
    try:
        label = _read(text, seen)
    except (ValueError, RecursionError):
        label = None
        seen.append("not JSON")
    return Found(label, tuple(dict.fromkeys(seen)), raw)


def propagated(found: Found, code: str, propagate_id: str, reserved: str = "") -> bytes:
    """Somebody's label with a platform's three values; the producer's stay as found.

    The keys are put right, the producer's values are not: they are not the platform's.

    Raises:
        LabelError: nothing to propagate, or a value that the standard does not allow.
    """
    if found.label is None:
        raise LabelError(ANNEX_E, "no label found that could be propagated")
    mine = replace(
        found.label,
        content_propagator=code,
        propagate_id=propagate_id,
        reserved_code2=reserved,
    )
    for key in ("ContentPropagator", "PropagateID", "ReservedCode2"):
        _check_value(key, getattr(mine, KEYS[key]))
    if not _check_pair(mine, "ContentPropagator", "PropagateID"):
        raise LabelError(ANNEX_E, "ContentPropagator is empty, expected code or name")
    return _encoded(mine)


def _encoded(label: Label) -> bytes:
    values = {key: getattr(label, name) for key, name in KEYS.items()}
    data = json.dumps(values, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "replace"
    )
    if len(data) > MAX_BYTES:
        raise LabelError(
            ANNEX_E, f"{len(data)} bytes found, expected at most {MAX_BYTES}"
        )
    return data


def _check_value(key: str, value: str) -> None:
    good = _VALUE.match(value)
    if good is None or good.end() != len(value):
        at = 0 if good is None else good.end()
        raise LabelError(
            CHARACTERS,
            f"{key} has {value[at]!r} at {at}, expected printable ASCII without space "
            "and backslash: use the provider's code, and plain identifiers",
        )


def _check_pair(label: Label, code: str, number: str) -> bool:
    """Whether both are there; one without the other is an error."""
    both = getattr(label, KEYS[code]), getattr(label, KEYS[number])
    if bool(both[0]) != bool(both[1]):
        full, empty = (code, number) if both[0] else (number, code)
        raise LabelError(ANNEX_E, f"{empty} is empty, but {full} is not")
    return bool(both[0])


# --- reading --------------------------------------------------------------------------


class _Pairs(list[tuple[str, Any]]):
    """The members of an object, as they stand: doubles too."""


class _Text(NamedTuple):
    text: str | None
    deviations: list[str]


def _text(raw: bytes) -> _Text:
    if len(raw) > MAX_BYTES:
        return _Text(None, ["too long"])
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return _Text(None, ["not UTF-8"])
    bare = text.strip("\ufeff\0 \t\r\n")
    seen = ["padded"] if bare != text else []
    if bare.startswith(NAME):
        seen.append("prefixed")
        bare = bare[len(NAME) :].lstrip("\0:= \t\r\n")
    return _Text(bare, seen)


def _read(text: str, seen: list[str]) -> Label | None:
    value = json.loads(text, object_pairs_hook=_Pairs)
    if _form(value) != text:
        seen.append("not compact")
    if isinstance(value, _Pairs) and len(value) == 1 and value[0][0].upper() == NAME:
        seen.append("wrapped")
        value = value[0][1]
        if isinstance(value, str):  # the object as a string inside
            return _read(value, seen)
    if not isinstance(value, _Pairs):
        seen.append("not an object")
        return None
    fields = _fields(value, seen)
    if not fields:
        seen.append("no known key")
        return None
    label = Label(**{KEYS[key]: fields.get(key, "") for key in KEYS})
    seen += _judged(label, fields)
    return label


def _fields(pairs: _Pairs, seen: list[str]) -> dict[str, str]:
    """The seven values as far as they are there; the first of doubles."""
    fields: dict[str, str] = {}
    for found, value in pairs:
        key = found if found in KEYS else _known(found, seen)
        if not key:
            continue
        if key in fields:
            seen.append(f"duplicate {key}")
            continue
        fields[key] = _string(key, value, seen)
    if fields and list(fields) != [key for key in KEYS if key in fields]:
        seen.append("order")
    return fields


def _known(found: str, seen: list[str]) -> str:
    """The key that is meant; "" for none."""
    lower = found.lower()
    if lower in _LOWER:
        seen.append(f"case of {_LOWER[lower]}")
        return _LOWER[lower]
    if lower in _MISSPELT:
        seen.append(f"misspelt {_MISSPELT[lower]}")
        return _MISSPELT[lower]
    if lower == "serviceprovider":
        seen.append("ServiceProvider")
        return "ContentProducer"
    seen.append(f"unknown {found[:40].encode('utf-8', 'replace').decode()}")
    return ""


def _string(key: str, value: Any, seen: list[str]) -> str:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()  # no lone surrogates
    seen.append(f"type of {key}")
    if value is None:
        return ""
    return _form(value) if isinstance(value, list) else str(value)


def _form(value: Any) -> str:
    """As compact JSON."""
    return json.dumps(_plain(value), separators=(",", ":"), ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, _Pairs):
        return {key: _plain(inner) for key, inner in value}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def _judged(label: Label, fields: dict[str, str]) -> list[str]:
    seen = [f"missing {key}" for key in KEYS if key not in fields]
    if label.label not in LEVELS:
        seen.append("level")
    for key, value in fields.items():
        if _VALUE.fullmatch(value) is None:
            seen.append(f"charset of {key}")
    for key in ("ContentProducer", "ProduceID"):
        if key in fields and not fields[key]:
            seen.append(f"empty {key}")
    if label.content_producer and not _CODE.fullmatch(label.content_producer):
        seen.append("producer is no code")
    return seen
