"""Fetch, list, statistics, namespaces, and exact similarity search."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import numpy as np
from numpy.typing import NDArray

from vectorferry.connector.sandbox._http import RefusedError, Reply, Request, Route
from vectorferry.connector.sandbox._pinecone._requests import (
    Context,
    FetchByMetadata,
    NewNamespace,
    Query,
    compile_filter,
    page_of,
    page_size,
    pagination,
    parse_body,
    parse_object,
)
from vectorferry.connector.sandbox._pinecone._store import (
    DEFAULT_NAMESPACE,
    Metric,
    Namespace,
    Record,
    Sparse,
    namespace_name,
    record_id,
)
from vectorferry.connector.sandbox._pinecone._writes import checked_sparse, dense_rows

__all__ = ["NamespaceHandlers", "QueryHandlers", "ReadHandlers"]


_MOST_IDS = 1_000


class ReadHandlers:
    """What reads see lags behind what was written; a namespace that is not there reads as empty."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._index = context.index

    def routes(self) -> Sequence[Route]:
        """Every endpoint that reads records but the query."""
        return [
            Route("pinecone.fetch", "GET", "/vectors/fetch", self._fetch),
            Route("pinecone.fetch_by_metadata", "POST", "/vectors/fetch_by_metadata", self._fetch_by_metadata),
            Route("pinecone.list", "GET", "/vectors/list", self._list),
            Route("pinecone.stats", "POST", "/describe_index_stats", self._stats),
        ]

    def _fetch(self, request: Request) -> Reply:
        asked = parse_qs(request.raw_query, keep_blank_values=True)
        ids = [record_id(one) for one in asked.get("ids", ())]
        if not 1 <= len(ids) <= _MOST_IDS:
            raise RefusedError(400, f"1 to {_MOST_IDS} ids can be fetched at once, got {len(ids)}")
        given = request.query.get("namespace", "")
        namespace = self._index.find(namespace_name(given))
        self._context.rates.read("fetch")
        visible = {} if namespace is None else namespace.visible
        return self._context.reply(_fetched(given, (visible[one] for one in ids if one in visible)))

    def _fetch_by_metadata(self, request: Request) -> Reply:
        body = parse_body(FetchByMetadata, request.body)
        if not body.filter:
            raise RefusedError(400, "A fetch by metadata needs a filter")
        passes = compile_filter(body.filter)
        self._context.rates.read("fetch")
        namespace = self._index.find(namespace_name(body.namespace))
        visible = {} if namespace is None else namespace.visible
        found = sorted(one for one, record in visible.items() if passes(record.fields()))
        ids, token = page_of(found, "", body.limit, body.pagination_token)
        fetched = _fetched(body.namespace or "", (visible[one] for one in ids))
        return self._context.reply({**fetched, **pagination(token)})

    def _list(self, request: Request) -> Reply:
        size = page_size(request.query.get("limit"))
        given = request.query.get("namespace", "")
        namespace = self._index.find(namespace_name(given))
        self._context.rates.read("list")
        names = [] if namespace is None else namespace.ids()
        token = request.query.get("paginationToken") or None
        ids, following = page_of(names, request.query.get("prefix", ""), size, token)
        listed = {"vectors": [{"id": one} for one in ids], "namespace": given, "usage": {"readUnits": 1}}
        return self._context.reply({**listed, **pagination(following)})

    def _stats(self, request: Request) -> Reply:
        if parse_object(request.body).get("filter"):
            raise RefusedError(400, "Serverless indexes do not support describing stats with metadata filtering")
        self._context.rates.read("describe_index_stats")
        counts = {name: len(self._index.known(name).visible) for name in self._index.namespaces}
        spec = self._index.spec
        stats = {
            "namespaces": {name: {"vectorCount": count} for name, count in counts.items()},
            "indexFullness": 0.0,
            "totalVectorCount": sum(counts.values()),
            "metric": spec.metric,
            "vectorType": spec.vector_type,
        }
        return self._context.reply(stats if spec.dimension is None else {**stats, "dimension": spec.dimension})


