"""What roles may do with a view and a function, carried over to one that is made anew, or beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import sql

from ._catalogue import Layer

__all__ = ["Grant", "LayerGrants", "give_grants", "grants_on"]

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
SELECT a.privilege_type, r.rolname, a.is_grantable, NULL
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
CROSS JOIN aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a LEFT JOIN pg_roles r ON r.oid = a.grantee
WHERE n.nspname = %(schema)s AND p.proname = %(name)s AND a.grantee <> p.proowner
"""

_Driver = psycopg.Connection[tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class Grant:
    """One privilege of one role (None: PUBLIC), on one column where `column` names it."""

    privilege: str
    role: str | None
    is_grantable: bool
    column: str | None


@dataclass(frozen=True, slots=True)
class LayerGrants:
    """Those on a view and those on its search function; the owner's are left out."""

    view: Sequence[Grant]
    function: Sequence[Grant]


def grants_on(driver: _Driver, schema: str, layer: Layer) -> LayerGrants:
    """What others than the owner may do with a layer."""
    return LayerGrants(
        view=_read(driver, _ON_VIEW, schema, layer.view), function=_read(driver, _ON_FUNCTION, schema, layer.function)
    )


def give_grants(driver: _Driver, schema: str, layer: Layer, grants: LayerGrants) -> None:
    """Let others do with a new layer exactly this, whatever its defaults are. A column that it lacks is passed over."""
    held = grants_on(driver, schema, layer)
    for kind, name, wanted, given in (
        ("TABLE", layer.view, grants.view, held.view),
        ("FUNCTION", layer.function, grants.function, held.function),
    ):
        there = sql.Identifier(schema, name)
        for grant in given:
            if grant not in wanted:
                driver.execute(_statement("REVOKE", grant, kind, there))
        for grant in wanted:
            if grant not in given and (grant.column is None or _has_column(driver, schema, name, grant.column)):
                driver.execute(_statement("GRANT", grant, kind, there))


def _read(driver: _Driver, query: str, schema: str, name: str) -> list[Grant]:
    found: list[Any] = driver.execute(query.encode(), {"schema": schema, "name": name}).fetchall()
    return [Grant(*row) for row in found]


def _has_column(driver: _Driver, schema: str, view: str, column: str) -> bool:
    found = driver.execute(
        "SELECT 1 FROM information_schema.columns WHERE (table_schema, table_name, column_name) = (%s, %s, %s)",
        (schema, view, column),
    )
    return found.fetchone() is not None


def _statement(verb: str, grant: Grant, kind: str, there: sql.Identifier) -> sql.Composed:
    role = sql.SQL("PUBLIC") if grant.role is None else sql.Identifier(grant.role)
    column = sql.SQL(" ({})").format(sql.Identifier(grant.column)) if grant.column else sql.SQL("")
    option = " WITH GRANT OPTION" if grant.is_grantable and verb == "GRANT" else ""
    return sql.SQL("{verb} {privilege}{column} ON {kind} {there} {to} {role}{option}").format(
        verb=_fixed(verb),
        privilege=_fixed(grant.privilege),
        column=column,
        kind=_fixed(kind),
        there=there,
        to=_fixed("TO" if verb == "GRANT" else "FROM"),
        role=role,
        option=_fixed(option),
    )


def _fixed(text: Any) -> sql.SQL:
    """A keyword. psycopg wants SQL to be literal, which a lookup is not."""
    return sql.SQL(text)
