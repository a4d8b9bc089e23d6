"""What a sync would find, make and change in its schema: looked up in transactions that cannot write."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Final

from psycopg import sql
from sqlalchemy import ColumnElement, Connection, Table, func, select, text

from vectorferry.connector.plugin import (
    MODALITIES,
    Averages,
    Cursor,
    IndexAdvice,
    Known,
    Origin,
    Planned,
    RelatedTable,
    SchemaMapping,
    closest,
)
from vectorferry.destinations._postgres import (
    READ_ONLY,
    PostgresServer,
    columns_of,
    driver_of,
    explained_by,
    known_assets,
    printed,
    read_cursor,
    read_origin,
    recorded_asset_ids,
    recorded_collections,
)
from vectorferry.destinations.pgvector._catalogue import Catalogue, VectorEntry
from vectorferry.destinations.pgvector._database import VectorDatabase
from vectorferry.destinations.pgvector._generations import count_vectors, vector_kind
from vectorferry.destinations.pgvector._indexes import count_vectors as count_rows
from vectorferry.destinations.pgvector._indexes import is_index_due, planned_index
from vectorferry.destinations.pgvector._prepare import Standing, first_steps, look_at, loss_notes, preparation
from vectorferry.destinations.pgvector._related import related_hashes
from vectorferry.destinations.pgvector._schema import SyncSchema
from vectorferry.destinations.pgvector._storage import (
    VectorStorage,
    advised,
    build_seconds,
    index_bytes,
    mapped_storage,
    smaller_index,
    why_not_indexable,
)

_BYTES: Final = text(
    "SELECT sum(pg_table_size(c.oid)) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE n.nspname = :schema AND c.relname = ANY(:names)"
)


def read_averages(connection: Connection, schema: SyncSchema, vector_count: int) -> Averages | None:
    """Counted rows, and the sizes of their tables as Postgres keeps them, indexes left out; None when there is no
    feature. `vector_count` is that of all vectors that are not retired."""
    vectors = [schema.vector_table(entry) for modality in MODALITIES for entry in schema.catalogue.live(modality)]
    names = {table.name for table in (*schema.features.values(), *vectors)}
    all_assets = schema.tables.assets
    stored = columns_of(connection, schema.name, {*names, all_assets.name})
    features = [table for table in schema.features.values() if table.name in stored]
    counted = _rows(connection, features)
    assets = _rows(connection, [all_assets]) if all_assets.name in stored else 0
    if not counted or not assets:
        return None
    size = int(connection.execute(_BYTES, {"schema": schema.name, "names": [*names]}).scalar_one())
    return Averages(counted / assets, 1 + vector_count / counted, size / counted)


def _rows(connection: Connection, tables: Iterable[Table]) -> int:
    counts = (connection.execute(select(func.count()).select_from(table)).scalar_one() for table in tables)
    return sum(map(int, counts))


class SchemaOutlook:
    """A schema as `prepare` would leave it; `schema` has the mapping of the sync that is planned, and `memory_limit_mb`
    is the most memory that one index build may ask for."""

    def __init__(self, server: PostgresServer[VectorDatabase], schema: SyncSchema, memory_limit_mb: int) -> None:
        self._server = server
        self._schema = schema
        self._memory_limit_mb = memory_limit_mb
        self._begin: Callable[..., AbstractContextManager[Connection]] = schema.database.plain_transaction
        self._reread: ColumnElement[bool] | None = None
        """Of a ledger's row: preparing the schema would have the asset read again."""
        self._missing: Collection[str] = ()
        """The fixed tables that preparing the schema would make, which are empty until then."""

    def planned(self) -> Planned:
        """Look at everything but single assets. Raises what preparing the schema would raise."""
        database = self._schema.database
        with self._server.translated(), database.plain_transaction(READ_ONLY) as connection:
            standing = look_at(connection, self._schema)
            with explained_by(standing.refusal):
                planned = self._planned(connection, standing)
        self._begin = database.plain_transaction if standing.extension.steps else database.transaction
        return replace(planned, refusal=standing.refusal or planned.refusal)

    def known(self, collection: str, asset_ids: Sequence[str]) -> Mapping[str, Known]:
        """The ledger's entries, without fingerprints where preparing the schema would have assets read again."""
        tables = self._schema.tables
        with self._looking() as connection:
            known = known_assets(connection, tables.ledger, collection, asset_ids)
            if self._reread is None:
                return known
            again = known_assets(connection, tables.ledger, collection, asset_ids, self._reread)
        return {**known, **{asset_id: replace(entry, fingerprint="") for asset_id, entry in again.items()}}

    def asset_ids(self, collection: str) -> Iterator[str]:
        """Every asset of a collection in the ledger or the quarantine, page by page."""
        yield from recorded_asset_ids(self._asking, self._naming_assets(), collection)

    def cursor(self, collection: str) -> Cursor | None:
        """What was recorded, unless preparing the schema would have assets read again."""
        cursors = self._schema.tables.cursors
        if self._reread is not None or cursors.name in self._missing:
            return None
        with self._asking() as connection:
            return read_cursor(connection, cursors, collection)

    def origin(self, collection: str) -> Origin | None:
        """Who a collection was read as when it was last complete."""
        origins = self._schema.tables.origins
        if origins.name in self._missing:
            return None
        with self._asking() as connection:
            return read_origin(connection, origins, collection)

    def related_hashes(self, table: RelatedTable) -> Mapping[str, bytes]:
        """By key, the hash of each row of a table of metadata."""
        if self._schema.tables.related.name in self._missing:
            return {}
        with self._looking() as connection:
            return related_hashes(connection, self._schema.tables, table)

    def collections(self) -> list[str]:
        """Those in the ledger or the quarantine."""
        with self._looking() as connection:
            return recorded_collections(connection, self._naming_assets())

    def _naming_assets(self) -> list[Table]:
        """The books that are there and that name assets."""
        tables = (self._schema.tables.ledger, self._schema.tables.quarantine)
        return [table for table in tables if table.name not in self._missing]

    def _planned(self, connection: Connection, standing: Standing) -> Planned:
        schema = self._schema
        prepared = preparation(standing.relations, schema)
        statements = printed([*standing.extension.steps, *prepared.steps])
        if prepared.is_first:
            first = _first(statements, schema.mapping, schema.database.advice())
            return replace(first, refusal=prepared.foreign)
        self._reread = prepared.reread
        fixed = {table.name for table in schema.tables.metadata.tables.values()}
        self._missing = fixed - standing.relations.columns.keys()
        there = {key: entry for key, entry in schema.catalogue.items() if entry.table not in prepared.lost}
        schema.catalogue = Catalogue(there)
        due = [entry for entry in schema.catalogue.values() if is_index_due(connection, schema, entry)]
        advice = [*index_advice(connection, schema, self._memory_limit_mb)]
        return Planned(
            self.known,
            self.asset_ids,
            statements=statements,
            indexes=[planned_index(connection, schema, entry, self._memory_limit_mb) for entry in due],
            notes=[
                *schema.database.advice(),
                *not_indexed(schema.catalogue, schema.mapping),
                *unmatched(connection, schema),
                *(
                    f"{entry.table}: its index is dropped and built anew as the mapping says; assets with "
                    f"{entry.modality} features in quarantine are read again"
                    for entry in prepared.reindexed
                ),
                *loss_notes(prepared),
                *_unmade(schema.mapping, schema.catalogue),
            ],
            related_hashes=self.related_hashes,
            cursor=self.cursor,
            origin=self.origin,
            averages=read_averages(connection, schema, sum(each.rows for each in advice)),
            collections=self.collections,
            vector_counts=count_vectors(connection, schema, {name for _, name, _ in schema.catalogue}),
            reshapes=prepared.reshapes,
            vector_kinds=[vector_kind(entry) for modality in MODALITIES for entry in schema.catalogue.of(modality)],
            index_advice=advice,
            refusal=prepared.foreign,
        )

    @contextmanager
    def _looking(self) -> Iterator[Connection]:
        with self._server.translated(), self._begin(READ_ONLY) as connection:
            yield connection

    @contextmanager
    def _asking(self) -> Iterator[Connection]:
        """For one statement."""
        with self._server.translated(), self._begin(READ_ONLY, is_whole=True) as connection:
            yield connection


