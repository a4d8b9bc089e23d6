"""One batch, one transaction: assets, features, vectors, stale rows, ledger and quarantine, all or nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, Table, select

from connector import MODALITIES, Applied, Batch, Counts, LoadedAsset, Modality, Rejected

from .._postgres import (
    FeatureKey,
    Row,
    WantedRows,
    delete_assets,
    delete_keys,
    diff_table,
    held_hashes,
    known_assets,
    ledger_hashes,
    ledger_rows,
    of_assets,
    replace_rejected,
    send,
)
from ._rows import BatchRows
from ._tables import SyncSchema
from ._vectors import remove_vectors, write_vectors
from ._verify_contents import comparable, recorded_contents, with_contents

__all__ = ["remove_assets", "write_batch"]


def write_batch(connection: Connection, schema: SyncSchema, batch: Batch, rows: BatchRows) -> Applied:
    """Bring every table to what the batch says about its assets, and record that, in the caller's transaction."""
    asset_ids = sorted(asset.asset_id for asset in batch.assets)
    applied = Applied()
    applied.assets = _write_assets(connection, schema, batch, asset_ids)
    for modality in sorted(batch.modalities):
        held = _held(connection, schema, batch.collection, asset_ids, modality)
        wanted = rows.features.get(modality, {})
        applied.features[modality] = _write_table(connection, schema.features[modality], batch.collection, wanted, held)
        for name, generations in schema.catalogue.named(modality).items():
            changed = write_vectors(connection, schema, batch.collection, asset_ids, generations, rows)
            applied.vectors[modality, name] = changed
    _write_ledger(connection, schema.tables.ledger, batch, rows)
    _set_aside(connection, schema, batch, rows, applied)
    return applied


def remove_assets(connection: Connection, schema: SyncSchema, collection: str, asset_ids: Sequence[str]) -> Applied:
    """Remove assets with everything that belongs to them, visiting the tables in the order of `write_batch`."""

    def gone(table: Table) -> Counts:
        return Counts(deleted=delete_assets(connection, table, collection, asset_ids))

    tables = schema.tables
    applied = Applied(assets=gone(tables.assets))
    for modality in sorted(MODALITIES):
        applied.features[modality] = gone(schema.features[modality])
        for name, generations in schema.catalogue.named(modality).items():
            applied.vectors[modality, name] = remove_vectors(connection, schema, collection, asset_ids, generations)
    gone(tables.ledger)
    gone(tables.quarantine)
    return applied


def _held(
    connection: Connection,
    schema: SyncSchema,
    collection: str,
    asset_ids: Sequence[str],
    modality: Modality,
) -> Mapping[FeatureKey, bytes]:
    """The hashes that are trusted of some assets' features."""
    held = held_hashes(connection, schema.features[modality], "row_hash", collection, asset_ids)
    return schema.distrusted.blanked(collection, modality, None, held)


def _write_table(
    connection: Connection, table: Table, collection: str, wanted: WantedRows, held: Mapping[FeatureKey, bytes]
) -> Counts:
    diff = diff_table(wanted, held)
    send(connection, table, diff)
    delete_keys(connection, table, collection, diff.delete)
    return diff.counts()


def _write_assets(connection: Connection, schema: SyncSchema, batch: Batch, asset_ids: Sequence[str]) -> Counts:
    table = schema.tables.assets
    wanted = {(asset.asset_id, ""): (asset.row_hash, _asset_row(batch.collection, asset)) for asset in batch.assets}
    found = connection.execute(
        select(table.c.asset_id, table.c.row_hash).where(of_assets(table, batch.collection, asset_ids))
    )
    held = {(asset_id, ""): bytes(digest) for asset_id, digest in found}
    diff = diff_table(wanted, schema.distrusted.blanked(batch.collection, None, None, held))
    send(connection, table, diff)
    return diff.counts()


def _write_ledger(connection: Connection, ledger: Table, batch: Batch, rows: BatchRows) -> None:
    asset_ids = [asset.asset_id for asset in batch.assets]
    held = known_assets(connection, ledger, batch.collection, asset_ids)
    contents = recorded_contents(connection, ledger, batch.collection, asset_ids)
    wanted = with_contents(ledger_rows(batch, held, rows.per_asset), batch, rows, contents)
    compared = {key: comparable(digest, contents[key[0]]) for key, digest in ledger_hashes(held).items()}
    send(connection, ledger, diff_table(wanted, compared))


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
