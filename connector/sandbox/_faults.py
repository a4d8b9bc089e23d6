"""Rules that make the sandbox misbehave, and what each does to a request or an answer."""

from __future__ import annotations

import asyncio
import fnmatch
import random
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from threading import Lock
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import orjson
from pydantic import Field

from vectorferry.connector._model._settings_base import Settings
from vectorferry.connector.sandbox._http import Api, Delivery, RefusedError, Reply, Request, json_reply


class Status(Settings):
    """An error answer. `body` is in the API's own words unless another kind is named; `text` is one plain line."""

    kind: Literal["status"] = "status"
    status: int = Field(default=503, ge=400, le=599)
    retry_after: int | None = Field(default=None, ge=1, description="seconds; never 0, which makes some clients spin")
    retry_after_form: Literal["seconds", "date"] = "seconds"
    body: Literal["own", "empty", "html", "text"] = "own"
    message: str | None = Field(default=None, description="what the answer says, where it says anything")
    headers: dict[str, str] = Field(default_factory=dict)


class Reset(Settings):
    """The connection is reset: before anything is done, after it was done, or in the middle of the answer."""

    kind: Literal["reset"] = "reset"
    when: Literal["before", "after", "midway"] = "before"


class Stall(Settings):
    """Nothing comes for a while: before the answer, or in the middle of it. The answer itself is right.

    Clearing the rules ends it.
    """

    kind: Literal["stall"] = "stall"
    seconds: float = Field(default=30.0, gt=0)
    when: Literal["before", "midway"] = "before"


class Truncate(Settings):
    """The answer ends early. `honest`: Content-Length is that of what is sent; `short`: it is that of the whole."""

    kind: Literal["truncate"] = "truncate"
    keep: float = Field(default=0.5, ge=0, lt=1, description="share of the body that is sent")
    length: Literal["honest", "short"] = "honest"


class Html(Settings):
    """A proxy's page with status 200 where JSON was asked for."""

    kind: Literal["html"] = "html"


class Garbage(Settings):
    """Bytes that mean nothing, declared as JSON."""

    kind: Literal["garbage"] = "garbage"
    size: int = Field(default=512, ge=1, le=10_000_000)


class SetField(Settings):
    """Every field of this name, at any depth, holds another value (of another type, say)."""

    kind: Literal["set_field"] = "set_field"
    field: str
    value: Any = None


class DropField(Settings):
    """Every field of this name, at any depth, is missing."""

    kind: Literal["drop_field"] = "drop_field"
    field: str


class Shorten(Settings):
    """Every list or object of this name, at any depth, lacks its last items, and nothing says so."""

    kind: Literal["shorten"] = "shorten"
    field: str
    keep: float = Field(default=0.5, ge=0, lt=1, description="share of the items that stay, rounded down")


class OnePageLess(Settings):
    """The counts of a list, in agreement with each other, leave out its last page, where it has more than one."""

    kind: Literal["one_page_less"] = "one_page_less"


class DuplicateRows(Settings):
    """The first row of every list of rows comes a second time, at its end."""

    kind: Literal["duplicate_rows"] = "duplicate_rows"


class ShiftRows(Settings):
    """Rows moved between pages since the last one: positive repeats that many rows, negative skips them."""

    kind: Literal["shift_rows"] = "shift_rows"
    rows: int = 1


class Vanish(Settings):
    """What the path names is deleted at this very moment, and the answer says so."""

    kind: Literal["vanish"] = "vanish"


class Redirect(Settings):
    """A redirect to somewhere else."""

    kind: Literal["redirect"] = "redirect"
    location: str
    status: Literal[301, 302, 303, 307, 308] = 302


class ForeignNextPage(Settings):
    """`next_page` leads to another host."""

    kind: Literal["foreign_next_page"] = "foreign_next_page"
    origin: str


class Oversized(Settings):
    """The answer goes on and on: so many bytes of white space behind it, or without end."""

    kind: Literal["oversized"] = "oversized"
    bytes: int | None = Field(default=None, ge=1)


