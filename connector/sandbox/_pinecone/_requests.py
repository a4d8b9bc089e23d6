"""What every handler needs of a request: access, rate limits, bodies, filters and pages, and how a refusal looks."""

from __future__ import annotations

import binascii
import math
import operator
import re
import time
from base64 import b64decode, urlsafe_b64encode
from bisect import bisect_left, bisect_right
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, islice, takewhile
from typing import Any, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from vectorferry.connector.sandbox._http import RefusedError, Reply, Request, json_object, json_reply
from vectorferry.connector.sandbox._pinecone._store import Index
from vectorferry.connector.sandbox._settings import PineconeDialect, PineconeRates

__all__ = [
    "Context",
    "Delete",
    "FetchByMetadata",
    "Query",
    "Rates",
    "Update",
    "api_version",
    "check_access",
    "compile_filter",
    "control_refusal",
    "data_refusal",
    "first_problem",
    "page_of",
    "page_size",
    "pagination",
    "parse_body",
]


_VERSION = re.compile(r"\d{4}-\d{2}(\.\w+)?")
_OLDEST = "2025-04"


def check_access(request: Request, api_key: str) -> None:
    """Raises a `RefusedError` without the right key, or with a version that is none."""
    if request.headers.get("Api-Key") != api_key:
        raise RefusedError(401, "Invalid API key.")
    if not _VERSION.fullmatch(api_version(request)):
        raise RefusedError(400, f"Unknown X-Pinecone-Api-Version {api_version(request)[:20]!r}")


def api_version(request: Request) -> str:
    """Such as ``2026-07``; the oldest one that is served when the request names none."""
    return request.headers.get("X-Pinecone-Api-Version", _OLDEST)


_RPC_CODES = {400: 3, 403: 7, 404: 5, 405: 12, 408: 4, 409: 6, 412: 9, 429: 8, 501: 12, 503: 14, 504: 4}
_INTERNAL = 13
_KINDS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    422: "UNPROCESSABLE_ENTITY",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
}


def control_refusal(refusal: RefusedError) -> Reply:
    """``{"status": 404, "error": {"code": "NOT_FOUND", "message": "…"}}``."""
    code = refusal.kind or _KINDS.get(refusal.status, "UNKNOWN")
    return json_reply({"status": refusal.status, "error": {"code": code, "message": refusal.message}}, refusal.status)


def data_refusal(refusal: RefusedError) -> Reply:
    """gRPC's status as JSON; a 401 is plain text, a 413 has no body at all."""
    if refusal.status == 413:
        return Reply(b"", 413)
    if refusal.status == 401:
        return Reply(b"Unauthorized", 401, content_type="text/plain")
    code = int(refusal.kind) if refusal.kind else _RPC_CODES.get(refusal.status, _INTERNAL)
    reply = json_reply({"code": code, "message": refusal.message, "details": []}, refusal.status)
    reply.headers = refusal.headers
    return reply


class Rates:
    """How often an index was asked lately."""

    def __init__(self, limits: PineconeRates | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._times: defaultdict[tuple[str, str], deque[float]] = defaultdict(deque)

    def admit(self, operation: str, namespace: str) -> None:
        """One request more; raises a 429 when it is too many for the namespace."""
        if (limits := self._limits) is None:
            return
        now, times = self._clock(), self._times[operation, namespace]
        while times and times[0] <= now - limits.seconds:
            times.popleft()
        if len(times) >= limits.requests:
            window = "second" if limits.seconds == 1 else f"{limits.seconds:g} seconds"
            limit = f"the limit is {limits.requests} per {window} for namespace {namespace}"
            wait = str(max(1, math.ceil(times[0] + limits.seconds - now)))
            headers = {"Retry-After": wait} if limits.retry_after else {}
            raise RefusedError(429, f"Too many {operation} requests: {limit}", headers=headers)
        times.append(now)


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


def page_size(text: str | None, most: int = 100) -> int:
    """A page's `limit` from a query string; as many as allowed when it is absent."""
    if text is None:
        return most
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= most:
        raise RefusedError(400, f"limit must be a whole number from 1 to {most}, got {text[:20]!r}")
    return int(text)


def page_of(names: Sequence[str], prefix: str, size: int, token: str | None) -> tuple[list[str], str | None]:
    """The names that start with `prefix` and come after those of the page before, and the next page's token."""
    start = bisect_left(names, prefix) if token is None else bisect_right(names, _last_name(token))
    rest = (names[place] for place in range(start, len(names)))
    found = list(islice(takewhile(lambda name: name.startswith(prefix), rest), size + 1))
    if len(found) <= size:
        return found, None
    return found[:size], urlsafe_b64encode(found[size - 1].encode()).decode()


def pagination(token: str | None) -> Mapping[str, Mapping[str, str]]:
    """The `pagination` object to put into an answer; the last page has none."""
    return {} if token is None else {"pagination": {"next": token}}


def _last_name(token: str) -> str:
    try:
        return b64decode(token.encode("ascii"), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, UnicodeError):
        raise RefusedError(400, "Invalid pagination token") from None


# Request bodies of the data plane but that of an upsert, which has too many values for a model.


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)


class Query(_Body):
    """``POST /query``."""

    top_k: int = Field(ge=1, le=10_000)
    namespace: str | None = None
    vector: list[Any] | None = None
    sparse_vector: dict[str, Any] | None = None
    id: str | None = None
    filter: dict[str, Any] | None = None
    include_values: bool = False
    include_metadata: bool = False


class Update(_Body):
    """``POST /vectors/update``, by id or by filter."""

    namespace: str | None = None
    id: str | None = None
    values: list[Any] | None = None
    sparse_values: dict[str, Any] | None = None
    set_metadata: dict[str, Any] | None = None
    filter: dict[str, Any] | None = None


class Delete(_Body):
    """``POST /vectors/delete``: ids, everything, or what a filter finds."""

    namespace: str | None = None
    ids: list[str] | None = None
    delete_all: bool = False
    filter: dict[str, Any] | None = None


class FetchByMetadata(_Body):
    """``POST /vectors/fetch_by_metadata``."""

    filter: dict[str, Any] | None = None
    namespace: str | None = None
    limit: int = Field(default=100, ge=1, le=10_000)
    pagination_token: str | None = None


Body = TypeVar("Body", bound=_Body)


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
