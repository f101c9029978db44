"""Signed tree heads: C2SP tlog-checkpoint in a C2SP signed-note, with Ed25519.

A note is text that people, witnesses and other logs' tools can read::

    acme.example/log
    2
    q4Hu...=

    — acme.example/log Zm9v...=

Specifications: https://c2sp.org/signed-note and https://c2sp.org/tlog-checkpoint.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn, Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from watermark.errors import KeyFileError, VerificationError
from watermark.files import read_private, write_atomically
from watermark.store.merkle import HASH_BYTES

ED25519 = b"\x01"  # signature type of signed-note
KEY_ID_BYTES = 4
MARK = "\u2014 "  # every signature line starts with an em dash and a space
# The reference implementation (golang.org/x/mod/sumdb/note) stops at these.
MAX_NOTE = 1_000_000
MAX_SIGNATURES = 100
_SIZE = re.compile(r"0|[1-9][0-9]{0,17}")
_NAME_LINE = "Log-Name: "


@dataclass(frozen=True, slots=True)
class Verifier:
    """The public half of a log key: its name and its 32-byte Ed25519 public key."""

    name: str
    public: bytes

    @property
    def key_id(self) -> bytes:
        """Four bytes that tell keys of one name apart."""
        data = self.name.encode() + b"\n" + ED25519 + self.public
        return hashlib.sha256(data).digest()[:KEY_ID_BYTES]

    def __str__(self) -> str:
        encoded = base64.b64encode(ED25519 + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{encoded}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``name+keyid+base64``, as `str` writes it.

        Raises:
            VerificationError: it is not the verifier of an Ed25519 log key.
        """
        name, _, rest = text.partition("+")
        _, _, encoded = rest.partition("+")
        key = _unbase64(encoded)
        if not is_name(name) or key[:1] != ED25519 or len(key) != 1 + HASH_BYTES:
            raise VerificationError(
                f"found {text!r:.200}, expected the verifier of an Ed25519 log key, "
                "name+keyid+base64: copy it again from `LogKey.public`"
            )
        verifier = cls(name, key[1:])
        if str(verifier) != text:
            raise VerificationError(
                f"{text!r:.200} names another key id than {verifier.key_id.hex()}, "
                "which its key has: it was altered or cut"
            )
        return verifier

    def check(self, text: bytes, signature: bytes) -> None:
        """Check one Ed25519 signature.

        Raises:
            VerificationError: it is not this key's signature of `text`.
        """
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text)
        except (InvalidSignature, ValueError) as error:
            raise VerificationError(
                f"a signature that claims to be by {self} is not: the checkpoint was "
                "altered"
            ) from error


class LogKey:
    """The Ed25519 key that signs checkpoints, and the log's name."""

    __slots__ = ("_private", "_verifier")

    def __init__(self, name: str, private: Ed25519PrivateKey) -> None:
        if not is_name(name):
            raise KeyFileError(
                f"found the log name {name!r:.200}, expected printable text without "
                "spaces and without '+', such as 'acme.example/log'"
            )
        self._private = private
        self._verifier = Verifier(name, private.public_key().public_bytes_raw())

    @classmethod
    def create(cls, path: Path, *, name: str) -> Self:
        """A new key, saved to a new PKCS#8 PEM file that only its owner can read.

        Raises:
            KeyFileError: `path` exists or cannot be written, or the name is unusable.
        """
        key = cls(name, Ed25519PrivateKey.generate())
        pem = key._private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        try:
            # Text before the PEM block is ignored by every reader (RFC 7468, 5.2).
            header = f"{_NAME_LINE}{name}\n".encode()
            write_atomically(path, header + pem, mode=0o600)
        except FileExistsError as error:
            raise KeyFileError(
                f"{path} exists: a log key is never overwritten; choose another name"
            ) from error
        except OSError as error:
            raise KeyFileError(f"{path} cannot be written: {error.strerror}") from error
        return key

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a key that `create` wrote.

        Raises:
            KeyFileError: missing, readable by others, or damaged.
        """
        try:
            data = read_private(path)
        except OSError as error:
            raise KeyFileError(f"{path} cannot be read: {error}") from error
        line = data.partition(b"\n")[0].decode(errors="replace")
        try:
            private = serialization.load_pem_private_key(data, None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            private = None  # the parser's own words could quote the file
        if not isinstance(private, Ed25519PrivateKey) or not line.startswith(
            _NAME_LINE
        ):
            raise KeyFileError(
                f"{path} is not a log key (a '{_NAME_LINE}' line, then an Ed25519 key "
                "in PKCS#8 PEM): restore it from a backup"
            )
        return cls(line.removeprefix(_NAME_LINE), private)

    @property
    def name(self) -> str:
        """The log's name, which is also the origin line of its checkpoints."""
        return self._verifier.name

    @property
    def verifier(self) -> Verifier:
        """The public half."""
        return self._verifier

    @property
    def public(self) -> str:
        """The public half as text to hand out: ``name+keyid+base64``."""
        return str(self._verifier)

    def sign(self, text: bytes) -> bytes:
        """The 64-byte Ed25519 signature of `text`."""
        return self._private.sign(text)

    def __repr__(self) -> str:
        return f"LogKey({self.name}+{self._verifier.key_id.hex()})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a log key is not pickled: pass the path of its file instead")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The size and root of a log at one moment. Unverified, unless `verify` gave it.

    Attributes:
        origin: the log's name.
        size: number of leaves.
        root: root hash of the tree of these leaves.
        extensions: further signed lines, kept as they are.
        signatures: signature lines; those of unknown witnesses are kept as they are.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()
    signatures: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """What is signed."""
        root = base64.b64encode(self.root).decode()
        lines = (self.origin, str(self.size), root, *self.extensions)
        return "".join(f"{line}\n" for line in lines)

    @property
    def note(self) -> str:
        """The signed note, as it is stored and handed out."""
        return f"{self.text}\n" + "".join(f"{line}\n" for line in self.signatures)


