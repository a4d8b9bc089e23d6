"""Scores of records against a query, exact."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vectorferry.connector.sandbox._pinecone._index import Metric
from vectorferry.connector.sandbox._pinecone._records import Record, Sparse

__all__ = ["Ranked", "rank"]

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
