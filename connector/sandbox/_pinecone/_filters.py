"""Metadata filters: ``{"genre": {"$in": ["drama"]}, "$or": [{"year": 2019}, …]}``."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

from vectorferry.connector.sandbox._http import RefusedError

__all__ = ["Predicate", "compile_filter"]

Predicate = Callable[[Mapping[str, Any]], bool]
_Test = Callable[[Any], bool]

_MISSING = object()


def compile_filter(given: Mapping[str, Any]) -> Predicate:
    """Whether a record's metadata passes; raises a `RefusedError` for what is no filter."""
    tests = [_clause(key, value) for key, value in given.items()]
    return lambda fields: all(test(fields) for test in tests)


def _clause(key: str, value: Any) -> Predicate:
    if key in _LOGICAL:
        return _logical(key, value)
    if key.startswith("$"):
        raise RefusedError(400, f"Unknown filter operator {key}; known: {', '.join([*_LOGICAL, *_OPERATORS])}")
    conditions = value if isinstance(value, dict) else {"$eq": value}
    if not conditions:
        raise RefusedError(400, f"The filter on {key!r} has no operator")
    tests = [_test(name, wanted) for name, wanted in conditions.items()]
    return lambda fields: all(test(fields.get(key, _MISSING)) for test in tests)


def _logical(name: str, given: Any) -> Predicate:
    if not isinstance(given, list) or not given or not all(isinstance(one, dict) for one in given):
        raise RefusedError(400, f"{name} needs a list of filters")
    parts = [compile_filter(one) for one in given]
    combine = _LOGICAL[name]
    return lambda fields: combine(part(fields) for part in parts)


def _test(name: str, wanted: Any) -> _Test:
    if name not in _OPERATORS:
        raise RefusedError(400, f"Unknown filter operator {name}; known: {', '.join([*_LOGICAL, *_OPERATORS])}")
    accepts, make = _OPERATORS[name]
    if not accepts(wanted):
        raise RefusedError(400, f"{name} cannot be used with {str(wanted)[:80]!r}")
    return make(wanted)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | int | float)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= 10_000 and all(_is_scalar(one) for one in value)


def _same(found: Any, wanted: Any) -> bool:
    if isinstance(found, list):
        return wanted in found
    return isinstance(found, bool) == isinstance(wanted, bool) and bool(found == wanted)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any], _Test]:
    return lambda wanted: lambda found: _is_number(found) and compare(found, wanted)


_LOGICAL: dict[str, Callable[..., bool]] = {"$and": all, "$or": any}

_OPERATORS: dict[str, tuple[Callable[[Any], bool], Callable[[Any], _Test]]] = {
    "$eq": (_is_scalar, lambda wanted: lambda found: _same(found, wanted)),
    "$ne": (_is_scalar, lambda wanted: lambda found: not _same(found, wanted)),
    "$gt": (_is_number, _ordered(operator.gt)),
    "$gte": (_is_number, _ordered(operator.ge)),
    "$lt": (_is_number, _ordered(operator.lt)),
    "$lte": (_is_number, _ordered(operator.le)),
    "$in": (_is_list, lambda wanted: lambda found: any(_same(found, one) for one in wanted)),
    "$nin": (_is_list, lambda wanted: lambda found: not any(_same(found, one) for one in wanted)),
    "$exists": (_is_flag, lambda wanted: lambda found: (found is not _MISSING) == wanted),
}
