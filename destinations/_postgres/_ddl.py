"""Making a schema and its tables: whether this user may, which are missing, and the steps that make them.

Whatever prepares a store first works out a list of steps, in a transaction that cannot write if it only wants to know.
`plan` prints them and `prepare` runs them: so what is announced is what happens.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import Any, Final, LiteralString, TypeAlias

from psycopg import sql
from psycopg.errors import InsufficientPrivilege
from sqlalchemy import Connection, Executable, MetaData, Table, TextClause, create_mock_engine, inspect, text
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.schema import CreateSchema

from vectorferry.connector.plugin import DestinationError, LockedError, pause
from vectorferry.destinations._postgres._blockers import is_lock_timeout, lock_holders
from vectorferry.destinations._postgres._connection import together
from vectorferry.destinations._postgres._database import driver_of, facts_of
from vectorferry.destinations._postgres._relations import Relations

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
    with together(driver):
        shown = driver.execute("SHOW lock_timeout")
        driver.execute("SAVEPOINT steps")
        driver.execute(be_brief)
    (before,) = shown.fetchone() or ("0",)
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


def place_of(table: Table) -> sql.Identifier:
    """The table with its schema, quoted."""
    return sql.Identifier(str(table.schema), table.name)


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


def steps_to_create(relations: Relations | None, schema: str, *tables: MetaData) -> list[str]:
    """What makes the schema and those of its tables that are not there yet, and lets their rows be told apart.
    `relations` are to know of these tables; without any, nothing is there."""
    all_tables = [table for metadata in tables for table in metadata.tables.values()]
    stored = relations.columns if relations is not None else {}
    keyed = relations.keyed if relations is not None else ()
    is_there = relations is not None and (stored or inspect(relations.connection).has_schema(schema))
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
    return [statement("ALTER TABLE {} REPLICA IDENTITY FULL", place_of(table))]


def _written_out(element: Any) -> str:
    return str(element.compile(dialect=DIALECT)).strip()


DIALECT: Final = create_mock_engine("postgresql+psycopg://", print).dialect  # needs no server


def check_encoding(connection: Connection, location: str) -> None:
    """Raise what `check_encoding_is` raises of the database's own."""
    check_encoding_is(str(connection.execute(ENCODING).scalar_one()), location)


ENCODING: Final = text("SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()")


def check_encoding_is(encoding: str, location: str) -> None:
    """Raise `DestinationError` when a database with this encoding cannot hold every text."""
    if encoding != "UTF8":
        raise DestinationError(
            f"the database of Postgres at {location} has the encoding {encoding}, which cannot hold every text. "
            "Create one with: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0;"
        )


# Whether this user may do what a sync does, found out before anything is done, and what gives the right where not.


_RIGHTS: Final = text("""
SELECT current_user AS us, current_database() AS database,
    has_database_privilege(current_database(), 'CREATE') AS may_create,
    has_database_privilege(current_database(), 'TEMPORARY') AS may_stage,
    (SELECT has_schema_privilege(oid, 'CREATE') AND has_schema_privilege(oid, 'USAGE') FROM pg_namespace
     WHERE nspname = :schema) AS may_use
""")


def rights_in(schema: str) -> TextClause:
    """Asks what this user may do here, for `refusal_of`."""
    return _RIGHTS.bindparams(schema=schema)


def why_refused(connection: Connection, schema: str, tables: Iterable[Table], location: str) -> str | None:
    """What `refusal_of` says."""
    relations, names = Relations(connection, schema), [table.name for table in tables]
    ((rights,),) = relations.read(names, rights_in(schema))
    return refusal_of(relations, rights, names, location)


def refusal_of(
    relations: Relations, rights: Any, tables: Iterable[str], location: str, more: Iterable[str] = ()
) -> str | None:
    """Why no sync can be made here: nothing can be written, or this user may not make the schema or these tables, or
    change those that are there. It names the statements that help, and `more` that somebody else has found missing."""
    if why := facts_of(relations.connection).read_only:
        return f"Postgres at {location} is read-only: {why}.\nUse an address that can be written to."
    if foreign := relations.why_foreign(tables):
        return f"Postgres at {location}: {foreign}"
    missing = [*_missing(relations.schema, rights), *more]
    if not missing:
        return None
    return (
        f"Postgres at {location}: the user {rights.us} lacks rights that a sync into the schema {relations.schema} "
        f"needs.\nAs an owner of the database run: {' '.join(missing)}"
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


def _missing(schema: str, rights: Any) -> Iterator[str]:
    if rights.may_use is None and not rights.may_create:
        yield statement("CREATE SCHEMA {} AUTHORIZATION {};", schema, rights.us)
    if rights.may_use is False:
        yield statement("GRANT USAGE, CREATE ON SCHEMA {} TO {};", schema, rights.us)
    if not rights.may_stage:
        yield statement("GRANT TEMPORARY ON DATABASE {} TO {};", rights.database, rights.us)
