"""Search and embedding, in both documented forms."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vectorferry.connector.sandbox._embedding import MODELS, embed_sparse, embed_text
from vectorferry.connector.sandbox._http import RefusedError, Reply, Request, Route, json_reply
from vectorferry.connector.sandbox._library import StoredFeature
from vectorferry.connector.sandbox._mixpeek._bodies import Embed, Query, Search, TextSearch, parse_body
from vectorferry.connector.sandbox._mixpeek._context import Context
from vectorferry.connector.sandbox._mixpeek._filters import matches, select
from vectorferry.connector.sandbox._mixpeek._paging import Page, page_url, query_int
from vectorferry.connector.sandbox._mixpeek._ranking import Ranked, fuse, rank_by_vector, rank_by_words
from vectorferry.connector.sandbox._vectors import sparse_json

__all__ = ["SearchHandlers"]

_STORED_UNDER = {
    "multimodal": "multimodal-v1",
    "vertex-multimodal": "multimodal-v1",
    "text": "baai-bge-m3",
    "keyword": "splade-v3",
    "naver-splade-v3": "splade-v3",
}


class SearchHandlers:
    """``/features/search`` and ``/features/extractors/embed``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> list[Route]:
        """Every route of search."""
        return [
            Route("features.search_text", "POST", "/features/search/text", self.search_text),
            Route("features.search", "POST", "/features/search", self.search),
            Route("features.embed", "POST", "/features/extractors/embed", self.embed),
        ]

    def search_text(self, request: Request) -> Reply:
        """One text query, by meaning or by words."""
        body = parse_body(TextSearch, request.body, self._context.dialect)
        features = self._features(body.names(), body.filters)
        if body.search_type == "fulltext":
            ranked = rank_by_words(features, body.query)
        else:
            ranked = rank_by_vector(features, body.query, _stored_name(body.model_id))
        return self._answer(request, ranked, body.select, body.group_by)

    def search(self, request: Request) -> Reply:
        """Several queries, fused; without any, every feature."""
        body = parse_body(Search, request.body, self._context.dialect)
        features = self._features(body.names(), body.filters)
        if not body.queries:
            return self._answer(request, [Ranked(1.0, one) for one in features], body.select, body.group_by)
        rankings = [_ranked(query, features) for query in body.queries]
        ranked = rankings[0] if len(rankings) == 1 else fuse(rankings)
        return self._answer(request, ranked, body.select, body.group_by)

    def embed(self, request: Request) -> Reply:
        """The vector of one input, under one model."""
        body = parse_body(Embed, request.body, self._context.dialect)
        model, text = _stored_name(body.embedding_model), body.value or ""
        sparse = MODELS[model] is None
        embedding = sparse_json(embed_sparse(text)) if sparse else {"vector": embed_text(text, model)}
        return json_reply({"embedding": embedding, "elapsed_time": 0.004})

    def _features(self, names: Iterable[str], filters: Mapping[str, Any] | None) -> list[StoredFeature]:
        library = self._context.library
        return [one for one in library.walk(library.named(names)) if matches(one.fields, filters)]

    def _answer(
        self,
        request: Request,
        ranked: Sequence[Ranked],
        paths: Sequence[str] | None,
        group_by: Mapping[str, Any] | None,
    ) -> Reply:
        if group_by:
            return json_reply(self._grouped(ranked, group_by))
        size = query_int(request, "page_size", 10, maximum=100)
        start = query_int(request, "offset_position", 0, minimum=0)
        rows = [select(self._shown(one), paths) for one in ranked[start : start + size]]
        pagination = Page(start // size + 1, size).pagination(len(ranked), page_url(request, "/features/search"))
        return json_reply({"results": rows, "pagination": pagination})

    def _grouped(self, ranked: Sequence[Ranked], group_by: Mapping[str, Any]) -> dict[str, Any]:
        groups: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for one in ranked:
            groups[str(one.feature.fields.get(group_by.get("field") or "asset_id"))].append(self._shown(one))
        most = group_by.get("max_features") or 10
        rows = [{"key": key, "total_features": len(found), "features": found[:most]} for key, found in groups.items()]
        return {"groups": rows, "total_groups": len(rows)}

    def _shown(self, one: Ranked) -> Mapping[str, Any]:
        return {**self._context.show_feature(one.feature), "score": one.score}


def _ranked(query: Query, features: Iterable[StoredFeature]) -> list[Ranked]:
    settings = query.settings
    modality = settings.modality if settings else None
    candidates = [
        one for one in features if modality in {None, one.fields.get("modality")} and matches(one.fields, query.filters)
    ]
    ranked = rank_by_vector(candidates, query.value, _stored_name(query.embedding_model))
    least = settings.min_score if settings else None
    return [one for one in ranked if least is None or one.score >= least][: (settings and settings.limit) or 100]


def _stored_name(model: str) -> str:
    name = _STORED_UNDER.get(model, model)
    if name not in MODELS:
        raise RefusedError(400, f"Unknown embedding model {model!r}; known: {', '.join(MODELS)}")
    return name
