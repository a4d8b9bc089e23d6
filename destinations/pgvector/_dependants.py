"""What somebody else has built upon a relation or a function, which could not go on without it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import psycopg

from ._functions import search_functions

__all__ = ["dependants_of_column", "dependants_of_function", "dependants_of_relation"]

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

_Driver = psycopg.Connection[tuple[object, ...]]


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
