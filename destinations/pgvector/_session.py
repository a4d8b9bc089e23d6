"""The schema for whoever asks in SQL: what it has, its first rows, and somebody's own statements."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Final

import psycopg
from psycopg import pq, sql
from sqlalchemy import Connection

from vectorferry.connector.plugin import (
    ColumnDescription,
    ConfigurationError,
    FunctionDescription,
    RelationDescription,
    SchemaDescription,
    SqlResult,
)
from vectorferry.destinations._postgres import Address, Driver, check_harmless, driver_of
from vectorferry.destinations.pgvector._schema import SyncSchema

_RELATIONS: Final = """
SELECT c.relname, c.relkind = 'v', coalesce(obj_description(c.oid, 'pg_class'), ''), ARRAY(
        SELECT k.attname::text FROM pg_index i
        JOIN LATERAL unnest(i.indkey) WITH ORDINALITY each (number, place) ON true
        JOIN pg_attribute k ON k.attrelid = c.oid AND k.attnum = each.number AND each.place <= i.indnkeyatts
        WHERE i.indrelid = c.oid AND i.indisprimary ORDER BY each.place)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relkind IN ('r', 'v') ORDER BY c.relname
"""
_COLUMNS: Final = """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), coalesce(col_description(c.oid, a.attnum), '')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
WHERE n.nspname = %s AND c.relkind IN ('r', 'v') AND a.attnum > 0 AND NOT a.attisdropped ORDER BY c.relname, a.attnum
"""
_FUNCTIONS: Final = """
SELECT p.proname, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid),
    coalesce(obj_description(p.oid, 'pg_proc'), '')
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = %s ORDER BY p.proname, p.oid
"""


def describe(connection: Connection, schema: str) -> SchemaDescription:
    """What the catalogue and the comments of the database say."""
    driver = driver_of(connection)
    columns: dict[str, list[ColumnDescription]] = {}
    for relation, name, kind, comment in _rows(driver, _COLUMNS, schema):
        columns.setdefault(relation, []).append(ColumnDescription(name, kind, comment))
    relations = [
        RelationDescription(name, "view" if is_view else "table", comment, columns.get(name, ()), key)
        for name, is_view, comment, key in _rows(driver, _RELATIONS, schema)
    ]
    functions = [FunctionDescription(*row) for row in _rows(driver, _FUNCTIONS, schema)]
    return SchemaDescription(schema, relations, functions)


def _rows(driver: Driver, query: str, schema: str) -> list[Any]:
    return driver.execute(query.encode(), (schema,)).fetchall()


def first_rows(connection: Connection, schema: SyncSchema, limit: int, table: str | None) -> dict[str, SqlResult]:
    """By table, in the order of its primary key. Raises `ConfigurationError` for a table that is none."""
    tables = {each.name: each.key for each in describe(connection, schema.name).relations if each.kind == "table"}
    if table is not None and table not in tables:
        raise ConfigurationError(f"schema {schema.name} has no table {table}; it has: {', '.join(tables)}")
    names = [table] if table is not None else [name for name in tables if not name.startswith("_sync_")]
    check_harmless(connection, schema.name, names)
    return {name: _first_rows(connection, schema.name, name, tables[name], limit) for name in names}


def _first_rows(connection: Connection, schema: str, table: str, key: Any, limit: int) -> SqlResult:
    order = sql.SQL(" ORDER BY {}").format(sql.SQL(", ").join(map(sql.Identifier, key))) if key else sql.SQL("")
    query = sql.SQL("SELECT * FROM {}{} LIMIT {}").format(sql.Identifier(schema, table), order, sql.Literal(limit))
    cursor = driver_of(connection).execute(query)
    return _result(cursor)


def run_sql(driver: Driver, path: str, statements: str) -> Iterator[SqlResult]:
    """Each statement's rows, or what was done. Raises `ConfigurationError` with Postgres' words."""
    try:
        driver.execute(f"SET search_path = {path}".encode())
        cursor: psycopg.Cursor[Any] | None = driver.execute(statements.encode())
        while cursor is not None:
            yield _result(cursor)
            cursor = cursor if cursor.nextset() else None
    except psycopg.OperationalError:
        raise  # of the server or the way there, and not of what was asked
    except psycopg.Error as error:
        raise ConfigurationError(_refusal(error, statements)) from error


def _result(cursor: psycopg.Cursor[Any]) -> SqlResult:
    columns = [column.name for column in cursor.description or ()]
    return SqlResult(columns, cursor.fetchall() if cursor.description else [], cursor.statusmessage or "")


def _refusal(error: psycopg.Error, statements: str) -> str:
    words = error.diag.message_primary or str(error)
    position = int(error.diag.statement_position or 0)
    place = f", at: {statements[position - 1 : position + 39].splitlines()[0]}" if position else ""
    hint = f" ({error.diag.message_hint})" if error.diag.message_hint else ""
    return f"Postgres refuses it: {words}{place}{hint}"


_NOT_SAID: Final = frozenset(
    {"options", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"}
)
"""What is said otherwise, and what somebody who types can do without."""


def environment(address: Address, path: str) -> dict[str, str]:
    """The variables by which libpq's programs reach this address: nothing of it is on a command line, where everybody
    on the machine could read it. `path` is what names without a schema are looked for in.

    Raises `ConfigurationError` for a parameter that no variable says.
    """
    variables = {option.keyword.decode(): option.envvar for option in pq.Conninfo.get_defaults()}
    said: dict[str, str] = {}
    for name, value in address.parameters.items():
        if name in _NOT_SAID:
            continue
        if (variable := variables.get(name)) is None:
            raise ConfigurationError(f"psql cannot be given {name} of the `url`: no variable of libpq says it")
        said[variable.decode()] = value
    options = address.parameters.get("options") or os.environ.get("PGOPTIONS", "")
    # libpq parts options at spaces, unless a backslash stands before.
    escaped = path.replace("\\", "\\\\").replace(" ", "\\ ")
    said["PGOPTIONS"] = f"{options} -c search_path={escaped}".strip()
    return {"PGAPPNAME": "vectorferry sql", **said}


def search_path(schema: str, extension: str) -> str:
    """The schema first, and then that of pgvector, whose operators a query needs."""
    return ",".join(sql.Identifier(each).as_string() for each in dict.fromkeys([schema, extension]))
