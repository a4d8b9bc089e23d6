"""Comparing a table with what a batch wants in it, and bringing it there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, Table, delete, select, text

from ._copy import copy_rows, upsert_rows
from ._database import driver_of
from ._diff import FeatureKey, Row, TableDiff
from ._tables import of_assets
from ._wire import NO_DUMPERS, Dumpers

__all__ = ["delete_assets", "delete_keys", "held_hashes", "send"]

_GONE: Final = text(
    "(asset_id, feature_id) IN (SELECT * FROM unnest(CAST(:assets AS text[]), CAST(:features AS text[])))"
)


def held_hashes(
    connection: Connection, table: Table, hash_column: str, collection: str, asset_ids: Sequence[str]
) -> dict[FeatureKey, bytes]:
    """The hashes that a table holds of some assets' features."""
    found = connection.execute(
        select(table.c.asset_id, table.c.feature_id, table.c[hash_column]).where(
            of_assets(table, collection, asset_ids)
        )
    )
    return {(asset_id, feature_id): bytes(digest) for asset_id, feature_id, digest in found}


def send(connection: Connection, table: Table, diff: TableDiff[Row], dumpers: Dumpers = NO_DUMPERS) -> None:
    """Write the rows of a diff that are new or different."""
    driver = driver_of(connection)
    if diff.insert:
        copy_rows(driver, table, diff.insert, dumpers)
    if diff.update:
        upsert_rows(driver, table, diff.update, dumpers)


def delete_keys(connection: Connection, table: Table, collection: str, keys: Sequence[FeatureKey]) -> None:
    """Delete features of one collection."""
    if keys:
        connection.execute(
            delete(table).where(table.c.collection == collection, _GONE),
            {"assets": [asset for asset, _ in keys], "features": [feature for _, feature in keys]},
        )


def delete_assets(connection: Connection, table: Table, collection: str, asset_ids: Sequence[str]) -> int:
    """Delete every row of some assets; how many there were."""
    return connection.execute(delete(table).where(of_assets(table, collection, asset_ids))).rowcount
