"""A PostgreSQL database for many machines: durable commits, our own errors.

Whoever holds the advisory lock is the one sequencer. It is taken at the start of a
writing transaction and let go at its end, so that a writer that dies blocks nobody.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, func, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from watermark.errors import LedgerCorrupt, MissingDependency, StoreError
from watermark.store import schema

SCHEMES = ("postgresql://", "postgres://")
LOCK = 0x77_61_74_65_72_6D_6B_31  # "watermk1", as an advisory lock's number
POOL_SIZE = 8
WAIT_SECONDS = 60
# Classes of SQLSTATE, appendix A of PostgreSQL's manual.
_CORRUPT = {"42", "XX"}  # a table or column is missing; internal error, damaged data
_CURES = {
    "08": "the connection broke; check the server",
    "25": "the server takes no writes now: is it a standby, or set to read-only?",
    "28": "the server refuses this user or password",
    "40": "another writer came first; try again",
    "42501": "the user may not do this; grant it the rights on the tables",
    "53": "the server has no room left; free some space, or connections",
    "55": "another writer holds the lock; look for one that hangs",
    "57": "the server is stopping, or the statement was cancelled",
    "3D": "create the database first",
}


def is_url(where: object) -> bool:
    """Whether a ledger is named by the address of a PostgreSQL database."""
    return isinstance(where, str) and where.startswith(SCHEMES)


def check_private(url: str, path: Path) -> None:
    """Check that a password in the address of a database is read by its owner only.

    Args:
        url: the address, or "".
        path: the file that it stands in.

    Raises:
        StoreError: there is one, and the file and its folder are open to others.
    """
    named = url.partition("://")[2].rpartition("@")[0]
    modes = [one.stat().st_mode for one in (path, path.parent)]
    if ":" in named and sys.platform != "win32" and modes[0] & 0o44 and modes[1] & 0o11:
        raise StoreError(
            "others can read the password of the database: run chmod 600 on the file, "
            "or leave the password to PGPASSWORD"
        )


class PostgresDatabase:
    """Connections to one PostgreSQL database, made on demand and kept."""

    def __init__(self, url: str) -> None:
        """Make one; no connection is made yet.

        Args:
            url: ``postgresql://user:password@host:port/database``. The password may
                stand in ``PGPASSWORD`` instead. ``?unix_sock=PATH`` connects to a
                socket file; ``?sslmode=`` is ``verify-full`` (the default but for
                this machine's own addresses) or ``disable``.

        Raises:
            StoreError: it is no such address.
            MissingDependency: pg8000 is not installed.
        """
        self._url, self._options = _read(url)
        named = self._url.set(drivername="postgresql")
        self.name = named.render_as_string(hide_password=True)
        self._inherited: list[Engine] = []
        self._closed = False
        self._start()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """See `Database`."""
        engine = self._engine_here().execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        with translated(self.name), engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """See `Database`; waits for its turn among all writers of all machines."""
        engine = self._engine_here()
        with (
            translated(self.name),
            self._lock,
            engine.connect() as connection,
            connection.begin(),
        ):
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{WAIT_SECONDS}s'")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
            yield connection

    def state(self, connection: Connection) -> object:
        """See `Database`: the length of the log and its newest checkpoint.

        Another process that altered older rows is not seen by this. What is signed
        then is the tree that this process knows, and the audit finds the rest.
        """
        table = schema.checkpoint.c
        newest = select(table.note).order_by(table.size.desc()).limit(1)
        query = select(func.max(schema.entry.c.idx), newest.scalar_subquery())
        return tuple(connection.execute(query).one())

    def check(self) -> None:
        """See `Database`; the server checks its own files."""

    def scrub(self) -> None:
        """See `Database`: the server's vacuum frees what was deleted."""
        with translated(self.name), self._engine_here().connect() as connection:
            raw: Any = connection.connection.driver_connection
            raw.rollback()  # of the ping
            raw.autocommit = True
            try:
                for table in schema.metadata.sorted_tables:
                    raw.cursor().execute(f"VACUUM {table.name}")
            finally:
                raw.autocommit = False

    def close(self) -> None:
        """See `Database`."""
        self._closed = True
        self._engine.dispose()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._engine = create_engine(
            self._url,
            pool_size=POOL_SIZE,
            pool_timeout=WAIT_SECONDS,
            pool_pre_ping=True,
            connect_args=self._options,
        )
        event.listen(self._engine, "connect", _durable)

    def _engine_here(self) -> Engine:
        if self._closed:
            raise StoreError(f"{self.name} was closed: open the ledger again")
        if self._pid != os.getpid():  # a socket must not be shared with a parent
            self._inherited.append(self._engine)
            self._start()
        return self._engine

    def __repr__(self) -> str:
        return f"PostgresDatabase({self.name!r})"


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Turn each error of the driver and of SQLAlchemy into one of ours."""
    from pg8000.exceptions import Error

    try:
        yield
    except (SQLAlchemyError, Error, OSError) as error:
        cause = getattr(error, "orig", None) or error
        said = cause.args[0] if cause.args and isinstance(cause.args[0], dict) else {}
        code, text = str(said.get("C", "")), str(said.get("M", cause))[:300]
        cure = _CURES.get(code) or _CURES.get(code[:2])
        if code[:2] in _CORRUPT and cure is None:
            raise LedgerCorrupt(
                f"{name} is damaged or not a ledger ({text}): restore it from a backup"
            ) from error
        cure = cure or "see the error above"
        raise StoreError(f"{name} cannot be used ({text}): {cure}") from error


def _durable(connection: object, _: object) -> None:
    cursor = connection.cursor()  # type: ignore[attr-defined]
    cursor.execute("SET synchronous_commit = on")
    cursor.execute("SET client_min_messages = warning")
    connection.commit()  # type: ignore[attr-defined]


def _read(url: str) -> tuple[URL, dict[str, object]]:
    """The address as SQLAlchemy wants it, and what its options ask of the driver."""
    try:
        import pg8000  # noqa: F401
    except ImportError:
        raise MissingDependency("pg8000", "postgres") from None
    try:
        found: URL | None = make_url(url)
    except (ArgumentError, ValueError):
        found = None
    # A password with an @ of its own would be taken for a part of the host.
    if found is None or "@" in (found.host or ""):
        raise StoreError(
            "the ledger's address cannot be read, expected "
            "postgresql://user:password@host:port/database, with %40 for an @ in the "
            "password"
        )
    options: dict[str, object] = {}
    query = dict(found.query)
    mode, sock = query.pop("sslmode", None), query.pop("unix_sock", None)
    local = sock is not None or found.host in (
        None,
        "",
        "localhost",
        "127.0.0.1",
        "::1",
    )
    if mode not in (None, "disable", "verify-full") or query:
        raise StoreError(
            f"found the options {sorted(found.query)} in the ledger's address, "
            "expected unix_sock, or sslmode=verify-full or disable"
        )
    if mode == "verify-full" or (mode is None and not local):
        import ssl

        options["ssl_context"] = ssl.create_default_context()
    if sock is not None:
        options["unix_sock"] = sock
    password = found.password or os.environ.get("PGPASSWORD")
    return (
        URL.create(
            "postgresql+pg8000",
            username=found.username,
            password=password,
            host=found.host,
            port=found.port,
            database=found.database,
        ),
        options,
    )
