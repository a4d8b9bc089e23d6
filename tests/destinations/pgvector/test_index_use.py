"""On data that is shaped like a user's the vector index answers, under the default settings of server and planner: for
whoever types a query of the view, for the search function, and on an older server too."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import psycopg
import pytest

from vectorferry.connector.plugin import Modality, SchemaMapping, SearchQuery
from vectorferry.destinations import PgvectorDestination

from ...builders import asset, batch, dense, feature
from ...examples import family

Sql = psycopg.Connection[Any]

ROWS, DIMENSION, SEGMENTS, COLLECTIONS = 5_000, 256, 20, 2
INDEX, VECTORS = "video__model_v1_hnsw", "video__model_v1"
NEAR = [1.0] * DIMENSION
FAR = "far away"
"""The text of every tenth feature, whose vectors all point away from `NEAR`."""


class Loaded(NamedTuple):
    """Where the data is, and a connection that finds it without a prefix."""

    schema: str
    url: str
    sql: Sql


@pytest.fixture(scope="module", params=family(["postgres_url", "other_postgres_url"]))
def loaded(request: pytest.FixtureRequest) -> Iterator[Loaded]:
    """Videos of twenty segments, called alike in each, in two collections; loaded and indexed as a sync does it."""
    url, schema = request.getfixturevalue(request.param), f"t_{uuid.uuid4().hex[:12]}"
    with closing(PgvectorDestination(schema, url)) as destination:
        destination.prepare(SchemaMapping())
        _load(destination)
        destination.build_indexes()
    with psycopg.connect(url, autocommit=True) as sql:
        sql.execute(f"SET search_path = {schema}, public")
        yield Loaded(schema, url, sql)
        sql.execute(f"DROP SCHEMA {schema} CASCADE")


def _load(destination: PgvectorDestination) -> None:
    vectors = np.random.default_rng(5).standard_normal((ROWS, DIMENSION), dtype=np.float32)
    vectors[::10] -= 3
    for collection in range(COLLECTIONS):
        assets = []
        for number in range(collection, ROWS // SEGMENTS, COLLECTIONS):
            rows = range(number * SEGMENTS, (number + 1) * SEGMENTS)
            segments = [
                feature(
                    f"segment {row % SEGMENTS}",
                    {"model-v1": vectors[row]},
                    start_time=float(row % SEGMENTS),
                    text=FAR if row % 10 == 0 else f"number {row}",
                )
                for row in rows
            ]
            assets.append(asset(f"video {number}", *segments))
        destination.apply(batch(*assets, collection=f"films {collection}"))


def plan(sql: Sql, query: str) -> str:
    return "\n".join(row[0] for row in sql.execute(f"EXPLAIN (COSTS OFF) {query}"))


def by_distance(where: str = "true", vector: list[float] = NEAR) -> str:
    return f"SELECT * FROM video_model_v1 WHERE {where} ORDER BY embedding <=> '{vector}' LIMIT 10"


def searched(sql: Sql, question: str, *values: Any) -> tuple[list[Any], int, int]:
    """What a question gives, and how often the index, and all of the vectors, were read for it."""

    def scans() -> list[int]:  # those of this session that it has not reported yet
        counted = "SELECT pg_stat_get_xact_numscans(name::regclass) FROM unnest(%s::text[]) name"
        return [row[0] for row in sql.execute(counted, [[INDEX, VECTORS]])]

    with sql.transaction():
        before = scans()
        rows = sql.execute(question, values).fetchall()
        index, table = (after - count for after, count in zip(scans(), before, strict=True))
    return rows, index, table


SEARCH = "SELECT feature_id, text, collection FROM search_video_model_v1(%s, 10, %s, effort => 40)"
"""With the effort of a query that somebody types."""


@pytest.mark.parametrize(
    "where", family(["true", "collection = 'films 1'", "start_time >= 10", f"text = '{FAR}'", "text <> 'nothing'"])
)
def test_a_query_of_the_view_goes_along_the_index(loaded: Loaded, where: str) -> None:
    assert f"Index Scan using {INDEX}" in plan(loaded.sql, by_distance(where))


@pytest.mark.parametrize(
    "joined",
    family(
        [
            f"SELECT one.* FROM video_model_v1 one LEFT JOIN assets USING (collection, asset_id) "
            f"ORDER BY embedding <=> '{NEAR}' LIMIT 10",
            f"SELECT one.* FROM ({by_distance()}) one JOIN assets USING (collection, asset_id)",
        ]
    ),
)
def test_a_join_of_the_view_as_documented_goes_along_the_index(loaded: Loaded, joined: str) -> None:
    assert f"Index Scan using {INDEX}" in plan(loaded.sql, joined)


@pytest.mark.parametrize(
    "where",
    family(["collection = 'films 1' AND asset_id = 'video 3'", "feature_id = 'segment 3' AND text = 'number 3'"]),
)
def test_a_question_about_a_few_rows_is_answered_from_these(loaded: Loaded, where: str) -> None:
    assert INDEX not in plan(loaded.sql, by_distance(where))
    assert "Seq Scan on video__model_v1" not in plan(loaded.sql, by_distance(where))


def test_the_function_goes_along_the_index_once(loaded: Loaded) -> None:
    rows, index, table = searched(loaded.sql, SEARCH, str(NEAR), "{}")
    assert (len(rows), index, table) == (10, 1, 0)


@pytest.mark.parametrize(
    "filters", [{"collection": "films 1"}, {"start_time": {"gte": 10}}, {"start_time": [3, 4, 5, 6, 7]}]
)
def test_the_function_goes_along_the_index_with_a_usual_filter(loaded: Loaded, filters: dict[str, Any]) -> None:
    rows, index, table = searched(loaded.sql, SEARCH, str(NEAR), json.dumps(filters))
    assert (len(rows), index, table) == (10, 1, 0)


def test_an_exact_search_looks_at_every_vector(loaded: Loaded) -> None:
    near = np.array(NEAR, dtype=np.float32)
    rows = loaded.sql.execute(
        f"SELECT feature_id, asset_id FROM video_model_v1 ORDER BY (embedding <=> '{NEAR}') + 0 LIMIT 50"
    )
    exact = [tuple(row) for row in rows]
    with closing(PgvectorDestination(loaded.schema, loaded.url)) as destination:
        destination.prepare(SchemaMapping())
        question = SearchQuery(Modality.VIDEO, "model-v1", near, limit=50)
        found = {asked: destination.search(replace(question, exact=asked)) for asked in (False, True)}
        assert [(row["feature_id"], row["asset_id"]) for row in found[True].rows] == exact
        assert (found[False].exact, found[True].exact) == (False, True)
        assert found[False].statement == found[True].statement


def test_neighbours_of_many_rows_are_found_along_the_index(loaded: Loaded) -> None:
    rows, index, table = searched(
        loaded.sql,
        "SELECT one.feature_id, hit.feature_id FROM video_model_v1 one "
        "CROSS JOIN LATERAL search_video_model_v1(one.embedding, 3, effort => 40) hit "
        "WHERE one.collection = 'films 1' AND one.asset_id = 'video 3'",
    )
    assert (len(rows), index, table) == (3 * SEGMENTS, SEGMENTS, 0)


def test_what_the_index_gives_up_is_answered_exactly(loaded: Loaded) -> None:
    """A tenth of the rows: the planner chooses the index, and none of them is among the nearest that it looks at."""
    loaded.sql.execute("SET hnsw.max_scan_tuples = 100")
    rows, index, exact = searched(loaded.sql, SEARCH, str(NEAR), json.dumps({"text": FAR}))
    loaded.sql.execute("RESET hnsw.max_scan_tuples")
    assert [row[1] for row in rows] == [FAR] * 10
    assert (index, exact) == (1, 1), "the index was asked first"


def test_more_than_the_index_looks_at_in_one_pass_is_given(loaded: Loaded) -> None:
    rows, index, table = searched(loaded.sql, "SELECT * FROM search_video_model_v1(%s, 60, effort => 40)", str(NEAR))
    assert (len(rows), index, table) == (60, 1, 0)


def test_the_plan_that_is_kept_goes_along_the_index(loaded: Loaded) -> None:
    """Postgres keeps one for any query and any k after a few searches of a session."""
    for k in (10, 1, 40, 7, 40, 3, 20, 10):
        rows, index, table = searched(
            loaded.sql, f"SELECT * FROM search_video_model_v1(%s, {k}, effort => 40)", str(NEAR)
        )
        assert (len(rows), index, table) == (k, 1, 0)


def test_an_effort_of_the_caller_s_own_is_respected(loaded: Loaded) -> None:
    with loaded.sql.transaction():
        loaded.sql.execute("SET LOCAL hnsw.ef_search = 41")
        rows, index, table = searched(loaded.sql, SEARCH.replace(", effort => 40", ""), str(NEAR), "{}")
        explained = loaded.sql.execute("SELECT search_effort FROM explain_search('video_model_v1', %s)", [str(NEAR)])
        assert explained.fetchall() == [(41,)]
        assert loaded.sql.execute("SHOW hnsw.ef_search").fetchone() == ("41",)
    assert (len(rows), index, table) == (10, 1, 0)


@pytest.mark.parametrize("k", family([10, 100]))
@pytest.mark.parametrize("share", family([1, 0.1, 0.01, 0.001, 0], (1, 3)))
def test_an_answer_is_never_short_and_nearly_always_the_truth(loaded: Loaded, share: float, k: int) -> None:
    """Of vectors that are hard to tell apart. tests/benchmarks/test_recall.py has others, and prints the published."""
    filters = json.dumps({"text": {"like": f"%{'0' * round(-math.log10(share))}"}} if share else {"text": "nothing"})
    # Of so few as ten queries one in six samples is worse, and with so many none that was ever seen.
    asked = "SELECT recall, missing FROM evaluate_recall('video_model_v1', 300, %s, %s)"
    recall, missing = loaded.sql.execute(asked, [k, filters]).fetchone() or (0, 1)
    assert missing == 0
    assert recall > 0.95


def test_an_exact_search_is_the_truth(loaded: Loaded) -> None:
    by_hand = loaded.sql.execute(
        f"SELECT asset_id, feature_id FROM {VECTORS} ORDER BY (embedding <=> '{NEAR}') + 0 LIMIT 100"
    )
    rows, index, _ = searched(
        loaded.sql, "SELECT asset_id, feature_id FROM search_video_model_v1(%s, 100, mode => 'exact')", str(NEAR)
    )
    assert sorted(rows) == sorted(by_hand.fetchall())
    assert index == 0


def test_what_was_done_is_told(loaded: Loaded) -> None:
    asked = (
        "SELECT way, search_effort, candidates, fell_back, plan FROM explain_search('video_model_v1', %s, mode => %s)"
    )
    [(way, effort, candidates, fell_back, plan)] = loaded.sql.execute(asked, [str(NEAR), "index"]).fetchall()
    assert (way, effort, candidates, fell_back) == ("index", 40, 160, False)
    assert f"Index Scan using {INDEX}" in plan
    assert len(plan) < 5_000, "the query itself, of 256 numbers, is left out"
    [(way, effort, candidates, fell_back, plan)] = loaded.sql.execute(asked, [str(NEAR), "exact"]).fetchall()
    assert (way, effort, candidates, fell_back) == ("exact", None, 10, False)
    assert INDEX not in plan
    attempts = loaded.sql.execute(asked, [str(NEAR), "auto"]).fetchall()
    assert [(attempt[0], attempt[1], attempt[3]) for attempt in attempts] == [
        ("index", 10, False),
        ("index", 40, True),
        ("exact", None, True),
    ]


def test_both_find_what_an_exact_search_finds(loaded: Loaded) -> None:
    """Most of it: the index is approximate."""
    random = np.random.default_rng(11)
    shared = 0
    for _ in range(20):
        vector = random.standard_normal(DIMENSION).tolist()
        exact = {
            row[:2]
            for row in loaded.sql.execute(
                f"SELECT asset_id, feature_id FROM {VECTORS} ORDER BY (embedding <=> %s) + 0 LIMIT 10", [str(vector)]
            )
        }
        asked = "SELECT asset_id, feature_id FROM search_video_model_v1(%s, effort => 40)"
        found = loaded.sql.execute(asked, [str(vector)])
        typed = loaded.sql.execute(by_distance(vector=vector)).fetchall()
        hits = {tuple(row) for row in found}
        assert hits == {(row[1], row[2]) for row in typed}
        shared += len(exact & hits)
    assert shared > 0.5 * 20 * 10


@pytest.mark.parametrize(
    ("expression", "operators", "ordering"),
    [
        ("(embedding::halfvec(256))", "halfvec_cosine_ops", "embedding::halfvec(256) <=> '{}'::halfvec(256)"),
        (
            "(binary_quantize(embedding)::bit(256))",
            "bit_hamming_ops",
            "binary_quantize(embedding)::bit(256) <~> binary_quantize('{}'::vector(256))",
        ),
    ],
)
def test_an_index_of_a_user_s_own_on_an_expression_is_used_through_the_view(
    loaded: Loaded, expression: str, operators: str, ordering: str
) -> None:
    loaded.sql.execute(f"CREATE INDEX my_own ON {VECTORS} USING ivfflat ({expression} {operators}) WITH (lists = 20)")
    question = f"SELECT feature_id FROM video_model_v1 ORDER BY {ordering.format(NEAR)} LIMIT 10"
    try:
        assert "Index Scan using my_own" in plan(loaded.sql, question)
    finally:
        loaded.sql.execute("DROP INDEX my_own")


@pytest.mark.long
def test_vectors_that_are_stored_apart_are_not_all_compared(destination: PgvectorDestination, sql: Sql) -> None:
    """Postgres stores what is longer than 2 kB apart from its row, and takes the rest of the table for all there is to
    read."""
    random = np.random.default_rng(7)
    centres = random.standard_normal((50, 700))
    vectors = (centres[np.arange(3_000) % 50] + 0.3 * random.standard_normal((3_000, 700))).astype(np.float32)
    features = [feature(f"f{number}", {"model-v1": vector}) for number, vector in enumerate(vectors)]
    destination.apply(batch(*(asset(f"a{first}", *features[first : first + 20]) for first in range(0, 3_000, 20))))
    destination.build_indexes()
    asked = "SELECT way FROM explain_search('video_model_v1', %s, k => %s)"
    for k in (10, 40):
        assert sql.execute(asked, [str(vectors[0].tolist()), k]).fetchall() == [("index",)]


@pytest.mark.long
def test_a_page_far_behind_is_not_asked_for_twice_in_the_same_way(postgres_url: str, schema: str) -> None:
    """pgvector takes no more effort than the first attempt has, and would give the same again."""
    with closing(PgvectorDestination(schema, postgres_url)) as destination:
        destination.prepare(SchemaMapping())
        destination.apply(batch(asset("a", feature("f", {"model-v1": dense(dimension=128)}))))
        with psycopg.connect(postgres_url, autocommit=True) as sql:
            sql.execute(f"SET search_path = {schema}, public; {MANY}")
            destination.build_indexes()
            sql.execute("ANALYZE")
            asked = "SELECT way, search_effort FROM explain_search('video_model_v1', %s, \"offset\" => 2000)"
            query = "SELECT embedding::text FROM video__model_v1 WHERE feature_id = 'f777'"
            attempts = sql.execute(asked, sql.execute(query).fetchone()).fetchall()
    assert attempts == [("index", 1_000), ("exact", None)]


MANY = """
INSERT INTO video (collection, asset_id, feature_id, metadata, extra, row_hash)
SELECT 'ads', 'b', 'f' || n, '{}', '{}', '' FROM generate_series(1, 26000) n;
INSERT INTO video__model_v1 (collection, asset_id, feature_id, embedding, vector_hash)
SELECT 'ads', 'b', 'f' || n, CAST(ARRAY(
    SELECT cos(i * (n % 500)) + random() / 2 FROM generate_series(1, 128) i) AS vector), ''
FROM generate_series(1, 26000) n
"""
