"""MP3: a frame TXXX of the name AIGC in the ID3v2 tag at its start.

TC260-PG-202510A says where; ID3v2.2, 2.3 and 2.4 (id3.org) say how. The sound behind
the tag is copied, and padding in the tag is used up first.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from watermark.assets import DamagedAsset
from watermark.errors import UnsupportedFormat
from watermark.labels.containers.streams import (
    HELD,
    NAME,
    Part,
    Span,
    assemble,
    counted,
    is_label,
    length,
    take,
)

HEADER = 10  # bytes: "ID3", version, revision, flags, size
_UNSYNCHRONISED, _EXTENDED, _FOOTER = 0x80, 0x40, 0x10
_MOST = (1 << 28) - 1  # a size has 28 bits
_FRAME_ID = {2: re.compile(rb"[A-Z0-9]{3}"), 3: re.compile(rb"[A-Z0-9]{3}[A-Z0-9 ]")}
_FRAME_ID[4] = _FRAME_ID[3]
_FRAME_HEADER = {3: 6, 4: 10}  # bytes, by those of a name
_FRAMES, _TAGS = 1 << 14, 1 << 6  # of a tag, and of a file
_TEXTS = (b"TXX", b"TXXX")
_ENCODINGS = ("latin-1", "utf-16", "utf-16-be", "utf-8")
_ZEROS = 1 << 16  # that may follow the tag


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a tag.

    Attributes:
        name: of three characters in version 2, of four since.
        flags: both bytes as one number; 0 in version 2.
        raw: all its bytes.
    """

    name: bytes
    flags: int
    raw: bytes

    @property
    def body(self) -> bytes:
        """As it is stored, without the header."""
        return self.raw[_FRAME_HEADER[len(self.name)] :]


@dataclass(frozen=True, slots=True)
class Tag:
    """One ID3v2 tag.

    Attributes:
        version: 2, 3 or 4.
        flags: of its header.
        frames: all in their order.
        padding: bytes of zeros behind them.
        end: where the tag ends in the file.
        plain: whether sizes of frames have eight bits a byte, not seven.
    """

    version: int
    flags: int
    frames: tuple[Frame, ...]
    padding: int
    end: int
    plain: bool


def read(source: BinaryIO) -> list[bytes]:
    """The value of every frame TXXX of this name, in the order of the file.

    Raises:
        DamagedAsset: the tag's frames do not fill it, or no MPEG audio follows.
    """
    tags = leading_tags(source)
    _check_sound(source, tags[-1].end if tags else 0)
    return labels(tags)


def write(source: BinaryIO, target: BinaryIO, label: bytes) -> None:
    """Copy the file, with this label in place of any there were.

    A file without a tag gets one of version 2.3. An extended header is left out: it
    holds a checksum of the old frames.

    Raises:
        DamagedAsset: as for `read`.
        UnsupportedFormat: the tag would be larger than its header can say.
    """
    tags = leading_tags(source)
    sound = tags[-1].end if tags else 0
    _check_sound(source, sound)
    first = tags[0] if tags else Tag(3, 0, (), 0, 0, plain=True)
    parts: list[Part] = [encode(first, label), *(encode(tag) for tag in tags[1:])]
    assemble(source, target, [*parts, Span(sound, length(source))])


def leading_tags(source: BinaryIO) -> list[Tag]:
    """The ID3v2 tags at the start of a file, one behind the other.

    Raises:
        DamagedAsset: the frames of one do not fill it.
    """
    tags: list[Tag] = []
    place, end = 0, length(source)
    while place + HEADER <= end and take(source, place, 3) == b"ID3":
        counted(len(tags), _TAGS)
        tags.append(_tag(source, place))
        place = tags[-1].end
        if place > HELD:
            raise DamagedAsset(f"ID3 tags of {place} bytes, expected at most {HELD}")
    return tags


def labels(tags: list[Tag]) -> list[bytes]:
    """The values of their frames of this name."""
    found, held = list[bytes](), 0
    for tag in tags:
        for frame in tag.frames:
            if (text := _text(tag, frame)) is None:
                continue
            held += sum(map(len, text))
            if held > HELD:  # frames of a few bytes may unpack to many each
                raise DamagedAsset(f"more than {HELD} bytes of texts in ID3 tags found")
            if is_label(text[0]):
                found.append(text[1].rstrip(b"\0"))
    return found


