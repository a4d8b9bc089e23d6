"""Making a schema and its tables: whether this user may, which are missing, and the steps that make them.

Whatever prepares a store first works out a list of steps, in a transaction that cannot write if it only wants to know.
`plan` prints them and `prepare` runs them: so what is announced is what happens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from itertools import groupby
from typing import Any, Final, LiteralString, TypeAlias

from psycopg import sql
from psycopg.errors import InsufficientPrivilege
from sqlalchemy import Connection, Executable, MetaData, Table, create_mock_engine, inspect, text
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.schema import CreateSchema

from vectorferry.connector.plugin import ConfigurationError, DestinationError, LockedError, pause
from vectorferry.destinations._postgres._blockers import is_lock_timeout, lock_holders
from vectorferry.destinations._postgres._database import driver_of, facts_of
from vectorferry.destinations._postgres._owners import check_harmless, why_foreign

Step: TypeAlias = str | Executable
"""A statement that defines something, as `plan` prints it; or an entry in our own books."""


# What changes a table or a view waits until everybody who reads it has ended their transaction, and everybody who comes
# meanwhile waits behind it. So it waits for a moment only, lets them pass, and tries again.
_PATIENCE = 60.0
_LOCK_TIMEOUT: Final = sql.Literal("500ms")
_PAUSE = 1.0


def run(connection: Connection, steps: Iterable[Step], patience: float | None = None) -> None:
    """Execute steps in their order: all of them, in the caller's transaction, or none.

    Raises `LockedError` when somebody's lock is in the way of one for so many seconds (None: a minute), with who that
    may be.
    """
    if not (steps := [*steps]):
        return
    deadline = time.monotonic() + (_PATIENCE if patience is None else patience)
    driver = driver_of(connection)
    be_brief = sql.SQL("SET LOCAL lock_timeout = {}").format(_LOCK_TIMEOUT)
    (before,) = driver.execute(sql.SQL("SHOW lock_timeout; SAVEPOINT steps; {}").format(be_brief)).fetchone() or ("0",)
    while True:
        try:
            _run_together(connection, steps)
        except DBAPIError as error:
            if not is_lock_timeout(error):
                raise
            # With it go the locks that the steps before have taken.
            driver.execute(sql.SQL("ROLLBACK TO SAVEPOINT steps; {}").format(be_brief))
            if time.monotonic() >= deadline:
                raise LockedError(_in_the_way(lock_holders(connection))) from error
            pause(_PAUSE)
        else:
            driver.execute(sql.SQL("SET LOCAL lock_timeout = {}; RELEASE SAVEPOINT steps").format(sql.Literal(before)))
            return


def _run_together(connection: Connection, steps: Iterable[Step]) -> None:
    """Execute steps in their order, those that follow each other as text in one message: a first sync has dozens, and
    each would take the way to the server and back."""
    for are_texts, some in [(key, [*group]) for key, group in groupby(steps, lambda step: isinstance(step, str))]:
        run_each(connection, [";\n".join(map(str, some))] if are_texts else some)


def run_each(connection: Connection, steps: Iterable[Step]) -> None:
    """Execute steps in their order, with the connection's own patience."""
    for step in steps:
        if isinstance(step, str):
            connection.exec_driver_sql(step, execution_options={"no_parameters": True})
        else:
            connection.execute(step)


def _in_the_way(holders: str) -> str:
    return (
        f"a table or a view was not changed: somebody uses it in a transaction that does not end ({holders}). "
        "End that transaction, or wait for it, and run again."
    )


def printed(steps: Iterable[Step]) -> list[str]:
    """Those of the steps that define something."""
    return [step for step in steps if isinstance(step, str)]


def fixed(text: Any) -> sql.SQL:
    """SQL that consists of our own words, and of names as Postgres quotes them. The one way around psycopg's check that
    a statement is written out where it is used, which one from a list or from the server's catalogue is not."""
    return sql.SQL(text)


def statement(template: LiteralString, *parts: str | sql.Composable, **named: str | sql.Composable) -> str:
    """A template with these in its places: texts are names, and quoted."""

    def composed(part: str | sql.Composable) -> sql.Composable:
        return sql.Identifier(part) if isinstance(part, str) else part

    by_name = {name: composed(part) for name, part in named.items()}
    return sql.SQL(template).format(*map(composed, parts), **by_name).as_string().strip()


def joined(parts: Iterable[str | sql.Composable]) -> sql.Composed:
    """With commas between them: texts are names, and quoted."""
    return sql.SQL(", ").join(sql.Identifier(part) if isinstance(part, str) else part for part in parts)


def steps_to_create(connection: Connection | None, schema: str, *tables: MetaData) -> list[str]:
    """What makes the schema and those of its tables that are not there yet. Without a connection nothing is there."""
    all_tables = [table for metadata in tables for table in metadata.tables.values()]
    names = [table.name for table in all_tables]
    stored, keyed = _stored(connection, schema, names) if connection is not None else ({}, set())
    is_there = connection is not None and (stored or inspect(connection).has_schema(schema))
    steps = table_steps(table for table in all_tables if table.name not in stored)
    steps += [step for table in all_tables if table.name in keyed for step in _identity_steps(table)]
    return steps if is_there else [_written_out(CreateSchema(schema)), *steps]


