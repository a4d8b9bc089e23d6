"""The schema of one sync: its tables, as the mapping says, and the catalogue of its named vectors, as last read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from psycopg import sql
from sqlalchemy import ClauseElement, Connection, Table, select, text

from vectorferry.connector.plugin import (
    MODALITIES,
    ColumnMapping,
    ConfigurationError,
    Modality,
    ModalityMapping,
    SchemaMapping,
)
from vectorferry.destinations._postgres import Relations, answers, check_harmless, check_owned, fixed
from vectorferry.destinations.pgvector._catalogue import Catalogue, VectorEntry, catalogue_of, stored_entries
from vectorferry.destinations.pgvector._database import VectorDatabase
from vectorferry.destinations.pgvector._storage import VectorStorage, storage_for
from vectorferry.destinations.pgvector._tables import (
    FEATURE_KEY,
    FIXED_FEATURE_COLUMNS,
    SyncTables,
    feature_table,
    vector_table,
)

Recorded: TypeAlias = Mapping[Modality, tuple[str, Mapping[str, ColumnMapping]]]
"""By modality: its table and the columns that were mapped when the schema was prepared last."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """An index by which views and searches find rows; no load needs it. `key` is its column (None: an expression),
    `method` what stands behind the table."""

    table: Table
    name: str
    method: sql.Composable
    access: str = "btree"
    key: str | None = None


class SyncSchema:
    """The schema of one sync: its fixed tables, its feature tables, and the catalogue of its named vectors."""

    def __init__(self, database: VectorDatabase, schema: str, mapping: SchemaMapping) -> None:
        self.database = database
        self.name = schema
        self.mapping = mapping
        self.tables = SyncTables(schema)
        self.features = feature_tables(schema, mapping)
        self.catalogue = Catalogue({})

    @property
    def place(self) -> tuple[str, ...]:
        """What the locks of its collections are part of."""
        return "pgvector", self.name

    def tables_made_first(self) -> list[str]:
        """The fixed tables, and those of features."""
        return [table.name for table in (*self.tables.metadata.tables.values(), *self.features.values())]

    def check_owned(self, connection: Connection) -> None:
        """Raise `DestinationError` when a table that is there is not ours to write to."""
        check_owned(connection, self.name, self.written_tables())

    def written_tables(self) -> Iterator[str]:
        """The tables that a sync writes to."""
        yield from self.tables_made_first()
        yield from (entry.table for entry in self.catalogue.values())

    def load(self, connection: Connection) -> bool:
        """Take table names and catalogue as the last sync left them, without changing anything; whether there has been
        one. Raises `ConfigurationError` when an early version made its tables."""
        relations = Relations(connection, self.name)
        relations.read(table.name for table in self.tables.metadata.tables.values())
        if (books := self.read_books(relations)) is None:
            return False
        recorded, rows = books
        self.mapping = SchemaMapping(**{name: ModalityMapping(table=table) for name, (table, _) in recorded.items()})
        self.features = feature_tables(self.name, self.mapping)
        self.catalogue = self.catalogue_in(rows)
        tables = [entry.table for entry in self.catalogue.values()]
        relations.read([*tables, *(table for table, _ in recorded.values())])
        relations.check_layout({table: FIXED_FEATURE_COLUMNS for table, _ in recorded.values()})
        relations.check_harmless(tables)
        return True

    def read_books(self, relations: Relations) -> tuple[Recorded, Sequence[Any]] | None:
        """What was prepared last, and the rows of the catalogue; None where nothing ever was. `relations` are to know
        of the fixed tables. Raises `ConfigurationError` when an early version made these, and when somebody has dropped
        one that says what is in all others."""
        if self.tables.ledger.name not in relations.columns and not self._has_unnamed_vectors(relations):
            return None
        relations.check_layout({table.name: table.columns.keys() for table in self.tables.metadata.tables.values()})
        for table in (self.tables.vectors, self.tables.modalities):
            if table.name not in relations.columns:
                raise ConfigurationError(
                    f"the table {self.name}.{table.name} was dropped, and no sync makes it again: it says what the "
                    "other tables hold. Restore it from a backup, or sync into another `schema`, or drop this one and "
                    f"sync anew: DROP SCHEMA {sql.Identifier(self.name).as_string()} CASCADE;"
                )
        modalities = select(*(self.tables.modalities.c[name] for name in ("modality", "table_name", "columns")))
        recorded, entries = answers(relations.connection, modalities, stored_entries(self.tables))
        return {
            Modality(modality): (
                table,
                {name: ColumnMapping.model_validate(each) for name, each in (columns or {}).items()},
            )
            for modality, table, columns in recorded
        }, entries

    def _has_unnamed_vectors(self, relations: Relations) -> bool:
        """Whether there are tables of vectors without a catalogue of them. New ones would be made beside them, and
        whoever asks the views would be shown the old ones for ever."""
        if not relations.columns or self.tables.vectors.name in relations.columns:
            return False
        (found,) = answers(relations.connection, _VECTOR_TABLES.bindparams(schema=self.name))
        return bool(found)

    def catch_up(self, *more: ClauseElement) -> list[list[Any]]:
        """Take the catalogue as it is now, and in the same message ask `more`, which is answered."""
        before = {entry.table for entry in self.catalogue.values()}
        with self.database.transaction(is_whole=True) as connection:
            relations = Relations(connection, self.name)
            entries, *others = relations.read(before, stored_entries(self.tables), *more)
        catalogue = self.catalogue_in(entries)
        tables = {entry.table for entry in catalogue.values()}
        relations.check_harmless(tables)
        if new := tables - before:
            with self.database.transaction() as connection:
                check_harmless(connection, self.name, new)
        self.catalogue = catalogue
        return others

    def read_catalogue(self, connection: Connection) -> None:
        """Take the catalogue as it is now: others may have added to it, or switched a view, since it was read."""
        self.catalogue = self.stored_catalogue(connection)

    def stored_catalogue(self, connection: Connection) -> Catalogue:
        """The catalogue as it is now."""
        relations, before = Relations(connection, self.name), {entry.table for entry in self.catalogue.values()}
        (rows,) = relations.read(before, stored_entries(self.tables))
        catalogue = self.catalogue_in(rows)
        tables = {entry.table for entry in catalogue.values()}
        if not tables <= before:
            relations.read(tables - before)
        relations.check_harmless(tables)
        return catalogue

    def catalogue_in(self, rows: Iterable[Any]) -> Catalogue:
        """The catalogue that consists of these rows."""
        return catalogue_of(rows, self.tables, {modality: self.mapping.table(modality) for modality in MODALITIES})

    def vector_table(self, entry: VectorEntry) -> Table:
        """The table of a catalogue entry."""
        return vector_table(self.name, entry.table, entry.storage, self.database.extension_schema)

    def lookups(self) -> Iterator[Lookup]:
        """What finds features by id and by key, and vectors by key; a retired generation has what it had."""
        for modality, table in self.features.items():
            for column in ("feature_id", FEATURE_KEY):
                # No view of a named vector can have a name that begins like this.
                yield Lookup(table, f"_sync_{table.name}_{column}", _on(column), key=column)
            yield from self.chosen_lookups(modality)
        for entry in self.catalogue.values():
            if entry.state != "retired":
                yield Lookup(self.vector_table(entry), entry.key_index, _on(FEATURE_KEY), key=FEATURE_KEY)

    def chosen_lookups(self, modality: Modality) -> Iterator[Lookup]:
        """What the mapping wants to filter a modality by, and to find its words by."""
        table, columns = self.features[modality], self.mapping.columns(modality)
        for name, column in columns.items():
            if column.index:
                access, method = _METHODS.get(column.type, ("btree", _ORDERED))
                yield _lookup(table, method.format(sql.Identifier(name)), access, name)
        if words := full_text(columns):
            yield _lookup(table, sql.SQL("USING gin (({}))").format(words), "gin", None)

    def desired_storage(self, entry: VectorEntry) -> VectorStorage:
        """How the mapping wants a generation to be stored and indexed. Raises `ConfigurationError` for another column
        type than the one that it has. A retired one stays as it is."""
        mapping = self.mapping.vector(entry.modality, entry.vector_name)
        stored = entry.storage
        if entry.state == "retired":
            return stored
        is_of_same_kind = (mapping.storage == "sparsevec") == (stored.column_type == "sparsevec")
        if mapping.storage not in (None, stored.column_type) and is_of_same_kind:
            raise ConfigurationError(
                f"modalities.{entry.modality}.vectors.{entry.vector_name}.storage: table {self.name}.{entry.table} "
                f"already stores {stored.column_type}. Set it to {stored.column_type}, or sync into another `schema`."
            )
        return storage_for(stored.column_type, stored.dimension, mapping)


_VECTOR_TABLES: Final = text("""
SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
WHERE n.nspname = :schema AND c.relkind = 'r' AND a.attname IN ('feature_key', 'vector_hash', 'embedding')
GROUP BY c.relname HAVING count(*) = 3 LIMIT 1
""")

CHOSEN_INDEX: Final = "_sync_by_"
"""How the names begin of those indexes that the mapping wants, and that go when it does not want them any more."""

_ORDERED: Final = sql.SQL("({})")
# A text can be longer than what fits into a page of a B-tree, of which a hash takes no notice.
_METHODS: Final[Mapping[str, tuple[str, sql.SQL]]] = {
    "text": ("hash", sql.SQL("USING hash ({})")),
    "jsonb": ("gin", sql.SQL("USING gin ({} jsonb_path_ops)")),
}


def _on(column: str) -> sql.Composable:
    return _ORDERED.format(sql.Identifier(column))


def _lookup(table: Table, method: sql.Composable, access: str, key: str | None) -> Lookup:
    """Named after what it is, so that one that is to be another is another."""
    digest = hashlib.blake2b(f"{table.name} {method.as_string()}".encode(), digest_size=8).hexdigest()
    return Lookup(table, f"{CHOSEN_INDEX}{digest}", method, access, key)


def full_text(columns: Mapping[str, ColumnMapping]) -> sql.Composable | None:
    """The words of all columns that are searched, each in its language, as Postgres makes them out."""
    words = [
        sql.SQL("to_tsvector({}, coalesce({}, ''))").format(_language(column.full_text), sql.Identifier(name))
        for name, column in columns.items()
        if column.full_text
    ]
    return sql.SQL(" || ").join(words) if words else None


def full_text_query(columns: Mapping[str, ColumnMapping], words: str) -> sql.Composable | None:
    """What the words of these columns are searched with, of an expression that gives what somebody typed."""
    languages = sorted({column.full_text for column in columns.values() if column.full_text})
    parts = [sql.SQL("websearch_to_tsquery({}, {})").format(_language(name), fixed(words)) for name in languages]
    return sql.SQL(" || ").join(parts) if parts else None


def _language(name: str) -> sql.Composable:
    return sql.SQL("{}::regconfig").format(sql.Literal(f"pg_catalog.{name}"))


def feature_tables(schema: str, mapping: SchemaMapping) -> dict[Modality, Table]:
    """The tables of all modalities."""
    return {
        modality: feature_table(schema, mapping.table(modality), mapping.columns(modality)) for modality in MODALITIES
    }
