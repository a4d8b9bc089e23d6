"""Ordering features by how near they are to a query."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from vectorferry.connector.sandbox._embedding import MODELS, embed_sparse, embed_text, words_of
from vectorferry.connector.sandbox._library import StoredFeature
from vectorferry.connector.sandbox._vectors import TextVector

__all__ = ["Ranked", "fuse", "rank_by_vector", "rank_by_words"]

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