def encode(tag: Tag, label: bytes | None = None) -> bytes:
    """The tag without labels, and with this one, as long as before if it fits.

    Raises:
        DamagedAsset: a frame TXXX cannot be read.
        UnsupportedFormat: the tag would be larger than its header can say.
    """
    frames = b"".join(f.raw for f in tag.frames if not _is_label(tag, f))
    if label is not None:
        frames = _label_frame(tag, label) + frames
    flags = tag.flags & ~_EXTENDED
    if flags & _UNSYNCHRONISED and tag.version < 4:
        frames = _unsynchronised(frames)
    old = tag.end and tag.padding + sum(len(frame.raw) for frame in tag.frames)
    frames += bytes(max(0, old - len(frames)) if not flags & _FOOTER else 0)
    if len(frames) > min(_MOST, HELD):
        raise UnsupportedFormat(
            f"an ID3 tag of {len(frames)} bytes is needed for the label, and it holds "
            f"at most {min(_MOST, HELD)}"
        )
    head = bytes([tag.version, 0, flags]) + _to_synchsafe(len(frames))
    footer = b"3DI" + head if tag.version == 4 and flags & _FOOTER else b""
    return b"ID3" + head + frames + footer


def _tag(source: BinaryIO, place: int) -> Tag:
    head = take(source, place, HEADER)
    version, flags = head[3], head[5]
    if version not in _FRAME_ID or max(head[6:]) > 0x7F:
        raise DamagedAsset(
            f"an ID3 tag of version 2.{version} and size {head[6:].hex()} found, "
            "expected 2.2, 2.3 or 2.4 and four bytes below 80"
        )
    size = _from_synchsafe(head[6:])
    body = take(source, place + HEADER, size)
    footer = HEADER if version == 4 and flags & _FOOTER else 0
    if footer and take(source, place + HEADER + size, 3) != b"3DI":
        raise DamagedAsset("no footer found behind this ID3 tag, expected one")
    if flags & _UNSYNCHRONISED and version < 4:  # since 2.4 each frame does it
        body = _synchronised(body)
    if flags & _EXTENDED:
        if version == 2:
            raise DamagedAsset("an ID3v2.2 tag is compressed; nobody says how")
        body = body[_extended_header(body, version) :]
    problem: DamagedAsset | None = None
    # iTunes wrote plain sizes into 2.4.
    for plain in dict.fromkeys((version < 4, True)):
        try:
            frames = tuple(_frames(body, version, plain))
        except DamagedAsset as error:
            problem = problem or error
            continue
        padding = len(body) - sum(len(frame.raw) for frame in frames)
        end = place + HEADER + size + footer
        return Tag(version, flags, frames, padding, end, plain)
    raise problem or DamagedAsset("this ID3 tag cannot be read")


def _extended_header(body: bytes, version: int) -> int:
    if len(body) < 4:
        raise DamagedAsset("an ID3 tag ends within its extended header")
    # Since 2.4 the size counts itself.
    if version == 4:
        size = _from_synchsafe(body[:4])
    else:
        size = 4 + int.from_bytes(body[:4], "big")
    if not 6 <= size <= len(body):
        raise DamagedAsset(f"an extended header of {size} bytes found in an ID3 tag")
    return size


def _frames(body: bytes, version: int, plain: bool) -> Iterator[Frame]:
    """The frames that fill a tag up to its padding.

    Args:
        body: of the tag, behind the headers.
        version: 2, 3 or 4.
        plain: sizes have eight bits a byte, not seven.
    """
    wide = 3 if version == 2 else 4
    head, place, count = _FRAME_HEADER[wide], 0, 0
    while any(body[place : place + head]):
        name = body[place : place + wide]
        digits = body[place + wide : place + 2 * wide]
        size = int.from_bytes(digits, "big") if plain else _from_synchsafe(digits)
        start, stop = place + head, place + head + size
        unsafe = not plain and max(digits, default=0) > 0x7F
        if not _FRAME_ID[version].fullmatch(name) or stop > len(body) or unsafe:
            raise DamagedAsset(
                f"a frame {name!r} of {size} bytes found at byte {place} of an ID3 tag "
                f"of {len(body)}"
            )
        flags = 0 if version == 2 else int.from_bytes(body[start - 2 : start], "big")
        count = counted(count, _FRAMES)
        yield Frame(name, flags, body[place:stop])
        place = stop
    if any(body[place:]):
        raise DamagedAsset("an ID3 tag has bytes other than zero in its padding")


