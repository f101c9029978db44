"""The metadata box of MP4 and QuickTime: keys, and a list of items by their numbers.

``keys`` names (QuickTime File Format, "Metadata"), ``ilst`` holds. iTunes' own lists
have no keys: items are named by four characters, or by a text in ``----``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

from watermark.assets import DamagedAsset
from watermark.labels.containers.isobmff import box, inside, payload
from watermark.labels.containers.streams import NAME, counted, is_label

MDTA = b"mdta"  # handler and name space of keys
_UTF8 = struct.pack(">II", 1, 0)  # type and locale of a text
_FREE_FORM = b"----"
_ENTRIES = 1 << 12  # keys or items


@dataclass(frozen=True, slots=True)
class Metadata:
    """One box ``meta``.

    Attributes:
        version: its version and flags; QuickTime has none.
        handler: of its list: ``mdta`` or ``mdir``, b"" where it says none.
        others: the boxes in front of the list but for the keys.
        keys: name space and name of each.
        items: number of a key or four characters, and what the item holds.
        behind: the boxes after the list.
    """

    version: bytes
    handler: bytes
    others: tuple[bytes, ...] = ()
    keys: tuple[tuple[bytes, bytes], ...] = ()
    items: tuple[tuple[bytes, bytes], ...] = ()
    behind: tuple[bytes, ...] = ()

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """From the bytes of a box ``meta``.

        Raises:
            DamagedAsset: the boxes in it do not fill it, or an item has no key.
        """
        body = payload(data)
        version = b"" if body[4:8] == b"hdlr" else body[:4]
        handler = b""
        keys, items = list[tuple[bytes, bytes]](), list[tuple[bytes, bytes]]()
        others, behind = list[bytes](), list[bytes]()
        for kind, raw in inside(body, len(version)):
            if kind == b"keys":
                keys += _keys(payload(raw))
            elif kind == b"ilst":
                items += [(k, payload(item)) for k, item in inside(payload(raw))]
            elif items:
                behind.append(raw)
            else:
                others.append(raw)
            if kind == b"hdlr":
                handler = payload(raw)[8:12]
        made = cls(
            version, handler, tuple(others), tuple(keys), tuple(items), tuple(behind)
        )
        made._check()
        return made

    def _check(self) -> None:
        counted(max(len(self.keys), len(self.items)), _ENTRIES)
        numbers = {int.from_bytes(kind, "big") for kind, _ in self.items}
        named = {n for n, (_, name) in enumerate(self.keys, 1) if is_label(name)}
        if named - numbers:
            raise DamagedAsset("the keys name a label, and the list has no value of it")
        if any(len(self.keys) < number < 1 << 16 for number in numbers):
            raise DamagedAsset(
                f"an item numbered {max(n for n in numbers if n < 1 << 16)} found, "
                f"expected at most {len(self.keys)}: its key is missing"
            )

    def labels(self) -> list[bytes]:
        """The value of every label."""
        return [_value(body) for kind, body in self.items if self._named(kind, body)]

    def labelled(self, label: bytes | None) -> Self:
        """Without labels, and with this one."""
        gone = [n for n, (_, name) in enumerate(self.keys, 1) if is_label(name)]
        items = []
        for kind, body in self.items:
            if self._named(kind, body):
                continue
            number = int.from_bytes(kind, "big")
            if number <= len(self.keys):
                number -= sum(n < number for n in gone)
            items.append((number.to_bytes(4, "big"), body))
        keys = [key for n, key in enumerate(self.keys, 1) if n not in gone]
        if label is not None:
            keys.append((MDTA, NAME))
            items.append((struct.pack(">I", len(keys)), box(b"data", _UTF8, label)))
        return replace(self, keys=tuple(keys), items=tuple(items))

    def encode(self) -> bytes:
        """As `parse` reads it."""
        named = [struct.pack(">I", 8 + len(n)) + space + n for space, n in self.keys]
        count = struct.pack(">II", 0, len(named))
        keys = box(b"keys", count, *named) if named else b""
        listed = box(b"ilst", *(box(kind, body) for kind, body in self.items))
        return box(b"meta", self.version, *self.others, keys, listed, *self.behind)

    def _named(self, kind: bytes, body: bytes) -> bool:
        number = int.from_bytes(kind, "big")
        if 1 <= number <= len(self.keys):
            return is_label(self.keys[number - 1][1])
        if kind == _FREE_FORM:
            names = (payload(raw)[4:] for k, raw in inside(body) if k == b"name")
            return any(map(is_label, names))
        return is_label(kind)


def new() -> Metadata:
    """A box with the handler ``mdta`` and nothing in its list yet."""
    handler = box(b"hdlr", bytes(8), MDTA, bytes(13))
    return Metadata(bytes(4), MDTA, (handler,))


def labels(boxes: Iterable[bytes]) -> list[bytes]:
    """The value of every label in these boxes ``meta``."""
    return [value for data in boxes for value in Metadata.parse(data).labels()]


def _keys(body: bytes) -> tuple[tuple[bytes, bytes], ...]:
    place, found = 8, list[tuple[bytes, bytes]]()
    while place < len(body):
        counted(len(found))
        size = int.from_bytes(body[place : place + 4], "big")
        if not 8 <= size <= len(body) - place:
            raise DamagedAsset(
                f"a key of {size} bytes found at byte {place} of its box"
            )
        found.append((body[place + 4 : place + 8], body[place + 8 : place + size]))
        place += size
    if (count := int.from_bytes(body[4:8], "big")) != len(found):
        raise DamagedAsset(f"{len(found)} keys found, expected {count}")
    return tuple(found)


def _value(item: bytes) -> bytes:
    for kind, raw in inside(item):
        if kind == b"data" and len(raw) >= 16:
            return payload(raw)[len(_UTF8) :].rstrip(b"\0")
    raise DamagedAsset("the label's item holds no data")
