"""One batch, one transaction: assets, features, vectors, stale rows, ledger and quarantine, all or nothing."""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any, Final, TypeAlias

import numpy as np
from psycopg import sql
from psycopg.abc import Buffer
from sqlalchemy import Connection, Table

from vectorferry.connector.plugin import (
    MODALITIES,
    Applied,
    Batch,
    Counts,
    Distrusted,
    MappedAsset,
    MappedFeature,
    Modality,
    RetryableError,
    SparseVector,
    Storage,
    parse_json,
    vector_bytes,
)
from vectorferry.destinations._postgres import (
    Block,
    DesiredRows,
    Encoder,
    FeatureKey,
    Question,
    Row,
    TableDiff,
    array_literal,
    check_gone,
    delete_keys,
    diff_in_order,
    diff_table,
    encoded_values,
    forget_unread,
    keepers_of,
    known_in,
    ledger_hashes,
    ledger_rows,
    place_of,
    plain_answers,
    replace_rejected,
    rows_of_assets,
    send,
    send_laid_out,
    types_in,
    types_of,
    void_statement,
)
from vectorferry.destinations.pgvector._catalogue import VectorEntry
from vectorferry.destinations.pgvector._rows import (
    BatchRows,
    Contents,
    FeatureRow,
    comparable,
    keys_of,
    readable_contents,
    recorded_hash,
    with_contents,
)
from vectorferry.destinations.pgvector._schema import SyncSchema
from vectorferry.destinations.pgvector._storage import SPARSE_DIMENSION
from vectorferry.destinations.pgvector._tables import KEY_COLUMNS, VECTOR_COLUMNS

# Vectors as pgvector receives them (vector_recv, halfvec_recv and sparsevec_recv in its sources), many at a time.


_BLOCK: Final = 1 << 17
"""Bytes of vectors that are encoded at once: psycopg copies larger blocks once more, and this much stays in a cache."""

_NUMBERS: Final[Mapping[Storage, str]] = {"vector": ">f4", "halfvec": ">f2"}


def vector_encoder(storage: Storage, name: str, collection: str) -> Encoder[FeatureRow]:
    """For the rows of a named vector: of features that have one with this storage."""
    return partial(_vector_blocks, storage, name, encoded_values([collection.encode()]))


