"""Comparing the ledger with the rows that are really there, asset by asset, in one snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, TypeAlias

from psycopg import sql
from sqlalchemy import ColumnElement, Connection, Table, exists, func, select
from sqlalchemy.exc import DataError

from vectorferry.connector.plugin import (
    MODALITIES,
    MOST_SLICES,
    MOST_UNRECORDED,
    DestinationError,
    Difference,
    Discrepancy,
    Modality,
    StoredDigest,
    is_row_of,
)
from vectorferry.destinations._postgres import Row, recorded_collections, statement
from vectorferry.destinations.pgvector._catalogue import Catalogue, VectorEntry
from vectorferry.destinations.pgvector._rows import (
    Contents,
    feature_vectors,
    is_vector_of,
    readable_contents,
    source_hash,
)
from vectorferry.destinations.pgvector._schema import SyncSchema
from vectorferry.destinations.pgvector._slices import SliceReader
from vectorferry.destinations.pgvector._stored import Feed, Reader, snapshot, stored_collections
from vectorferry.destinations.pgvector._tables import DELETED_AT, visible

RecordKey: TypeAlias = tuple[Modality | None, str, str | None]
"""Modality, feature id, and vector name (None: the feature's row)."""

ASSET_ROW: Final[RecordKey] = (None, "", None)
_ASSET_COLUMNS: Final = ("modality", "url", "status", "created_at", "updated_at")
_OBJECTS: Final = ("metadata", "extra")


@dataclass(slots=True)
class AssetParts:
    """What there is of one asset: what the ledger names (`contents` None: it has no entry), the hash beside each row,
    the `dimensions` that a vector has rows of, the rows that are not what their hash was taken of, and those that are
    `hidden`, which count as not there."""

    asset_id: str
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
        self._reader = Reader(connection, cursors, schema, collection, asset_ids)
        self._whole = whole
        tables = schema.tables
        self._ledger = Feed(self._reader.rows(tables.ledger, ("contents",)))
        self._assets = self._feed(tables.assets, (DELETED_AT,), "row_hash", (*_ASSET_COLUMNS, *_OBJECTS))
        self._columns = {modality: tuple(schema.mapping.columns(modality)) for modality in MODALITIES}
        self._features = {
            modality: self._feed(
                schema.features[modality], ("feature_id", DELETED_AT), "row_hash", (*columns, *_OBJECTS)
            )
            for modality, columns in self._columns.items()
        }
        # Read again: another process may have met a new named vector since this one was prepared.
        catalogue = schema.stored_catalogue(connection)
        self._vectors = [
            (entry, self._feed(schema.vector_table(entry), ("feature_id",), "vector_hash", ("embedding",)))
            for modality in MODALITIES
            for entry in catalogue.live(modality)
        ]

    def assets(self) -> Iterator[AssetParts]:
        """Every asset that any table names and that is not hidden, in the order of their ids."""
        feeds = [self._ledger, self._assets, *self._features.values(), *(feed for _, feed in self._vectors)]
        while (asset_id := min((feed.waiting for feed in feeds if feed.waiting is not None), default=None)) is not None:
            parts = AssetParts(asset_id)
            for (contents,) in self._ledger.take(asset_id):
                parts.contents = readable_contents(contents)
            self._add_rows(parts)
            for entry, feed in self._vectors:
                self._add_vectors(parts, entry, feed.take(asset_id))
            if parts.hashes or parts.contents is not None:
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
            parts.dimensions.setdefault(key, set()).add(entry.storage.dimension)
            parts.wrong.discard(key)  # an older generation's row, which this one supersedes
            if self._whole and not is_vector_of(recorded, values[0], entry.storage.column_type):
                parts.wrong.add(key)


def _is_row_of(row_hash: bytes, names: Sequence[str], values: Sequence[object]) -> bool:
    *columns, metadata, extra = values
    if not isinstance(metadata, Mapping) or not isinstance(extra, Mapping):
        return False
    named = dict(zip(names, columns, strict=True))
    return any(is_row_of(row_hash, each, metadata, extra) for each in _as_it_may_have_been(named))


def _as_it_may_have_been(row: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """The row, then without columns that hold nothing: one by one, and from the last one on. A column that was mapped
    since the row was written is not in its hash, and the source may never give the asset again."""
    yield row
    empty = [name for name, value in row.items() if value is None]
    for start, name in enumerate(empty):
        yield {each: row[each] for each in row if each != name}
        yield {each: row[each] for each in row if each not in empty[start:]}


_BROKEN: Final = (
    "the tables of schema {schema} do not add up to what their rows are, of {count:,} assets: an index is broken, as "
    "after a crash with fsync off or an update of the system's collations. Run this, and verify again: "
    "REINDEX SCHEMA {quoted};"
)

UNRECORDED: Final = "stored, but the ledger has no entry of it"


def find_discrepancies(schema: SyncSchema, collection: str, sample: int | None) -> Iterator[Discrepancy]:
    """What differs, in the order of asset ids; what is wrong in the sample's rows comes behind all of that."""
    with snapshot(schema) as (connection, cursors):
        suspects = None if sample is None else _suspects(connection, schema, collection)
        named = 0
        if suspects is None or suspects:
            tables = AssetTables(connection, cursors, schema, collection, suspects, whole=sample is None)
            for parts in tables.assets():
                for each in (*_missing_or_extra(parts), *_wrong(parts)):
                    named += 1
                    yield each
        if suspects and not named:
            quoted = sql.Identifier(schema.name).as_string()
            raise DestinationError(_BROKEN.format(schema=schema.name, quoted=quoted, count=len(suspects)))
        if sample:
            asset_ids = _any_assets(connection, schema, collection, sample)
            for parts in AssetTables(connection, cursors, schema, collection, asset_ids, whole=True).assets():
                yield from _wrong(parts)


def read_digests(schema: SyncSchema, collection: str, asset_ids: Sequence[str] | None = None) -> Iterator[StoredDigest]:
    """The hashes of every row and vector of these assets, or of all, sorted."""
    with snapshot(schema) as (connection, cursors):
        for parts in AssetTables(connection, cursors, schema, collection, asset_ids, whole=False).assets():
            yield from sorted(
                StoredDigest(parts.asset_id, feature_id, modality.value if modality else "", vector_name or "", digest)
                for (modality, feature_id, vector_name), digest in parts.hashes.items()
            )


def _suspects(connection: Connection, schema: SyncSchema, collection: str) -> list[str] | None:
    """The assets of the slices in which ledger and tables do not name the same; None where that is too many of them, or
    where the ledger names something that Postgres cannot make out."""
    slices = SliceReader(connection, schema, collection)
    try:
        with connection.begin_nested():
            numbers = slices.unlike_ledger()
    except DataError:
        return None
    return slices.assets(numbers) if len(numbers) <= MOST_SLICES else None


def _any_assets(connection: Connection, schema: SyncSchema, collection: str, sample: int) -> list[str]:
    ledger = schema.tables.ledger
    names = select(ledger.c.asset_id).where(ledger.c.collection == collection)
    return list(connection.execute(names.order_by(func.random()).limit(sample)).scalars())


def _wrong(parts: AssetParts) -> Iterator[Discrepancy]:
    if parts.contents is not None:
        for key in sorted(parts.wrong, key=str):
            yield _discrepancy(Difference.DIFFERENT, parts.asset_id, key)


def _missing_or_extra(parts: AssetParts) -> Iterator[Discrepancy]:
    if parts.contents is None:
        yield Discrepancy(Difference.EXTRA, parts.asset_id, detail=UNRECORDED)
        return
    expected = {ASSET_ROW: None, **dict(_recorded_keys(parts.contents))}
    for key in sorted(expected, key=str):
        if key not in parts.hashes or expected[key] not in (None, *parts.dimensions.get(key, ())):
            yield _discrepancy(Difference.MISSING, parts.asset_id, key)
    for key in sorted(parts.hashes.keys() - expected.keys(), key=str):
        yield _discrepancy(Difference.EXTRA, parts.asset_id, key)


def _recorded_keys(contents: Contents) -> Iterator[tuple[RecordKey, int | None]]:
    """Every feature and vector that the ledger names, vectors with their dimension."""
    for (modality, feature_id), dimensions in feature_vectors(contents).items():
        yield (Modality(modality), feature_id, None), None
        for name, dimension in dimensions.items():
            yield (Modality(modality), feature_id, name), dimension


def _discrepancy(kind: Difference, asset_id: str, key: RecordKey) -> Discrepancy:
    modality, feature_id, vector_name = key
    return Discrepancy(kind, asset_id, feature_id, modality, vector_name)


# What somebody has put into a collection that no book names.


def unrecorded_collections(schema: SyncSchema) -> dict[str, list[str]]:
    """Those that assets or features are shown of and that neither ledger nor quarantine names, each with the statements
    that delete what is shown."""
    shown = [schema.tables.assets, *schema.features.values()]
    with snapshot(schema) as (connection, _):
        recorded = {*stored_collections(connection, schema)}
        others = (name for name in recorded_collections(connection, shown) if name not in recorded)
        visible_ones = (name for name in others if any(_has_rows(connection, each, name, visible) for each in shown))
        names = [*islice(visible_ones, MOST_UNRECORDED)]
        catalogue = schema.stored_catalogue(connection) if names else schema.catalogue
        return {name: [*_removal(connection, schema, catalogue, name)] for name in names}


def _removal(connection: Connection, schema: SyncSchema, catalogue: Catalogue, collection: str) -> Iterator[str]:
    """Vectors first: only their features say which of them are hidden."""
    this = sql.Literal(collection)
    for modality, features in schema.features.items():
        table = sql.Identifier(schema.name, features.name)
        vectors = [schema.vector_table(entry) for entry in catalogue.live(modality)]
        for name in (each.name for each in vectors if _has_rows(connection, each, collection)):
            is_mixed = _has_rows(connection, features, collection, _is_hidden)
            which = _OF_SHOWN.format(table) if is_mixed else sql.SQL("")
            yield statement("DELETE FROM {} v WHERE collection = {}{};", sql.Identifier(schema.name, name), this, which)
        if _has_rows(connection, features, collection, visible):
            yield statement("DELETE FROM {} WHERE collection = {} AND deleted_at IS NULL;", table, this)
    if _has_rows(connection, schema.tables.assets, collection, visible):
        table = sql.Identifier(schema.name, schema.tables.assets.name)
        yield statement("DELETE FROM {} WHERE collection = {} AND deleted_at IS NULL;", table, this)


_OF_SHOWN: Final = sql.SQL(
    " AND NOT EXISTS (SELECT FROM {} f WHERE f.deleted_at IS NOT NULL AND f.collection = v.collection "
    "AND f.asset_id = v.asset_id AND f.feature_id = v.feature_id)"
)


def _is_hidden(table: Table) -> ColumnElement[bool]:
    return ~visible(table)


def _has_rows(
    connection: Connection, table: Table, collection: str, which: Callable[[Table], ColumnElement[bool]] | None = None
) -> bool:
    these = [table.c.collection == collection, *([which(table)] if which else [])]
    return bool(connection.execute(select(exists().where(*these))).scalar())
