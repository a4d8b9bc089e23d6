"""What every handler of an index needs: rate limits, bodies, and metadata filters."""

from __future__ import annotations

import math
import operator
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from vectorferry.connector.sandbox._http import RefusedError, Reply, json_object, json_reply
from vectorferry.connector.sandbox._pinecone._store import Index
from vectorferry.connector.sandbox._settings import PineconeDialect, PineconeRates


class Rates:
    """How often an index was asked lately."""

    def __init__(self, limits: PineconeRates | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._taken: defaultdict[tuple[str, str], deque[tuple[float, int]]] = defaultdict(deque)

    def admit(self, operation: str, namespace: str) -> None:
        """One request more; raises a 429 when it is too many for the namespace."""
        if limits := self._limits:
            self._take(limits, f"{operation} requests", 1, limits.requests, f"namespace {namespace}")

    def admit_upserted(self, size: int, namespace: str) -> None:
        """An upsert of so many bytes; raises a 429 when they are too many for the namespace."""
        if limits := self._limits:
            self._take(limits, "upsert bytes", size, limits.upserted_bytes, f"namespace {namespace}")

    def admit_deleted(self, records: int) -> None:
        """So many records to delete; raises a 429 when they are too many for the index."""
        if limits := self._limits:
            self._take(limits, "delete records", records, limits.deleted_records, "the index")

    def _take(self, limits: PineconeRates, unit: str, amount: int, most: int, place: str) -> None:
        now, taken = self._clock(), self._taken[unit, place]
        while taken and taken[0][0] <= now - limits.seconds:
            taken.popleft()
        if taken and sum(before for _, before in taken) + amount > most:
            window = "second" if limits.seconds == 1 else f"{limits.seconds:g} seconds"
            wait = str(max(1, math.ceil(taken[0][0] + limits.seconds - now)))
            headers = {"Retry-After": wait} if limits.retry_after else {}
            raise RefusedError(429, f"Too many {unit}: the limit is {most} per {window} for {place}", headers=headers)
        taken.append((now, amount))


@dataclass(frozen=True, slots=True)
class Context:
    """The index, the dialect to serve it in, and how often it may be asked."""

    index: Index
    dialect: PineconeDialect
    rates: Rates
    _requests: count[int] = field(default_factory=lambda: count(1))

    def reply(self, value: Any, headers: Mapping[str, str] | None = None) -> Reply:
        """An answer with a request id of its own."""
        reply = json_reply(value)
        reply.headers = {"x-pinecone-request-id": f"{next(self._requests):016d}", **(headers or {})}
        return reply

    def written(self, name: str, value: Any) -> Reply:
        """The answer to a write, with the LSN that it has; a namespace that is not there has none."""
        namespace = self.index.namespaces.get(name)
        headers = {} if namespace is None else {"x-pinecone-request-lsn": str(namespace.lsn)}
        return self.reply(value, headers)


class RequestBody(BaseModel):
    """A body of the data plane; that of an upsert has too many values for a model."""

    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)


Body = TypeVar("Body", bound=RequestBody)


def parse_body(model: type[Body], raw: bytes) -> Body:
    """The body as `model`; raises a `RefusedError` that names the first thing that is wrong with it."""
    try:
        return model.model_validate(json_object(raw or b"{}"))
    except ValidationError as error:
        raise RefusedError(400, f"Invalid value for {first_problem(error)}") from None


def first_problem(error: ValidationError) -> str:
    """The first field that is wrong, and what is wrong with it."""
    problem = error.errors()[0]
    return f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"


# Metadata filters: ``{"genre": {"$in": ["drama"]}, "$or": [{"year": 2019}, …]}``.


Predicate: TypeAlias = Callable[[Mapping[str, Any]], bool]
_Test: TypeAlias = Callable[[Any], bool]
_MISSING = object()


def compile_filter(conditions: Mapping[str, Any]) -> Predicate:
    """Whether a record's metadata passes; raises a `RefusedError` for what is no filter."""
    tests = [_clause(key, value) for key, value in conditions.items()]
    return lambda fields: all(test(fields) for test in tests)


def _clause(key: str, value: Any) -> Predicate:
    if key in _LOGICAL:
        return _logical(key, value)
    if key.startswith("$"):
        raise RefusedError(400, f"Unknown filter operator {key}; known: {', '.join([*_LOGICAL, *_OPERATORS])}")
    conditions = value if isinstance(value, dict) else {"$eq": value}
    if not conditions:
        raise RefusedError(400, f"The filter on {key!r} has no operator")
    tests = [_test(name, operand) for name, operand in conditions.items()]
    return lambda fields: all(test(fields.get(key, _MISSING)) for test in tests)


def _logical(name: str, filters: Any) -> Predicate:
    if not isinstance(filters, list) or not filters or not all(isinstance(one, dict) for one in filters):
        raise RefusedError(400, f"{name} needs a list of filters")
    parts = [compile_filter(one) for one in filters]
    combine = _LOGICAL[name]
    return lambda fields: combine(part(fields) for part in parts)


def _test(name: str, operand: Any) -> _Test:
    if name not in _OPERATORS:
        raise RefusedError(400, f"Unknown filter operator {name}; known: {', '.join([*_LOGICAL, *_OPERATORS])}")
    accepts, make = _OPERATORS[name]
    if not accepts(operand):
        raise RefusedError(400, f"{name} cannot be used with {str(operand)[:80]!r}")
    return make(operand)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | int | float)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= 10_000 and all(_is_scalar(one) for one in value)


def _same(value: Any, operand: Any) -> bool:
    if isinstance(value, list):
        return operand in value
    return isinstance(value, bool) == isinstance(operand, bool) and bool(value == operand)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any], _Test]:
    return lambda operand: lambda value: _is_number(value) and compare(value, operand)


_LOGICAL: dict[str, Callable[..., bool]] = {"$and": all, "$or": any}

_OPERATORS: dict[str, tuple[Callable[[Any], bool], Callable[[Any], _Test]]] = {
    "$eq": (_is_scalar, lambda operand: lambda value: _same(value, operand)),
    "$ne": (_is_scalar, lambda operand: lambda value: not _same(value, operand)),
    "$gt": (_is_number, _ordered(operator.gt)),
    "$gte": (_is_number, _ordered(operator.ge)),
    "$lt": (_is_number, _ordered(operator.lt)),
    "$lte": (_is_number, _ordered(operator.le)),
    "$in": (_is_list, lambda operand: lambda value: any(_same(value, one) for one in operand)),
    "$nin": (_is_list, lambda operand: lambda value: not any(_same(value, one) for one in operand)),
    "$exists": (_is_flag, lambda operand: lambda value: (value is not _MISSING) == operand),
}
