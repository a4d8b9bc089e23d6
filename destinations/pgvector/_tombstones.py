"""Rows that are kept but hidden: their asset has gone from the source, and may come back.

`deleted_at` alone says which ones they are. Vectors have no such column: one is hidden when its feature is, so that
neither hiding nor showing it again writes anything in a table with a vector index.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Table, and_, delete, exists, func, literal, select, update

from vectorferry.connector.plugin import MODALITIES, Applied, Counts

from .._postgres import FeatureKey, Row, TableDiff, delete_assets, forget_cursors, of_assets
from ._schema import KEY_COLUMNS
from ._tables import SyncSchema

__all__ = ["HeldRows", "count_changes", "held_rows", "remove_rows", "tombstone_assets", "visible", "with_visible"]


@dataclass(frozen=True, slots=True)
class HeldRows:
    """The hashes that a table holds of some rows; those that are `hidden` have one that no record has."""

    hashes: Mapping[FeatureKey, bytes]
    hidden: Set[FeatureKey]


def held_rows(connection: Connection, table: Table, collection: str, asset_ids: Sequence[str]) -> HeldRows:
    """What the table of the assets, or of a modality's features, holds of some assets."""
    key = (table.c.asset_id, table.c.get("feature_id", literal("")))
    columns = select(*key, table.c.row_hash, visible(table))
    hashes, hidden = dict[FeatureKey, bytes](), set[FeatureKey]()
    for asset, feature, digest, shown in connection.execute(columns.where(of_assets(table, collection, asset_ids))):
        hashes[asset, feature] = bytes(digest) if shown else b""
        if not shown:
            hidden.add((asset, feature))
    return HeldRows(hashes, hidden)


def count_changes(diff: TableDiff[Row], wanted: Collection[FeatureKey], hidden: Set[FeatureKey]) -> Counts:
    """What people see of a diff: a row that was hidden was deleted before, and is inserted when it is shown again."""
    counts = diff.counts()
    shown = sum(key in wanted for key in hidden)
    counts.inserted += shown
    counts.updated -= shown
    counts.deleted -= len(hidden) - shown
    return counts


def tombstone_assets(connection: Connection, schema: SyncSchema, collection: str, asset_ids: Sequence[str]) -> Applied:
    """Hide assets and their features, and forget that they were synced, in the order of `write_batch`."""
    tables = schema.tables
    applied = Applied(assets=_hide(connection, tables.assets, collection, asset_ids))
    for modality in sorted(MODALITIES):
        applied.features[modality] = _hide(connection, schema.features[modality], collection, asset_ids)
    for books in (tables.ledger, tables.quarantine):
        delete_assets(connection, books, collection, asset_ids)
    forget_cursors(connection, tables.cursors, collection)
    return applied


def remove_rows(connection: Connection, table: Table, collection: str, asset_ids: Sequence[str]) -> Counts:
    """Delete every row of some assets, and count those that were not hidden."""
    gone = delete(table).where(of_assets(table, collection, asset_ids)).returning(visible(table).label("shown")).cte()
    counted = select(func.count()).select_from(gone).where(gone.c.shown)
    return Counts(deleted=connection.execute(counted).scalar_one())


def visible(table: Table) -> ColumnElement[bool]:
    """Of a row of the assets or of features: it is not hidden."""
    return table.c.deleted_at.is_(None)


def with_visible(vectors: Table, features: Table) -> ColumnElement[bool]:
    """Of a row of vectors: its feature is not hidden."""
    same = and_(*(features.c[name] == vectors.c[name] for name in KEY_COLUMNS))
    return ~exists().where(same, ~visible(features))


def _hide(connection: Connection, table: Table, collection: str, asset_ids: Sequence[str]) -> Counts:
    shown = (of_assets(table, collection, asset_ids), visible(table))
    hidden = connection.execute(update(table).where(*shown).values(deleted_at=func.now()))
    return Counts(deleted=hidden.rowcount)
