"""The manifest's ledger: assets whose records are all in the store, as the store has acknowledged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, exists, select

from vectorferry.connector import Batch, Known, LoadedAsset

from .._postgres import FeatureKey, Row, diff_table, forget_unread, known_assets, of_assets, recorded_features, send
from ._manifest_tables import ManifestTables

__all__ = ["asset_hashes", "certain_assets", "write_ledger"]


@dataclass(frozen=True, slots=True)
class _Entry:
    """The values of one row that are compared."""

    fingerprint: str
    features: Mapping[str, int]
    row_hash: bytes
    layout: str


def certain_assets(
    connection: Connection,
    tables: ManifestTables,
    collection: str,
    asset_ids: Sequence[str],
    layout: str,
    *only: ColumnElement[bool],
) -> Mapping[str, Known]:
    """Assets that were written under this layout, and that nobody has begun to write since without ending it; `only`
    under these further conditions."""
    ledger, unconfirmed = tables.ledger, tables.unconfirmed
    touched = exists().where(
        unconfirmed.c.collection == ledger.c.collection, unconfirmed.c.asset_id == ledger.c.asset_id
    )
    return known_assets(connection, ledger, collection, asset_ids, _under(tables, layout), ~touched, *only)


def asset_hashes(
    connection: Connection, tables: ManifestTables, collection: str, asset_ids: Sequence[str]
) -> dict[str, bytes]:
    """The row hashes of those of these assets that the ledger has."""
    ledger = tables.ledger
    found = connection.execute(
        select(ledger.c.asset_id, ledger.c.row_hash).where(of_assets(ledger, collection, asset_ids))
    )
    return {row.asset_id: row.row_hash for row in found}


def write_ledger(
    connection: Connection,
    tables: ManifestTables,
    batch: Batch,
    per_asset: Mapping[str, Mapping[str, int]],
    layout: str,
) -> None:
    """Record a batch's assets. What was recorded of other modalities stays, under the same fingerprint and layout."""
    asset_ids = [asset.asset_id for asset in batch.assets]
    held = _entries(connection, tables, batch.collection, asset_ids)
    before = known_assets(connection, tables.ledger, batch.collection, asset_ids, _under(tables, layout))

    def entry(asset: LoadedAsset) -> _Entry:
        features = recorded_features(asset.fingerprint, per_asset[asset.asset_id], before.get(asset.asset_id))
        return _Entry(asset.fingerprint, features, asset.row_hash, layout)

    wanted = {(asset.asset_id, ""): entry(asset) for asset in batch.assets}
    rows = {key: (one, _row(batch.collection, key, one)) for key, one in wanted.items()}
    send(connection, tables.ledger, diff_table(rows, held))
    forget_unread(connection, tables.ledger, batch)


def _under(tables: ManifestTables, layout: str) -> ColumnElement[bool]:
    return tables.ledger.c.layout == layout


def _entries(
    connection: Connection, tables: ManifestTables, collection: str, asset_ids: Sequence[str]
) -> dict[FeatureKey, _Entry]:
    ledger = tables.ledger
    columns = (ledger.c[name] for name in ("asset_id", "fingerprint", "features", "row_hash", "layout"))
    found = connection.execute(select(*columns).where(of_assets(ledger, collection, asset_ids)))
    return {(asset_id, ""): _Entry(*values) for asset_id, *values in found}


def _row(collection: str, key: FeatureKey, entry: _Entry) -> Row:
    return (collection, key[0], entry.fingerprint, entry.features, entry.row_hash, entry.layout)
