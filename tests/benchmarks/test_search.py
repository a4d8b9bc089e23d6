"""What the view and the functions cost beside the query that anyone would write, under the default settings of server
and planner. Ratios within one run.

pytest -m benchmark tests/benchmarks/test_search.py -s
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
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
        "SELECT feature_id, distance FROM search_video_model_v1($query, 10, "
        '\'{"collection": "films 0"}\', effort => 40)'
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


WHOLE_ROWS = (
    "collection, asset_id, feature_id, start_time, end_time, interval_sec, transcription, text, description, "
    "json_output, created_at, metadata, extra, asset_url, asset_metadata"
)


@pytest.mark.benchmark
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "shape",
    [Shape(20_000, 256, 20, 1), Shape(100_000, 128, 20, 1), Shape(10_000, 1_024, 20, 1)],
    ids=lambda shape: "x".join(map(str, shape)),
)
def test_the_function_beside_the_same_rows_asked_for_by_hand(server: str, schema: str, shape: Shape) -> None:
    """Of vectors in clusters, so that the function finds what it looks for with the first attempt, as by hand."""
    with closing(PgvectorDestination(schema, server)) as destination:
        destination.prepare(WITH_WORDS)
        _load(destination, shape, 0, clusters=200)
        destination.build_indexes()
    with psycopg.connect(server, autocommit=True, prepare_threshold=None) as sql:
        sql.execute(f"SET search_path = {schema}, public")
        asked = [{"query": f"'{vector.tolist()}'"} for vector in _vectors(0, shape, 200)[:QUERIES]]
        version = sql.execute("SHOW server_version").fetchone()
        ratios: dict[str, float] = {}
        for k in (10, 100):
            effort = max(40, k)
            sql.execute(f"SET hnsw.ef_search = {effort}")
            by_hand = f"SELECT {WHOLE_ROWS}, embedding <=> $query FROM {VIEW} ORDER BY embedding <=> $query LIMIT {k}"
            function = f"SELECT * FROM search_video_model_v1($query, {k}, effort => {effort})"
            auto = f"SELECT * FROM search_video_model_v1($query, {k}, effort => NULL)"
            taken = _taken(sql, {"by hand": by_hand, "function": function, "auto": auto}, asked)
            most = 1.5 if k == 10 else 1.2
            for way in ("function", "auto"):
                ratios[f"{way}, k={k}"] = taken[way] / taken["by hand"] / most
            print(
                f"\nPostgres {version and version[0]:5} {shape}: k={k}: by hand {taken['by hand'] * 1000:.2f} ms, "
                f"function {taken['function'] / taken['by hand']:.2f}, auto {taken['auto'] / taken['by hand']:.2f}"
                + "".join(f"; the server's CPU {seconds * 1000:.2f} ms {way}" for way, seconds in taken.cpu.items())
            )
        sql.execute(f"DROP SCHEMA {schema} CASCADE")
    assert not {way: ratio for way, ratio in ratios.items() if ratio > 1}


WITH_WORDS = SchemaMapping.model_validate({"video": {"columns": {"text": {"path": "text", "full_text": "english"}}}})
BY_HAND = """
WITH words AS (
    SELECT collection, asset_id, feature_id, row_number() OVER (ORDER BY relevance DESC) AS rank FROM (
        SELECT collection, asset_id, feature_id,
            ts_rank_cd(to_tsvector('pg_catalog.english', coalesce(text, '')), question) AS relevance
        FROM video_model_v1, websearch_to_tsquery('pg_catalog.english', 'waves part') question
        WHERE to_tsvector('pg_catalog.english', coalesce(text, '')) @@ question LIMIT 500
    ) found ORDER BY rank LIMIT 50
), near AS (
    SELECT collection, asset_id, feature_id, row_number() OVER (ORDER BY distance) AS rank FROM (
        SELECT collection, asset_id, feature_id, embedding <=> $query AS distance FROM video_model_v1
        ORDER BY embedding <=> $query LIMIT 50
    ) nearest
), fused AS (
    SELECT collection, asset_id, feature_id, sum(1.0 / (60 + rank)) AS score
    FROM (TABLE words UNION ALL TABLE near) legs GROUP BY 1, 2, 3 ORDER BY 4 DESC LIMIT 10
)
SELECT score, video_model_v1.* FROM fused JOIN video_model_v1 USING (collection, asset_id, feature_id)
ORDER BY score DESC
"""
"""Of what people see. Below: of the tables behind it, joined by their own key."""

BY_HAND_OF_TABLES = """
WITH words AS (
    SELECT feature_key, row_number() OVER (ORDER BY relevance DESC) AS rank FROM (
        SELECT feature_key, ts_rank_cd(to_tsvector('pg_catalog.english', coalesce(text, '')), question) AS relevance
        FROM video, websearch_to_tsquery('pg_catalog.english', 'waves part') question
        WHERE to_tsvector('pg_catalog.english', coalesce(text, '')) @@ question AND deleted_at IS NULL LIMIT 500
    ) found ORDER BY rank LIMIT 50
), near AS (
    SELECT feature_key, row_number() OVER (ORDER BY distance) AS rank FROM (
        SELECT feature_key, embedding <=> $query AS distance FROM video__model_v1 ORDER BY embedding <=> $query LIMIT 50
    ) nearest
), fused AS (
    SELECT feature_key, sum(1.0 / (60 + rank)) AS score FROM (TABLE words UNION ALL TABLE near) legs
    GROUP BY 1 ORDER BY 2 DESC LIMIT 10
)
SELECT score, video.* FROM fused JOIN video USING (feature_key) ORDER BY score DESC
"""


@pytest.mark.benchmark
@pytest.mark.timeout(3600)
def test_hybrid_search_beside_one_by_hand(server: str, schema: str) -> None:
    shape = Shape(100_000, 128, 20, 1)
    with closing(PgvectorDestination(schema, server)) as destination:
        destination.prepare(WITH_WORDS)
        _load(destination, shape, 0, clusters=200)
        destination.build_indexes()
    with psycopg.connect(server, autocommit=True, prepare_threshold=None) as sql:
        sql.execute(f"SET search_path = {schema}, public")
        sql.execute("SET hnsw.ef_search = 50")
        asked = [{"query": f"'{vector.tolist()}'"} for vector in _vectors(0, shape, 200)[:QUERIES]]
        hybrid = "SELECT * FROM hybrid_video('waves part', jsonb_build_object('model_v1', $query::jsonb))"
        taken = _taken(sql, {"by hand": BY_HAND, "of tables": BY_HAND_OF_TABLES, "hybrid": hybrid}, asked)
        sql.execute("RESET hnsw.ef_search")
        auto = _taken(sql, {"auto": hybrid}, asked)
        taken.update(auto)
        taken.cpu |= auto.cpu
        version = sql.execute("SHOW server_version").fetchone()
        sql.execute(f"DROP SCHEMA {schema} CASCADE")
    ratio = taken["hybrid"] / taken["by hand"]
    told = ", ".join(
        f"{way} {seconds * 1000:.1f} ms (CPU {taken.cpu[way] * 1000:.1f})" for way, seconds in taken.items()
    )
    print(f"\nPostgres {version and version[0]:5} {shape}: {told}; ratio {ratio:.2f}")
    assert ratio <= 1.5
    assert taken["auto"] <= 0.06


def _load(destination: PgvectorDestination, shape: Shape, number: int, clusters: int = 0) -> None:
    every = _vectors(number, shape, clusters)
    for assets in _batches(shape):
        made = []
        for name in assets:
            first = int(name.split()[1]) * shape.segments
            segments = [
                feature(
                    f"segment {n}",
                    {"model-v1": vector},
                    start_time=float(n),
                    text=f"{name}, part {n}, {'waves' if (first + n) % 10 == 0 else 'nothing'}",
                )
                for n, vector in enumerate(every[first : first + shape.segments])
            ]
            made.append(asset(name, *segments))
        destination.apply(batch(*made, collection=f"films {number}"))


def _vectors(number: int, shape: Shape, clusters: int) -> npt.NDArray[np.float32]:
    """Those of one collection, in as many clusters; 0: as far from each other as can be."""
    random = np.random.default_rng(number)
    rows = max(1, shape.rows // shape.segments // shape.collections) * shape.segments
    vectors = random.standard_normal((rows, shape.dimension), dtype=np.float32)
    if not clusters:
        return vectors
    centres = random.standard_normal((clusters, shape.dimension), dtype=np.float32)
    return centres[random.integers(0, clusters, rows)] + np.float32(0.35) * vectors


def _batches(shape: Shape) -> Iterator[list[str]]:
    """The assets of one collection."""
    assets = max(1, shape.rows // shape.segments // shape.collections)
    size = max(1, ROWS_PER_BATCH // shape.segments)
    for start in range(0, assets, size):
        yield [f"video {n}" for n in range(start, min(assets, start + size))]


class Taken(dict[str, float]):
    """Each way's seconds, and in `cpu` those of the server's processor."""

    cpu: dict[str, float]


def _taken(sql: Sql, ways: dict[str, str], asked: Sequence[dict[str, str]]) -> Taken:
    """The lower quartile, for what else a machine does only adds to it. Asked in turn."""
    clock = Path(f"/proc/{sql.info.backend_pid}/schedstat")
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    cpu: dict[str, list[float]] = {way: [] for way in ways}
    for values in asked:
        for way, question in ways.items():
            statement = _filled(question, values)
            begun, used = time.perf_counter(), int(clock.read_text().split()[0])
            sql.execute(statement).fetchall()
            seconds[way].append(time.perf_counter() - begun)
            cpu[way].append((int(clock.read_text().split()[0]) - used) / 1e9)
    taken = Taken({way: statistics.quantiles(each, n=4)[0] for way, each in seconds.items()})
    taken.cpu = {way: statistics.quantiles(each, n=4)[0] for way, each in cpu.items()}
    return taken


def _uses_index(sql: Sql, question: str) -> bool:
    plan = "\n".join(str(row[0]) for row in sql.execute(f"EXPLAIN (COSTS OFF) {question}"))
    return "Index Scan using video__model_v1_hnsw" in plan


def _filled(question: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        question = question.replace(f"${name}", value)
    return question
