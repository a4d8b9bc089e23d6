"""Scores, filters, and what a match shows, as Pinecone's own SDK reads them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.connector.sandbox.pinecone.serving import SdkIndex, World, record, world

ROWS = np.random.default_rng(3).normal(size=(40, 4)).astype(np.float32)
QUERY = np.random.default_rng(4).normal(size=4).astype(np.float32)


@pytest.fixture(scope="module")
def four() -> Iterator[SdkIndex]:
    """Four records with different metadata."""
    rows = [
        record("a", kind="dog", n=1, tags=["x"], ok=True),
        record("b", kind="cat", n=2),
        record("c", kind="bird", n=3, tags=["x", "y"], ok=False),
        record("d"),
    ]
    with world() as here:
        index = here.index()
        index.upsert(vectors=rows)
        yield index


def matches(index: SdkIndex, **asked: Any) -> list[tuple[str, float]]:
    return [(one.id, one.score) for one in index.query(**{"top_k": 10, **asked}).matches]


def found(index: SdkIndex, **asked: Any) -> set[str]:
    return {name for name, _ in matches(index, vector=[1, 1, 1, 1], **asked)}


@pytest.mark.parametrize("metric", ["cosine", "dotproduct", "euclidean"])
def test_scores_are_those_of_the_metric_best_first(here: World, metric: str) -> None:
    index = here.index(metric=metric)
    index.upsert(vectors=[record(f"r{n}", row.tolist()) for n, row in enumerate(ROWS)])
    expected = {
        "cosine": ROWS @ QUERY / np.linalg.norm(ROWS, axis=1) / np.linalg.norm(QUERY),
        "dotproduct": ROWS @ QUERY,
        "euclidean": ((ROWS - QUERY) ** 2).sum(axis=1),
    }[metric]
    order = np.argsort(expected if metric == "euclidean" else -expected)[:7]
    scored = matches(index, vector=QUERY.tolist(), top_k=7)
    assert [name for name, _ in scored] == [f"r{n}" for n in order]
    assert [score for _, score in scored] == pytest.approx(expected[order].tolist(), rel=1e-5)


def test_a_record_is_nearest_to_itself(index: SdkIndex) -> None:
    index.upsert(vectors=[record(f"r{n}", row.tolist()) for n, row in enumerate(ROWS)])
    name, score = matches(index, id="r7")[0]
    assert name == "r7"
    assert score == pytest.approx(1.0)
    assert matches(index, id="nothing") == []


def test_a_match_shows_what_was_asked_for(index: SdkIndex) -> None:
    index.upsert(vectors=[record("a", n=1)])
    (bare,) = index.query(vector=[1, 2, 3, 4], top_k=1).matches
    assert (bare.values, bare.metadata) == ([], None)
    (whole,) = index.query(vector=[1, 2, 3, 4], top_k=1, include_values=True, include_metadata=True).matches
    assert (whole.values, whole.metadata) == ([1, 2, 3, 4], {"n": 1})


def test_sparse_queries_find_what_they_touch(here: World) -> None:
    index = here.index("words", vector_type="sparse", metric="dotproduct")
    sparse = {"a": {"indices": [1, 5], "values": [2.0, 1.0]}, "b": {"indices": [5], "values": [4.0]}}
    sparse["c"] = {"indices": [9], "values": [9.0]}
    index.upsert(vectors=[{"id": name, "sparse_values": values} for name, values in sparse.items()])
    query = {"indices": [1, 5], "values": [1.0, 0.25]}
    assert matches(index, sparse_vector=query) == [("a", 2.25), ("b", 1.0)]
    assert matches(index, id="b") == [("b", 16.0), ("a", 4.0)]


def test_dense_and_sparse_scores_add_up(here: World) -> None:
    index = here.index(metric="dotproduct", dimension=2)
    rows: list[dict[str, Any]] = [{"id": "a", "values": [1, 0], "sparse_values": {"indices": [3], "values": [0.5]}}]
    index.upsert(vectors=[*rows, {"id": "b", "values": [2, 0]}])
    assert matches(index, vector=[1, 0]) == [("b", 2.0), ("a", 1.0)]
    sparse = {"indices": [3], "values": [4.0]}
    assert matches(index, vector=[1, 0], sparse_vector=sparse) == [("a", 3.0), ("b", 2.0)]


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"kind": "dog"}, "a"),
        ({"kind": {"$eq": "dog"}}, "a"),
        ({"kind": {"$ne": "dog"}}, "bcd"),
        ({"kind": {"$in": ["dog", "cat"]}}, "ab"),
        ({"kind": {"$nin": ["dog", "cat"]}}, "cd"),
        ({"tags": "x"}, "ac"),
        ({"tags": {"$in": ["y", "z"]}}, "c"),
        ({"n": {"$gt": 1}}, "bc"),
        ({"n": {"$gte": 1}}, "abc"),
        ({"n": {"$gt": 1, "$lt": 3}}, "b"),
        ({"n": {"$lte": 2}}, "ab"),
        ({"n": 2}, "b"),
        ({"ok": True}, "a"),
        ({"ok": 1}, ""),
        ({"kind": {"$exists": True}}, "abc"),
        ({"kind": {"$exists": False}}, "d"),
        ({"kind": "dog", "n": 2}, ""),
        ({"$or": [{"kind": "dog"}, {"n": 2}]}, "ab"),
        ({"$and": [{"n": {"$gt": 0}}, {"$or": [{"tags": "y"}, {"kind": "cat"}]}]}, "bc"),
        ({}, "abcd"),
    ],
)
def test_filters(four: SdkIndex, given: dict[str, Any], names: str) -> None:
    assert found(four, filter=given or None) == set(names)


def test_an_empty_namespace_has_no_matches(index: SdkIndex) -> None:
    assert matches(index, vector=[1, 1, 1, 1], namespace="nothing") == []
