"""Many rows at once, past SQLAlchemy's own way: that costs more than the disk does."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Column, Connection, Integer, Table

CHUNK = 500  # values in one IN (...); SQLite before 3.32 takes 999
_COPY_HEAD = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
_COPY_END = struct.pack(">h", -1)


def insert(
    connection: Connection, table: Table, rows: Iterable[tuple[Any, ...]]
) -> None:
    """Insert `rows`, each with a value for every column of `table`, in their order."""
    values = list(rows)
    if not values:
        return
    if connection.dialect.name == "postgresql":
        copy(connection, table, copy_stream(table, values))
    else:
        raw: Any = connection.connection.driver_connection
        raw.executemany(_insert(table), values)


def copy(connection: Connection, table: Table, stream: bytes) -> None:
    """Hand PostgreSQL what `copy_stream` made."""
    raw: Any = connection.connection.driver_connection
    statement = f"COPY {table.name} FROM STDIN WITH (FORMAT binary)"
    raw.cursor().execute(statement, stream=io.BytesIO(stream))


def known(
    connection: Connection,
    key: Column[str],
    *others: Column[str],
    values: Sequence[str],
) -> Iterator[tuple[str, ...]]:
    """(key, others ...) of each row of the table whose key is among `values`."""
    names = ", ".join(column.name for column in (key, *others))
    query = f"SELECT {names} FROM {key.table.name} WHERE {key.name}"
    wanted = sorted(set(values))
    if not wanted:
        return
    if connection.dialect.name == "postgresql":
        found = connection.exec_driver_sql(f"{query} = ANY(%s)", (wanted,))
        yield from map(tuple, found)
        return
    raw: Any = connection.connection.driver_connection
    for start in range(0, len(wanted), CHUNK):
        part = wanted[start : start + CHUNK]
        marks = ", ".join("?" * len(part))
        yield from raw.execute(f"{query} IN ({marks})", part)


def copy_stream(table: Table, rows: Sequence[tuple[Any, ...]]) -> bytes:
    """`rows` as PostgreSQL's binary COPY takes them.

    https://www.postgresql.org/docs/15/sql-copy.html, "Binary Format".
    """
    widths = _widths(table)
    head = struct.pack(">h", len(widths))
    parts = [_COPY_HEAD]
    for row in rows:
        parts.append(head)
        for width, value in zip(widths, row, strict=True):
            if width:
                data = value.to_bytes(width, "big", signed=True)
            else:
                data = value.encode() if isinstance(value, str) else value
            parts.append(len(data).to_bytes(4, "big"))
            parts.append(data)
    parts.append(_COPY_END)
    return b"".join(parts)


@cache
def _insert(table: Table) -> str:
    marks = ", ".join("?" * len(table.columns))
    return f"INSERT INTO {table.name} VALUES ({marks})"


@cache
def _widths(table: Table) -> tuple[int, ...]:
    """Bytes of each column that is a whole number, as PostgreSQL has it; else 0."""
    # BigInteger is a subclass of Integer.
    return tuple(
        0
        if not isinstance(column.type, Integer)
        else 4
        if type(column.type) is Integer
        else 8
        for column in table.columns
    )
