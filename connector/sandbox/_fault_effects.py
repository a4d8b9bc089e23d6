"""What each action does to a request or an answer."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import orjson

from vectorferry.connector.sandbox import _faults as do
from vectorferry.connector.sandbox._http import Api, Delivery, RefusedError, Reply, Request, json_reply

__all__ = ["Vanishing", "before", "spoil"]

Vanishing = Callable[[Sequence[str]], None]
"""Deletes what a path names."""

_PAGING = (("total", "total_pages", "page_size"), ("total_results", "total_page", "limit_per_page"))
"""How the services call the number of rows, of pages, and of rows on a page."""

_HTML = b"<html><head><title>Just a moment...</title></head><body><h1>Please wait</h1></body></html>"


def before(action: do.Action, api: Api, request: Request, vanish: Vanishing) -> Reply | None:
    """The whole answer, for actions that need no right one; else None, after whatever the action changes first."""
    match action:
        case do.Status():
            return _status(action, api)
        case do.Reset(when="before"):
            return Reply(b"", delivery=Delivery(sent=0, reset=True))
        case do.Html():
            return Reply(_HTML, content_type="text/html")
        case do.Garbage():
            return Reply(random.Random(action.size).randbytes(action.size))
        case do.Redirect():
            return Reply(b"", action.status, headers={"Location": action.location})
        case do.Vanish():
            vanish(request.params)
        case do.ShiftRows():
            request.shifted_rows = action.rows
    return None


def spoil(action: do.Action, reply: Reply, stall: Callable[[do.Stall], Awaitable[None]]) -> Reply:
    """A right answer, made wrong. `stall` waits as long as its action says."""
    size = len(reply.body)
    match action:
        case do.Reset(when="after"):
            reply.delivery = Delivery(sent=0, reset=True)
        case do.Reset(when="midway"):
            reply.delivery = Delivery(sent=max(1, size // 2), declared=size, reset=True)
        case do.Stall(when="midway"):
            reply.delivery = Delivery(sent=size // 2, declared=size, stall=partial(stall, action))
        case do.Truncate():
            kept = int(size * action.keep)
            reply.delivery = Delivery(sent=kept, declared=kept if action.length == "honest" else size)
        case do.Oversized():
            reply.delivery = Delivery(padding=action.bytes)
        case _:
            return _edited(action, reply)
    return reply


def _status(action: do.Status, api: Api) -> Reply:
    reply = _worded(action, api)
    reply.headers = action.headers
    if action.retry_after is not None:
        until = format_datetime(datetime.now(UTC) + timedelta(seconds=action.retry_after), usegmt=True)
        wait = until if action.retry_after_form == "date" else str(action.retry_after)
        reply.headers = {**reply.headers, "Retry-After": wait}
    return reply


def _worded(action: do.Status, api: Api) -> Reply:
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
    refusal = RefusedError(action.status, message, details=details)
    return api.refuse(refusal, None if action.body == "own" else action.body)


def _edited(action: do.Action, reply: Reply) -> Reply:
    match action:
        case do.SetField():
            edit = _on_field(action.field, lambda holder, name: holder.__setitem__(name, action.value))
        case do.DropField():
            edit = _on_field(action.field, lambda holder, name: holder.__delitem__(name))
        case do.Shorten():
            edit = _on_field(
                action.field, lambda holder, name: holder.__setitem__(name, _first_of(holder[name], action.keep))
            )
        case do.OnePageLess():
            edit = _leave_out_last_page
        case do.DuplicateRows():
            edit = _repeat_first_row
        case do.ForeignNextPage():
            edit = _on_field(
                "next_page", lambda holder, name: holder.__setitem__(name, _moved(holder[name], action.origin))
            )
        case _:
            return reply
    try:
        value = orjson.loads(reply.body)
    except orjson.JSONDecodeError:  # somebody put raw bytes there; that is wrong enough
        return reply
    _walk(value, edit)
    return json_reply(value, reply.status)


def _on_field(field: str, change: Callable[[dict[str, Any], str], None]) -> Callable[[Any], None]:
    def edit(value: Any) -> None:
        if isinstance(value, dict) and field in value:
            change(value, field)

    return edit


def _first_of(value: Any, keep: float) -> Any:
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


def _moved(url: Any, origin: str) -> Any:
    return f"{origin}{urlsplit(url)._replace(scheme='', netloc='').geturl()}" if isinstance(url, str) else url


def _walk(value: Any, edit: Callable[[Any], None]) -> None:
    edit(value)
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        if isinstance(inner, dict | list):
            _walk(inner, edit)
