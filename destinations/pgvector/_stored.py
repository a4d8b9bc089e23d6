"""What is stored: assets read back as they were applied, what of them stands in for what is set aside, and counts."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime
from itertools import count
from typing import Any, Final, TypeAlias

import numpy as np
import psycopg
from psycopg import pq, sql
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from sqlalchemy import ColumnElement, Connection, Table, Text, and_, cast, exists, func, select, text

from vectorferry.connector.plugin import (
    MODALITIES,
    Batch,
    DenseVector,
    Distrusted,
    MappedAsset,
    MappedFeature,
    Modality,
    Reason,
    Rejected,
    SparseVector,
    Status,
    TableStatus,
    Vector,
    parse_json,
    rejected_features,
    vector_hash,
    with_last_good,
    without_distrusted,
)
from vectorferry.destinations._postgres import (
    SNAPSHOT,
    Row,
    count_rejected,
    driver_of,
    is_storable,
    joined,
    known_assets,
    mark_kept,
    place_of,
    recorded_collections,
    unread_assets,
)
from vectorferry.destinations.pgvector._catalogue import VectorEntry
from vectorferry.destinations.pgvector._generations import is_not_superseded
from vectorferry.destinations.pgvector._related import count_related
from vectorferry.destinations.pgvector._rows import source_hash
from vectorferry.destinations.pgvector._schema import SyncSchema
from vectorferry.destinations.pgvector._tables import DELETED_AT, KEY_COLUMNS, visible

_TYPES: Final = text(
    "SELECT t.typname, t.oid::bigint FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace "
    "WHERE n.nspname = :schema AND t.typname = ANY(:names)"
)

_SAMPLE_WIDTH: Final = 200

_HEADER: Final = struct.Struct(">iii")


_NOTHING: Final = b"\x01{}"


class _JsonbLoader(Loader):
    format = pq.Format.BINARY

    def load(self, data: Buffer) -> Any:
        # The first byte is the format's version. Most rows have nothing beyond their columns.
        return {} if data == _NOTHING else parse_json(bytes(data)[1:])


class _VectorLoader(Loader):
    format = pq.Format.BINARY

    def load(self, data: Buffer) -> DenseVector:
        return np.frombuffer(data, ">f4", offset=4).astype(np.float32)


class _HalfvecLoader(Loader):
    format = pq.Format.BINARY

    def load(self, data: Buffer) -> DenseVector:
        return np.frombuffer(data, ">f2", offset=4).astype(np.float32)


class _SparsevecLoader(Loader):
    format = pq.Format.BINARY

    def load(self, data: Buffer) -> SparseVector:
        _, count, _ = _HEADER.unpack_from(data)
        indices = np.frombuffer(data, ">i4", count=count, offset=_HEADER.size)
        values = np.frombuffer(data, ">f4", count=count, offset=_HEADER.size + indices.nbytes)
        return SparseVector(indices.astype(np.int32), values.astype(np.float32))


_VECTOR_LOADERS: Final[Mapping[str, type[Loader]]] = {
    "vector": _VectorLoader,
    "halfvec": _HalfvecLoader,
    "sparsevec": _SparsevecLoader,
}

# Rows of many tables side by side, each in the order of its asset ids, from server-side cursors.


_ROWS_AT_ONCE: Final = 500


@contextmanager
def snapshot(schema: SyncSchema) -> Iterator[tuple[Connection, ExitStack]]:
    """A transaction that sees one state of every table, and what closes the cursors that are opened in it: a sync that
    commits meanwhile must not give an asset two halves of two versions."""
    with schema.database.plain_transaction(SNAPSHOT) as connection, ExitStack() as cursors:
        yield connection, cursors


class Reader:
    """Opens cursors over the rows of some assets of a collection, or of all (None), and of some features only where
    `feature_ids` are given."""

    def __init__(
        self,
        connection: Connection,
        cursors: ExitStack,
        schema: SyncSchema,
        collection: str,
        asset_ids: Sequence[str] | None = None,
        feature_ids: Sequence[str] | None = None,
    ) -> None:
        self._driver = driver_of(connection)
        self._cursors = cursors
        self._numbers = count()
        self._parameters: dict[str, Any] = {"collection": collection}
        if asset_ids is not None:
            self._parameters["asset_ids"] = list(asset_ids)
        if feature_ids is not None:
            self._parameters["feature_ids"] = list(feature_ids)
        # An extension's types have other numbers in each database.
        types = {"names": list(_VECTOR_LOADERS), "schema": schema.database.extension_schema}
        loaders = {oid: _VECTOR_LOADERS[name] for name, oid in connection.execute(_TYPES, types)}
        self._loaders: Mapping[str | int, type[Loader]] = {"jsonb": _JsonbLoader, **loaders}

    def rows(self, table: Table, columns: Sequence[str]) -> Iterator[Row]:
        """Each row's asset id and these columns, in the order of asset ids, fetched a few hundred at a time."""
        name = f"vectorferry_{id(self)}_{next(self._numbers)}"
        cursor = self._cursors.enter_context(psycopg.ServerCursor(self._driver, name))
        cursor.itersize = _ROWS_AT_ONCE
        for type_, loader in self._loaders.items():
            cursor.adapters.register_loader(type_, loader)
        cursor.execute(self._select(table, columns), self._parameters, binary=True)
        return iter(cursor)

    def _select(self, table: Table, columns: Sequence[str]) -> sql.Composed:
        some_assets = sql.SQL(" AND asset_id = ANY(%(asset_ids)s)" if "asset_ids" in self._parameters else "")
        some_features = sql.SQL(" AND feature_id = ANY(%(feature_ids)s)" if "feature_ids" in self._parameters else "")
        return sql.SQL("SELECT {} FROM {} WHERE collection = %(collection)s{}{} ORDER BY asset_id").format(
            joined(("asset_id", *columns)),
            place_of(table),
            some_assets,
            some_features,
        )


