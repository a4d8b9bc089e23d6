"""What somebody else has built upon a relation or a function, which could not go on without it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import psycopg

__all__ = ["dependants_of_column", "dependants_of_function", "dependants_of_relation"]

# A view's rule depends on the view itself, internally; other views' rules, policies and functions as anything does.
# What belongs to a relation, such as an index, goes with it; what belongs to a column, with that.
_RELATION: Final = """
SELECT DISTINCT coalesce('view ' || w.ev_class::regclass::text, pg_describe_object(d.classid, d.objid, d.objsubid))
FROM pg_depend d LEFT JOIN pg_rewrite w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid
WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = to_regclass(%(name)s)
AND (w.ev_class IS NULL OR w.ev_class <> ALL(
    SELECT to_regclass(ours.name) FROM unnest(%(ours)s::text[]) AS ours (name)))
AND (%(column)s::text IS NULL OR d.refobjsubid = (SELECT attnum FROM pg_attribute
    WHERE attrelid = to_regclass(%(name)s) AND attname = %(column)s AND NOT attisdropped))
AND (d.deptype = 'n' OR %(indexes)s AND d.deptype = 'a'
    AND d.classid IN ('pg_class'::regclass, 'pg_constraint'::regclass)) ORDER BY 1
"""
_FUNCTION: Final = """
SELECT DISTINCT pg_describe_object(d.classid, d.objid, d.objsubid) FROM pg_depend d
JOIN pg_proc p ON p.oid = d.refobjid JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE d.refclassid = 'pg_proc'::regclass AND n.nspname = %s AND p.proname = %s AND d.deptype IN ('n', 'a') ORDER BY 1
"""

_Driver = psycopg.Connection[tuple[object, ...]]


def dependants_of_relation(driver: _Driver, name: str, ours: Sequence[str] = ()) -> list[str]:
    """What depends on a relation, but for `ours`: views. Names are qualified and quoted."""
    return _dependants(driver, name, None, ours, with_indexes=False)


def dependants_of_column(
    driver: _Driver, name: str, column: str, ours: Sequence[str], *, with_indexes: bool
) -> list[str]:
    """What depends on one column of a relation, but for `ours`; indexes and constraints where they are asked for."""
    return _dependants(driver, name, column, ours, with_indexes=with_indexes)


def _dependants(
    driver: _Driver, name: str, column: str | None, ours: Sequence[str], *, with_indexes: bool
) -> list[str]:
    values = {"name": name, "column": column, "ours": list(ours), "indexes": with_indexes}
    return [str(row[0]) for row in driver.execute(_RELATION, values)]


def dependants_of_function(driver: _Driver, schema: str, name: str) -> list[str]:
    """What depends on a function."""
    return [str(row[0]) for row in driver.execute(_FUNCTION, (schema, name))]
