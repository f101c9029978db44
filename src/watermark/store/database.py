"""One SQLite file for many threads and processes: durable commits, our own errors.

A file on a read-only file system can still be read: SQLite then asks for no lock that
it could not have.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Connection, Engine, QueuePool, create_engine, event
from sqlalchemy.exc import SQLAlchemyError

from watermark.errors import LedgerCorrupt, StoreError

BUSY_SECONDS = 60.0  # how long a writer waits for the writers before it
POOL_SIZE = 8
WAL_PAGES = 4000  # of 4 KiB, before they are moved into the file
CACHE_KIB = 32_768  # of each connection, when it needs that much

# Primary result codes, https://sqlite.org/rescode.html; 1 is ERROR, which here means
# that a table or a column is missing.
_CORRUPT = {1, 11, 20, 24, 26}  # ERROR, CORRUPT, MISMATCH, FORMAT, NOTADB
_CURES = {
    5: "another process keeps it locked; look for one that hangs",  # BUSY
    8: "it is read-only; check the permissions of the file and its folder, and that "
    "the disk is not full",  # READONLY
    10: "the disk reports an error; check that it is not full or failing",  # IOERR
    13: "the disk is full; free some space",  # FULL
    14: "check that the file exists and that its folder is writable",  # CANTOPEN
}
# What SQLite meets on a full disk as it makes the file that connections share: extended
# codes IOERR_SHMOPEN, IOERR_SHMSIZE, IOERR_SHMMAP.
_NO_ROOM = {10 | part << 8 for part in (18, 19, 21)}


class Database(Protocol):
    """Where a ledger lies: an SQLite file, or a PostgreSQL database."""

    @property
    def name(self) -> str:
        """How messages call it; without any password."""
        ...

    def reading(self) -> AbstractContextManager[Connection]:
        """A transaction that sees one state of the ledger throughout."""
        ...

    def writing(self) -> AbstractContextManager[Connection]:
        """The one transaction that may write now; on disk when the block is left."""
        ...

    def state(self, connection: Connection) -> object:
        """What stays the same within `writing` if nobody else wrote since; or None."""
        ...

    def check(self) -> None:
        """Check what SQL does not show.

        Raises:
            LedgerCorrupt: something is missing.
        """
        ...

    def scrub(self) -> None:
        """Make sure that deleted rows cannot be read from the files either."""
        ...

    def close(self) -> None:
        """Close every connection; the ledger cannot be used after."""
        ...


class SqliteDatabase:
    """Connections to one existing SQLite file, made on demand and kept."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)
        self._inherited: list[Engine] = []
        self._closed = False
        self._start()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one state of the ledger throughout."""
        engine = self._engine_here()
        with translated(self.path), _connected(engine) as connection:
            raw = connection.connection.driver_connection
            try:
                yield connection
            finally:
                if isinstance(raw, _Unlocked) and raw.before != _written(self.path):
                    raise StoreError(
                        f"{self.path} was written while it was read without a lock, on "
                        "a disk that was full or read-only: read it again"
                    )

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """The one transaction that may write now; on disk when the block is left."""
        engine = self._engine_here().execution_options(immediate=True)
        # Threads queue here, in turn; SQLite's own lock is polled, in no order.
        with translated(self.path), self._lock, _connected(engine) as connection:
            yield connection

    def state(self, connection: Connection) -> object:
        """See `Database`; SQLite counts what other connections committed."""
        raw: Any = connection.connection.driver_connection
        [version] = raw.execute("PRAGMA data_version").fetchone()
        [last] = raw.execute("SELECT max(idx) FROM entry").fetchone()
        return raw, version, last

    def scrub(self) -> None:
        """See `Database`: what was overwritten leaves the write-ahead log as well."""
        with translated(self.path), closing(connect(self.path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def check(self) -> None:
        """Check that the end of the file was not cut off, which SQLite may not see.

        The file is not opened for this: closing it again would drop the locks that
        this process holds (https://sqlite.org/howtocorrupt.html, 2.2).

        Raises:
            LedgerCorrupt: it was.
        """
        with self.reading() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            page_size = connection.exec_driver_sql("PRAGMA page_size").scalar_one()
            if _length(self.path.with_name(f"{self.path.name}-wal")):
                return  # pages may still be in there, and not in the file
            found = _length(self.path)
        if found < pages * page_size:
            raise LedgerCorrupt(
                f"{self.path} has {found} bytes, expected {pages * page_size}: its end "
                "was cut off. Restore it from a backup"
            )

    def close(self) -> None:
        """Close every connection; the ledger cannot be used after."""
        self._closed = True
        self._engine.dispose()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._engine = create_engine(
            "sqlite+pysqlite://",
            creator=lambda: connect(self.path),
            poolclass=QueuePool,
            pool_size=POOL_SIZE,
            pool_timeout=BUSY_SECONDS,
            pool_use_lifo=True,
        )
        event.listen(self._engine, "begin", _begin)
        event.listen(self._engine, "checkin", _let_go)

    def _engine_here(self) -> Engine:
        if self._closed:
            raise StoreError(f"{self.path} was closed: open the ledger again")
        if self._pid != os.getpid():
            # A connection must not cross a fork, not even to be closed by the garbage
            # collector (https://sqlite.org/howtocorrupt.html, 2.6): keep it, unused.
            self._inherited.append(self._engine)
            self._start()
        return self._engine


def connect(path: Path) -> sqlite3.Connection:
    """A raw connection to an existing file, with the settings that durability needs."""
    try:
        return _open(path, "mode=rw", *_settings())
    except sqlite3.OperationalError as error:
        read_only, setting = _is_read_only(path, error), "PRAGMA trusted_schema=OFF"
        if not read_only and getattr(error, "sqlite_errorcode", 0) not in _NO_ROOM:
            raise
        if not _length(path.with_name(f"{path.name}-wal")):
            # With no file beside it there is nothing to share.
            return _open(path, "mode=ro&immutable=1", setting, kind=_Unlocked)
        if not read_only:
            raise
        return _open(path, "mode=ro", setting)


class _Unlocked(sqlite3.Connection):
    """A connection without locks, for one transaction, in which nobody should write."""

    before: tuple[int, int] = (0, 0)


def _open(
    path: Path,
    options: str,
    *settings: str,
    kind: type[sqlite3.Connection] = sqlite3.Connection,
) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{options}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,  # `_begin` decides how a transaction starts
        check_same_thread=False,  # the pool lends it to one thread at a time
        factory=kind,
    )
    try:
        if isinstance(connection, _Unlocked):
            connection.before = _written(path)
        for setting in settings:
            connection.execute(setting)
    except BaseException:
        connection.close()
        raise
    return connection


def _settings() -> tuple[str, ...]:
    return (
        "PRAGMA synchronous=FULL",  # WAL is not durable with less
        "PRAGMA secure_delete=ON",  # what is erased is overwritten
        "PRAGMA trusted_schema=OFF",
        f"PRAGMA cache_size={-CACHE_KIB}",
        f"PRAGMA wal_autocheckpoint={WAL_PAGES}",
    )


def _is_read_only(path: Path, error: sqlite3.OperationalError) -> bool:
    """Whether the file is there, and its file system takes no writes."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code not in (8, 14) or not path.is_file():  # READONLY, CANTOPEN
        return False
    if sys.platform == "win32":
        return not os.access(path, os.W_OK)
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY) or not os.access(
        path.parent, os.W_OK
    )


