"""The tables of a named vector, one for each dimension: listed, switched to when full, dropped when empty."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import replace

from psycopg import sql
from sqlalchemy import ColumnElement, Connection, Table, and_, exists, false, func, not_, select, true

from vectorferry.connector.plugin import (
    MODALITIES,
    ConfigurationError,
    LockedError,
    Modality,
    VectorCount,
    VectorTable,
    closest,
)
from vectorferry.destinations._postgres import Step, driver_of, fixed, lock_ddl, run, statement, try_lock
from vectorferry.destinations.pgvector._catalogue import Layer, VectorEntry, entry_removal
from vectorferry.destinations.pgvector._grants import dependants_of_functions, dependants_of_relation
from vectorferry.destinations.pgvector._indexes import is_built
from vectorferry.destinations.pgvector._prepare import refresh_steps, rerouting_steps
from vectorferry.destinations.pgvector._schema import SyncSchema
from vectorferry.destinations.pgvector._tables import KEY_COLUMNS, visible
from vectorferry.destinations.pgvector._views import search_functions


def is_not_superseded(schema: SyncSchema, entry: VectorEntry, rows: Table) -> ColumnElement[bool]:
    """Of a row of a generation's table: it is not retired, and no later generation has a row of the same feature."""
    if entry.state == "retired":
        return false()
    live = schema.catalogue.live_generations(entry.modality, entry.vector_name)
    later = [schema.vector_table(other) for other in live if other.generation > entry.generation]
    return and_(true(), *(not_(exists().where(_same(other, rows))) for other in later))


def is_of_shown_feature(schema: SyncSchema, entry: VectorEntry, rows: Table) -> ColumnElement[bool]:
    """Of a row of a generation's table: its feature is there, and not hidden."""
    features = schema.features[entry.modality]
    return exists().where(_same(features, rows), visible(features))


def _same(table: Table, rows: Table) -> ColumnElement[bool]:
    return and_(*(table.c[name] == rows.c[name] for name in KEY_COLUMNS))


# The end of a filling: the plain view and function of a named vector go over to the newer generation at once.


_PATIENCE = 3.0
"""Seconds for those who read the views: the next run switches as well."""
_log = logging.getLogger("vectorferry")


def switch_views(schema: SyncSchema) -> None:
    """Let each plain view show the newer generation that has superseded all of the one that it shows.

    Nothing happens while another sync writes into the schema: the last one of them switches. What somebody has built
    upon a view, and a query of it that does not end, put the switch off to the next run, with a warning.
    """
    for modality, vector_name in _with_several(schema):
        try:
            with schema.database.transaction() as connection:
                _switch(connection, schema, modality, vector_name)
        except (ConfigurationError, LockedError) as error:
            shown = "has another dimension now, but is still shown as it was"
            _log.warning("%s of %s %s: %s", vector_name, modality, shown, error)
            with schema.database.transaction() as connection:
                schema.read_catalogue(connection)


def _with_several(schema: SyncSchema) -> list[tuple[Modality, str]]:
    return [
        (modality, vector_name)
        for modality in MODALITIES
        for vector_name, generations in schema.catalogue.named(modality).items()
        if sum(entry.state != "retired" for entry in generations) > 1
    ]


def _switch(connection: Connection, schema: SyncSchema, modality: Modality, vector_name: str) -> None:
    if not try_lock(connection, *schema.place):
        return
    lock_ddl(connection, schema.name)
    schema.read_catalogue(connection)
    shown, *later = schema.catalogue.live_generations(modality, vector_name)
    if _has_values(connection, schema, shown):
        return
    target = next((entry for entry in later if _has_values(connection, schema, entry)), None)
    if target is None or not _is_ready(connection, schema, target):
        return
    retired = (replace(entry, state="retired") for entry in (shown, *later[: later.index(target)]))
    catalogue = schema.catalogue.changed(*retired, replace(target, state="current"))
    generations = catalogue.generations(modality, vector_name)
    run(connection, refresh_steps(connection, schema, catalogue, generations), _PATIENCE)
    schema.read_catalogue(connection)


def _has_values(connection: Connection, schema: SyncSchema, entry: VectorEntry) -> bool:
    """Whether a row of it is still the value of a feature."""
    rows = schema.vector_table(entry)
    values = select(rows).where(is_of_shown_feature(schema, entry, rows), is_not_superseded(schema, entry, rows))
    return bool(connection.execute(select(exists(values))).scalar())


