"""Manifests in unstructured text: a run of variation selectors (C2PA 2.4, A.8).

A wrapper is U+FEFF and then one selector for each byte of a header and the manifest
store. It stands at the end. Which bytes it takes is signed (15.12.1.3.1), and each
byte takes three or four in UTF-8, so that the length depends on what is signed. Zeros
in the padding of the signature, which is not signed, make up the difference.
"""

from __future__ import annotations

import re
import struct
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from watermark.errors import SigningError
from watermark.sign import cose
from watermark.sign.credential import Credential
from watermark.sign.place import Located, Place, Unusable, is_store
from watermark.sign.reseal import Claimed
from watermark.sign.stamps import NEVER, Plan

MARKER = "\ufeff"
MAGIC, VERSION = b"C2PATXT\0", 1
CORRUPT, MULTIPLE = "manifest.text.corruptedWrapper", "manifest.text.multipleWrappers"

_HEADER = struct.Struct(">8sBI")  # A.8.2.2 names no byte order; everybody's is this
_SELECTORS = [*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)]  # A.8.3.1
_ENCODE = dict(enumerate(_SELECTORS))
_DECODE = {selector: byte for byte, selector in enumerate(_SELECTORS)}
_RUN = re.compile(f"{MARKER}([\ufe00-\ufe0f\U000e0100-\U000e01ef]+)")
_SHORT = bytes(range(16))  # these bytes' selectors take three bytes, others four
_PADDING = frozenset(b"\x00\x10\xff")  # other writers' fill after the manifest

STACKED = 30  # UAX #15, 12: no language stacks more marks; sorting them is quadratic
_SLACK = 115  # bytes of padding aimed at: hashes and signatures vary by 20 or so
_AIMS = 32  # lengths tried; each is signed, and two of three are reached
_SECOND = (None, 8, 16, 24, 32)  # zeros in the second field of padding


def wrapper(store: bytes) -> str:
    """The wrapper of a manifest store."""
    data = _HEADER.pack(MAGIC, VERSION, len(store)) + store
    return MARKER + data.decode("latin-1").translate(_ENCODE)


def normalise(text: str) -> str:
    """The text in Unicode normal form C, which A.8.7.2 asks of writer and reader.

    Raises:
        ValueError: more than 30 combining marks in a row.
    """
    marks = "".join(c for c in set(text) if unicodedata.combining(c))
    if marks and re.search(f"[{re.escape(marks)}]{{{STACKED + 1}}}", text):
        raise ValueError(f"more than {STACKED} combining marks in a row")
    return unicodedata.normalize("NFC", text)


@dataclass(frozen=True, slots=True)
class _Match:
    """Characters `start` to `end` of a text, and the store in them."""

    start: int
    end: int
    store: bytes


def locate(data: bytes) -> Place | None:
    """The wrapper in a text, if there is one."""
    if MARKER.encode() + b"\xf3\xa0\x84\xb3" not in data:  # the marker and a C
        return None
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return Unusable(CORRUPT)
    found = list(map(_parse, _RUN.finditer(text)))
    matches = [match for match in found if isinstance(match, _Match)]
    if len(matches) > 1:
        return Unusable(MULTIPLE)
    if not matches:
        return Unusable(CORRUPT) if CORRUPT in found else None
    try:
        return _placed(text, matches[0])
    except ValueError:
        return Unusable(CORRUPT)


def _parse(run: re.Match[str]) -> _Match | str | None:
    """One candidate: a wrapper, a corrupt one, or only selectors after a U+FEFF."""
    decoded = run[1].translate(_DECODE).encode("latin-1")
    if decoded[: len(MAGIC)] != MAGIC:
        return None
    if len(decoded) < _HEADER.size:
        return CORRUPT
    _, version, length = _HEADER.unpack_from(decoded)
    end = _HEADER.size + length
    store = decoded[_HEADER.size : end]
    if version != VERSION or len(store) != length or not is_store(store):
        return CORRUPT
    rest = len(decoded) - end if _PADDING.issuperset(decoded[end:]) else 0
    start = run.start() + 1  # of the selectors
    return _Match(run.start(), start + end + rest, store)


def _placed(text: str, match: _Match) -> Located:
    """The text normalised without its wrapper, and the wrapper where it says it is."""
    before = normalise(text[: match.start]).encode()
    content = normalise(text[: match.start] + text[match.end :]).encode()
    body = text[match.start : match.end].encode()
    start = len(before)
    data = content[:start] + body + content[start:]
    return Located(match.store, data, frozenset({(start, len(body))}))


def write(
    content: bytes,
    claim: Callable[[list[dict[str, int]]], Claimed],
    credential: Credential,
    plan: Plan = NEVER,
) -> tuple[bytes, bytes]:
    """The text with its wrapper, and the manifest store in it.

    Args:
        content: UTF-8 in normal form C: what is signed.
        claim: the manifest, where the hard binding leaves out these ranges.
        credential: who signs, one and a half times on average.
        plan: what is done about a time-stamp.

    Raises:
        SigningError: no wrapper has the length that it was signed with.
        NoRoom: the time-stamp is longer than the plan has room for.
        TimestampError: no authority gave a time-stamp that can be believed.
        Exception: whatever a signing callback raised.
    """

    def claimed(length: int) -> Claimed:
        return claim([{"start": len(content), "length": length}])

    unsigned = cose.unsigned(credential, plan.room)
    length = _SLACK
    for _ in range(4):  # a number with more digits makes it longer, once or twice
        longer = _length(claimed(length).store(unsigned)) + _SLACK
        if abs(longer - length) <= _SLACK // 4:
            break
        length = longer
    for aim in range(length, length + _AIMS):
        final = claimed(aim)
        signature = final.signature(credential, plan)
        store = fitting(final.around, signature, aim)
        if store is not None:
            return content + wrapper(store).encode(), store
        if len(signature.token) > plan.room:  # no other length would do better
            raise cose.NoRoom(len(signature.token) - plan.room)
    raise SigningError(f"no wrapper of {length} to {length + _AIMS} bytes was found")


def fitting(
    around: Callable[[bytes], bytes], signature: cose.Signature, length: int
) -> bytes | None:
    """The store whose wrapper takes `length` bytes, by two fields of zeros.

    A zero takes three bytes. The remainder modulo three comes from the heads of the
    fields, which are longer from 24 zeros on, and two of three remainders can be had.
    The third by another way to write the header; only where there is a time-stamp, of
    which no second one is wanted.

    Args:
        around: the store around a claim signature.
        signature: of the claim.
        length: bytes in UTF-8.
    """
    for ended in (False, True) if signature.token else (False,):
        for pad2 in _SECOND:
            unpadded = _length(around(signature.encoded(0, pad2, ended=ended)))
            estimate = (length - unpadded) // 3
            for pad in range(max(0, estimate - 6), estimate + 4):
                store = around(signature.encoded(pad, pad2, ended=ended))
                if _length(store) == length:
                    return store
    return None


def _length(store: bytes) -> int:
    """Bytes that the wrapper of a store takes in UTF-8."""
    data = _HEADER.pack(MAGIC, VERSION, len(store)) + store
    return len(MARKER.encode()) + 3 * len(data) + len(data.translate(None, _SHORT))
