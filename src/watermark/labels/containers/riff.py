"""RIFF: WAV has a chunk of its own, AVI an entry of LIST INFO.

TC260-PG-202510A and -20257A say where. Nothing that is sound or picture moves: indexes
of an AVI count from the file's start (OpenDML 1.02), so there the entry takes the place
of JUNK before the pictures, or lies at the end. A WAV has it at the end.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from watermark.assets import DamagedAsset
from watermark.errors import UnsupportedFormat
from watermark.labels.containers.streams import (
    NAME,
    Part,
    Span,
    assemble,
    counted,
    is_label,
    length,
    only_zeros,
    take,
    total,
)

HEAD, FORM = 8, 12  # bytes of a chunk's name and size; and of a list's form
_MOST = 0xFFFFFFFF
_STREAMED = (0, _MOST)  # sizes written into a pipe: up to the file's end
_FOURCC = re.compile(rb"[\x20-\x7e]{4}")
_NEEDED = {b"WAVE": (b"fmt ", b"data"), b"AVI ": (b"hdrl", b"movi"), b"AVIX": ()}


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk, or a list of chunks.

    Attributes:
        name: four characters; of a list its form, such as ``INFO``.
        start: of its header.
        size: of its payload in bytes, without the padding.
        end: where the next chunk starts.
        is_list: whether `name` is a form.
    """

    name: bytes
    start: int
    size: int
    end: int
    is_list: bool = False

    @property
    def span(self) -> Span:
        """All of it, with its padding."""
        return Span(self.start, self.end)


@dataclass(frozen=True, slots=True)
class Riff:
    """One RIFF list of a file.

    Attributes:
        form: what it is, such as ``WAVE``.
        chunks: all that is in it.
    """

    form: bytes
    chunks: tuple[Chunk, ...]


def read(source: BinaryIO) -> list[bytes]:
    """Every label's value: chunks AIGC of a WAV, entries AIGC of LIST INFO.

    Raises:
        DamagedAsset: the chunks do not fill the file, or one that must be is missing.
    """
    found = []
    for riff in _riffs(source):
        for chunk in riff.chunks:
            if _is_info(chunk):
                entries = chunks(source, chunk.start + FORM, chunk.end)
                found += [_value(source, e) for e in entries if is_label(e.name)]
            elif riff.form == b"WAVE" and is_label(chunk.name):
                found.append(_value(source, chunk))
    return found


def write(source: BinaryIO, target: BinaryIO, label: bytes) -> None:
    """Copy the file, with this label in place of any there were.

    Raises:
        DamagedAsset: as for `read`.
        UnsupportedFormat: the file would be larger than RIFF can say.
    """
    riffs = _riffs(source)
    if riffs[0].form == b"WAVE":
        parts = _wave(source, riffs[0], label)
    else:
        parts = _avi(source, riffs, label)
    assemble(source, target, parts)


def chunks(
    source: BinaryIO, start: int, end: int, *, streamed: bool = False
) -> Iterator[Chunk]:
    """The chunks that fill ``start`` to ``end``.

    Args:
        source: the file.
        start: of the first.
        end: where the last ends; its padding may be missing.
        streamed: a chunk ``data`` of no size, or of the largest, goes up to `end`.

    Raises:
        DamagedAsset: they do not.
    """
    count = 0
    while start < end:
        count = counted(count)
        name, size = struct.unpack("<4sI", take(source, start, HEAD))
        if streamed and name == b"data" and size in _STREAMED:
            size = end - start - HEAD
        stop = start + HEAD + size
        if stop > end or not _FOURCC.fullmatch(name):
            raise DamagedAsset(
                f"a chunk {name!r} of {size} bytes found at byte {start}, expected one "
                f"that ends before byte {end}"
            )
        after = min(stop + (size & 1), end)
        is_list = name == b"LIST" and size >= 4
        if is_list:
            name = take(source, start + HEAD, 4)
        yield Chunk(name, start, size, after, is_list)
        start = after


def chunk(name: bytes, payload: bytes) -> bytes:
    """A chunk's bytes, padded to an even number."""
    return (
        struct.pack("<4sI", name, len(payload)) + payload + b"\0" * (len(payload) & 1)
    )


def padded(piece: Chunk) -> list[Part]:
    """The chunk as it is, with padding where it had none at the end."""
    whole = len(piece.span) == HEAD + piece.size + (piece.size & 1)
    return [piece.span] if whole else [piece.span, b"\0"]


def riff(form: bytes, parts: Sequence[Part]) -> list[Part]:
    """A RIFF list of these parts.

    Raises:
        UnsupportedFormat: larger than 4 GiB.
    """
    size = 4 + total(parts)
    if size > _MOST:
        raise UnsupportedFormat(
            f"a file of {size + HEAD} bytes is needed for the label, and RIFF holds at "
            f"most {_MOST + HEAD}: convert it to another container"
        )
    return [struct.pack("<4sI4s", b"RIFF", size, form), *parts]