class Feed:
    """Rows in the order of asset ids, which each begins with, taken asset by asset.

    Postgres' collation "C" and Python compare texts alike: by code points.
    """

    def __init__(self, rows: Iterator[Row]) -> None:
        self._rows = rows
        self._next = next(rows, None)

    @property
    def waiting(self) -> str | None:
        """The asset of the next row; None at the end."""
        return None if self._next is None else str(self._next[0])

    def take(self, asset_id: str) -> list[Row]:
        """What follows the asset id in the rows of this asset; those of earlier ones are passed over."""
        rows = []
        while self._next is not None and self._next[0] <= asset_id:
            if self._next[0] == asset_id:
                rows.append(self._next[1:])
            self._next = next(self._rows, None)
        return rows


_ASSET_COLUMNS: Final = ("modality", "url", "status", "metadata", "extra", "created_at", "updated_at", "row_hash")
_FEATURE_COLUMNS: Final = ("feature_id", "metadata", "extra", "row_hash", DELETED_AT)
_VECTOR_COLUMNS: Final = ("feature_id", "embedding", "vector_hash")
_REJECTED_COLUMNS: Final = ("feature_id", "vector_name", "column_name", "modality", "reason", "detail", "kept")
_NamedVectors: TypeAlias = dict[str, tuple[Vector, bytes]]
_HashOf: TypeAlias = Callable[[Vector, bytes, VectorEntry], bytes]


def stored_collections(connection: Connection, schema: SyncSchema) -> list[str]:
    """The collections in the ledger or the quarantine, sorted."""
    return recorded_collections(connection, [schema.tables.ledger, schema.tables.quarantine])