def _is_ready(connection: Connection, schema: SyncSchema, entry: VectorEntry) -> bool:
    """Whether nobody who asks has to do without its index."""
    return entry.storage.index == "none" or is_built(connection, schema.name, entry)


# The tables of named vectors listed, and dropped where no feature's value is in them.


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
    rows = _counted(connection, schema, entry).rows
    return VectorCount(*vector_kind(entry), rows, f"the table {entry.table}")


def vector_kind(entry: VectorEntry) -> tuple[Modality, str, int | None]:
    """Modality, name and dimension of the vectors of a generation."""
    dimension = None if entry.storage.column_type == "sparsevec" else entry.storage.dimension
    return entry.modality, entry.vector_name, dimension


def drop_tables(connection: Connection, schema: SyncSchema, tables: Sequence[str]) -> list[VectorTable]:
    """Drop generations in the caller's transaction, as `vectorferry.connector.VectorTables` says."""
    if not try_lock(connection, *schema.place):
        raise LockedError(f"a sync is writing into schema {schema.name}; drop vectors when it has ended.")
    lock_ddl(connection, schema.name)
    return [_drop_one(connection, schema, table) for table in dict.fromkeys(tables)]


def _drop_one(connection: Connection, schema: SyncSchema, table: str) -> VectorTable:
    schema.read_catalogue(connection)
    entry = next((entry for entry in schema.catalogue.values() if entry.table == table), None)
    if entry is None:
        near = closest(table, (entry.table for entry in schema.catalogue.values()))
        raise ConfigurationError(
            f"schema {schema.name} has no table of vectors {table}; see: vectorferry vectors list{near}"
        )
    counted = _counted(connection, schema, entry)
    _check_unused(schema, entry, counted)
    is_last = len(schema.catalogue.generations(entry.modality, entry.vector_name)) == 1
    layers = [entry.own_layer, entry.plain_layer if is_last else None]
    _drop(connection, schema, entry, [layer for layer in layers if layer])
    return counted


def _counted(connection: Connection, schema: SyncSchema, entry: VectorEntry) -> VectorTable:
    rows = schema.vector_table(entry)
    of_values = func.count().filter(is_not_superseded(schema, entry, rows))
    total, values = connection.execute(select(func.count(), of_values).select_from(rows)).one()
    return VectorTable(
        table=entry.table,
        modality=entry.modality,
        vector_name=entry.vector_name,
        storage=f"{entry.storage.column_type}({entry.storage.dimension})",
        rows=values,
        superseded=total - values,
        state=entry.state,
        view=entry.layer.view,
        function=entry.layer.function,
    )


def _check_unused(schema: SyncSchema, entry: VectorEntry, counted: VectorTable) -> None:
    if entry.state == "retired":
        return
    others = len(schema.catalogue.generations(entry.modality, entry.vector_name)) > 1
    if entry.state == "current" and (counted.rows or counted.superseded or others):
        why = "what the view shows; it is retired once every feature has a vector of another dimension"
    elif counted.rows:
        why = f"in use: it holds the vectors of {counted.rows:,} features"
    else:
        return
    raise ConfigurationError(f"{counted.table} is {why}. Nothing was dropped.")


def _drop(connection: Connection, schema: SyncSchema, entry: VectorEntry, layers: Sequence[Layer]) -> None:
    driver, name = driver_of(connection), schema.name
    views = [sql.Identifier(name, layer.view) for layer in layers]
    table = sql.Identifier(name, entry.table)
    others = dependants_of_relation(driver, table.as_string(), own_views=[view.as_string() for view in views])
    for layer, view in zip(layers, views, strict=True):
        others += dependants_of_relation(driver, view.as_string())
        others += dependants_of_functions(driver, [*search_functions(connection, name, layer)])
    if others:
        raise ConfigurationError(f"{name}.{entry.table} is needed by {', '.join(others)}. Drop that first.")
    steps: list[Step] = []
    for layer, view in zip(layers, views, strict=True):
        functions = search_functions(connection, name, layer)
        steps += (statement("DROP FUNCTION {}", fixed(signature)) for signature in functions)
        steps.append(statement("DROP VIEW IF EXISTS {}", view))
        steps.append(statement("DROP TYPE IF EXISTS {}", sql.Identifier(name, layer.match_type)))
    catalogue = schema.catalogue.without(entry)
    steps += [statement("DROP TABLE {}", table), entry_removal(schema.tables, entry)]
    for other in catalogue.live_generations(entry.modality, entry.vector_name):
        if other.state == "current":
            steps += rerouting_steps(connection, schema, catalogue, other)
    run(connection, steps)
