"""Key: 32 secret bytes, their public name, and their file.

A key is 32 secret bytes. It is never used directly: every use derives a sub-key by
HKDF-SHA256 (RFC 5869) for one purpose, scheme and epoch. Nothing here shows the secret:
not `repr`, `str`, pickling, JSON or an exception's text.

>>> key = Key.generate()
>>> str(key) == f"Key({key.kid})"
True
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import itertools
import json
import secrets
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from watermark.errors import KeyFileError, WeakKey
from watermark.files import read_private, write_atomically
from watermark.keys.hidden import Hidden

FILE_SCHEMA = "watermark.key/1"
KEY_BYTES = 32
# scrypt cost of RFC 7914's interactive use, doubled twice: 64 MiB, about 0.2 s.
SCRYPT_N, SCRYPT_R, SCRYPT_P = 1 << 16, 8, 1
# 32 random bytes hold fewer than 20 distinct values with probability below 1e-9.
MIN_DISTINCT_BYTES = 20


def _guessable(secret: bytes) -> str:
    """Why these bytes were not drawn at random, or "".

    Random bytes are called so with probability below 1e-9: nearly all of it is that of
    too few values. All printable are one in 10^13 or 10^14.
    """
    values = len(set(secret))
    if len(secret) != KEY_BYTES or values < MIN_DISTINCT_BYTES:
        return f"{len(secret)} bytes, {values} of them distinct,"
    if len({(b - a) % 256 for a, b in itertools.pairwise(secret)}) == 1:
        return "bytes in equal steps"
    if all(chr(byte) in string.printable for byte in secret):
        return "text (if it is hexadecimal or base64, decode it first)"
    return ""


class Key(Hidden):
    """32 secret bytes and their public name, `kid`."""

    __slots__ = ("_secret", "kid")

    def __init__(self, secret: bytes) -> None:
        """Take `secret`, 32 uniformly random bytes.

        Raises:
            WeakKey: not 32 bytes, or so regular that they were not drawn at random.
        """
        if isinstance(secret, int) or not isinstance(secret, bytes | bytearray):
            raise WeakKey(
                f"a key of type {type(secret).__name__} was given, expected 32 random "
                "bytes: numbers can be guessed. Use Key.generate()"
            )
        why = _guessable(bytes(secret))
        if why:
            raise WeakKey(
                f"a key of {why} was given; expected {KEY_BYTES} random bytes. Use "
                "Key.generate()"
            )
        self._secret = bytes(secret)
        self.kid = "k" + self.derive("kid", length=8).hex()

    @classmethod
    def generate(cls) -> Self:
        """A new key from the operating system's generator."""
        while True:
            try:
                return cls(secrets.token_bytes(KEY_BYTES))
            except WeakKey:  # once in 10^9 draws
                continue

    def derive(
        self, purpose: str, scheme: str = "", epoch: int = 0, *, length: int = 32
    ) -> bytes:
        """`length` bytes for one purpose, scheme and epoch (HKDF-SHA256, RFC 5869)."""
        info = f"watermark/1/{purpose}/{scheme}/{epoch}".encode()
        extracted = hmac.digest(b"watermark-sdk", self._secret, "sha256")
        out, block, counter = b"", b"", 1
        while len(out) < length:
            block = hmac.digest(extracted, block + info + bytes([counter]), "sha256")
            out += block
            counter += 1
        return out[:length]

    def save(
        self,
        path: Path,
        *,
        passphrase: str | None = None,
        epoch: int = 0,
        replace: bool = False,
    ) -> None:
        """Write the key to a file that only its owner can read (mode 0600).

        Args:
            path: where.
            passphrase: encrypt with ChaCha20-Poly1305 under scrypt of this.
            epoch: the newest epoch the key has marked in, so that whoever is given the
                file looks for the marks of all of them.
            replace: whether an existing file may be overwritten.

        Raises:
            KeyFileError: the file exists or cannot be written.
        """
        header: dict[str, Any] = {
            "schema": FILE_SCHEMA,
            "kid": self.kid,
            "epoch": epoch,
        }
        if passphrase is None:
            header["secret"] = base64.b64encode(self._secret).decode()
        else:
            header |= _seal(self._secret, passphrase, header["kid"].encode())
        try:
            write_atomically(
                path,
                (json.dumps(header, indent=1) + "\n").encode(),
                mode=0o600,
                replace=replace,
            )
        except FileExistsError as error:
            raise KeyFileError(
                f"{path} exists: a key file is never overwritten; choose another name"
            ) from error
        except OSError as error:
            raise KeyFileError(f"{path} cannot be written: {error.strerror}") from error

    @classmethod
    def load(cls, path: Path, *, passphrase: str | None = None) -> Self:
        """Read a key that `save` wrote.

        Raises:
            KeyFileError: missing, readable by others, damaged, or wrong passphrase.
        """
        data = read_key_json(path, FILE_SCHEMA)
        try:
            kid = str(data["kid"])
            if "secret" in data:
                secret = base64.b64decode(data["secret"], validate=True)
            elif passphrase is None:
                raise KeyFileError(f"{path} is encrypted: a passphrase is needed")
            else:
                secret = _open(data, passphrase, kid.encode(), path)
            key = cls(secret)
        except (KeyError, TypeError, ValueError, WeakKey, binascii.Error) as error:
            raise KeyFileError(
                f"{path} is damaged ({type(error).__name__}): restore it from a backup"
            ) from None
        if key.kid != kid:
            raise KeyFileError(
                f"{path} holds key {key.kid} but says {kid:.64}: it was altered"
            )
        return key

    def _plain(self) -> bytes:
        return self._secret


