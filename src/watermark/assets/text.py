"""Text: decoding untrusted bytes, and the digests that recognise a text."""

from __future__ import annotations

import hashlib
import struct
import unicodedata
from collections.abc import Iterable

from watermark.assets import DamagedAsset, check_size


def decode(data: bytes) -> str:
    """The text in UTF-8 bytes; a byte order mark at the start stays.

    Raises:
        DamagedAsset: not UTF-8 (lone surrogates are not), or too large.
    """
    check_size(data, "text/plain")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DamagedAsset(
            f"byte {error.start} is not UTF-8 ({error.reason}): save the text as UTF-8"
        ) from error


# UAX #15, section 12: no language stacks more marks. Longer runs are taken as they are,
# since putting them in order takes time that grows with their square.
_STACKED = 30


def digest(text: str) -> str:
    """SHA-256 (hex) of the text as UTF-8 in Unicode normal form C.

    A text with more than 30 combining marks in a row is taken as it is.

    Raises:
        DamagedAsset: a lone surrogate, which UTF-8 cannot say.
    """
    try:
        normal = text if _stacked(text) else unicodedata.normalize("NFC", text)
        data = normal.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DamagedAsset(
            f"character {error.start} is a lone surrogate: it is no text"
        ) from error
    return hashlib.sha256(b"text/1" + data).hexdigest()


def _stacked(text: str) -> bool:
    """Whether more combining marks follow each other than any language needs."""
    if text.isascii():
        return False
    run = 0
    for character in text:
        run = (
            run + 1
            if ord(character) > 0x2FF and unicodedata.combining(character)
            else 0
        )
        if run > _STACKED:
            return True
    return False


def tokens_digest(ids: Iterable[int]) -> str:
    """SHA-256 (hex) of token ids.

    Raises:
        DamagedAsset: an id that is not a whole number of 32 bits.
    """
    numbers = list(ids)
    try:
        packed = struct.pack(f"<{len(numbers)}I", *numbers)
    except (struct.error, TypeError) as error:
        raise DamagedAsset(
            f"token ids must be whole numbers from 0 to 2**32 - 1: {error}"
        ) from error
    return hashlib.sha256(b"tokens/1" + packed).hexdigest()
