"""What every handler needs of a request: parameters, forms, pages, limits, and refusals in TwelveLabs' own words."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes, policy
from itertools import count
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import parse_qsl

import orjson

from vectorferry.connector.sandbox._http import RefusedError, Reply, Request, json_reply
from vectorferry.connector.sandbox._settings import TwelveLabsDialect
from vectorferry.connector.sandbox._twelvelabs._account import Account, Index, IndexedAsset, Upload
from vectorferry.connector.sandbox._twelvelabs._dialect import invalid, missing, moment, printed

__all__ = [
    "INDEXING",
    "UPLOADING",
    "Context",
    "Form",
    "LimitedError",
    "Quota",
    "by_either_time",
    "by_time",
    "flag",
    "json_body",
    "json_field",
    "listed",
    "looked_at",
    "object_in",
    "on_or_after",
    "read_form",
    "required",
    "upcoming",
    "values",
    "within",
]


def values(request: Request, name: str) -> list[str]:
    """Every value of a parameter, repeated or in a comma list."""
    given = [value for key, value in parse_qsl(request.raw_query) if key == name]
    return [part for value in given for part in value.split(",") if part]


def flag(request: Request, name: str) -> bool:
    """A parameter that is true or not there."""
    return request.query.get(name, "").lower() == "true"


def whole_number(request: Request, name: str, default: int) -> int:
    """A number from 1 on; raises a `RefusedError` for anything else."""
    text = request.query.get(name)
    if text is None:
        return default
    if not text.isdecimal() or not text.isascii() or not 0 < int(text[:12]) < 10**9:
        raise invalid(name, "It must be a positive integer.")
    return int(text)


def on_or_after(request: Request, name: str, when: datetime | None, rule: str) -> bool:
    """Whether a time is at or after the one that a parameter names and, with ``same_day``, on the same day."""
    text = request.query.get(name)
    if text is None:
        return True
    wanted = moment(name, text)
    return when is not None and when >= wanted and (rule == "since" or when.date() == wanted.date())


def within(request: Request, name: str, value: object) -> bool:
    """Whether a number is exactly the one asked for, or in the range of ``name[gte]`` and ``name[lte]``."""
    bounds = _bounds(request.query, name)
    if not bounds:
        return True
    if not isinstance(value, int | float):
        return False
    exact, least, most = (bounds.get(kind) for kind in ("", "[gte]", "[lte]"))
    return (exact is None or value == exact) and (least is None or value >= least) and (most is None or value <= most)


def _bounds(query: Mapping[str, str], name: str) -> dict[str, float]:
    found = {kind: query[f"{name}{kind}"] for kind in ("", "[gte]", "[lte]") if f"{name}{kind}" in query}
    try:
        return {kind: float(text) for kind, text in found.items()}
    except ValueError:
        raise invalid(name, "It must be a number.") from None


# Request bodies: forms in several parts, and JSON objects.


Form = dict[str, list[str]]


def read_form(request: Request) -> Form:
    """The fields of a form by name, each with every value; of a file it is the name that counts."""
    fields: Form = {}
    for name, value in _fields(request):
        fields.setdefault(name, []).append(value)
    return fields


def required(form: Form, name: str) -> str:
    """A field's value; raises a `RefusedError` when it is not there."""
    if not form.get(name) or not form[name][0]:
        raise RefusedError(
            400, f"The {name} parameter is required but was not provided.", kind="parameter_not_provided"
        )
    return form[name][0]


def json_field(form: Form, name: str) -> dict[str, Any]:
    """A field that holds a JSON object, as text; an empty one when it is not there."""
    return _object(form[name][0].encode(), name) if name in form else {}


def json_body(request: Request) -> dict[str, Any]:
    """The body, which is a JSON object."""
    return _object(request.body, "body")


def object_in(body: dict[str, Any], name: str) -> dict[str, Any]:
    """A part of the body that is an object; an empty one when it is null or not there."""
    value = body.get(name) or {}
    if not isinstance(value, dict):
        raise invalid(name, "It must be an object.")
    return value


def _object(text: bytes, name: str) -> dict[str, Any]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise invalid(name, "It must be a JSON object.")
    return value


