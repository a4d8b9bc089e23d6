"""What every handler needs of a request: its body as FastAPI would check it, filters, sorting and pages."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from typing import Any, Literal, TypeVar
from urllib.parse import urlencode

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vectorferry.connector.sandbox._http import RefusedError, Request
from vectorferry.connector.sandbox._library import Library, StoredAsset, StoredCollection, StoredFeature
from vectorferry.connector.sandbox._settings import MixpeekDialect

__all__ = [
    "AssetList",
    "Context",
    "Embed",
    "FeatureList",
    "MetadataUpdate",
    "Page",
    "Query",
    "Search",
    "TextSearch",
    "matches",
    "page_url",
    "parse_body",
    "pick",
    "query_flag",
    "query_int",
    "select",
    "sort_rows",
]


class _Body(BaseModel):
    model_config = ConfigDict(extra="allow")


class _InCollections(_Body):
    collections: list[str] | None = None
    collection_ids: list[str] | None = None
    filters: dict[str, Any] | None = None
    sort: dict[str, Any] | None = None
    select: list[Any] | None = None

    def names(self) -> list[str]:
        """The collections asked for, under whichever name."""
        return [*(self.collections or ()), *(self.collection_ids or ())]


class AssetList(_InCollections):
    """``POST /assets``."""

    group_by: dict[str, Any] | None = None
    return_url: bool | None = False


class FeatureList(_InCollections):
    """``POST /features``."""

    return_urls: bool = False


class TextSearch(_InCollections):
    """``POST /features/search/text``, of November 2024."""

    query: str
    model_id: str = "multimodal-v1"
    search_type: Literal["semantic", "fulltext"] = "semantic"
    group_by: dict[str, Any] | None = None


class QuerySettings(_Body):
    """How far one query looks."""

    limit: int | None = 100
    min_score: float | None = None
    modality: str | None = None


class Query(_Body):
    """One of the queries that a search fuses."""

    embedding_model: str
    value: str
    type: Literal["text", "url", "base64"]
    filters: dict[str, Any] | None = None
    settings: QuerySettings | None = None


class Search(_InCollections):
    """``POST /features/search``, from December 2024."""

    queries: list[Query] | None = Field(default_factory=list)
    group_by: dict[str, Any] | None = None
    reranking_options: dict[str, Any] | None = None
    session_id: str | None = None
    return_url: bool | None = False


class Embed(_Body):
    """``POST /features/extractors/embed``."""

    type: Literal["url", "text", "file", "base64"]
    value: str | None = None
    embedding_model: str


class MetadataUpdate(_Body):
    """``PUT`` or ``PATCH`` of an asset or a feature."""

    metadata: dict[str, Any] = Field(default_factory=dict)
    propagate_features: bool | None = False


Body = TypeVar("Body", bound=_Body)


def parse_body(model: type[Body], raw: bytes, dialect: MixpeekDialect) -> Body:
    """The body as `model`; raises a `RefusedError` with status 422 and FastAPI's list of what is wrong."""
    try:
        body = model.model_validate(orjson.loads(raw) if raw else {})
    except orjson.JSONDecodeError as error:
        raise _unprocessable([_problem((error.pos,), "JSON decode error", "json_invalid")]) from None
    except ValidationError as error:
        raise _unprocessable([_problem(one["loc"], one["msg"], one["type"]) for one in error.errors()]) from None
    _check_keys(body, dialect)
    return body


def _check_keys(body: _Body, dialect: MixpeekDialect) -> None:
    unknown = set(body.model_extra or ())
    if isinstance(body, _InCollections) and dialect.body_field != "both":
        other = "collection_ids" if dialect.body_field == "collections" else "collections"
        unknown |= {other} & body.model_fields_set
        setattr(body, other, None)
    if unknown and dialect.refuse_unknown_keys:
        refused = (_problem((key,), "Extra inputs are not permitted", "extra_forbidden") for key in sorted(unknown))
        raise _unprocessable(list(refused))
    if isinstance(body, _InCollections) and body.collections is None and body.collection_ids is None:
        wanted = "collections" if dialect.body_field == "both" else dialect.body_field
        raise _unprocessable([_problem((wanted,), "Field required", "missing")])


