"""Reading assets back as they were applied, so that another destination can be filled from this one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Final, TypeAlias

from sqlalchemy import Connection, Table

from vectorferry.connector import (
    MODALITIES,
    LoadedAsset,
    LoadedFeature,
    Modality,
    Reason,
    Rejected,
    Vector,
    vector_hash,
)

from .._postgres import Row, held_collections
from ._catalogue import VectorEntry, read_catalogue
from ._schema import DELETED_AT
from ._stored_feeds import Feed, Reader, begin_snapshot
from ._stored_values import stored_loaders
from ._tables import SyncSchema

__all__ = ["StoredFeatures", "stored_assets", "stored_collections"]

_ASSET_COLUMNS: Final = ("modality", "url", "status", "metadata", "extra", "created_at", "updated_at", "row_hash")
_FEATURE_COLUMNS: Final = ("feature_id", "metadata", "extra", "row_hash", DELETED_AT)
_VECTOR_COLUMNS: Final = ("feature_id", "embedding", "vector_hash")
_REJECTED_COLUMNS: Final = ("feature_id", "vector_name", "column_name", "modality", "reason", "detail", "kept")

_OpenTable: TypeAlias = Callable[[Table, Sequence[str]], Iterator[Row]]
_NamedVectors: TypeAlias = dict[str, tuple[Vector, bytes]]
_HashOf: TypeAlias = Callable[[Vector, bytes, VectorEntry], bytes]


def stored_collections(connection: Connection, schema: SyncSchema) -> list[str]:
    """The collections in the ledger or the quarantine, sorted."""
    return held_collections(connection, [schema.tables.ledger, schema.tables.quarantine])


def stored_assets(schema: SyncSchema, collection: str, asset_ids: Sequence[str]) -> Iterator[LoadedAsset]:
    """Those of these assets that the ledger has, in the order of their ids, from server-side cursors.

    All tables are read in that order side by side, so that a few hundred rows of each are in memory and no more.
    """
    extension_schema = schema.database.extension_schema
    with schema.database.plain_transaction() as connection, ExitStack() as cursors:
        begin_snapshot(connection)
        loaders = stored_loaders(connection, extension_schema)
        reader = Reader(connection, cursors, loaders, collection, asset_ids)
        yield from _Tables(reader.rows, schema, connection).assets()


class StoredFeatures:
    """The tables of features and of their vectors, read side by side in the order of asset ids. `hash_of` says what
    counts as the hash of a vector, which is stored beside it."""

    def __init__(self, open_table: _OpenTable, schema: SyncSchema, connection: Connection, hash_of: _HashOf) -> None:
        bases = {modality: schema.mapping.table(modality) for modality in MODALITIES}
        # Read again: another process may have met a new named vector since this one was prepared.
        catalogue = read_catalogue(connection, schema.tables, bases)
        self._hash_of = hash_of
        self._columns = {modality: tuple(schema.mapping.columns(modality)) for modality in MODALITIES}
        self._features = {
            modality: Feed(open_table(schema.features[modality], (*_FEATURE_COLUMNS, *columns)))
            for modality, columns in self._columns.items()
        }
        self._vectors = {
            modality: [
                (entry, Feed(open_table(schema.vector_table(entry), _VECTOR_COLUMNS)))
                for entry in catalogue.live(modality)
            ]
            for modality in MODALITIES
        }

    def of_asset(self, asset_id: str) -> Iterator[LoadedFeature]:
        """The features that are not hidden, with their vectors. Assets are asked for in the order of their ids."""
        for modality, rows in self._features.items():
            vectors = self._vectors_of(asset_id, modality)
            for feature_id, metadata, extra, row_hash, deleted_at, *columns in rows.take(asset_id):
                if deleted_at is not None:
                    continue
                named = vectors.get(feature_id, {})
                yield LoadedFeature(
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
        found: dict[str, _NamedVectors] = {}
        for entry, rows in self._vectors[modality]:
            for feature_id, vector, digest in rows.take(asset_id):
                found.setdefault(feature_id, {})[entry.vector_name] = (vector, self._hash_of(vector, digest, entry))
        return found


class _Tables:
    """Every table that holds a part of an asset."""

    def __init__(self, open_table: _OpenTable, schema: SyncSchema, connection: Connection) -> None:
        tables = schema.tables
        self._assets = open_table(tables.assets, _ASSET_COLUMNS)
        self._ledger = Feed(open_table(tables.ledger, ("fingerprint",)))
        self._rejected = Feed(open_table(tables.quarantine, _REJECTED_COLUMNS))
        self._features = StoredFeatures(open_table, schema, connection, _hash_of)

    def assets(self) -> Iterator[LoadedAsset]:
        """Each asset with all that belongs to it."""
        for asset_id, *values in self._assets:
            for (fingerprint,) in self._ledger.take(asset_id):
                yield LoadedAsset(
                    asset_id=asset_id,
                    fingerprint=fingerprint,
                    **dict(zip(_ASSET_COLUMNS, values, strict=True)),
                    features=tuple(
                        sorted(self._features.of_asset(asset_id), key=lambda one: (one.feature_id, one.modality))
                    ),
                    rejected=tuple(self._rejected_of(asset_id)),
                )

    def _rejected_of(self, asset_id: str) -> Iterator[Rejected]:
        """Its features that were set aside; a record of the asset as a whole is about a version that is not here."""
        for feature_id, vector_name, column, modality, reason, detail, kept in sorted(self._rejected.take(asset_id)):
            if feature_id:
                yield Rejected(asset_id, Reason(reason), detail, feature_id, modality, vector_name, column, kept)


def _hash_of(vector: Vector, digest: bytes, entry: VectorEntry) -> bytes:
    """The recorded hash is the source's vector's: half precision and dropped zeros make another one of it."""
    return digest if entry.layout.storage == "vector" else vector_hash(vector)
