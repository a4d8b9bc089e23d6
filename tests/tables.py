"""Looking at what a sync left in Postgres, and comparing two schemas row by row and bit by bit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

__all__ = ["DIGESTS", "NOT_OF_RUNS", "RUNS", "WRITTEN_AT", "differences", "layers", "row_counts", "tables_of"]

Connection = psycopg.Connection[Any]

WRITTEN_AT = ["synced_at", "seen_at", "recorded_at"]
"""When a row was written is the one thing that two equal states may differ in."""

DIGESTS = ["own_digest", "sql_digest"]
"""Of views and functions, which are compared themselves: their schema's name is part of both."""


RUNS = re.compile(r"_sync_(\w+_)?runs|_sync_limits")
"""Which runs have led to a state, and what they have asked a service, is the other thing."""

NOT_OF_RUNS = rf"relname !~ '^({RUNS.pattern})$'"
"""The same as a condition on Postgres' catalogue."""


def tables_of(connection: Connection, schema: str) -> list[str]:
    """The tables of a schema."""
    found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s ORDER BY 1", [schema])
    return [row[0] for row in found]


def row_counts(connection: Connection, schema: str) -> dict[str, int]:
    """Rows per table."""
    counts = {}
    for table in tables_of(connection, schema):
        found = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(schema, table)))
        counts[table] = found.fetchone()[0]  # type: ignore[index]
    return counts


def differences(connection: Connection, one: str, other: str, ignoring: Sequence[str] = ()) -> list[str]:
    """What two schemas do not have in common: tables, rows (vectors by their exact digits), indexes, views, functions.

    `ignoring` names further columns that may differ.
    """
    ignored = [*WRITTEN_AT, *DIGESTS, *ignoring]
    tables = [table for table in tables_of(connection, one) if not RUNS.fullmatch(table)]
    if tables_of(connection, one) != tables_of(connection, other):
        return [f"tables: {tables_of(connection, one)} against {tables_of(connection, other)}"]
    found = []
    for table in tables:
        for left, right in ((one, other), (other, one)):
            rows = connection.execute(_only_in(left, right, table), [ignored, ignored]).fetchall()
            found += [f"{table}, only in {left}: {str(row[0])[:200]}" for row in rows[:3]]
    if _indexes(connection, one) != _indexes(connection, other):
        found.append(f"indexes: {_indexes(connection, one)} against {_indexes(connection, other)}")
    different = layers(connection, one) ^ layers(connection, other)
    found += [f"views and functions: {name}" for name in sorted({name for name, _ in different})]
    return found


def _only_in(left: str, right: str, table: str) -> sql.Composed:
    return sql.SQL(
        "SELECT to_jsonb(a) - %s::text[] FROM {} a EXCEPT ALL SELECT to_jsonb(b) - %s::text[] FROM {} b"
    ).format(sql.Identifier(left, table), sql.Identifier(right, table))


def _indexes(connection: Connection, schema: str) -> set[tuple[str, bool]]:
    found = connection.execute(
        "SELECT c.relname, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
        "WHERE c.relnamespace = %s::regnamespace",
        [schema],
    )
    return {(row[0], row[1]) for row in found}


def layers(connection: Connection, schema: str) -> set[tuple[str, str]]:
    """Views and functions by their names, without the schema's own in what defines them."""
    found = connection.execute(
        "SELECT relname, pg_get_viewdef(oid) FROM pg_class "
        "WHERE relkind = 'v' AND relnamespace = %(schema)s::regnamespace "
        "UNION ALL SELECT proname, pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = %(schema)s::regnamespace",
        {"schema": schema},
    )
    return {(row[0], row[1].replace(schema, "")) for row in found}
