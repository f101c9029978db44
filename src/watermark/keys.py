"""Key, KeyRing, KeyRecord: secrets, their public names, and what both sides agree on.

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
import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NoReturn, Self

from watermark.errors import KeyFileError, WeakKey
from watermark.files import locked, read_private, write_atomically
from watermark.record import utc_now

FILE_SCHEMA = "watermark.key/1"
RING_SCHEMA = "watermark.keyring/1"
RECORD_SCHEMA = "watermark.keyrecord/1"
KEY_BYTES = 32
# scrypt cost of RFC 7914's interactive use, doubled twice: 64 MiB, about 0.2 s.
SCRYPT_N, SCRYPT_R, SCRYPT_P = 1 << 16, 8, 1
# 32 random bytes hold fewer than 20 distinct values with probability below 1e-9.
MIN_DISTINCT_BYTES = 20

MAX_EPOCH = 999
# Parameters that a detector does not need: the strength of a mark is not its place.
EMBED_ONLY = frozenset({"delta"})

State = Literal["active", "retired", "revoked"]


class Key:
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
        if len(secret) != KEY_BYTES or len(set(secret)) < MIN_DISTINCT_BYTES:
            raise WeakKey(
                f"a key of {len(secret)} bytes, {len(set(secret))} of them distinct, "
                f"was given; expected {KEY_BYTES} random bytes. Use Key.generate()"
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
        data = _read_json(path, FILE_SCHEMA)
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

    def __repr__(self) -> str:
        return f"Key({self.kid})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Key):
            return NotImplemented
        return hmac.compare_digest(self._secret, other._secret)

    def __hash__(self) -> int:
        return hash(self.kid)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Key is never pickled: save it with Key.save")


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


def _read_json(path: Path, schema: str) -> dict[str, Any]:
    try:
        data = json.loads(read_private(path))
    except FileNotFoundError:
        raise KeyFileError(f"{path} does not exist: expected a key file") from None
    except PermissionError as error:
        raise KeyFileError(str(error) or f"{path} cannot be read") from None
    except (OSError, ValueError, RecursionError) as error:
        raise KeyFileError(
            f"{path} cannot be read as a key file ({type(error).__name__})"
        ) from None
    if not isinstance(data, dict) or data.get("schema") != schema:
        raise KeyFileError(f"{path} is not a file of schema {schema!r}")
    return data


Parameter = int | float | str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """Everything that marking and finding must agree on; one object for both sides.

    Attributes:
        kid: public name of the key.
        scheme: name of the scheme.
        version: version of the scheme's bits.
        epoch: epoch of the sub-key.
        parameters: the scheme's own parameters, by name.
        vocab_size: width of the logits, or None where it does not matter.
        tokenizer: digest of the tokenizer (`watermark.tokenizer`), or None: any.
        key: the secret; not shown, compared or written.
    """

    kid: str
    scheme: str
    version: int = 1
    epoch: int = 0
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    vocab_size: int | None = None
    tokenizer: str | None = None
    key: Key | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        frozen = MappingProxyType(dict(sorted(self.parameters.items())))
        object.__setattr__(self, "parameters", frozen)
        if self.key is not None and self.key.kid != self.kid:
            raise WeakKey(
                f"the record names key {self.kid}, but was given key {self.key.kid}"
            )

    @property
    def secret(self) -> Key:
        """The key.

        Raises:
            KeyFileError: this record was read without its key.
        """
        if self.key is None:
            raise KeyFileError(
                f"the key {self.kid} of this record is not at hand: load its key file"
            )
        return self.key

    @property
    def test(self) -> tuple[Any, ...]:
        """What decides the bits: records with equal `test` are one hypothesis."""
        bits = tuple(p for p in self.parameters.items() if p[0] not in EMBED_ONLY)
        return self.kid, self.scheme, self.version, self.epoch, bits

    def derive(self, purpose: str, *, length: int = 32) -> bytes:
        """A sub-key for `purpose` under this record's scheme, version and epoch."""
        return self.secret.derive(
            purpose, f"{self.scheme}.{self.version}", self.epoch, length=length
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data, without the secret."""
        return {
            "schema": RECORD_SCHEMA,
            "kid": self.kid,
            "scheme": self.scheme,
            "version": self.version,
            "epoch": self.epoch,
            "parameters": dict(self.parameters),
            "vocab_size": self.vocab_size,
            "tokenizer": self.tokenizer,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, key: Key | None = None) -> Self:
        """The inverse of `to_dict`.

        Raises:
            KeyFileError: another schema, or a field is missing.
        """
        if not isinstance(data, Mapping) or data.get("schema") != RECORD_SCHEMA:
            found = data.get("schema") if isinstance(data, Mapping) else type(data)
            raise KeyFileError(
                f"found a key record of schema {found!r}, expected {RECORD_SCHEMA!r}"
            )
        try:
            fields = {k: data[k] for k in data if k != "schema"}
            return cls(**fields, key=key)
        except (TypeError, AttributeError, ValueError) as error:
            raise KeyFileError(f"a key record cannot be read: {error}") from None

    def __reduce__(self) -> NoReturn:
        raise TypeError("a KeyRecord is never pickled: write to_dict() instead")


@dataclass(frozen=True, slots=True)
class RingEntry:
    """One key of a ring: active keys mark, retired and revoked ones only verify."""

    key: Key
    state: State = "active"
    epoch: int = 0
    created_at: str = field(default_factory=utc_now)

    @classmethod
    def load(cls, path: Path, *, passphrase: str | None = None) -> Self:
        """The key of a file, with the epoch it was saved at.

        Raises:
            KeyFileError: as `Key.load`.
        """
        key = Key.load(path, passphrase=passphrase)
        try:
            epoch = _epoch(_read_json(path, FILE_SCHEMA).get("epoch", 0))
        except ValueError as error:
            raise KeyFileError(f"{path} is damaged: {error}") from None
        return cls(key, epoch=epoch)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a RingEntry is never pickled: save the ring instead")


class KeyRing(Sequence[RingEntry]):
    """Keys, oldest first: the newest active one marks, any verifies.

    With a folder, each change is written there: one file per key and `ring.json`,
    which holds no secret.
    """

    def __init__(
        self,
        entries: Sequence[RingEntry],
        folder: Path | None = None,
        passphrase: str | None = None,
    ) -> None:
        """Take the entries; an empty ring is an error, not a ring that finds nothing.

        Raises:
            KeyFileError: no entry, or one key twice.
        """
        if not entries:
            raise KeyFileError("a key ring needs at least one key")
        kids = [entry.key.kid for entry in entries]
        if len(set(kids)) < len(kids):
            raise KeyFileError(f"a key stands twice in the ring: {', '.join(kids)}")
        self._entries = tuple(entries)
        self._folder = folder
        self._passphrase = passphrase

    @classmethod
    def of(cls, *keys: Key) -> Self:
        """A ring of `keys`, oldest first, kept in memory only."""
        return cls([RingEntry(key) for key in keys])

    @classmethod
    def create(cls, folder: Path, *, passphrase: str | None = None) -> Self:
        """A new ring with one new key, in `folder` (mode 0700).

        Raises:
            KeyFileError: the folder holds a ring already.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if (folder / "ring.json").exists():
            raise KeyFileError(
                f"{folder} holds a key ring: it is never overwritten. Load it"
            )
        ring = cls([RingEntry(Key.generate())], folder, passphrase)
        ring._save()
        return ring

    @classmethod
    def load(cls, folder: Path, *, passphrase: str | None = None) -> Self:
        """Read a ring that `create` wrote.

        Raises:
            KeyFileError: the ring or one of its keys is missing or damaged.
        """
        data = _read_json(folder / "ring.json", RING_SCHEMA)
        try:
            entries = [
                RingEntry(
                    Key.load(
                        folder / f"{_plain(e['kid'])}.json", passphrase=passphrase
                    ),
                    _state(e["state"]),
                    _epoch(e["epoch"]),
                    str(e["created_at"]),
                )
                for e in data["keys"]
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise KeyFileError(
                f"{folder / 'ring.json'} is damaged: {error!r}"
            ) from None
        return cls(entries, folder, passphrase)

    @staticmethod
    def revoked_in(folder: Path) -> frozenset[str]:
        """Ids of the revoked keys of a folder; no secret is read.

        Raises:
            KeyFileError: the ring is missing or damaged.
        """
        data = _read_json(folder / "ring.json", RING_SCHEMA)
        try:
            rows = [(str(row["kid"]), row["state"]) for row in data["keys"]]
        except (KeyError, TypeError) as error:
            raise KeyFileError(
                f"{folder / 'ring.json'} is damaged: {error!r}"
            ) from None
        return frozenset(kid for kid, state in rows if state == "revoked")

    @property
    def newest(self) -> RingEntry:
        """The entry that marks: the newest active one.

        Raises:
            KeyFileError: every key is retired or revoked.
        """
        for entry in reversed(self._entries):
            if entry.state == "active":
                return entry
        raise KeyFileError("no key is active: run `wm keys rotate` to make a new one")

    def rotate(self) -> RingEntry:
        """Add a new key that marks from now on; the old ones still verify."""
        with self._changing():
            self._entries = (
                *(
                    replace(e, state="retired") if e.state == "active" else e
                    for e in self._entries
                ),
                RingEntry(Key.generate()),
            )
        return self._entries[-1]

    def advance(self) -> RingEntry:
        """Start the next epoch of the newest key: a fresh sub-key, the same key id."""
        with self._changing():
            newest = self.newest
            if newest.epoch == MAX_EPOCH:
                raise KeyFileError(
                    f"{newest.key.kid} is in epoch {MAX_EPOCH}, the last: rotate to a "
                    "new key, since every epoch is one more hypothesis to count"
                )
            self._change(newest.key.kid, epoch=newest.epoch + 1)
            if self._folder is not None:
                newest.key.save(
                    self._folder / f"{newest.key.kid}.json",
                    passphrase=self._passphrase,
                    epoch=newest.epoch + 1,
                    replace=True,
                )
        return self.newest

    def revoke(self, kid: str) -> None:
        """Never mark with `kid` again; what it marked is still found, and says so.

        Raises:
            KeyFileError: no such key.
        """
        with self._changing():
            self._change(kid, state="revoked")

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Read the ring again, change it, write it: one process at a time."""
        if self._folder is None:
            yield
            return
        with locked(self._folder / ".lock"):
            fresh = KeyRing.load(self._folder, passphrase=self._passphrase)
            self._entries = fresh._entries
            yield
            self._save()

    def _change(self, kid: str, **changes: Any) -> None:
        if kid not in {e.key.kid for e in self._entries}:
            known = ", ".join(e.key.kid for e in self._entries)
            raise KeyFileError(f"no key {kid!r} in this ring; it holds {known}")
        self._entries = tuple(
            replace(e, **changes) if e.key.kid == kid else e for e in self._entries
        )

    def _save(self) -> None:
        if self._folder is None:
            return
        for entry in self._entries:
            path = self._folder / f"{entry.key.kid}.json"
            if not path.exists():
                entry.key.save(path, passphrase=self._passphrase, epoch=entry.epoch)
        rows = [
            {
                "kid": e.key.kid,
                "state": e.state,
                "epoch": e.epoch,
                "created_at": e.created_at,
            }
            for e in self._entries
        ]
        text = json.dumps({"schema": RING_SCHEMA, "keys": rows}, indent=1) + "\n"
        write_atomically(
            self._folder / "ring.json", text.encode(), mode=0o600, replace=True
        )

    def __getitem__(self, index: Any) -> Any:
        return self._entries[index]

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[RingEntry]:
        return iter(self._entries)

    def __repr__(self) -> str:
        return f"KeyRing({', '.join(e.key.kid for e in self._entries)})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a KeyRing is never pickled: load it from its folder")


def _state(value: object) -> State:
    if value not in ("active", "retired", "revoked"):
        raise ValueError(f"state {value!r:.40}, expected active, retired or revoked")
    return value


def _epoch(value: object) -> int:
    if not isinstance(value, int) or not 0 <= value <= MAX_EPOCH:
        raise ValueError(f"epoch {value!r:.40}, expected 0 to {MAX_EPOCH}")
    return value


def _plain(kid: object) -> str:
    """`kid` if it is a plain name, so that a ring file cannot point elsewhere."""
    text = str(kid)
    if not text.isalnum() or text != os.path.basename(text):
        raise KeyFileError(f"{text!r} is not a key id")
    return text
