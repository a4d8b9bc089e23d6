"""Fetch, list and statistics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import parse_qs

from vectorferry.connector.sandbox._http import RefusedError, Reply, Request, Route
from vectorferry.connector.sandbox._pinecone._bodies import FetchByMetadata, parse_body, parse_object
from vectorferry.connector.sandbox._pinecone._context import Context
from vectorferry.connector.sandbox._pinecone._filters import compile_filter
from vectorferry.connector.sandbox._pinecone._names import namespace_name, record_id
from vectorferry.connector.sandbox._pinecone._paging import page_of, page_size, pagination
from vectorferry.connector.sandbox._pinecone._records import Record

__all__ = ["ReadHandlers"]

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
