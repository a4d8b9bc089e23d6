"""One batch, one transaction: assets, features, vectors, stale rows, ledger and quarantine, all or nothing."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from psycopg.adapt import Dumper
from psycopg.pq import Format
from sqlalchemy import Connection, Table

from vectorferry.connector.plugin import (
    MODALITIES,
    Applied,
    Batch,
    Counts,
    DenseVector,
    MappedAsset,
    Modality,
    SparseVector,
)
from vectorferry.destinations._postgres import (
    Dumpers,
    FeatureKey,
    Row,
    TableDiff,
    WantedRows,
    delete_assets,
    delete_keys,
    diff_table,
    forget_cursors,
    forget_unread,
    held_hashes,
    known_assets,
    ledger_hashes,
    ledger_rows,
    replace_rejected,
    send,
)
from vectorferry.destinations.pgvector._catalogue import VectorEntry
from vectorferry.destinations.pgvector._contents import comparable, recorded_contents, with_contents
from vectorferry.destinations.pgvector._rows import BatchRows
from vectorferry.destinations.pgvector._storage import SPARSE_DIMENSION
from vectorferry.destinations.pgvector._tables import SyncSchema
from vectorferry.destinations.pgvector._tombstones import count_changes, held_rows, remove_rows

__all__ = ["VECTOR_DUMPERS", "remove_assets", "write_batch"]


class _VectorDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: DenseVector) -> bytes:
        return struct.pack(">HH", len(obj), 0) + obj.astype(">f4").tobytes()


class _HalfvecDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: DenseVector) -> bytes:
        return struct.pack(">HH", len(obj), 0) + obj.astype(">f2").tobytes()


class _SparsevecDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: SparseVector) -> bytes:
        kept = obj.values != 0  # sparsevec_recv refuses stored zeros
        indices, values = obj.indices[kept], obj.values[kept]
        header = struct.pack(">iii", SPARSE_DIMENSION, len(indices), 0)
        return b"".join((header, indices.astype(">i4").tobytes(), values.astype(">f4").tobytes()))


VECTOR_DUMPERS: Final[Dumpers] = {
    "vector": _VectorDumper,
    "halfvec": _HalfvecDumper,
    "sparsevec": _SparsevecDumper,
}


# What a batch changes in the generations of one named vector. Pure.
#
# The value of a feature's vector is its row in the newest generation that has one and is not retired. A row that it
# supersedes stays where the plain view still shows it, so that nothing is missing there while the newer generation
# fills.


HeldHashes: TypeAlias = Mapping[FeatureKey, bytes]
"""The hashes that a table holds of some assets' features."""


def diff_generations(
    generations: Sequence[VectorEntry], wanted: Sequence[WantedRows], held: Sequence[HeldHashes]
) -> list[TableDiff[Row]]:
    """One difference for each generation, from the oldest to the newest, of what a batch wants in it and what it holds.

    No feature is wanted in two of them, or in a retired one.
    """
    diffs = [diff_table(rows, hashes) for rows, hashes in zip(wanted, held, strict=True)]
    if len(generations) > 1:
        anywhere = set().union(*wanted)
        for entry, diff in zip(generations, diffs, strict=True):
            if entry.state != "filling":
                diff.delete = [key for key in diff.delete if key not in anywhere]
    return diffs


def values_of(generations: Sequence[VectorEntry], held: Sequence[HeldHashes]) -> dict[FeatureKey, tuple[int, bytes]]:
    """The dimension and the hash of every feature's value."""
    return {
        key: (entry.layout.dimension, digest)
        for entry, hashes in zip(generations, held, strict=True)
        if entry.state != "retired"
        for key, digest in hashes.items()
    }


def count_values(
    generations: Sequence[VectorEntry], wanted: Sequence[WantedRows], held: Sequence[HeldHashes]
) -> Counts:
    """How the values change: one that moves to another generation is updated."""
    before = values_of(generations, held)
    after = {
        key: (entry.layout.dimension, digest)
        for entry, rows in zip(generations, wanted, strict=True)
        for key, (digest, _) in rows.items()
    }
    counts = Counts(inserted=len(after.keys() - before.keys()), deleted=len(before.keys() - after.keys()))
    counts.unchanged = sum(before.get(key) == value for key, value in after.items())
    counts.updated = len(after) - counts.inserted - counts.unchanged
    return counts


# The vectors of one name: written and removed in all their generations, counted as one.


_NONE: Final[WantedRows] = {}


def write_vectors(
    connection: Connection,
    schema: SyncSchema,
    collection: str,
    asset_ids: Sequence[str],
    generations: Sequence[VectorEntry],
    rows: BatchRows,
) -> Counts:
    """Bring the tables of a named vector to what a batch wants in them, the oldest first."""
    wanted = [rows.vectors.get(entry.key, _NONE) for entry in generations]
    held = [_trusted(connection, schema, collection, asset_ids, entry) for entry in generations]
    for entry, diff in zip(generations, diff_generations(generations, wanted, held), strict=True):
        send(connection, schema.vector_table(entry), diff, VECTOR_DUMPERS)
        delete_keys(connection, schema.vector_table(entry), collection, diff.delete)
    return count_values(generations, wanted, held)


def remove_vectors(
    connection: Connection,
    schema: SyncSchema,
    collection: str,
    asset_ids: Sequence[str],
    generations: Sequence[VectorEntry],
) -> Counts:
    """Remove every vector of some assets."""
    held: list[HeldHashes] = []
    if len(generations) > 1:
        held = [_held(connection, schema, collection, asset_ids, entry) for entry in generations]
    deleted = [delete_assets(connection, schema.vector_table(entry), collection, asset_ids) for entry in generations]
    return Counts(deleted=len(values_of(generations, held)) if held else sum(deleted))


def _trusted(
    connection: Connection, schema: SyncSchema, collection: str, asset_ids: Sequence[str], entry: VectorEntry
) -> HeldHashes:
    held = _held(connection, schema, collection, asset_ids, entry)
    return schema.distrusted.blanked(collection, entry.modality, entry.vector_name, held)


def _held(
    connection: Connection, schema: SyncSchema, collection: str, asset_ids: Sequence[str], entry: VectorEntry
) -> HeldHashes:
    return held_hashes(connection, schema.vector_table(entry), "vector_hash", collection, asset_ids)


# One batch, one transaction: assets, features, vectors, stale rows, ledger and quarantine, all or nothing.


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


def _asset_row(collection: str, asset: MappedAsset) -> Row:
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
