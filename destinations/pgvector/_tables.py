"""Making and extending tables, views and functions; nothing is written when nothing is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Column, Connection, Table, insert, inspect, select, text, update

from vectorferry.connector.plugin import (
    MODALITIES,
    ConfigurationError,
    DestinationError,
    Distrusted,
    Modality,
    ModalityMapping,
    SchemaMapping,
    Storage,
)
from vectorferry.destinations.pgvector._columns import Evolution
from vectorferry.destinations.pgvector._database import is_to_be_enabled, missing_rights
from vectorferry.destinations.pgvector._grants import copy_row_security
from vectorferry.destinations.pgvector._views import Shown, layer_digest, layer_exists, refresh_layer

from .._postgres import add_column, create_missing, driver_of, forget_cursors, lacking_columns, lock_ddl, why_refused
from ._catalogue import Catalogue, Layer, VectorEntry, VectorKey, catalogue_row, names_exist, read_catalogue
from ._database import VectorDatabase
from ._grants import copy_grants
from ._schema import FEATURE_KEY, SyncTables, feature_table, vector_table
from ._storage import VectorLayout, layout_of

__all__ = ["Lookup", "SyncSchema", "feature_tables"]


@dataclass(frozen=True, slots=True)
class Lookup:
    """An index on one column, by which views and searches find rows; no load needs it."""

    table: Table
    name: str
    column: str


class SyncSchema:
    """The schema of one sync: its fixed tables, its feature tables, and the catalogue of its named vectors."""

    def __init__(self, database: VectorDatabase, schema: str, mapping: SchemaMapping) -> None:
        self.database = database
        self.name = schema
        self.mapping = mapping
        self.tables = SyncTables(schema)
        self.features = feature_tables(schema, mapping)
        self.catalogue = Catalogue({})
        self.distrusted = Distrusted()

    @property
    def place(self) -> tuple[str, ...]:
        """What the locks of its collections are part of."""
        return "pgvector", self.name

    @property
    def evolution(self) -> Evolution:
        """What brings the columns to the mapping."""
        return Evolution(self.name, self.tables, self.features, self.mapping, self.catalogue)

    def prepare(self) -> None:
        """Make the schema and its tables, add columns, bring views and functions up to the mapping."""
        with self.database.plain_transaction() as connection:
            is_to_be_enabled(connection, self.database.location)
            if why := self.why_refused(connection):
                raise DestinationError(why)
        self.database.ensure_extension()
        with self.database.transaction() as connection:
            lock_ddl(connection, self.name)
            features = (table.metadata for table in self.features.values())
            create_missing(connection, self.name, self.tables.metadata, *features)
            for column in self.later_columns(connection):
                _add_column(connection, column.table, column.name)
            for statement in self.new_keys(connection):
                connection.execute(text(statement))
            self._record_table_names(connection)
            self.catalogue = self._read_catalogue(connection)
            with self.evolution.carried_out(connection):
                self._apply_mapping(connection)

    def why_refused(self, connection: Connection) -> str | None:
        """Why this user cannot sync into it, and what helps."""
        tables = [*self.tables.metadata.tables.values(), *self.features.values()]
        return why_refused(connection, self.name, tables, self.database.location, missing_rights(connection))

    def exists(self) -> bool:
        """Whether a sync has ever prepared this schema."""
        with self.database.plain_transaction() as connection:
            return inspect(connection).has_table(self.tables.ledger.name, schema=self.name)

    def load(self) -> None:
        """Take table names and catalogue as the last sync left them, without changing anything."""
        with self.database.transaction() as connection:
            held = self._table_names(connection)
            self.mapping = SchemaMapping(**{name: ModalityMapping(table=table) for name, table in held.items()})
            self.features = feature_tables(self.name, self.mapping)
            self.catalogue = self._read_catalogue(connection)

    def ensure_vectors(self, layouts: Mapping[VectorKey, VectorLayout]) -> None:
        """Make table, view and function for the named vectors that are new, and for new dimensions of old ones."""
        # By name; of one name the dimension that comes first stays first.
        missing = sorted((key for key in layouts if not self._takes(key)), key=lambda key: key[:2])
        if not missing:
            return
        before = self.catalogue
        try:
            with self.database.transaction() as connection:
                lock_ddl(connection, self.name)
                self.catalogue = self._read_catalogue(connection)
                for key in missing:
                    if not self._takes(key):
                        self._add_generation(connection, key, layouts[key])
        except BaseException:
            self.catalogue = before  # what was rolled back is not there
            raise

    def read_again(self, connection: Connection) -> None:
        """Take the catalogue as it is now: others may have added to it, or switched a view, since it was read."""
        self.catalogue = self._read_catalogue(connection)

    def _takes(self, key: VectorKey) -> bool:
        """Whether there is a table for such vectors, and not a retired one."""
        return key in self.catalogue and self.catalogue[key].state != "retired"

    def vector_table(self, entry: VectorEntry) -> Table:
        """The table of a catalogue entry."""
        return vector_table(self.name, entry.table, entry.layout)

    def lookups(self) -> Iterator[Lookup]:
        """What finds features by id and by key, and vectors by key; a retired generation has what it had."""
        for table in self.features.values():
            for column in ("feature_id", FEATURE_KEY):
                # No view of a named vector can have a name that begins like this.
                yield Lookup(table, f"_sync_{table.name}_{column}", column)
        for entry in self.catalogue.values():
            if entry.state != "retired":
                yield Lookup(self.vector_table(entry), entry.key_index, FEATURE_KEY)

    def later_columns(self, connection: Connection) -> list[Column[Any]]:
        """The columns that the sync's own tables lack, of tables that are there."""
        return lacking_columns(connection, self.tables.later)

    def new_keys(self, connection: Connection) -> list[str]:
        """The statement that lets the catalogue of a schema of the first versions have several generations."""
        vectors, there = self.tables.vectors, inspect(connection)
        if not there.has_table(vectors.name, schema=self.name):
            return []
        key, wanted = there.get_pk_constraint(vectors.name, schema=self.name), vectors.primary_key.columns.keys()
        if list(key["constrained_columns"]) == list(wanted):
            return []
        quote = connection.dialect.identifier_preparer
        return [
            f"ALTER TABLE {quote.format_table(vectors)} DROP CONSTRAINT {quote.quote(str(key['name']))}, "
            f"ADD PRIMARY KEY ({', '.join(map(quote.quote, wanted))})"
        ]

    def _read_catalogue(self, connection: Connection) -> Catalogue:
        bases = {modality: self.mapping.table(modality) for modality in MODALITIES}
        return read_catalogue(connection, self.tables, bases)

    def _table_names(self, connection: Connection) -> dict[str, str]:
        held = self.tables.modalities.c
        return {row.modality: row.table_name for row in connection.execute(select(held.modality, held.table_name))}

    def unrecorded_tables(self, connection: Connection) -> list[Modality]:
        """The modalities whose table the schema has not written down yet. Raises `ConfigurationError` when it has the
        features of one in another table than the mapping says."""
        held = self._table_names(connection)
        for modality in MODALITIES:
            if held.get(modality, self.mapping.table(modality)) != self.mapping.table(modality):
                raise ConfigurationError(
                    f"modalities.{modality}.table: schema {self.name} already has its {modality} features in the table "
                    f"{held[modality]}. Set it to {held[modality]}, or sync into another `schema`."
                )
        return [modality for modality in MODALITIES if modality not in held]

    def wanted_layout(self, entry: VectorEntry) -> VectorLayout:
        """How the mapping wants a generation to be stored and indexed. Raises `ConfigurationError` for another column
        type than the one that it has. A retired one stays as it is."""
        mapping = self.mapping.vector(entry.modality, entry.vector_name)
        held = entry.layout
        if entry.state == "retired":
            return held
        is_of_same_kind = (mapping.storage == "sparsevec") == (held.storage == "sparsevec")
        if mapping.storage not in (None, held.storage) and is_of_same_kind:
            raise ConfigurationError(
                f"modalities.{entry.modality}.vectors.{entry.vector_name}.storage: table {self.name}.{entry.table} "
                f"already stores {held.storage}. Set it to {held.storage}, or sync into another `schema`."
            )
        return layout_of(held.storage, held.dimension, mapping)

    def layer_is_due(self, connection: Connection, entry: VectorEntry) -> bool:
        """Whether a view or a function of a generation is missing, or older than the mapping."""
        return any(self._is_due(connection, shown, digest) for shown, digest in self._layers(entry))

    def _layers(self, entry: VectorEntry) -> Iterator[tuple[Shown, str]]:
        """What shows a generation, each with the digest of what it was last made of."""
        if entry.state == "current":
            yield self.plainly_shown(entry), entry.sql_digest
        if entry.own_layer:
            yield Shown(entry.own_layer, entry, self.mapping.columns(entry.modality), {}), entry.own_digest

    def plainly_shown(self, entry: VectorEntry) -> Shown:
        """A current generation as the plain view and function show it."""
        return Shown(entry.plain_layer, entry, self.mapping.columns(entry.modality), self._routes(entry))

    def _routes(self, current: VectorEntry) -> Mapping[int, tuple[str, Storage]]:
        """By dimension: the views of all generations that the plain function can ask, and how these store vectors.
        Nothing stands for sparse vectors: they have one dimension, and are asked for in another way."""
        entries = self.catalogue.generations(current.modality, current.vector_name)
        return {
            entry.layout.dimension: (entry.own_layer.view, entry.layout.storage)
            for entry in entries
            if entry.own_layer and "sparsevec" not in (entry.layout.storage, current.layout.storage)
        }

    def _is_due(self, connection: Connection, shown: Shown, digest: str) -> bool:
        extension = self.database.extension_schema
        return digest != layer_digest(shown, extension) or not layer_exists(
            driver_of(connection), self.name, shown.layer
        )

    def _record_table_names(self, connection: Connection) -> None:
        for modality in self.unrecorded_tables(connection):
            wanted = self.mapping.table(modality)
            connection.execute(insert(self.tables.modalities).values(modality=modality.value, table_name=wanted))

    def _add_generation(self, connection: Connection, key: VectorKey, layout: VectorLayout) -> None:
        if key in self.catalogue:
            self._empty(connection, self.catalogue[key])
        else:
            entry = self.catalogue.new_entry(*key[:2], self.mapping.table(key[0]), layout, self._exists(connection))
            self.vector_table(entry).metadata.create_all(connection)
            for earlier in self.catalogue.generations(*key[:2])[-1:]:
                copy_row_security(driver_of(connection), self.name, earlier.table, entry.table)
                copy_grants(driver_of(connection), self.name, "TABLE", earlier.table, entry.table)
            connection.execute(insert(self.tables.vectors).values(**catalogue_row(entry)))
        self.catalogue = self._read_catalogue(connection)
        self.refresh_layers(connection, *key[:2])

    def _empty(self, connection: Connection, retired: VectorEntry) -> None:
        """Begin a retired generation anew, as the newest."""
        table = connection.dialect.identifier_preparer.format_table(self.vector_table(retired))
        connection.execute(text(f"TRUNCATE {table}"))
        connection.execute(text(self.drop_index(connection, retired)))
        newest = self.catalogue.generations(retired.modality, retired.vector_name)[-1]
        begun = replace(retired, state="filling", generation=newest.generation + 1)
        self.update_entry(connection, replace(begun, layout=self.wanted_layout(begun)))

    def _exists(self, connection: Connection) -> Callable[[frozenset[str]], bool]:
        return lambda names: names_exist(connection, self.name, names)

    def refresh_layers(self, connection: Connection, modality: Modality, vector_name: str) -> None:
        """Bring the views and functions of a named vector up to its generations and the mapping. Where there are
        several generations, each gets a view and a function of its own."""
        generations = self.catalogue.generations(modality, vector_name)
        for entry in generations:
            if len(generations) > 1 and not entry.own:
                self.update_entry(connection, self.catalogue.with_own_layer(entry, self._exists(connection)))
                self.catalogue = self._read_catalogue(connection)
        for entry in self.catalogue.generations(modality, vector_name):
            self._refresh(connection, entry)
        self.catalogue = self._read_catalogue(connection)

    def _refresh(self, connection: Connection, entry: VectorEntry) -> None:
        driver, extension = driver_of(connection), self.database.extension_schema
        made: dict[Layer, str] = {}
        # The own layer first: the plain function asks it.
        for shown, digest in reversed([*self._layers(entry)]):
            if self._is_due(connection, shown, digest):
                is_new = not digest and shown.layer == entry.own_layer
                refresh_layer(driver, self.name, extension, shown)
                if is_new:
                    copy_grants(driver, self.name, "TABLE", entry.plain_layer.view, shown.layer.view)
                    copy_grants(driver, self.name, "FUNCTION", entry.plain_layer.function, shown.layer.function)
            made[shown.layer] = layer_digest(shown, extension)
        own = entry.own_layer and made[entry.own_layer]
        refreshed = replace(entry, sql_digest=made.get(entry.plain_layer, ""), own_digest=own or "")
        if refreshed != entry:
            self.update_entry(connection, refreshed)

    def _apply_mapping(self, connection: Connection) -> None:
        for entry in self.catalogue.values():
            wanted = self.wanted_layout(entry)
            if wanted != entry.layout:
                connection.execute(text(self.drop_index(connection, entry)))
                self.update_entry(connection, replace(entry, layout=wanted))
                self._forget_refused(connection, entry.modality)
        self.catalogue = self._read_catalogue(connection)
        for modality, vector_name in sorted({key[:2] for key in self.catalogue}):
            self.refresh_layers(connection, modality, vector_name)

    def _forget_refused(self, connection: Connection, modality: Modality) -> None:
        """Let the next run read assets again whose vectors did not fit the layout that has just changed."""
        of_refused = self.tables.has_set_aside([modality])
        connection.execute(update(self.tables.ledger).where(of_refused).values(fingerprint=""))
        forget_cursors(connection, self.tables.cursors)

    def drop_index(self, connection: Connection, entry: VectorEntry) -> str:
        """The statement that drops the index of a named vector."""
        quote = connection.dialect.identifier_preparer.quote
        return f"DROP INDEX IF EXISTS {quote(self.name)}.{quote(entry.index)}"

    def update_entry(self, connection: Connection, entry: VectorEntry) -> None:
        """Write down what the catalogue says of a generation now."""
        vectors = self.tables.vectors
        connection.execute(
            update(vectors)
            .where(
                vectors.c.modality == entry.modality.value,
                vectors.c.vector_name == entry.vector_name,
                vectors.c.dimension == entry.layout.dimension,
            )
            .values(**catalogue_row(entry))
        )


def feature_tables(schema: str, mapping: SchemaMapping) -> dict[Modality, Table]:
    """The tables of all modalities."""
    return {
        modality: feature_table(schema, mapping.table(modality), mapping.columns(modality)) for modality in MODALITIES
    }


def _add_column(connection: Connection, table: Table, name: str) -> None:
    connection.execute(text(add_column(connection.dialect, table, name)))
