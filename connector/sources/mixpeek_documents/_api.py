"""The requests that this source makes of Mixpeek's documents API, and their answers.

What stands in an answer where the API's own pages leave it open is named beside the code that reads it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

from vectorferry.connector._model._errors import (
    CollectionError,
    ConfigurationError,
    IncompleteScanError,
    QuarantineError,
    SourceError,
)
from vectorferry.connector._model._json import parse_json
from vectorferry.connector._model._records import Reason
from vectorferry.connector.http import ApiClient, NotFoundError, RefusedError, one_line, segment
from vectorferry.connector.sources._pages import count_in, pagination_in
from vectorferry.connector.sources._service import ServiceApi
from vectorferry.connector.sources._values import read_object
from vectorferry.connector.sources._vectors import LiftedVectors, read_lifted

T = TypeVar("T")

DIRECT: Final = "_direct_upsert"
"""The system collection of documents that were upserted without one. Other system collections are Mixpeek's own."""

COLLECTIONS_PER_PAGE: Final = 100
EMPTY_PAGES: Final = 10
"""So many pages in a row may hold nothing and still name a next one."""

SELECTED: Final = {"select": ["_internal"]}
"""What is asked for in a cheap list: without it the whole document comes, vectors apart."""

VECTORS: Final = {"return_vectors": True}
MADE_BY_MIXPEEK: Final = "mixpeek://"
ALONE: Final = "vector"
NAMED: Final = "vectors"
"""Where a document has a vector without a name, and several by their names, if not beside its fields."""

Query: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class VectorIndex:
    """One vector index of a collection. `storage_name` is what documents call the vector; `kind` is ``dense``,
    ``sparse`` or ``multi_dense``, `distance` the service's word for its metric, empty where it says none."""

    storage_name: str
    name: str
    feature_uri: str
    kind: str
    dimensions: int | None
    distance: str


@dataclass(frozen=True, slots=True)
class Collection:
    """What the service says of a collection. `document_count` counts all documents, whoever asks, if it is told."""

    collection_id: str
    name: str | None
    indexes: Mapping[str, VectorIndex]
    document_count: int | None

    @property
    def is_brought(self) -> bool:
        """Whether its vectors are made by nobody at Mixpeek, so that each document is likely an asset by itself."""
        return not any(index.feature_uri.startswith(MADE_BY_MIXPEEK) for index in self.indexes.values())


@dataclass(frozen=True, slots=True)
class CollectionPage:
    """One page of the list of collections; `no_namespace` says that it is empty because X-Namespace means nothing."""

    rows: list[Any]
    total: int | None
    next_cursor: str | None
    no_namespace: bool


@dataclass(frozen=True, slots=True)
class Place:
    """Which page of a list: of partition `index` of `count`, behind `cursor`, with at most `limit` documents."""

    limit: int
    index: int = 0
    count: int = 1
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class DocumentPage:
    """One page of documents, as it was asked for `with_vectors` or without. `warnings` say why a list may not be all
    there is."""

    place: Place
    rows: Sequence[Any]
    total: int | None
    next_cursor: str | None
    warnings: Sequence[str]
    with_vectors: bool