def _problem(where: tuple[str | int, ...], message: str, kind: str) -> dict[str, Any]:
    return {"loc": ["body", *where], "msg": message, "type": kind}


def _unprocessable(problems: list[dict[str, Any]]) -> RefusedError:
    return RefusedError(422, problems[0]["msg"], details=problems)


# Pages of rows, in the three shapes that Mixpeek documents.


Row = TypeVar("Row")


_MOST = 1_000_000_000


def query_int(request: Request, name: str, default: int, *, minimum: int = 1, maximum: int | None = None) -> int:
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
    if maximum is not None and value > maximum:
        raise _unprocessable_query(name, f"Input should be less than or equal to {maximum}", "less_than_equal")
    return value


def query_flag(request: Request, name: str, default: bool = False) -> bool:
    """A yes or no from the query string."""
    text = request.query.get(name)
    return default if text is None else text.lower() in {"true", "1", "yes", "on"}


@dataclass(frozen=True, slots=True)
class Page:
    """Which page of how many rows was asked for."""

    number: int
    size: int

    @classmethod
    def asked(cls, request: Request, cap: int | None, default: int = 10) -> Page:
        """From the query's `page` and `page_size`."""
        size = query_int(request, "page_size", default, maximum=_MOST)
        return cls(query_int(request, "page", 1, maximum=_MOST), min(size, cap or size))

    def rows(self, rows: Collection[Row], shifted: int = 0) -> list[Row]:
        """The rows on this page, `shifted` rows too early."""
        start = max((self.number - 1) * self.size - (shifted if self.number > 1 else 0), 0)
        return list(islice(rows, start, start + self.size))

    def pagination(self, total: int, url: str, *, number_key: str = "page") -> dict[str, Any]:
        """The `pagination` object. `next_page` and `previous_page` are full URLs or null."""
        pages = -(-total // self.size)
        return {
            "total": total,
            number_key: self.number,
            "page_size": self.size,
            "total_pages": pages,
            "next_page": self._link(url, self.number + 1) if self.number < pages else None,
            "previous_page": self._link(url, self.number - 1) if self.number > 1 else None,
        }

    def _link(self, url: str, number: int) -> str:
        return f"{url}?{urlencode({'page': number, 'page_size': self.size})}"


def page_url(request: Request, path: str) -> str:
    """The full URL of `path`, as the client would write it."""
    return f"{request.origin}{request.prefix}{path}"


def _unprocessable_query(name: str, message: str, kind: str) -> RefusedError:
    details: Sequence[dict[str, Any]] = [{"loc": ["query", name], "msg": message, "type": kind}]
    return RefusedError(422, message, details=details)


# Filters and sorting: best effort, as far as Mixpeek's pages describe them.


def pick(fields: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path, None when there is none."""
    value: Any = fields
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def matches(fields: Mapping[str, Any], filters: Mapping[str, Any] | None) -> bool:
    """Whether a row passes ``{"AND": [...], "OR": [...], "NOR": [...], "case_sensitive": false}``."""
    return not filters or _logical(fields, filters, bool(filters.get("case_sensitive")))


def select(fields: Mapping[str, Any], paths: Iterable[str] | None) -> Mapping[str, Any]:
    """Only the fields that dotted `paths` name, everything without paths."""
    if not paths:
        return fields
    chosen: dict[str, Any] = {}
    for path in paths:
        *parents, last = path.split(".")
        inner = chosen
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[last] = pick(fields, path)
    return chosen


def sort_rows(
    rows: Iterable[Row], sort: Mapping[str, Any] | None, fields: Callable[[Row], Mapping[str, Any]]
) -> list[Row]:
    """Rows by one field, those without it last; a stable sort."""
    found = list(rows)
    if not sort:
        return found
    path = str(sort.get("field"))
    present = [row for row in found if pick(fields(row), path) is not None]
    absent = [row for row in found if pick(fields(row), path) is None]
    present.sort(key=lambda row: _orderable(pick(fields(row), path)), reverse=sort.get("direction") == "desc")
    return present + absent


def _orderable(value: Any) -> tuple[int, Any]:
    return (0, value) if isinstance(value, int | float) else (1, str(value))


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
    found, wanted = pick(fields, str(item["key"])), item.get("value")
    if not exact:
        found, wanted = _folded(found), _folded(wanted)
    try:
        return _OPERATORS[name](found, wanted)
    except TypeError:
        return False


def _folded(value: Any) -> Any:
    if isinstance(value, list):
        return [_folded(one) for one in value]
    return value.casefold() if isinstance(value, str) else value


def _equal(found: Any, wanted: Any) -> bool:
    return bool(found == wanted or (isinstance(found, list) and wanted in found))


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": _equal,
    "ne": lambda found, wanted: not _equal(found, wanted),
    "gt": lambda found, wanted: bool(found > wanted),
    "lt": lambda found, wanted: bool(found < wanted),
    "gte": lambda found, wanted: bool(found >= wanted),
    "lte": lambda found, wanted: bool(found <= wanted),
    "in": lambda found, wanted: any(_equal(found, one) for one in wanted),
    "nin": lambda found, wanted: not any(_equal(found, one) for one in wanted),
    "is_null": lambda found, wanted: (found is None) == (wanted is not False),
    "text": lambda found, wanted: str(wanted) in str(found),
    "exists": lambda found, wanted: (found is not None) == (wanted is not False),
}


# What every Mixpeek handler needs.


Thing = TypeVar("Thing")


@dataclass(frozen=True, slots=True)
class Context:
    """The media, and the dialect to show them in."""

    library: Library
    dialect: MixpeekDialect
    _signatures: count[int] = field(default_factory=count)

    def asset(self, asset_id: str) -> StoredAsset:
        """The asset of this id, or a 404."""
        return _found(self.library.assets.get(asset_id), "Asset", asset_id)

    def feature(self, feature_id: str) -> StoredFeature:
        """The feature of this id, or a 404."""
        return _found(self.library.features.get(feature_id), "Feature", feature_id)

    def collection(self, name: str) -> StoredCollection:
        """The collection of this id or name, or a 404."""
        return _found(next(iter(self.library.named([name])), None), "Collection", name)

    def show_asset(self, asset: StoredAsset, *, signed: bool = False) -> Mapping[str, Any]:
        """The asset's fields in this dialect."""
        return self._shown(asset.fields, ("created_at", "updated_at"), signed)

    def show_feature(self, feature: StoredFeature, *, signed: bool = False) -> Mapping[str, Any]:
        """The feature's fields in this dialect, without vectors."""
        return self._shown(feature.fields, (), signed)

    def _shown(self, fields: Mapping[str, Any], times: tuple[str, ...], signed: bool) -> Mapping[str, Any]:
        changed: dict[str, Any] = {}
        if self.dialect.timestamps == "zulu":
            changed = {name: f"{fields[name]}Z" for name in times if isinstance(fields.get(name), str)}
        if signed:
            addresses = {name: fields.get(name) for name in ("url", "preview_url")}
            changed |= {name: self._signed(url) for name, url in addresses.items() if isinstance(url, str)}
        return {**fields, **changed} if changed else fields

    def _signed(self, url: str) -> str:
        # Presigned addresses live for an hour and are new in every answer, which is what a reader must not store.
        until = datetime.now(UTC) + timedelta(hours=1)
        return (
            f"{url}?X-Amz-Expires=3600&X-Amz-Date={until:%Y%m%dT%H%M%SZ}&X-Amz-Signature={next(self._signatures):016x}"
        )


def _found(thing: Thing | None, what: str, name: str) -> Thing:
    if thing is None:
        raise RefusedError(404, f"{what} {name!r} not found")
    return thing
