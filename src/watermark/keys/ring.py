"""KeyRing: the newest active key marks, any verifies."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NoReturn, Self

from watermark.errors import KeyFileError
from watermark.files import locked, write_atomically
from watermark.keys.key import FILE_SCHEMA, Key, read_key_json
from watermark.record import utc_now

RING_SCHEMA = "watermark.keyring/1"
MAX_EPOCH = 999

State = Literal["active", "retired", "revoked"]


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
            epoch = _epoch(read_key_json(path, FILE_SCHEMA).get("epoch", 0))
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
        data = read_key_json(folder / "ring.json", RING_SCHEMA)
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
        data = read_key_json(folder / "ring.json", RING_SCHEMA)
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