Action = Annotated[
    Status
    | Reset
    | Stall
    | Truncate
    | Html
    | Garbage
    | SetField
    | DropField
    | Shorten
    | OnePageLess
    | DuplicateRows
    | ShiftRows
    | Vanish
    | Redirect
    | ForeignNextPage
    | Oversized,
    Field(discriminator="kind"),
]


class Fault(Settings):
    """One rule: which requests it concerns, which of those it hits, and what happens to them.

    `route` is a route's name (``features.get``), a pattern of names (``features.*``), or, when it starts with a slash,
    a regular expression that the path must match from its start. A rule counts the requests that it concerns and that
    no earlier rule hit.
    """

    route: str = "*"
    containing: str = Field(default="", description="concern only requests whose body holds this text")
    do: Action
    nth: int = Field(default=1, ge=1, description="the first concerned request that may be hit")
    until: int | None = Field(default=None, ge=1, description="the last concerned request that may be hit")
    times: int | None = Field(default=None, ge=1, description="how many requests are hit at most")
    probability: float = Field(default=1.0, gt=0, le=1)
    seed: int = 0

    def concerns(self, name: str, path: str, body: bytes) -> bool:
        """Whether the rule is about this route or path, and this body."""
        if self.containing.encode() not in body:
            return False
        if self.route.startswith("/"):
            return re.match(self.route, path) is not None
        return fnmatch.fnmatchcase(name, self.route)


class _Rule:
    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.requests = 0
        self.hits = 0
        self._random = random.Random(fault.seed)

    def fires(self) -> bool:
        fault = self.fault
        self.requests += 1
        thrown = self._random.random()
        if self.requests < fault.nth or self.requests > (fault.until or self.requests):
            return False
        if self.hits >= (fault.times or self.hits + 1) or thrown >= fault.probability:
            return False
        self.hits += 1
        return True


