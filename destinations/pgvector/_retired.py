"""The tables of named vectors listed, and dropped where no feature's value is in them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from psycopg import sql
from sqlalchemy import Connection, delete, func, select

from vectorferry.connector import MODALITIES, ConfigurationError, LockedError, VectorCount, VectorTable

from .._postgres import driver_of, lock_ddl, try_alone
from ._catalogue import Layer, VectorEntry
from ._dependants import dependants_of_function, dependants_of_relation
from ._functions import search_functions
from ._sql_layer import refresh_function
from ._superseded import is_not_superseded
from ._tables import SyncSchema

__all__ = ["count_vectors", "drop_tables", "list_tables"]


def list_tables(connection: Connection, schema: SyncSchema) -> list[VectorTable]:
    """Every generation of every named vector, counted."""
    return [_counted(connection, schema, entry) for modality in MODALITIES for entry in schema.catalogue.of(modality)]


def count_vectors(connection: Connection, schema: SyncSchema, vector_names: Collection[str]) -> list[VectorCount]:
    """Every generation that is not retired, counted, of those of these named vectors that have several."""
    return [
        _vector_count(connection, schema, entry)
        for modality in MODALITIES
        for name in schema.catalogue.named(modality)
        if name in vector_names and len(live := schema.catalogue.live_generations(modality, name)) > 1
        for entry in live
    ]


def _vector_count(connection: Connection, schema: SyncSchema, entry: VectorEntry) -> VectorCount:
    dimension = None if entry.layout.storage == "sparsevec" else entry.layout.dimension
    rows = _counted(connection, schema, entry).rows
    return VectorCount(entry.modality, entry.vector_name, dimension, rows, f"the table {entry.table}")


def drop_tables(connection: Connection, schema: SyncSchema, tables: Sequence[str]) -> list[VectorTable]:
    """Drop generations in the caller's transaction, as `vectorferry.connector.VectorTables` says."""
    if not try_alone(connection, schema.place):
        raise LockedError(f"a sync is writing into schema {schema.name}; drop vectors when it has ended.")
    lock_ddl(connection, schema.name)
    return [_drop_one(connection, schema, table) for table in dict.fromkeys(tables)]


def _drop_one(connection: Connection, schema: SyncSchema, table: str) -> VectorTable:
    schema.read_again(connection)
    entry = next((entry for entry in schema.catalogue.values() if entry.table == table), None)
    if entry is None:
        raise ConfigurationError(f"schema {schema.name} has no table of vectors {table}; see: vectorferry vectors list")
    told = _counted(connection, schema, entry)
    _check_unused(schema, entry, told)
    is_last = len(schema.catalogue.generations(entry.modality, entry.vector_name)) == 1
    layers = [entry.own_layer, entry.plain_layer if is_last else None]
    _drop(connection, schema, entry, [layer for layer in layers if layer])
    return told


def _counted(connection: Connection, schema: SyncSchema, entry: VectorEntry) -> VectorTable:
    rows = schema.vector_table(entry)
    values = func.count().filter(is_not_superseded(schema, entry, rows))
    total, held = connection.execute(select(func.count(), values).select_from(rows)).one()
    return VectorTable(
        table=entry.table,
        modality=entry.modality,
        vector_name=entry.vector_name,
        storage=f"{entry.layout.storage}({entry.layout.dimension})",
        rows=held,
        superseded=total - held,
        state=entry.state,
        view=entry.layer.view,
        function=entry.layer.function,
    )


def _check_unused(schema: SyncSchema, entry: VectorEntry, told: VectorTable) -> None:
    if entry.state == "retired":
        return
    others = len(schema.catalogue.generations(entry.modality, entry.vector_name)) > 1
    if entry.state == "current" and (told.rows or told.superseded or others):
        why = "what the view shows; it is retired once every feature has a vector of another dimension"
    elif told.rows:
        why = f"in use: it holds the vectors of {told.rows:,} features"
    else:
        return
    raise ConfigurationError(f"{told.table} is {why}. Nothing was dropped.")


def _drop(connection: Connection, schema: SyncSchema, entry: VectorEntry, layers: Sequence[Layer]) -> None:
    driver, name = driver_of(connection), schema.name
    views = [sql.Identifier(name, layer.view).as_string(driver) for layer in layers]
    table = sql.Identifier(name, entry.table)
    others = dependants_of_relation(driver, table.as_string(driver), ours=views)
    for layer, view in zip(layers, views, strict=True):
        others += dependants_of_relation(driver, view) + dependants_of_function(driver, name, layer.function)
    if others:
        raise ConfigurationError(f"{name}.{entry.table} is needed by {', '.join(others)}. Drop that first.")
    for layer in layers:
        for signature in search_functions(driver, name, layer.function):
            driver.execute(f"DROP FUNCTION {signature}".encode())
        driver.execute(sql.SQL("DROP VIEW IF EXISTS {}").format(sql.Identifier(name, layer.view)))
        driver.execute(sql.SQL("DROP TYPE IF EXISTS {}").format(sql.Identifier(name, layer.match_type)))
    driver.execute(sql.SQL("DROP TABLE {}").format(table))
    _forget(connection, schema, entry)


def _forget(connection: Connection, schema: SyncSchema, entry: VectorEntry) -> None:
    """Take it out of the catalogue, and out of what the plain function knows."""
    vectors = schema.tables.vectors
    connection.execute(
        delete(vectors).where(
            vectors.c.modality == entry.modality.value,
            vectors.c.vector_name == entry.vector_name,
            vectors.c.dimension == entry.layout.dimension,
        )
    )
    schema.read_again(connection)
    for other in schema.catalogue.live_generations(entry.modality, entry.vector_name):
        if other.state == "current":
            refresh_function(
                driver_of(connection), schema.name, schema.database.extension_schema, schema.plainly_shown(other)
            )
            schema.update_entry(connection, replace(other, sql_digest=""))
