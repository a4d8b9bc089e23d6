"""One batch, one transaction: assets, features, vectors, stale rows, ledger and quarantine, all or nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, Table

from vectorferry.connector import MODALITIES, Applied, Batch, Counts, LoadedAsset, Modality

from .._postgres import (
    FeatureKey,
    Row,
    TableDiff,
    WantedRows,
    delete_assets,
    delete_keys,
    diff_table,
    forget_cursors,
    forget_unread,
    known_assets,
    ledger_hashes,
    ledger_rows,
    replace_rejected,
    send,
)
from ._rows import BatchRows
from ._tables import SyncSchema
from ._tombstones import count_changes, held_rows, remove_rows
from ._vectors import remove_vectors, write_vectors
from ._verify_contents import comparable, recorded_contents, with_contents

__all__ = ["remove_assets", "write_batch"]


def write_batch(connection: Connection, schema: SyncSchema, batch: Batch, rows: BatchRows) -> Applied:
    """Bring every table to what the batch says about its assets, and record that, in the caller's transaction."""
    asset_ids = sorted(asset.asset_id for asset in batch.assets)
    applied = Applied()
    applied.assets = _write_assets(connection, schema, batch, asset_ids)
    for modality in sorted(batch.modalities):
        wanted = rows.features.get(modality, {})
        applied.features[modality] = _write_rows(connection, schema, batch.collection, asset_ids, modality, wanted)
        for name, generations in schema.catalogue.named(modality).items():
            changed = write_vectors(connection, schema, batch.collection, asset_ids, generations, rows)
            applied.vectors[modality, name] = changed
    _write_ledger(connection, schema.tables.ledger, batch, rows)
    _set_aside(connection, schema, batch, applied)
    return applied


def remove_assets(connection: Connection, schema: SyncSchema, collection: str, asset_ids: Sequence[str]) -> Applied:
    """Remove assets with everything that belongs to them, visiting the tables in the order of `write_batch`."""

    def gone(table: Table) -> Counts:
        return Counts(deleted=delete_assets(connection, table, collection, asset_ids))

    tables = schema.tables
    applied = Applied(assets=remove_rows(connection, tables.assets, collection, asset_ids))
    for modality in sorted(MODALITIES):
        applied.features[modality] = remove_rows(connection, schema.features[modality], collection, asset_ids)
        for name, generations in schema.catalogue.named(modality).items():
            applied.vectors[modality, name] = remove_vectors(connection, schema, collection, asset_ids, generations)
    gone(tables.ledger)
    gone(tables.quarantine)
    forget_cursors(connection, tables.cursors, collection)
    return applied


def _write_rows(
    connection: Connection,
    schema: SyncSchema,
    collection: str,
    asset_ids: Sequence[str],
    modality: Modality | None,
    wanted: WantedRows,
) -> Counts:
    """Bring the rows of a modality's features, or of the assets (None), to what is wanted; hidden ones are shown."""
    table = schema.tables.assets if modality is None else schema.features[modality]
    held = held_rows(connection, table, collection, asset_ids)
    trusted = schema.distrusted.blanked(collection, modality, None, held.hashes)
    diff = _write_table(connection, table, collection, wanted, trusted)
    return count_changes(diff, wanted, held.hidden)


def _write_table(
    connection: Connection, table: Table, collection: str, wanted: WantedRows, held: Mapping[FeatureKey, bytes]
) -> TableDiff[Row]:
    diff = diff_table(wanted, held)
    send(connection, table, diff)
    delete_keys(connection, table, collection, diff.delete)
    return diff


def _write_assets(connection: Connection, schema: SyncSchema, batch: Batch, asset_ids: Sequence[str]) -> Counts:
    wanted = {(asset.asset_id, ""): (asset.row_hash, _asset_row(batch.collection, asset)) for asset in batch.assets}
    return _write_rows(connection, schema, batch.collection, asset_ids, None, wanted)


def _write_ledger(connection: Connection, ledger: Table, batch: Batch, rows: BatchRows) -> None:
    asset_ids = [asset.asset_id for asset in batch.assets]
    held = known_assets(connection, ledger, batch.collection, asset_ids)
    contents = recorded_contents(connection, ledger, batch.collection, asset_ids)
    wanted = with_contents(ledger_rows(batch, held, rows.per_asset), batch, rows, contents)
    compared = {key: comparable(digest, contents[key[0]]) for key, digest in ledger_hashes(held).items()}
    send(connection, ledger, diff_table(wanted, compared))
    forget_unread(connection, ledger, batch)


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


def _set_aside(connection: Connection, schema: SyncSchema, batch: Batch, applied: Applied) -> None:
    rejected = [*(each for asset in batch.assets for each in asset.rejected), *batch.rejected]
    replace_rejected(connection, schema.tables.quarantine, batch, rejected)
    for each in rejected:
        applied.set_aside(each)
