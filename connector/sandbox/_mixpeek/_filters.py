"""Filters and sorting: best effort, as far as Mixpeek's pages describe them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from vectorferry.connector.sandbox._http import RefusedError

__all__ = ["matches", "pick", "select", "sort_rows"]

Row = TypeVar("Row")


def pick(fields: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path, None when there is none."""
    value: Any = fields
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def matches(fields: Mapping[str, Any], filters: Mapping[str, Any] | None) -> bool:
    """Whether a row passes ``{"AND": [...], "OR": [...], "NOR": [...], "case_sensitive": false}``."""
    return not filters or _logical(fields, filters, bool(filters.get("case_sensitive")))


def select(fields: Mapping[str, Any], paths: Iterable[str] | None) -> Mapping[str, Any]:
    """Only the fields that dotted `paths` name, everything without paths."""
    if not paths:
        return fields
    chosen: dict[str, Any] = {}
    for path in paths:
        *parents, last = path.split(".")
        inner = chosen
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[last] = pick(fields, path)
    return chosen


def sort_rows(
    rows: Iterable[Row], sort: Mapping[str, Any] | None, fields: Callable[[Row], Mapping[str, Any]]
) -> list[Row]:
    """Rows by one field, those without it last; a stable sort."""
    found = list(rows)
    if not sort:
        return found
    path = str(sort.get("field"))
    present = [row for row in found if pick(fields(row), path) is not None]
    absent = [row for row in found if pick(fields(row), path) is None]
    present.sort(key=lambda row: _orderable(pick(fields(row), path)), reverse=sort.get("direction") == "desc")
    return present + absent


def _orderable(value: Any) -> tuple[int, Any]:
    return (0, value) if isinstance(value, int | float) else (1, str(value))


def _logical(fields: Mapping[str, Any], item: Mapping[str, Any], exact: bool) -> bool:
    if "key" in item:
        return _condition(fields, item, exact)
    passed = [[_logical(fields, inner, exact) for inner in item.get(name) or ()] for name in ("AND", "OR", "NOR")]
    every, some, none = passed
    return all(every) and (any(some) or not some) and not any(none)


def _condition(fields: Mapping[str, Any], item: Mapping[str, Any], exact: bool) -> bool:
    name = item.get("operator") or "eq"
    if name not in _OPERATORS:
        raise RefusedError(400, f"Unknown filter operator {name!r}; known: {', '.join(_OPERATORS)}")
    found, wanted = pick(fields, str(item["key"])), item.get("value")
    if not exact:
        found, wanted = _folded(found), _folded(wanted)
    try:
        return _OPERATORS[name](found, wanted)
    except TypeError:
        return False


def _folded(value: Any) -> Any:
    if isinstance(value, list):
        return [_folded(one) for one in value]
    return value.casefold() if isinstance(value, str) else value


def _equal(found: Any, wanted: Any) -> bool:
    return bool(found == wanted or (isinstance(found, list) and wanted in found))


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": _equal,
    "ne": lambda found, wanted: not _equal(found, wanted),
    "gt": lambda found, wanted: bool(found > wanted),
    "lt": lambda found, wanted: bool(found < wanted),
    "gte": lambda found, wanted: bool(found >= wanted),
    "lte": lambda found, wanted: bool(found <= wanted),
    "in": lambda found, wanted: any(_equal(found, one) for one in wanted),
    "nin": lambda found, wanted: not any(_equal(found, one) for one in wanted),
    "is_null": lambda found, wanted: (found is None) == (wanted is not False),
    "text": lambda found, wanted: str(wanted) in str(found),
    "exists": lambda found, wanted: (found is not None) == (wanted is not False),
}
