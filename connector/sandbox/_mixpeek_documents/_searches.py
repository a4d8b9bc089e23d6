"""Searches that need no retriever: under one index, or by stages that are sent along."""

from __future__ import annotations

from secrets import token_hex
from typing import Any, Literal

from pydantic import Field

from vectorferry.connector.sandbox._http import Handlers, RefusedError, Reply, Request, json_reply
from vectorferry.connector.sandbox._mixpeek_documents._requests import Context, RequestBody, View, parse_body, show
from vectorferry.connector.sandbox._mixpeek_documents._store import StoredCollection, StoredDocument
from vectorferry.connector.sandbox._mixpeek_documents._writes import Execution, embedded, nearest, run_stage, unit

searches: Handlers[Context] = Handlers()


class FeatureQuery(RequestBody):
    """What is searched for."""

    input_mode: Literal["text", "image", "url", "vector"] = "text"
    text: str | None = None
    url: str | None = None
    image: str | None = None
    vector: list[float] | list[list[float]] | None = None


class FeatureSearch(RequestBody):
    """``POST /v1/features/search``."""

    collection_identifiers: list[str] | None = None
    query: FeatureQuery
    feature_uri: str = "mixpeek://text_extractor@v1/embedding"
    top_k: int = Field(default=25, ge=1, le=1_000)
    filters: dict[str, Any] | None = None


class Adhoc(RequestBody):
    """``POST /v1/retrievers/execute``."""

    collection_identifiers: list[str] | None = None
    input_schema: dict[str, Any] | None = None
    stages: list[dict[str, Any]] = Field(min_length=1)
    inputs: dict[str, Any] | None = None
    filters: dict[str, Any] | None = None
    budget_limits: Any = None
    pagination: dict[str, Any] | None = None
    limit: int | None = Field(default=None, ge=1, le=500)
    stream: bool = False


@searches("documents.features.search", "POST", "/v1/features/search")
def _feature_search(context: Context, request: Request) -> Reply:
    body = parse_body(FeatureSearch, request, context.dialect)
    collections, query = _collections(context, body.collection_identifiers), body.query
    if query.input_mode == "vector" and query.vector:
        vector = unit(query.vector)
    elif query.input_mode == "text" and query.text:
        vector = embedded(context, collections, body.feature_uri, query.text)
    else:
        raise RefusedError(400, f"input_mode {query.input_mode} needs its own field")
    found = nearest(context, collections, body.feature_uri, vector, body.top_k, body.filters)
    return json_reply({"results": _shown(context, found), "total": len(found)})


@searches("documents.retrievers.adhoc", "POST", "/v1/retrievers/execute")
def _adhoc(context: Context, request: Request) -> Reply:
    body = parse_body(Adhoc, request, context.dialect)
    execution = Execution(inputs=body.inputs, filters=body.filters, limit=body.limit)
    retriever = {"collection_identifiers": body.collection_identifiers}
    found = [each for stage in body.stages for each in run_stage(context, retriever, stage, execution)]
    found.sort(key=lambda each: -each[0])
    documents = _shown(context, found[: body.limit or 10])
    return json_reply({"execution_id": f"exec_{token_hex(6)}", "status": "completed", "documents": documents})


def _collections(context: Context, names: list[str] | None) -> list[StoredCollection]:
    return [context.collection(name) for name in names] if names else list(context.required().collections.values())


def _shown(context: Context, scored: list[tuple[float, StoredDocument]]) -> list[dict[str, Any]]:
    return [{**show(context, document, View(())), "score": score} for score, document in scored]
