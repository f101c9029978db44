"""Home: the folder that holds a provider's keys, credential, settings and ledger.

home.toml               who we are, and settings
keys/                   the key ring (mode 0700)
credential/             certificate chain and signing key
log.pem, ledger.db      the log's own key, and the ledger
personal.key            encrypts personal fields in the ledger
records/                key records of what was attached; no secrets
tokenizers/<digest>     definitions of tokenizers, for detection without torch
repositories.txt        base URLs of repositories that `verify` may ask, one a line
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn, Self

from watermark.errors import HomeError, KeyFileError, LabelError, StoreError
from watermark.files import read_private, write_atomically
from watermark.keys import KeyRecord, KeyRing
from watermark.labels.regimes import load as load_regime
from watermark.record import utc_now
from watermark.resolution import endpoints
from watermark.schemes import SCHEMES, default_records
from watermark.schemes.foreign import FOREIGN
from watermark.schemes.learned import scheme_of
from watermark.sign.credential import Credential
from watermark.store import retention
from watermark.store.checkpoint import LogKey
from watermark.store.ledger import Ledger
from watermark.store.personal import PersonalKey
from watermark.store.postgres import check_private, is_url
from watermark.tokenizer import TextTokenizer

SCHEMA = "watermark.home/1"
VARIABLE = "WATERMARK_HOME"
_DIGEST = re.compile(r"[0-9a-f]{64}")


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def default_path() -> Path:
    """``$WATERMARK_HOME``, else a folder in the user's data directory."""
    if os.environ.get(VARIABLE):
        return Path(os.environ[VARIABLE])
    import platformdirs

    return Path(platformdirs.user_data_dir("watermark"))


