"""Making and extending tables, views and functions; nothing is written when nothing is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Table, delete, insert, inspect, select, text, update

from connector import (
    MODALITIES,
    ColumnMapping,
    ConfigurationError,
    Distrusted,
    Modality,
    ModalityMapping,
    SchemaMapping,
)

from .._postgres import create_missing, driver_of, lock_ddl
from ._catalogue import Catalogue, VectorEntry, names_exist, read_catalogue
from ._columns import add_column, missing_columns
from ._database import VectorDatabase
from ._schema import SyncTables, feature_table, vector_table
from ._sql_layer import layer_digest, layer_exists, refresh_layer
from ._storage import VectorLayout, layout_of

__all__ = ["SyncSchema", "feature_tables"]


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

    def prepare(self) -> None:
        """Make the schema and its tables, add columns, bring views and functions up to the mapping."""
        self.database.ensure_extension()
        with self.database.transaction() as connection:
            lock_ddl(connection, self.name)
            features = (table.metadata for table in self.features.values())
            create_missing(connection, self.name, self.tables.metadata, *features)
            self._extend_ledger(connection)
            self._record_table_names(connection)
            for modality in sorted(MODALITIES):  # in the order in which writers visit the tables
                _extend(connection, self.features[modality], self.mapping.columns(modality))
            self.catalogue = self._read_catalogue(connection)
            self._apply_mapping(connection)

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

    def ensure_vectors(self, layouts: Mapping[tuple[Modality, str], VectorLayout]) -> None:
        """Make table, view and function for the named vectors that are new."""
        missing = sorted(key for key in layouts if key not in self.catalogue)
        if not missing:
            return
        with self.database.transaction() as connection:
            lock_ddl(connection, self.name)
            self.catalogue = self._read_catalogue(connection)
            for modality, vector_name in missing:
                if (modality, vector_name) not in self.catalogue:
                    self._add_vector(connection, modality, vector_name, layouts[modality, vector_name])
                    self.catalogue = self._read_catalogue(connection)

    def vector_table(self, entry: VectorEntry) -> Table:
        """The table of a catalogue entry."""
        return vector_table(self.name, entry.table, entry.layout)

    def _extend_ledger(self, connection: Connection) -> None:
        """Add the column that schemas of the first versions lack: without it their rows are still right."""
        ledger = self.tables.ledger
        held = {column["name"] for column in inspect(connection).get_columns(ledger.name, schema=self.name)}
        if ledger.c.contents.name not in held:
            _add_column(connection, ledger, ledger.c.contents.name)

    def _read_catalogue(self, connection: Connection) -> Catalogue:
        bases = {modality: self.mapping.table(modality) for modality in MODALITIES}
        return read_catalogue(connection, self.tables, bases)

    def _table_names(self, connection: Connection) -> dict[str, str]:
        modalities = self.tables.modalities
        return {row.modality: row.table_name for row in connection.execute(select(modalities))}

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
        """How the mapping wants a named vector to be stored and indexed. Raises `ConfigurationError` for another column
        type than the one that it has."""
        mapping = self.mapping.vector(entry.modality, entry.vector_name)
        held = entry.layout
        if mapping.storage not in (None, held.storage):
            raise ConfigurationError(
                f"modalities.{entry.modality}.vectors.{entry.vector_name}.storage: table {self.name}.{entry.table} "
                f"already stores {held.storage}. Set it to {held.storage}, or sync into another `schema`."
            )
        return layout_of(held.storage, held.dimension, mapping)

    def layer_is_due(self, connection: Connection, entry: VectorEntry) -> bool:
        """Whether the view and the function of a named vector are missing, or older than the mapping."""
        digest = self._digest(entry)
        return digest != entry.sql_digest or not layer_exists(driver_of(connection), self.name, entry)

    def _digest(self, entry: VectorEntry) -> str:
        return layer_digest(entry, self.mapping.columns(entry.modality), self.database.extension_schema)

    def _record_table_names(self, connection: Connection) -> None:
        for modality in self.unrecorded_tables(connection):
            wanted = self.mapping.table(modality)
            connection.execute(insert(self.tables.modalities).values(modality=modality.value, table_name=wanted))

    def _add_vector(self, connection: Connection, modality: Modality, vector_name: str, layout: VectorLayout) -> None:
        entry = self.catalogue.new_entry(
            modality,
            vector_name,
            self.mapping.table(modality),
            layout,
            lambda names: names_exist(connection, self.name, names),
        )
        self.vector_table(entry).metadata.create_all(connection)
        connection.execute(insert(self.tables.vectors).values(**_catalogue_row(entry)))
        self._refresh(connection, entry)

    def _refresh(self, connection: Connection, entry: VectorEntry) -> None:
        if self.layer_is_due(connection, entry):
            columns, extension = self.mapping.columns(entry.modality), self.database.extension_schema
            refresh_layer(driver_of(connection), self.name, extension, entry, columns)
            self._update_row(connection, replace(entry, sql_digest=self._digest(entry)))

    def _apply_mapping(self, connection: Connection) -> None:
        for entry in self.catalogue.values():
            wanted = self.wanted_layout(entry)
            changed = replace(entry, layout=wanted)
            if wanted != entry.layout:
                connection.execute(text(self.drop_index(connection, entry)))
                self._update_row(connection, changed)
                self._forget_refused(connection, entry.modality)
            self._refresh(connection, changed)
        self.catalogue = self._read_catalogue(connection)

    def _forget_refused(self, connection: Connection, modality: Modality) -> None:
        """Let the next run read assets again whose vectors did not fit the layout that has just changed."""
        connection.execute(delete(self.tables.ledger).where(self.tables.has_set_aside([modality])))

    def drop_index(self, connection: Connection, entry: VectorEntry) -> str:
        """The statement that drops the index of a named vector."""
        quote = connection.dialect.identifier_preparer.quote
        return f"DROP INDEX IF EXISTS {quote(self.name)}.{quote(entry.index)}"

    def _update_row(self, connection: Connection, entry: VectorEntry) -> None:
        vectors = self.tables.vectors
        connection.execute(
            update(vectors)
            .where(vectors.c.modality == entry.modality.value, vectors.c.vector_name == entry.vector_name)
            .values(**_catalogue_row(entry))
        )


def _catalogue_row(entry: VectorEntry) -> dict[str, Any]:
    return {
        "modality": entry.modality.value,
        "vector_name": entry.vector_name,
        "identifier": entry.identifier,
        "storage": entry.layout.storage,
        "dimension": entry.layout.dimension,
        "metric": entry.layout.metric,
        "index_method": entry.layout.index,
        "m": entry.layout.m,
        "ef_construction": entry.layout.ef_construction,
        "sql_digest": entry.sql_digest,
    }


def feature_tables(schema: str, mapping: SchemaMapping) -> dict[Modality, Table]:
    """The tables of all modalities."""
    return {
        modality: feature_table(schema, mapping.table(modality), mapping.columns(modality)) for modality in MODALITIES
    }


def _extend(connection: Connection, table: Table, columns: Mapping[str, ColumnMapping]) -> None:
    for name in list(missing_columns(connection, table, columns)):
        _add_column(connection, table, name)


def _add_column(connection: Connection, table: Table, name: str) -> None:
    connection.execute(text(add_column(connection.dialect, table, name)))
