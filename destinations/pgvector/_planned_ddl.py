"""The statements that preparing a schema would define something with, in its order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sqlalchemy import Connection, MetaData, Table, inspect

from vectorferry.connector import MODALITIES, Modality, SchemaMapping

from .._postgres import add_column, statements_to_create
from ._extension import CREATE_EXTENSION, is_to_be_enabled
from ._schema import SyncTables
from ._tables import SyncSchema, feature_tables

__all__ = ["first_statements", "planned_statements"]


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
