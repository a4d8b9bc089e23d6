"""What the handlers of Mixpeek's documents API share: what a request may see, bodies, pages, filters, and how a
document is shown."""

from __future__ import annotations

import base64
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, TypeVar

import orjson
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from vectorferry.connector.sandbox._http import RefusedError, Request
from vectorferry.connector.sandbox._mixpeek_documents._store import (
    DocumentStore,
    Namespace,
    StoredCollection,
    StoredDocument,
    storage_names,
)
from vectorferry.connector.sandbox._settings import MixpeekDocumentsDialect

Item = TypeVar("Item")

UNRESOLVED: Final = {
    "resource": "namespace",
    "id": None,
    "reason": "unresolved",
    "next_step": "Send the id or name of a namespace that this key can read as X-Namespace.",
}
MOST_ROWS: Final = 1_000
MOST_OFFSET: Final = 10_000
QUERY: Final = ("limit", "page_size", "cursor", "next_cursor", "after", "include_total")
"""What every list takes in its query as well."""


@dataclass(frozen=True, slots=True)
class Context:
    """What one request may see: a namespace, None where X-Namespace names none, and a share of what is in it."""

    store: DocumentStore
    dialect: MixpeekDocumentsDialect
    namespace: Namespace | None
    share: float = 1.0

    def in_namespace(self, identifier: str) -> Context:
        """The same in the namespace that a path names, or a 404."""
        return replace(self, namespace=require(self.store.namespace(identifier), "Namespace", identifier))

    def required(self) -> Namespace:
        """The namespace, or a 404."""
        if self.namespace is None:
            raise RefusedError(404, "X-Namespace names no namespace of this key", kind="NotFound")
        return self.namespace

    def collection(self, identifier: str) -> StoredCollection:
        """The collection of this id or name, or a 404."""
        return require(self.required().collection(identifier), "Collection", identifier)

    def document(self, document_id: str) -> StoredDocument:
        """The document of this id, or a 404; one that the key does not see is not there."""
        document = self.required().document(document_id)
        seen = document and document_id in self.required().collections[document.collection_id].visible(self.share)
        return require(document if seen else None, "Document", document_id)


def require(item: Item | None, kind: str, name: str) -> Item:
    """`item`, or a 404 where there is none."""
    if item is None:
        raise RefusedError(404, f"{kind} {name!r} not found")
    return item


# Request bodies.


class RequestBody(BaseModel):
    """May have keys that the API does not declare, unless the dialect refuses them."""

    model_config = ConfigDict(extra="allow")
    query_only: ClassVar[frozenset[str]] = frozenset()


Body = TypeVar("Body", bound=RequestBody)


class Partition(RequestBody):
    """One of `count` disjoint parts."""

    index: int = Field(ge=0)
    count: int = Field(ge=1, le=256)


class Paged(RequestBody):
    """One page of a list."""

    limit: int = Field(default=10, ge=1, le=MOST_ROWS, validation_alias=AliasChoices("limit", "page_size"))
    offset: int = Field(default=0, ge=0, le=MOST_OFFSET)
    cursor: str | None = Field(default=None, validation_alias=AliasChoices("cursor", "next_cursor", "after"))
    include_total: bool = False


class PagedByQuery(Paged):
    """One page of a list whose cursor and total are asked for in the query only."""

    query_only: ClassVar[frozenset[str]] = frozenset({"cursor", "next_cursor", "after", "include_total"})


class DocumentList(Paged):
    """``POST …/documents/list``."""

    filters: dict[str, Any] | None = None
    sort: dict[str, Any] | None = None
    search: str | None = None
    partition: Partition | None = None
    return_presigned_urls: bool = False
    return_vectors: bool = False
    return_vector_names: bool | list[str] | None = None
    group_by: Any = None
    select: list[str] | None = None
    expand: list[str] | None = None