def _fields(request: Request) -> Iterator[tuple[str, str]]:
    kind = request.headers.get("Content-Type", "")
    if not kind.startswith("multipart/form-data"):
        yield from parse_qsl(request.body.decode(errors="replace"))
        return
    message = message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + request.body, policy=policy.HTTP)
    for part in message.iter_parts():
        name = str(part.get_param("name", "", header="Content-Disposition"))
        content = part.get_payload(decode=True)
        yield name, part.get_filename() or (content.decode(errors="replace") if isinstance(content, bytes) else "")


# How what was submitted moves on while it is looked at.


UPLOADING: Final = ("processing", "ready")


INDEXING: Final = ("pending", "queued", "indexing", "ready")


class Moving(Protocol):
    """Something that goes through states."""

    status: str
    upcoming: tuple[str, ...]

    def enter(self, status: str) -> None:
        """Change the state."""


def upcoming(states: tuple[str, ...], polls: int | None) -> tuple[str, ...]:
    """What follows the first of `states`, look by look, when each lasts this many; None: nothing ever does."""
    if polls is None:
        return ()
    return tuple(state for state in states[:-1] for _ in range(polls))[1:] + states[-1:]


def looked_at(thing: Moving) -> None:
    """Move on after an answer."""
    if thing.upcoming:
        status, *rest = thing.upcoming
        thing.upcoming = tuple(rest)
        if status != thing.status:
            thing.enter(status)


# Pages of rows with `page_info`.


Row = TypeVar("Row")


TimedRow = TypeVar("TimedRow", bound="Timed")


@dataclass(frozen=True, slots=True)
class Page:
    """Which page of how many rows was asked for."""

    number: int
    limit: int

    @classmethod
    def asked(cls, request: Request, dialect: TwelveLabsDialect) -> Page:
        """From `page` and `page_limit`; raises a `RefusedError` for a page that is too large."""
        number, limit = whole_number(request, "page", 1), whole_number(request, "page_limit", 10)
        if limit > dialect.largest_page and dialect.larger_pages == "refused":
            raise invalid("page_limit", f"It must be at most {dialect.largest_page}.")
        return cls(number, min(limit, dialect.largest_page))

    def rows(self, rows: Sequence[Row], shifted: int) -> Sequence[Row]:
        """The rows on this page, `shifted` rows too early; none beyond the last page."""
        start = max((self.number - 1) * self.limit - (shifted if self.number > 1 else 0), 0)
        return rows[start : start + self.limit]

    def info(self, total: int) -> dict[str, int]:
        """The `page_info` object: no rows are no page."""
        return {
            "limit_per_page": self.limit,
            "page": self.number,
            "total_page": -(-total // self.limit),
            "total_results": total,
        }


def listed(
    request: Request, dialect: TwelveLabsDialect, rows: Sequence[Row], show: Callable[[Row], dict[str, Any]]
) -> Reply:
    """One page of `rows`; beyond the last one there is a page without rows."""
    page = Page.asked(request, dialect)
    data = [show(row) for row in page.rows(rows, request.shifted_rows)]
    shown = None if dialect.null_data and not data else data
    return json_reply({"data": shown, "page_info": page.info(len(rows))})


class Timed(Protocol):
    """Something that was made and changed."""

    created_at: datetime
    updated_at: datetime


def by_either_time(request: Request, rows: Iterable[TimedRow]) -> list[TimedRow]:
    """Sorted by `created_at`, or as `by_time` has it."""
    return by_time(request, rows, {"created_at": lambda one: one.created_at, "updated_at": lambda one: one.updated_at})


def by_time(request: Request, rows: Iterable[Row], keys: dict[str, Callable[[Row], datetime | str]]) -> list[Row]:
    """Sorted by `sort_by`, one of `keys` (the first by default), newest first unless `sort_option` is ``asc``."""
    name = request.query.get("sort_by", next(iter(keys)))
    if name not in keys:
        raise invalid("sort_by", f"It must be one of {', '.join(keys)}.")
    way = request.query.get("sort_option", "desc")
    if way not in {"asc", "desc"}:
        raise invalid("sort_option", "It must be asc or desc.")
    return sorted(rows, key=keys[name], reverse=way == "desc")


# Limits of an organisation: requests per minute, and per day.


class LimitedError(RefusedError):
    """Too many requests; `headers` go with the answer."""

    def __init__(self, message: str, headers: Mapping[str, str]) -> None:
        super().__init__(429, message, kind="too_many_requests")
        self.headers = headers


class Quota:
    """What is left of every limit that there is."""

    def __init__(self, dialect: TwelveLabsDialect) -> None:
        self._shown = dialect.rate_headers
        limits = (
            (dialect.requests_per_minute, 60.0, "1minute"),
            (dialect.requests_per_day, dialect.day_seconds, "1day"),
        )
        self._windows = [_Window(limit, seconds, name) for limit, seconds, name in limits if limit is not None]

    def take(self) -> None:
        """Count one request; raises a `LimitedError` for one too many."""
        for window in self._windows:
            if not window.takes(time.time()):
                raise LimitedError(window.refusal(), self.headers())

    def headers(self) -> Mapping[str, str]:
        """The state of the limit that is nearest to its end."""
        if not self._windows or not self._shown:
            return {}
        return min(self._windows, key=lambda window: window.left).headers()


class _Window:
    def __init__(self, limit: int, seconds: float, name: str) -> None:
        self._limit = limit
        self._seconds = seconds
        self._name = name
        self._used = 0
        self._ends = 0.0

    @property
    def left(self) -> int:
        return self._limit - self._used

    def takes(self, now: float) -> bool:
        if now >= self._ends:
            self._used, self._ends = 0, now + self._seconds
        if not self.left:
            return False
        self._used += 1
        return True

    def refusal(self) -> str:
        until = datetime.fromtimestamp(self._ends, UTC)
        return (
            f"You have exceeded the rate limit ({self._limit}req/{self._name}). "
            f"Please try again later after {until:%Y-%m-%dT%H:%M:%SZ}."
        )

    def headers(self) -> Mapping[str, str]:
        return {
            "X-Ratelimit-Limit": str(self._limit),
            "X-Ratelimit-Remaining": str(self.left),
            "X-Ratelimit-Used": str(self._used),
            "X-Ratelimit-Reset": str(int(self._ends)),
        }


# Vectors that were printed once and are kept as long as there is room: printing them is most of an answer's work.


_ROOM = 256 * 1024 * 1024


class PrintedEmbeddings:
    """JSON by key, the longest unused of which goes first."""

    def __init__(self, room: int = _ROOM) -> None:
        self._left = room
        self._held: OrderedDict[Hashable, bytes] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], object]) -> orjson.Fragment:
        """The JSON that is held under `key`, or that of what `make` gives."""
        held = self._held.get(key)
        if held is None:
            held = orjson.dumps(make(), option=orjson.OPT_SERIALIZE_NUMPY)
            self._hold(key, held)
        self._held.move_to_end(key)
        return orjson.Fragment(held)

    def _hold(self, key: Hashable, printed: bytes) -> None:
        self._held[key] = printed
        self._left -= len(printed)
        while self._left < 0 and len(self._held) > 1:
            self._left += len(self._held.popitem(last=False)[1])


