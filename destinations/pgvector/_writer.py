"""One batch, one transaction: assets, features, vectors, stale rows, ledger and quarantine, all or nothing."""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any, Final, TypeAlias

import numpy as np
from psycopg.abc import Buffer
from sqlalchemy import Connection, Table, delete, func, literal, select, update

from vectorferry.connector.plugin import (
    MODALITIES,
    Applied,
    Batch,
    Counts,
    DenseVector,
    Distrusted,
    Modality,
    SparseVector,
    vector_bytes,
)
from vectorferry.destinations._postgres import (
    DesiredRows,
    Encoder,
    FeatureKey,
    Row,
    TableDiff,
    delete_assets,
    delete_keys,
    diff_table,
    forget_cursors,
    forget_unread,
    known_assets,
    ledger_hashes,
    ledger_rows,
    of_assets,
    replace_rejected,
    send,
    stored_hashes,
)
from vectorferry.destinations.pgvector._catalogue import VectorEntry
from vectorferry.destinations.pgvector._rows import BatchRows, comparable, recorded_contents, with_contents
from vectorferry.destinations.pgvector._schema import SyncSchema
from vectorferry.destinations.pgvector._storage import SPARSE_DIMENSION, VectorStorage
from vectorferry.destinations.pgvector._tables import KEY_COLUMNS, VECTOR_COLUMNS, visible

# Vectors as pgvector receives them (vector_recv, halfvec_recv and sparsevec_recv in its sources), many at a time.


_BLOCK: Final = 1 << 17
"""Bytes of vectors that are encoded at once: psycopg copies larger blocks once more, and this much stays in a cache."""

_NUMBERS: Final = {"vector": ">f4", "halfvec": ">f2"}
_length: Final = struct.Struct(">i").pack


def vector_encoder(storage: VectorStorage) -> Encoder:
    """For rows of `VECTOR_COLUMNS` whose vectors have this storage."""
    if storage.column_type == "sparsevec":
        return partial(_vector_blocks, _sparse_values)
    return partial(_vector_blocks, partial(_dense_values, _NUMBERS[storage.column_type]))