def parse_body(model: type[Body], request: Request, dialect: MixpeekDocumentsDialect) -> Body:
    """The body, with what the query adds to it; raises a `RefusedError` with status 422 and what is wrong."""
    asked = {name: text for name, text in request.query.items() if name in QUERY}
    try:
        sent = orjson.loads(request.body) if request.body else {}
        body = model.model_validate({**asked, **sent} if isinstance(sent, dict) else sent)
    except orjson.JSONDecodeError:
        raise unprocessable({"type": "json_invalid", "location": ["body"], "message": "JSON decode error"}) from None
    except ValidationError as error:
        raise unprocessable(
            *({"type": one["type"], "location": ["body", *one["loc"]], "message": one["msg"]} for one in error.errors())
        ) from None
    if dialect.refuse_unknown_keys:
        _refuse_unknown(body, ("body",))
        if misplaced := sorted(model.query_only & {*sent}):
            raise _forbidden(model, misplaced, ("body",))
    return body


def _refuse_unknown(body: RequestBody, where: tuple[str, ...]) -> None:
    if unknown := sorted(body.model_extra or ()):
        raise _forbidden(type(body), unknown, where)
    for name in type(body).model_fields:
        inner = getattr(body, name)
        for one in inner if isinstance(inner, list) else (inner,):
            if isinstance(one, RequestBody):
                _refuse_unknown(one, (*where, name))


def _forbidden(model: type[RequestBody], keys: Iterable[str], where: tuple[str, ...]) -> RefusedError:
    accepted = ", ".join(name for name in model.model_fields if name not in model.query_only)
    message = f"Extra inputs are not permitted; accepted keys: {accepted}"
    return unprocessable(*({"type": "extra_forbidden", "location": [*where, key], "message": message} for key in keys))


def unprocessable(*problems: dict[str, Any]) -> RefusedError:
    """A 422 that says what is wrong."""
    return RefusedError(422, str(problems[0]["message"]), details={"validation_errors": list(problems)})


# Cursors and pages.


def encoded(cursor: Mapping[str, Any]) -> str:
    """An opaque cursor."""
    return base64.urlsafe_b64encode(orjson.dumps(cursor)).decode()


def decoded(text: str) -> dict[str, Any]:
    """What is in a cursor; a 400 for what is none."""
    try:
        cursor = orjson.loads(base64.urlsafe_b64decode(text.encode()))
    except ValueError:
        cursor = None
    if not isinstance(cursor, dict):
        raise RefusedError(400, "Invalid cursor")
    return cursor


