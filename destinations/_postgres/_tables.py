"""The tables that a destination keeps its books in, whatever else it keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    DateTime,
    Index,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    and_,
    any_,
    func,
    literal,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

__all__ = ["ID", "ledger_table", "of_assets", "quarantine_table", "quarantined_parts"]

ID: Final = Text(collation="C")
"""Ids are compared byte by byte: no language's rules apply to them, and a load is 15 % faster without."""


def of_assets(table: Table, collection: str, asset_ids: Sequence[str]) -> ColumnElement[bool]:
    """The rows of some assets of one collection. The ids are one parameter, however many they are."""
    wanted = literal(list(asset_ids), ARRAY(Text))
    return and_(table.c.collection == collection, table.c.asset_id == any_(wanted))


def ledger_table(name: str, metadata: MetaData, *more: Column[Any]) -> Table:
    """What has been synced, one row per asset, and `more` columns for what only one destination records."""
    return Table(
        name,
        metadata,
        Column("collection", ID, nullable=False),
        Column("asset_id", ID, nullable=False),
        Column("fingerprint", Text, nullable=False),
        Column("features", JSONB, nullable=False, comment="features per synced modality; none is 0"),
        *more,
        Column("synced_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        PrimaryKeyConstraint("collection", "asset_id"),
    )


def quarantined_parts(quarantine: Table) -> list[Column[Any]]:
    """The columns that a quarantine of the first versions lacks: whatever is in that one was set aside whole."""
    return [quarantine.c[name] for name in ("vector_name", "column_name", "kept")]


def quarantine_table(name: str, metadata: MetaData) -> Table:
    """The records that were set aside: assets, features, or of a feature one vector or the value of one column."""
    return Table(
        name,
        metadata,
        Column("collection", ID, nullable=False),
        Column("asset_id", ID, nullable=False),
        Column("feature_id", Text, nullable=False),
        Column("modality", Text, nullable=False),
        Column("reason", Text, nullable=False),
        Column("detail", Text, nullable=False),
        Column("vector_name", Text, nullable=False, server_default=""),  # only this vector was set aside
        Column("column_name", Text, nullable=False, server_default=""),  # only this column's value was
        Column("kept", Boolean, nullable=False, server_default="false"),  # an earlier version is still stored
        Column("seen_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        Index(f"{name}_asset", "collection", "asset_id"),
    )