def _vector_blocks(storage: Storage, name: str, collection: list[bytes], rows: Sequence[FeatureRow]) -> Iterator[Block]:
    encode = _sparse_values if storage == "sparsevec" else partial(_dense_values, _NUMBERS[storage])
    digest_of = vector_digest(storage, name)
    size = max(1, _BLOCK // max(1, vector_bytes(rows[0][1].vectors[name])))
    for start in range(0, len(rows), size):
        asset_ids, features = zip(*rows[start : start + size], strict=True)
        yield (
            collection * len(features),
            encoded_values(map(str.encode, asset_ids)),
            encoded_values(feature.feature_id.encode() for feature in features),
            encode([feature.vectors[name] for feature in features]),
            encoded_values(map(digest_of, features)),
        )


def vector_digest(storage: Storage, name: str) -> Callable[[MappedFeature], bytes]:
    """What stands beside this vector of a feature."""
    return lambda feature: recorded_hash(feature.vectors[name], feature.vector_hashes[name], storage)


def _dense_values(number: str, vectors: Sequence[Any]) -> Sequence[Buffer]:
    shape = (len(vectors[0]),)
    layout = np.dtype([("length", ">i4"), ("dimension", ">u2"), ("unused", ">u2"), ("numbers", number, shape)])
    values = np.empty(len(vectors), layout)
    values["length"], values["dimension"], values["unused"] = layout.itemsize - 4, len(vectors[0]), 0
    values["numbers"] = vectors  # which swaps their bytes as it gathers them
    together = values.view(np.uint8).data
    return [together[start : start + layout.itemsize] for start in range(0, len(together), layout.itemsize)]


def _sparse_values(vectors: Sequence[Any]) -> Sequence[Buffer]:
    return encoded_values(map(_sparsevec, vectors))


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


def _feature_values(collection: str, row: FeatureRow) -> Row:
    asset_id, feature = row
    columns = feature.columns.values()
    return (collection, asset_id, feature.feature_id, *columns, feature.metadata, feature.extra, feature.row_hash)


def write_batch(connection: Connection, schema: SyncSchema, distrusted: Distrusted, rows: BatchRows) -> Applied:
    """Bring every table to what the batch says about its assets, and record that, in the caller's transaction.

    Rows that are `distrusted` are written whatever their hashes say."""
    batch = rows.batch
    _check_made(rows, schema)
    types, stored = _types_and_stored(connection, schema, batch)
    writer = _Writer(connection, schema, distrusted, batch.collection, types, stored)
    applied = Applied()
    applied.assets = writer.write_assets(batch.assets)
    for modality in sorted(batch.modalities):
        applied.features[modality] = writer.write_features(modality, rows.features.get(modality, []))
        for name, generations in schema.catalogue.named(modality).items():
            applied.vectors[modality, name] = writer.write_vectors(generations, rows)
    writer.write_ledger(rows)
    _set_aside(connection, schema, batch, applied)
    return applied


def _check_made(rows: BatchRows, schema: SyncSchema) -> None:
    """Raise `RetryableError` where a table has gone since it was looked for: what is not written is not recorded."""
    for modality, name, dimension in rows.vectors.keys() - schema.catalogue.keys():
        raise RetryableError(
            f"schema {schema.name} has no table any more for {modality} vectors {name} of {dimension} dimensions: it "
            "was dropped while this was writing. The next attempt makes it anew."
        )


_HASHED_ROWS: Final = sql.SQL("asset_id, {}, row_hash, deleted_at IS NULL")
_HASHED_VECTORS: Final = sql.SQL("asset_id, feature_id, vector_hash")
_RECORDED: Final = sql.SQL("asset_id, fingerprint, CAST(features AS text), CAST(contents AS text)")


def _types_and_stored(
    connection: Connection, schema: SyncSchema, batch: Batch
) -> tuple[Sequence[Row], Mapping[str, Sequence[Row]]]:
    """Of each table that a batch may change: the types of its columns, for `types_in`, and by its name what is compared
    with the batch. All is asked at once: the lock of the collection, or of its shard, keeps it so until this
    transaction writes, and a server may be far away."""
    asset_ids = array_literal(sorted(asset.asset_id for asset in batch.assets))
    columns: dict[Table, sql.Composable] = {
        schema.tables.assets: _HASHED_ROWS.format(sql.Literal("")),
        schema.tables.ledger: _RECORDED,
    }
    for modality in batch.modalities:
        columns[schema.features[modality]] = _HASHED_ROWS.format(sql.Identifier("feature_id"))
        for generations in schema.catalogue.named(modality).values():
            columns |= {schema.vector_table(entry): _HASHED_VECTORS for entry in generations}
    questions = [rows_of_assets(table, chosen, batch.collection, asset_ids) for table, chosen in columns.items()]
    types, *stored = plain_answers(connection, [types_of(columns), *questions])
    return types, dict(zip((table.name for table in columns), stored, strict=True))


def remove_assets(connection: Connection, schema: SyncSchema, collection: str, asset_ids: Sequence[str]) -> Applied:
    """Remove assets with everything that belongs to them, visiting the tables in the order of `write_batch`."""
    ids = array_literal(asset_ids)
    values = _values_of_generations(connection, schema, collection, ids)
    counted: dict[Table, sql.SQL] = {schema.tables.assets: _IS_SHOWN}
    for modality in sorted(MODALITIES):
        counted[schema.features[modality]] = _IS_SHOWN
        for generations in schema.catalogue.named(modality).values():
            counted |= {schema.vector_table(entry): _IS_ANY for entry in generations}
    deleted = _count_gone(
        connection,
        schema,
        collection,
        ids,
        {table: _DELETION.format(place_of(table), each) for table, each in counted.items()},
        _IS_ANY,
    )
    applied = Applied(assets=Counts(deleted=deleted[schema.tables.assets]))
    for modality in sorted(MODALITIES):
        applied.features[modality] = Counts(deleted=deleted[schema.features[modality]])
        for name, generations in schema.catalogue.named(modality).items():
            rows = sum(deleted[schema.vector_table(entry)] for entry in generations)
            applied.vectors[modality, name] = Counts(deleted=values.get((modality, name), rows))
    return applied


def tombstone_assets(connection: Connection, schema: SyncSchema, collection: str, asset_ids: Sequence[str]) -> Applied:
    """Hide assets and their features, and forget that they were synced, in the order of `write_batch`."""
    assets, features = schema.tables.assets, {modality: schema.features[modality] for modality in sorted(MODALITIES)}
    hiding = {table: _HIDING.format(place_of(table)) for table in (assets, *features.values())}
    hidden = _count_gone(connection, schema, collection, array_literal(asset_ids), hiding, _IS_SHOWN)
    applied = Applied(assets=Counts(deleted=hidden[assets]))
    applied.features |= {modality: Counts(deleted=hidden[table]) for modality, table in features.items()}
    return applied


_IS_SHOWN: Final = sql.SQL("deleted_at IS NULL")
_IS_ANY: Final = sql.SQL("true")
_LEFT: Final = sql.SQL("collection = %s AND asset_id = ANY(CAST(%s AS text[])) AND {}")
_DELETION: Final = sql.SQL(
    "DELETE FROM {} WHERE collection = %s AND asset_id = ANY(CAST(%s AS text[])) RETURNING {} AS is_counted"
)
_HIDING: Final = sql.SQL(
    "UPDATE {} SET deleted_at = now() WHERE collection = %s AND asset_id = ANY(CAST(%s AS text[])) "
    "AND deleted_at IS NULL RETURNING true AS is_counted"
)
_COUNT: Final = sql.SQL("WITH gone AS ({}) SELECT count(*) FROM gone WHERE is_counted")


def _count_gone(
    connection: Connection,
    schema: SyncSchema,
    collection: str,
    ids: str,
    changes: Mapping[Table, sql.Composable],
    remainder: sql.SQL,
) -> dict[Table, int]:
    """Carry out what takes assets out of these tables, and out of the books, in one message; how many rows of each
    people do not see any more. Raises `DestinationError` where a trigger keeps rows, the `remainder`."""
    books = {
        table: _DELETION.format(place_of(table), _IS_ANY) for table in (schema.tables.ledger, schema.tables.quarantine)
    }
    every = {**changes, **books}
    questions: list[Question] = [(_COUNT.format(change), (collection, ids)) for change in every.values()]
    others = [void_statement(schema.tables.cursors, collection), keepers_of([*every])]
    *counts, _, keepers = plain_answers(connection, [*questions, *others])
    rows = {table: _LEFT.format(_IS_ANY if table in books else remainder) for table in every}
    check_gone(connection, rows, (collection, ids), keepers)
    return {table: count for table, ((count,),) in zip(every, counts, strict=True)}


def _values_of_generations(
    connection: Connection, schema: SyncSchema, collection: str, ids: str
) -> dict[tuple[Modality, str], int]:
    """By named vector that has several generations: how many values some assets have in them."""
    several = {
        (modality, name): generations
        for modality in MODALITIES
        for name, generations in schema.catalogue.named(modality).items()
        if len(generations) > 1
    }
    entries = [entry for generations in several.values() for entry in generations]
    questions = [rows_of_assets(schema.vector_table(entry), _HASHED_VECTORS, collection, ids) for entry in entries]
    stored = dict(zip((entry.table for entry in entries), plain_answers(connection, questions), strict=True))
    return {
        name: len(values_of(generations, [_hashes(stored[entry.table]) for entry in generations]))
        for name, generations in several.items()
    }


def _hashes(rows: Sequence[Row]) -> dict[FeatureKey, bytes]:
    return {(asset_id, feature_id): digest for asset_id, feature_id, digest in rows}


@dataclass(frozen=True, slots=True)
class _Writer:
    """Brings tables to what a batch wants in them, and knows what is stored of its assets."""

    connection: Connection
    schema: SyncSchema
    distrusted: Distrusted
    collection: str
    types: Sequence[Row]
    stored: Mapping[str, Sequence[Row]]

    def write_assets(self, assets: Sequence[MappedAsset]) -> Counts:
        """Bring the rows of the assets to what is wanted, and show them."""
        table, columns = self.schema.tables.assets, ("collection", *_ASSET_COLUMNS)
        desired: DesiredRows = {
            (asset.asset_id, ""): (asset.row_hash, (self.collection, *_asset_row(asset))) for asset in assets
        }
        stored = stored_rows(self.stored[table.name])
        diff = diff_table(desired, self._trusted_rows(None, stored))
        self._send_rows(table, columns, diff)
        delete_keys(self.connection, table, self.collection, diff.delete)
        return count_changes(diff, desired, stored.hidden)

    def write_features(self, modality: Modality, desired: Sequence[FeatureRow]) -> Counts:
        """Bring the rows of a modality's features to what is wanted, and show them."""
        table = self.schema.features[modality]
        columns = (*KEY_COLUMNS, *self.schema.mapping.columns(modality), "metadata", "extra", "row_hash")
        stored = stored_rows(self.stored[table.name])
        diff = diff_features(desired, attrgetter("row_hash"), self._trusted_rows(modality, stored))
        types = types_in(self.types, table, columns)
        send_laid_out(self.connection, table, types, diff, partial(_feature_values, self.collection))
        delete_keys(self.connection, table, self.collection, diff.delete)
        return count_changes(diff, keys_of(desired) if stored.hidden else (), stored.hidden)

    def write_vectors(self, generations: Sequence[VectorEntry], rows: BatchRows) -> Counts:
        """Bring the tables of a named vector to what is wanted, the oldest first; they are counted as one."""
        desired = [rows.vectors.get(entry.key, []) for entry in generations]
        stored = [self._trusted_vectors(entry) for entry in generations]
        diffs = diff_generations(generations, desired, stored)
        for entry, diff in zip(generations, diffs, strict=True):
            table = self.schema.vector_table(entry)
            types = types_in(self.types, table, VECTOR_COLUMNS)
            encode = vector_encoder(entry.storage.column_type, entry.vector_name, self.collection)
            send(self.connection, table, types, diff, encode)
            delete_keys(self.connection, table, self.collection, diff.delete)
        if [entry.state for entry in generations] == ["current"]:
            return diffs[0].counts()
        return count_values(generations, desired, stored)

    def write_ledger(self, rows: BatchRows) -> None:
        """Record what the batch says, and that assets which it only rejects are to be read again."""
        ledger, batch = self.schema.tables.ledger, rows.batch
        stored = known_in([row[:3] for row in self.stored[ledger.name]])
        contents = {asset_id: _contents_in(recorded) for asset_id, *_, recorded in self.stored[ledger.name]}
        desired = with_contents(ledger_rows(batch, stored, rows.counts()), rows.contents, contents)
        compared = {key: comparable(digest, contents[key[0]]) for key, digest in ledger_hashes(stored).items()}
        self._send_rows(ledger, _LEDGER_COLUMNS, diff_table(desired, compared))
        forget_unread(self.connection, ledger, batch)

    def _send_rows(self, table: Table, columns: Sequence[str], diff: TableDiff[Row]) -> None:
        types = types_in(self.types, table, columns)
        send_laid_out(self.connection, table, types, diff, tuple)

    def _trusted_rows(self, modality: Modality | None, stored: StoredRows) -> StoredHashes:
        return self.distrusted.blanked(self.collection, modality, None, stored.hashes)

    def _trusted_vectors(self, entry: VectorEntry) -> StoredHashes:
        hashes = _hashes(self.stored[entry.table])
        return self.distrusted.blanked(self.collection, entry.modality, entry.vector_name, hashes)


def _contents_in(recorded: str | None) -> Contents:
    """Nothing where somebody has written something else into the ledger."""
    with suppress(ValueError):
        return readable_contents(parse_json((recorded or "null").encode())) or {}
    return {}


def _set_aside(connection: Connection, schema: SyncSchema, batch: Batch, applied: Applied) -> None:
    rejected = [*(each for asset in batch.assets for each in asset.rejected), *batch.rejected]
    replace_rejected(connection, schema.tables.quarantine, batch, rejected)
    for each in rejected:
        applied.set_aside(each)


# What a batch changes in the table of a modality, and in the generations of one named vector. Pure.
#
# The value of a feature's vector is its row in the newest generation that has one and is not retired. A row that it
# supersedes stays where the plain view still shows it, so that nothing is missing there while the newer generation
# fills.


StoredHashes: TypeAlias = Mapping[FeatureKey, bytes]
"""The hashes that a table holds of some assets' features."""


def diff_features(
    desired: Sequence[FeatureRow], digest_of: Callable[[MappedFeature], bytes], stored: StoredHashes
) -> TableDiff[FeatureRow]:
    """Compare features, or a vector of theirs, with what a table holds of the same assets."""
    if not stored:  # a first load has nothing to compare
        return TableDiff(insert=desired)
    return diff_in_order(
        (((asset_id, feature.feature_id), digest_of(feature), (asset_id, feature)) for asset_id, feature in desired),
        stored,
    )


def diff_generations(
    generations: Sequence[VectorEntry], desired: Sequence[Sequence[FeatureRow]], stored: Sequence[StoredHashes]
) -> list[TableDiff[FeatureRow]]:
    """One difference for each generation, from the oldest to the newest, of what a batch wants in it and what it holds.

    No feature is wanted in two of them, or in a retired one.
    """
    diffs = [
        diff_features(rows, vector_digest(entry.storage.column_type, entry.vector_name), hashes)
        for entry, rows, hashes in zip(generations, desired, stored, strict=True)
    ]
    if len(generations) > 1:
        anywhere = set().union(*map(keys_of, desired))
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
    generations: Sequence[VectorEntry], desired: Sequence[Sequence[FeatureRow]], stored: Sequence[StoredHashes]
) -> Counts:
    """How the values change: one that moves to another generation is updated."""
    before = values_of(generations, stored)
    after = {
        (asset_id, feature.feature_id): (entry.storage.dimension, digest_of(feature))
        for entry, rows in zip(generations, desired, strict=True)
        for digest_of in (vector_digest(entry.storage.column_type, entry.vector_name),)
        for asset_id, feature in rows
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


def stored_rows(rows: Sequence[Row]) -> StoredRows:
    """Those of the assets, or of a modality's features: by asset and feature, the hash and whether it is shown."""
    hashes = {(asset, feature): digest if shown else b"" for asset, feature, digest, shown in rows}
    return StoredRows(hashes, {(asset, feature) for asset, feature, _, shown in rows if not shown})


def count_changes(diff: TableDiff[Any], desired: Collection[FeatureKey], hidden: Set[FeatureKey]) -> Counts:
    """What people see of a diff: a row that was hidden was deleted before, and is inserted when it is shown again."""
    counts = diff.counts()
    shown = sum(key in desired for key in hidden)
    counts.inserted += shown
    counts.updated -= shown
    counts.deleted -= len(hidden) - shown
    return counts