def sign(checkpoint: Checkpoint, key: LogKey) -> Checkpoint:
    """`checkpoint` with the log's signature added."""
    signature = key.verifier.key_id + key.sign(checkpoint.text.encode())
    line = f"{MARK}{key.name} {base64.b64encode(signature).decode()}"
    return replace(checkpoint, signatures=(*checkpoint.signatures, line))


def parse(note: str) -> Checkpoint:
    """Read a note without checking any signature; `verify` does both.

    Raises:
        VerificationError: it is not a signed checkpoint.
    """
    text, _, signatures = note[: MAX_NOTE + 1].rpartition("\n\n")
    # Padded, so that a text of too few lines unpacks, and fails the check of form.
    origin, size, root, *extensions = [*text.split("\n"), "", ""]
    checkpoint = Checkpoint(
        origin=origin,
        size=int(size) if _SIZE.fullmatch(size) else -1,
        root=_unbase64(root),
        extensions=tuple(extensions[:-2]),
        signatures=tuple(signatures.split("\n")[:-1]),
    )
    _check_form(checkpoint, note)
    return checkpoint


def verify(note: str, verifier: Verifier) -> Checkpoint:
    """Read a note that the log `verifier` signed.

    Raises:
        VerificationError: it is not a signed checkpoint of that log, or was altered.
    """
    checkpoint = parse(note)
    own = [
        signature[KEY_ID_BYTES:]
        for name, signature in map(_signature, checkpoint.signatures)
        if name == verifier.name and signature[:KEY_ID_BYTES] == verifier.key_id
    ]
    if checkpoint.origin != verifier.name or not own:
        raise VerificationError(
            f"found a checkpoint of {checkpoint.origin!r:.200} without a signature by "
            f"{verifier}: it is another log's, or the wrong verifier was given"
        )
    for signature in own:
        verifier.check(checkpoint.text.encode(), signature)
    return checkpoint


def is_name(text: str) -> bool:
    """Whether `text` can be a log's name: not empty, printable, no spaces, no '+'."""
    return bool(text) and text.isprintable() and not set(text) & {" ", "+"}


def _check_form(checkpoint: Checkpoint, note: str) -> None:
    well_formed = (
        len(note) <= MAX_NOTE
        and is_name(checkpoint.origin)
        and len(checkpoint.root) == HASH_BYTES
        and all(line and line.isprintable() for line in checkpoint.extensions)
        and 1 <= len(checkpoint.signatures) <= MAX_SIGNATURES
        and all(_signature(line)[0] for line in checkpoint.signatures)
        and checkpoint.note == note  # so that nothing was skipped or repaired
    )
    if not well_formed:
        raise VerificationError(
            f"found {note!r:.200}, expected a signed checkpoint: origin, size and root "
            "on lines of their own, an empty line, then signature lines"
        )


def _signature(line: str) -> tuple[str, bytes]:
    """Name, and key id with signature, of one line; an empty name if malformed."""
    name, _, encoded = line.removeprefix(MARK).partition(" ")
    signature = _unbase64(encoded)
    if not line.startswith(MARK) or len(signature) <= KEY_ID_BYTES or not is_name(name):
        return "", b""
    return name, signature


def _unbase64(text: str) -> bytes:
    """The bytes of canonical base64; nothing if it is not."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
    return data if base64.b64encode(data).decode() == text else b""