def _riffs(source: BinaryIO) -> list[Riff]:
    """The RIFF lists that fill the file: one, or more in an AVI."""
    end, place, found = length(source), 0, list[Riff]()
    while not found or (place < end and not only_zeros(source, place, end)):
        name, size, form = struct.unpack("<4sI4s", take(source, place, FORM))
        forms = (b"WAVE", b"AVI ") if not found else (b"AVIX",)
        if name != b"RIFF" or form not in forms or (found and found[0].form == b"WAVE"):
            raise DamagedAsset(
                f"{name!r} of form {form!r} found at byte {place}, expected RIFF of "
                f"form {' or '.join(f.decode() for f in forms)}"
            )
        streamed = form == b"WAVE" and size in _STREAMED
        stop = end if streamed else place + HEAD + size
        if stop > end or stop < place + FORM:
            raise DamagedAsset(
                f"a RIFF list of {size} bytes found in a file of {end}: it is cut off"
            )
        inside = tuple(chunks(source, place + FORM, stop, streamed=streamed))
        for needed in _NEEDED[form]:
            if needed not in (c.name for c in inside):
                raise DamagedAsset(
                    f"no chunk {needed.decode()!r} found, expected one: this is no "
                    f"whole {form.decode().strip()} file"
                )
        found.append(Riff(form, inside))
        place = min(stop + (size & 1), end)
    return found


def _is_info(chunk: Chunk) -> bool:
    return chunk.is_list and chunk.name == b"INFO"


def _is_room(source: BinaryIO, piece: Chunk) -> bool:
    """Whether it is JUNK of zeros; some cameras keep notes there."""
    payload = piece.start + HEAD
    junk = piece.name == b"JUNK" and not piece.is_list
    return junk and only_zeros(source, payload, payload + piece.size)


def _value(source: BinaryIO, chunk: Chunk) -> bytes:
    return take(source, chunk.start + HEAD, chunk.size).rstrip(b"\0")


def _wave(source: BinaryIO, wave: Riff, label: bytes) -> list[Part]:
    parts: list[Part] = []
    for piece in wave.chunks:
        if _is_info(piece):
            parts += _info(source, piece)
        elif piece.name == b"data":  # with its size said, where it was streamed
            payload = Span(piece.start + HEAD, piece.start + HEAD + piece.size)
            parts += [struct.pack("<4sI", b"data", piece.size), payload]
            parts += [b"\0"] * (piece.size & 1)
        elif not is_label(piece.name):
            parts += padded(piece)
    return riff(b"WAVE", [*parts, chunk(NAME, label)])


def _avi(source: BinaryIO, riffs: Sequence[Riff], label: bytes) -> list[Part]:
    """Before the pictures where there is room, or else at the end of the last list."""
    entry = chunk(NAME, label + b"\0")
    first = riffs[0].chunks
    movi = next(n for n, piece in enumerate(first) if piece.name == b"movi")
    placed = _in_room(source, first[:movi], entry)
    head = _in_room(source, first[:movi], b"") if placed is None else placed
    if head is None:
        raise UnsupportedFormat("this AVI has no room for the label: remux it")
    parts: list[Part] = []
    for number, each in enumerate(riffs):
        rest = each.chunks if number else first[movi:]
        inside = [] if number else list(head)
        if number < len(riffs) - 1:  # the lists behind this one stay where they are
            inside += _in_room(source, rest, b"") or [p.span for p in rest]
        else:
            for piece in rest:
                inside += _info(source, piece) if _is_info(piece) else padded(piece)
            if placed is None:
                inside.append(chunk(b"LIST", b"INFO" + entry))
        parts += riff(each.form, inside)
    return parts


def _in_room(source: BinaryIO, row: Sequence[Chunk], entry: bytes) -> list[Part] | None:
    """These chunks in as many bytes as before, with this entry alone of its name.

    JUNK fills what is left, and gives its own room where it is empty. None where they
    do not fit; without an entry they do.
    """
    parts: list[Part] = []
    infos = [piece for piece in row if _is_info(piece)]
    for piece in row:
        if _is_info(piece):
            parts += _info(source, piece, entry if piece is infos[0] else b"")
        elif not _is_room(source, piece):
            parts += padded(piece)
    if entry and not infos:
        parts.append(chunk(b"LIST", b"INFO" + entry))
    left = sum(len(piece.span) for piece in row) - total(parts)
    if left and left < HEAD:
        return None
    return [*parts, chunk(b"JUNK", bytes(left - HEAD))] if left else parts


def _info(source: BinaryIO, info: Chunk, entry: bytes = b"") -> list[Part]:
    """LIST INFO without labels, and with this entry; nothing where it is empty then."""
    inside: list[Part] = []
    for piece in chunks(source, info.start + FORM, info.end):
        if not is_label(piece.name):
            inside += padded(piece)
    if entry:
        inside.append(entry)
    if not inside:
        return []
    return [struct.pack("<4sI4s", b"LIST", 4 + total(inside), b"INFO"), *inside]
