"""Reading whole collections of the manifest, for a check, a page at a time: no transaction waits for Pinecone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, func, literal, select, tuple_

from .._postgres import FeatureKey, of_assets
from ._manifest_features import feature_of
from ._manifest_tables import ManifestTables
from ._manifest_values import HeldFeature

__all__ = ["any_assets", "assets_after", "features_after", "unconfirmed_keys"]

_PAGE: Final = 1_000


def features_after(
    connection: Connection,
    tables: ManifestTables,
    collection: str,
    after: FeatureKey,
    asset_ids: Sequence[str] | None,
) -> dict[FeatureKey, HeldFeature]:
    """The next features of these assets, or of all (None), by asset and feature; empty at the end."""
    features = tables.features
    key = tuple_(features.c.asset_id, features.c.feature_id)
    which = features.c.collection == collection if asset_ids is None else of_assets(features, collection, asset_ids)
    rows = connection.execute(
        select(*(column for column in features.c if column.name != "collection"))
        .where(which, key > tuple_(*(literal(name) for name in after)))
        .order_by(features.c.asset_id, features.c.feature_id)
        .limit(_PAGE)
    )
    return {(asset_id, feature_id): feature_of(*values) for asset_id, feature_id, *values in rows}


def assets_after(
    connection: Connection, tables: ManifestTables, collection: str, after: str, asset_ids: Sequence[str] | None
) -> list[tuple[str, bytes]]:
    """The row hashes of the next of these assets, or of all (None), by id; empty at the end."""
    ledger = tables.ledger
    which = ledger.c.collection == collection if asset_ids is None else of_assets(ledger, collection, asset_ids)
    columns = select(ledger.c.asset_id, ledger.c.row_hash).where(which, ledger.c.asset_id > after)
    rows = connection.execute(columns.order_by(ledger.c.asset_id).limit(_PAGE))
    return [(asset_id, bytes(row_hash)) for asset_id, row_hash in rows]


def unconfirmed_keys(connection: Connection, tables: ManifestTables, collection: str) -> set[FeatureKey]:
    """Every feature with a record that is being written, or was when a run was killed."""
    unconfirmed = tables.unconfirmed
    keys = select(unconfirmed.c.asset_id, unconfirmed.c.feature_id).where(unconfirmed.c.collection == collection)
    return {(asset_id, feature_id) for asset_id, feature_id in connection.execute(keys)}


def any_assets(connection: Connection, tables: ManifestTables, collection: str, number: int) -> list[str]:
    """So many assets of the ledger, other ones each time."""
    ledger = tables.ledger
    names = select(ledger.c.asset_id).where(ledger.c.collection == collection)
    return list(connection.execute(names.order_by(func.random()).limit(number)).scalars())
