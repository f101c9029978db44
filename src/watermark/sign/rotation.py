"""Rotation: a new key and certificate, while the old ones are still believed.

    credential/
        current          the name of the folder that signs
        root.pem         the roots of all that are not revoked: what to believe
        3f0c.../         root.pem, chain.pem, key.pem
        91ab.../         retired: root.pem and chain.pem, without the key
            revoked      made by `revoke`: its root is no longer trusted here

The name of a folder is the beginning of its leaf's fingerprint. A folder is written
whole before `current` names it, so that a crash leaves the old credential or the new.
A credential that was made before there was any rotation lies in the folder itself.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives import hashes

from watermark.errors import KeyFileError
from watermark.files import locked, write_atomically
from watermark.sign import chain
from watermark.sign.credential import (
    CHAIN,
    CURRENT,
    KEY,
    ROOT,
    Credential,
    active,
)

REVOKED, LOCK = "revoked", ".lock"
NAME_DIGITS = 16
_NAME = re.compile(r"[0-9a-f]{16}")

State = Literal["active", "retired", "revoked"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One credential of a folder.

    Attributes:
        name: the first 16 digits of the leaf's SHA-256.
        state: ``active``: it signs. ``retired``: what it signed is believed.
            ``revoked``: its root is no longer an anchor here.
        organisation: of the leaf.
        not_after: when the leaf expires.
        folder: where its files are.
    """

    name: str
    state: State
    organisation: str
    not_after: datetime
    folder: Path


def rotate(folder: Path, new: Path, *, passphrase: str | None = None) -> Credential:
    """Sign with the credential in `new` from now on; the old key is deleted.

    Args:
        folder: where the credentials are.
        new: a folder with chain.pem, key.pem and, where there is one, root.pem. It is
            copied.
        passphrase: of the new key.

    Raises:
        KeyFileError: a file is missing, damaged or in the way, or cannot be written.
        SigningError: a check of the new chain failed; the old one still signs.
    """
    made = Credential.load(new, passphrase)
    name = made.fingerprint[:NAME_DIGITS]
    try:
        with locked(folder / LOCK):
            _adopt(folder)
            if active(folder) != folder / name:
                _refuse_revoked(folder, new)
                _copy(new, folder / name)
            _write_roots(folder)
            write_atomically(folder / CURRENT, name.encode(), replace=True)
            for entry in entries(folder):
                if entry.state != "active":
                    (entry.folder / KEY).unlink(missing_ok=True)
    except OSError as error:
        raise KeyFileError(f"the credential in {folder}: {error}") from error
    return Credential.load(folder, passphrase)


def entries(folder: Path) -> list[Entry]:
    """Every credential, by the end of its life.

    Raises:
        KeyFileError: a chain cannot be read.
    """
    signing = active(folder)
    found = []
    for path in _folders(folder):
        try:
            leaf = chain.load((path / CHAIN).read_bytes())[0]
        except (OSError, chain.Unreadable) as error:
            raise KeyFileError(f"{path / CHAIN}: {error}") from error
        state: State = "active" if path == signing else "retired"
        if (path / REVOKED).exists():
            state = "revoked"
        name = leaf.fingerprint(hashes.SHA256()).hex()[:NAME_DIGITS]
        end = leaf.not_valid_after_utc
        found.append(Entry(name, state, chain.organisation(leaf), end, path))
    return sorted(found, key=lambda entry: entry.not_after)


def revoke(folder: Path, name: str) -> Entry:
    """No longer believe what a retired credential signed.

    Only for readers of this folder: for strangers its authority has to revoke it. What
    is no longer believed is its root, with everything under that.

    Raises:
        KeyFileError: no such credential, it signs, another one has the same root, or
            the folder cannot be written.
    """
    for entry in entries(folder):
        if entry.name != name:
            continue
        if entry.folder == active(folder):
            raise KeyFileError(f"{name} signs: rotate to another credential first")
        _refuse_shared(folder, entry.folder)
        when = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        try:
            with locked(folder / LOCK):
                write_atomically(entry.folder / REVOKED, when.encode(), replace=True)
                _write_roots(folder)
        except OSError as error:
            raise KeyFileError(f"the credential in {folder}: {error}") from error
        return next(e for e in entries(folder) if e.name == name)
    raise KeyFileError(f"no credential {name!r} in {folder}")


def anchors(folder: Path) -> bytes:
    """The roots (PEM) of all credentials that are not revoked, each once."""
    roots: dict[bytes, None] = {}
    for path in _folders(folder):
        if not (path / REVOKED).exists():
            with contextlib.suppress(FileNotFoundError):
                roots[(path / ROOT).read_bytes()] = None
    return b"".join(roots)


def _refuse_shared(folder: Path, revoked: Path) -> None:
    for path in _folders(folder):
        if path == revoked or (path / REVOKED).exists():
            continue
        if _roots(path) & _roots(revoked):
            raise KeyFileError(
                f"{path.name} has the same root: what {revoked.name} signed would be "
                "believed on. Have its authority revoke it, or rotate to another root "
                "and revoke both"
            )


def _refuse_revoked(folder: Path, new: Path) -> None:
    """Whoever believes the new root would believe again what was revoked under it."""
    for path in _folders(folder):
        if (path / REVOKED).exists() and _roots(path) & _roots(new):
            raise KeyFileError(
                f"{path.name} was revoked here, and the new credential has the same "
                "root: expected one under another root"
            )


def _roots(folder: Path) -> set[bytes]:
    """Fingerprints of the roots of one credential."""
    with contextlib.suppress(FileNotFoundError):
        found = chain.load((folder / ROOT).read_bytes())
        return {root.fingerprint(hashes.SHA256()) for root in found}
    return set()


def _folders(folder: Path) -> Iterator[Path]:
    if (folder / CHAIN).exists():
        yield folder
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if _NAME.fullmatch(path.name) and (path / CHAIN).exists():
                yield path


def _adopt(folder: Path) -> None:
    """Give a credential that lies in the folder itself a folder of its own."""
    if not (folder / CHAIN).exists():
        return
    if active(folder) == folder:
        leaf = chain.load((folder / CHAIN).read_bytes())[0]
        own = folder / leaf.fingerprint(hashes.SHA256()).hex()[:NAME_DIGITS]
        _copy(folder, own)
        write_atomically(folder / CURRENT, own.name.encode(), replace=True)
    for name in (KEY, CHAIN):  # the chain last: with it this is done again
        (folder / name).unlink(missing_ok=True)


def _write_roots(folder: Path) -> None:
    if roots := anchors(folder):
        write_atomically(folder / ROOT, roots, replace=True)
    else:
        (folder / ROOT).unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> None:
    """Copy a credential under a temporary name, then give it its own."""
    draft = target.with_name(f".{target.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    try:
        for name, mode in ((KEY, 0o600), (CHAIN, 0o644), (ROOT, 0o644)):
            with contextlib.suppress(FileNotFoundError):
                data = (source / name).read_bytes()
                write_atomically(draft / name, data, mode=mode)
        if target.exists():  # a rotation that was interrupted, or back to an old one
            shutil.rmtree(target)
        draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