def _text(tag: Tag, frame: Frame) -> tuple[bytes, bytes] | None:
    """Name and value of a frame TXXX, both in UTF-8; None of any other."""
    if frame.name not in _TEXTS:
        return None
    body = _plain(tag, frame)
    encoding, text = body[:1], body[1:]
    if encoding in (b"\0", b"\3"):
        name, _, value = text.partition(b"\0")
        return name, value
    if encoding not in (b"\1", b"\2"):
        raise DamagedAsset(f"encoding {encoding.hex()} of a TXXX frame, expected 00-03")
    cut = text.find(b"\0\0")
    while cut & 1 and cut > 0:  # half of one character, and half of the next
        cut = text.find(b"\0\0", cut + 1)
    codec = _ENCODINGS[encoding[0]]
    name, value = (text, b"") if cut < 0 else (text[:cut], text[cut + 2 :])
    try:
        name = name.decode(codec).encode()
        if is_label(name):  # the texts of others are nobody's business here
            value = value.decode(codec).encode()
    except UnicodeDecodeError as error:
        raise DamagedAsset(f"a TXXX frame is not in {codec}: {error.reason}") from None
    return name, value


def _plain(tag: Tag, frame: Frame) -> bytes:
    """What a frame holds, with its own transformations undone."""
    body, flags = frame.body, frame.flags
    if tag.version == 3:
        packed, secret, grouped = flags & 0x80, flags & 0x40, flags & 0x20
        length_said, unsynchronised = packed, 0
    else:
        packed, secret, grouped = flags & 0x08, flags & 0x04, flags & 0x40
        length_said = flags & 0x01
        unsynchronised = flags & 0x02 or tag.flags & _UNSYNCHRONISED
    if secret:
        raise DamagedAsset("a TXXX frame is encrypted: whether it is the label is open")
    if unsynchronised:
        body = _synchronised(body)
    body = body[(4 if length_said else 0) + (1 if grouped else 0) :]
    if not packed:
        return body
    inflate = zlib.decompressobj()
    try:
        plain = inflate.decompress(body, HELD)
    except zlib.error as error:
        raise DamagedAsset(f"a compressed TXXX frame: {error}") from None
    if not inflate.eof:
        raise DamagedAsset("a compressed TXXX frame is cut off or too large")
    return plain


def _is_label(tag: Tag, frame: Frame) -> bool:
    text = _text(tag, frame)
    return text is not None and is_label(text[0])


def _label_frame(tag: Tag, label: bytes) -> bytes:
    body = b"\0" + NAME + b"\0" + label
    if tag.version == 2:
        return b"TXX" + len(body).to_bytes(3, "big") + body
    size = struct.pack(">I", len(body)) if tag.plain else _to_synchsafe(len(body))
    return b"TXXX" + size + b"\0\0" + body


def _check_sound(source: BinaryIO, place: int) -> None:
    """The first MPEG audio frame stands behind the tag, and zeros at most between."""
    room = take(source, place, min(_ZEROS, length(source) - place))
    header = room.lstrip(b"\0")[:4]
    whole = int.from_bytes(header, "big")
    version, layer = whole >> 19 & 3, whole >> 17 & 3
    bit_rate, sampling = whole >> 12 & 15, whole >> 10 & 3
    reserved = version == 1 or layer == 0 or bit_rate == 15 or sampling == 3
    if len(header) < 4 or whole >> 21 != 0x7FF or reserved:
        raise DamagedAsset(
            f"{header.hex() or 'nothing'} found at byte {place}, expected the header "
            "of an MPEG audio frame"
        )


def _from_synchsafe(digits: bytes) -> int:
    value = 0
    for digit in digits:
        value = value << 7 | digit & 0x7F
    return value


def _to_synchsafe(value: int) -> bytes:
    return bytes(value >> shift & 0x7F for shift in (21, 14, 7, 0))


def _synchronised(data: bytes) -> bytes:
    return data.replace(b"\xff\0", b"\xff")


def _unsynchronised(data: bytes) -> bytes:
    data = re.sub(rb"\xff(?=[\xe0-\xff\0])", b"\xff\0", data)
    return data + b"\0" if data.endswith(b"\xff") else data