def use_wal(path: Path) -> None:
    """Make `path` a database in WAL mode; the mode is kept in the file."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn each error of SQLite and SQLAlchemy into one of ours."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        cause = getattr(error, "orig", None) or error
        code = getattr(cause, "sqlite_errorcode", None)
        primary = -1 if code is None else code & 0xFF
        if primary in _CORRUPT or "decode to UTF-8" in str(cause):
            raise LedgerCorrupt(
                f"{path} is damaged or not a ledger ({cause}): restore it from a backup"
            ) from error
        cure = _CURES.get(primary, "see the error above")
        raise StoreError(f"{path} cannot be used ({cause}): {cure}") from error


def _written(path: Path) -> tuple[int, int]:
    """What changes when a file is written."""
    try:
        found = path.stat()
    except OSError:
        return 0, -1
    return found.st_mtime_ns, found.st_size


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@contextmanager
def _connected(engine: Engine) -> Iterator[Connection]:
    with engine.connect() as connection, connection.begin():
        yield connection


def _let_go(connection: object, record: Any) -> None:
    if isinstance(connection, _Unlocked):
        record.invalidate()


def _begin(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("immediate", False)
    raw: Any = connection.connection.driver_connection
    raw.execute("BEGIN IMMEDIATE" if immediate else "BEGIN")
