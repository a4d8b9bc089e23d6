"""Whose the tables are that a sync writes to and reads from.

What somebody else has made can run code as whoever uses it: a trigger or a rule on a table that is written to, a view
or a policy of row-level security where a table is read. A name alone makes no table ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from psycopg import sql
from sqlalchemy import Connection, Row, text

from vectorferry.connector.plugin import DestinationError

_TRUSTED: Final = """
WITH RECURSIVE own(role) AS (
    SELECT oid FROM pg_roles WHERE rolname = current_user
    -- Not pg_has_role: to a superuser it grants every role, and it is a superuser who has most to lose.
    UNION SELECT m.roleid FROM pg_auth_members m JOIN own ON m.member = own.role
),
trusted(role) AS (SELECT role FROM own UNION SELECT oid FROM pg_roles WHERE rolsuper)
"""
_RELATIONS: Final = text(
    _TRUSTED  # noqa: S608 - our own words on both sides
    + """
SELECT c.relname AS name, c.relkind IN ('r', 'p') AS is_table, pg_get_userbyid(c.relowner) AS owner,
    c.relowner IN (SELECT role FROM own) OR (u.rolsuper AND o.rolsuper) AS is_own,
    c.relowner IN (SELECT role FROM trusted) AS is_trusted,
    c.relrowsecurity OR c.relhassubclass AS reads_more, row_security_active(c.oid) AS hides_rows,
    (SELECT t.tgname || ' calls a function of ' || pg_get_userbyid(p.proowner)
     FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
     WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND p.proowner NOT IN (SELECT role FROM trusted)
     ORDER BY 1 LIMIT 1) AS trigger,
    (SELECT r.rulename FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.rulename <> '_RETURN'
     ORDER BY 1 LIMIT 1) AS rule,
    current_user AS us
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_roles u ON u.rolname = current_user JOIN pg_roles o ON o.oid = c.relowner
WHERE n.nspname = :schema AND c.relname = ANY(CAST(:relations AS text[])) ORDER BY c.relname
"""
)
_FUNCTIONS: Final = text(
    _TRUSTED  # noqa: S608 - our own words on both sides
    + """
SELECT p.proname AS name, pg_get_userbyid(p.proowner) AS owner, current_user AS us
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname = :schema AND p.proname = ANY(CAST(:names AS text[])) AND p.proowner NOT IN (SELECT role FROM trusted)
"""
)


def why_foreign(connection: Connection, schema: str, relations: Iterable[str]) -> str | None:
    """Why a sync must not write to one of these tables, if they are there: it, or what happens in it, is somebody
    else's, or not all of its rows are shown to us. None when all are ours, or those of a role that we are a member
    of."""
    for table in _read(connection, schema, relations):
        name = f"{schema}.{table.name}"
        if not table.is_table:
            return f"{name} is no table. {_way_out(table)}"
        if not table.is_own:
            return (
                f"the table {name} belongs to {table.owner}, who could have it run anything with the rights of "
                f"{table.us}. {_way_out(table)}"
            )
        if table.trigger:
            return f"on the table {name} the trigger {table.trigger}, with the rights of {table.us}: drop it."
        if table.rule:
            return f"on the table {name} there is the rule {table.rule}: drop it."
        if table.hides_rows:
            # What is hidden would be neither changed nor deleted, and no command would see that it is still there.
            relation = sql.Identifier(schema, table.name).as_string()
            return (
                f"the row-level security of the table {name} is forced on its owner, so that rows may be hidden "
                f"from {table.us}. Run: ALTER TABLE {relation} NO FORCE ROW LEVEL SECURITY;"
            )
    return None


def check_owned(connection: Connection, schema: str, relations: Iterable[str]) -> None:
    """Raise `DestinationError` with what `why_foreign` says, if anything."""
    if why := why_foreign(connection, schema, relations):
        raise DestinationError(why)


def check_harmless(connection: Connection, schema: str, relations: Iterable[str]) -> None:
    """Raise `DestinationError` where even reading these tables could run what somebody else has written. Who may only
    read does not own them."""
    for table in _read(connection, schema, relations):
        if not table.is_table or (table.reads_more and not table.is_trusted):
            raise DestinationError(
                f"{schema}.{table.name} is not a plain table, and belongs to {table.owner}: reading it could run what "
                f"{table.owner} has written with the rights of {table.us}. {_way_out(table)}"
            )


def check_functions(connection: Connection, schema: str, names: Iterable[str]) -> None:
    """Raise `DestinationError` when one of these functions is somebody else's: it would run with our rights."""
    for function in connection.execute(_FUNCTIONS, {"schema": schema, "names": [*names]}):
        raise DestinationError(
            f"the function {schema}.{function.name} belongs to {function.owner}, and would run with the rights of "
            f"{function.us}. {_way_out(function)}"
        )


def _read(connection: Connection, schema: str, relations: Iterable[str]) -> list[Row[Any]]:
    names = [*relations]
    return list(connection.execute(_RELATIONS, {"schema": schema, "relations": names})) if names else []


def _way_out(table: Row[Any]) -> str:
    grant = sql.SQL("GRANT {} TO {};").format(sql.Identifier(table.owner), sql.Identifier(table.us)).as_string()
    return f"Sync into another `schema`, or have it dropped. If {table.owner} is to be trusted, run: {grant}"
