"""GIF89a: XMP lies in an application extension (XMP Specification Part 3, 1.1.2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from watermark.assets import DamagedAsset
from watermark.labels import xmp
from watermark.labels.containers.patching import patched
from watermark.labels.containers.streams import length, only_zeros, take

_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B
_APPLICATION, _COMMENT = 0xFF, 0xFE  # kinds of extensions
_HEAD = b"\x21\xff\x0bXMP DataXMP"
# A packet is no row of sub-blocks. Whichever of its bytes a reader takes for a length
# leads it into this, where every byte leads to the end.
_MAGIC = b"\x01" + bytes(range(255, -1, -1)) + b"\x00"
_SCREEN = 13  # bytes of header and logical screen
_BLOCKS = 1 << 16
_SUB_BLOCKS = 1 << 20  # of 255 bytes, 256 MiB
_WINDOW = 1 << 16  # bytes read at once


class _Block(NamedTuple):
    """Bytes `start` to `end`; `kind` of extensions, else -1."""

    introducer: int
    kind: int
    start: int
    end: int


def read(source: BinaryIO) -> list[bytes]:
    """Labels in XMP."""
    return [label for packet in _packets(source) for label in xmp.labels(packet)]


def write(source: BinaryIO, target: BinaryIO, label: bytes) -> None:
    """The label goes into XMP."""
    write_xmp(source, target, xmp.with_label(read_xmp(source), label))


def read_xmp(source: BinaryIO) -> bytes | None:
    """The packet, or None."""
    return next(_packets(source), None)


def write_xmp(source: BinaryIO, target: BinaryIO, packet: bytes) -> None:
    """The packet takes the place of the file's own; GIF87a has none, so it is 89a."""
    blocks = list(_blocks(source))
    own = next((b for b in blocks if _is_xmp(source, b)), None)
    leading = (_APPLICATION, _COMMENT)  # a loop count comes first
    first = next(b for b in blocks if b.kind not in leading)
    start, end = (own.start, own.end) if own else (first.start, first.start)
    version = 0, 6, b"GIF89a"
    patched(source, target, [version, (start, end, _HEAD + packet + _MAGIC)])


def _packets(source: BinaryIO) -> Iterator[bytes]:
    for block in _blocks(source):
        if _is_xmp(source, block):
            data = take(source, block.start, block.end - block.start)
            if not data.endswith(_MAGIC):
                raise DamagedAsset("the XMP of this GIF does not end as it must")
            yield data[len(_HEAD) : -len(_MAGIC)]


def _is_xmp(source: BinaryIO, block: _Block) -> bool:
    long = block.end - block.start > len(_HEAD) + len(_MAGIC)
    application = block.kind == _APPLICATION and long
    return application and take(source, block.start, len(_HEAD)) == _HEAD


def _blocks(source: BinaryIO) -> Iterator[_Block]:
    """Every block up to the trailer, which is the last one (GIF89a, Appendix B)."""
    screen = take(source, 0, _SCREEN)
    if screen[:6] not in (b"GIF87a", b"GIF89a"):
        raise DamagedAsset("this is no GIF: it does not begin as one")
    at = _SCREEN + _colours(screen[10])
    total = pictures = 0
    for _ in range(_BLOCKS):
        start, introducer = at, take(source, at, 1)[0]
        pictures += introducer == _IMAGE
        if introducer == _TRAILER:
            if not pictures or not only_zeros(source, at + 1, length(source)):
                raise DamagedAsset(
                    f"the end of a GIF found at byte {at}, expected pictures before it "
                    "and nothing behind it"
                )
            yield _Block(introducer, -1, start, start + 1)
            return
        kind = -1
        if introducer == _EXTENSION:
            kind = take(source, at + 1, 1)[0]
            at, count = _skipped(source, at + 2)
        elif introducer == _IMAGE:
            at += 10 + _colours(take(source, at + 9, 1)[0])
            if not 1 <= (wide := take(source, at, 1)[0]) <= 8:
                raise DamagedAsset(f"codes of {wide} bits found in this GIF")
            at, count = _skipped(source, at + 1)
        else:
            raise DamagedAsset(f"block {introducer:02X} found at byte {at} of this GIF")
        total += count
        if total > _SUB_BLOCKS:
            break
        yield _Block(introducer, kind, start, at)
    raise DamagedAsset("more blocks found in this GIF than are read")


def _colours(flags: int) -> int:
    """Bytes of the colour table that these flags announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _skipped(source: BinaryIO, at: int) -> tuple[int, int]:
    """Behind the sub-blocks that begin here, and how many these are."""
    end, count = length(source), 0
    while at < end and count <= _SUB_BLOCKS:
        window = take(source, at, min(_WINDOW, end - at))
        place = 0
        while place < len(window):
            size = window[place]
            place += 1 + size
            count += 1
            if not size:
                return at + place, count
        at += place
    raise DamagedAsset("this GIF is cut off, or cut into too many pieces")
