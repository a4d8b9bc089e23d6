"""What is stored of everything that a batch sets aside, joined to the batch before it is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace

from sqlalchemy import Connection

from vectorferry.connector.plugin import (
    Batch,
    MappedAsset,
    Vector,
    rejected_features,
    with_last_good,
    without_distrusted,
)
from vectorferry.destinations.pgvector._rows import source_hash
from vectorferry.destinations.pgvector._stored import Reader, stored_loaders

from .._postgres import is_storable, known_assets, mark_kept, unread_assets
from ._catalogue import VectorEntry
from ._stored import StoredFeatures
from ._tables import SyncSchema

__all__ = ["with_stored_versions"]


def with_stored_versions(connection: Connection, schema: SyncSchema, batch: Batch) -> Batch:
    """The batch with the last good version of what was set aside, and its records marked where there is one.

    Reads the features that are named (all of an asset, where one without a name was set aside), and nothing where none
    is. What is hidden counts as not there.
    """
    if unread := unread_assets(batch):
        batch = mark_kept(batch, known_assets(connection, schema.tables.ledger, batch.collection, unread))
    some = sorted((asset for asset in batch.assets if asset.rejected), key=lambda asset: asset.asset_id)
    if not some:
        return batch
    whole = {asset.asset_id: asset for asset in _whole_assets(connection, schema, batch, some)}
    return replace(batch, assets=tuple(whole.get(asset.asset_id, asset) for asset in batch.assets))


def _whole_assets(
    connection: Connection, schema: SyncSchema, batch: Batch, assets: Sequence[MappedAsset]
) -> Iterator[MappedAsset]:
    loaders = stored_loaders(connection, schema.database.extension_schema)
    with ExitStack() as cursors:
        asset_ids = [asset.asset_id for asset in assets]
        reader = Reader(connection, cursors, loaders, batch.collection, asset_ids, _feature_ids(assets))
        tables = StoredFeatures(reader.rows, schema, connection, _source_hash)
        for asset in assets:
            stored = [one for one in tables.of_asset(asset.asset_id) if one.modality in batch.modalities]
            trusted = without_distrusted(stored, asset, batch.collection, schema.distrusted)
            yield with_last_good(asset, trusted, schema.mapping)


def _feature_ids(assets: Sequence[MappedAsset]) -> list[str] | None:
    """Those that are named; None where those of an asset may all be meant."""
    named: set[str] = set()
    for asset in assets:
        if (names := rejected_features(asset)) is None:
            return None
        named |= names
    return sorted(filter(is_storable, named))


def _source_hash(_: Vector, recorded: bytes, entry: VectorEntry) -> bytes:  # noqa: ARG001
    """What the source had, also where the column is less exact: so the row beside it is found to be the same."""
    return source_hash(recorded)
