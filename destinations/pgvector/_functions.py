"""Search functions in the catalogues of Postgres: ours of a name, beside what somebody else gave the same name."""

from __future__ import annotations

from typing import Final

import psycopg

__all__ = ["search_functions"]

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