def _seal(secret: bytes, passphrase: str, aad: bytes) -> dict[str, Any]:
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
    cost = {"n": SCRYPT_N, "r": SCRYPT_R, "p": SCRYPT_P}
    sealed = ChaCha20Poly1305(_scrypt(passphrase, salt, **cost)).encrypt(
        nonce, secret, aad
    )
    return {
        "kdf": "scrypt",
        **cost,
        "salt": salt.hex(),
        "nonce": nonce.hex(),
        "sealed": sealed.hex(),
    }


def _open(data: Mapping[str, Any], passphrase: str, aad: bytes, path: Path) -> bytes:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    if data["kdf"] != "scrypt" or not 0 < data["n"] * data["r"] * data["p"] <= 1 << 21:
        raise KeyFileError(f"{path} asks for a key derivation this version refuses")
    wrapping = _scrypt(
        passphrase, bytes.fromhex(data["salt"]), data["n"], data["r"], data["p"]
    )
    try:
        return ChaCha20Poly1305(wrapping).decrypt(
            bytes.fromhex(data["nonce"]), bytes.fromhex(data["sealed"]), aad
        )
    except InvalidTag:
        raise KeyFileError(f"{path}: wrong passphrase, or a damaged file") from None


def _scrypt(passphrase: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    try:
        secret = passphrase.encode()
    except UnicodeEncodeError:
        raise KeyFileError("the passphrase holds a lone surrogate") from None
    return hashlib.scrypt(secret, salt=salt, n=n, r=r, p=p, maxmem=1 << 28, dklen=32)


def read_key_json(path: Path, schema: str) -> dict[str, Any]:
    """The JSON object of a private file, which must be of `schema`.

    Raises:
        KeyFileError: missing, readable by others, or something else.
    """
    try:
        data = json.loads(read_private(path))
    except FileNotFoundError:
        raise KeyFileError(f"{path} does not exist: expected a key file") from None
    except PermissionError as error:
        raise KeyFileError(str(error) or f"{path} cannot be read") from None
    except (OSError, ValueError, RecursionError) as error:
        raise KeyFileError(
            f"{path} cannot be read as a key file: "
            f"{getattr(error, 'strerror', None) or type(error).__name__}"
        ) from None
    if not isinstance(data, dict) or data.get("schema") != schema:
        raise KeyFileError(f"{path} is not a file of schema {schema!r}")
    return data
