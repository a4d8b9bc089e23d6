"""What a sync would find, make and change in its schema: looked up in transactions that cannot write."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from sqlalchemy import Connection, MetaData, Table, func, inspect, literal, select, text

from vectorferry.connector.plugin import (
    MODALITIES,
    Averages,
    Cursor,
    Known,
    Modality,
    Origin,
    Planned,
    RelatedTable,
    SchemaMapping,
)
from vectorferry.destinations._postgres import (
    PostgresServer,
    add_column,
    held_asset_ids,
    known_assets,
    looking,
    read_cursor,
    read_origin,
    statements_to_create,
    told_as,
)
from vectorferry.destinations.pgvector._advice import not_indexed, unmatched
from vectorferry.destinations.pgvector._catalogue import Catalogue, VectorEntry, read_catalogue
from vectorferry.destinations.pgvector._database import CREATE_EXTENSION, VectorDatabase, is_to_be_enabled
from vectorferry.destinations.pgvector._dimensions import count_vectors
from vectorferry.destinations.pgvector._indexes import is_index_due, planned_index
from vectorferry.destinations.pgvector._related import held_hashes
from vectorferry.destinations.pgvector._schema import SyncTables
from vectorferry.destinations.pgvector._stored import stored_collections
from vectorferry.destinations.pgvector._tables import SyncSchema, feature_tables

__all__ = ["SchemaOutlook", "nothing_yet"]


def read_averages(connection: Connection, schema: SyncSchema) -> Averages | None:
    """Counted rows, and the sizes of their tables as Postgres keeps them, indexes left out; None when there is no
    feature."""
    features = [*schema.features.values()]
    vectors = [schema.vector_table(entry) for modality in MODALITIES for entry in schema.catalogue.live(modality)]
    counted, assets = _rows(connection, features), _rows(connection, [schema.tables.assets])
    if not counted or not assets:
        return None
    size = sum(_bytes(connection, table) for table in (*features, *vectors))
    return Averages(counted / assets, 1 + _rows(connection, vectors) / counted, size / counted)


def _rows(connection: Connection, tables: Iterable[Table]) -> int:
    return sum(
        int(connection.execute(select(func.count()).select_from(table)).scalar_one())
        for table in tables
        if _oid(connection, table)
    )


def _bytes(connection: Connection, table: Table) -> int:
    oid = _oid(connection, table)
    return int(connection.execute(select(func.pg_table_size(literal(oid)))).scalar_one()) if oid else 0


def _oid(connection: Connection, table: Table) -> int | None:
    """None when there is no such table."""
    name = connection.dialect.identifier_preparer.format_table(table)
    found = connection.execute(text("SELECT CAST(to_regclass(:name) AS oid)"), {"name": name}).scalar()
    return None if found is None else int(found)


# The statements that preparing a schema would define something with, in its order.


def first_statements(name: str, mapping: SchemaMapping) -> list[str]:
    """Those for a server on which there is nothing yet."""
    return [
        CREATE_EXTENSION,
        *statements_to_create(None, name, *_metadata(SyncTables(name), feature_tables(name, mapping))),
    ]


def planned_statements(connection: Connection, schema: SyncSchema) -> list[str]:
    """Extension, schema, tables, columns, and the indexes that another layout drops; without the views and functions
    of named vectors. Raises what preparing would raise."""
    return [
        *([CREATE_EXTENSION] if is_to_be_enabled(connection, schema.database.location) else []),
        *statements_to_create(connection, schema.name, *_metadata(schema.tables, schema.features)),
        *_columns(connection, schema),
        *_dropped(connection, schema),
    ]


def _metadata(tables: SyncTables, features: Mapping[Modality, Table]) -> list[MetaData]:
    return [tables.metadata, *(table.metadata for table in features.values())]


def _columns(connection: Connection, schema: SyncSchema) -> Iterator[str]:
    """Of tables that are there: others are made with every column."""
    dialect = connection.dialect
    yield from (add_column(dialect, column.table, column.name) for column in schema.later_columns(connection))
    yield from schema.new_keys(connection)
    for modality in sorted(MODALITIES):
        table = schema.features[modality]
        if inspect(connection).has_table(table.name, schema=table.schema):
            yield from schema.evolution.planned(connection, modality)


def _dropped(connection: Connection, schema: SyncSchema) -> Iterator[str]:
    for entry in schema.catalogue.values():
        if schema.wanted_layout(entry) != entry.layout:
            yield schema.drop_index(connection, entry)


# What a sync would find, make and change in its schema: looked up in transactions that cannot write.


class SchemaOutlook:
    """A schema as `prepare` would leave it; `schema` has the mapping of the sync that is planned, and `memory_limit_mb`
    is the most memory that one index build may ask for."""

    def __init__(self, server: PostgresServer[VectorDatabase], schema: SyncSchema, memory_limit_mb: int) -> None:
        self._server = server
        self._schema = schema
        self._memory_limit_mb = memory_limit_mb
        self._has_ledger = False
        self._changed: frozenset[Modality] = frozenset()
        """Modalities of which a named vector gets another layout: what was refused under the old one is read again."""

    def planned(self) -> Planned:
        """Look at everything but single assets. Raises what preparing the schema would raise."""
        with self._looking() as connection:
            refusal = self._schema.why_refused(connection)
            with told_as(refusal):
                return replace(self._planned(connection), refusal=refusal)

    def known(self, collection: str, asset_ids: Sequence[str]) -> Mapping[str, Known]:
        """The ledger's entries, without fingerprints where preparing the schema would have assets read again."""
        if not self._has_ledger:
            return {}
        tables = self._schema.tables
        with self._looking() as connection:
            known = known_assets(connection, tables.ledger, collection, asset_ids)
            if not self._changed:
                return known
            again = known_assets(connection, tables.ledger, collection, asset_ids, tables.has_set_aside(self._changed))
        return {**known, **{asset_id: replace(entry, fingerprint="") for asset_id, entry in again.items()}}

    def asset_ids(self, collection: str) -> Iterator[str]:
        """Every asset of a collection in the ledger or the quarantine, streamed."""
        tables = self._schema.tables
        with self._looking() as connection:
            if self._has_ledger:
                yield from held_asset_ids(connection, (tables.ledger, tables.quarantine), collection)

    def cursor(self, collection: str) -> Cursor | None:
        """What was recorded, unless preparing the schema would have assets read again."""
        with self._looking() as connection:
            return None if self._changed else read_cursor(connection, self._schema.tables.cursors, collection)

    def origin(self, collection: str) -> Origin | None:
        """Who a collection was read as when it was last complete."""
        with self._looking() as connection:
            return read_origin(connection, self._schema.tables.origins, collection)

    def related_hashes(self, table: RelatedTable) -> Mapping[str, bytes]:
        """By key, the hash of each row of a table of metadata."""
        with self._looking() as connection:
            return held_hashes(connection, self._schema.tables, table)

    def collections(self) -> list[str]:
        """Those in the ledger or the quarantine."""
        with self._looking() as connection:
            return stored_collections(connection, self._schema) if self._has_ledger else []

    def _planned(self, connection: Connection) -> Planned:
        schema = self._schema
        self._read(connection)
        due = [entry for entry in schema.catalogue.values() if is_index_due(connection, schema, entry)]
        return Planned(
            self.known,
            self.asset_ids,
            statements=planned_statements(connection, schema),
            indexes=[planned_index(connection, schema, entry, self._memory_limit_mb) for entry in due],
            notes=[
                *schema.database.advice(),
                *not_indexed(schema.catalogue, schema.mapping),
                *unmatched(connection, schema),
                *self._changes(connection),
                *_unmade(schema.mapping, schema.catalogue),
            ],
            related_hashes=self.related_hashes,
            cursor=self.cursor,
            origin=self.origin,
            averages=read_averages(connection, schema) if self._has_ledger else None,
            collections=self.collections,
            vector_counts=count_vectors(connection, schema, {name for _, name, _ in schema.catalogue}),
            reshapes=bool(self._changed) or self._reshapes_columns(connection),
        )

    def _read(self, connection: Connection) -> None:
        tables, name = self._schema.tables, self._schema.name
        there = inspect(connection)
        self._has_ledger = there.has_table(tables.ledger.name, schema=name) and there.has_table(
            tables.quarantine.name, schema=name
        )
        if there.has_table(tables.modalities.name, schema=name):
            self._schema.unrecorded_tables(connection)
        if there.has_table(tables.vectors.name, schema=name):
            bases = {modality: self._schema.mapping.table(modality) for modality in MODALITIES}
            self._schema.catalogue = read_catalogue(connection, tables, bases)
        self._changed = frozenset(entry.modality for entry in self._changed_entries())

    def _reshapes_columns(self, connection: Connection) -> bool:
        there, schema = inspect(connection), self._schema
        tables = {modality: table.name for modality, table in schema.features.items()}
        made = [modality for modality, name in tables.items() if there.has_table(name, schema=schema.name)]
        return any(schema.evolution.reshapes(connection, modality) for modality in made)

    def _changed_entries(self) -> Iterator[VectorEntry]:
        yield from (e for e in self._schema.catalogue.values() if self._schema.wanted_layout(e) != e.layout)

    def _changes(self, connection: Connection) -> Iterator[str]:
        for entry in self._changed_entries():
            yield (
                f"{entry.table}: its index is dropped and built anew as the mapping says; assets with {entry.modality} "
                "features in quarantine are read again"
            )
        for entry in self._schema.catalogue.values():
            changed = replace(entry, layout=self._schema.wanted_layout(entry))
            if self._schema.layer_is_due(connection, changed):
                layer = entry.layer
                yield f"the view {layer.view} and the function {layer.function} are made, or made anew"

    @contextmanager
    def _looking(self) -> Iterator[Connection]:
        with self._server.translated(), looking(self._server.database) as connection:
            yield connection


def nothing_yet(name: str, mapping: SchemaMapping) -> Planned:
    """For a server that has never run."""
    return Planned(
        lambda _, __: {},
        lambda _: (),
        statements=first_statements(name, mapping),
        notes=[*_unmade(mapping, Catalogue({}))],
    )


def _unmade(mapping: SchemaMapping, catalogue: Catalogue) -> Iterator[str]:
    for modality in MODALITIES:
        for name in mapping.modality(modality).vectors:
            if not catalogue.generations(modality, name):
                yield f"table, view and function of the {modality} vectors {name} are made when the first one arrives"
    if not catalogue:
        yield "table, view and function of every other named vector are made when the first one arrives"