@dataclass(frozen=True)
class Home:
    """An existing home. Made by `create` and `open`; parts are read when first used.

    Attributes:
        path: the folder.
        provider: who runs the models.
        max_fpr: a mark decides at or below this adjusted p-value.
        regimes: whose laws the ledger is kept under, such as ``cn``.
        retention_days: least days before an entry of the ledger may be pruned.
        ledger_url: address of a PostgreSQL database that holds the ledger, or "": it is
            ``ledger.db``.
    """

    path: Path
    provider: str
    max_fpr: float = 1e-6
    regimes: tuple[str, ...] = ()
    retention_days: int = retention.DAYS
    ledger_url: str = field(default="", repr=False)  # may hold a password
    _passphrase: str | None = field(default=None, repr=False)
    _rings: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    _read: dict[str, TextTokenizer] = field(
        default_factory=dict, repr=False, compare=False
    )

    @classmethod
    def create(
        cls, path: Path, *, provider: str, passphrase: str | None = None
    ) -> Self:
        """A new home with one key, a development credential and an empty ledger.

        It is made under a temporary name and then renamed: a home exists whole or not
        at all.

        Args:
            path: where; an existing file or folder is never overwritten.
            provider: who runs the models; it stands in every record and certificate.
            passphrase: encrypts keys and credential on disk.

        Raises:
            HomeError: `path` exists or cannot be written, or `provider` is empty.
        """
        path = Path(path)
        if (
            not provider.strip()
            or not provider.isprintable()
            or len(provider.encode()) > 64  # X.520: the longest organizationName
        ):
            raise HomeError(
                f"the provider is {provider!r:.80}, expected a printable name of 1 to "
                "64 bytes as UTF-8"
            )
        if path.exists():
            raise HomeError(
                f"{path} exists: a home is never overwritten. Open it, or choose "
                "another folder"
            )
        draft = path.parent / f".{path.name}.{secrets.token_hex(4)}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            draft.mkdir(mode=0o700)
            cls._fill(draft, provider, passphrase)
            draft.rename(path)
        except OSError as error:
            raise HomeError(f"{path} cannot be made: {error}") from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return cls.open(path, passphrase=passphrase)

    @staticmethod
    def _fill(folder: Path, provider: str, passphrase: str | None) -> None:
        KeyRing.create(folder / "keys", passphrase=passphrase)
        Credential.create_dev(folder / "credential", provider, passphrase=passphrase)
        name = f"watermark.invalid/{secrets.token_hex(8)}"
        key = LogKey.create(folder / "log.pem", name=name)
        PersonalKey.create(folder / "personal.key")
        Ledger.create(folder / "ledger.db", origin=name, key=key).close()
        (folder / "tokenizers").mkdir()
        (folder / "records").mkdir(mode=0o700)
        text = (
            f"schema = {json.dumps(SCHEMA)}\n"
            f"provider = {json.dumps(provider, ensure_ascii=False)}\n"
            f"created_at = {json.dumps(utc_now())}\n"
            "max_fpr = 1e-6  # a mark decides at or below this adjusted p-value\n"
            f"retention_days = {retention.DAYS}  # least days an entry is kept\n"
        )
        write_atomically(folder / "home.toml", text.encode())

    @classmethod
    def open(cls, path: Path | None = None, *, passphrase: str | None = None) -> Self:
        """An existing home, by default the one at `default_path`.

        Raises:
            HomeError: there is none, or its settings cannot be read.
        """
        path = default_path() if path is None else Path(path)
        try:
            settings = tomllib.loads((path / "home.toml").read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise HomeError(
                f"no home at {path}: make one with `wm init --provider NAME`, or set "
                f"{VARIABLE}"
            ) from None
        except (OSError, ValueError) as error:
            raise HomeError(f"{path / 'home.toml'} cannot be read: {error}") from error
        if settings.get("schema") != SCHEMA:
            raise HomeError(
                f"{path} has schema {settings.get('schema')!r}, expected {SCHEMA!r}"
            )
        max_fpr = settings.get("max_fpr", 1e-6)
        if not isinstance(max_fpr, float) or not 0 < max_fpr <= 0.05:
            raise HomeError(f"max_fpr is {max_fpr!r} in {path}, expected 0 < x <= 0.05")
        regimes, url = settings.get("regimes", []), settings.get("ledger", "")
        if not isinstance(regimes, list) or not all(map(_is_text, regimes)):
            raise HomeError(f"regimes is {regimes!r:.80} in {path}, expected ['cn']")
        if url and not is_url(url):
            raise HomeError(
                f"ledger in {path / 'home.toml'} is no address of a PostgreSQL "
                "database, expected postgresql://..."
            )
        try:
            check_private(url, path / "home.toml")
            days = retention.days(
                settings.get("retention_days", retention.DAYS), _floor(regimes)
            )
        except (StoreError, LabelError) as error:
            raise HomeError(f"settings in {path / 'home.toml'}: {error}") from None
        return cls(
            path,
            str(settings.get("provider", "")),
            max_fpr,
            regimes=tuple(regimes),
            retention_days=days,
            ledger_url=url,
            _passphrase=passphrase,
        )

    @property
    def ring(self) -> KeyRing:
        """The key ring, read again when another process has changed it."""
        folder = self.path / "keys"
        try:
            stat = (folder / "ring.json").stat()
            version = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
        except OSError:
            version = (0, 0, 0)  # load() says what is wrong
        if self._rings.get("version") != version:
            self._rings["ring"] = KeyRing.load(folder, passphrase=self._passphrase)
            self._rings["version"] = version
        ring: KeyRing = self._rings["ring"]
        return ring

    @cached_property
    def credential(self) -> Credential:
        """The signing credential.

        It is read when first signed with: an expired one never stops verification.
        """
        return Credential.load(self.path / "credential", self._passphrase)

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger, opened for appending."""
        return Ledger.open(**self._ledger_settings())

    def create_ledger(self) -> Ledger:
        """Make the ledger that the settings name, under this home's own log key.

        A new home has one in a file; this is for ``ledger = "postgresql://..."``.

        Raises:
            StoreError: there is one, or it cannot be made.
        """
        settings = self._ledger_settings()
        return Ledger.create(origin=settings["key"].name, **settings)

    def create_personal_key(self) -> None:
        """Make ``personal.key`` in a home of before there were personal fields.

        Raises:
            HomeError: the ledger holds personal fields, whose key was lost.
            KeyFileError: there is one, or it cannot be written.
        """
        if self.ledger.has_personal:
            raise HomeError(
                f"the ledger of {self.path} holds personal fields, but there is no "
                "personal.key: put it back from a backup, nothing else opens them"
            )
        PersonalKey.create(self.path / "personal.key")

    def _ledger_settings(self) -> dict[str, Any]:
        return {
            "where": self.ledger_url or self.path / "ledger.db",
            "key": LogKey.load(self.path / "log.pem"),
            "personal_key": self._personal_key(),
            "retention_days": self.retention_days,
        }

    def _personal_key(self) -> PersonalKey | None:
        """The key for personal fields; none is made in place of one that was lost."""
        path = self.path / "personal.key"
        return PersonalKey.load(path) if path.exists() else None

    @property
    def anchors(self) -> bytes:
        """Trusted roots (PEM): of the home's own credentials, and of its trust list."""
        from watermark.sign import rotation, trust

        own = rotation.anchors(self.path / "credential")
        return own + trust.anchors(self.path / "trust", "manifest")

    @property
    def tsa_anchors(self) -> bytes:
        """Roots (PEM) of time-stamp authorities; they vouch for no signer."""
        from watermark.sign import stamps, trust

        own = stamps.anchors(self.path / "credential")
        return own + trust.anchors(self.path / "trust", "tsa")

    @property
    def revoked(self) -> frozenset[str]:
        """Ids of revoked keys; needs no passphrase."""
        return KeyRing.revoked_in(self.path / "keys")

    @property
    def repositories(self) -> tuple[str, ...]:
        """Base URLs of the repositories that may be asked for manifests, in order.

        Nobody is asked but by `verify` with ``resolve=True``.

        Raises:
            HomeError: the file cannot be read, or a line is no such URL.
        """
        return endpoints.read(self.path)

    def key_records(self) -> list[KeyRecord]:
        """Everything that could have marked: the ring's defaults and what was attached.

        A default record stands back where a record of the same key, scheme and epoch
        names a tokenizer, so that a wrong tokenizer is told and not silently scored.
        """
        keys = {entry.key.kid: entry.key for entry in self.ring}
        bound = [
            replace(record, key=keys[record.kid])
            for record in map(self._checked, map(KeyRecord.from_dict, self._stored()))
            if record.kid in keys
        ]
        named = {record.test for record in bound if record.tokenizer is not None}
        defaults = [
            record
            for entry in self.ring
            for epoch in range(entry.epoch + 1)
            for record in default_records(entry.key, epoch)
        ]
        return [r for r in defaults if r.test not in named] + bound

    def _checked(self, record: KeyRecord) -> KeyRecord:
        name = record.scheme
        scheme = SCHEMES.get(name) or FOREIGN.get(name) or scheme_of(name)
        if scheme is None or scheme.version != record.version:
            raise KeyFileError(
                f"{self.path / 'records'} names {record.scheme!r} version "
                f"{record.version}: it was written by another version of watermark-sdk"
            )
        try:
            scheme.check(record.parameters)
        except (KeyError, TypeError, ValueError) as error:
            raise KeyFileError(
                f"{self.path / 'records'} is damaged: {error!r}"
            ) from None
        return record

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Home is never pickled: it may hold a passphrase. Open it")

    def add_key_record(self, record: KeyRecord) -> None:
        """Remember what was attached, for detection. Known records change nothing.

        Each record is a file of its own, named by its digest: processes that attach at
        the same time cannot lose each other's.
        """
        text = json.dumps(record.to_dict(), sort_keys=True, indent=1)
        name = hashlib.sha256(text.encode()).hexdigest()[:32]
        path = self.path / "records" / f"{name}.json"
        if not path.exists():
            write_atomically(path, text.encode(), mode=0o600, replace=True)

    def _stored(self) -> list[dict[str, Any]]:
        rows = []
        for path in sorted((self.path / "records").glob("*.json")):
            try:
                row = json.loads(read_private(path))
            except (OSError, ValueError, RecursionError) as error:
                raise KeyFileError(f"{path} cannot be read: {error!r}") from error
            if not isinstance(row, dict):
                raise KeyFileError(f"{path} is damaged: it holds no object")
            rows.append(row)
        return rows

    def add_tokenizer(self, tokenizer: TextTokenizer) -> None:
        """Keep the tokenizer's definition, by its digest."""
        path = self.path / "tokenizers" / tokenizer.digest
        if not path.exists():
            write_atomically(path, tokenizer.definition.encode(), replace=True)

    def tokenizers(self) -> Iterator[TextTokenizer]:
        """Every tokenizer that was attached, in order of digest."""
        folder = self.path / "tokenizers"
        for path in sorted(folder.iterdir() if folder.is_dir() else ()):
            if _DIGEST.fullmatch(path.name):
                if path.name not in self._read:
                    text = path.read_text(encoding="utf-8")
                    self._read[path.name] = TextTokenizer(text, path.name)
                yield self._read[path.name]


def _floor(regimes: Sequence[str]) -> int:
    """Least days that the laws of `regimes` ask the ledger to be kept.

    Raises:
        LabelError: there is no such regime.
    """
    laws = [law for name in regimes for law in load_regime(name)]
    return max((law.retention_days for law in laws), default=0)
