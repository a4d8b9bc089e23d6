"""The tables of the manifest. Several manifests may share a schema, with each other and with a pgvector sync."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB

from .._postgres import (
    ID,
    add_column,
    cursor_table,
    lacking_columns,
    ledger_table,
    origin_table,
    quarantine_table,
    quarantined_parts,
)

__all__ = ["ManifestTables"]

_FEATURE: Final = ("collection", "asset_id", "feature_id")


class ManifestTables:
    """The tables of the manifest of one destination, which has this name."""

    def __init__(self, schema: str, name: str) -> None:
        self.metadata = MetaData(schema=schema)
        self._prefix = f"_sync_{name.replace('-', '_')}"
        self.ledger = ledger_table(
            f"{self._prefix}_ledger",
            self.metadata,
            Column("row_hash", LargeBinary, nullable=False),
            Column("layout", Text, nullable=False, comment="how features became records; another one: read again"),
        )
        self.features = self._features()
        self.unconfirmed = self._unconfirmed()
        self.indexes = self._indexes()
        self.namespaces = self._namespaces()
        self.quarantine = quarantine_table(f"{self._prefix}_quarantine", self.metadata)
        self.cursors = cursor_table(f"{self._prefix}_cursors", self.metadata)
        self.origins = origin_table(f"{self._prefix}_origins", self.metadata)
        self.settings = self._settings()

    @property
    def naming_assets(self) -> Sequence[Table]:
        """Every table that an asset may be named in."""
        return self.ledger, self.quarantine, self.unconfirmed, self.features

    def additions(self, connection: Connection) -> list[str]:
        """The statements that bring the tables of an earlier version up to this one's."""
        lacking = lacking_columns(connection, quarantined_parts(self.quarantine))
        return [add_column(connection.dialect, column.table, column.name) for column in lacking]

    def _features(self) -> Table:
        return Table(
            f"{self._prefix}_features",
            self.metadata,
            *(Column(name, ID, nullable=False) for name in _FEATURE),
            Column("modality", Text, nullable=False),
            Column("row_hash", LargeBinary, comment="null: found in the store, not yet seen at the source"),
            Column("metadata_hash", LargeBinary, nullable=False),
            Column("keys_hash", LargeBinary, nullable=False),
            Column("records", JSONB, nullable=False, comment="by index: the hash of the vectors in it"),
            PrimaryKeyConstraint(*_FEATURE),
            Index(f"{self._prefix}_features_feature_id", "feature_id"),
        )

    def _unconfirmed(self) -> Table:
        return Table(
            f"{self._prefix}_unconfirmed",
            self.metadata,
            *(Column(name, ID, nullable=False) for name in (*_FEATURE, "index_name")),
            Column("modality", Text, nullable=False),
            PrimaryKeyConstraint(*_FEATURE, "index_name"),
            comment="records that are being written, or were when a run was killed",
        )

    def _indexes(self) -> Table:
        return Table(
            f"{self._prefix}_indexes",
            self.metadata,
            Column("name", ID, primary_key=True),
            Column("vector_name", Text, nullable=False),
            Column("dimension", Integer, comment="null: sparse"),
            Column("metric", Text, nullable=False),
            Column("host", Text, nullable=False),
            Column("complete", Boolean, nullable=False, comment="false: its records are still being looked up"),
        )

    def _namespaces(self) -> Table:
        return Table(
            f"{self._prefix}_namespaces",
            self.metadata,
            Column("index_name", ID, nullable=False),
            Column("collection", ID, nullable=False),
            Column("namespace", Text, nullable=False),
            Column("lsn", BigInteger, nullable=False, comment="highest that a write was answered with"),
            Column("visible", BigInteger, nullable=False, server_default="0", comment="seen by a query up to here"),
            PrimaryKeyConstraint("index_name", "collection"),
        )

    def _settings(self) -> Table:
        return Table(
            f"{self._prefix}_settings",
            self.metadata,
            Column("key", ID, primary_key=True),
            Column("value", Text, nullable=False),
        )
