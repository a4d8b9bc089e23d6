"""What others have of a relation or a function: rights, row-level security, and what they have built upon it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from psycopg import sql
from sqlalchemy import TextClause, text

from vectorferry.connector.plugin import ConfigurationError
from vectorferry.destinations._postgres import Driver, fixed, joined, statement
from vectorferry.destinations.pgvector._schema import CHOSEN_INDEX

# An earlier version's took a vector, a number and a filter. Whoever makes a function of the same name and with other
# arguments makes it for something else.
_SIGNATURES: Final = text("""
SELECT p.proname, p.oid::regprocedure::text, oidvectortypes(p.proargtypes) = :arguments FROM pg_proc p
JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_type t ON t.oid = p.proargtypes[0]
WHERE n.nspname = :schema AND p.proname = ANY(:names) AND (oidvectortypes(p.proargtypes) = :arguments
    OR t.typname IN ('vector', 'halfvec', 'sparsevec') AND p.pronargs = 3
    AND p.proargtypes[1] = 'integer'::regtype AND p.proargtypes[2] = 'jsonb'::regtype)
""")


def signatures(schema: str, names: Sequence[str], arguments: str) -> TextClause:
    """Asks for the search functions of these names: name, signature, quoted for a statement, and whether it takes these
    arguments, as this version's do."""
    return _SIGNATURES.bindparams(schema=schema, names=[*names], arguments=arguments)


# What somebody else has built upon a relation or a function, which could not go on without it.


# A view's rule depends on the view itself, internally; other views' rules, policies and functions as anything does.
# What belongs to a relation, such as an index or a column that is computed from others, goes with it; what belongs to a
# column, with that. An index that the mapping had us make is nobody else's: it goes before its column does.
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
    AND d.classid IN ('pg_class'::regclass, 'pg_constraint'::regclass))
AND NOT (d.classid = 'pg_class'::regclass AND EXISTS (
    SELECT FROM pg_class i WHERE i.oid = d.objid AND i.relkind = 'i' AND starts_with(i.relname, %(chosen)s))) ORDER BY 1
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


def dependants_of_relation(driver: Driver, name: str, own_views: Sequence[str] = ()) -> list[str]:
    """What depends on a relation, but for `own_views`: views. Names are qualified and quoted."""
    built = _dependants(driver, name, None, own_views, with_indexes=False)
    return [*built, *_made_of_rows(driver, name, stored=False)]


def dependants_of_column(driver: Driver, name: str, column: str, own_views: Sequence[str], *, goes: bool) -> list[str]:
    """What depends on one column of a relation, but for `own_views`, and cannot stay when the column gets another type,
    or when it `goes`: then that is indexes and constraints too."""
    built = _dependants(driver, name, column, own_views, with_indexes=goes)
    return built if goes else [*built, *_made_of_rows(driver, name, stored=True)]


def _dependants(
    driver: Driver, name: str, column: str | None, own_views: Sequence[str], *, with_indexes: bool
) -> list[str]:
    asked = {"name": name, "column": column, "ours": list(own_views)}
    values = {**asked, "indexes": with_indexes, "chosen": CHOSEN_INDEX}
    return [str(row[0]) for row in driver.execute(_RELATION, values)]


def _made_of_rows(driver: Driver, name: str, *, stored: bool) -> list[str]:
    return [str(row[0]) for row in driver.execute(_ROW_TYPE, {"name": name, "stored": stored})]


def dependants_of_functions(driver: Driver, signatures: Sequence[str]) -> list[str]:
    """What depends on some functions, given as Postgres quotes their signatures."""
    return [str(row[0]) for row in driver.execute(_FUNCTION, ([*signatures],))]


def check_functions_alone(driver: Driver, schema: str, signatures: Sequence[str]) -> None:
    """Raise `ConfigurationError` when somebody has built upon functions that have to be made anew."""
    if others := dependants_of_functions(driver, signatures):
        raise ConfigurationError(
            f"{', '.join(signatures)} in schema {schema} has to be made anew, and depends on it: {', '.join(others)}. "
            "Drop that, run again, and make it again afterwards."
        )


# What roles may do with a view or a function, carried over to one that is made anew, or beside it.


