"""The tables of one sync, as SQLAlchemy sees them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from psycopg import sql
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Computed,
    DateTime,
    Double,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    exists,
    func,
    literal,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql import quoted_name
from sqlalchemy.types import TypeEngine, UserDefinedType

from vectorferry.connector.plugin import ColumnMapping, ColumnType, Modality
from vectorferry.destinations._postgres import (
    ID,
    ShardTables,
    cursor_table,
    ledger_table,
    limit_table,
    origin_table,
    quarantine_table,
    run_table,
)
from vectorferry.destinations.pgvector._storage import VectorStorage

DELETED_AT: Final = "deleted_at"
KEY_COLUMNS: Final = ("collection", "asset_id", "feature_id")
FEATURE_KEY: Final = "feature_key"
FIXED_FEATURE_COLUMNS: Final = (*KEY_COLUMNS, "metadata", "extra", "row_hash", DELETED_AT, FEATURE_KEY)
VECTOR_COLUMNS: Final = (*KEY_COLUMNS, "embedding", "vector_hash")
"""What a batch brings of a vector."""

_KEY_HASH: Final = (
    "pg_catalog.hashtextextended(feature_id, "
    "pg_catalog.hashtextextended(asset_id, pg_catalog.hashtextextended(collection, 0)))"
)

_COLUMN_TYPES: Final[Mapping[ColumnType, TypeEngine[Any]]] = {
    "text": Text(),
    "integer": Integer(),
    "bigint": BigInteger(),
    "double precision": Double(),
    "boolean": Boolean(),
    "timestamptz": DateTime(timezone=True),
    "jsonb": JSONB(),
}

# Of the words that Postgres reserves (its appendix C), those that SQLAlchemy does not know of.
_KEYWORDS: Final = frozenset({"collation", "concurrently", "lateral", "system_user", "tablesample"})


class SyncTables:
    """The tables that every sync has, whatever arrives."""

    def __init__(self, schema: str) -> None:
        self.schema = schema
        self.metadata = MetaData(schema=schema)
        self.assets = _assets(self.metadata)
        self.ledger = ledger_table(
            "_sync_ledger",
            self.metadata,
            Column("contents", JSONB, nullable=False, comment="by modality: vectors, and the features that have these"),
        )
        self.modalities = _modalities(self.metadata)
        self.vectors = _vectors(self.metadata)
        self.quarantine = quarantine_table("_sync_quarantine", self.metadata)
        self.cursors = cursor_table("_sync_cursors", self.metadata)
        self.origins = origin_table("_sync_origins", self.metadata)
        self.runs = run_table("_sync_runs", self.metadata)
        self.sharing = ShardTables("_sync", self.metadata)
        self.limits = limit_table(self.metadata)
        self.related = Table("_sync_related", self.metadata, Column("table_name", Text, primary_key=True))

    def has_set_aside(self, modalities: Collection[Modality]) -> ColumnElement[bool]:
        """Of a ledger's row: the asset has features of these modalities in quarantine."""
        ledger, quarantine = self.ledger, self.quarantine
        return exists().where(
            quarantine.c.collection == ledger.c.collection,
            quarantine.c.asset_id == ledger.c.asset_id,
            quarantine.c.modality.in_([modality.value for modality in modalities]),
        )

    def names_features(self, modality: Modality) -> ColumnElement[bool]:
        """Of a ledger's row: the asset has features of this modality."""
        return self.ledger.c.contents[modality.value] != literal([], JSONB)


def column_name(name: str) -> quoted_name:
    """A name of the mapping's, which is quoted where it has to be."""
    return quoted_name(name, quote=True if name in _KEYWORDS else None)


def column_type(kind: ColumnType) -> TypeEngine[Any]:
    """What a column of the mapping's types is in Postgres."""
    return _COLUMN_TYPES[kind]


def when_written() -> Column[Any]:
    """The column that tells when a row was last written."""
    return Column("synced_at", DateTime(timezone=True), nullable=False, server_default=func.now())


def visible(table: Table) -> ColumnElement[bool]:
    """Of a row of the assets or of features: it is not hidden."""
    return table.c.deleted_at.is_(None)