class DocumentsApi(ServiceApi):
    """Knows paths, bodies and the shapes of answers."""

    def __init__(self, client: ApiClient, namespace: str) -> None:
        super().__init__(client)
        self.namespace = namespace

    async def check(self) -> None:
        """Ask a small question. Raises `SourceError` when the service does not answer even that."""
        await self._collections_page(None, 1)

    async def collections(self) -> AsyncIterator[CollectionPage]:
        """Every page of ``POST /v1/collections/list``.

        Raises `ConfigurationError` when the key knows no such namespace: the list is empty then, with a warning.
        """
        cursors: set[str] = set()
        cursor: str | None = None
        while True:
            page = await self._collections_page(cursor, COLLECTIONS_PER_PAGE)
            yield page
            cursor = page.next_cursor
            if cursor is None or cursor in cursors:
                return
            cursors.add(cursor)

    async def collection(self, collection: str) -> Collection:
        """``GET /v1/collections/{id}``, with the vectors that it has, wherever they are told."""
        found = await self._client.request("GET", _path(collection), decode=partial(read_collection, collection))
        if found.indexes:
            return found
        return replace(found, indexes=await self._features(collection))

    async def documents(
        self, collection: str, place: Place, query: Query, vectors: tuple[str, ...] = ()
    ) -> DocumentPage:
        """One page of ``POST /v1/collections/{id}/documents/list``. Never sorted: a sorted list ends at 10,000.

        Vectors of these names are read already: as float32, or the `QuarantineError` that says why one cannot be.
        """
        body: dict[str, Any] = {"limit": place.limit, **query}
        if place.cursor is None:
            # A total costs the service a count: once for each partition is enough.
            body["include_total"] = True
        else:
            body["cursor"] = place.cursor
        if place.count > 1:
            body["partition"] = {"index": place.index, "count": place.count}

        def decode(answer: bytes) -> DocumentPage:
            return read_documents(place, answer, vectors)

        path = f"{_path(collection)}/documents/list"
        return await self._client.request("POST", path, json=body, decode=decode)

    async def document_pages(
        self, collection: str, first: Place, read: Callable[[Place], Awaitable[DocumentPage]]
    ) -> AsyncIterator[DocumentPage]:
        """Every page from this place on, as `read` reads it. Raises `IncompleteScanError` where the list leads
        nowhere."""
        cursors: set[str] = set()
        place, empty = first, 0
        while True:
            page = await read(place)
            yield page
            if page.next_cursor is None:
                return
            empty = 0 if page.rows else empty + 1
            if page.next_cursor in cursors or empty == EMPTY_PAGES:
                raise IncompleteScanError(f"the list of {one_line(collection)} goes in circles, so nothing is deleted")
            cursors.add(page.next_cursor)
            place = replace(place, cursor=page.next_cursor)

    async def document(self, collection: str, document_id: str) -> dict[str, Any]:
        """``GET /v1/collections/{id}/documents/{id}`` with vectors."""
        try:
            path = f"{_path(collection)}/documents/{segment(document_id)}"
        except ValueError:
            raise QuarantineError(Reason.BAD_ID, "a document's id cannot be part of an address") from None

        def decode(answer: bytes) -> dict[str, Any]:
            return read_document(document_id, answer)

        return await self._client.request("GET", path, params={"return_vectors": "true"}, decode=decode)

    async def documents_of(self, collection: str, object_id: str) -> list[str]:
        """The ids of an object's documents in one collection, from ``GET /v1/objects/{id}/documents``."""
        path, params = f"/v1/objects/{segment(object_id)}/documents", {"collection_ids": collection}
        return await self._client.request("GET", path, params=params, decode=read_document_ids)

    async def events(self, cursor: str | None, limit: int) -> EventPage:
        """One page of ``GET /v1/events``. X-Namespace narrows it to the namespace."""
        params: dict[str, str | int] = {"limit": limit}
        if cursor is not None:
            params["cursor"] = cursor
        return await self._client.request("GET", "/v1/events", params=params, decode=read_events)

    async def post(
        self, path: str, body: Mapping[str, Any], decode: Callable[[bytes], T], *, kind: str = "", once: bool = False
    ) -> T:
        """Any ``POST``; with `once` it is not sent again when it may have been received."""
        return await self._client.request("POST", path, json=body, decode=decode, kind=kind, once=once)

    async def get(self, path: str, decode: Callable[[bytes], T]) -> T:
        """Any ``GET``."""
        return await self._client.request("GET", path, decode=decode)

    async def _features(self, collection: str) -> Mapping[str, VectorIndex]:
        try:
            return await self._client.request("GET", f"{_path(collection)}/features", decode=read_features)
        except (NotFoundError, RefusedError):
            return {}  # there is no such route; an answer that does not come would not say that there are no vectors

    async def _collections_page(self, cursor: str | None, limit: int) -> CollectionPage:
        body = {"limit": limit, "include_system": True}
        # Unlike those of a list of documents, these two are no keys of the body, and refused there.
        params = {"include_total": "true"} if cursor is None else {"include_total": "true", "cursor": cursor}
        try:
            page = await self._client.request(
                "POST", "/v1/collections/list", params=params, json=body, decode=read_collections
            )
        except (NotFoundError, RefusedError) as error:
            if isinstance(error, RefusedError) and error.status != 405:
                raise
            missing = str(error)
        else:
            self._check_namespace(page)
            return page
        raise SourceError(
            f"{missing} This account may be one of Mixpeek's first API, which has assets and no documents: then set "
            "source.type to mixpeek. Else check source.base_url, which ends before /v1."
        )

    def _check_namespace(self, page: CollectionPage) -> None:
        if page.no_namespace:
            raise ConfigurationError(
                f"{self.host} knows no namespace {one_line(self.namespace, 80)} for this key, and lists nothing "
                "for it; nothing is deleted. Check source.namespace and the key."
            )


