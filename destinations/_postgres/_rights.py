"""Whether this user may do what a sync does, found out before anything is done, and what gives the right where not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from psycopg import sql
from psycopg.errors import InsufficientPrivilege
from sqlalchemy import Connection, Table, text
from sqlalchemy.exc import ProgrammingError

from vectorferry.connector.plugin import DestinationError

from ._database import facts_of

__all__ = ["check_rights", "statement", "told_as", "why_refused"]

_USER: Final = text("SELECT current_user")
_DATABASE: Final = text("""
SELECT current_user, current_database(), has_database_privilege(current_database(), 'CREATE'),
    has_database_privilege(current_database(), 'TEMPORARY')
""")
_SCHEMA: Final = text("""
SELECT has_schema_privilege(oid, 'CREATE') AND has_schema_privilege(oid, 'USAGE') FROM pg_namespace
WHERE nspname = :schema
""")
_FOREIGN: Final = text("""
SELECT c.relname, pg_get_userbyid(c.relowner) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = :schema AND c.relname = ANY(CAST(:tables AS text[])) AND NOT pg_has_role(c.relowner, 'USAGE')
ORDER BY 1 LIMIT 1
""")


def check_rights(
    connection: Connection, schema: str, tables: Iterable[Table], location: str, more: Iterable[str] = ()
) -> None:
    """Raise `DestinationError` with what `why_refused` says, if anything."""
    if why := why_refused(connection, schema, tables, location, more):
        raise DestinationError(why)


def why_refused(
    connection: Connection, schema: str, tables: Iterable[Table], location: str, more: Iterable[str] = ()
) -> str | None:
    """Why no sync can be made here: nothing can be written, or this user may not make the schema or these tables, or
    change those that are there. It names the statements that help, and `more` that somebody else has found missing."""
    if why := facts_of(connection).read_only:
        return f"Postgres at {location} is read-only: {why}.\nUse an address that can be written to."
    missing = [*_missing(connection, schema, [table.name for table in tables]), *more]
    if not missing:
        return None
    user = connection.execute(_USER).scalar_one()
    return (
        f"Postgres at {location}: the user {user} lacks rights that a sync into the schema {schema} needs.\n"
        f"As an owner of the database run: {' '.join(missing)}"
    )


@contextmanager
def told_as(refusal: str | None) -> Iterator[None]:
    """Where this user may not even look: raise `DestinationError` with what would be refused anyway, which helps more
    than the name of the first table that is hidden."""
    try:
        yield
    except (ProgrammingError, InsufficientPrivilege) as error:
        if refusal is None or not isinstance(getattr(error, "orig", error), InsufficientPrivilege):
            raise
        raise DestinationError(refusal) from error


def _missing(connection: Connection, schema: str, tables: Sequence[str]) -> Iterator[str]:
    user, database, may_create, may_stage = connection.execute(_DATABASE).one()
    may_use = connection.execute(_SCHEMA, {"schema": schema}).scalar()
    if may_use is None and not may_create:
        yield statement("CREATE SCHEMA {} AUTHORIZATION {};", schema, user)
    if may_use is False:
        yield statement("GRANT USAGE, CREATE ON SCHEMA {} TO {};", schema, user)
    if not may_stage:
        yield statement("GRANT TEMPORARY ON DATABASE {} TO {};", database, user)
    for _, owner in connection.execute(_FOREIGN, {"schema": schema, "tables": tables}):
        yield statement("GRANT {} TO {};", owner, user)


def statement(template: str, *names: str) -> str:
    """With these names in it, quoted."""
    quoted = map(sql.Identifier, names)
    return sql.SQL(template).format(*quoted).as_string()
