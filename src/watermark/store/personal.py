"""Personal fields: a commitment in the leaf, the value encrypted beside it.

The leaf has HMAC-SHA256(nonce, name || 0 || value) for each field, the table
``personal`` has the nonce and the value, sealed. Whoever is given both can check them
against the log. Once the row is erased nobody can tell what the commitment was to, not
even by trying every value: the nonce has 256 random bits, and stood nowhere else.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from watermark.errors import KeyFileError, LedgerCorrupt, StoreError
from watermark.files import read_private, write_atomically

NONCE_BYTES = 32
KEY_BYTES = 32
SALT_BYTES = 16
MAX_VALUE = 100_000  # characters; a prompt fits
MAX_FIELDS = 32
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_HEADER = "watermark personal key 1\n"
_LABEL = b"watermark personal 1 "
# Each row has a key of its own, so that one nonce serves them all.
_GCM_NONCE = bytes(12)


@dataclass(frozen=True, slots=True)
class Opening:
    """What opens a commitment.

    Attributes:
        nonce: 32 random bytes.
        value: the clear value.
    """

    nonce: bytes = field(repr=False)
    value: str = field(repr=False)

    def commitment(self, name: str) -> bytes:
        """What the leaf says of the field `name`, 32 bytes."""
        message = name.encode() + b"\0" + self.value.encode()
        return hmac.digest(self.nonce, message, "sha256")


class PersonalKey:
    """The key that personal fields are encrypted with; kept apart from the ledger."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        if len(secret) != KEY_BYTES:
            raise KeyFileError(
                f"found a personal key of {len(secret)} bytes, expected {KEY_BYTES}"
            )
        self._secret = secret

    @classmethod
    def create(cls, path: Path) -> Self:
        """A new key, saved to a new file that only its owner can read.

        Raises:
            KeyFileError: `path` exists or cannot be written.
        """
        secret = secrets.token_bytes(KEY_BYTES)
        try:
            write_atomically(path, f"{_HEADER}{secret.hex()}\n".encode(), mode=0o600)
        except FileExistsError as error:
            raise KeyFileError(
                f"{path} exists: a key is never overwritten; load it"
            ) from error
        except OSError as error:
            raise KeyFileError(f"{path} cannot be written: {error.strerror}") from error
        return cls(secret)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a key that `create` wrote.

        Raises:
            KeyFileError: missing, readable by others, or damaged.
        """
        try:
            text = read_private(path).decode("ascii")
            if not text.startswith(_HEADER):
                raise ValueError("it has another first line")
            return cls(bytes.fromhex(text.removeprefix(_HEADER)))
        except (OSError, ValueError) as error:
            raise KeyFileError(f"{path} cannot be read: {error}") from None

    def seal(self, opening: Opening, *, idx: int, name: str) -> bytes:
        """`opening`, encrypted for the field `name` of entry `idx` and for no other."""
        salt = secrets.token_bytes(SALT_BYTES)
        clear = opening.nonce + opening.value.encode()
        return salt + self._cipher(salt).encrypt(_GCM_NONCE, clear, _place(idx, name))

    def open(self, sealed: bytes, *, idx: int, name: str) -> Opening:
        """The inverse of `seal`.

        Raises:
            LedgerCorrupt: it was altered or moved, or is under another key.
        """
        salt, rest = sealed[:SALT_BYTES], sealed[SALT_BYTES:]
        try:
            clear = self._cipher(salt).decrypt(_GCM_NONCE, rest, _place(idx, name))
            value = clear[NONCE_BYTES:].decode()
        except (InvalidTag, ValueError) as error:
            raise LedgerCorrupt(
                f"the personal field {name!r:.80} of entry {idx} does not decrypt: it "
                "was altered, or is under another key"
            ) from error
        return Opening(clear[:NONCE_BYTES], value)

    def _cipher(self, salt: bytes) -> AESGCM:
        return AESGCM(hmac.digest(self._secret, _LABEL + salt, hashlib.sha256))

    def __repr__(self) -> str:
        return "PersonalKey(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a personal key is not pickled: pass the path of its file")


def check(fields: Mapping[str, str]) -> None:
    """Check names and sizes of personal fields.

    Raises:
        StoreError: a name that is none, or a value that is too long or no text.
    """
    if len(fields) > MAX_FIELDS:
        raise StoreError(
            f"found {len(fields)} personal fields, expected at most {MAX_FIELDS}"
        )
    for name, value in fields.items():
        if not _NAME.fullmatch(name):
            raise StoreError(
                f"found the personal field {name!r:.80}, expected a name of lower-case "
                "letters, digits and _, such as 'user'"
            )
        if not isinstance(value, str) or len(value) > MAX_VALUE or not _is_text(value):
            raise StoreError(
                f"the personal field {name} holds no text of at most {MAX_VALUE} "
                "characters"
            )


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _place(idx: int, name: str) -> bytes:
    return f"{idx} {name}".encode()