def _vector_blocks(
    encode: Callable[[Sequence[Any]], Sequence[Buffer]], rows: Sequence[Row]
) -> Iterator[Sequence[Sequence[Buffer]]]:
    size = max(1, _BLOCK // max(1, vector_bytes(rows[0][3])))
    for some in (rows[start : start + size] for start in range(0, len(rows), size)):
        *keys, vectors, digests = zip(*some, strict=True)
        texts = ([_value(text.encode()) for text in column] for column in keys)
        yield *texts, encode(vectors), [_value(digest) for digest in digests]


def _value(content: bytes) -> bytes:
    return _length(len(content)) + content


def _dense_values(number: str, vectors: Sequence[DenseVector]) -> Sequence[Buffer]:
    shape = (len(vectors[0]),)
    layout = np.dtype([("length", ">i4"), ("dimension", ">u2"), ("unused", ">u2"), ("numbers", number, shape)])
    values = np.zeros(len(vectors), layout)
    values["length"], values["dimension"] = layout.itemsize - 4, len(vectors[0])
    values["numbers"] = np.concatenate(vectors).reshape(len(vectors), *shape)
    together = values.view(np.uint8).data
    return [together[start : start + layout.itemsize] for start in range(0, len(together), layout.itemsize)]


def _sparse_values(vectors: Sequence[SparseVector]) -> Sequence[Buffer]:
    return [_value(_sparsevec(vector)) for vector in vectors]


def _sparsevec(vector: SparseVector) -> bytes:
    kept = vector.values != 0  # sparsevec_recv refuses stored zeros
    indices, values = vector.indices[kept], vector.values[kept]
    header = struct.pack(">iii", SPARSE_DIMENSION, len(indices), 0)
    return b"".join((header, indices.astype(">i4").tobytes(), values.astype(">f4").tobytes()))


_ASSET_COLUMNS: Final = (
    *("asset_id", "modality", "url", "status", "created_at", "updated_at"),
    *("metadata", "extra", "row_hash"),
)

_asset_row: Final = attrgetter(*_ASSET_COLUMNS)
_LEDGER_COLUMNS: Final = ("collection", "asset_id", "fingerprint", "features", "contents")


def write_batch(
    connection: Connection, schema: SyncSchema, distrusted: Distrusted, batch: Batch, rows: BatchRows
) -> Applied:
    """Bring every table to what the batch says about its assets, and record that, in the caller's transaction.

    Rows that are `distrusted` are written whatever their hashes say."""
    writer = _Writer(connection, schema, distrusted, batch.collection, sorted(asset.asset_id for asset in batch.assets))
    applied = Applied()
    assets: DesiredRows = {
        (asset.asset_id, ""): (asset.row_hash, (batch.collection, *_asset_row(asset))) for asset in batch.assets
    }
    applied.assets = writer.write_rows(None, ("collection", *_ASSET_COLUMNS), assets)
    for modality in sorted(batch.modalities):
        columns = (*KEY_COLUMNS, *schema.mapping.columns(modality), "metadata", "extra", "row_hash")
        applied.features[modality] = writer.write_rows(modality, columns, rows.features.get(modality, {}))
        for name, generations in schema.catalogue.named(modality).items():
            applied.vectors[modality, name] = writer.write_vectors(generations, rows)
    _write_ledger(connection, schema.tables.ledger, batch, rows)
    _set_aside(connection, schema, batch, applied)
    return applied


def remove_assets(connection: Connection, schema: SyncSchema, collection: str, asset_ids: Sequence[str]) -> Applied:
    """Remove assets with everything that belongs to them, visiting the tables in the order of `write_batch`."""
    applied = Applied(assets=remove_rows(connection, schema.tables.assets, collection, asset_ids))
    for modality in sorted(MODALITIES):
        applied.features[modality] = remove_rows(connection, schema.features[modality], collection, asset_ids)
        for name, generations in schema.catalogue.named(modality).items():
            applied.vectors[modality, name] = _remove_vectors(connection, schema, collection, asset_ids, generations)
    _strike_out(connection, schema, collection, asset_ids)
    return applied


@dataclass(frozen=True, slots=True)
class _Writer:
    """Brings tables to what a batch wants in them of these assets, which are sorted."""

    connection: Connection
    schema: SyncSchema
    distrusted: Distrusted
    collection: str
    asset_ids: Sequence[str]

    def write_rows(self, modality: Modality | None, columns: Sequence[str], desired: DesiredRows) -> Counts:
        """Bring the rows of a modality's features, or of the assets (None), to what is wanted, and show them."""
        table = self.schema.tables.assets if modality is None else self.schema.features[modality]
        stored = stored_rows(self.connection, table, self.collection, self.asset_ids)
        diff = diff_table(desired, self.distrusted.blanked(self.collection, modality, None, stored.hashes))
        send(self.connection, table, columns, diff)
        delete_keys(self.connection, table, self.collection, diff.delete)
        return count_changes(diff, desired, stored.hidden)

    def write_vectors(self, generations: Sequence[VectorEntry], rows: BatchRows) -> Counts:
        """Bring the tables of a named vector to what is wanted, the oldest first; they are counted as one."""
        desired = [rows.vectors.get(entry.key, {}) for entry in generations]
        stored = [self._trusted(entry) for entry in generations]
        diffs = diff_generations(generations, desired, stored)
        for entry, diff in zip(generations, diffs, strict=True):
            table = self.schema.vector_table(entry)
            send(self.connection, table, VECTOR_COLUMNS, diff, vector_encoder(entry.storage))
            delete_keys(self.connection, table, self.collection, diff.delete)
        if [entry.state for entry in generations] == ["current"]:
            return diffs[0].counts()
        return count_values(generations, desired, stored)

    def _trusted(self, entry: VectorEntry) -> StoredHashes:
        table = self.schema.vector_table(entry)
        hashes = stored_hashes(self.connection, table, "vector_hash", self.collection, self.asset_ids)
        return self.distrusted.blanked(self.collection, entry.modality, entry.vector_name, hashes)


def _remove_vectors(
    connection: Connection,
    schema: SyncSchema,
    collection: str,
    asset_ids: Sequence[str],
    generations: Sequence[VectorEntry],
) -> Counts:
    tables = [schema.vector_table(entry) for entry in generations]
    stored: list[StoredHashes] = []
    if len(generations) > 1:
        stored = [stored_hashes(connection, table, "vector_hash", collection, asset_ids) for table in tables]
    deleted = [delete_assets(connection, table, collection, asset_ids) for table in tables]
    return Counts(deleted=len(values_of(generations, stored)) if stored else sum(deleted))


def _strike_out(connection: Connection, schema: SyncSchema, collection: str, asset_ids: Sequence[str]) -> None:
    """Of the books: these assets are not synced."""
    for books in (schema.tables.ledger, schema.tables.quarantine):
        delete_assets(connection, books, collection, asset_ids)
    forget_cursors(connection, schema.tables.cursors, collection)


def _write_ledger(connection: Connection, ledger: Table, batch: Batch, rows: BatchRows) -> None:
    asset_ids = [asset.asset_id for asset in batch.assets]
    stored = known_assets(connection, ledger, batch.collection, asset_ids)
    contents = recorded_contents(connection, ledger, batch.collection, asset_ids)
    desired = with_contents(ledger_rows(batch, stored, rows.per_asset), batch, rows, contents)
    compared = {key: comparable(digest, contents[key[0]]) for key, digest in ledger_hashes(stored).items()}
    send(connection, ledger, _LEDGER_COLUMNS, diff_table(desired, compared))
    forget_unread(connection, ledger, batch)


def _set_aside(connection: Connection, schema: SyncSchema, batch: Batch, applied: Applied) -> None:
    rejected = [*(each for asset in batch.assets for each in asset.rejected), *batch.rejected]
    replace_rejected(connection, schema.tables.quarantine, batch, rejected)
    for each in rejected:
        applied.set_aside(each)


# What a batch changes in the generations of one named vector. Pure.
#
# The value of a feature's vector is its row in the newest generation that has one and is not retired. A row that it
# supersedes stays where the plain view still shows it, so that nothing is missing there while the newer generation
# fills.


StoredHashes: TypeAlias = Mapping[FeatureKey, bytes]
"""The hashes that a table holds of some assets' features."""


def diff_generations(
    generations: Sequence[VectorEntry], desired: Sequence[DesiredRows], stored: Sequence[StoredHashes]
) -> list[TableDiff[Row]]:
    """One difference for each generation, from the oldest to the newest, of what a batch wants in it and what it holds.

    No feature is wanted in two of them, or in a retired one.
    """
    diffs = [diff_table(rows, hashes) for rows, hashes in zip(desired, stored, strict=True)]
    if len(generations) > 1:
        anywhere = set().union(*desired)
        for entry, diff in zip(generations, diffs, strict=True):
            if entry.state != "filling":
                diff.delete = [key for key in diff.delete if key not in anywhere]
    return diffs


def values_of(
    generations: Sequence[VectorEntry], stored: Sequence[StoredHashes]
) -> dict[FeatureKey, tuple[int, bytes]]:
    """The dimension and the hash of every feature's value."""
    return {
        key: (entry.storage.dimension, digest)
        for entry, hashes in zip(generations, stored, strict=True)
        if entry.state != "retired"
        for key, digest in hashes.items()
    }


def count_values(
    generations: Sequence[VectorEntry], desired: Sequence[DesiredRows], stored: Sequence[StoredHashes]
) -> Counts:
    """How the values change: one that moves to another generation is updated."""
    before = values_of(generations, stored)
    after = {
        key: (entry.storage.dimension, digest)
        for entry, rows in zip(generations, desired, strict=True)
        for key, (digest, _) in rows.items()
    }
    counts = Counts(inserted=len(after.keys() - before.keys()), deleted=len(before.keys() - after.keys()))
    counts.unchanged = sum(before.get(key) == value for key, value in after.items())
    counts.updated = len(after) - counts.inserted - counts.unchanged
    return counts


# Rows that are kept but hidden: their asset has gone from the source, and may come back.
#
# `deleted_at` alone says which ones they are. Vectors have no such column: one is hidden when its feature is, so that
# neither hiding nor showing it again writes anything in a table with a vector index.


@dataclass(frozen=True, slots=True)
class StoredRows:
    """The hashes that a table holds of some rows; those that are `hidden` have one that no record has."""

    hashes: Mapping[FeatureKey, bytes]
    hidden: Set[FeatureKey]


def stored_rows(connection: Connection, table: Table, collection: str, asset_ids: Sequence[str]) -> StoredRows:
    """What the table of the assets, or of a modality's features, holds of some assets."""
    key = (table.c.asset_id, table.c.get("feature_id", literal("")))
    columns = select(*key, table.c.row_hash, visible(table))
    hashes, hidden = dict[FeatureKey, bytes](), set[FeatureKey]()
    rows = connection.execute(columns.where(of_assets(table, collection, asset_ids))).all()
    for asset, feature, digest, shown in rows:
        hashes[asset, feature] = bytes(digest) if shown else b""
        if not shown:
            hidden.add((asset, feature))
    return StoredRows(hashes, hidden)


def count_changes(diff: TableDiff[Row], desired: Collection[FeatureKey], hidden: Set[FeatureKey]) -> Counts:
    """What people see of a diff: a row that was hidden was deleted before, and is inserted when it is shown again."""
    counts = diff.counts()
    shown = sum(key in desired for key in hidden)
    counts.inserted += shown
    counts.updated -= shown
    counts.deleted -= len(hidden) - shown
    return counts


def tombstone_assets(connection: Connection, schema: SyncSchema, collection: str, asset_ids: Sequence[str]) -> Applied:
    """Hide assets and their features, and forget that they were synced, in the order of `write_batch`."""
    applied = Applied(assets=_hide(connection, schema.tables.assets, collection, asset_ids))
    for modality in sorted(MODALITIES):
        applied.features[modality] = _hide(connection, schema.features[modality], collection, asset_ids)
    _strike_out(connection, schema, collection, asset_ids)
    return applied


def remove_rows(connection: Connection, table: Table, collection: str, asset_ids: Sequence[str]) -> Counts:
    """Delete every row of some assets, and count those that were not hidden."""
    gone = delete(table).where(of_assets(table, collection, asset_ids)).returning(visible(table).label("shown")).cte()
    counted = select(func.count()).select_from(gone).where(gone.c.shown)
    return Counts(deleted=connection.execute(counted).scalar_one())


def _hide(connection: Connection, table: Table, collection: str, asset_ids: Sequence[str]) -> Counts:
    shown = (of_assets(table, collection, asset_ids), visible(table))
    hidden = connection.execute(update(table).where(*shown).values(deleted_at=func.now()))
    return Counts(deleted=hidden.rowcount)
