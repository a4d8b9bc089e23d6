"""Every table that holds a part of an asset, read side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from sqlalchemy import Connection, Table

from vectorferry.connector import MODALITIES, Modality, is_row_of

from .._postgres import Row
from ._catalogue import VectorEntry, read_catalogue
from ._schema import DELETED_AT
from ._stored_feeds import Feed, Reader
from ._stored_values import stored_loaders
from ._tables import SyncSchema
from ._verify_contents import Contents
from ._verify_hashes import is_vector_of, source_hash

__all__ = ["ASSET_ROW", "AssetParts", "AssetTables", "RecordKey"]

RecordKey: TypeAlias = tuple[Modality | None, str, str | None]
"""Modality, feature id, and vector name (None: the feature's row)."""

ASSET_ROW: Final[RecordKey] = (None, "", None)

_ASSET_COLUMNS: Final = ("modality", "url", "status", "created_at", "updated_at")
_OBJECTS: Final = ("metadata", "extra")


@dataclass(slots=True)
class AssetParts:
    """What there is of one asset: the ledger's entry (`features` None: it has none; `contents` None: it was written
    before there were any), the hash beside each row, the `dimensions` that a vector has rows of, the rows that are not
    what their hash was taken of, and those that are `hidden`, which count as not there."""

    asset_id: str
    features: Mapping[str, int] | None = None
    contents: Contents | None = None
    hashes: dict[RecordKey, bytes] = field(default_factory=dict)
    dimensions: dict[RecordKey, set[int]] = field(default_factory=dict)
    wrong: set[RecordKey] = field(default_factory=set)
    hidden: set[RecordKey] = field(default_factory=set)


class AssetTables:
    """A schema's tables, for some assets of a collection, or for all (None); `whole` reads what is in the rows."""

    def __init__(
        self,
        connection: Connection,
        cursors: ExitStack,
        schema: SyncSchema,
        collection: str,
        asset_ids: Sequence[str] | None,
        *,
        whole: bool,
    ) -> None:
        loaders = stored_loaders(connection, schema.database.extension_schema)
        self._reader = Reader(connection, cursors, loaders, collection, asset_ids)
        self._whole = whole
        tables = schema.tables
        self._ledger = Feed(self._reader.rows(tables.ledger, ("features", "contents")))
        self._assets = self._feed(tables.assets, (DELETED_AT,), "row_hash", (*_ASSET_COLUMNS, *_OBJECTS))
        self._columns = {modality: tuple(schema.mapping.columns(modality)) for modality in MODALITIES}
        self._features = {
            modality: self._feed(
                schema.features[modality], ("feature_id", DELETED_AT), "row_hash", (*columns, *_OBJECTS)
            )
            for modality, columns in self._columns.items()
        }
        # Read again: another process may have met a new named vector since this one was prepared.
        bases = {modality: schema.mapping.table(modality) for modality in MODALITIES}
        catalogue = read_catalogue(connection, tables, bases)
        self._vectors = [
            (entry, self._feed(schema.vector_table(entry), ("feature_id",), "vector_hash", ("embedding",)))
            for modality in MODALITIES
            for entry in catalogue.live(modality)
        ]

    def assets(self) -> Iterator[AssetParts]:
        """Every asset that any table names and that is not hidden, in the order of their ids."""
        feeds = [self._ledger, self._assets, *self._features.values(), *(feed for _, feed in self._vectors)]
        while (asset_id := min((one.waiting for one in feeds if one.waiting is not None), default=None)) is not None:
            parts = AssetParts(asset_id)
            for features, contents in self._ledger.take(asset_id):
                parts.features, parts.contents = features, contents
            self._add_rows(parts)
            for entry, feed in self._vectors:
                self._add_vectors(parts, entry, feed.take(asset_id))
            if parts.hashes or parts.features is not None:
                yield parts

    def _feed(self, table: Table, keys: Sequence[str], digest: str, values: Sequence[str]) -> Feed:
        return Feed(self._reader.rows(table, (*keys, digest, *(values if self._whole else ()))))

    def _add_rows(self, parts: AssetParts) -> None:
        for row in self._assets.take(parts.asset_id):
            self._add_row(parts, ASSET_ROW, row, _ASSET_COLUMNS)
        for modality, feed in self._features.items():
            for row in feed.take(parts.asset_id):
                self._add_row(parts, (modality, row[0], None), row[1:], self._columns[modality])

    def _add_row(self, parts: AssetParts, key: RecordKey, row: Row, names: Sequence[str]) -> None:
        deleted_at, row_hash, *values = row
        if deleted_at is not None:
            parts.hidden.add(key)
            return
        parts.hashes[key] = row_hash
        if self._whole and not _is_row_of(row_hash, names, values):
            parts.wrong.add(key)

    def _add_vectors(self, parts: AssetParts, entry: VectorEntry, rows: Sequence[Row]) -> None:
        for feature_id, recorded, *values in rows:
            key = (entry.modality, feature_id, entry.vector_name)
            if (entry.modality, feature_id, None) in parts.hidden:
                continue
            parts.hashes[key] = source_hash(recorded)
            parts.dimensions.setdefault(key, set()).add(entry.layout.dimension)
            parts.wrong.discard(key)  # an older generation's row, which this one supersedes
            if self._whole and not is_vector_of(recorded, values[0], entry.layout.storage):
                parts.wrong.add(key)


def _is_row_of(row_hash: bytes, names: Sequence[str], values: Sequence[object]) -> bool:
    *columns, metadata, extra = values
    named = dict(zip(names, columns, strict=True))
    return isinstance(metadata, Mapping) and isinstance(extra, Mapping) and is_row_of(row_hash, named, metadata, extra)
