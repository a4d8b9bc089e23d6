"""One batch, one transaction: assets, features, vectors, stale rows, ledger and quarantine, all or nothing."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, Table, delete, select, text

from connector import MODALITIES, Applied, Batch, Counts, LoadedAsset, Modality, Rejected

from ._copy import copy_rows, upsert_rows
from ._database import driver_of
from ._diff import FeatureKey, TableDiff, diff_table
from ._ledger import known_assets, ledger_hashes, ledger_rows
from ._quarantine import replace_rejected
from ._rows import BatchRows, Row, WantedRows
from ._schema import of_assets
from ._tables import SyncSchema

__all__ = ["remove_assets", "write_batch"]


def write_batch(connection: Connection, schema: SyncSchema, batch: Batch, rows: BatchRows) -> Applied:
    """Bring every table to what the batch says about its assets, and record that, in the caller's transaction."""
    asset_ids = sorted(asset.asset_id for asset in batch.assets)
    applied = Applied()
    applied.assets = _write_assets(connection, schema, batch, asset_ids)
    for modality in sorted(batch.modalities):
        table = schema.features[modality]
        wanted = rows.features.get(modality, {})
        applied.features[modality] = _write_table(connection, table, "row_hash", batch.collection, asset_ids, wanted)
        for entry in schema.catalogue.of(modality):
            key = (modality, entry.vector_name)
            table, wanted = schema.vector_table(entry), rows.vectors.get(key, {})
            applied.vectors[key] = _write_table(connection, table, "vector_hash", batch.collection, asset_ids, wanted)
    _write_ledger(connection, schema.tables.ledger, batch, rows)
    _set_aside(connection, schema, batch, rows, applied)
    return applied


def remove_assets(connection: Connection, schema: SyncSchema, collection: str, asset_ids: Sequence[str]) -> Applied:
    """Remove assets with everything that belongs to them, visiting the tables in the order of `write_batch`."""

    def gone(table: Table) -> Counts:
        return Counts(deleted=connection.execute(delete(table).where(of_assets(table, collection, asset_ids))).rowcount)

    tables = schema.tables
    applied = Applied(assets=gone(tables.assets))
    for modality in sorted(MODALITIES):
        applied.features[modality] = gone(schema.features[modality])
        for entry in schema.catalogue.of(modality):
            applied.vectors[modality, entry.vector_name] = gone(schema.vector_table(entry))
    gone(tables.ledger)
    gone(tables.quarantine)
    return applied


def _write_table(
    connection: Connection,
    table: Table,
    hash_column: str,
    collection: str,
    asset_ids: Sequence[str],
    wanted: WantedRows,
) -> Counts:
    held = _held_hashes(connection, table, hash_column, collection, asset_ids)
    diff = diff_table(wanted, held)
    _send(connection, table, diff)
    _delete_keys(connection, table, collection, diff.delete)
    return diff.counts()


def _held_hashes(
    connection: Connection, table: Table, hash_column: str, collection: str, asset_ids: Sequence[str]
) -> dict[FeatureKey, bytes]:
    found = connection.execute(
        select(table.c.asset_id, table.c.feature_id, table.c[hash_column]).where(
            of_assets(table, collection, asset_ids)
        )
    )
    return {(asset_id, feature_id): bytes(digest) for asset_id, feature_id, digest in found}


def _send(connection: Connection, table: Table, diff: TableDiff[Row]) -> None:
    driver = driver_of(connection)
    if diff.insert:
        copy_rows(driver, table, diff.insert)
    if diff.update:
        upsert_rows(driver, table, diff.update)


def _delete_keys(connection: Connection, table: Table, collection: str, keys: Sequence[FeatureKey]) -> None:
    if not keys:
        return
    gone = text("(asset_id, feature_id) IN (SELECT * FROM unnest(CAST(:assets AS text[]), CAST(:features AS text[])))")
    connection.execute(
        delete(table).where(table.c.collection == collection, gone),
        {"assets": [asset for asset, _ in keys], "features": [feature for _, feature in keys]},
    )


def _write_assets(connection: Connection, schema: SyncSchema, batch: Batch, asset_ids: Sequence[str]) -> Counts:
    table = schema.tables.assets
    wanted = {(asset.asset_id, ""): (asset.row_hash, _asset_row(batch.collection, asset)) for asset in batch.assets}
    found = connection.execute(
        select(table.c.asset_id, table.c.row_hash).where(of_assets(table, batch.collection, asset_ids))
    )
    diff = diff_table(wanted, {(asset_id, ""): bytes(digest) for asset_id, digest in found})
    _send(connection, table, diff)
    return diff.counts()


def _write_ledger(connection: Connection, ledger: Table, batch: Batch, rows: BatchRows) -> None:
    held = known_assets(connection, ledger, batch.collection, [asset.asset_id for asset in batch.assets])
    _send(connection, ledger, diff_table(ledger_rows(batch, held, rows.per_asset), ledger_hashes(held)))


def _asset_row(collection: str, asset: LoadedAsset) -> Row:
    return (
        collection,
        asset.asset_id,
        asset.modality,
        asset.url,
        asset.status,
        asset.created_at,
        asset.updated_at,
        asset.metadata,
        asset.extra,
        asset.row_hash,
    )


def _set_aside(connection: Connection, schema: SyncSchema, batch: Batch, rows: BatchRows, applied: Applied) -> None:
    rejected = [*(each for asset in batch.assets for each in asset.rejected), *rows.rejected, *batch.rejected]
    replace_rejected(connection, schema.tables.quarantine, batch, rejected)
    applied.rejected.extend(rejected)
    for each in rejected:
        _counts_of(applied, each).quarantined += 1


def _counts_of(applied: Applied, rejected: Rejected) -> Counts:
    if not rejected.feature_id or rejected.modality not in MODALITIES:
        return applied.assets
    return applied.features.setdefault(Modality(rejected.modality), Counts())
