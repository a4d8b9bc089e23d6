"""What a handler is given and what it gives back, free of any server library."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

__all__ = ["Api", "Delivery", "Handler", "RefusedError", "Reply", "Request", "Route", "json_reply"]


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
    """A handler refuses a request; the API that it belongs to words the answer."""

    def __init__(self, status: int, message: str, *, kind: str = "", details: Any = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.details = details


class Handler(Protocol):
    """Answers one request, at once: nothing in a sandbox waits for anything."""

    def __call__(self, request: Request, /) -> Reply: ...


@dataclass(frozen=True, slots=True)
class Route:
    """A method and a path such as ``/assets/{id}/features``; `name` is what counters and fault rules call it."""

    name: str
    method: str
    path: str
    handler: Handler
    prefix: str = ""


class Api(Protocol):
    """One service that the sandbox plays."""

    @property
    def routes(self) -> Sequence[Route]:
        """Every route it serves."""

    def authorize(self, request: Request) -> None:
        """Raises `RefusedError` when the request may not be answered."""

    def refuse(self, refusal: RefusedError, style: str | None = None, /) -> Reply:
        """The refusal in the API's own words, or in those of another `style` it is known for."""


def json_reply(value: Any, status: int = 200) -> Reply:
    """`value` as JSON; numpy arrays print as lists, float32 with just the digits that round-trip."""
    return Reply(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS), status)