def nothing_yet(name: str, mapping: SchemaMapping) -> Planned:
    """For a server that has never run."""
    return _first(printed(first_steps(name, mapping)), mapping)


def _first(statements: Sequence[str], mapping: SchemaMapping, advice: Iterable[str] = ()) -> Planned:
    """Of a schema into which nothing has been synced yet."""
    return Planned(
        lambda _, __: {},
        lambda _: (),
        statements=statements,
        notes=[*advice, *_unmade(mapping, Catalogue({}))],
    )


def _unmade(mapping: SchemaMapping, catalogue: Catalogue) -> Iterator[str]:
    for modality in MODALITIES:
        for name in mapping.modality(modality).vectors:
            if not catalogue.generations(modality, name):
                yield f"table, view and function of the {modality} vectors {name} are made when the first one arrives"
    if not catalogue:
        yield "table, view and function of every other named vector are made when the first one arrives"


# What is not done as the configuration says, and what to change.


def not_indexed(catalogue: Catalogue, mapping: SchemaMapping) -> Iterator[str]:
    """A sentence for each table whose vectors should have an index that cannot be built."""
    for modality in MODALITIES:
        for entry in catalogue.live(modality):
            mapped = mapping.vector(modality, entry.vector_name)
            asked = mapped_storage(entry.storage.column_type, entry.storage.dimension, mapped)
            if mapped.index != "none" and (why := why_not_indexable(asked)):
                yield _not_indexed(entry, asked, why)


