"""What somebody does who brings vectors of their own: a namespace, documents, a retriever over them, promotion."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from secrets import token_hex
from typing import Any, Final

import numpy as np
import orjson
from pydantic import Field

from vectorferry.connector._model._records import DenseVector
from vectorferry.connector.sandbox._http import Handlers, RefusedError, Reply, Request, json_reply
from vectorferry.connector.sandbox._mixpeek_documents._requests import (
    Context,
    RequestBody,
    View,
    matches,
    parse_body,
    require,
    show,
    unprocessable,
)
from vectorferry.connector.sandbox._mixpeek_documents._store import (
    DIRECT,
    Namespace,
    StoredCollection,
    StoredDocument,
    StoredIndex,
    new_internal,
    now,
    time_text,
    vector_shape,
)
from vectorferry.connector.sandbox._vectors import RawVector, TextVector, embed_in, embed_text, raw_json

writes: Handlers[Context] = Handlers()

MOST_UPSERTED: Final = 1_000
RESERVED: Final = frozenset(
    {"document_id", "collection_id", "_internal", "_vectors", "vectors", "source_type", "lineage"}
)
"""Payload fields of these names are dropped, and the answer says which."""

METRICS: Final = {"cosine": "cosine", "euclidean": "euclidean", "dot_product": "dot", "dot": "dot"}


# Namespaces.


class VectorConfig(RequestBody):
    """A vector that documents may have."""

    name: str
    dimension: int = Field(ge=1)
    metric: str = "cosine"


class NewNamespace(RequestBody):
    """``POST /v1/namespaces/standalone``."""

    namespace_id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$")
    namespace_name: str | None = None
    vector_configs: list[VectorConfig] | None = None
    storage: Any = None
    config: Any = None
    auto_create_indexes: bool | None = None


class Promotion(RequestBody):
    """``POST /v1/namespaces/{namespace}/promote``."""

    vector_mappings: list[dict[str, Any]] | None = None
    add_vectors: list[dict[str, Any]] | None = None


@writes("documents.namespaces.create", "POST", "/v1/namespaces/standalone")
def _create_namespace(context: Context, request: Request) -> Reply:
    body = parse_body(NewNamespace, request, context.dialect)
    if context.store.namespace(body.namespace_id):
        raise RefusedError(
            409,
            f"Namespace {body.namespace_id!r} exists",
            kind="AlreadyExists",
            details={"code": "namespace_name_taken"},
        )
    configs = [each.model_dump() for each in body.vector_configs] if body.vector_configs is not None else None
    made = context.store.add_namespace(
        Namespace(body.namespace_id, body.namespace_name or body.namespace_id, "standalone", configs)
    )
    answer = {
        "namespace_id": made.namespace_id,
        "mode": made.mode,
        "status": "active",
        "vector_configs": configs,
        "tiering": "auto",
        "document_count": 0,
    }
    return json_reply(answer)


@writes("documents.namespaces.promote", "POST", "/v1/namespaces/{namespace}/promote")
def _promote(context: Context, request: Request) -> Reply:
    namespace = context.in_namespace(request.params[0]).required()
    body = parse_body(Promotion, request, context.dialect)
    known = {name for each in namespace.collections.values() for name in each.indexes}
    for mapping in body.vector_mappings or ():
        if mapping.get("existing_index") not in known:
            raise RefusedError(404, f"No vector index {mapping.get('existing_index')!r}; there are: {sorted(known)}")
        namespace.inference[mapping["existing_index"]] = mapping["inference_service"]
    before, namespace.mode = namespace.mode, "managed"
    answer = {
        "namespace_id": namespace.namespace_id,
        "previous_mode": before,
        "mode": namespace.mode,
        "status": "active",
        "vector_configs": namespace.vector_configs,
        "vector_inference_map": namespace.inference,
    }
    return json_reply(answer)


# Documents.


class BroughtDocument(RequestBody):
    """One document of an upsert."""

    document_id: str = Field(min_length=1)
    vectors: dict[str, Any]
    payload: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    acl: Any = None
    source_type: str | None = None
    root_object_id: str | None = None
    root_bucket_id: str | None = None
    source_object_id: str | None = None
    source_document_id: str | None = None
    source_collection_id: str | None = None
    lineage_path: str | None = None
    lineage_chain: Any = None
    content_hash: str | None = None


class UpsertOptions(RequestBody):
    """How an upsert answers."""

    write_token: bool = False
    idempotency_key: str | None = None


class Upsert(RequestBody):
    """``POST /v1/namespaces/{namespace}/documents/upsert``."""

    collection_id: str | None = None
    documents: list[BroughtDocument] = Field(max_length=MOST_UPSERTED)
    options: UpsertOptions | None = None


@writes("documents.upsert", "POST", "/v1/namespaces/{namespace}/documents/upsert")
def _upsert(context: Context, request: Request) -> Reply:
    namespace = context.in_namespace(request.params[0]).required()
    body = parse_body(Upsert, request, context.dialect)
    name = body.collection_id or DIRECT
    collection = namespace.collection(name) or namespace.add_collection(StoredCollection(name, name))
    for given in body.documents:
        _check_vectors(namespace, given.vectors)
    dropped: dict[str, list[str]] = {}
    for given in body.documents:
        collided = sorted(RESERVED & set(given.payload or ()))
        if collided:
            dropped[given.document_id] = collided
        _put(context, namespace, collection, given)
    # One event for a call, however many documents it brings.
    context.store.tell(namespace, "collection.documents.written", {"count": len(body.documents)})
    token = None
    if body.options and body.options.write_token:
        context.store.write_tokens.add(token := f"wt_{token_hex(8)}")
    ids = [given.document_id for given in body.documents]
    return json_reply(
        {
            "inserted": len(ids),
            "document_ids": ids,
            "write_token": token,
            "dropped_payload_fields": dropped,
            "unsearchable_document_ids": [],
            "warnings": [],
        }
    )


def _check_vectors(namespace: Namespace, vectors: Mapping[str, Any]) -> None:
    configs = None if namespace.vector_configs is None else {each["name"]: each for each in namespace.vector_configs}
    for name, value in vectors.items():
        if configs is None:
            continue
        where = ["body", "documents", "vectors", name]
        if name not in configs:
            accepted = ", ".join(configs)
            raise unprocessable(
                {"type": "value_error", "location": where, "message": f"unknown vector; the namespace has {accepted}"}
            )
        shape, dimension = vector_shape(value)
        if shape != "sparse" and dimension != configs[name]["dimension"]:
            raise unprocessable({"type": "value_error", "location": where, "message": f"{dimension} dimensions"})


def _put(context: Context, namespace: Namespace, collection: StoredCollection, brought: BroughtDocument) -> None:
    fields = {name: value for name, value in (brought.payload or {}).items() if name not in RESERVED}
    metrics = {each["name"]: METRICS.get(each["metric"], "cosine") for each in namespace.vector_configs or ()}
    for name, value in brought.vectors.items():
        shape, dimension = vector_shape(value)
        collection.indexes.setdefault(name, StoredIndex(name, shape, dimension, metrics.get(name, "cosine")))
    lineage = {"source_type": brought.source_type or "direct_upsert"}
    if brought.root_object_id:
        lineage["root_object_id"] = brought.root_object_id
    internal = new_internal(
        namespace, collection.collection_id, brought.document_id, lineage=lineage, content_hash=brought.content_hash
    )
    internal["metadata"] = {**internal["metadata"], **(brought.metadata or {})}
    former = collection.documents.get(brought.document_id)
    if former:
        internal["created_at"] = former.internal["created_at"]
    vectors = {name: RawVector(raw_json(value)) for name, value in brought.vectors.items()}
    context.store.put(
        namespace, StoredDocument(brought.document_id, collection.collection_id, fields, internal, {**vectors})
    )


# Retrievers, as far as a search by one vector goes.


class NewRetriever(RequestBody):
    """``POST /v1/retrievers``."""

    retriever_name: str = Field(min_length=1)
    description: str | None = None
    collection_identifiers: list[str] | None = None
    stages: list[dict[str, Any]] = Field(min_length=1)
    input_schema: dict[str, Any] | None = None
    budget_limits: Any = None
    tags: Any = None
    metadata: Any = None
    display_config: Any = None
    visibility: Any = None


class Execution(RequestBody):
    """``POST /v1/retrievers/{retriever}/execute``."""

    inputs: dict[str, Any] | None = None
    filters: dict[str, Any] | None = None
    pagination: dict[str, Any] | None = None
    limit: int | None = Field(default=None, ge=1, le=500)
    stream: bool = False
    expand: Any = None
    skip_cache: bool = False
    return_presigned_urls: bool = False
    return_vectors: bool = False
    write_token: str | None = None
    consistency: Any = None
    target_collection_id: str | None = None
    explain: bool = False


@writes("documents.retrievers.create", "POST", "/v1/retrievers")
def _create_retriever(context: Context, request: Request) -> Reply:
    body = parse_body(NewRetriever, request, context.dialect)
    retriever_id = f"ret_{token_hex(6)}"
    retriever = {**body.model_dump(), "retriever_id": retriever_id, "created_at": time_text(now())}
    context.required().retrievers[retriever_id] = retriever
    return json_reply({**retriever, "retriever": retriever})


@writes("documents.retrievers.delete", "DELETE", "/v1/retrievers/{retriever}")
def _delete_retriever(context: Context, request: Request) -> Reply:
    retriever = _retriever(context, request.params[0])
    del context.required().retrievers[retriever["retriever_id"]]
    return json_reply({"message": "deleted", "success": True})


@writes("documents.retrievers.execute", "POST", "/v1/retrievers/{retriever}/execute")
def _execute(context: Context, request: Request) -> Reply:
    retriever = _retriever(context, request.params[0])
    body = parse_body(Execution, request, context.dialect)
    token = body.write_token or request.headers.get("X-Write-Token")
    if token is not None and token not in context.store.write_tokens:
        raise RefusedError(400, "X-Write-Token is none that an upsert has given")
    found: list[tuple[float, StoredDocument]] = []
    for stage in retriever["stages"]:
        found += run_stage(context, retriever, stage, body)
    found.sort(key=lambda each: -each[0])
    limit = body.limit or 10
    view = View(None if body.return_vectors else ())
    documents = [{**show(context, document, view), "score": score} for score, document in found[:limit]]
    answer = {
        "retriever_id": retriever["retriever_id"],
        "execution_id": f"exec_{token_hex(6)}",
        "status": "completed",
        "documents": documents,
        "pagination": {
            "method": "cursor",
            "limit": limit,
            "returned": len(documents),
            "total": None,
            "has_next": False,
        },
        "consistency_mode": "strong" if token else "eventual",
        "warnings": [],
    }
    return json_reply(answer)


def _retriever(context: Context, identifier: str) -> dict[str, Any]:
    retrievers = context.required().retrievers
    named = (each for each in retrievers.values() if each["retriever_name"] == identifier)
    return require(retrievers.get(identifier) or next(named, None), "Retriever", identifier)


def run_stage(
    context: Context, retriever: Mapping[str, Any], stage: Mapping[str, Any], body: Execution
) -> Iterable[tuple[float, StoredDocument]]:
    """What one stage of a retriever finds, with scores."""
    parameters = stage.get("config", {}).get("parameters", {})
    namespace = context.required()
    names = retriever["collection_identifiers"]
    collections = [context.collection(name) for name in names] if names else list(namespace.collections.values())
    for search in parameters.get("searches", ()):
        query = _query(context, collections, search, body.inputs or {})
        yield from nearest(context, collections, search["feature_uri"], query, search.get("top_k", 10), body.filters)


def nearest(
    context: Context,
    collections: Sequence[StoredCollection],
    name: str,
    query: DenseVector,
    top_k: int,
    filters: Mapping[str, Any] | None,
) -> list[tuple[float, StoredDocument]]:
    """The nearest documents under one index, with scores."""
    scored = [
        (float(query @ vector), document)
        for collection in collections
        for document in collection.visible(context.share).values()
        if (vector := _numbers(document, collection, name)) is not None and vector.shape == query.shape
        if not filters or matches({**document.fields, "_internal": document.internal}, filters)
    ]
    scored.sort(key=lambda each: -each[0])
    return scored[:top_k]


def embedded(context: Context, collections: Sequence[StoredCollection], name: str, text: str) -> DenseVector:
    """What the model behind an index makes of a text; a 400 where there is none."""
    namespace = context.required()
    for collection in collections:
        index = _index(collection, name)
        if index and index.dimensions and index.storage_name in namespace.inference:
            return embed_in(text, namespace.inference[index.storage_name], index.dimensions)
        vectors = (each.vectors.get(index.storage_name) for each in collection.documents.values()) if index else ()
        model = next((each.model for each in vectors if isinstance(each, TextVector)), None)
        if model and namespace.mode == "managed":
            return embed_text(text, model)
    raise RefusedError(
        400, f"{name} has no inference service: promote the namespace, or use input_mode=vector with an embedding"
    )


def unit(vector: Any) -> DenseVector:
    """A list of numbers as a vector of length 1."""
    return _unit(np.asarray(vector, np.float32))


def _query(
    context: Context, collections: Sequence[StoredCollection], search: Mapping[str, Any], inputs: Mapping[str, Any]
) -> DenseVector:
    query = search.get("query", {})
    value = query.get("value")
    if isinstance(value, str) and value.startswith("{{") and value.endswith("}}"):
        value = inputs.get(value.strip("{} ").split(".")[-1])
    if query.get("input_mode") == "vector":
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise unprocessable({"type": "value_error", "location": ["body", "inputs"], "message": "no vector given"})
        return unit(value)
    return embedded(context, collections, search["feature_uri"], str(value))


def _index(collection: StoredCollection, name: str) -> StoredIndex | None:
    return next((each for each in collection.indexes.values() if name in (each.storage_name, each.feature_uri)), None)


def _numbers(document: StoredDocument, collection: StoredCollection, name: str) -> DenseVector | None:
    index = _index(collection, name)
    vector = document.vectors.get(index.storage_name) if index else None
    if vector is None or index is None or index.shape != "dense":
        return None
    dense = vector.dense()
    if dense is not None:
        return dense
    # Brought vectors are kept as the bytes that are served.
    return _unit(np.asarray(orjson.loads(orjson.dumps(vector.json())), np.float32))


def _unit(vector: DenseVector) -> DenseVector:
    length = float(np.linalg.norm(vector)) or 1.0
    return (vector / length).astype(np.float32)
