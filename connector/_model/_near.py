"""Which known word is meant by one that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

OTHER_NAMES: Final = {
    "postgres": ("pgvector",),
    "postgresql": ("pgvector",),
    "euclidean": ("l2",),
    "dot": ("inner_product",),
    "dotproduct": ("inner_product",),
    "manhattan": ("l1",),
    "string": ("text",),
    "str": ("text",),
    "varchar": ("text",),
    "int": ("integer",),
    "int4": ("integer",),
    "int8": ("bigint",),
    "long": ("bigint",),
    "float": ("double precision",),
    "float8": ("double precision",),
    "real": ("double precision",),
    "number": ("double precision",),
    "numeric": ("double precision",),
    "bool": ("boolean",),
    "timestamp": ("timestamptz",),
    "datetime": ("timestamptz",),
    "date": ("timestamptz",),
    "json": ("jsonb", "json"),
    "delete": ("prune", "drop"),
    "remove": ("prune", "drop"),
    "hide": ("tombstone",),
    "=": ("eq",),
    "==": ("eq",),
    "!=": ("ne",),
    "<>": ("ne",),
    "<": ("lt",),
    "<=": ("lte",),
    "le": ("lte",),
    ">": ("gt",),
    ">=": ("gte",),
    "ge": ("gte",),
    "not_in": ("nin",),
}
"""What others call something of ours."""


def closest(word: str, words: Iterable[str]) -> str:
    """``; did you mean WORD?`` when one of the known words is near, or is another name for it, else nothing."""
    known = list(words)
    near = [name for name in OTHER_NAMES.get(word.lower(), ()) if name in known]
    near = near or difflib.get_close_matches(word[:100], known, n=1)
    return f"; did you mean {near[0][:100]}?" if near else ""
