"""Search and embedding, in both documented forms."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from vectorferry.connector.sandbox._embedding import MODELS, embed_sparse, embed_text, words_of
from vectorferry.connector.sandbox._http import RefusedError, Reply, Request, Route, json_reply
from vectorferry.connector.sandbox._library import StoredFeature
from vectorferry.connector.sandbox._mixpeek._requests import (
    Context,
    Embed,
    Page,
    Query,
    Search,
    TextSearch,
    matches,
    page_url,
    parse_body,
    query_int,
    select,
)
from vectorferry.connector.sandbox._vectors import TextVector, sparse_json

__all__ = ["SearchHandlers"]


_RRF = 60


class Ranked(NamedTuple):
    """A feature and how near it is; more is nearer."""

    score: float
    feature: StoredFeature


def rank_by_vector(features: Iterable[StoredFeature], query: str, model: str) -> list[Ranked]:
    """Every feature with a vector of this model, by its product with the query's."""
    score = _sparse_score if MODELS[model] is None else _dense_score
    scored = ((score(feature, query, model), feature) for feature in features if model in feature.vectors)
    return _best_first(Ranked(value, feature) for value, feature in scored if value is not None)


def rank_by_words(features: Iterable[StoredFeature], query: str) -> list[Ranked]:
    """Every feature that shares a word with the query, by how many of the query's words it holds."""
    wanted = words_of(query)
    scored = ((len(wanted & words_of(_text(feature.fields))), feature) for feature in features)
    return _best_first(Ranked(shared / len(wanted), feature) for shared, feature in scored if shared)


def fuse(rankings: Sequence[Sequence[Ranked]]) -> list[Ranked]:
    """Reciprocal rank fusion with k = 60."""
    scores: defaultdict[str, float] = defaultdict(float)
    found: dict[str, StoredFeature] = {}
    for ranking in rankings:
        for rank, one in enumerate(ranking, 1):
            scores[one.feature.feature_id] += 1 / (_RRF + rank)
            found[one.feature.feature_id] = one.feature
    return _best_first(Ranked(score, found[feature_id]) for feature_id, score in scores.items())


def _dense_score(feature: StoredFeature, query: str, model: str) -> float | None:
    vector, wanted = feature.vectors[model].dense(), embed_text(query, model)
    return float(np.dot(vector, wanted)) if vector is not None and vector.shape == wanted.shape else None


def _sparse_score(feature: StoredFeature, query: str, model: str) -> float | None:
    source = feature.vectors[model]
    if not isinstance(source, TextVector):
        return None
    wanted, held = embed_sparse(query), embed_sparse(source.text)
    _, mine, theirs = np.intersect1d(wanted.indices, held.indices, assume_unique=True, return_indices=True)
    return float(np.dot(wanted.values[mine], held.values[theirs])) if len(mine) else None


def _best_first(ranked: Iterable[Ranked]) -> list[Ranked]:
    return sorted(ranked, key=lambda one: (-one.score, one.feature.feature_id))


def _text(fields: dict[str, Any]) -> str:
    return " ".join(str(fields.get(name) or "") for name in ("text", "transcription", "description"))


# Search and embedding, in both documented forms.


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
