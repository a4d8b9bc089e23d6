"""Fetch, list, statistics, namespaces, and exact similarity search.

What reads see lags behind what was written; a namespace that is not there reads as empty.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, urlsafe_b64encode
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import Any, TypeAlias
from urllib.parse import parse_qs

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vectorferry.connector.sandbox._http import Handlers, RefusedError, Reply, Request, json_object
from vectorferry.connector.sandbox._pinecone._requests import Context, RequestBody, compile_filter, parse_body
from vectorferry.connector.sandbox._pinecone._store import (
    IndexSpec,
    Metric,
    Namespace,
    Record,
    Sparse,
    checked_id,
    namespace_name,
)
from vectorferry.connector.sandbox._pinecone._writes import checked_dense, checked_sparse

reads: Handlers[Context] = Handlers()
_MOST_IDS = 1_000


@reads("pinecone.fetch", "GET", "/vectors/fetch")
def _fetch(context: Context, request: Request) -> Reply:
    ids = [checked_id(one) for one in parse_qs(request.raw_query, keep_blank_values=True).get("ids", ())]
    if not 1 <= len(ids) <= _MOST_IDS:
        raise RefusedError(400, f"1 to {_MOST_IDS} ids can be fetched at once, got {len(ids)}")
    name = request.query.get("namespace", "")
    visible = _visible(context, name)
    return context.reply(_fetched(name, (visible[one] for one in ids if one in visible)))


class FetchByMetadata(RequestBody):
    """``POST /vectors/fetch_by_metadata``."""

    filter: dict[str, Any] | None = None
    namespace: str | None = None
    limit: int = Field(default=100, ge=1, le=10_000)
    pagination_token: str | None = None


@reads("pinecone.fetch_by_metadata", "POST", "/vectors/fetch_by_metadata")
def _fetch_by_metadata(context: Context, request: Request) -> Reply:
    body = parse_body(FetchByMetadata, request.body)
    if not body.filter:
        raise RefusedError(400, "A fetch by metadata needs a filter")
    passes, visible = compile_filter(body.filter), _visible(context, body.namespace)
    matching = sorted(one for one, record in visible.items() if passes(record.fields()))
    ids, token = _page_of(matching, "", body.limit, body.pagination_token)
    return context.reply({**_fetched(body.namespace or "", (visible[one] for one in ids)), **_pagination(token)})


def _visible(context: Context, name: str | None) -> dict[str, Record]:
    namespace = context.index.find(namespace_name(name))
    return {} if namespace is None else namespace.visible


def _fetched(namespace: str, records: Iterable[Record]) -> dict[str, Any]:
    shown = {record.record_id: record.shown() for record in records}
    return {"vectors": shown, "namespace": namespace, "usage": {"readUnits": max(1, -(-len(shown) // 10))}}


@reads("pinecone.list", "GET", "/vectors/list")
def _list(context: Context, request: Request) -> Reply:
    size, name = _page_size(request.query.get("limit")), request.query.get("namespace", "")
    namespace = context.index.find(namespace_name(name))
    token = request.query.get("paginationToken") or None
    ids, following = _page_of(namespace.ids() if namespace else (), request.query.get("prefix", ""), size, token)
    listed = {"vectors": [{"id": one} for one in ids], "namespace": name, "usage": {"readUnits": 1}}
    return context.reply({**listed, **_pagination(following)})


@reads("pinecone.stats", "POST", "/describe_index_stats")
def _stats(context: Context, request: Request) -> Reply:
    if json_object(request.body or b"{}").get("filter"):
        raise RefusedError(400, "Serverless indexes do not support describing stats with metadata filtering")
    spec = context.index.spec
    counts = {name: len(context.index.namespace(name).visible) for name in context.index.namespaces}
    stats = {
        "namespaces": {name: {"vectorCount": count} for name, count in counts.items()},
        "indexFullness": 0.0,
        "totalVectorCount": sum(counts.values()),
        "metric": spec.metric,
        "vectorType": spec.vector_type,
    }
    return context.reply(stats if spec.dimension is None else {**stats, "dimension": spec.dimension})


@reads("pinecone.namespaces.list", "GET", "/namespaces")
def _namespaces(context: Context, request: Request) -> Reply:
    size, prefix = _page_size(request.query.get("limit")), request.query.get("prefix", "")
    names = sorted(name for name in context.index.namespaces if name.startswith(prefix))
    page, token = _page_of(names, prefix, size, request.query.get("paginationToken") or None)
    rows = []
    for name in page:
        records = context.index.namespace(name).visible.values()
        size_bytes = sum(0 if record.values is None else record.values.nbytes for record in records)
        # Counts are decimal strings, as gRPC writes int64 in JSON.
        rows.append({"name": name, "record_count": str(len(records)), "size_bytes": str(size_bytes)})
    return context.reply({"namespaces": rows, "total_count": len(names), **_pagination(token)})


# Pages of sorted names with opaque tokens.


def _page_size(text: str | None, most: int = 100) -> int:
    """A page's `limit` from a query string; as many as allowed when it is absent."""
    if text is None:
        return most
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= most:
        raise RefusedError(400, f"limit must be a whole number from 1 to {most}, got {text[:20]!r}")
    return int(text)


