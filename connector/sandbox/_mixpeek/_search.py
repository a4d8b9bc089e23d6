"""Search and embedding, in both documented forms."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from vectorferry.connector.sandbox._http import Handlers, Page, RefusedError, Reply, Request, json_reply
from vectorferry.connector.sandbox._mixpeek._library import StoredFeature
from vectorferry.connector.sandbox._mixpeek._requests import (
    Context,
    InCollections,
    RequestBody,
    matches,
    pagination,
    parse_body,
    query_int,
    select,
)
from vectorferry.connector.sandbox._vectors import MODELS, TextVector, embed_sparse, embed_text, sparse_json, words_of

search: Handlers[Context] = Handlers()
_RRF = 60
_STORED_UNDER = {
    "multimodal": "multimodal-v1",
    "vertex-multimodal": "multimodal-v1",
    "text": "baai-bge-m3",
    "keyword": "splade-v3",
    "naver-splade-v3": "splade-v3",
}
_DECLARED = (
    "image",
    "multimodal",
    "text",
    "video",
    "keyword",
    "naver-splade-v3",
    "vertex-multimodal",
    "openai-clip-vit-base-patch32",
    "baai-bge-m3",
)
"""The models that the last schemas of this generation know."""


class TextSearch(InCollections):
    """``POST /features/search/text``, of November 2024."""

    query: str
    model_id: str = "multimodal-v1"
    search_type: Literal["semantic", "fulltext"] = "semantic"
    group_by: dict[str, Any] | None = None


class QuerySettings(RequestBody):
    """How far one query looks."""

    limit: int | None = 100
    min_score: float | None = None
    modality: str | None = None


class Query(RequestBody):
    """One of the queries that a search fuses."""

    embedding_model: str
    value: str
    type: Literal["text", "url", "base64"]
    filters: dict[str, Any] | None = None
    settings: QuerySettings | None = None


class Search(InCollections):
    """``POST /features/search``, from December 2024."""

    queries: list[Query] | None = Field(default_factory=list)
    group_by: dict[str, Any] | None = None
    reranking_options: dict[str, Any] | None = None
    session_id: str | None = None
    return_url: bool | None = False


class Embed(RequestBody):
    """``POST /features/extractors/embed``."""

    type: Literal["url", "text", "file", "base64"]
    value: str | None = None
    embedding_model: str


class Ranked(NamedTuple):
    """A feature and how near it is; more is nearer."""

    score: float
    feature: StoredFeature


@search("features.search_text", "POST", "/features/search/text")
def _search_text(context: Context, request: Request) -> Reply:
    # One text query, by meaning or by words.
    body = parse_body(TextSearch, request.body, context.dialect)
    features = _features(context, body)
    if body.search_type == "fulltext":
        return _answer(context, request, body, _by_words(features, body.query))
    return _answer(context, request, body, _by_vector(features, body.query, stored_name(body.model_id)))


@search("features.search", "POST", "/features/search")
def _search(context: Context, request: Request) -> Reply:
    # Several queries, fused; without any, every feature.
    body = parse_body(Search, request.body, context.dialect)
    features = _features(context, body)
    for query in body.queries or ():
        if context.dialect.release == "2025-01" and query.embedding_model not in _DECLARED:
            raise RefusedError(422, f"embedding_model: {query.embedding_model} is none of {', '.join(_DECLARED)}")
    if not body.queries:
        return _answer(context, request, body, [Ranked(1.0, one) for one in features])
    rankings = [_ranked(query, features) for query in body.queries]
    return _answer(context, request, body, rankings[0] if len(rankings) == 1 else _fused(rankings))


@search("features.embed", "POST", "/features/extractors/embed")
def _embed(context: Context, request: Request) -> Reply:
    # The vector of one input, under one model.
    body = parse_body(Embed, request.body, context.dialect)
    model, text = stored_name(body.embedding_model), body.value or ""
    sparse = MODELS[model] is None
    embedding = sparse_json(embed_sparse(text)) if sparse else {"vector": embed_text(text, model)}
    return json_reply({"embedding": embedding, "elapsed_time": 0.004})


def _features(context: Context, body: TextSearch | Search) -> list[StoredFeature]:
    features = context.library.walk(context.library.named(body.names()))
    return [one for one in features if matches(one.fields, body.filters)]


def _answer(context: Context, request: Request, body: TextSearch | Search, ranked: Sequence[Ranked]) -> Reply:
    def shown(hit: Ranked) -> Mapping[str, Any]:
        return {**context.show_feature(hit.feature), "score": hit.score}

    if body.group_by:
        field, most = body.group_by.get("field") or "asset_id", body.group_by.get("max_features") or 10
        groups: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for one in ranked:
            groups[str(one.feature.fields.get(field))].append(shown(one))
        rows = [{"key": key, "total_features": len(hits), "features": hits[:most]} for key, hits in groups.items()]
        return json_reply({"groups": rows, "total_groups": len(rows)})
    size = query_int(request, "page_size", 10, maximum=100)
    start = query_int(request, "offset_position", 0, minimum=0)
    results = [select(shown(one), body.select) for one in ranked[start : start + size]]
    pages = pagination(Page(start // size + 1, size), len(ranked), request, "/features/search")
    return json_reply({"results": results, "pagination": pages})


def _ranked(query: Query, features: Iterable[StoredFeature]) -> list[Ranked]:
    settings = query.settings or QuerySettings()
    candidates = [
        one
        for one in features
        if settings.modality in {None, one.fields.get("modality")} and matches(one.fields, query.filters)
    ]
    ranked = _by_vector(candidates, query.value, stored_name(query.embedding_model))
    near = [one for one in ranked if settings.min_score is None or one.score >= settings.min_score]
    return near[: settings.limit or 100]


def _by_vector(features: Iterable[StoredFeature], query: str, model: str) -> list[Ranked]:
    score = _sparse_score if MODELS[model] is None else _dense_score
    scored = ((score(feature, query, model), feature) for feature in features if model in feature.vectors)
    return _best_first(Ranked(value, feature) for value, feature in scored if value is not None)


def _by_words(features: Iterable[StoredFeature], query: str) -> list[Ranked]:
    """Every feature that shares a word with the query, by how many of the query's words it holds."""
    words = words_of(query)
    scored = ((len(words & words_of(_text(feature.fields))), feature) for feature in features)
    return _best_first(Ranked(shared / len(words), feature) for shared, feature in scored if shared)


