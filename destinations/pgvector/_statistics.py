"""What the planner knows of the tables, brought up to date after a load that changed much: otherwise whoever asks next
gets a plan for tables that are not like that any more. Autovacuum comes later, or is switched off."""

from __future__ import annotations

from collections import Counter
from typing import Final

from psycopg import sql
from sqlalchemy import text

from connector import Applied, Counts

from ._tables import SyncSchema

__all__ = ["analyze_changed", "changed_rows"]

# What this process has changed is given, because its part of Postgres' own counts may come seconds later; Postgres' own
# tell of a process that was ended before it came here, but a crash of the server has them begin anew.
_DUE: Final = text(
    "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "JOIN unnest(CAST(:names AS text[]), CAST(:changes AS bigint[])) mine (name, changes) ON mine.name = c.relname "
    "LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid WHERE n.nspname = :schema AND c.relkind = 'r' "
    "AND CASE WHEN coalesce(s.last_analyze, s.last_autoanalyze) IS NULL THEN pg_relation_size(c.oid) > 0 "
    "ELSE greatest(mine.changes, s.n_mod_since_analyze) > 50 + 0.1 * greatest(c.reltuples, 0) END ORDER BY 1"
)
"""Those of some tables that have rows and were never analyzed, or more changes than the 50 and a tenth of all rows that
autovacuum allows by default."""


def changed_rows(schema: SyncSchema, applied: Applied) -> Counter[str]:
    """By table: at most how many rows were written or deleted."""
    changes = Counter({schema.tables.assets.name: _changes(applied.assets)})
    for modality, counts in applied.features.items():
        changes[schema.features[modality].name] += _changes(counts)
    for (modality, vector_name), counts in applied.vectors.items():
        for entry in schema.catalogue.generations(modality, vector_name):
            changes[entry.table] += _changes(counts)
    return changes


def analyze_changed(schema: SyncSchema, changes: Counter[str]) -> None:
    """Analyze the tables that have changed much, by this process or by one before it.

    Nobody who reads or writes waits for that, and it waits for nobody: a table that somebody else has locked, or
    analyzes just now, is passed over.
    """
    tables = [schema.tables.assets, *schema.features.values(), *map(schema.vector_table, schema.catalogue.values())]
    names = [table.name for table in tables]
    with schema.database.plain_transaction() as connection:
        rows = {"schema": schema.name, "names": names, "changes": [changes[name] for name in names]}
        due = [str(name) for name in connection.execute(_DUE, rows).scalars()]
    if due:
        listed = sql.SQL(", ").join(sql.Identifier(schema.name, name) for name in due)
        with schema.database.autocommit({"statement_timeout": "0"}) as connection:
            connection.exec_driver_sql(sql.SQL("ANALYZE (SKIP_LOCKED) {}").format(listed).as_string())


def _changes(counts: Counts) -> int:
    return counts.inserted + counts.updated + counts.deleted
