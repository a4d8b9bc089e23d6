"""Mixpeek's own search: a text against a collection's features, in the two forms that its API has had."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from vectorferry.connector._model._errors import ConfigurationError, QuarantineError
from vectorferry.connector._model._records import Vector
from vectorferry.connector._model._vectors import decode_vector
from vectorferry.connector._protocols._source import Hit, Neighbours, Probe, SourceQuery
from vectorferry.connector.http import NotFoundError, one_line
from vectorferry.connector.sources._values import mixpeek_filters, read_object
from vectorferry.connector.sources.mixpeek._api import MixpeekApi

MOST_PER_PAGE: Final = 100
LONGEST_TEXT: Final = 2_000
TEXTS: Final = ("description", "caption", "transcription", "text")
LOGICAL: Final = frozenset({"AND", "OR", "NOR", "case_sensitive"})
DEFAULT_MODEL: Final = "multimodal"

LATER: Final = {"multimodal-v1": "multimodal", "splade-v2": "keyword", "splade-v3": "naver-splade-v3"}
"""How models of November 2024 have been called since; the others keep their names."""

EARLIER: Final = {"multimodal": "multimodal-v1"}


class Searcher:
    """Searches over one API."""

    def __init__(self, api: MixpeekApi) -> None:
        self._api = api

    async def search(self, collection: str, query: SourceQuery) -> list[Hit]:
        """As `Source.search` says. Several models are several questions, whose answers the service fuses.

        November's form has one model only. Rows that name no asset are left out, and after as many pages as hits are
        asked for there is no next one.
        """
        hits: list[Hit] = []
        size = min(query.limit, MOST_PER_PAGE)
        for number in range(query.limit):
            rows = await self._page(collection, query, number * size, size)
            hits += _hits(rows, len(hits))
            if len(rows) < size or len(hits) >= query.limit:
                break
        return hits[: query.limit]

    async def neighbours(self, collection: str, probe: Probe, limit: int) -> Neighbours | None:
        """As `Source.neighbours` says. The service takes no vector: it is asked for the words, and which vector it
        makes of them, so that both sides are asked for the same one."""
        if not probe.text.strip():
            return None
        vector = await self.embed(probe.text, probe.vector_name)
        query = SourceQuery(probe.text, limit, [probe.vector_name], {"modality": probe.modality.value})
        hits = await self.search(collection, query)
        return Neighbours(vector, [hit.feature_id for hit in hits if hit.feature_id])

    async def embed(self, text: str, vector_name: str) -> Vector:
        """The vector that the service makes of a text, by the model of this named vector."""
        body = {"type": "text", "value": text, "embedding_model": LATER.get(vector_name, vector_name)}
        return await self._api.post("/features/extractors/embed", body, _read_embedding, kind="search")

    async def _page(self, collection: str, query: SourceQuery, offset: int, size: int) -> list[Any]:
        params = {"offset_position": offset, "page_size": size}
        filters = mixpeek_filters(query.filters, LOGICAL, "key")
        try:
            body = {"queries": _queries(query), "collections": [collection], **filters}
            return await self._api.post("/features/search", body, _read_rows, params=params, kind="search")
        except NotFoundError as error:
            missing = error
        if len(query.options) > 1:
            raise ConfigurationError(f"this API searches with one model at a time: {', '.join(query.options)}")
        model = next(iter(query.options), DEFAULT_MODEL)
        older = {"query": query.text, "collection_ids": [collection], "model_id": EARLIER.get(model, model)}
        try:
            return await self._api.post(
                "/features/search/text",
                {**older, "search_type": "semantic", **filters},
                _read_rows,
                params=params,
                kind="search",
            )
        except NotFoundError:
            raise missing from None


def _queries(query: SourceQuery) -> list[dict[str, Any]]:
    """`settings.limit` counts per question, and is a hundred where nothing is said."""
    models = dict.fromkeys(LATER.get(model, model) for model in query.options or (DEFAULT_MODEL,))
    limit = {"limit": query.limit}
    return [{"embedding_model": model, "type": "text", "value": query.text, "settings": limit} for model in models]


def _read_embedding(body: bytes) -> Vector:
    """Raises `ValueError` when there is no vector in it."""
    embedding = read_object(body).get("embedding")
    if isinstance(embedding, dict) and "vector" in embedding:
        embedding = embedding["vector"]
    try:
        return decode_vector(embedding)
    except QuarantineError as error:
        raise ValueError(f"no vector: {error}") from None


def _read_rows(body: bytes) -> list[Any]:
    """Raises `ValueError` when it is no page of hits."""
    rows = read_object(body).get("results")
    if not isinstance(rows, list):
        raise ValueError("no list of results")
    return rows


def _hits(rows: Sequence[Any], before: int) -> Iterator[Hit]:
    rank = before
    for row in rows:
        asset_id = row.get("asset_id") if isinstance(row, dict) else None
        if not isinstance(asset_id, str) or not asset_id:
            continue
        rank += 1
        text = next((row[name] for name in TEXTS if isinstance(row.get(name), str) and row[name]), "")
        feature_id = row.get("feature_id")
        yield Hit(
            asset_id,
            rank,
            _number(row.get("start_time"), at_least=0),
            _number(row.get("end_time"), at_least=0),
            one_line(text, LONGEST_TEXT),
            feature_id if isinstance(feature_id, str) else "",
            _number(row.get("score")),
        )


def _number(value: Any, at_least: float = -1e9) -> float | None:
    return float(value) if type(value) in (int, float) and at_least <= value < 1e9 else None
