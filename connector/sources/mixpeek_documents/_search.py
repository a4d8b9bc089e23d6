"""Mixpeek's searches among documents: by words or a vector under one index, or by a retriever."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from vectorferry.connector._model._errors import ConfigurationError
from vectorferry.connector._model._records import SparseVector
from vectorferry.connector._protocols._source import Hit, Neighbours, Probe, RetrieverQuery, SourceQuery
from vectorferry.connector.http import one_line, segment
from vectorferry.connector.sources._values import mixpeek_filters, read_object
from vectorferry.connector.sources.mixpeek_documents._api import Collection, DocumentsApi, VectorIndex
from vectorferry.connector.sources.mixpeek_documents._documents import MODALITIES, asset_id_of, modality_of

MOST_HITS: Final = 1_000
MOST_RETRIEVED: Final = 500
SPARE: Final = 4
"""So many times as many neighbours are asked for as are compared: an index may hold those of several modalities."""

TEXTS: Final = ("description", "caption", "transcription", "text", "body")
LONGEST_TEXT: Final = 2_000
LOGICAL: Final = frozenset({"AND", "OR", "NOT", "case_sensitive"})


class Searcher:
    """Searches over one API."""

    def __init__(self, api: DocumentsApi) -> None:
        self._api = api

    async def search(self, collection: Collection, query: SourceQuery) -> list[Hit]:
        """As `Source.search` says. `options` name the one index that is looked into, by any of its names."""
        index = _index_for(collection, query.options)
        words = {"input_mode": "text", "text": query.text}
        rows = await self._features(collection, index, words, query.limit, query.filters)
        return list(_hits(rows))[: query.limit]

    async def neighbours(self, collection: Collection, probe: Probe, limit: int) -> Neighbours | None:
        """As `Source.neighbours` says. None for a sparse vector, which this search takes none of."""
        index = collection.indexes.get(probe.vector_name)
        if index is None or isinstance(probe.vector, SparseVector):
            return None
        words = [word for word, modality in MODALITIES.items() if modality == probe.modality.value]
        ids: list[str] = []
        # Whether a filter on what Mixpeek keeps itself is indexed, or finds documents that it tells no modality of, is
        # not known: so it comes last.
        for top_k, filters in ((SPARE * limit, {}), (MOST_HITS, {}), (limit, {"_internal.modality": words})):
            vector = {"input_mode": "vector", "vector": probe.vector.tolist()}
            rows = await self._features(collection, index, vector, top_k, filters)
            ids = [row["document_id"] for row in _documents(rows) if modality_of(row) == probe.modality.value]
            if len(ids) >= limit or len(rows) < min(top_k, MOST_HITS):
                break
        return Neighbours(probe.vector, ids[:limit])

    async def retrieve(self, collection: Collection, query: RetrieverQuery) -> list[Hit]:
        """As `Source.retrieve` says."""
        if query.limit > MOST_RETRIEVED:
            raise ConfigurationError(f"a retriever answers with {MOST_RETRIEVED} documents at most: lower --limit")
        body: dict[str, Any] = {
            "inputs": dict(query.inputs),
            "limit": query.limit,
            **mixpeek_filters(query.filters, LOGICAL, "field"),
        }
        if query.retriever:
            path = f"/v1/retrievers/{_segment(query.retriever)}/execute"
        else:
            path = "/v1/retrievers/execute"
            schema = {"input_schema": dict(query.schema)} if query.schema else {}
            body = {
                "collection_identifiers": [collection.collection_id],
                "stages": list(query.stages),
                **schema,
                **body,
            }
        return list(_hits(await self._api.post(path, body, _read_rows, kind="search")))[: query.limit]

    async def _features(
        self,
        collection: Collection,
        index: VectorIndex,
        query: Mapping[str, Any],
        top_k: int,
        filters: Mapping[str, Any],
    ) -> list[Any]:
        body = {
            "collection_identifiers": [collection.collection_id],
            "query": query,
            "feature_uri": index.feature_uri,
            "top_k": min(top_k, MOST_HITS),
            **mixpeek_filters(filters, LOGICAL, "field"),
        }
        return await self._api.post("/v1/features/search", body, _read_rows, kind="search")


def _index_for(collection: Collection, options: Sequence[str]) -> VectorIndex:
    """Raises `ConfigurationError` where it is not clear which index is meant."""
    named = [
        index
        for index in collection.indexes.values()
        if not options or options[0] in (index.storage_name, index.name, index.feature_uri)
    ]
    dense = [index for index in named if index.kind == "dense"] or named
    if len(options) > 1 or len(dense) != 1:
        names = ", ".join(index.storage_name for index in collection.indexes.values())
        raise ConfigurationError(
            f"say with one --option which vectors are searched; there are: {one_line(names) or 'none'}"
        )
    return dense[0]


def _segment(identifier: str) -> str:
    try:
        return segment(identifier)
    except ValueError:
        raise ConfigurationError(f"--retriever {one_line(identifier)}: that is no id or name") from None


def _read_rows(body: bytes) -> list[Any]:
    """The documents of an answer; older ones call them `results`. Raises `ValueError` when there are none of both."""
    answer = read_object(body)
    rows = answer.get("documents", answer.get("results"))
    if not isinstance(rows, list):
        raise ValueError("no list of documents")
    return rows


def _documents(rows: Sequence[Any]) -> Iterator[Mapping[str, Any]]:
    for row in rows:
        if isinstance(row, dict) and isinstance(row.get("document_id"), str) and row["document_id"]:
            yield row


def _hits(rows: Sequence[Any]) -> Iterator[Hit]:
    for rank, row in enumerate(_documents(rows), 1):
        text = next((row[name] for name in TEXTS if isinstance(row.get(name), str) and row[name]), "")
        collection = row.get("collection_id")
        yield Hit(
            asset_id_of(row),
            rank,
            _number(row.get("start_time")),
            _number(row.get("end_time")),
            one_line(text, LONGEST_TEXT),
            row["document_id"],
            _number(row.get("score"), at_least=-1e9),
            collection if isinstance(collection, str) else "",
        )


def _number(value: Any, at_least: float = 0) -> float | None:
    return float(value) if type(value) in (int, float) and at_least <= value < 1e9 else None
