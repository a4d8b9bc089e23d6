"""What is stored of everything that a batch sets aside, joined to the batch before it is written."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace

from sqlalchemy import Connection

from connector import Batch, LoadedAsset, Vector, rejected_features, with_last_good, without_distrusted

from .._postgres import FeatureKey, is_storable, known_assets, mark_kept, unread_assets
from ._catalogue import VectorEntry
from ._stored import StoredFeatures
from ._stored_feeds import Reader
from ._stored_values import stored_loaders
from ._tables import SyncSchema
from ._verify_hashes import source_hash

__all__ = ["with_stored_versions"]


def with_stored_versions(connection: Connection, schema: SyncSchema, batch: Batch) -> Batch:
    """The batch with the last good version of what was set aside, and its records marked where there is one.

    Reads the features that are named, and nothing where none is. What is hidden counts as not there.
    """
    if unread := unread_assets(batch):
        batch = mark_kept(batch, known_assets(connection, schema.tables.ledger, batch.collection, unread))
    keys = {key for key in rejected_features(batch.assets) if all(map(is_storable, key))}
    if not keys:
        return batch
    whole = _whole_assets(connection, schema, batch, keys)
    return replace(batch, assets=tuple(whole.get(asset.asset_id, asset) for asset in batch.assets))


def _whole_assets(
    connection: Connection, schema: SyncSchema, batch: Batch, keys: set[FeatureKey]
) -> Mapping[str, LoadedAsset]:
    loaders = stored_loaders(connection, schema.database.extension_schema)
    asset_ids, feature_ids = (sorted({*names}) for names in zip(*keys, strict=True))
    assets = {asset.asset_id: asset for asset in batch.assets}
    whole: dict[str, LoadedAsset] = {}
    with ExitStack() as cursors:
        reader = Reader(connection, cursors, loaders, batch.collection, asset_ids, feature_ids)
        tables = StoredFeatures(reader.rows, schema, connection, _source_hash)
        for asset_id in asset_ids:
            asset = assets[asset_id]
            stored = [one for one in tables.of_asset(asset_id) if one.modality in batch.modalities]
            trusted = without_distrusted(stored, asset, batch.collection, schema.distrusted)
            whole[asset_id] = with_last_good(asset, trusted, schema.mapping)
    return whole


def _source_hash(_: Vector, recorded: bytes, entry: VectorEntry) -> bytes:  # noqa: ARG001
    """What the source had, also where the column is less exact: so the row beside it is found to be the same."""
    return source_hash(recorded)
