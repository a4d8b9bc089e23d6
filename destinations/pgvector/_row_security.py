"""Row-level security of a table, carried over to another one with the same columns: whoever may read only some rows of
the one may read only these of the other."""

from __future__ import annotations

import re
from typing import Any, Final

import psycopg
from psycopg import sql

__all__ = ["copy_row_security"]

_SWITCHES: Final = """
SELECT c.relrowsecurity, c.relforcerowsecurity FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s
"""
_POLICIES: Final = """
SELECT policyname, permissive, cmd, roles, qual, with_check FROM pg_policies WHERE schemaname = %s AND tablename = %s
"""

_Driver = psycopg.Connection[tuple[object, ...]]


def copy_row_security(driver: _Driver, schema: str, table: str, to: str) -> None:
    """Switch it on where it is on, with the same policies."""
    there = sql.Identifier(schema, to)
    for policy in driver.execute(_POLICIES, (schema, table)).fetchall():
        driver.execute(_policy(there, table, to, *policy))
    enabled, forced = driver.execute(_SWITCHES, (schema, table)).fetchone() or (False, False)
    if enabled:
        driver.execute(sql.SQL("ALTER TABLE {} ENABLE ROW LEVEL SECURITY").format(there))
    if forced:
        driver.execute(sql.SQL("ALTER TABLE {} FORCE ROW LEVEL SECURITY").format(there))


def _policy(
    there: sql.Identifier, table: str, to: str, name: Any, kind: Any, command: Any, roles: Any, using: Any, check: Any
) -> sql.Composed:
    # Postgres has no role of the name public: that is everybody.
    named = (sql.SQL("PUBLIC") if role == "public" else sql.Identifier(role) for role in roles)
    return sql.SQL("CREATE POLICY {name} ON {there} AS {kind} FOR {command} TO {roles}{using}{check}").format(
        name=sql.Identifier(name),
        there=there,
        kind=sql.SQL(kind),
        command=sql.SQL(command),
        roles=sql.SQL(", ").join(named),
        using=_condition("USING", using, table, to),
        check=_condition("WITH CHECK", check, table, to),
    )


def _condition(word: Any, expression: str | None, table: str, to: str) -> sql.SQL:
    """An expression as Postgres gives it: sub-selects in it call the row's columns by the name of their table."""
    renamed: Any = re.sub(rf"\b{re.escape(table)}\.", f"{to}.", expression or "")
    return sql.SQL(f" {word} ({renamed})" if expression else "")
