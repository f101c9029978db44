"""Tags of Matroska (RFC 9559, 5.1.8): names and texts, one within the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from watermark.assets import DamagedAsset
from watermark.labels.containers import ebml
from watermark.labels.containers.matroska_tree import TAGS
from watermark.labels.containers.streams import NAME, is_label

_TAG, _TARGETS, _SIMPLE_TAG = 0x7373, 0x63C0, 0x67C8
_TAG_NAME, _TAG_STRING, _TAG_BINARY = 0x45A3, 0x4487, 0x4485
_DEPTH = 8


def values(tags: bytes) -> Iterator[bytes]:
    """The value of every label, from what an element of tags holds.

    Raises:
        DamagedAsset: the tags cannot be read, or a label has no value.
    """
    for number, tag, _ in ebml.inside(tags):
        if number != _TAG:
            raise DamagedAsset(f"element {number:x} found among tags, expected a tag")
        yield from _values(tag, 0)


def labelled(row: Sequence[bytes], label: bytes) -> bytes:
    """One element with the tags of all these but for labels, and this label.

    Args:
        row: what each element of tags holds.
        label: for the whole file.
    """
    kept = [
        _without(number, tag, raw)
        for tags in row
        for number, tag, raw in ebml.inside(tags)
    ]
    entry = ebml.encode(_TAG_NAME, NAME) + ebml.encode(_TAG_STRING, label)
    mine = ebml.encode(_TARGETS, b"") + ebml.encode(_SIMPLE_TAG, entry)
    return ebml.checked(TAGS, b"".join([*kept, ebml.encode(_TAG, mine)]))


def _values(tag: bytes, depth: int) -> Iterator[bytes]:
    if depth > _DEPTH:
        raise DamagedAsset(f"tags nested more than {_DEPTH} deep")
    for number, inside, _ in ebml.inside(tag):
        if number != _SIMPLE_TAG:
            continue
        parts = {n: value for n, value, _ in ebml.inside(inside)}
        if is_label(parts.get(_TAG_NAME, b"")):
            value = parts.get(_TAG_STRING, parts.get(_TAG_BINARY))
            if value is None:
                raise DamagedAsset("the tag of the label has no value")
            yield value.rstrip(b"\0")
        yield from _values(inside, depth + 1)


def _without(number: int, tag: bytes, raw: bytes) -> bytes:
    """A tag without labels; nothing where it holds no other."""
    if not any(True for _ in _values(tag, 0)):
        return raw
    parts, left = [], 0
    for n, inside, each in ebml.inside(tag):
        if n != _SIMPLE_TAG:
            parts.append(each)
        elif not _is_label(inside) and (kept := _without(n, inside, each)):
            parts.append(kept)
            left += 1
    named = number == _SIMPLE_TAG  # with a text of its own
    return ebml.encode(number, b"".join(parts)) if left or named else b""


def _is_label(simple_tag: bytes) -> bool:
    names = (value for n, value, _ in ebml.inside(simple_tag) if n == _TAG_NAME)
    return any(map(is_label, names))
