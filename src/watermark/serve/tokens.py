"""Bearer tokens and what each may do. The file holds digests, never a token."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from watermark.errors import KeyFileError
from watermark.files import locked, read_private, write_atomically
from watermark.record import utc_now

SCHEMA = "watermark.tokens/1"
FILE = "tokens.json"  # in the home, mode 0600
PREFIX = "wm_"
# The first three are C2PA's; a full look shows p-values, passages and maps.
SCOPES = ("fetch:manifests", "store:manifests", "store:bindings", "verify:full")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class Token:
    """One token, as the file has it.

    Attributes:
        name: whose it is.
        digest: SHA-256 of the token, hex.
        scopes: what it may do.
        created_at: when it was made.
    """

    name: str
    digest: str
    scopes: frozenset[str]
    created_at: str


class Tokens:
    """The tokens of one home, read again when the file has changed."""

    def __init__(self, home: Path) -> None:
        self._path = home / FILE
        self._version: tuple[int, ...] = ()
        self._tokens: tuple[Token, ...] = ()

    def add(self, name: str, scopes: frozenset[str]) -> str:
        """Make a token; it is told this once.

        Raises:
            ValueError: the name is taken or unusable, or there is no such scope.
            KeyFileError: the file is damaged, or others can read it.
        """
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"found the name {name!r:.80}, expected letters and digits"
            )
        if not scopes or scopes - set(SCOPES):
            raise ValueError(
                f"found the scopes {sorted(scopes)}, expected some of "
                f"{', '.join(SCOPES)}"
            )
        secret = PREFIX + secrets.token_urlsafe(32)
        with locked(self._path.with_suffix(".lock")):
            known = self._read()
            if any(token.name == name for token in known):
                raise ValueError(f"there is a token {name!r} already: revoke it first")
            token = Token(name, _digest(secret), scopes, utc_now())
            self._write((*known, token))
        return secret

    def revoke(self, name: str) -> bool:
        """Take a token back; whether there was one of that name.

        Raises:
            KeyFileError: the file is damaged, or others can read it.
        """
        with locked(self._path.with_suffix(".lock")):
            known = self._read()
            rest = tuple(token for token in known if token.name != name)
            if len(rest) == len(known):
                return False
            self._write(rest)
            return True

    def all(self) -> tuple[Token, ...]:
        """Every token.

        Raises:
            KeyFileError: the file is damaged, or others can read it.
        """
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return ()
        version = (status.st_mtime_ns, status.st_ino, status.st_size)
        if version != self._version:
            self._tokens, self._version = self._read(), version
        return self._tokens

    def scopes(self, secret: str) -> frozenset[str] | None:
        """What a token may do; None if it is no token here.

        Raises:
            KeyFileError: the file is damaged, or others can read it.
        """
        digest, found = _digest(secret), None
        for token in self.all():  # all of them, so that the time tells nothing
            if hmac.compare_digest(token.digest, digest):
                found = token.scopes
        return found

    def _read(self) -> tuple[Token, ...]:
        try:
            data = json.loads(read_private(self._path))
            if data["schema"] != SCHEMA:
                raise ValueError(f"schema {data['schema']!r:.80}")
            return tuple(_token(row) for row in data["tokens"])
        except FileNotFoundError:
            return ()
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise KeyFileError(f"{self._path} cannot be read: {error}") from error

    def _write(self, tokens: tuple[Token, ...]) -> None:
        rows = [
            {
                "name": token.name,
                "sha256": token.digest,
                "scopes": sorted(token.scopes),
                "created_at": token.created_at,
            }
            for token in tokens
        ]
        text = json.dumps({"schema": SCHEMA, "tokens": rows}, indent=1)
        write_atomically(self._path, text.encode(), mode=0o600, replace=True)


def _token(row: Any) -> Token:
    scopes = frozenset(row["scopes"])
    if scopes - set(SCOPES):
        raise ValueError(f"unknown scopes {sorted(scopes)!r:.200}")
    return Token(str(row["name"]), str(row["sha256"]), scopes, str(row["created_at"]))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
