"""What others have of a relation or a function: rights, row-level security, and what they have built upon it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import psycopg
from psycopg import sql

__all__ = [
    "copy_grants",
    "copy_row_security",
    "dependants_of_column",
    "dependants_of_function",
    "dependants_of_relation",
    "keeping_grants",
    "search_functions",
]


# A vector, a number and a filter: whoever makes a function of the same name makes it for something else.
_SIGNATURES: Final = """
SELECT p.oid::regprocedure::text, format_type(p.proargtypes[0], -1) FROM pg_proc p
JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_type t ON t.oid = p.proargtypes[0]
WHERE n.nspname = %s AND p.proname = %s AND t.typname IN ('vector', 'halfvec', 'sparsevec') AND p.pronargs = 3
AND p.proargtypes[1] = 'integer'::regtype AND p.proargtypes[2] = 'jsonb'::regtype
"""


_Driver = psycopg.Connection[tuple[object, ...]]


def search_functions(driver: _Driver, schema: str, name: str) -> dict[str, str]:
    """By signature, quoted for a statement: the type of the vectors that a search function of this name takes."""
    return {str(signature): str(kind) for signature, kind in driver.execute(_SIGNATURES, (schema, name))}


# What somebody else has built upon a relation or a function, which could not go on without it.


# A view's rule depends on the view itself, internally; other views' rules, policies and functions as anything does.
# What belongs to a relation, such as an index or a column that is computed from others, goes with it; what belongs to a
# column, with that.
_RELATION: Final = """
SELECT DISTINCT coalesce('view ' || w.ev_class::regclass::text, pg_describe_object(d.classid, d.objid, d.objsubid))
FROM pg_depend d LEFT JOIN pg_rewrite w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid
WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = to_regclass(%(name)s)
AND NOT (d.classid = 'pg_attrdef'::regclass AND EXISTS (
    SELECT FROM pg_attrdef a WHERE a.oid = d.objid AND a.adrelid = d.refobjid))
AND (w.ev_class IS NULL OR w.ev_class <> ALL(
    SELECT to_regclass(ours.name) FROM unnest(%(ours)s::text[]) AS ours (name)))
AND (%(column)s::text IS NULL OR d.refobjsubid = (SELECT attnum FROM pg_attribute
    WHERE attrelid = to_regclass(%(name)s) AND attname = %(column)s AND NOT attisdropped))
AND (d.deptype = 'n' OR %(indexes)s AND d.deptype = 'a'
    AND d.classid IN ('pg_class'::regclass, 'pg_constraint'::regclass)) ORDER BY 1
"""


# Functions, columns and types that are made of a relation's rows cannot be without it. When one of its columns gets
# another type, only what stores such rows is in the way.
_ROW_TYPE: Final = """
SELECT DISTINCT pg_describe_object(d.classid, d.objid, d.objsubid) FROM pg_class c JOIN pg_type t ON t.oid = c.reltype
JOIN pg_depend d ON d.refclassid = 'pg_type'::regclass AND d.refobjid IN (t.oid, t.typarray) AND d.deptype = 'n'
LEFT JOIN pg_class s ON d.classid = 'pg_class'::regclass AND s.oid = d.objid AND s.relkind IN ('r', 'm', 'p')
WHERE c.oid = to_regclass(%(name)s) AND (s.oid IS NOT NULL OR NOT %(stored)s) ORDER BY 1
"""


_FUNCTION: Final = """
SELECT DISTINCT pg_describe_object(d.classid, d.objid, d.objsubid) FROM pg_depend d
WHERE d.refclassid = 'pg_proc'::regclass AND d.refobjid = ANY(CAST(%s AS regprocedure[])::oid[])
AND d.deptype IN ('n', 'a') ORDER BY 1
"""


def dependants_of_relation(driver: _Driver, name: str, ours: Sequence[str] = ()) -> list[str]:
    """What depends on a relation, but for `ours`: views. Names are qualified and quoted."""
    built = _dependants(driver, name, None, ours, with_indexes=False)
    return [*built, *_made_of_rows(driver, name, stored=False)]


def dependants_of_column(driver: _Driver, name: str, column: str, ours: Sequence[str], *, goes: bool) -> list[str]:
    """What depends on one column of a relation, but for `ours`, and cannot stay when the column gets another type, or
    when it `goes`: then that is indexes and constraints too."""
    built = _dependants(driver, name, column, ours, with_indexes=goes)
    return built if goes else [*built, *_made_of_rows(driver, name, stored=True)]


def _dependants(
    driver: _Driver, name: str, column: str | None, ours: Sequence[str], *, with_indexes: bool
) -> list[str]:
    values = {"name": name, "column": column, "ours": list(ours), "indexes": with_indexes}
    return [str(row[0]) for row in driver.execute(_RELATION, values)]


def _made_of_rows(driver: _Driver, name: str, *, stored: bool) -> list[str]:
    return [str(row[0]) for row in driver.execute(_ROW_TYPE, {"name": name, "stored": stored})]


def dependants_of_function(driver: _Driver, schema: str, name: str) -> list[str]:
    """What depends on a search function."""
    ours = [*search_functions(driver, schema, name)]
    return [str(row[0]) for row in driver.execute(_FUNCTION, (ours,))]


# What roles may do with a view or a function, carried over to one that is made anew, or beside it.


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


# Row-level security of a table, carried over to another one with the same columns: whoever may read only some rows of
# the one may read only these of the other.


_SWITCHES: Final = """
SELECT c.relrowsecurity, c.relforcerowsecurity FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s
"""


_POLICIES: Final = """
SELECT policyname, permissive, cmd, roles, qual, with_check FROM pg_policies WHERE schemaname = %s AND tablename = %s
"""


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