class Faults:
    """The rules in force, in order; the first that fires decides. Safe to change from any thread."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._lock = Lock()
        self._rules = [_Rule(fault) for fault in faults]
        self._stalled: set[Callable[[], object]] = set()

    def add(self, *faults: Fault) -> None:
        """Put rules behind those in force."""
        with self._lock:
            self._rules = [*self._rules, *(_Rule(fault) for fault in faults)]

    def clear(self) -> None:
        """Behave again: give the answers, too, that have not come so far."""
        with self._lock:
            self._rules = []
            for go_on in self._stalled:
                go_on()

    async def stall(self, action: Stall) -> None:
        """Return after its seconds, or as soon as the rules are cleared: at once when they already are."""
        cleared = asyncio.Event()
        go_on = partial(asyncio.get_running_loop().call_soon_threadsafe, cleared.set)
        with self._lock:
            if all(rule.fault.do is not action for rule in self._rules):
                return
            self._stalled.add(go_on)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(action.seconds):
                    await cleared.wait()
        finally:
            with self._lock:
                self._stalled.remove(go_on)

    def hits(self) -> list[int]:
        """How many requests each rule has hit so far, in order."""
        with self._lock:
            return [rule.hits for rule in self._rules]

    def action(self, name: str, path: str, body: bytes) -> Action | None:
        """What happens to this request, if anything."""
        if not self._rules:
            return None
        with self._lock:
            rules = [rule for rule in self._rules if rule.fault.concerns(name, path, body)]
            return next((rule.fault.do for rule in rules if rule.fires()), None)


# What each action does to a request or an answer.

Vanishing = Callable[[Sequence[str]], None]
"""Deletes what a path names."""

_PAGING = (("total", "total_pages", "page_size"), ("total_results", "total_page", "limit_per_page"))
"""How the services call the number of rows, of pages, and of rows on a page."""

_HTML = b"<html><head><title>Just a moment...</title></head><body><h1>Please wait</h1></body></html>"


def before(action: Action, api: Api, request: Request, vanish: Vanishing) -> Reply | None:
    """The whole answer, for actions that need no right one; else None, after whatever the action changes first."""
    match action:
        case Status():
            return _status(action, api)
        case Reset(when="before"):
            return Reply(b"", delivery=Delivery(sent=0, reset=True))
        case Html():
            return Reply(_HTML, content_type="text/html")
        case Garbage():
            return Reply(random.Random(action.size).randbytes(action.size))
        case Redirect():
            return Reply(b"", action.status, headers={"Location": action.location})
        case Vanish():
            vanish(request.params)
        case ShiftRows():
            request.shifted_rows = action.rows
    return None


def spoil(action: Action, reply: Reply, stall: Callable[[Stall], Awaitable[None]]) -> Reply:
    """A right answer, made wrong. `stall` waits as long as its action says."""
    size = len(reply.body)
    match action:
        case Reset(when="after"):
            reply.delivery = Delivery(sent=0, reset=True)
        case Reset(when="midway"):
            reply.delivery = Delivery(sent=max(1, size // 2), declared=size, reset=True)
        case Stall(when="midway"):
            reply.delivery = Delivery(sent=size // 2, declared=size, stall=partial(stall, action))
        case Truncate():
            sent = int(size * action.keep)
            reply.delivery = Delivery(sent=sent, declared=sent if action.length == "honest" else size)
        case Oversized():
            reply.delivery = Delivery(padding=action.bytes)
        case _:
            return _edited(action, reply)
    return reply


def _status(action: Status, api: Api) -> Reply:
    reply = _worded(action, api)
    reply.headers = action.headers
    if action.retry_after is not None:
        until = format_datetime(datetime.now(UTC) + timedelta(seconds=action.retry_after), usegmt=True)
        wait = until if action.retry_after_form == "date" else str(action.retry_after)
        reply.headers = {**reply.headers, "Retry-After": wait}
    return reply


def _worded(action: Status, api: Api) -> Reply:
    if action.body == "empty":
        return Reply(b"", action.status)
    if action.body == "html":
        return Reply(_HTML, action.status, content_type="text/html")
    message = action.message or f"Fault rule: status {action.status}"
    if action.body == "text":
        return Reply(message.encode(), action.status, content_type="text/plain")
    details = (
        [{"loc": ["body"], "msg": "refused by a fault rule", "type": "value_error"}] if action.status == 422 else None
    )
    return api.refuse(RefusedError(action.status, message, details=details))


def _edited(action: Action, reply: Reply) -> Reply:
    match action:
        case SetField():
            edit = _on_field(action.field, lambda _: action.value)
        case DropField():
            edit = partial(_drop, action.field)
        case Shorten():
            edit = _on_field(action.field, partial(_first_of, action.keep))
        case OnePageLess():
            edit = _leave_out_last_page
        case DuplicateRows():
            edit = _repeat_first_row
        case ForeignNextPage():
            edit = _on_field("next_page", partial(_moved, action.origin))
        case _:
            return reply
    try:
        value = orjson.loads(reply.body)
    except orjson.JSONDecodeError:  # somebody put raw bytes there; that is wrong enough
        return reply
    _walk(value, edit)
    return json_reply(value, reply.status)


def _on_field(field: str, changed: Callable[[Any], Any]) -> Callable[[Any], None]:
    def edit(value: Any) -> None:
        if isinstance(value, dict) and field in value:
            value[field] = changed(value[field])

    return edit


def _drop(field: str, value: Any) -> None:
    if isinstance(value, dict):
        value.pop(field, None)


def _first_of(keep: float, value: Any) -> Any:
    if isinstance(value, list):
        return value[: int(len(value) * keep)]
    if isinstance(value, dict):
        return dict(list(value.items())[: int(len(value) * keep)])
    return value


def _leave_out_last_page(value: Any) -> None:
    for total, pages, size in _PAGING if isinstance(value, dict) else ():
        if value.get(total) and value.get(pages, 0) > 1:
            value[pages] -= 1
            value[total] = value[pages] * value[size]


def _repeat_first_row(value: Any) -> None:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        value.append(value[0])


def _moved(origin: str, url: Any) -> Any:
    return f"{origin}{urlsplit(url)._replace(scheme='', netloc='').geturl()}" if isinstance(url, str) else url


def _walk(value: Any, edit: Callable[[Any], None]) -> None:
    edit(value)
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        if isinstance(inner, dict | list):
            _walk(inner, edit)
