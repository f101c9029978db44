"""The items of a HEIF file: its `meta` box (ISO/IEC 14496-12, 8.11)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from watermark.assets import DamagedAsset
from watermark.errors import UnsupportedFormat
from watermark.labels.containers.isobmff import box, inside, payload

XMP, EXIF = b"application/rdf+xml", b"Exif"
IN_FILE, IN_BOX = 0, 1  # construction methods: offsets from the file's start, in `idat`
_MAX_ITEMS = 65_535
_MAX_EXTENTS = 65_536  # of all items; they may take no bytes
_FULL = 4  # bytes of version and flags
_NEEDED = (b"pitm", b"iinf", b"iloc")  # ISO/IEC 23008-12, 10.2.1.1


class Extent(NamedTuple):
    """A piece of an item; `number` is only kept."""

    number: int
    offset: int
    length: int


@dataclass(slots=True)
class Item:
    """Where an item lies.

    Attributes:
        method: what offsets count from; see `IN_FILE`.
        reference: 0 where it lies in this file.
        extents: its pieces.
    """

    method: int
    reference: int
    extents: list[Extent]


@dataclass(slots=True)
class Meta:
    """The box: the parts that labels touch are read, the others kept as they are.

    Attributes:
        head: version and flags.
        boxes: name and content of every box inside, in order.
        primary: id of the picture itself.
        types: id of an item to what it is: a MIME type, `EXIF`, or another name.
        packed: ids of the items that are compressed.
        items: id of an item to where it lies.
        location: version of the box that says so, and its index size.
    """

    head: bytes
    boxes: list[tuple[bytes, bytes]]
    primary: int = 0
    types: dict[int, bytes] = field(default_factory=dict)
    packed: set[int] = field(default_factory=set)
    items: dict[int, Item] = field(default_factory=dict)
    location: tuple[int, int] = (1, 0)

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """From the content of the box.

        Raises:
            DamagedAsset: it cannot be read.
        """
        try:
            parts = [(name, payload(data)) for name, data in inside(content, _FULL)]
            meta = cls(content[:_FULL], parts)
            for name in _NEEDED:
                if (count := [found for found, _ in parts].count(name)) != 1:
                    raise DamagedAsset(
                        f"{count} boxes {name.decode()} found in this HEIF file, "
                        "expected one"
                    )
            found = dict(parts)
            meta.primary = _Reader(found[b"pitm"]).item_id(0)
            meta._read_types(found[b"iinf"])
            meta._read_items(found[b"iloc"])
        except (struct.error, IndexError) as error:
            raise DamagedAsset("the items of this HEIF file cannot be read") from error
        return meta

    def of_type(self, name: bytes) -> list[int]:
        """Ids of the items of a type, in their order."""
        return [number for number, found in self.types.items() if found == name]

    def add(self, mime: bytes) -> int:
        """A new item of a MIME type, about the picture; returns its id.

        Raises:
            UnsupportedFormat: no more items fit.
        """
        number = max((0, *self.types, *self.items)) + 1
        if number > _MAX_ITEMS:
            raise UnsupportedFormat("this HEIF file has no room for another item")
        entry = b"\2\0\0\0" + struct.pack(">HH", number, 0) + b"mime\0" + mime + b"\0"
        listed = _counted(self._box(b"iinf", b"\0" * 6)) + box(b"infe", entry)
        self._put(b"iinf", listed)
        about = self._box(b"iref", b"\0" * 4)
        form = ">IHI" if about[0] else ">HHH"
        described = struct.pack(form, number, 1, self.primary)
        self._put(b"iref", about + box(b"cdsc", described))
        self.types[number] = mime
        return number

    def encode(self, wide: bool) -> bytes:
        """The whole box; `wide` for offsets of 64 bits."""
        self._put(b"iloc", self._location(8 if wide else 4))
        return box(b"meta", self.head + b"".join(box(*each) for each in self.boxes))

    def _box(self, name: bytes, default: bytes) -> bytes:
        return next(
            (content for found, content in self.boxes if found == name), default
        )

    def _put(self, name: bytes, content: bytes) -> None:
        for place, (found, _) in enumerate(self.boxes):
            if found == name:
                self.boxes[place] = name, content
                return
        self.boxes.append((name, content))

    def _read_types(self, content: bytes) -> None:
        said = _Reader(content).number(4 if content[0] else 2)
        row = list(inside(content, _FULL + (4 if content[0] else 2)))
        if len(row) != said:
            raise DamagedAsset(
                f"{len(row)} items found in this HEIF file, expected the {said} that "
                "it announces"
            )
        for name, data in row:
            entry = payload(data)
            if name != b"infe" or entry[0] not in (2, 3):
                raise DamagedAsset(
                    f"box {name!r} of version {entry[0]} found among the items, "
                    "expected infe of version 2 or 3"
                )
            reader = _Reader(entry)
            number = reader.item_id(2)
            if number in self.types:
                raise DamagedAsset(f"item {number} stands twice in this HEIF file")
            reader.take(2)  # protection
            kind = reader.take(4)
            if kind == b"mime":
                texts = entry[reader.at :].split(b"\0")
                kind = texts[1].partition(b";")[0] if len(texts) > 2 else b""
                if not kind:
                    raise DamagedAsset(f"item {number} of this HEIF file has no type")
                if len(texts) > 3 and texts[2]:
                    self.packed.add(number)
            self.types[number] = kind

    def _read_items(self, content: bytes) -> None:
        reader = _Reader(content)
        version = content[0]
        if version > 2:
            raise DamagedAsset(f"items of version {version} found, expected 0 to 2")
        widths = reader.number(2)
        offset, length, base, index = (widths >> shift & 15 for shift in (12, 8, 4, 0))
        index = index if version else 0
        self.location = version, index
        total = 0
        for _ in range(reader.number(4 if version == 2 else 2)):
            number = reader.number(4 if version == 2 else 2)
            method = reader.number(2) & 15 if version else IN_FILE
            reference = reader.number(2)
            start = reader.number(base)
            count = reader.number(2)
            total += count
            if total > _MAX_EXTENTS:
                raise DamagedAsset(f"items of more than {_MAX_EXTENTS} pieces found")
            extents = [
                Extent(
                    reader.number(index),
                    start + reader.number(offset),
                    reader.number(length),
                )
                for _ in range(count)
            ]
            if number in self.items:
                raise DamagedAsset(f"item {number} is placed twice in this HEIF file")
            self.items[number] = Item(method, reference, extents)
        if any(content[reader.at :]):
            raise DamagedAsset("more places than items found in this HEIF file")

    def _location(self, width: int) -> bytes:
        version, index = self.location
        count, number = (">I", ">I") if version == 2 else (">H", ">H")
        parts = [
            struct.pack(">BxxxBB", version, width << 4 | width, index),
            struct.pack(count, len(self.items)),
        ]
        for item_id, item in self.items.items():
            parts.append(struct.pack(number, item_id))
            if version:
                parts.append(struct.pack(">H", item.method))
            parts.append(struct.pack(">HH", item.reference, len(item.extents)))
            for extent in item.extents:
                if max(extent.offset, extent.length) >> (8 * width):
                    raise DamagedAsset(f"item {item_id} lies outside of this file")
                parts.append(extent.number.to_bytes(index, "big"))
                parts.append(extent.offset.to_bytes(width, "big"))
                parts.append(extent.length.to_bytes(width, "big"))
        return b"".join(parts)


def _counted(content: bytes) -> bytes:
    """The head of `iinf`, one entry more, and the entries that are there."""
    width = 4 if content[0] else 2
    count = int.from_bytes(content[_FULL : _FULL + width], "big") + 1
    return content[:_FULL] + count.to_bytes(width, "big") + content[_FULL + width :]


class _Reader:
    """Numbers of a full box, one after the other."""

    def __init__(self, data: bytes) -> None:
        self.at = _FULL
        self._data = data

    def take(self, count: int) -> bytes:
        found = self._data[self.at : self.at + count]
        if len(found) != count:
            raise DamagedAsset("the items of this HEIF file are cut off")
        self.at += count
        return found

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width), "big")

    def item_id(self, narrow: int) -> int:
        """An id: of 16 bits up to the version `narrow`."""
        return self.number(2 if self._data[0] <= narrow else 4)
