"""Markdown: a mapping in the front matter (TC260-PG-20258A, 6.5).

Front matter is YAML between two lines of dashes, at the top. Only as much YAML is read
as labels are met in: a block of keys, one flow mapping, or one string of JSON.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from watermark.assets import TEXT_BYTES, DamagedAsset
from watermark.errors import UnsupportedFormat
from watermark.labels import aigc
from watermark.labels.containers.patching import patched
from watermark.labels.containers.streams import length, take

_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_FENCE = re.compile(rb"(?:\xef\xbb\xbf)?---[ \t]*(\r?\n)")
_END = re.compile(rb"^(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.MULTILINE)
_ANY_KEY = re.compile(r"""["']?\w[^:]*:(?:[ \t]|\Z)""")
_KEY = re.compile(r"""["']?aigc["']?[ \t]*:(?:[ \t]+(.*))?\Z""", re.IGNORECASE)
_MEMBER = re.compile(r"""[ \t]+["']?(\w+)["']?[ \t]*:(?:[ \t]+(.*))?\Z""")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,15})")
# A manifest in front matter (C2PA 2.4, A.9.3), which is no YAML.
_MANIFEST = "-----BEGIN C2PA MANIFEST-----", "-----END C2PA MANIFEST-----"
_LINES, _LABELS = 1000, 100  # more is not read
_INDENT = "    "


class _Front(NamedTuple):
    """Front matter, from `start` to `end` of the file, without its fences."""

    start: int
    end: int
    text: str


class _Entry(NamedTuple):
    """A label's lines, from `first` up to `last`, and its value."""

    first: int
    last: int
    value: bytes


def read(source: BinaryIO) -> list[bytes]:
    """Labels in the front matter; block mappings as the JSON that they mean."""
    front = _front(source)
    return [entry.value for entry in _entries(front.text)] if front else []


def write(source: BinaryIO, target: BinaryIO, label: bytes) -> None:
    """The label goes to the end of the front matter, which is made where none is."""
    front = _front(source)
    if front is None:
        head = take(source, 0, min(len(_BOM), length(source)))
        start = len(_BOM) if head == _BOM else 0
        new = f"---\n{_block(label)}---\n".encode()
        patched(source, target, [(start, start, new)])
        return
    lines = front.text.splitlines(keepends=True)
    for entry in reversed(_entries(front.text)):
        del lines[entry.first : entry.last]
    ending = "\r\n" if "\r\n" in front.text else "\n"
    text = "".join(lines)
    if text and not text.endswith("\n"):
        text += ending
    new = (text + _block(label).replace("\n", ending)).encode()
    patched(source, target, [(front.start, front.end, new)])


def _block(label: bytes) -> str:
    """As the guide has it: the seven keys, their values in quotation marks."""
    try:
        values = json.loads(label)
    except ValueError as error:
        raise UnsupportedFormat("this label is no JSON object") from error
    lines = [f"{aigc.NAME}:"]
    for key, value in values.items():
        lines.append(f"{_INDENT}{key}: {json.dumps(value, ensure_ascii=False)}")
    return "\n".join(lines) + "\n"


def _front(source: BinaryIO) -> _Front | None:
    if length(source) > TEXT_BYTES:
        raise DamagedAsset(f"Markdown of more than {TEXT_BYTES} bytes found")
    data = take(source, 0, length(source))
    if data.startswith(_UTF16) or b"\0" in data:
        raise DamagedAsset("this Markdown is UTF-16, or no text: expected UTF-8")
    fence = _FENCE.match(data)
    end = _END.search(data, fence.end()) if fence else None
    if fence is None or end is None:  # a ruler, and no front matter
        return None
    try:
        text = data[fence.end() : end.start()].decode()
    except UnicodeDecodeError as error:
        raise DamagedAsset("this front matter is not UTF-8") from error
    before, _, rest = text.partition(_MANIFEST[0])
    said = before + rest.partition(_MANIFEST[1])[2]
    lines = (line for line in said.splitlines() if line.strip())
    first = next((line for line in lines if not line.startswith("#")), "")
    if first and not _ANY_KEY.match(first) and not _holds_label(text):
        return None  # a text between two rulers
    return _Front(fence.end(), end.start(), text)


def _holds_label(text: str) -> bool:
    return any(aigc.parse(entry.value).label for entry in _entries(text))


def _entries(text: str) -> list[_Entry]:
    entries = list(itertools.islice(_found(text.splitlines()), _LABELS + 1))
    if len(entries) > _LABELS:
        raise DamagedAsset(f"more than {_LABELS} labels found in this Markdown")
    return entries


def _found(lines: list[str]) -> Iterator[_Entry]:
    for first, line in enumerate(lines):
        if (key := _KEY.match(line)) is None:
            continue
        last = first + 1
        while last < len(lines) and (lines[last][:1] in (" ", "\t") or not lines[last]):
            last += 1
        if last - first > _LINES:
            raise DamagedAsset(f"a label of more than {_LINES} lines found")
        inside = [part for part in lines[first + 1 : last] if part.strip()]
        given = (key[1] or "").strip()
        if given and not given.startswith("#"):
            value = _scalar(" ".join([given, *(part.strip() for part in inside)]))
            yield _Entry(first, last, _as_text(value))
        else:
            yield _Entry(first, last, _as_json(_mapping(inside)))


def _mapping(lines: list[str]) -> dict[str, Any]:
    """The members of a block; lines that begin none go on with the one before."""
    values: dict[str, str] = {}
    key = ""
    for line in lines:
        if member := _MEMBER.match(line):
            key = member[1]
            values[key] = (member[2] or "").strip()
        elif key:
            values[key] = f"{values[key]} {line.strip()}"
    return {key: _scalar(value) for key, value in values.items()}


def _scalar(text: str) -> Any:
    """A YAML scalar: quoted, a number, nothing, or plain."""
    if text[:1] == '"':
        try:
            return json.loads(text[: text.rindex('"') + 1], strict=False)
        except ValueError:
            return text
    if text[:1] == "'":
        return text[1 : max(text.rindex("'"), 1)].replace("''", "'")
    if text[:1] == "{":
        return text
    text = re.split(r"[ \t]#", text, maxsplit=1)[0].strip()
    if text in ("", "~", "null"):
        return None
    return int(text) if _NUMBER.fullmatch(text) else text


def _as_text(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "replace")
    return _as_json(value)


def _as_json(value: Any) -> bytes:
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "replace")
