"""What somebody else has built upon a relation or a function, which could not go on without it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import psycopg

__all__ = ["dependants_of_function", "dependants_of_relation"]

# A view's rule depends on the view itself, internally; other views' rules, policies and functions as anything does.
_RELATION: Final = """
SELECT DISTINCT coalesce('view ' || w.ev_class::regclass::text, pg_describe_object(d.classid, d.objid, d.objsubid))
FROM pg_depend d LEFT JOIN pg_rewrite w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid
WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = to_regclass(%(name)s)
AND CASE WHEN %(column)s::text IS NULL THEN d.deptype = 'n' ELSE d.refobjsubid = (
    SELECT attnum FROM pg_attribute
    WHERE attrelid = to_regclass(%(name)s) AND attname = %(column)s AND NOT attisdropped)
    AND (d.deptype = 'n' OR d.deptype = 'a' AND d.classid IN ('pg_class'::regclass, 'pg_constraint'::regclass)) END
AND NOT (w.ev_class IS NOT NULL AND w.ev_class = ANY(%(ours)s::regclass[])) ORDER BY 1
"""
_FUNCTION: Final = """
SELECT DISTINCT pg_describe_object(d.classid, d.objid, d.objsubid) FROM pg_depend d
JOIN pg_proc p ON p.oid = d.refobjid JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE d.refclassid = 'pg_proc'::regclass AND n.nspname = %s AND p.proname = %s AND d.deptype IN ('n', 'a') ORDER BY 1
"""

_Driver = psycopg.Connection[tuple[object, ...]]


def dependants_of_relation(
    driver: _Driver, name: str, column: str | None = None, ours: Sequence[str] = ()
) -> list[str]:
    """What depends on a relation, or on one column of it, but for `ours`: views. Names are qualified and quoted.

    Indexes and constraints belong to a relation; they count as dependants of one of its columns only.
    """
    found = driver.execute(_RELATION, {"name": name, "column": column, "ours": list(ours)})
    return [str(row[0]) for row in found]


def dependants_of_function(driver: _Driver, schema: str, name: str) -> list[str]:
    """What depends on a function."""
    return [str(row[0]) for row in driver.execute(_FUNCTION, (schema, name))]
