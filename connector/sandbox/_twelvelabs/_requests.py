"""What TwelveLabs' handlers share: parameters, bodies, pages, states, times, and refusals in TwelveLabs' own words."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email import message_from_bytes, policy
from itertools import count
from operator import attrgetter
from typing import Any, Final, Protocol, TypeAlias, TypeVar
from urllib.parse import parse_qsl

import orjson

from vectorferry.connector.sandbox._http import Page, RefusedError, Reply, Request, json_object, json_reply
from vectorferry.connector.sandbox._settings import TwelveLabsDialect
from vectorferry.connector.sandbox._twelvelabs._account import Account, Index, IndexedAsset, Upload

LARGEST_PAGE: Final = 50
UPLOADING: Final = ("processing", "ready")
"""The states of what is being uploaded or embedded."""

Row = TypeVar("Row")
TimedRow = TypeVar("TimedRow", bound="Timed")
Item = TypeVar("Item")


# Printing vectors is most of an answer's work.
_ROOM = 256 * 1024 * 1024


class PrintedEmbeddings:
    """JSON by key, the longest unused of which goes first."""

    def __init__(self, room: int = _ROOM) -> None:
        self._left = room
        self._printed: OrderedDict[Hashable, bytes] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], object]) -> orjson.Fragment:
        """The JSON that is kept under `key`, or that of what `make` gives."""
        printed = self._printed.get(key)
        if printed is None:
            printed = orjson.dumps(make(), option=orjson.OPT_SERIALIZE_NUMPY)
            self._keep(key, printed)
        self._printed.move_to_end(key)
        return orjson.Fragment(printed)

    def _keep(self, key: Hashable, printed: bytes) -> None:
        self._printed[key] = printed
        self._left -= len(printed)
        while self._left < 0 and len(self._printed) > 1:
            self._left += len(self._printed.popitem(last=False)[1])


@dataclass(frozen=True, slots=True)
class Context:
    """The account, and the dialect to show it in. `searches` are the pages of searches that tokens stand for."""

    account: Account
    dialect: TwelveLabsDialect
    embeddings: PrintedEmbeddings = field(default_factory=PrintedEmbeddings)
    searches: OrderedDict[str, Any] = field(default_factory=OrderedDict)
    _signatures: count[int] = field(default_factory=count)

    def index(self, index_id: str) -> Index:
        """The index of this id; only a 400 is declared for one that is not there."""
        return self.require(self.account.indexes.get(index_id), "indexes", index_id, declared=400)

    def indexed_asset(self, index_id: str, indexed_asset_id: str) -> IndexedAsset:
        """The indexed asset of this id in this index, or a 404."""
        asset = self.index(index_id).assets.get(indexed_asset_id)
        return self.require(asset, "indexed-assets", indexed_asset_id)

    def upload(self, asset_id: str) -> Upload:
        """The upload of this id, or a 404."""
        return self.require(self.account.uploads.get(asset_id), "assets", asset_id)

    def require(self, item: Item | None, kind: str, name: str, *, declared: int = 404) -> Item:
        """`item`, unless it is None: then a refusal as the dialect has it, with the `declared` status by default."""
        if item is not None:
            return item
        status = declared if self.dialect.missing == "declared" else int(self.dialect.missing)
        if status == 403:
            raise RefusedError(403, f"You are not authorized to read entity {name}", kind="read_not_allowed")
        raise RefusedError(status, f"Resource with id {name} does not exist in {kind}", kind="resource_not_exist")

    def time(self, when: datetime) -> str:
        """A moment in RFC 3339, in UTC and in the dialect's precision."""
        digits = self.dialect.date_digits
        fraction = f".{when.microsecond:06}"[: digits + 1] if digits else ""
        return f"{when:%Y-%m-%dT%H:%M:%S}{fraction}Z"

    def signed(self, url: str) -> str:
        """An address that is new in every answer, which is what a reader must not store."""
        return f"{url}?X-Amz-Expires=3600&X-Amz-Signature={next(self._signatures):016x}"


def values(request: Request, name: str) -> list[str]:
    """Every value of a parameter, repeated or in a comma list."""
    texts = [value for key, value in parse_qsl(request.raw_query) if key == name]
    return [part for value in texts for part in value.split(",") if part]


def flag(request: Request, name: str) -> bool:
    """A parameter that is true or not there."""
    return request.query.get(name, "").lower() == "true"


def invalid(name: str, problem: str) -> RefusedError:
    """A parameter has a value that it cannot have."""
    return RefusedError(400, f"The {name} parameter is invalid. {problem}", kind="parameter_invalid")


# Request bodies: forms in several parts, and JSON objects.

Form: TypeAlias = dict[str, list[str]]


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


def _object(text: bytes, name: str) -> dict[str, Any]:
    try:
        return json_object(text)
    except RefusedError:
        raise invalid(name, "It must be a JSON object.") from None


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


# How what was submitted moves on while it is looked at, and pages of rows with `page_info`.


class Moving(Protocol):
    """Something that goes through states."""

    status: str
    upcoming: tuple[str, ...]

    def enter(self, status: str) -> None:
        """Change the state."""


def looked_at(item: Moving) -> None:
    """Move on after an answer."""
    if item.upcoming:
        status, *rest = item.upcoming
        item.upcoming = tuple(rest)
        item.enter(status)


def listed(
    context: Context, request: Request, rows: Sequence[Row], show: Callable[[Context, Row], dict[str, Any]]
) -> Reply:
    """One page of `rows`; beyond the last one there is a page without rows."""
    page = Page(_whole_number(request, "page", 1), _whole_number(request, "page_limit", 10))
    if page.size > LARGEST_PAGE:
        raise invalid("page_limit", f"It must be at most {LARGEST_PAGE}.")
    data = [show(context, row) for row in page.rows(rows, request.shifted_rows)]
    info = {
        "limit_per_page": page.size,
        "page": page.number,
        "total_page": page.pages(len(rows)),
        "total_results": len(rows),
    }
    return json_reply({"data": None if context.dialect.null_data and not data else data, "page_info": info})


def _whole_number(request: Request, name: str, default: int) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    if not text.isdecimal() or not text.isascii() or not 0 < int(text[:12]) < 10**9:
        raise invalid(name, "It must be a positive integer.")
    return int(text)


class Timed(Protocol):
    """Something that was made and changed."""

    created_at: datetime
    updated_at: datetime


def sorted_by_time(request: Request, rows: Iterable[TimedRow]) -> list[TimedRow]:
    """Sorted by `sort_by`, `created_at` unless it is `updated_at`, newest first unless `sort_option` is ``asc``."""
    name, way = request.query.get("sort_by", "created_at"), request.query.get("sort_option", "desc")
    if name not in {"created_at", "updated_at"}:
        raise invalid("sort_by", "It must be one of created_at, updated_at.")
    if way not in {"asc", "desc"}:
        raise invalid("sort_option", "It must be asc or desc.")
    return sorted(rows, key=attrgetter(name), reverse=way == "desc")