def pagination(body: Paged, total: int, next_cursor: str | None) -> dict[str, Any]:
    """The `pagination` object; counts only where they were asked for."""
    pages = -(-total // body.limit)
    return {
        "total": total if body.include_total else None,
        "page": None,
        "page_size": body.limit,
        "total_pages": pages if body.include_total else None,
        "next_page": None,
        "previous_page": None,
        "next_cursor": next_cursor,
    }


# Filters.


def field_at(fields: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path, None when there is none."""
    value: Any = fields
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def matches(fields: Mapping[str, Any], filters: Any) -> bool:
    """Whether a document passes ``{"AND": […], "OR": […], "NOT": […]}`` or the short ``{"field": value}``."""
    if not isinstance(filters, Mapping):
        raise unprocessable({"type": "dict_type", "location": ["body", "filters"], "message": "not an object"})
    if "field" in filters:
        return _condition(fields, filters)
    lists = {name: filters.get(name) or () for name in ("AND", "OR", "NOT")}
    short = {name: value for name, value in filters.items() if name not in (*lists, "case_sensitive")}
    every = all(matches(fields, inner) for inner in lists["AND"])
    some = not lists["OR"] or any(matches(fields, inner) for inner in lists["OR"])
    none = not any(matches(fields, inner) for inner in lists["NOT"])
    return every and some and none and all(field_at(fields, path) == value for path, value in short.items())


def _condition(fields: Mapping[str, Any], condition: Mapping[str, Any]) -> bool:
    name = condition.get("operator") or "eq"
    if name not in _OPERATORS:
        raise RefusedError(400, f"Unknown filter operator {name!r}; known: {', '.join(_OPERATORS)}")
    value = field_at(fields, str(condition["field"]))
    try:
        return bool(_OPERATORS[name](value, condition.get("value")))
    except TypeError:
        return False


_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "lt": operator.lt,
    "gte": operator.ge,
    "lte": operator.le,
    "in": lambda value, operand: value in operand,
    "nin": lambda value, operand: value not in operand,
    "contains": lambda value, operand: operand in value,
    "exists": lambda value, operand: (value is not None) == bool(operand),
    "is_null": lambda value, operand: (value is None) == bool(operand),
}

IDS: Final = {
    "document_id": lambda document: document.document_id,
    "_internal.lineage.root_object_id": lambda document: document.object_id,
}


def ids_in(filters: Any) -> tuple[str, frozenset[str]] | None:
    """The one field of `IDS` that a filter is about and the values it may have; None for any other filter."""
    conditions = filters.get("AND") if isinstance(filters, Mapping) and filters.keys() == {"AND"} else None
    if not isinstance(conditions, list) or len(conditions) != 1 or conditions[0].get("field") not in IDS:
        return None
    return (
        (conditions[0]["field"], frozenset(conditions[0]["value"])) if conditions[0].get("operator") == "in" else None
    )


# How a document is shown.


@dataclass(frozen=True, slots=True)
class View:
    """What of a document an answer holds. `vectors` are storage names; None: all; empty: none."""

    vectors: Sequence[str] | None = ()
    names: bool = False
    presigned: bool = False
    select: Sequence[str] | None = None

    @classmethod
    def of(cls, body: DocumentList) -> View:
        """As a list asks for it."""
        named = body.return_vector_names
        vectors: Sequence[str] | None = named if isinstance(named, list) else ()
        return cls(None if body.return_vectors else vectors, named is not None, body.return_presigned_urls, body.select)


def show(context: Context, document: StoredDocument, view: View) -> dict[str, Any]:
    """A document as the dialect shows it."""
    fields = dict(document.fields)
    if not document.object_id and context.dialect.payload_at == "payload":
        fields = {"payload": fields}
    internal = document.internal
    if view.presigned:
        fields = {name: _presigned(value) for name, value in fields.items()}
    shown = {
        **fields,
        "document_id": document.document_id,
        "collection_id": document.collection_id,
        "searchable_at": internal["updated_at"],
        "_internal": internal,
    }
    if view.select:
        shown = _selected(shown, view.select, context.dialect)
    return {**shown, **_vectors(context, document, view)}


def _selected(shown: dict[str, Any], paths: Iterable[str], dialect: MixpeekDocumentsDialect) -> dict[str, Any]:
    selected: dict[str, Any] = {name: shown[name] for name in ("document_id", "collection_id")}
    for path in paths:
        if path.startswith("_internal") and not dialect.dotted_select:
            continue
        *parents, last = path.split(".")
        inner = selected
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[last] = field_at(shown, path)
    return selected


def _vectors(context: Context, document: StoredDocument, view: View) -> dict[str, Any]:
    wanted = document.vectors if view.vectors is None else [name for name in view.vectors if name in document.vectors]
    if not wanted and not view.names and view.vectors is not None:
        return {}
    shown: dict[str, Any] = (
        {"_vectors": list(document.vectors)} if view.names or context.dialect.vectors_at == "root" else {}
    )
    withheld = {name for name in wanted if _withholds(document, name)}
    given = {name: document.vectors[name].json() for name in wanted if name not in withheld}
    if view.vectors is None or view.vectors:
        shown["vector_hydration_incomplete"] = bool(withheld)
    match context.dialect.vectors_at:
        case "root":
            return {**shown, **given}
        case "vectors":
            return {**shown, "vectors": given}
        case _:
            return {**shown, "vector": next(iter(given.values()), None)}


def _withholds(document: StoredDocument, name: str) -> bool:
    if name not in document.withheld:
        return False
    left = document.withheld[name]
    if left is not None:
        if left <= 0:
            return False
        document.withheld[name] = left - 1
    return True


def _presigned(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("s3://"):
        return f"https://media.example.com/{value[5:]}?X-Amz-Expires=3600&X-Amz-Signature=00"
    return value


def vector_names(collections: Iterable[StoredCollection]) -> list[str]:
    """Every vector's name in these collections."""
    return storage_names(collections)
