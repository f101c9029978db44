"""The tables, in SQLAlchemy Core, for SQLite and PostgreSQL.

`entry.body` is the leaf and the only truth. Every other column and table is an index
made from it, and `watermark.store.audit` compares each one with the leaves. Of an entry
that was pruned only `idx` and `leaf_hash` are left.
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

# RFC 3161 tokens over checkpoints.
timestamp = Table(
    "timestamp",
    metadata,
    Column("size", _INDEX, primary_key=True, autoincrement=False),
    Column("token", LargeBinary, nullable=False),
)

# Clear values of personal fields, encrypted; the leaf has commitments to them.
personal = Table(
    "personal",
    metadata,
    Column("idx", _INDEX, primary_key=True, autoincrement=False),
    Column("name", Text, primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

# Legal holds in force; `record_id` is empty for a hold on everything.
hold = Table(
    "hold",
    metadata,
    Column("name", Text, primary_key=True),
    Column("record_id", Text, primary_key=True),
    Column("idx", _INDEX, nullable=False),
    sqlite_with_rowid=False,
)

meta = Table(
    "meta",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

# Which entries a row of `manifest` stands for, and which of them it was made from: one
# past all if there is none.
OF_MANIFEST = and_(
    entry.c.manifest_id == manifest.c.manifest_id,
    entry.c.record_id == manifest.c.record_id,
    entry.c.manifest_sha256 == manifest.c.sha256,
)
NO_ENTRY = 1 << 62
MANIFEST_ENTRY = func.coalesce(
    select(func.min(entry.c.idx))
    .where(OF_MANIFEST)
    .correlate(manifest)
    .scalar_subquery(),
    NO_ENTRY,
)
