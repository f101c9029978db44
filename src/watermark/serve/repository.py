"""Repository: what the API finds and keeps, over a ledger that never forgets.

Manifests and the bindings of marks are the ledger's. What the API may change later is
in ``repository.db`` beside it: bindings that were added or moved, and manifests that
were withdrawn. A withdrawn manifest is handed out no more; that it was logged stays
provable.

Nothing is answered that is not in the log: an entry that no signed checkpoint covers
counts as not there, for whoever can write the database could have put it there; and of
each that is answered, the path to the signed root was checked.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from watermark.errors import StoreError
from watermark.record import BINDING_PREFIX, Kind, Mark, Record, utc_now
from watermark.resolution import receipt
from watermark.schemes import SCHEMES
from watermark.store.leaf import Entry, Row
from watermark.store.ledger import Ledger
from watermark.store.proof import InclusionProof

FILE = "repository.db"
MOST_ENTRIES = 1000  # that are looked at for one value: a short one may lead to all
PAYLOADS = ("noise", "latent", "pixel", "gumbel", "wave")  # schemes that carry an id
_KINDS: dict[str, Kind] = {
    "tokens": "text",
    "latents": "image",
    "pixels": "image",
    "samples": "audio",
}
_TABLES = """
CREATE TABLE IF NOT EXISTS link (
  alg TEXT NOT NULL, value BLOB NOT NULL, manifest_id TEXT NOT NULL,
  PRIMARY KEY (alg, value, manifest_id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS moved (
  alg TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (alg, value)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS withdrawn (
  manifest_id TEXT PRIMARY KEY, ts TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS link_manifest ON link (manifest_id);
"""


class Unknown(Exception):
    """There is no such manifest, or no such value."""


class Ambiguous(Exception):
    """The algorithm is not given, and several or none are possible."""


class Taken(Exception):
    """The manifest id stands for another manifest already."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a manifest store was found to be (`watermark.serve.child`).

    Attributes:
        manifest_id: label of the active manifest.
        signer: organisation in the signer's certificate.
        own: the signer is this home's own organisation, and trusted here.
        record_id: that the manifest names, or None.
        bindings: algorithm and value of each soft binding.
    """

    manifest_id: str
    signer: str
    own: bool
    record_id: str | None
    bindings: tuple[tuple[str, bytes], ...]

    @classmethod
    def of(cls, found: dict[str, Any]) -> Facts:
        """From a worker's answer."""
        return cls(
            manifest_id=str(found["manifest_id"]),
            signer=str(found["signer"]),
            own=bool(found["own"]),
            record_id=found["record_id"],
            bindings=tuple((alg, bytes.fromhex(v)) for alg, v in found["bindings"]),
        )


def watermarks() -> list[str]:
    """The soft-binding algorithms whose values this library's detectors read."""
    known = [SCHEMES[name] for name in PAYLOADS]
    return [Mark(scheme=s.name, version=s.version, key_id="").binding for s in known]


@dataclass(frozen=True, slots=True)
class _Logged:
    """A manifest store, its entry, and the proof that this is in the log."""

    row: Row
    store: bytes
    proof: InclusionProof


class Repository:
    """Manifests, and what leads to them."""

    def __init__(self, ledger: Ledger, folder: Path) -> None:
        """Open the file beside the ledger, or make it.

        Raises:
            StoreError: it cannot be read or written.
        """
        self._ledger, self._path = ledger, folder / FILE
        self._adding = threading.Lock()
        with self._open() as connection:
            connection.executescript(_TABLES)

    def by_binding(self, alg: str, value: bytes, most: int) -> list[str]:
        """Ids of at most `most` manifests that a soft binding leads to, oldest first.

        Of more than `MOST_ENTRIES` entries the newest are looked at.

        Raises:
            StoreError: the ledger or the repository cannot be read.
        """
        key, rows = (alg, value), list[Row]()
        with self._open() as connection:
            links = _column(
                connection, "manifest_id FROM link WHERE alg=? AND value=?", key
            )
            moved = _column(connection, "1 FROM moved WHERE alg=? AND value=?", key)
            # Only marks: what else the ledger is searched by is nobody's business.
            if alg in watermarks() and not moved:
                rows = self._ledger.by_binding(alg, value, newest=MOST_ENTRIES)
            # Lazily: a mark id may lead to a thousand, and each costs a proof.
            proof_of = self._ledger.proof_of
            bound = (r.manifest_id for r in rows if r.manifest_id and proof_of(r))
            there = (
                name
                for name in _once(itertools.chain(bound, links))
                if not _is_withdrawn(connection, name) and self._logged(name)
            )
            return list(itertools.islice(there, most))

    def manifest(self, manifest_id: str) -> bytes | None:
        """The bytes of one manifest store, or None.

        Raises:
            StoreError: the ledger or the repository cannot be read.
        """
        with self._open() as connection:
            if _is_withdrawn(connection, manifest_id):
                return None
        found = self._logged(manifest_id)
        return found.store if found else None

    def add(self, store: bytes, facts: Facts) -> None:
        """Log and keep a manifest store. The same again changes nothing.

        The marks in our own manifests become marks of the ledger, by which `verify`
        recovers them; what others say leads to theirs through the API alone.

        Raises:
            Taken: the id is another manifest's.
            StoreError: it cannot be written.
        """
        with self._adding:  # of two at one time the second finds the first
            kept = self._ledger.manifest(facts.manifest_id)
            if kept is not None and kept != store:
                raise Taken(facts.manifest_id)
            if kept is None:
                entry = Entry(
                    event="published",
                    record=self._record(facts),
                    manifest_id=facts.manifest_id,
                    manifest=store,
                )
                self._ledger.append([entry])
        with self._open() as connection:
            connection.execute(
                "DELETE FROM withdrawn WHERE manifest_id=?", (facts.manifest_id,)
            )
            connection.executemany(
                "INSERT OR IGNORE INTO link VALUES (?, ?, ?)",
                [(alg, value, facts.manifest_id) for alg, value in facts.bindings],
            )

    def withdraw(self, manifest_id: str) -> None:
        """Hand out a manifest no more, and drop what led to it.

        Raises:
            Unknown: there is none.
            StoreError: it cannot be written.
        """
        self._expect(manifest_id)
        with self._open() as connection:
            row = (manifest_id, utc_now())
            done = connection.execute(
                "INSERT OR IGNORE INTO withdrawn VALUES (?, ?)", row
            )
            if not done.rowcount:  # somebody else did, a moment ago
                raise Unknown
            connection.execute("DELETE FROM link WHERE manifest_id=?", (manifest_id,))

    def bind(self, alg: str | None, value: bytes, manifest_id: str) -> None:
        """Let a value lead to a manifest as well.

        Raises:
            Unknown: there is no such manifest.
            Ambiguous: `alg` is None, and the manifest names not just one.
            StoreError: it cannot be written.
        """
        self._expect(manifest_id)
        name = alg or self._only(self._algs(manifest_id))
        with self._open() as connection:
            row = (name, value, manifest_id)
            connection.execute("INSERT OR IGNORE INTO link VALUES (?, ?, ?)", row)

    def rebind(self, alg: str | None, value: bytes, manifest_id: str) -> None:
        """Let a value lead to this manifest instead of those that it led to.

        Raises:
            Unknown: there is no such manifest, or the value leads nowhere yet.
            Ambiguous: `alg` is None, and the value is known under several.
            StoreError: it cannot be written.
        """
        self._expect(manifest_id)
        known = [name for name in self._algs_of(value) if alg in (None, name)]
        if not known:
            raise Unknown
        name = self._only(known)
        with self._open() as connection:
            key = (name, value)
            connection.execute("INSERT OR IGNORE INTO moved VALUES (?, ?)", key)
            connection.execute("DELETE FROM link WHERE alg=? AND value=?", key)
            connection.execute("INSERT INTO link VALUES (?, ?, ?)", (*key, manifest_id))

    def receipt(self, manifest_id: str, uri: str) -> dict[str, Any] | None:
        """Proof that a manifest was logged, or None where there is no such manifest.

        Raises:
            StoreError: the ledger cannot be read.
        """
        with self._open() as connection:
            if _is_withdrawn(connection, manifest_id):
                return None
        found = self._logged(manifest_id)
        if found is None:
            return None
        return receipt.make(found.row, found.proof, uri=uri, verifier=self.verifier)

    @property
    def verifier(self) -> str:
        """The log's public key."""
        return self._ledger.verifier

    def checkpoint(self) -> str:
        """The newest signed checkpoint of the log.

        Raises:
            StoreError: the ledger cannot be read.
        """
        return self._ledger.checkpoint()

    def _logged(self, manifest_id: str) -> _Logged | None:
        """A manifest that is in the log, as its newest checkpoint signs it, or None.

        Raises:
            LedgerCorrupt: the entry is not the one that was signed.
            StoreError: the ledger cannot be read.
        """
        found = self._ledger.logged(manifest_id)
        proof = None if found is None else self._ledger.proof_of(found[0])
        return None if found is None or proof is None else _Logged(*found, proof)

    def _record(self, facts: Facts) -> Record:
        """The record to log a manifest under."""
        known = facts.record_id if facts.own else None
        if known is not None:
            found = self._ledger.record(known)
            if found is not None:
                return found
        marks, kind = [], None
        for name in PAYLOADS if facts.own else ():
            scheme = SCHEMES[name]
            mark = Mark(scheme=name, version=scheme.version, key_id="")
            for alg, value in facts.bindings:
                if alg == mark.binding:
                    kind = _KINDS.get(scheme.carrier)
                    marks.append(
                        Mark(
                            scheme=name,
                            version=scheme.version,
                            key_id="",
                            mark_id=value,
                        )
                    )
        return Record(
            record_id=known or _own_record(facts.manifest_id),
            kind=kind or "document",
            origin="altered",  # nobody here saw it being made
            provider=facts.signer or "unknown",
            marks=tuple(marks),
        )

    def _expect(self, manifest_id: str) -> None:
        if self.manifest(manifest_id) is None:
            raise Unknown

    def _algs(self, manifest_id: str) -> list[str]:
        """Algorithms under which anything leads to a manifest."""
        found = self._logged(manifest_id)
        own = sorted(alg for alg, _ in found.row.bindings) if found else []
        with self._open() as connection:
            query = "alg FROM link WHERE manifest_id=?"
            links = _column(connection, query, (manifest_id,))
        marks = [alg for alg in own if alg.startswith(f"{BINDING_PREFIX}.")]
        return list(dict.fromkeys([*marks, *links]))

    def _algs_of(self, value: bytes) -> list[str]:
        """Algorithms under which a value leads anywhere."""
        with self._open() as connection:
            links = _column(connection, "alg FROM link WHERE value=?", (value,))
        there = partial(self._ledger.by_binding, value=value, newest=1)
        marks = [alg for alg in watermarks() if there(alg)]
        return list(dict.fromkeys([*marks, *links]))

    @staticmethod
    def _only(names: list[str]) -> str:
        if len(names) != 1:
            raise Ambiguous(", ".join(names))
        return names[0]

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A transaction; all of it is on disk when the block is left, or none."""
        try:
            connection = sqlite3.connect(self._path, timeout=10)
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                with connection:
                    yield connection
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: {error}") from error


def _once(names: Iterable[str]) -> Iterator[str]:
    """Each name when it first comes."""
    seen = set[str]()
    for name in names:
        if name not in seen:
            seen.add(name)
            yield name


def _own_record(manifest_id: str) -> str:
    """The record of a manifest that names none here: the same each time."""
    return hashlib.sha256(b"manifest " + manifest_id.encode()).hexdigest()[:32]


def _column(
    connection: sqlite3.Connection, what: str, key: tuple[Any, ...]
) -> list[Any]:
    return [row[0] for row in connection.execute(f"SELECT {what}", key)]


def _is_withdrawn(connection: sqlite3.Connection, manifest_id: str) -> bool:
    return bool(
        _column(connection, "1 FROM withdrawn WHERE manifest_id=?", (manifest_id,))
    )
