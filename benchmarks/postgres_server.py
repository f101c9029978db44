"""A PostgreSQL server of our own, on a socket in a temporary folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.engine import URL

USER = "postgres"  # Debian's package makes it; a server does not run as root


def missing() -> str:
    """Why no server can be started here, or ""."""
    if _binaries() is None:
        return "no PostgreSQL server is installed: apt-get install postgresql"
    if os.geteuid() == 0 and shutil.which("runuser") is None:
        return "the tests run as root, and there is no runuser to leave that"
    try:
        import pg8000  # noqa: F401
    except ImportError:
        return "pg8000 is not installed"
    return ""


@contextmanager
def server(*, durable: bool = False) -> Iterator[Path]:
    """Start one; the socket to connect to."""
    binaries = _binaries()
    if binaries is None:
        raise RuntimeError(missing())
    # Not in pytest's folder: another user has to reach it.
    with tempfile.TemporaryDirectory(prefix="wm-pg-") as name:
        folder = Path(name)
        if os.geteuid() == 0:
            shutil.chown(folder, USER)
        data, log = folder / "data", folder / "log"
        _run(
            binaries / "initdb",
            "-D",
            data,
            "-U",
            "wm",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "-N",
        )
        options = f"-k {folder} -h '' -c max_connections=60 -c shared_buffers=64MB"
        options += " -c fsync=off" * (not durable)
        control = binaries / "pg_ctl"
        _run(control, "-D", data, "-w", "-l", log, "-o", options, "start")
        try:
            yield folder / ".s.PGSQL.5432"
        finally:
            _run(control, "-D", data, "-w", "-m", "fast", "stop")


def url(socket: Path, database: str) -> str:
    """The address of a database on the server."""
    query = {"unix_sock": str(socket)}
    made = URL.create("postgresql", username="wm", database=database, query=query)
    return made.render_as_string()


def new_database(socket: Path, name: str) -> str:
    """Make an empty database; its address."""
    import pg8000.native

    with pg8000.native.Connection(
        "wm", database="postgres", unix_sock=str(socket)
    ) as connection:
        connection.run(f'CREATE DATABASE "{name}"')
    return url(socket, name)


def _binaries() -> Path | None:
    """The folder of the newest server: Debian puts it on no path."""
    found = [*Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    newest = max(found, key=lambda p: int(p.parts[-3]), default=None)
    if newest is not None:
        return newest.parent
    path = shutil.which("initdb")
    return None if path is None else Path(path).parent


def _run(*command: object) -> None:
    leave_root = ["runuser", "-u", USER, "--"] if os.geteuid() == 0 else []
    parts = [*leave_root, *map(str, command)]
    subprocess.run(
        parts,
        check=True,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=120,
    )