def stored_assets(schema: SyncSchema, collection: str, asset_ids: Sequence[str]) -> Iterator[MappedAsset]:
    """Those of these assets that the ledger has, in the order of their ids, from server-side cursors.

    All tables are read in that order side by side, so that a few hundred rows of each are in memory and no more.
    """
    with snapshot(schema) as (connection, cursors):
        reader = Reader(connection, cursors, schema, collection, asset_ids)
        assets = reader.rows(schema.tables.assets, _ASSET_COLUMNS)
        ledger = Feed(reader.rows(schema.tables.ledger, ("fingerprint",)))
        quarantine = Feed(reader.rows(schema.tables.quarantine, _REJECTED_COLUMNS))
        features = StoredFeatures(reader, schema, connection, _stored_hash)
        for asset_id, *values in assets:
            for (fingerprint,) in ledger.take(asset_id):
                yield MappedAsset(
                    asset_id=asset_id,
                    fingerprint=fingerprint,
                    **dict(zip(_ASSET_COLUMNS, values, strict=True)),
                    features=tuple(
                        sorted(features.of_asset(asset_id), key=lambda each: (each.feature_id, each.modality))
                    ),
                    rejected=tuple(_rejected_features(asset_id, quarantine.take(asset_id))),
                )


def _rejected_features(asset_id: str, rows: Iterable[Row]) -> Iterator[Rejected]:
    """Those that were set aside; a record of the asset as a whole is about a version that is not here."""
    for feature_id, vector_name, column, modality, reason, detail, kept in sorted(rows):
        if feature_id:
            yield Rejected(asset_id, Reason(reason), detail, feature_id, modality, vector_name, column, kept)


def _stored_hash(vector: Vector, digest: bytes, entry: VectorEntry) -> bytes:
    """The recorded hash is the source's vector's: half precision and dropped zeros make another one of it."""
    return digest if entry.storage.column_type == "vector" else vector_hash(vector)


class StoredFeatures:
    """The tables of features and of their vectors, read side by side in the order of asset ids. `hash_of` says what
    counts as the hash of a vector, which is stored beside it."""

    def __init__(self, reader: Reader, schema: SyncSchema, connection: Connection, hash_of: _HashOf) -> None:
        # Read again: another process may have met a new named vector since this one was prepared.
        catalogue = schema.stored_catalogue(connection)
        self._hash_of = hash_of
        self._columns = {modality: tuple(schema.mapping.columns(modality)) for modality in MODALITIES}
        self._features = {
            modality: Feed(reader.rows(schema.features[modality], (*_FEATURE_COLUMNS, *columns)))
            for modality, columns in self._columns.items()
        }
        self._vectors = {
            modality: [
                (entry, Feed(reader.rows(schema.vector_table(entry), _VECTOR_COLUMNS)))
                for entry in catalogue.live(modality)
            ]
            for modality in MODALITIES
        }

    def of_asset(self, asset_id: str) -> Iterator[MappedFeature]:
        """The features that are not hidden, with their vectors. Assets are asked for in the order of their ids."""
        for modality, rows in self._features.items():
            vectors = self._vectors_of(asset_id, modality)
            for feature_id, metadata, extra, row_hash, deleted_at, *columns in rows.take(asset_id):
                if deleted_at is not None:
                    continue
                named = vectors.get(feature_id, {})
                yield MappedFeature(
                    feature_id=feature_id,
                    modality=modality,
                    columns=dict(zip(self._columns[modality], columns, strict=True)),
                    metadata=metadata,
                    extra=extra,
                    row_hash=row_hash,
                    vectors={name: vector for name, (vector, _) in named.items()},
                    vector_hashes={name: digest for name, (_, digest) in named.items()},
                )

    def _vectors_of(self, asset_id: str, modality: Modality) -> dict[str, _NamedVectors]:
        """By feature id; a row of a newer generation takes the place of an older one's."""
        by_feature: dict[str, _NamedVectors] = {}
        for entry, rows in self._vectors[modality]:
            for feature_id, vector, digest in rows.take(asset_id):
                named = by_feature.setdefault(feature_id, {})
                named[entry.vector_name] = (vector, self._hash_of(vector, digest, entry))
        return by_feature


# What is stored of everything that a batch sets aside, joined to the batch before it is written.