def table_steps(tables: Iterable[Table]) -> list[str]:
    """What makes these tables, with their indexes and comments."""
    steps: list[str] = []

    recorder = create_mock_engine(
        "postgresql+psycopg://", lambda element, *_, **__: steps.append(_written_out(element))
    )
    for table in tables:
        table.create(recorder, checkfirst=False)
        steps += _identity_steps(table)
    return steps


def _identity_steps(table: Table) -> list[str]:
    """Where a publication includes it (`FOR ALL TABLES`), Postgres lets nobody delete from a table of which it does not
    know by what its rows are told apart: without a key, by all of their columns."""
    if table.primary_key.columns:
        return []
    return [statement("ALTER TABLE {} REPLICA IDENTITY FULL", sql.Identifier(str(table.schema), table.name))]


def _written_out(element: Any) -> str:
    return str(element.compile(dialect=DIALECT)).strip()


DIALECT: Final = create_mock_engine("postgresql+psycopg://", print).dialect  # needs no server

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


def columns_of(connection: Connection, schema: str, relations: Iterable[str]) -> dict[str, dict[str, str]]:
    """By relation: its columns in their order, each with its type as Postgres calls it; nothing of a relation that is
    not there."""
    return _stored(connection, schema, relations)[0]


def _stored(
    connection: Connection, schema: str, relations: Iterable[str]
) -> tuple[dict[str, dict[str, str]], set[str]]:
    """The columns of those that are there, and the tables whose rows nothing but a key identifies for replication."""
    columns: dict[str, dict[str, str]] = {}
    keyed: set[str] = set()
    for relation, name, kind, by_key in connection.execute(_COLUMNS, {"schema": schema, "relations": [*relations]}):
        columns.setdefault(relation, {}).update({name: kind} if name is not None else {})
        keyed |= {relation} if by_key else set()
    return columns, keyed


def check_layout(connection: Connection, schema: str, tables: Mapping[str, Iterable[str]]) -> None:
    """Raise `ConfigurationError` when one of these tables, which are given with their columns, is there without one of
    them: no sync of this version has made it so, and nothing brings it up to date. Raises `DestinationError` for one
    that it could be dangerous to read."""
    check_harmless(connection, schema, tables)
    stored = columns_of(connection, schema, tables)
    for table, columns in tables.items():
        if table in stored and (missing := [name for name in columns if name not in stored[table]]):
            raise ConfigurationError(
                f"the table {schema}.{table} was made by an early version of Vectorferry, whose tables are not brought "
                f"up to date (no column {missing[0]}). Sync into another `schema`, or drop it and sync anew: "
                f"DROP SCHEMA {schema} CASCADE;"
            )


def check_encoding(connection: Connection, location: str) -> None:
    """Raise `DestinationError` when the database cannot hold every text."""
    encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
    if encoding != "UTF8":
        raise DestinationError(
            f"the database of Postgres at {location} has the encoding {encoding}, which cannot hold every text. "
            "Create one with: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0;"
        )


@contextmanager
def read_only(begin: Callable[[], AbstractContextManager[Connection]]) -> Iterator[Connection]:
    """A transaction, begun so, in which Postgres refuses every write."""
    with begin() as connection:
        connection.execute(text("SET TRANSACTION READ ONLY"))
        yield connection


# Whether this user may do what a sync does, found out before anything is done, and what gives the right where not.


_USER: Final = text("SELECT current_user")
_RIGHTS: Final = text("""
SELECT current_user, current_database(), has_database_privilege(current_database(), 'CREATE'),
    has_database_privilege(current_database(), 'TEMPORARY'),
    (SELECT has_schema_privilege(oid, 'CREATE') AND has_schema_privilege(oid, 'USAGE') FROM pg_namespace
     WHERE nspname = :schema)
""")


def why_refused(
    connection: Connection, schema: str, tables: Iterable[Table], location: str, more: Iterable[str] = ()
) -> str | None:
    """Why no sync can be made here: nothing can be written, or this user may not make the schema or these tables, or
    change those that are there. It names the statements that help, and `more` that somebody else has found missing."""
    if why := facts_of(connection).read_only:
        return f"Postgres at {location} is read-only: {why}.\nUse an address that can be written to."
    if foreign := why_foreign(connection, schema, [table.name for table in tables]):
        return f"Postgres at {location}: {foreign}"
    missing = [*_missing(connection, schema), *more]
    if not missing:
        return None
    user = connection.execute(_USER).scalar_one()
    return (
        f"Postgres at {location}: the user {user} lacks rights that a sync into the schema {schema} needs.\n"
        f"As an owner of the database run: {' '.join(missing)}"
    )


@contextmanager
def explained_by(refusal: str | None) -> Iterator[None]:
    """Where this user may not even look: raise `DestinationError` with what would be refused anyway, which helps more
    than the name of the first table that is hidden."""
    try:
        yield
    except (ProgrammingError, InsufficientPrivilege) as error:
        if refusal is None or not isinstance(getattr(error, "orig", error), InsufficientPrivilege):
            raise
        raise DestinationError(refusal) from error


def _missing(connection: Connection, schema: str) -> Iterator[str]:
    user, database, may_create, may_stage, may_use = connection.execute(_RIGHTS, {"schema": schema}).one()
    if may_use is None and not may_create:
        yield statement("CREATE SCHEMA {} AUTHORIZATION {};", schema, user)
    if may_use is False:
        yield statement("GRANT USAGE, CREATE ON SCHEMA {} TO {};", schema, user)
    if not may_stage:
        yield statement("GRANT TEMPORARY ON DATABASE {} TO {};", database, user)
