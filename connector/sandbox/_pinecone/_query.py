"""Similarity search: dense, sparse, or both where the metric is the dot product."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vectorferry.connector.sandbox._http import RefusedError, Reply, Request, Route
from vectorferry.connector.sandbox._pinecone._bodies import Query, parse_body
from vectorferry.connector.sandbox._pinecone._context import Context
from vectorferry.connector.sandbox._pinecone._filters import compile_filter
from vectorferry.connector.sandbox._pinecone._names import namespace_name
from vectorferry.connector.sandbox._pinecone._namespace import Namespace
from vectorferry.connector.sandbox._pinecone._numbers import dense_rows
from vectorferry.connector.sandbox._pinecone._ranking import Ranked, rank
from vectorferry.connector.sandbox._pinecone._records import Record, Sparse
from vectorferry.connector.sandbox._pinecone._upsert import checked_sparse

__all__ = ["QueryHandlers"]

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
