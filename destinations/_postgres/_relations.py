"""What there is under some names in a schema: which columns it has, and whose it is.

What somebody else has made can run code as whoever uses it: a trigger or a rule on a table that is written to, a view
or a policy of row-level security where a table is read. A name alone makes no table ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from psycopg import sql
from sqlalchemy import ClauseElement, Connection, Row, text

from vectorferry.connector.plugin import ConfigurationError, DestinationError
from vectorferry.destinations._postgres._database import answers

_TRUSTED: Final = """
WITH RECURSIVE own(role) AS (
    SELECT oid FROM pg_roles WHERE rolname = current_user
    -- Not pg_has_role: to a superuser it grants every role, and it is a superuser who has most to lose.
    UNION SELECT m.roleid FROM pg_auth_members m JOIN own ON m.member = own.role
),
trusted(role) AS (SELECT role FROM own UNION SELECT oid FROM pg_roles WHERE rolsuper)
"""
_OWNERS: Final = text(
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
TYPE_NAME: Final = """CASE
    -- Without its schema, which is not in our path.
    WHEN t.typnamespace = (SELECT extnamespace FROM pg_extension WHERE extname = 'vector')
    AND t.typname IN ('vector', 'halfvec', 'sparsevec')
    THEN t.typname || coalesce('(' || CAST(nullif(a.atttypmod, -1) AS text) || ')', '')
    ELSE format_type(a.atttypid, a.atttypmod) END"""
"""Of a column `a` of the type `t`, in a query of the server's catalogue."""

_COLUMNS: Final = text(
    f"SELECT c.relname, a.attname, {TYPE_NAME}, c.relkind = 'r' AND c.relreplident = 'd' "  # noqa: S608 - our own words
    """
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_type t ON t.oid = a.atttypid
WHERE n.nspname = :schema AND c.relname = ANY(CAST(:relations AS text[])) ORDER BY c.oid, a.attnum
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


class Relations:
    """What Postgres' catalogue says of relations of a schema. It says it once of each: what changes afterwards is not
    seen."""

    def __init__(self, connection: Connection, schema: str) -> None:
        self.schema = schema
        self.columns: dict[str, dict[str, str]] = {}
        """By relation: its columns in their order, each with its type as Postgres calls it; nothing of a relation that
        is not there."""
        self.keyed: set[str] = set()
        """The tables whose rows nothing but a key identifies for replication."""
        self.connection = connection
        self._owners: dict[str, Any] = {}

    def read(self, relations: Iterable[str], *more: ClauseElement) -> list[list[Any]]:
        """Look these up as well, and in the same message ask `more`, which is answered."""
        names = [*relations]
        columns, owners = _COLUMNS.bindparams(**self._where(names)), _OWNERS.bindparams(**self._where(names))
        of_columns, of_owners, *others = answers(self.connection, columns, owners, *more)
        for relation, name, kind, by_key in of_columns:
            self.columns.setdefault(relation, {}).update({name: kind} if name is not None else {})
            self.keyed |= {relation} if by_key else set()
        self._owners.update((row.name, row) for row in of_owners)
        return others

    def why_foreign(self, tables: Iterable[str]) -> str | None:
        """Why a sync must not write to one of these tables: it, or what happens in it, is somebody else's, or not
        all of its rows are shown to us. None when all are ours, or those of a role that we are a member of."""
        for table in self._rows_of(tables):
            name = f"{self.schema}.{table.name}"
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
                relation = sql.Identifier(self.schema, table.name).as_string()
                return (
                    f"the row-level security of the table {name} is forced on its owner, so that rows may be hidden "
                    f"from {table.us}. Run: ALTER TABLE {relation} NO FORCE ROW LEVEL SECURITY;"
                )
        return None

    def check_harmless(self, tables: Iterable[str]) -> None:
        """Raise `DestinationError` where even reading these tables could run what somebody else has written. Who may
        only read does not own them."""
        for table in self._rows_of(tables):
            if not table.is_table or (table.reads_more and not table.is_trusted):
                raise DestinationError(
                    f"{self.schema}.{table.name} is not a plain table, and belongs to {table.owner}: reading it could "
                    f"run what {table.owner} has written with the rights of {table.us}. {_way_out(table)}"
                )

    def check_layout(self, tables: Mapping[str, Iterable[str]]) -> None:
        """Raise `ConfigurationError` when one of these tables, which are given with their columns, is there without one
        of them: no sync of this version has made it so, and nothing brings it up to date. Raises `DestinationError`
        for one that it could be dangerous to read."""
        self.check_harmless(tables)
        for table, columns in tables.items():
            if table in self.columns and (missing := [name for name in columns if name not in self.columns[table]]):
                raise ConfigurationError(
                    f"the table {self.schema}.{table} was made by an early version of Vectorferry, whose tables are "
                    f"not brought up to date (no column {missing[0]}). Sync into another `schema`, or drop it and sync "
                    f"anew: DROP SCHEMA {sql.Identifier(self.schema).as_string()} CASCADE;"
                )

    def _rows_of(self, tables: Iterable[str]) -> Iterator[Any]:
        return (self._owners[name] for name in sorted(tables) if name in self._owners)

    def _where(self, names: Sequence[str]) -> Mapping[str, Any]:
        return {"schema": self.schema, "relations": names}


def columns_of(connection: Connection, schema: str, relations: Iterable[str]) -> dict[str, dict[str, str]]:
    """The `columns` of these `Relations`."""
    columns: dict[str, dict[str, str]] = {}
    for relation, name, kind, _ in connection.execute(_COLUMNS, {"schema": schema, "relations": [*relations]}):
        columns.setdefault(relation, {}).update({name: kind} if name is not None else {})
    return columns


def check_owned(connection: Connection, schema: str, relations: Iterable[str]) -> None:
    """Raise `DestinationError` when a sync must not write to one of these tables, if they are there."""
    names = [*relations]
    if why := _read(connection, schema, names).why_foreign(names):
        raise DestinationError(why)


def check_harmless(connection: Connection, schema: str, relations: Iterable[str]) -> None:
    """Raise `DestinationError` where even reading these tables could run what somebody else has written."""
    if names := [*relations]:
        _read(connection, schema, names).check_harmless(names)


def check_layout(connection: Connection, schema: str, tables: Mapping[str, Iterable[str]]) -> None:
    """Raise what `Relations.check_layout` raises."""
    _read(connection, schema, tables).check_layout(tables)


def check_functions(connection: Connection, schema: str, names: Iterable[str]) -> None:
    """Raise `DestinationError` when one of these functions is somebody else's: it would run with our rights."""
    for function in connection.execute(_FUNCTIONS, {"schema": schema, "names": [*names]}):
        raise DestinationError(
            f"the function {schema}.{function.name} belongs to {function.owner}, and would run with the rights of "
            f"{function.us}. {_way_out(function)}"
        )


def _read(connection: Connection, schema: str, names: Iterable[str]) -> Relations:
    relations = Relations(connection, schema)
    relations.read(names)
    return relations


def _way_out(table: Row[Any]) -> str:
    grant = sql.SQL("GRANT {} TO {};").format(sql.Identifier(table.owner), sql.Identifier(table.us)).as_string()
    return f"Sync into another `schema`, or have it dropped. If {table.owner} is to be trusted, run: {grant}"
