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
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from vectorferry.connector.sandbox._http import RefusedError, Reply, Request, json_reply
from vectorferry.connector.sandbox._pinecone._store import Index
from vectorferry.connector.sandbox._settings import PineconeDialect, PineconeRates

__all__ = [
    "Context",
    "Delete",
    "FetchByMetadata",
    "NewNamespace",
    "Query",
    "Rates",
    "ThrottledError",
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
    "parse_object",
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


# The two shapes of Pinecone's error bodies, and its refusals in plain text.


_RPC_CODES = {400: 3, 403: 7, 404: 5, 405: 12, 408: 4, 409: 6, 412: 9, 429: 8, 501: 12, 503: 14, 504: 4}


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


_INTERNAL = 13


class ThrottledError(RefusedError):
    """A 429 of the store itself. `retry_after` is in whole seconds, None to leave the header out."""

    def __init__(self, message: str, *, retry_after: int | None, plain: bool) -> None:
        super().__init__(429, message)
        self.retry_after = retry_after
        self.plain = plain


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
    if isinstance(refusal, ThrottledError):
        return _throttled(refusal)
    return json_reply(_rpc_status(refusal), refusal.status)


def _throttled(refusal: ThrottledError) -> Reply:
    reply = json_reply(_rpc_status(refusal), 429)
    if refusal.plain:
        reply = Reply(refusal.message.encode(), 429, content_type="text/plain")
    if refusal.retry_after is not None:
        reply.headers = {"Retry-After": str(refusal.retry_after)}
    return reply


def _rpc_status(refusal: RefusedError) -> dict[str, Any]:
    code = int(refusal.kind) if refusal.kind else _RPC_CODES.get(refusal.status, _INTERNAL)
    return {"code": code, "message": refusal.message, "details": []}


# Rate limits of one index, by operation and namespace.


@dataclass(frozen=True, slots=True)
class _Claim:
    operation: str
    amount: int
    limit: int
    unit: str = "requests"


@dataclass(slots=True)
class _Window:
    taken: deque[tuple[float, int]] = field(default_factory=deque)
    total: int = 0

    def settle(self, since: float) -> None:
        while self.taken and self.taken[0][0] <= since:
            self.total -= self.taken.popleft()[1]

    def refuses(self, claim: _Claim) -> bool:
        return self.total > 0 and self.total + claim.amount > claim.limit

    def take(self, now: float, amount: int) -> None:
        self.taken.append((now, amount))
        self.total += amount


class Rates:
    """How much was asked of an index lately. Every method raises a `ThrottledError` when it is too much."""

    def __init__(self, limits: PineconeRates | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._windows: defaultdict[tuple[str, str, str], _Window] = defaultdict(_Window)

    def upsert(self, namespace: str, size: int) -> None:
        """One upsert of so many bytes."""
        if limits := self._limits:
            requests = _Claim("upsert", 1, limits.requests)
            self._admit(limits, namespace, requests, _Claim("upsert", size, limits.upsert_bytes, "bytes"))

    def query(self, namespace: str) -> None:
        """One query."""
        if limits := self._limits:
            self._admit(limits, namespace, _Claim("query", 1, limits.requests))

    def change(self, operation: str, namespace: str, records: int) -> None:
        """One update or delete, by id, of so many records."""
        if limits := self._limits:
            most = limits.updated_records if operation == "update" else limits.deleted_records
            requests = _Claim(operation, 1, limits.requests)
            self._admit(limits, namespace, requests, _Claim(operation, records, most, "records"))

    def change_by_filter(self, operation: str, namespace: str) -> None:
        """One update or delete by metadata."""
        if limits := self._limits:
            self._admit(limits, namespace, _Claim(f"{operation} by metadata", 1, limits.changes_by_filter))

    def read(self, operation: str) -> None:
        """One fetch, list or describe_index_stats, which are counted for the whole index."""
        if limits := self._limits:
            self._admit(limits, "", _Claim(operation, 1, limits.lists if operation == "list" else limits.reads))

    def _admit(self, limits: PineconeRates, namespace: str, *claims: _Claim) -> None:
        now = self._clock()
        windows = [self._windows[claim.operation, claim.unit, namespace] for claim in claims]
        for window, claim in zip(windows, claims, strict=True):
            window.settle(now - limits.seconds)
            if window.refuses(claim):
                raise _refusal(limits, claim, namespace, window.taken[0][0] + limits.seconds - now)
        for window, claim in zip(windows, claims, strict=True):
            window.take(now, claim.amount)


def _refusal(limits: PineconeRates, claim: _Claim, namespace: str, wait: float) -> ThrottledError:
    where = f"namespace {namespace}" if namespace else "the index"
    window = "second" if limits.seconds == 1 else f"{limits.seconds:g} seconds"
    message = f"Too many {claim.operation} {claim.unit}: the limit is {claim.limit} per {window} for {where}"
    retry_after = max(1, math.ceil(wait)) if limits.retry_after else None
    return ThrottledError(message, retry_after=retry_after, plain=limits.body == "text")


# What every handler of one index's data plane needs.


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


# Pages of sorted names with opaque tokens.


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
    dry_run: bool = False


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


class NewNamespace(_Body):
    """``POST /namespaces``. The schema is kept, and nothing else is done with it."""

    name: str
    metadata_schema: dict[str, Any] | None = Field(default=None, alias="schema")


Body = TypeVar("Body", bound=_Body)


def parse_body(model: type[Body], raw: bytes) -> Body:
    """The body as `model`; raises a `RefusedError` that names the first thing that is wrong with it."""
    try:
        return model.model_validate(parse_object(raw))
    except ValidationError as error:
        raise RefusedError(400, f"Invalid value for {first_problem(error)}") from None


def first_problem(error: ValidationError) -> str:
    """The first field that is wrong, and what is wrong with it."""
    problem = error.errors()[0]
    return f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"


def parse_object(raw: bytes) -> dict[str, Any]:
    """A body that is a JSON object."""
    try:
        body = orjson.loads(raw or b"{}")
    except orjson.JSONDecodeError as error:
        raise RefusedError(400, f"The body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise RefusedError(400, "The body must be a JSON object")
    return body


# Metadata filters: ``{"genre": {"$in": ["drama"]}, "$or": [{"year": 2019}, …]}``.


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