def with_stored_versions(connection: Connection, schema: SyncSchema, distrusted: Distrusted, batch: Batch) -> Batch:
    """The batch with the last good version of what was set aside, and its records marked where there is one.

    Reads the features that are named (all of an asset, where one without a name was set aside), and nothing where none
    is. What is hidden, or `distrusted`, counts as not there.
    """
    if unread := unread_assets(batch):
        batch = mark_kept(batch, known_assets(connection, schema.tables.ledger, batch.collection, unread))
    some = sorted((asset for asset in batch.assets if asset.rejected), key=lambda asset: asset.asset_id)
    if not some:
        return batch
    whole = {asset.asset_id: asset for asset in _whole_assets(connection, schema, distrusted, batch, some)}
    return replace(batch, assets=tuple(whole.get(asset.asset_id, asset) for asset in batch.assets))


def _whole_assets(
    connection: Connection,
    schema: SyncSchema,
    distrusted: Distrusted,
    batch: Batch,
    assets: Sequence[MappedAsset],
) -> Iterator[MappedAsset]:
    with ExitStack() as cursors:
        asset_ids = [asset.asset_id for asset in assets]
        reader = Reader(connection, cursors, schema, batch.collection, asset_ids, _feature_ids(assets))
        tables = StoredFeatures(reader, schema, connection, _source_hash)
        for asset in assets:
            stored = [feature for feature in tables.of_asset(asset.asset_id) if feature.modality in batch.modalities]
            trusted = without_distrusted(stored, asset, batch.collection, distrusted)
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


# What a schema holds now, counted.


def sample_rows(
    connection: Connection, schema: SyncSchema, modality: Modality, collection: str, limit: int
) -> list[Mapping[str, str]]:
    """The first features of a collection that are shown: their ids and mapped columns, as texts that are cut."""
    table = schema.features[modality]
    names = ["asset_id", "feature_id", *schema.mapping.columns(modality)]
    columns = [func.left(cast(table.c[name], Text), _SAMPLE_WIDTH).label(name) for name in names]
    chosen = select(*columns).where(table.c.collection == collection, visible(table))
    rows = connection.execute(chosen.order_by(table.c.asset_id, table.c.feature_id).limit(limit)).mappings()
    return [{name: "" if row[name] is None else str(row[name]) for name in names} for row in rows]


def read_status(connection: Connection, schema: SyncSchema, destination: str, location: str) -> Status:
    """Rows per table and collection, but for hidden and superseded ones; quarantine; when something last changed."""
    tables = []
    for modality in MODALITIES:
        features = schema.features[modality]
        rows = _per_collection(connection, features, visible(features))
        tables.append(TableStatus(features.name, modality, None, sum(rows.values()), rows))
        for entry in schema.catalogue.of(modality):
            vectors = schema.vector_table(entry)
            values = and_(with_visible(vectors, features), is_not_superseded(schema, entry, vectors))
            rows = _per_collection(connection, vectors, values)
            details = {
                "view": entry.layer.view,
                "function": entry.layer.function,
                "storage": f"{entry.storage.column_type}({entry.storage.dimension})",
                "metric": entry.storage.metric,
                "index": entry.storage.index_words,
                "state": entry.state,
            }
            tables.append(TableStatus(entry.table, modality, entry.vector_name, sum(rows.values()), rows, details))
    return Status(
        destination=destination,
        location=location,
        assets=_per_collection(connection, schema.tables.assets, visible(schema.tables.assets)),
        tables=tables,
        quarantined=count_rejected(connection, schema.tables.quarantine),
        related=count_related(connection, schema.tables),
        last_change=_last_change(connection, schema.tables.ledger),
    )


def with_visible(vectors: Table, features: Table) -> ColumnElement[bool]:
    """Of a row of vectors: its feature is not hidden."""
    same = and_(*(features.c[name] == vectors.c[name] for name in KEY_COLUMNS))
    return ~exists().where(same, ~visible(features))


def _per_collection(connection: Connection, table: Table, counted_rows: ColumnElement[bool]) -> dict[str, int]:
    of_collection = select(table.c.collection, func.count()).where(counted_rows)
    counted = connection.execute(of_collection.group_by(table.c.collection).order_by(table.c.collection))
    return {str(collection): int(count) for collection, count in counted}


def _last_change(connection: Connection, ledger: Table) -> datetime | None:
    return connection.execute(select(func.max(ledger.c.synced_at))).scalar()
