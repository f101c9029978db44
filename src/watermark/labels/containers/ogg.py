"""Ogg: the label is a Vorbis comment in the second packet of the first stream.

Vorbis, Opus (RFC 7845), FLAC, Theora and Speex keep their comments there. That header
is laid into pages anew. Where it then takes another number of pages, those behind it in
the stream are numbered anew, each with its checksum; what they hold never changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import BinaryIO

from watermark.assets import DamagedAsset
from watermark.errors import UnsupportedFormat
from watermark.labels.containers import ogg_pages
from watermark.labels.containers.ogg_pages import FIRST, Page
from watermark.labels.containers.streams import HELD, Part, assemble, counted
from watermark.labels.containers.vorbis import Comments

# How a first packet begins, and what stands before the comments in the second.
_CODECS = {
    b"\x01vorbis": b"\x03vorbis",
    b"OpusHead": b"OpusTags",
    b"\x80theora": b"\x81theora",
    b"\x7fFLAC": b"",
    b"Speex   ": b"",
}
_FLAC_BLOCK, _COMMENTS, _MOST = 4, 4, (1 << 24) - 1  # head, its type, length
_NUMBERS = 0xFFFFFFFF


@dataclass(slots=True)
class Stream:
    """What is known of one stream while its pages go by.

    Attributes:
        codec: how its first packet begins, or None of one without comments.
        header: pages of its comments, until the last of them is there.
        open: whether more of them come.
        held: bytes of those that are there.
        shift: how much larger the numbers of its later pages become.
    """

    codec: bytes | None
    header: list[Page] = field(default_factory=list)
    open: bool = False
    held: int = 0
    shift: int = 0


def read(source: BinaryIO) -> list[bytes]:
    """The value of every comment AIGC, in all streams.

    Raises:
        DamagedAsset: the pages do not fill the file, a header is damaged, or no stream
            is of a codec whose comments are known.
    """
    found = []
    for stream, _, header in _walk(source):
        if header:
            found += _comments(stream, ogg_pages.packets(header)[0]).labels()
    return found


def write(source: BinaryIO, target: BinaryIO, label: bytes) -> None:
    """Copy the file, with this label in place of any there were.

    Raises:
        DamagedAsset: as for `read`; also where a page that gets another number has a
            wrong checksum.
        UnsupportedFormat: the comments would be larger than a FLAC block can be.
    """
    assemble(source, target, _parts(source, label))


def _parts(source: BinaryIO, label: bytes) -> Iterator[Part]:
    new: bytes | None = label
    for stream, page, header in _walk(source):
        if header:
            made = _labelled(stream, header, new)
            yield from (each.encode() for each in made)
            stream.shift = len(made) - len(header)
            new = None  # one label in a file
        elif stream.shift and page:
            number = page.number + stream.shift & _NUMBERS
            yield replace(ogg_pages.loaded(source, page), number=number).encode()
        elif page:
            yield page.span


def _walk(source: BinaryIO) -> Iterator[tuple[Stream, Page | None, list[Page]]]:
    """Every page with its stream, or the pages of a header once they are all there."""
    streams: dict[int, Stream] = {}
    known = False
    for page in ogg_pages.pages(source):
        if page.flags & FIRST:
            counted(len(streams))
            if page.serial in streams and streams[page.serial].open:
                raise DamagedAsset(
                    f"stream {page.serial} begins anew at byte {page.start}, expected "
                    "the rest of its header before"
                )
            streams[page.serial] = stream = _opened(source, page)
            known = known or stream.open
            yield stream, page, []
            continue
        if page.serial not in streams:
            raise DamagedAsset(
                f"a page of stream {page.serial} found at byte {page.start}, expected "
                "its first page before it"
            )
        stream = streams[page.serial]
        if not stream.open:
            yield stream, page, []
            continue
        _gather(source, stream, page)
        if not stream.open:
            yield stream, None, stream.header
            stream.header = []
    if not known or any(stream.open for stream in streams.values()):
        raise DamagedAsset(
            "the comments of no stream, or not of every one, found in this Ogg file, "
            "expected Vorbis, Opus, FLAC, Theora or Speex with all of its header"
        )


def _opened(source: BinaryIO, page: Page) -> Stream:
    packet = ogg_pages.loaded(source, page).body
    codec = next((name for name in _CODECS if packet.startswith(name)), None)
    if codec is not None and (not page.whole or sum(n < 255 for n in page.lacing) != 1):
        raise DamagedAsset(
            f"the first page of stream {page.serial} holds more or less than a packet"
        )
    return Stream(codec, open=codec is not None)


def _gather(source: BinaryIO, stream: Stream, page: Page) -> None:
    """Take one more page of a header, and say whether it is the last of them."""
    before = stream.header
    number = before[-1].number + 1 if before else page.number
    goes_on = bool(page.flags & ogg_pages.CONTINUED)
    if page.number != number or goes_on != bool(before):
        raise DamagedAsset(
            f"page {page.number} of stream {page.serial} does not go on where the one "
            "before ends: a page of its header is missing"
        )
    if page.granule not in (0, ogg_pages.NO_PACKET_ENDS):
        raise DamagedAsset("sound found on the pages of a header")
    stream.held += len(page.span)
    if stream.held > HELD:
        raise DamagedAsset(f"a header of more than {HELD} bytes found")
    before.append(ogg_pages.loaded(source, page))
    stream.open = not page.whole


def _comments(stream: Stream, packet: bytes) -> Comments:
    prefix = _prefix(stream, packet)
    return Comments.parse(packet[len(prefix) :])


def _prefix(stream: Stream, packet: bytes) -> bytes:
    """What stands before the comments."""
    assert stream.codec is not None  # only such streams have a header
    if stream.codec == b"\x7fFLAC":
        size = int.from_bytes(packet[1:_FLAC_BLOCK], "big")
        good = packet[:1] and packet[0] & 0x7F == _COMMENTS
        prefix = packet[:_FLAC_BLOCK]
        good = good and size == len(packet) - _FLAC_BLOCK
    else:
        prefix = _CODECS[stream.codec]
        good = packet.startswith(prefix)
    if not good:
        raise DamagedAsset(
            f"{packet[:8]!r} found as second packet of {stream.codec!r}, expected its "
            "comments"
        )
    return prefix


def _labelled(stream: Stream, header: list[Page], label: bytes | None) -> list[Page]:
    """The header's pages without labels, and with this one."""
    row = ogg_pages.packets(header)
    old = _comments(stream, row[0])
    new = old.labelled(label)
    if new == old:
        return header
    prefix, comments = _prefix(stream, row[0]), new.encode()
    if stream.codec == b"\x7fFLAC":
        if len(comments) > _MOST:
            raise UnsupportedFormat(
                f"comments of {len(comments)} bytes are needed for the label, and a "
                f"FLAC block holds at most {_MOST}"
            )
        prefix = prefix[:1] + len(comments).to_bytes(3, "big")
    return ogg_pages.laid_out([prefix + comments, *row[1:]], header[0], header[-1])