def _page_of(names: Sequence[str], prefix: str, size: int, token: str | None) -> tuple[list[str], str | None]:
    """The names that start with `prefix` and come after those of the page before, and the next page's token."""
    start = bisect_left(names, prefix) if token is None else bisect_right(names, _last_name(token))
    rest = (names[place] for place in range(start, len(names)))
    page = list(islice(takewhile(lambda name: name.startswith(prefix), rest), size + 1))
    if len(page) <= size:
        return page, None
    return page[:size], urlsafe_b64encode(page[size - 1].encode()).decode()


def _pagination(token: str | None) -> Mapping[str, Mapping[str, str]]:
    """The `pagination` object to put into an answer; the last page has none."""
    return {} if token is None else {"pagination": {"next": token}}


def _last_name(token: str) -> str:
    try:
        return b64decode(token.encode("ascii"), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, UnicodeError):
        raise RefusedError(400, "Invalid pagination token") from None


# Similarity search: dense, sparse, or both where the metric is the dot product.

_ROWS = 4_096  # scored at once, so that a query never holds a second copy of a large namespace
Floats: TypeAlias = NDArray[np.float32]
_Vectors: TypeAlias = tuple[Floats | None, Sparse | None]


class Query(RequestBody):
    """``POST /query``."""

    top_k: int = Field(ge=1, le=10_000)
    namespace: str | None = None
    vector: list[Any] | None = None
    sparse_vector: dict[str, Any] | None = None
    id: str | None = None
    filter: dict[str, Any] | None = None
    include_values: bool = False
    include_metadata: bool = False


@dataclass(frozen=True, slots=True)
class Ranked:
    """One match; the higher the score the better, but with the euclidean metric it is the squared distance."""

    record: Record
    score: float


@reads("pinecone.query", "POST", "/query")
def _query(context: Context, request: Request) -> Reply:
    # The answer says up to which LSN it has seen the namespace.
    body, index = parse_body(Query, request.body), context.index
    name = namespace_name(body.namespace)
    if body.id is not None and (body.vector is not None or body.sparse_vector is not None):
        raise RefusedError(400, "A query takes either id or vector")
    vectors = None if body.id is not None else _query_vectors(body, index.spec)
    passes = compile_filter(body.filter or {})
    context.rates.admit("query", name)
    namespace = index.find(name)
    ranked: list[Ranked] = []
    if namespace is not None:
        records = (namespace.visible[one] for one in namespace.ids())
        candidates = [record for record in records if not body.filter or passes(record.fields())]
        ranked = rank(candidates, vectors or _stored(namespace, body.id), index.spec.metric, body.top_k)
    matches = [
        {**one.record.shown(values=body.include_values, metadata=body.include_metadata), "score": one.score}
        for one in ranked
    ]
    answer = {"matches": matches, "namespace": body.namespace or "", "usage": {"readUnits": 1}}
    lsn = 0 if namespace is None else namespace.indexed_lsn
    return context.reply(answer, {"x-pinecone-max-indexed-lsn": str(lsn)})


def _query_vectors(body: Query, spec: IndexSpec) -> _Vectors:
    if spec.dimension is None:
        if body.vector or body.sparse_vector is None:
            raise RefusedError(400, "A sparse index is queried with sparseVector alone")
        return None, checked_sparse(body.sparse_vector, spec)
    if body.vector is None:
        raise RefusedError(400, "A query needs a vector or an id")
    dense = checked_dense([body.vector], spec)[0]
    return dense, None if body.sparse_vector is None else checked_sparse(body.sparse_vector, spec)


def _stored(namespace: Namespace, record_id: str | None) -> _Vectors:
    record = namespace.visible.get(record_id or "")
    return (None, None) if record is None else (record.values, record.sparse)


def rank(records: Sequence[Record], vectors: _Vectors, metric: Metric, most: int) -> list[Ranked]:
    """The best matches, best first; ties in the order of their ids. With a sparse query alone, only what it touches."""
    dense, sparse = vectors
    if dense is None and sparse is None:
        return []
    scores = np.zeros(len(records))
    if dense is not None and records:
        scores += np.concatenate(list(_dense_scores(records, dense, metric)))
    if sparse is not None:
        scores += _sparse_scores(records, sparse)
    places = np.argsort(scores if metric == "euclidean" else -scores, kind="stable")
    ranked = (Ranked(records[place], float(scores[place])) for place in places)
    if dense is None:
        ranked = (one for one in ranked if one.score != 0.0)
    return [one for one, _ in zip(ranked, range(most), strict=False)]


def _dense_scores(records: Sequence[Record], query: Floats, metric: Metric) -> Iterator[Floats]:
    for start in range(0, len(records), _ROWS):
        rows = np.stack([record.values for record in records[start : start + _ROWS] if record.values is not None])
        if metric == "euclidean":
            yield np.square(rows - query).sum(axis=1)
        elif metric == "cosine":
            yield (rows @ query) / (np.linalg.norm(rows, axis=1) * np.linalg.norm(query))
        else:
            yield rows @ query


def _sparse_scores(records: Sequence[Record], query: Sparse) -> NDArray[np.float64]:
    weights = dict(zip(query.indices.tolist(), query.values.tolist(), strict=True))
    return np.array([_overlap(weights, record.sparse) for record in records])


def _overlap(weights: dict[int, float], sparse: Sparse | None) -> float:
    if sparse is None:
        return 0.0
    pairs = zip(sparse.indices.tolist(), sparse.values.tolist(), strict=True)
    return sum((weights.get(index, 0.0) * value for index, value in pairs), 0.0)
