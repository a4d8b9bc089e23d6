"""Namespaces, collections and documents, listed and read; and the change feed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import Field

from vectorferry.connector.sandbox._http import Handlers, RefusedError, Reply, Request, json_reply
from vectorferry.connector.sandbox._mixpeek_documents._requests import (
    IDS,
    MOST_ROWS,
    UNRESOLVED,
    Context,
    DocumentList,
    Paged,
    PagedByQuery,
    RequestBody,
    View,
    decoded,
    encoded,
    field_at,
    ids_in,
    matches,
    pagination,
    parse_body,
    require,
    show,
    unprocessable,
)
from vectorferry.connector.sandbox._mixpeek_documents._store import (
    Event,
    Namespace,
    StoredCollection,
    StoredDocument,
    StoredIndex,
    page_after,
)

reads: Handlers[Context] = Handlers()

MADE_AT: Final = "2025-10-30T09:00:00Z"
UNRESOLVED_HEADER: Final = {"X-Namespace-Unresolved": "true"}


# Namespaces.


class NamespaceList(PagedByQuery):
    """``POST /v1/namespaces/list``."""

    filters: dict[str, Any] | None = None
    sort: dict[str, Any] | None = None
    search: str | None = None
    case_sensitive: bool = False
    view: str | None = None


@reads("documents.namespaces.list", "POST", "/v1/namespaces/list")
@reads("documents.namespaces.list", "GET", "/v1/namespaces")
def _namespaces(context: Context, request: Request) -> Reply:
    body = parse_body(NamespaceList, request, context.dialect)
    rows = [_namespace_row(each) for each in context.store.namespaces.values()]
    return _page_of_rows(rows, body)


@reads("documents.namespaces.get", "GET", "/v1/namespaces/{namespace}")
def _namespace(context: Context, request: Request) -> Reply:
    return json_reply(_namespace_row(context.in_namespace(request.params[0]).required()))


def _namespace_row(namespace: Namespace) -> dict[str, Any]:
    return {
        "object": "namespace",
        "namespace_id": namespace.namespace_id,
        "namespace_name": namespace.name,
        "mode": namespace.mode,
        "vector_configs": namespace.vector_configs,
        "vector_inference_map": namespace.inference or None,
        "document_count": sum(len(each.documents) for each in namespace.collections.values()),
        "collection_count": len(namespace.collections),
    }


def _page_of_rows(rows: Sequence[dict[str, Any]], body: Paged, **more: Any) -> Reply:
    start = decoded(body.cursor).get("start", 0) if body.cursor else body.offset
    end = start + body.limit
    cursor = encoded({"start": end}) if end < len(rows) else None
    answer = {
        "results": rows[start:end],
        "pagination": pagination(body, len(rows), cursor),
        "total_count": len(rows),
        **more,
    }
    return json_reply(answer)


# Collections.


class CollectionList(PagedByQuery):
    """``POST /v1/collections/list``."""

    filters: dict[str, Any] | None = None
    sort: dict[str, Any] | None = None
    sorts: list[dict[str, Any]] | None = None
    search: str | None = None
    include_system: bool = False
    case_sensitive: bool = False


@reads("documents.collections.list", "POST", "/v1/collections/list")
@reads("documents.collections.list", "GET", "/v1/collections")
def _collections(context: Context, request: Request) -> Reply:
    body = parse_body(CollectionList, request, context.dialect)
    if context.namespace is None:
        reply = _page_of_rows([], body, warnings=[UNRESOLVED])
        reply.headers = UNRESOLVED_HEADER
        return reply
    shown = [each for each in context.namespace.collections.values() if body.include_system or not each.is_system]
    return _page_of_rows([_collection_row(context, each) for each in shown], body, warnings=[])


@reads("documents.collections.get", "GET", "/v1/collections/{collection}")
def _collection(context: Context, request: Request) -> Reply:
    return json_reply(_collection_row(context, context.collection(request.params[0])))


@reads("documents.collections.features", "GET", "/v1/collections/{collection}/features")
def _features(context: Context, request: Request) -> Reply:
    collection = context.collection(request.params[0])
    features = [
        {
            "feature_address": index.feature_uri,
            "feature_uri": index.feature_uri,
            "feature_extractor_name": collection.extractor or "byo",
            "version": "v1",
            "primary": place == 0,
            "vector_index": _index_row(index),
        }
        for place, index in enumerate(collection.indexes.values())
    ]
    return json_reply({"collection_id": collection.collection_id, "features": features})


def _collection_row(context: Context, collection: StoredCollection) -> dict[str, Any]:
    extractor = collection.extractor or "passthrough_extractor"
    row = {
        "collection_id": collection.collection_id,
        "collection_name": collection.name,
        "feature_extractor": {
            "feature_extractor_name": extractor,
            "version": "v1",
            "feature_extractor_id": f"{extractor}_v1",
        },
        "source": {"type": "bucket", "bucket_ids": ["bkt_sandbox"]},
        "vector_indexes": [
            {
                "name": index.short_name,
                "feature_uri": index.feature_uri,
                "type": "multi" if index.shape == "multi_dense" else "single",
                "index": _index_row(index),
                **({} if collection.extractor else {"source": "namespace_vector_config"}),
            }
            for index in collection.indexes.values()
        ],
        "created_at": MADE_AT,
        "updated_at": MADE_AT,
    }
    # What a key sees is filtered document by document; a collection's own count is not.
    return {**row, "document_count": len(collection.documents)} if context.dialect.document_counts else row


def _index_row(index: StoredIndex) -> dict[str, Any]:
    return {
        "name": index.storage_name,
        "description": f"Vectors of {index.short_name}, as they are searched",
        "dimensions": index.dimensions,
        "type": index.shape,
        "distance": index.distance,
        "datatype": "float32",
        "inference_name": index.short_name,
    }


# Documents.


class NamespaceDocumentList(DocumentList):
    """``POST /v1/documents/list``."""

    collection_ids: list[str] | None = None
    collection_id: str | None = None
    collections: list[str] | None = None


class BatchGet(RequestBody):
    """``POST /v1/documents/batch-get``."""

    document_ids: list[str] = Field(min_length=1, max_length=MOST_ROWS)
    return_presigned_urls: bool = True


@reads("documents.list", "POST", "/v1/collections/{collection}/documents/list")
@reads("documents.list", "GET", "/v1/collections/{collection}/documents")
def _documents(context: Context, request: Request) -> Reply:
    body = parse_body(DocumentList, request, context.dialect)
    if context.namespace is None:
        return _nothing(body)
    return json_reply(_listed(context, [context.collection(request.params[0])], body, request.shifted_rows))


@reads("documents.namespace_list", "POST", "/v1/documents/list")
def _namespace_documents(context: Context, request: Request) -> Reply:
    body = parse_body(NamespaceDocumentList, request, context.dialect)
    if context.namespace is None:
        return _nothing(body)
    names = body.collection_ids or body.collections or ([body.collection_id] if body.collection_id else None)
    if names is None:
        collections, unknown = list(context.namespace.collections.values()), []
    else:
        named = {name: context.namespace.collection(name) for name in names}
        collections = [each for each in named.values() if each]
        unknown = [name for name, each in named.items() if each is None]
        if not collections:
            raise RefusedError(404, f"No such collections: {', '.join(unknown)}")
    answer = _listed(context, collections, body, request.shifted_rows)
    return json_reply({**answer, "unknown_collection_ids": unknown} if unknown else answer)


def _nothing(body: DocumentList) -> Reply:
    reply = json_reply({"results": [], "pagination": pagination(body, 0, None), "warnings": [UNRESOLVED["next_step"]]})
    reply.headers = UNRESOLVED_HEADER
    return reply


def _listed(
    context: Context, collections: Sequence[StoredCollection], body: DocumentList, shifted: int
) -> dict[str, Any]:
    place = decoded(body.cursor) if body.cursor else {}
    index, count = place.get("partition") or (
        (body.partition.index, body.partition.count) if body.partition else (0, 1)
    )
    if index >= count:
        raise unprocessable(
            {"type": "value_error", "location": ["body", "partition"], "message": "index must be below count"}
        )
    documents = collections[0].visible(context.share)
    if len(collections) > 1:
        documents = {name: document for each in collections for name, document in each.visible(context.share).items()}
    order = _order(context, collections, documents, body, index, count)
    warnings: list[str] = []
    if body.sort:
        order, cut = _sorted(context, order, documents, body.sort)
        warnings += cut
        start = place.get("start", body.offset)
        ids = order[start : start + body.limit]
        cursor = encoded({"start": start + body.limit}) if start + body.limit < len(order) else None
    else:
        skip = body.offset if not body.cursor else -shifted
        ids = page_after(order, place.get("after", ""), body.limit, skip)
        more = bool(ids) and ids[-1] != order[-1]
        cursor = encoded({"after": ids[-1], "partition": [index, count]}) if more else None
    total = len(order)
    if count > 1 and context.dialect.total_of == "whole":
        total = len(_order(context, collections, documents, body, 0, 1))
    view = View.of(body)
    answer = {
        "results": [show(context, documents[name], view) for name in ids],
        "pagination": pagination(body, total, cursor),
        "total_documents": total if body.include_total else None,
        "stats": {"total_documents": total if body.include_total else None},
    }
    return {**answer, "warnings": warnings} if warnings else answer


def _order(
    context: Context,
    collections: Sequence[StoredCollection],
    documents: Mapping[str, StoredDocument],
    body: DocumentList,
    index: int,
    count: int,
) -> Sequence[str]:
    if len(collections) == 1:
        order = collections[0].order(context.share, index, count)
    else:
        order = sorted(name for each in collections for name in each.order(context.share, index, count))
    if not body.filters:
        return order
    by_ids = ids_in(body.filters)
    if by_ids is None:
        return [name for name in order if matches(_filterable(documents[name]), body.filters)]
    if context.dialect.filters == "refused":
        raise RefusedError(400, f"No payload index for {by_ids[0]}", kind="BadRequest")
    if context.dialect.filters == "ignored":
        return order
    name, values = by_ids
    if name == "document_id":
        return [each for each in sorted(values) if each in documents]
    return [each for each in order if IDS[name](documents[each]) in values]


def _sorted(
    context: Context, order: Sequence[str], documents: Mapping[str, StoredDocument], sort: Mapping[str, Any]
) -> tuple[Sequence[str], list[str]]:
    most, path = context.dialect.sorted_scan, str(sort.get("field"))
    ranked = sorted(
        order[:most],
        key=lambda name: str(field_at(_filterable(documents[name]), path)),
        reverse=sort.get("direction") == "desc",
    )
    warning = f"The sort looked at the first {most} of {len(order)} matching documents; the list ends there."
    return ranked, [warning] if len(order) > most else []


def _filterable(document: StoredDocument) -> dict[str, Any]:
    return {
        **document.fields,
        "document_id": document.document_id,
        "collection_id": document.collection_id,
        "_internal": document.internal,
    }


@reads("documents.batch_get", "POST", "/v1/documents/batch-get")
def _batch_get(context: Context, request: Request) -> Reply:
    body = parse_body(BatchGet, request, context.dialect)
    found: list[dict[str, Any]] = []
    missing: list[str] = []
    for name in body.document_ids:
        try:
            found.append(show(context, context.document(name), View(presigned=body.return_presigned_urls)))
        except RefusedError:
            missing.append(name)
    return json_reply({"documents": found, "not_found": missing})


@reads("documents.count", "GET", "/v1/collections/{collection}/documents/count")
def _count(context: Context, request: Request) -> Reply:
    collection = context.collection(request.params[0])
    return json_reply({"collection_id": collection.collection_id, "count": len(collection.visible(context.share))})


@reads("documents.get", "GET", "/v1/collections/{collection}/documents/{document}")
def _document(context: Context, request: Request) -> Reply:
    collection, document = context.collection(request.params[0]), context.document(request.params[1])
    require(document if document.collection_id == collection.collection_id else None, "Document", request.params[1])
    return json_reply(show(context, document, _view(request)))


@reads("documents.get", "GET", "/v1/documents/{document}")
def _namespace_document(context: Context, request: Request) -> Reply:
    return json_reply(show(context, context.document(request.params[0]), _view(request)))


@reads("documents.of_object", "GET", "/v1/objects/{object}/documents")
def _of_object(context: Context, request: Request) -> Reply:
    named = request.query.get("collection_ids")
    collections = [context.collection(named)] if named else list(context.required().collections.values())
    found = [
        show(context, document, View())
        for each in collections
        for document in each.visible(context.share).values()
        if document.object_id == request.params[0]
    ]
    return json_reply({"object_id": request.params[0], "documents": found, "total": len(found)})


def _view(request: Request) -> View:
    names = request.query.get("return_vector_names")
    every = request.query.get("return_vectors", "").lower() == "true"
    listed = names.split(",") if names and names.lower() not in ("true", "false") else ()
    return View(
        None if every else listed, names is not None, request.query.get("return_presigned_urls", "").lower() == "true"
    )


# The change feed.


@reads("documents.events", "GET", "/v1/events")
def _events(context: Context, request: Request) -> Reply:
    if not context.dialect.events:
        raise RefusedError(404, "No such path: /v1/events")
    cursor = next((request.query[name] for name in ("cursor", "next_cursor", "after") if name in request.query), None)
    limit = min(int(request.query.get("limit", "100")), MOST_ROWS)
    events = context.store.events
    if context.dialect.events_kept is not None:
        events = events[len(events) - min(context.dialect.events_kept, len(events)) :]
    after = _position(context, cursor, events)
    wanted = context.namespace.namespace_id if context.namespace else None
    behind = [event for event in events if event.seq > after and wanted in (None, event.namespace_id)]
    shown = behind[:limit]
    return json_reply(
        {
            "results": [_event_row(event) for event in shown],
            "next_cursor": _event_cursor(shown[-1]) if shown else cursor,
            "has_more": len(behind) > len(shown),
        }
    )


def _position(context: Context, cursor: str | None, events: Sequence[Event]) -> int:
    if cursor is None:
        return 0
    after = decoded(cursor).get("seq")
    if not isinstance(after, int):
        raise RefusedError(400, "Invalid cursor")
    last = context.store.events[-1].seq if context.store.events else 0
    oldest = events[0].seq if events else last + 1
    if after < oldest - 1:
        if context.dialect.expired_cursor == "refused":
            raise RefusedError(
                400, "The cursor is older than the events that there are", details={"retention_days": 90}
            )
        return 0
    return after


def _event_cursor(event: Event) -> str:
    return encoded({"seq": event.seq})


def _event_row(event: Event) -> dict[str, Any]:
    resource, _, verb = event.event_type.partition(".")
    operation = {"created": "insert", "updated": "update", "deleted": "delete"}.get(verb, "other")
    return {
        "seq": event.seq,
        "cursor": _event_cursor(event),
        "namespace_id": event.namespace_id,
        "event_type": event.event_type,
        "resource_type": resource,
        "operation": operation,
        "payload": dict(event.payload),
        "trace_id": None,
        "created_at": event.created_at,
    }
