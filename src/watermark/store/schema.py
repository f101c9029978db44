"""The tables, in SQLAlchemy Core. Written for SQLite, and for PostgreSQL later.

`entry.body` is the leaf and the only truth. Every other column and table is an index
made from it, and `watermark.store.audit` compares each one with the leaves.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    and_,
    func,
    select,
)

SCHEMA = "watermark.ledger/1"

# SQLite makes a primary key the row id only if its type is INTEGER.
_INDEX = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData()

entry = Table(
    "entry",
    metadata,
    Column("idx", _INDEX, primary_key=True, autoincrement=False),
    Column("ts", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("record_id", Text, nullable=False, index=True),
    Column("kind", Text, nullable=False),
    Column("asset_sha256", Text, nullable=False),
    Column("manifest_id", Text, nullable=False, index=True),
    Column("manifest_sha256", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("leaf_hash", LargeBinary, nullable=False),
)

# Complete subtrees of two leaves and more; level 0 is `entry.leaf_hash`.
node = Table(
    "node",
    metadata,
    Column("level", Integer, primary_key=True, autoincrement=False),
    Column("idx", _INDEX, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

binding = Table(
    "binding",
    metadata,
    Column("alg", Text, primary_key=True),
    Column("value", LargeBinary, primary_key=True),
    Column("idx", _INDEX, primary_key=True, autoincrement=False),
    Column("record_id", Text, nullable=False),
    sqlite_with_rowid=False,
)

# The record of the newest entry that names it.
record = Table(
    "record",
    metadata,
    Column("record_id", Text, primary_key=True),
    Column("data", Text, nullable=False),
)

manifest = Table(
    "manifest",
    metadata,
    Column("manifest_id", Text, primary_key=True),
    Column("record_id", Text, nullable=False, index=True),
    Column("sha256", Text, nullable=False),
    Column("store", LargeBinary, nullable=False),
)

checkpoint = Table(
    "checkpoint",
    metadata,
    Column("size", _INDEX, primary_key=True, autoincrement=False),
    Column("note", Text, nullable=False),
)

meta = Table(
    "meta",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

# Which entries a row of `record` or `manifest` stands for ...
OF_RECORD = entry.c.record_id == record.c.record_id
OF_MANIFEST = and_(
    entry.c.manifest_id == manifest.c.manifest_id,
    entry.c.record_id == manifest.c.record_id,
    entry.c.manifest_sha256 == manifest.c.sha256,
)
# ... and which one of them it was made from: one past all if there is none.
NO_ENTRY = 1 << 62
RECORD_ENTRY = func.coalesce(
    select(func.max(entry.c.idx)).where(OF_RECORD).correlate(record).scalar_subquery(),
    NO_ENTRY,
)
MANIFEST_ENTRY = func.coalesce(
    select(func.min(entry.c.idx))
    .where(OF_MANIFEST)
    .correlate(manifest)
    .scalar_subquery(),
    NO_ENTRY,
)