def _not_indexed(entry: VectorEntry, storage: VectorStorage, why: str) -> str:
    key = f"modalities.{entry.modality}.vectors.{entry.vector_name}"
    advice = f"{entry.table}: no {storage.index} index is built, since {why}: every search reads the whole table"
    if better := smaller_index(storage):
        return f"{advice}. {key}.quantization: {better.quantization} has one"
    return f"{advice}. {key}.index: none says that this is meant"


def index_advice(connection: Connection, schema: SyncSchema, memory_limit_mb: int) -> Iterator[IndexAdvice]:
    """Of each named vector that has rows: what the index that it is to have takes, and what would be better."""
    for modality in MODALITIES:
        for entry in schema.catalogue.live(modality):
            rows, storage = count_rows(connection, schema, entry), schema.desired_storage(entry)
            if rows:
                mapped = schema.mapping.vector(modality, entry.vector_name)
                advice = advised(storage, mapped.index, rows, memory_limit_mb)
                yield IndexAdvice(
                    entry.table,
                    entry.vector_name,
                    rows,
                    vector_kind(entry)[2],
                    storage.index_words,
                    index_bytes(storage, rows),
                    build_seconds(storage, rows, memory_limit_mb),
                    fine=advice is None,
                    advice=advice or "fine",
                )


def unmatched(connection: Connection, schema: SyncSchema) -> Iterator[str]:
    """A sentence for each mapped column without a single value, and each mapped named vector without a table, where
    there are features of the modality."""
    stored = columns_of(connection, schema.name, (table.name for table in schema.features.values()))
    for modality in MODALITIES:
        table, mapping = schema.features[modality], schema.mapping.modality(modality)
        place = sql.Identifier(schema.name, table.name)
        if table.name not in stored or not _any(connection, place, "feature_id"):
            continue
        for name, column in mapping.columns.items():
            if name in stored[table.name] and not _any(connection, place, name):
                yield f"modalities.{modality}.columns.{name}: {column.path} is in no {modality} feature that is stored"
        names = schema.catalogue.named(modality)
        for name in mapping.vectors.keys() - names.keys() if names else ():
            near = closest(name, names)
            yield f"modalities.{modality}.vectors.{name}: no {modality} feature has a vector of this name{near}"


def _any(connection: Connection, table: sql.Identifier, column: str) -> bool:
    """Whether a row has a value in a column. Where none has, every row is looked at."""
    query = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {} IS NOT NULL)").format(table, sql.Identifier(column))
    row = driver_of(connection).execute(query).fetchone()
    return bool(row and row[0])
