"""Trust lists: whose signatures and time-stamps are believed, as dated files.

    trust/manifest-20261123T145000Z.pem     who may sign claims
    trust/tsa-20261123T145000Z.pem          who may say when

The newest file of a kind counts; the older ones stay, so that it can be told what was
believed when. Verifying reads a file and never fetches one: only `fetch`, which a user
calls, opens a socket.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

from cryptography import x509

from watermark.errors import WatermarkError
from watermark.files import write_atomically
from watermark.sign import chain, fetching

Kind = Literal["manifest", "tsa"]
KINDS: tuple[Kind, ...] = get_args(Kind)

SCHEMA = "watermark.trustlist/1"
STALE = timedelta(days=90)  # a list of that age wants to be updated
FETCH_SECONDS = 30.0
_STAMP = "%Y%m%dT%H%M%SZ"
_HEADER = re.compile(r"\A# watermark\.trustlist/1\n((?:# [a-z0-9]+: [^\n]*\n){3})")


class TrustListError(WatermarkError):
    """A trust list cannot be read, written or fetched, or is not one."""


@dataclass(frozen=True)
class TrustList:
    """One dated list.

    Attributes:
        kind: ``manifest`` or ``tsa``.
        taken_at: when it was taken from its source.
        source: a file name or a URL.
        digest: SHA-256 of `pem`, hex.
        pem: the certificates.
        path: its file.
    """

    kind: Kind
    taken_at: datetime
    source: str
    digest: str
    pem: bytes
    path: Path

    @cached_property
    def certificates(self) -> tuple[x509.Certificate, ...]:
        """The certificates."""
        return chain.load_many(self.pem)

    def expired(self, now: datetime) -> list[x509.Certificate]:
        """Those whose life is over."""
        return [c for c in self.certificates if c.not_valid_after_utc < now]


@dataclass(frozen=True, slots=True)
class Update:
    """What an update changed.

    Attributes:
        new: the list that counts now.
        added: names of the certificates that the one before had not.
        removed: names of those that only the one before had.
    """

    new: TrustList
    added: tuple[str, ...]
    removed: tuple[str, ...]


def update(
    folder: Path,
    kind: Kind,
    pem: bytes,
    *,
    source: str,
    digest: str | None = None,
    now: datetime | None = None,
) -> Update:
    """Believe the certificates in `pem` from now on, and those alone.

    Args:
        folder: where the lists are; made if missing.
        kind: ``manifest`` or ``tsa``.
        pem: CA certificates, each kept once.
        source: where they come from, to be shown.
        digest: SHA-256 of `pem` as its publisher states it, hex.
        now: the date of the list.

    Raises:
        TrustListError: no CA certificates, another digest, an older date than the list
            before, or the folder cannot be written.
    """
    when = (now or datetime.now(UTC)).replace(microsecond=0)
    found = hashlib.sha256(pem).hexdigest()
    if digest is not None and found != digest.lower():
        raise TrustListError(
            f"SHA-256 {found} found, expected {digest.lower()}: this is another list, "
            "or it was changed on the way"
        )
    certificates = _checked(pem)
    before = current(folder, kind)
    if before is not None and before.taken_at >= when:
        raise TrustListError(
            f"the list before is of {before.taken_at:{_STAMP}}, expected an earlier "
            f"time than {when:{_STAMP}}: is this machine's clock right?"
        )
    body = chain.pem(certificates)
    own = hashlib.sha256(body).hexdigest()
    plain = "".join(c if c.isprintable() else "?" for c in source)[:500]
    path = folder / f"{kind}-{when:{_STAMP}}.pem"
    head = f"# {SCHEMA}\n# kind: {kind}\n# source: {plain}\n# sha256: {own}\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, head.encode() + body)
    except OSError as error:
        raise TrustListError(f"the trust lists in {folder}: {error}") from error
    new = TrustList(kind, when, plain, own, body, path)
    old = before.certificates if before is not None else ()
    return Update(new, _names(new.certificates, old), _names(old, new.certificates))


def fetch(url: str, *, seconds: float = FETCH_SECONDS) -> bytes:
    """A trust list from the network. Only ever called because somebody asked for it.

    Args:
        url: https.
        seconds: for the whole answer, of at most 4 MiB.

    Raises:
        FetchError: it cannot be had; the message says why.
    """
    limit = chain.MAX_LIST_BYTES
    return fetching.exchange(url, limit=limit, seconds=seconds, https_only=True)


def current(folder: Path, kind: Kind) -> TrustList | None:
    """The newest list of a kind, or None.

    Raises:
        TrustListError: its file cannot be read.
    """
    paths = _paths(folder, kind)
    return _read(paths[-1][1], kind, paths[-1][0]) if paths else None


def history(folder: Path, kind: Kind) -> list[TrustList]:
    """All lists of a kind, oldest first."""
    return [_read(path, kind, when) for when, path in _paths(folder, kind)]


def anchors(folder: Path, kind: Kind) -> bytes:
    """The certificates (PEM) that count now; nothing where there is no list.

    Raises:
        TrustListError: the file cannot be read.
    """
    found = current(folder, kind)
    return b"" if found is None else found.pem


def _paths(folder: Path, kind: Kind) -> list[tuple[datetime, Path]]:
    found = []
    for path in folder.glob(f"{kind}-*.pem"):
        with contextlib.suppress(ValueError):
            stamp = path.stem.removeprefix(f"{kind}-")
            found.append((datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC), path))
    return sorted(found)


def _read(path: Path, kind: Kind, when: datetime) -> TrustList:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TrustListError(f"the trust list {path}: {error}") from error
    head = _HEADER.match(data[:2048].decode("utf-8", "replace"))
    fields = dict(re.findall(r"# ([a-z0-9]+): (.*)\n", head[1])) if head else {}
    body = data[data.find(b"-----BEGIN") :]
    digest = hashlib.sha256(body).hexdigest()
    if fields.get("kind") != kind or fields.get("sha256") != digest:
        raise TrustListError(
            f"the trust list {path} is damaged: expected a file that wm trust update "
            "wrote. Take the list anew, or delete the file"
        )
    return TrustList(kind, when, fields.get("source", ""), digest, body, path)


def _checked(pem: bytes) -> tuple[x509.Certificate, ...]:
    if b"PRIVATE KEY-----" in pem:
        raise TrustListError("a private key found, expected certificates only")
    try:
        found = tuple(dict.fromkeys(chain.load_many(pem)))
    except chain.Unreadable as error:
        raise TrustListError(f"no trust list: {error}") from error
    for place, certificate in enumerate(found, 1):
        try:
            basic = chain.extension(certificate, x509.BasicConstraints)
        except Exception as error:  # extensions that cannot be read
            raise TrustListError(f"certificate {place}: {error}") from error
        if basic is None or not basic.ca:
            raise TrustListError(
                f"certificate {place} ({chain.name(certificate)}) is no CA: whoever "
                "holds its key would be believed, and nobody could revoke it"
            )
    return found


def _names(
    these: Sequence[x509.Certificate], without: Sequence[x509.Certificate]
) -> tuple[str, ...]:
    known = set(without)
    return tuple(chain.name(c) for c in these if c not in known)