_ON_RELATION: Final = """
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

# Postgres' own defaults for what this user makes, or the user's own in their place; and those for the schema, which add
# to either (https://www.postgresql.org/docs/current/sql-alterdefaultprivileges.html).
_ON_NEW: Final = """
SELECT a.privilege_type, r.rolname, bool_or(a.is_grantable), NULL
FROM pg_roles u CROSS JOIN LATERAL (
    SELECT coalesce(
        (SELECT d.defaclacl FROM pg_default_acl d
            WHERE d.defaclrole = u.oid AND d.defaclnamespace = 0 AND d.defaclobjtype = CAST(%(kind)s AS "char")),
        acldefault(CAST(%(kind)s AS "char"), u.oid))
    UNION ALL SELECT d.defaclacl FROM pg_default_acl d JOIN pg_namespace n ON n.oid = d.defaclnamespace
        WHERE d.defaclrole = u.oid AND n.nspname = %(schema)s AND d.defaclobjtype = CAST(%(kind)s AS "char")
) acls (acl) CROSS JOIN aclexplode(acls.acl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
WHERE u.rolname = current_user AND a.grantee <> u.oid GROUP BY 1, 2
"""

_OPTIONS: Final = """
SELECT unnest(c.reloptions) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s AND c.relkind = 'v'
"""


@dataclass(frozen=True, slots=True)
class Grant:
    """One privilege of one role (None: PUBLIC), on one column where `column` names it."""

    privilege: str
    role: str | None
    is_grantable: bool
    column: str | None


def relation_grants(driver: Driver, schema: str, name: str) -> list[Grant]:
    """What others than its owner may do with a table or a view."""
    return _grants(driver.execute(_ON_RELATION, {"schema": schema, "name": name}))


def function_grants(driver: Driver, signatures: Sequence[str]) -> list[Grant]:
    """What others than their owner may do with functions, given as Postgres quotes their signatures."""
    return _grants(driver.execute(_ON_FUNCTION, ([*signatures],)))


def grants_on_new(
    driver: Driver, schema: str, kind: Literal["TABLE", "FUNCTION"], target: sql.Composable, grants: Sequence[Grant]
) -> Iterator[str]:
    """The statements that give exactly these grants on something that has just been made, whatever the defaults are."""
    code = {"TABLE": "r", "FUNCTION": "f"}[kind]
    defaults = _grants(driver.execute(_ON_NEW, {"schema": schema, "kind": code}))
    yield from (_grant_statement("REVOKE", grant, kind, target) for grant in defaults if grant not in grants)
    yield from (_grant_statement("GRANT", grant, kind, target) for grant in grants if grant not in defaults)


def view_options(driver: Driver, schema: str, view: str) -> dict[str, str]:
    """What a view is made with, such as ``{"security_invoker": "true"}``: one that reads with its caller's rights is to
    go on so. Empty where there is no such view."""
    pairs = (str(option).partition("=") for (option,) in driver.execute(_OPTIONS, (schema, view)))
    return {name: value for name, _, value in pairs}


def view_options_clause(options: Mapping[str, str]) -> sql.Composable:
    """How a view is made with these."""
    pairs = [sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(value)) for name, value in options.items()]
    return sql.SQL(" WITH ({})").format(joined(pairs)) if pairs else sql.SQL("")


def reads_as_caller(options: Mapping[str, str]) -> bool:
    """Whether whoever asks such a view needs rights on what it reads."""
    return options.get("security_invoker", "false").lower() in ("true", "on", "yes", "1")


def _grants(rows: Iterable[Any]) -> list[Grant]:
    return [Grant(*row) for row in rows]


def _grant_statement(verb: str, grant: Grant, kind: str, target: sql.Composable) -> str:
    return statement(
        "{verb} {privilege}{column} ON {kind} {target} {to} {role}{option}",
        verb=fixed(verb),
        privilege=fixed(grant.privilege),
        column=sql.SQL(" ({})").format(sql.Identifier(grant.column)) if grant.column else sql.SQL(""),
        kind=fixed(kind),
        target=target,
        to=fixed("TO" if verb == "GRANT" else "FROM"),
        role=sql.SQL("PUBLIC") if grant.role is None else sql.Identifier(grant.role),
        option=fixed(" WITH GRANT OPTION" if grant.is_grantable and verb == "GRANT" else ""),
    )


# Row-level security of a table, carried over to another one with the same columns: whoever may read only some rows of
# the one may read only these of the other.


_SWITCHES: Final = """
SELECT c.relrowsecurity, c.relforcerowsecurity FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s
"""

_POLICIES: Final = """
SELECT policyname, permissive, cmd, roles, qual, with_check FROM pg_policies WHERE schemaname = %s AND tablename = %s
"""


def row_security_statements(driver: Driver, schema: str, table: str, to: str) -> Iterator[str]:
    """Switch it on for another table where it is on, with the same policies."""
    target = sql.Identifier(schema, to)
    for policy in driver.execute(_POLICIES, (schema, table)).fetchall():
        yield _policy(target, table, to, *policy)
    enabled, forced = driver.execute(_SWITCHES, (schema, table)).fetchone() or (False, False)
    if enabled:
        yield statement("ALTER TABLE {} ENABLE ROW LEVEL SECURITY", target)
    if forced:
        yield statement("ALTER TABLE {} FORCE ROW LEVEL SECURITY", target)


def _policy(
    target: sql.Identifier, table: str, to: str, name: Any, kind: Any, command: Any, roles: Any, using: Any, check: Any
) -> str:
    return statement(
        "CREATE POLICY {name} ON {target} AS {kind} FOR {command} TO {roles}{using}{check}",
        name=sql.Identifier(name),
        target=target,
        kind=fixed(kind),
        command=fixed(command),
        # Postgres has no role of the name public: that is everybody.
        roles=joined(sql.SQL("PUBLIC") if role == "public" else sql.Identifier(role) for role in roles),
        using=_condition("USING", using, table, to),
        check=_condition("WITH CHECK", check, table, to),
    )


def _condition(word: str, expression: str | None, table: str, to: str) -> sql.SQL:
    """An expression as Postgres gives it: sub-selects in it call the row's columns by the name of their table."""
    renamed = re.sub(rf"\b{re.escape(table)}\.", f"{to}.", expression or "")
    return fixed(f" {word} ({renamed})" if expression else "")