def feature_table(schema: str, name: str, columns: Mapping[str, ColumnMapping]) -> Table:
    """The rows of one modality."""
    return Table(
        name,
        MetaData(schema=schema),
        *_keys(),
        *(Column(column_name(column), _COLUMN_TYPES[mapping.type]) for column, mapping in columns.items()),
        Column("metadata", JSONB, nullable=False),
        Column("extra", JSONB, nullable=False),
        Column("row_hash", LargeBinary, nullable=False),
        _deleted_at(),
        _feature_key(),
        PrimaryKeyConstraint(*KEY_COLUMNS),
    )


class _VectorType(UserDefinedType[Any]):
    """A type of pgvector by its full name: where others may make objects too, its schema is in no path of ours."""

    cache_ok = True

    def __init__(self, name: str) -> None:
        self.name = name

    def get_col_spec(self, **_: Any) -> str:
        return self.name


@lru_cache(maxsize=1_024)  # SQLAlchemy compiles a statement once for each table object
def vector_table(schema: str, name: str, storage: VectorStorage, extension: str) -> Table:
    """One named vector of one modality, keyed like its features; `extension` is the schema of pgvector."""
    kind = f"{sql.Identifier(extension, storage.column_type).as_string()}({storage.dimension})"
    return Table(
        name,
        MetaData(schema=schema),
        *_keys(),
        Column("embedding", _VectorType(kind), nullable=False),
        Column("vector_hash", LargeBinary, nullable=False),
        _feature_key(),
        # A check and the comparison with a batch read hashes out of the index, past vectors of up to 2 kB a row (longer
        # ones Postgres keeps elsewhere): half the time of the table at 256-d even when all of it is in memory, for a
        # key that is 15 % larger. Loading is as fast. Feature rows have no such copy: their index would have to
        # change with each change of metadata.
        PrimaryKeyConstraint(*KEY_COLUMNS, postgresql_include=["vector_hash", FEATURE_KEY]),
    )


def _keys() -> list[Column[str]]:
    return [Column(name, ID, nullable=False) for name in KEY_COLUMNS]


def _feature_key() -> Column[int]:
    """The key in one number, by which views join features and vectors: of a join by several columns that depend on
    each other, as these do, the planner expects hardly a row, and reads everything instead of using a vector index.
    Two keys may have the same number, so whoever joins compares the key as well."""
    return Column(FEATURE_KEY, BigInteger, Computed(_KEY_HASH, persisted=True))


def _deleted_at() -> Column[datetime]:
    """No batch brings it, so that every row that is written anew is shown."""
    return Column(DELETED_AT, DateTime(timezone=True))


def _assets(metadata: MetaData) -> Table:
    return Table(
        "assets",
        metadata,
        Column("collection", ID, nullable=False),
        Column("asset_id", ID, nullable=False),
        Column("modality", Text),
        Column("url", Text),
        Column("status", Text),
        Column("created_at", DateTime(timezone=True)),
        Column("updated_at", DateTime(timezone=True)),
        Column("metadata", JSONB, nullable=False),
        Column("extra", JSONB, nullable=False),
        Column("row_hash", LargeBinary, nullable=False),
        when_written(),
        _deleted_at(),
        PrimaryKeyConstraint("collection", "asset_id"),
    )


def _modalities(metadata: MetaData) -> Table:
    return Table(
        "_sync_modalities",
        metadata,
        Column("modality", Text, primary_key=True),
        Column("table_name", Text, nullable=False),
        Column("columns", JSONB, nullable=False, comment="the columns that were mapped last"),
    )


def _vectors(metadata: MetaData) -> Table:
    return Table(
        "_sync_vectors",
        metadata,
        Column("modality", Text, nullable=False),
        Column("vector_name", Text, nullable=False),
        Column("identifier", Text, nullable=False),
        Column("storage", Text, nullable=False),
        Column("dimension", BigInteger, nullable=False),
        Column("metric", Text, nullable=False),
        Column("index_method", Text, nullable=False),
        Column("m", Integer, nullable=False),
        Column("ef_construction", Integer, nullable=False),
        Column("sql_digest", Text, nullable=False),
        Column("generation", Integer, nullable=False),
        Column("state", Text, nullable=False, comment="current, filling or retired"),
        Column(
            "plain",
            Text,
            nullable=False,
            comment="of the view and function that show the current one",
        ),
        Column("own", Text, nullable=False, comment="of the view and function that always show this one"),
        Column("own_digest", Text, nullable=False),
        PrimaryKeyConstraint("modality", "vector_name", "dimension"),
    )
