"""What the planner knows of the tables, brought up to date after a load that changed much: otherwise whoever asks next
gets a plan for tables that are not like that any more. Autovacuum comes later, or is switched off."""

from __future__ import annotations

from typing import Final

from psycopg import sql
from sqlalchemy import Connection, text

from .._postgres import driver_of
from ._tables import SyncSchema

__all__ = ["analyze_changed", "count_changes_at_once"]

_CAN_BE_HURRIED: Final = 150_000
"""The version of Postgres that brought pg_stat_force_next_flush; the ones before count within half a second anyway."""

# A crash of the server has it forget its counts, and that tables were analyzed: then once too often is right.
_DUE: Final = text(
    "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid "
    "WHERE n.nspname = :schema AND c.relname = ANY(:names) AND c.relkind = 'r' "
    "AND CASE WHEN coalesce(s.last_analyze, s.last_autoanalyze) IS NULL THEN pg_relation_size(c.oid) > 0 "
    "ELSE s.n_mod_since_analyze > 50 + 0.1 * greatest(c.reltuples, 0) END ORDER BY 1"
)
"""Those of some tables that have rows and were never analyzed, or more changes than the 50 and a tenth of all rows that
autovacuum allows by default."""


def count_changes_at_once(connection: Connection) -> None:
    """Have Postgres count what this transaction changes when it ends. Up to ten seconds later, as it likes to, these
    changes would be taken for ones that came after their table was analyzed."""
    if driver_of(connection).info.server_version >= _CAN_BE_HURRIED:
        connection.execute(text("SELECT pg_stat_force_next_flush()"))


def analyze_changed(schema: SyncSchema) -> None:
    """Analyze the tables that have changed much since that was done last, whoever changed them.

    Nobody who reads or writes waits for it, and it waits for nobody: a table that somebody else has locked, or analyzes
    just now, is passed over.
    """
    tables = [schema.tables.assets, *schema.features.values(), *map(schema.vector_table, schema.catalogue.values())]
    with schema.database.plain_transaction() as connection:
        names = {"schema": schema.name, "names": [table.name for table in tables]}
        due = [str(name) for name in connection.execute(_DUE, names).scalars()]
    if due:
        listed = sql.SQL(", ").join(sql.Identifier(schema.name, name) for name in due)
        with schema.database.autocommit({"statement_timeout": "0"}) as connection:
            connection.exec_driver_sql(sql.SQL("ANALYZE (SKIP_LOCKED) {}").format(listed).as_string())