def _fused(rankings: Sequence[Sequence[Ranked]]) -> list[Ranked]:
    """Reciprocal rank fusion with k = 60."""
    scores: defaultdict[str, float] = defaultdict(float)
    features: dict[str, StoredFeature] = {}
    for ranking in rankings:
        for rank, one in enumerate(ranking, 1):
            scores[one.feature.feature_id] += 1 / (_RRF + rank)
            features[one.feature.feature_id] = one.feature
    return _best_first(Ranked(score, features[feature_id]) for feature_id, score in scores.items())


def _dense_score(feature: StoredFeature, query: str, model: str) -> float | None:
    stored, query_vector = feature.vectors[model].dense(), embed_text(query, model)
    return float(np.dot(stored, query_vector)) if stored is not None and stored.shape == query_vector.shape else None


def _sparse_score(feature: StoredFeature, query: str, model: str) -> float | None:
    source = feature.vectors[model]
    if not isinstance(source, TextVector):
        return None
    mine, theirs = embed_sparse(query), embed_sparse(source.text)
    _, places, their_places = np.intersect1d(mine.indices, theirs.indices, assume_unique=True, return_indices=True)
    return float(np.dot(mine.values[places], theirs.values[their_places])) if len(places) else None


def _best_first(ranked: Iterable[Ranked]) -> list[Ranked]:
    return sorted(ranked, key=lambda one: (-one.score, one.feature.feature_id))


def _text(fields: Mapping[str, Any]) -> str:
    return " ".join(str(fields.get(name) or "") for name in ("text", "transcription", "description"))


def stored_name(model: str) -> str:
    """The name that vectors of this model are stored under, or a 400."""
    name = _STORED_UNDER.get(model, model)
    if name not in MODELS:
        raise RefusedError(400, f"Unknown embedding model {model!r}; known: {', '.join(MODELS)}")
    return name
