"""What roles may do with a view or a function, carried over to one that is made anew, or beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import psycopg
from psycopg import sql

from ._functions import search_functions

__all__ = ["copy_grants", "keeping_grants"]

_ON_VIEW: Final = """
SELECT a.privilege_type, r.rolname, a.is_grantable, NULL
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a LEFT JOIN pg_roles r ON r.oid = a.grantee
WHERE n.nspname = %(schema)s AND c.relname = %(name)s AND a.grantee <> c.relowner
UNION ALL
SELECT a.privilege_type, r.rolname, a.is_grantable, t.attname
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute t ON t.attrelid = c.oid
CROSS JOIN aclexplode(t.attacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
WHERE n.nspname = %(schema)s AND c.relname = %(name)s AND a.grantee <> c.relowner AND NOT t.attisdropped
"""
_ON_FUNCTION: Final = """
SELECT a.privilege_type, r.rolname, a.is_grantable, NULL FROM pg_proc p
CROSS JOIN aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a LEFT JOIN pg_roles r ON r.oid = a.grantee
WHERE p.oid = ANY(CAST(%s AS regprocedure[])) AND a.grantee <> p.proowner
"""
_OPTIONS: Final = """
SELECT unnest(c.reloptions) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s AND c.relkind = 'v'
"""
_COLUMN: Final = """
SELECT 1 FROM pg_attribute t JOIN pg_class c ON c.oid = t.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s AND t.attname = %s AND NOT t.attisdropped
"""

_Driver = psycopg.Connection[tuple[object, ...]]
_Kind: TypeAlias = Literal["TABLE", "FUNCTION"]


@dataclass(frozen=True, slots=True)
class _Grant:
    """One privilege of one role (None: PUBLIC), on one column where `column` names it."""

    privilege: str
    role: str | None
    is_grantable: bool
    column: str | None


@contextmanager
def keeping_grants(driver: _Driver, schema: str, kind: _Kind, name: str) -> Iterator[None]:
    """Make something anew in here: others than its owner may do with it afterwards what they might before, but for
    columns that it does not have any more. A view that reads with its caller's rights goes on to do so."""
    grants, options = _grants_on(driver, schema, kind, name), _options_of(driver, schema, name)
    yield
    _give(driver, schema, kind, name, grants)
    _set_options(driver, schema, name, options)


def copy_grants(driver: _Driver, schema: str, kind: _Kind, name: str, to: str) -> None:
    """Let everybody do with something new what they may do with something else, and in the same way."""
    _give(driver, schema, kind, to, _grants_on(driver, schema, kind, name))
    _set_options(driver, schema, to, _options_of(driver, schema, name))


def _options_of(driver: _Driver, schema: str, view: str) -> list[str]:
    """Such as ``security_invoker=true``; none of what is not a view."""
    return [str(option) for (option,) in driver.execute(_OPTIONS, (schema, view))]


def _set_options(driver: _Driver, schema: str, view: str, options: Sequence[str]) -> None:
    if options:
        pairs = [option.split("=", 1) for option in options]
        values = [sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(value)) for name, value in pairs]
        there = sql.Identifier(schema, view)
        driver.execute(sql.SQL("ALTER VIEW {} SET ({})").format(there, sql.SQL(", ").join(values)))


def _grants_on(driver: _Driver, schema: str, kind: _Kind, name: str) -> list[_Grant]:
    """What others than the owner may do."""
    if kind == "TABLE":
        found = driver.execute(_ON_VIEW, {"schema": schema, "name": name})
    else:
        found = driver.execute(_ON_FUNCTION, ([*search_functions(driver, schema, name)],))
    rows: list[Any] = found.fetchall()
    return [_Grant(*row) for row in rows]


def _give(driver: _Driver, schema: str, kind: _Kind, name: str, wanted: Sequence[_Grant]) -> None:
    """Exactly these, whatever the defaults for new ones are."""
    there, given = _named(driver, schema, kind, name), _grants_on(driver, schema, kind, name)
    for grant in given:
        if grant not in wanted:
            driver.execute(_statement("REVOKE", grant, kind, there))
    for grant in wanted:
        if grant not in given and (grant.column is None or _has_column(driver, schema, name, grant.column)):
            driver.execute(_statement("GRANT", grant, kind, there))


def _named(driver: _Driver, schema: str, kind: _Kind, name: str) -> sql.Composable:
    if kind == "TABLE":
        return sql.Identifier(schema, name)
    return sql.SQL(", ").join(map(_fixed, search_functions(driver, schema, name)))


def _has_column(driver: _Driver, schema: str, view: str, column: str) -> bool:
    return driver.execute(_COLUMN, (schema, view, column)).fetchone() is not None


def _statement(verb: str, grant: _Grant, kind: _Kind, there: sql.Composable) -> sql.Composed:
    return sql.SQL("{verb} {privilege}{column} ON {kind} {there} {to} {role}{option}").format(
        verb=_fixed(verb),
        privilege=_fixed(grant.privilege),
        column=sql.SQL(" ({})").format(sql.Identifier(grant.column)) if grant.column else sql.SQL(""),
        kind=_fixed(kind),
        there=there,
        to=_fixed("TO" if verb == "GRANT" else "FROM"),
        role=sql.SQL("PUBLIC") if grant.role is None else sql.Identifier(grant.role),
        option=_fixed(" WITH GRANT OPTION" if grant.is_grantable and verb == "GRANT" else ""),
    )


def _fixed(text: Any) -> sql.SQL:
    """A keyword, or a name as Postgres quotes it. psycopg wants SQL to be literal, which a lookup is not."""
    return sql.SQL(text)
