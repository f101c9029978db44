"""AMF0, as far as an FLV's metadata needs it: where its properties and numbers lie.

Adobe, "Action Message Format: AMF 0". Values are walked over, never built.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from watermark.assets import DamagedAsset
from watermark.labels.containers.streams import Span

_NUMBER, _STRING, _OBJECT, _ARRAY, _STRICT, _LONG = 0, 2, 3, 8, 10, 12
_NAMED = (_OBJECT, _ARRAY)
# Bytes of the types that always have as many: number, boolean, null, undefined,
# reference, date, unsupported.
_FIXED = {_NUMBER: 8, 1: 1, 5: 0, 6: 0, 7: 2, 11: 10, 13: 0}
_END = b"\0\0\x09"  # an empty name and the marker of an object's end
_DEPTH = 8
_SHORT = 0xFFFF  # bytes of a string that is not long


@dataclass(slots=True)
class Script:
    """What lies where in the body of a script tag: a name, and an object.

    Attributes:
        name: such as ``onMetaData``.
        count: where the number of properties stands, or None where none does.
        properties: name and place of each.
        end: where the marker of the object's end stands.
        numbers: names on the way to a number, and where its eight bytes are.
    """

    name: bytes
    count: int | None = None
    properties: list[tuple[bytes, Span]] = field(default_factory=list)
    end: int = 0
    numbers: list[tuple[tuple[bytes, ...], int]] = field(default_factory=list)


def string(text: bytes) -> bytes:
    """A string, marker and all."""
    if len(text) > _SHORT:
        return struct.pack(">BI", _LONG, len(text)) + text
    return struct.pack(">BH", _STRING, len(text)) + text


def text(raw: bytes) -> bytes:
    """The text of a property that is a string; of any other its value's bytes."""
    value = raw[2 + int.from_bytes(raw[:2], "big") :]
    return value[{_STRING: 3, _LONG: 5}.get(value[0], 0) :]


def array(name: bytes, entry: bytes) -> bytes:
    """The body of a script tag with this one property."""
    return string(name) + struct.pack(">BI", _ARRAY, 1) + entry + _END


def name_of(body: bytes) -> bytes:
    """The name that the body of a script tag begins with, or b""."""
    return body[3 : 3 + _size(body, 1, 2)] if body[:1] == bytes([_STRING]) else b""


def scan(body: bytes) -> Script:
    """Where everything lies in the body of a script tag.

    Raises:
        DamagedAsset: it is cut off, nested too deep, or holds no object.
    """
    script = Script(name_of(body))
    place = 3 + len(script.name)
    if place >= len(body) or body[place] not in _NAMED:
        raise DamagedAsset(f"no object found in the script tag {script.name!r}")
    if body[place] == _ARRAY:
        script.count = place + 1
    after = _value(body, place, (), script)
    if any(body[after:]):
        raise DamagedAsset(
            f"{len(body) - after} bytes found behind the object of {script.name!r}"
        )
    return script


def _value(body: bytes, place: int, path: tuple[bytes, ...], script: Script) -> int:
    """Walk over one value; returns where the next begins."""
    kind = body[place] if place < len(body) else -1
    place += 1
    if len(path) > _DEPTH:
        raise DamagedAsset(f"AMF values nested more than {_DEPTH} deep")
    if kind in _FIXED:
        if kind == _NUMBER:
            script.numbers.append((path, place))
        place += _FIXED[kind]
    elif kind in (_STRING, _LONG):
        wide = 2 if kind == _STRING else 4
        place += wide + _size(body, place, wide)
    elif kind == _STRICT:
        count, place, inner = _size(body, place, 4), place + 4, (*path, b"")
        for _ in range(count):
            place = _value(body, place, inner, script)
    elif kind in _NAMED:
        place = _object(body, place + (4 if kind == _ARRAY else 0), path, script)
    else:
        raise DamagedAsset(f"an AMF value of type {kind} found at byte {place - 1}")
    if place > len(body):
        raise DamagedAsset(f"the script tag {script.name!r} is cut off")
    return place


def _object(body: bytes, place: int, path: tuple[bytes, ...], script: Script) -> int:
    while body[place : place + 3] != _END:
        start = place
        size = _size(body, place, 2)
        name = body[place + 2 : place + 2 + size]
        place = _value(body, place + 2 + size, (*path, name), script)
        if not path:
            script.properties.append((name, Span(start, place)))
    if not path:
        script.end = place
    return place + len(_END)


def _size(body: bytes, place: int, wide: int) -> int:
    if place + wide > len(body):
        raise DamagedAsset("a script tag is cut off within a length")
    return int.from_bytes(body[place : place + wide], "big")
