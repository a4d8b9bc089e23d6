"""What Mixpeek's handlers share: bodies as FastAPI would check them, pages, filters, and the dialect's looks."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, TypeVar
from urllib.parse import urlencode

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from vectorferry.connector.sandbox._http import Page, RefusedError, Request
from vectorferry.connector.sandbox._mixpeek._library import Library, StoredAsset, StoredFeature
from vectorferry.connector.sandbox._settings import MixpeekDialect

Row = TypeVar("Row")
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Context:
    """The media, and the dialect to show them in."""

    library: Library
    dialect: MixpeekDialect
    _signatures: count[int] = field(default_factory=count)

    def asset(self, asset_id: str) -> StoredAsset:
        """The asset of this id, or a 404."""
        return require(self.library.assets.get(asset_id), "Asset", asset_id)

    def feature(self, feature_id: str) -> StoredFeature:
        """The feature of this id, or a 404."""
        return require(self.library.features.get(feature_id), "Feature", feature_id)

    def show_asset(self, asset: StoredAsset, *, signed: bool = False) -> Mapping[str, Any]:
        """The asset's fields in this dialect."""
        fields = asset.fields
        if self.dialect.timestamps == "zulu":
            times = {name: fields.get(name) for name in ("created_at", "updated_at")}
            fields = {**fields, **{name: f"{text}Z" for name, text in times.items() if isinstance(text, str)}}
        return self._signed(fields) if signed else fields

    def show_feature(self, feature: StoredFeature, *, signed: bool = False) -> Mapping[str, Any]:
        """The feature's fields, without vectors."""
        return self._signed(feature.fields) if signed else feature.fields

    def _signed(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        # Presigned addresses live for an hour and are new in every answer, which is what a reader must not store.
        date = f"{datetime.now(UTC) + timedelta(hours=1):%Y%m%dT%H%M%SZ}"
        signed = {
            name: f"{url}?X-Amz-Expires=3600&X-Amz-Date={date}&X-Amz-Signature={next(self._signatures):016x}"
            for name in ("url", "preview_url")
            if isinstance(url := fields.get(name), str)
        }
        return {**fields, **signed}


def require(item: Item | None, kind: str, name: str) -> Item:
    """`item`, or a 404 where there is none."""
    if item is None:
        raise RefusedError(404, f"{kind} {name!r} not found")
    return item


# Request bodies.


class RequestBody(BaseModel):
    """May have keys that the API does not declare, unless the dialect refuses them."""

    model_config = ConfigDict(extra="allow")


class InCollections(RequestBody):
    """Concerns some collections, under either name of that field."""

    collections: list[str] | None = None
    collection_ids: list[str] | None = None
    filters: dict[str, Any] | None = None
    sort: dict[str, Any] | None = None
    select: list[Any] | None = None

    def names(self) -> list[str]:
        """The collections asked for, under whichever name."""
        return [*(self.collections or ()), *(self.collection_ids or ())]


Body = TypeVar("Body", bound=RequestBody)


def parse_body(model: type[Body], raw: bytes, dialect: MixpeekDialect) -> Body:
    """The body as `model`; raises a `RefusedError` with status 422 and FastAPI's list of what is wrong."""
    try:
        body = model.model_validate(orjson.loads(raw) if raw else {})
    except orjson.JSONDecodeError as error:
        raise _unprocessable(_problem(("body", error.pos), "JSON decode error", "json_invalid")) from None
    except ValidationError as error:
        problems = (_problem(("body", *one["loc"]), one["msg"], one["type"]) for one in error.errors())
        raise _unprocessable(*problems) from None
    _check_keys(body, dialect)
    return body


def _check_keys(body: RequestBody, dialect: MixpeekDialect) -> None:
    unknown = set(body.model_extra or ())
    if isinstance(body, InCollections) and dialect.body_field != "both":
        other = "collection_ids" if dialect.body_field == "collections" else "collections"
        unknown |= {other} & body.model_fields_set
        setattr(body, other, None)
    if unknown and dialect.refuse_unknown_keys:
        message, kind = "Extra inputs are not permitted", "extra_forbidden"
        raise _unprocessable(*(_problem(("body", key), message, kind) for key in sorted(unknown)))
    if isinstance(body, InCollections) and body.collections is None and body.collection_ids is None:
        key = "collections" if dialect.body_field == "both" else dialect.body_field
        raise _unprocessable(_problem(("body", key), "Field required", "missing"))


def _problem(where: tuple[str | int, ...], message: str, kind: str) -> dict[str, Any]:
    return {"loc": list(where), "msg": message, "type": kind}


def _unprocessable(*problems: dict[str, Any]) -> RefusedError:
    return RefusedError(422, problems[0]["msg"], details=problems)


# Query strings and pages.

_MOST = 1_000_000_000


def query_int(request: Request, name: str, default: int, *, minimum: int = 1, maximum: int = _MOST) -> int:
    """A whole number from the query string; a 422 in FastAPI's shape when it is none or out of range."""
    text = request.query.get(name)
    if text is None:
        return default
    try:
        value = int(text)
    except ValueError:
        raise _unprocessable_query(name, "Input should be a valid integer", "int_parsing") from None
    if value < minimum:
        raise _unprocessable_query(name, f"Input should be greater than or equal to {minimum}", "greater_than_equal")
    if value > maximum:
        raise _unprocessable_query(name, f"Input should be less than or equal to {maximum}", "less_than_equal")
    return value


def _unprocessable_query(name: str, message: str, kind: str) -> RefusedError:
    return _unprocessable(_problem(("query", name), message, kind))


def query_flag(request: Request, name: str, default: bool = False) -> bool:
    """A yes or no from the query string."""
    text = request.query.get(name)
    return default if text is None else text.lower() in {"true", "1", "yes", "on"}


def page_of(request: Request, dialect: MixpeekDialect) -> Page:
    """The page that `page` and `page_size` of the query ask for."""
    size = query_int(request, "page_size", 10)
    return Page(query_int(request, "page", 1), min(size, dialect.page_size_cap or size))


def pagination(page: Page, total: int, request: Request, path: str, *, number_key: str = "page") -> dict[str, Any]:
    """The `pagination` object. `next_page` and `previous_page` are null or full URLs, as the client writes them."""
    pages = page.pages(total)

    def link(number: int) -> str:
        query = urlencode({"page": number, "page_size": page.size})
        return f"{request.origin}{request.prefix}{path}?{query}"

    return {
        "total": total,
        number_key: page.number,
        "page_size": page.size,
        "total_pages": pages,
        "next_page": link(page.number + 1) if page.number < pages else None,
        "previous_page": link(page.number - 1) if page.number > 1 else None,
    }


# Filters and sorting: best effort, as far as Mixpeek's pages describe them.


def field_at(fields: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path, None when there is none."""
    value: Any = fields
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def select(fields: Mapping[str, Any], paths: Iterable[str] | None) -> Mapping[str, Any]:
    """Only the fields that dotted `paths` name, everything without paths."""
    if not paths:
        return fields
    selected: dict[str, Any] = {}
    for path in paths:
        *parents, last = path.split(".")
        inner = selected
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[last] = field_at(fields, path)
    return selected


def sort_rows(
    rows: Iterable[Row], sort: Mapping[str, Any] | None, fields: Callable[[Row], Mapping[str, Any]]
) -> Sequence[Row]:
    """Rows by one field, those without it last; a stable sort."""
    if not sort:
        return list(rows)
    path = str(sort.get("field"))
    valued = [(field_at(fields(row), path), row) for row in rows]
    present = [pair for pair in valued if pair[0] is not None]
    present.sort(key=lambda pair: _orderable(pair[0]), reverse=sort.get("direction") == "desc")
    return [row for _, row in present] + [row for value, row in valued if value is None]


def _orderable(value: Any) -> tuple[int, Any]:
    return (0, value) if isinstance(value, int | float) else (1, str(value))


def matches(fields: Mapping[str, Any], filters: Mapping[str, Any] | None) -> bool:
    """Whether a row passes ``{"AND": [...], "OR": [...], "NOR": [...], "case_sensitive": false}``."""
    return not filters or _logical(fields, filters, bool(filters.get("case_sensitive")))


def _logical(fields: Mapping[str, Any], item: Mapping[str, Any], exact: bool) -> bool:
    if "key" in item:
        return _condition(fields, item, exact)
    passed = [[_logical(fields, inner, exact) for inner in item.get(name) or ()] for name in ("AND", "OR", "NOR")]
    every, some, none = passed
    return all(every) and (any(some) or not some) and not any(none)


def _condition(fields: Mapping[str, Any], item: Mapping[str, Any], exact: bool) -> bool:
    name = item.get("operator") or "eq"
    if name not in _OPERATORS:
        raise RefusedError(400, f"Unknown filter operator {name!r}; known: {', '.join(_OPERATORS)}")
    value, operand = field_at(fields, str(item["key"])), item.get("value")
    if not exact:
        value, operand = _folded(value), _folded(operand)
    try:
        return bool(_OPERATORS[name](value, operand))
    except TypeError:
        return False


def _folded(value: Any) -> Any:
    if isinstance(value, list):
        return [_folded(one) for one in value]
    return value.casefold() if isinstance(value, str) else value


def _equal(value: Any, operand: Any) -> bool:
    return bool(value == operand or (isinstance(value, list) and operand in value))


_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "eq": _equal,
    "ne": lambda value, operand: not _equal(value, operand),
    "gt": operator.gt,
    "lt": operator.lt,
    "gte": operator.ge,
    "lte": operator.le,
    "in": lambda value, operand: any(_equal(value, one) for one in operand),
    "nin": lambda value, operand: not any(_equal(value, one) for one in operand),
    "is_null": lambda value, operand: (value is None) == (operand is not False),
    "text": lambda value, operand: str(operand) in str(value),
    "exists": lambda value, operand: (value is not None) == (operand is not False),
}