@dataclass(frozen=True, slots=True)
class FeedEvent:
    """One event of the change feed: the cursor that points at it, and when it was recorded, as the service writes it.
    What it says is no contract, and is left where it is."""

    cursor: str | None
    created_at: Any


@dataclass(frozen=True, slots=True)
class EventPage:
    """One page of the change feed."""

    events: Sequence[FeedEvent]
    next_cursor: str | None
    has_more: bool


def read_list(body: bytes) -> dict[str, Any]:
    """A list's answer. Raises `ValueError` when there are no `results`, or the rest is not of the documented types."""
    return _checked_list(read_object(body))


def _checked_list(answer: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(answer.get("results"), list):
        raise ValueError("no list of results")
    pagination_in(answer)
    if not isinstance(answer.get("warnings"), list | None):
        raise ValueError("warnings are not a list")
    return answer


def read_collections(body: bytes) -> CollectionPage:
    """A page of collections. Raises `ValueError` when it is none."""
    answer = read_list(body)
    total = count_in(pagination_in(answer), "total")
    total = count_in(answer, "total_count") if total is None else total
    warnings = [each for each in answer.get("warnings") or () if isinstance(each, dict)]
    unresolved = any(warning.get("resource") == "namespace" for warning in warnings)
    return CollectionPage(answer["results"], total, next_cursor_in(answer), unresolved)


def read_documents(place: Place, body: bytes, vectors: tuple[str, ...] = ()) -> DocumentPage:
    """A page of documents, with vectors of these names as `DocumentsApi.documents` gives them. Raises `ValueError` when
    it is none."""
    if vectors:
        keys = (*vectors, ALONE)
        return read_lifted(body, keys, lambda answer, lifted: _with_lifted(_page(place, answer, True), keys, lifted))
    return _page(place, parse_json(body), False)


def _page(place: Place, answer: Any, with_vectors: bool) -> DocumentPage:
    if not isinstance(answer, dict):
        raise ValueError("not a JSON object")
    answer = _checked_list(answer)
    total, also = count_in(pagination_in(answer), "total"), count_in(answer, "total_documents")
    warnings = [one_line(str(warning)) for warning in answer.get("warnings") or ()]
    if total is not None and also not in (None, total):
        warnings.append(f"there are {total:,} documents, and there are {also:,}")
    return DocumentPage(place, answer["results"], total, next_cursor_in(answer), warnings, with_vectors)


def _with_lifted(page: DocumentPage, keys: tuple[str, ...], lifted: LiftedVectors) -> DocumentPage:
    """The page, with the vectors back in the places that vectors have in a document."""
    for row in page.rows:
        places: list[Any] = [row, row.get(NAMED)] if isinstance(row, dict) else []
        for vectors in places:
            for key in keys if isinstance(vectors, dict) else ():
                if key in vectors:
                    vectors[key] = lifted.exchange(vectors[key])
    return page


def read_document(document_id: str, body: bytes) -> dict[str, Any]:
    """A document's own answer. Raises `ValueError` when it is about another."""
    answer = read_object(body)
    if answer.get("document_id") != document_id:
        raise ValueError("the answer is about another document")
    return answer


def read_document_ids(body: bytes) -> list[str]:
    """The ids in an object's answer, which calls its rows `documents` or `results`. Raises `ValueError` when it tells
    of more than it has."""
    answer = read_object(body)
    rows = answer.get("documents", answer.get("results"))
    if not isinstance(rows, list):
        raise ValueError("no list of documents")
    ids = [row.get("document_id") if isinstance(row, dict) else None for row in rows]
    if not all(isinstance(each, str) and each for each in ids):
        raise ValueError("a document without an id")
    distinct = list(dict.fromkeys(map(str, ids)))
    if (count_in(answer, "total_documents") or 0) > len(distinct):
        raise ValueError("fewer documents than it announces")
    return distinct


def read_collection(identifier: str, body: bytes) -> Collection:
    """The answer of the collection of this id or name. Raises `ValueError` when it is none, or another's."""
    collection = collection_from(read_object(body))
    if identifier not in (collection.collection_id, collection.name):
        raise ValueError("the answer is about another collection")
    return collection


def read_features(body: bytes) -> Mapping[str, VectorIndex]:
    """The vector indexes of ``GET …/features``."""
    features = read_object(body).get("features")
    indexes = [_index(row, row.get("vector_index")) for row in features or () if isinstance(row, dict)]
    return {index.storage_name: index for index in indexes if index}


def read_events(body: bytes) -> EventPage:
    """A page of the change feed. Raises `ValueError` when it is none."""
    answer = read_list(body)
    cursor, more = answer.get("next_cursor"), answer.get("has_more")
    if not isinstance(cursor, str | None) or not isinstance(more, bool | None):
        raise ValueError("no cursor of the change feed")
    rows = [row if isinstance(row, dict) else {} for row in answer["results"]]
    return EventPage([FeedEvent(_text(row.get("cursor")), row.get("created_at")) for row in rows], cursor, bool(more))


def collection_from(row: Any) -> Collection:
    """A collection from its row. Raises `ValueError` for one without an id."""
    if not isinstance(row, dict) or not _text(row.get("collection_id")):
        raise ValueError("a collection without an id")
    given = row.get("vector_indexes")
    named = [each for each in given if isinstance(each, dict)] if isinstance(given, list) else []
    indexes = [_index(each, each.get("index")) for each in named]
    count = row.get("document_count")
    return Collection(
        row["collection_id"],
        _text(row.get("collection_name")),
        {index.storage_name: index for index in indexes if index},
        count if type(count) is int and count >= 0 else None,
    )


def _index(row: Mapping[str, Any], described: Any) -> VectorIndex | None:
    """`row` has the names that users know, `described` how it is stored."""
    details = described if isinstance(described, dict) else {}
    name = _text(details.get("name")) or _text(row.get("name"))
    if name is None:
        return None
    kind = _text(details.get("type")) or ("multi_dense" if row.get("type") == "multi" else "dense")
    dimensions = details.get("dimensions")
    return VectorIndex(
        name,
        _text(row.get("name")) or name,
        _text(row.get("feature_uri")) or name,
        kind,
        dimensions if type(dimensions) is int and dimensions > 0 else None,
        _text(details.get("distance")) or "",
    )


def next_cursor_in(answer: Mapping[str, Any]) -> str | None:
    """Where the next page begins. Raises `ValueError` for what is no cursor."""
    cursor = pagination_in(answer).get("next_cursor")
    if not isinstance(cursor, str | None):
        raise ValueError("next_cursor is not text")
    return cursor or None


def _path(collection: str) -> str:
    try:
        return f"/v1/collections/{segment(collection)}"
    except ValueError:
        raise CollectionError(f"{one_line(collection)} cannot be part of an address.") from None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
