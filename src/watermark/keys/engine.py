"""EngineKey: the key of another engine, which is one number or several.

Engines take their keys as integers: one, two for a dual key, a list for SynthID. Many
in use are published in documentation or small enough to be tried one by one. Such a key
is good for finding a mark, never for making one, and evidence under it says `weak-key`:
anybody could have written the text.

>>> EngineKey((15485863,)).weak
True
>>> "15485863" in repr(EngineKey((15485863,)))
False
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from watermark.errors import WeakKey
from watermark.keys.hidden import Hidden

MAX_NUMBERS = 256
MAX_BITS = 64
# A key below this is found by trying all, whatever its scheme.
SMALL_BITS = 32
# scrypt cost of RFC 7914's interactive use (16 MiB, some 40 ms): the id of a key is
# public, and one guess at the key shall cost as much.
SCRYPT_N, SCRYPT_R, SCRYPT_P = 1 << 14, 8, 1
_SALT = b"watermark-sdk/engine-key/1"

# Keys that stand in documentation, examples and defaults, by who published them.
_TRANSFORMERS = (654, 400, 836, 123, 340, 443, 597, 160, 57)
_SYNTHID_TEXT = (
    *(29, 590, 639, 13, 715, 468, 990, 966, 226, 324, 585),
    *(118, 504, 421, 521, 129, 669, 732, 225, 90, 960),
)
_TEXTBOOK = (0x0123456789ABCDEF, 0xFEDCBA9876543210, 0xDEADBEEFDEADBEEF)
PUBLISHED = frozenset((*_TRANSFORMERS, *_SYNTHID_TEXT, *_TEXTBOOK))


class EngineKey(Hidden):
    """The integers of an engine's configuration, hidden, and their public name, `kid`.

    Attributes:
        numbers: the secret, in the order of the configuration.
        kid: "e" and 16 hexadecimal digits, from a slow hash of the numbers.
    """

    __slots__ = ("kid", "numbers")

    def __init__(self, numbers: Sequence[int]) -> None:
        """Take the numbers, each of at most 64 bits, two's complement allowed.

        Raises:
            WeakKey: none at all, more than 256, or something that is no such integer.
        """
        self.numbers = tuple(numbers)
        if not 0 < len(self.numbers) <= MAX_NUMBERS:
            raise WeakKey(
                f"an engine's key of {len(self.numbers)} numbers was given, expected 1 "
                f"to {MAX_NUMBERS}"
            )
        for number in self.numbers:
            if isinstance(number, bool) or not isinstance(number, int):
                raise WeakKey(
                    f"an engine's key holds a {type(number).__name__}, expected "
                    "integers"
                )
            if not -(1 << MAX_BITS - 1) <= number < 1 << MAX_BITS:
                raise WeakKey(
                    f"an engine's key holds a number of {number.bit_length()} bits, "
                    f"expected at most {MAX_BITS}"
                )
        name = hashlib.scrypt(
            self._plain(), salt=_SALT, n=SCRYPT_N, r=SCRYPT_R, p=SCRYPT_P, dklen=8
        )
        self.kid = "e" + name.hex()

    @property
    def weak(self) -> bool:
        """Whether the key is published, or so small that all can be tried."""
        distinct = set(self.numbers)
        bits = sum(max(1, number.bit_length()) for number in distinct)
        return distinct <= PUBLISHED or bits <= SMALL_BITS

    def _plain(self) -> bytes:
        return ",".join(map(str, self.numbers)).encode()