# What every TwelveLabs handler needs.


Thing = TypeVar("Thing")


@dataclass(frozen=True, slots=True)
class Context:
    """The account, and the dialect to show it in."""

    account: Account
    dialect: TwelveLabsDialect
    embeddings: PrintedEmbeddings = field(default_factory=PrintedEmbeddings)
    _signatures: count[int] = field(default_factory=count)

    def index(self, index_id: str) -> Index:
        """The index of this id; only a 400 is declared for one that is not there."""
        return self.found(self.account.indexes.get(index_id), "indexes", index_id, declared=400)

    def indexed_asset(self, index_id: str, indexed_asset_id: str) -> IndexedAsset:
        """The indexed asset of this id in this index, or a 404."""
        asset = self.index(index_id).assets.get(indexed_asset_id)
        return self.found(asset, "indexed-assets", indexed_asset_id)

    def upload(self, asset_id: str) -> Upload:
        """The upload of this id, or a 404."""
        return self.found(self.account.uploads.get(asset_id), "assets", asset_id)

    def found(self, thing: Thing | None, what: str, name: str, *, declared: int = 404) -> Thing:
        """`thing`, unless it is None: then a `RefusedError` as the dialect has it."""
        if thing is None:
            raise missing(what, name, self.dialect.missing, declared)
        return thing

    def time(self, when: datetime) -> str:
        """A moment in the dialect's precision."""
        return printed(when, self.dialect.date_digits)

    def signed(self, url: str) -> str:
        """An address that is new in every answer, which is what a reader must not store."""
        return f"{url}?X-Amz-Expires=3600&X-Amz-Signature={next(self._signatures):016x}"
