"""What a handler is given and what it gives back, free of any server library, and how a request finds it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Generic, Protocol, TypeAlias, TypeVar
from urllib.parse import unquote

import orjson

Row = TypeVar("Row")
Context = TypeVar("Context")


@dataclass(slots=True)
class Request:
    """One request. `origin` is scheme, host and port as the client wrote them; `params` are the path's `{}` parts.

    `query` has one value per name; `raw_query` is all of it, percent-encoded.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    origin: str
    peer: str = "127.0.0.1"
    params: tuple[str, ...] = ()
    prefix: str = ""
    shifted_rows: int = 0
    raw_query: str = ""


@dataclass(frozen=True, slots=True)
class Delivery:
    """How the bytes of an answer travel when something is wrong with it."""

    sent: int | None = None
    declared: int | None = None
    stall: Callable[[], Awaitable[None]] | None = None
    reset: bool = False
    padding: int | None = 0


@dataclass(slots=True)
class Reply:
    """One answer. `delivery` is None for an answer that simply arrives."""

    body: bytes
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    delivery: Delivery | None = None


class RefusedError(Exception):
    """A handler refuses a request; the API that it belongs to words the answer, which goes with `headers`."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "",
        details: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.details = details
        self.headers = headers or {}


Answer: TypeAlias = Callable[[Request], Reply]
"""Answers one request, at once: nothing in a sandbox waits for anything."""


@dataclass(frozen=True, slots=True)
class Route:
    """A method and a path such as ``/assets/{id}/features``; `name` is what counters and fault rules call it.

    `variant` tells requests apart that differ in more than that: the name of each.
    """

    name: str
    method: str
    path: str
    answer: Answer
    prefix: str = ""
    variant: Callable[[Request], str] | None = None

    def name_for(self, request: Request) -> str:
        """What this very request is called."""
        return self.variant(request) if self.variant else self.name


Handler: TypeAlias = Callable[[Context, Request], Reply]
"""Answers a request out of what that may see."""


class Handlers(Generic[Context]):
    """The endpoints of a service: each a `Handler`, decorated with its name, its method and its paths."""

    def __init__(self) -> None:
        self._endpoints: list[tuple[str, str, str, Handler[Context]]] = []

    def __call__(self, name: str, method: str, *paths: str) -> Callable[[Handler[Context]], Handler[Context]]:
        """Let the decorated function answer these paths."""

        def register(handler: Handler[Context]) -> Handler[Context]:
            self._endpoints += [(name, method, path, handler) for path in paths]
            return handler

        return register

    def routes(self, context_of: Callable[[Request], Context], prefix: str = "") -> list[Route]:
        """Every endpoint under `prefix`; `context_of` says what a request may see."""

        def answering(handler: Handler[Context]) -> Answer:
            return lambda request: handler(context_of(request), request)

        return [
            Route(name, method, f"{prefix}{path}", answering(handler), prefix)
            for name, method, path, handler in self._endpoints
        ]


class Api(Protocol):
    """One service that the sandbox plays."""

    @property
    def routes(self) -> Sequence[Route]:
        """Every route it serves."""

    def authorize(self, request: Request) -> None:
        """Raises `RefusedError` when the request may not be answered."""

    def refuse(self, refusal: RefusedError, /) -> Reply:
        """The refusal in the API's own words."""


def json_reply(value: Any, status: int = 200) -> Reply:
    """`value` as JSON; numpy arrays print as lists, float32 with just the digits that round-trip."""
    return Reply(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS), status)


def json_object(raw: bytes) -> dict[str, Any]:
    """A body that is a JSON object; raises a `RefusedError` for anything else."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise RefusedError(400, f"The body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise RefusedError(400, "The body must be a JSON object")
    return body


@dataclass(frozen=True, slots=True)
class Page:
    """Which page of how many rows a request wants."""

    number: int
    size: int

    def rows(self, rows: Iterable[Row], shifted: int = 0) -> list[Row]:
        """The rows on this page, `shifted` rows too early; none beyond the last page."""
        start = max((self.number - 1) * self.size - (shifted if self.number > 1 else 0), 0)
        return list(islice(rows, start, start + self.size))

    def pages(self, total: int) -> int:
        """How many pages so many rows are: no rows are no page."""
        return -(-total // self.size)


Match: TypeAlias = tuple[Api, Route, tuple[str, ...]]


class Router:
    """Routes of several APIs on one address. A literal segment wins over a `{}` one, then the earlier route."""

    def __init__(self, apis: Sequence[Api]) -> None:
        self._first = apis[0]
        self._routes: defaultdict[int, list[tuple[Api, Route, list[str]]]] = defaultdict(list)
        for api in apis:
            for route in api.routes:
                segments = route.path.split("/")
                self._routes[len(segments)].append((api, route, segments))
        for routes in self._routes.values():
            routes.sort(key=lambda entry: sum(segment.startswith("{") for segment in entry[2]))

    def find(self, method: str, raw_path: str) -> Match | None:
        """The route and the decoded `{}` parts of a percent-encoded path."""
        segments = raw_path.split("/")
        for api, route, pattern in self._routes[len(segments)]:
            if route.method == method:
                params = _params(pattern, segments)
                if params is not None:
                    return api, route, params
        return None

    def nearest(self, raw_path: str) -> Api:
        """In whose words a path that nobody serves is refused."""
        roots = ((route.prefix, api) for routes in self._routes.values() for api, route, _ in routes if route.prefix)
        return next((api for root, api in roots if raw_path.startswith(f"{root}/")), self._first)

    def methods(self, raw_path: str) -> frozenset[str]:
        """The methods that some route answers on this path."""
        segments = raw_path.split("/")
        candidates = self._routes[len(segments)]
        return frozenset(route.method for _, route, pattern in candidates if _params(pattern, segments) is not None)


def _params(pattern: list[str], segments: list[str]) -> tuple[str, ...] | None:
    params = []
    for expected, segment in zip(pattern, segments, strict=True):
        if expected.startswith("{"):
            params.append(unquote(segment))
        elif expected != segment:
            return None
    return tuple(params)