def _fetched(namespace: str, records: Iterable[Record]) -> dict[str, Any]:
    shown = {record.record_id: record.shown() for record in records}
    return {"vectors": shown, "namespace": namespace, "usage": {"readUnits": max(1, -(-len(shown) // 10))}}


# Namespaces as things of their own.


class NamespaceHandlers:
    """Lists, describes, makes and deletes namespaces. Counts are decimal strings, as gRPC writes int64 in JSON."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._index = context.index

    def routes(self) -> Sequence[Route]:
        """Every endpoint about namespaces."""
        return [
            Route("pinecone.namespaces.list", "GET", "/namespaces", self._list),
            Route("pinecone.namespaces.create", "POST", "/namespaces", self._create),
            Route("pinecone.namespaces.get", "GET", "/namespaces/{name}", self._get),
            Route("pinecone.namespaces.delete", "DELETE", "/namespaces/{name}", self._delete),
        ]

    def _list(self, request: Request) -> Reply:
        size = page_size(request.query.get("limit"))
        prefix = request.query.get("prefix", "")
        names = sorted(name for name in self._index.namespaces if name.startswith(prefix))
        found, token = page_of(names, prefix, size, request.query.get("paginationToken") or None)
        listed = {"namespaces": [self._shown(name) for name in found], "total_count": len(names)}
        return self._context.reply({**listed, **pagination(token)})

    def _create(self, request: Request) -> Reply:
        name = namespace_name(parse_body(NewNamespace, request.body).name)
        if name == DEFAULT_NAMESPACE:
            raise RefusedError(400, "The default namespace cannot be created")
        if name in self._index.namespaces:
            raise RefusedError(409, f"Namespace {name} already exists")
        self._index.made(name)
        return self._context.reply(self._shown(name))

    def _get(self, request: Request) -> Reply:
        return self._context.reply(self._shown(namespace_name(request.params[0])))

    def _delete(self, request: Request) -> Reply:
        name = namespace_name(request.params[0])
        self._index.known(name)
        self._index.remove(name)
        return self._context.reply({})

    def _shown(self, name: str) -> dict[str, Any]:
        records = self._index.known(name).visible.values()
        size = sum(0 if record.values is None else record.values.nbytes for record in records)
        return {"name": name, "record_count": str(len(records)), "size_bytes": str(size)}


# Scores of records against a query, exact.


_ROWS = 4_096  # scored at once, so that a query never holds a second copy of a large namespace


Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Ranked:
    """One match; the higher the score the better, but with the euclidean metric it is the squared distance."""

    record: Record
    score: float


def rank(
    records: Sequence[Record], dense: Floats | None, sparse: Sparse | None, metric: Metric, most: int
) -> list[Ranked]:
    """The best matches, best first; ties in the order of their ids. With a sparse query alone, only what it touches."""
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


# Similarity search: dense, sparse, or both where the metric is the dot product.


_Vectors = tuple[NDArray[np.float32] | None, Sparse | None]


class QueryHandlers:
    """Answers say up to which LSN they have seen the namespace."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._index = context.index

    def routes(self) -> Sequence[Route]:
        """The one endpoint."""
        return [Route("pinecone.query", "POST", "/query", self._query)]

    def _query(self, request: Request) -> Reply:
        body = parse_body(Query, request.body)
        name = namespace_name(body.namespace)
        if body.id is not None and (body.vector is not None or body.sparse_vector is not None):
            raise RefusedError(400, "A query takes either id or vector")
        vectors = None if body.id is not None else self._given(body)
        passes = compile_filter(body.filter or {})
        self._context.rates.query(name)
        namespace = self._index.find(name)
        found: list[Ranked] = []
        if namespace is not None:
            records = _sorted(namespace, passes if body.filter else None)
            found = self._best(body, vectors or _stored(namespace, body.id), records)
        answer = {"matches": [_match(one, body) for one in found], "namespace": body.namespace or ""}
        seen = 0 if namespace is None else namespace.indexed_lsn
        headers = {"x-pinecone-max-indexed-lsn": str(seen)}
        return self._context.reply({**answer, "usage": {"readUnits": 1}}, headers)

    def _given(self, body: Query) -> _Vectors:
        spec = self._index.spec
        if spec.dimension is None:
            if body.vector or body.sparse_vector is None:
                raise RefusedError(400, "A sparse index is queried with sparseVector alone")
            return None, checked_sparse(body.sparse_vector, spec)
        if body.vector is None:
            raise RefusedError(400, "A query needs a vector or an id")
        dense = dense_rows([body.vector], spec.dimension)[0]
        return dense, None if body.sparse_vector is None else checked_sparse(body.sparse_vector, spec)

    def _best(self, body: Query, vectors: _Vectors, records: list[Record]) -> list[Ranked]:
        dense, sparse = vectors
        if dense is None and sparse is None:
            return []
        return rank(records, dense, sparse, self._index.spec.metric, body.top_k)


def _stored(namespace: Namespace, record_id: str | None) -> _Vectors:
    record = namespace.visible.get(record_id or "")
    return (None, None) if record is None else (record.values, record.sparse)


def _sorted(namespace: Namespace, passes: Any) -> list[Record]:
    records = (namespace.visible[one] for one in namespace.ids())
    return [record for record in records if passes is None or passes(record.fields())]


def _match(one: Ranked, body: Query) -> dict[str, Any]:
    shown = one.record.shown(values=body.include_values, metadata=body.include_metadata)
    return {**shown, "score": one.score}
