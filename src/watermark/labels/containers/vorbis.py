"""Vorbis comments: a list of ``NAME=value`` that FLAC, Vorbis, Opus and Theora share.

Xiph.Org, "Ogg Vorbis I format specification: comment field and header specification".
The label is ``AIGC=`` and its JSON (TC260-PG-202510A). Names are the same in any case.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import Self

from watermark.assets import DamagedAsset
from watermark.labels.containers.streams import NAME, counted, is_label


@dataclass(frozen=True, slots=True)
class Comments:
    """One list of comments.

    Attributes:
        vendor: the encoder's name.
        entries: ``NAME=value`` each.
        rest: what follows the list: a framing bit, padding.
    """

    vendor: bytes
    entries: tuple[bytes, ...]
    rest: bytes = b""

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """The comments at the start of `data`.

        Raises:
            DamagedAsset: a length reaches beyond the end.
        """
        vendor, place = _field(data, 0)
        count = _number(data, place)
        place += 4
        entries = []
        for done in range(count):
            counted(done)
            entry, place = _field(data, place)
            entries.append(entry)
        return cls(vendor, tuple(entries), data[place:])

    def encode(self) -> bytes:
        """As `parse` reads it."""
        row = [self.vendor, struct.pack("<I", len(self.entries))]
        fields = [struct.pack("<I", len(entry)) + entry for entry in self.entries]
        return struct.pack("<I", len(row[0])) + b"".join([*row, *fields]) + self.rest

    def labels(self) -> list[bytes]:
        """The value of every label."""
        pairs = (entry.partition(b"=") for entry in self.entries)
        return [value for name, _, value in pairs if is_label(name)]

    def labelled(self, label: bytes | None) -> Self:
        """Without labels, and with this one."""
        kept = [e for e in self.entries if not is_label(e.partition(b"=")[0])]
        added = [] if label is None else [NAME + b"=" + label]
        return replace(self, entries=(*kept, *added))


def _number(data: bytes, place: int) -> int:
    if place + 4 > len(data):
        raise DamagedAsset(f"Vorbis comments of {len(data)} bytes end within a length")
    return int.from_bytes(data[place : place + 4], "little")


def _field(data: bytes, place: int) -> tuple[bytes, int]:
    size = _number(data, place)
    start, stop = place + 4, place + 4 + size
    if stop > len(data):
        raise DamagedAsset(
            f"a Vorbis comment of {size} bytes found at byte {start} of {len(data)}"
        )
    return data[start:stop], stop
