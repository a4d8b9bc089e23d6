"""What the view and the search function cost beside the query that anyone would write on the bare table of vectors,
under the default settings of server and planner. Ratios within one run.

pytest -m benchmark tests/benchmarks/test_search.py -s
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np
import psycopg
import pytest

from vectorferry.connector.plugin import SchemaMapping
from vectorferry.destinations import PgvectorDestination

from ..builders import asset, batch, feature

Sql = psycopg.Connection[Any]

QUERIES = 100
ROWS_PER_BATCH = 5_000


class Shape(NamedTuple):
    """How many vectors of which dimension there are, in how many collections, and how many an asset has."""

    rows: int
    dimension: int
    segments: int
    collections: int


SHAPES = [
    Shape(5_000, 256, 5, 1),
    Shape(5_000, 256, 20, 10),
    Shape(6_000, 1_024, 200, 10),
    Shape(20_000, 256, 20, 1),
    Shape(20_000, 256, 200, 10),
    Shape(20_000, 1_024, 5, 1),
    Shape(20_000, 1_024, 20, 10),
    Shape(100_000, 256, 5, 10),
    Shape(100_000, 256, 20, 1),
    Shape(100_000, 1_024, 200, 1),
]
"""Each number of segments, collections, dimensions and rows with every other one; not all of them with all."""


def _nearest(relation: str, where: str = "true") -> str:
    return (
        f"SELECT feature_id, embedding <=> $query AS distance FROM {relation} WHERE {where} "
        "ORDER BY embedding <=> $query LIMIT 10"
    )


VECTORS, VIEW, ONE_COLLECTION = "video__model_v1", "video_model_v1", "collection = 'films 0'"
QUESTIONS = {
    "bare": _nearest(VECTORS),
    "view": _nearest(VIEW),
    "function": "SELECT feature_id, distance FROM search_video_model_v1($query, 10, effort => 40)",
    "bare, one collection": _nearest(VECTORS, ONE_COLLECTION),
    "view, one collection": _nearest(VIEW, ONE_COLLECTION),
}
EVERY_ROW = {  # the function gives ten rows of a collection; so does a query that lets the index go on
    "bare, one collection whole": _nearest(VECTORS, ONE_COLLECTION),
    "function, one collection": (
        'SELECT feature_id, distance FROM search_video_model_v1($query, 10, \'{"collection": "films 0"}\', effort => 40)'
    ),
}
NEIGHBOURS = {
    "bare, LATERAL": (
        "SELECT one.feature_id, hit.feature_id FROM video__model_v1 one CROSS JOIN LATERAL "
        "(SELECT feature_id FROM video__model_v1 ORDER BY embedding <=> one.embedding LIMIT 10) hit "
        "WHERE one.collection = 'films 0' AND one.asset_id = '$asset'"
    ),
    "function, LATERAL": (
        "SELECT one.feature_id, hit.feature_id FROM video_model_v1 one "
        "CROSS JOIN LATERAL search_video_model_v1(one.embedding, 10, effort => 40) hit "
        "WHERE one.collection = 'films 0' AND one.asset_id = '$asset'"
    ),
}
RATIOS = [
    ("view", "bare"),
    ("function", "bare"),
    ("view, one collection", "bare, one collection"),
    ("function, one collection", "bare, one collection whole"),
    ("function, LATERAL", "bare, LATERAL"),
]


@pytest.fixture(params=["postgres_url", "other_postgres_url"])
def server(request: pytest.FixtureRequest) -> str:
    """The embedded Postgres, and an older one."""
    return str(request.getfixturevalue(request.param))


@pytest.mark.benchmark
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
def test_view_and_function_beside_the_bare_table(server: str, schema: str, shape: Shape) -> None:
    with closing(PgvectorDestination(schema, server)) as destination:
        destination.prepare(SchemaMapping())
        for each in range(shape.collections):
            _load(destination, shape, each)
        destination.build_indexes()
    with psycopg.connect(server, autocommit=True, prepare_threshold=None) as sql:
        sql.execute(f"SET search_path = {schema}, public")
        vectors = np.random.default_rng(1).standard_normal((QUERIES, shape.dimension), dtype=np.float32)
        asked = [{"query": f"'{vector.tolist()}'", "asset": f"video {n % 10}"} for n, vector in enumerate(vectors)]
        used = {way: _uses_index(sql, _filled(QUESTIONS[way], asked[0])) for way in QUESTIONS if way != "function"}
        taken = _taken(sql, QUESTIONS, asked)
        taken |= _taken(sql, NEIGHBOURS, asked[: QUERIES // 4])
        sql.execute("SET hnsw.iterative_scan = 'strict_order'")
        taken |= _taken(sql, EVERY_ROW, asked)
        version = sql.execute("SHOW server_version").fetchone()
        sql.execute(f"DROP SCHEMA {schema} CASCADE")
    ratios = {way: taken[way] / taken[base] for way, base in RATIOS}
    told = "  ".join(f"{way} {ratio:.2f}" for way, ratio in ratios.items())
    along = ", ".join(way for way, index in used.items() if index)
    print(
        f"\nPostgres {version and version[0]:5} {shape}: bare {taken['bare'] * 1000:.2f} ms; {told}; by index: {along}"
    )
    # Of a collection that is small beside the others the planner compares all vectors, which it may do through the
    # bare table and not through the view. All the features are then hashed to be joined with these few vectors, which
    # takes a millisecond or two.
    of_a_few = 1.5 if used["bare, one collection"] else 3
    most = {way: of_a_few if "collection" in way else 3 if "LATERAL" in way else 1.5 for way in ratios}
    assert not {way: ratio for way, ratio in ratios.items() if ratio > most[way]}


def _load(destination: PgvectorDestination, shape: Shape, number: int) -> None:
    random = np.random.default_rng(number)
    for assets in _batches(shape):
        made = []
        for name in assets:
            vectors = random.standard_normal((shape.segments, shape.dimension), dtype=np.float32)
            segments = [
                feature(f"segment {n}", {"model-v1": vector}, start_time=float(n), text=f"{name}, part {n}")
                for n, vector in enumerate(vectors)
            ]
            made.append(asset(name, *segments))
        destination.apply(batch(*made, collection=f"films {number}"))


def _batches(shape: Shape) -> Iterator[list[str]]:
    """The assets of one collection."""
    assets = max(1, shape.rows // shape.segments // shape.collections)
    size = max(1, ROWS_PER_BATCH // shape.segments)
    for start in range(0, assets, size):
        yield [f"video {n}" for n in range(start, min(assets, start + size))]


def _taken(sql: Sql, ways: dict[str, str], asked: Sequence[dict[str, str]]) -> dict[str, float]:
    """The lower quartile of each way's seconds, for what else a machine does only adds to them. Asked in turn."""
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for values in asked:
        for way, question in ways.items():
            statement = _filled(question, values)
            begun = time.perf_counter()
            sql.execute(statement).fetchall()
            seconds[way].append(time.perf_counter() - begun)
    return {way: statistics.quantiles(each, n=4)[0] for way, each in seconds.items()}


def _uses_index(sql: Sql, question: str) -> bool:
    plan = "\n".join(str(row[0]) for row in sql.execute(f"EXPLAIN (COSTS OFF) {question}"))
    return "Index Scan using video__model_v1_hnsw" in plan


def _filled(question: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        question = question.replace(f"${name}", value)
    return question
