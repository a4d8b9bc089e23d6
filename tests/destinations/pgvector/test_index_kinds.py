"""An index that keeps halves or bits of the vectors, or has lists, answers views and searches with the default settings
of server and planner, with distances of the whole vectors."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final, NamedTuple

import numpy as np
import psycopg
import pytest

from vectorferry.connector.plugin import SchemaMapping
from vectorferry.destinations import PgvectorDestination

from ...builders import asset, batch, feature
from ...examples import family

Sql = psycopg.Connection[Any]

ROWS, DIMENSION, SEGMENTS, CENTRES = 4_000, 256, 20, 40
VECTORS: Final[dict[str, dict[str, Any]]] = {
    "halves": {"quantization": "halfvec"},
    "bits": {"quantization": "binary"},
    "lists": {"index": "ivfflat", "lists": 40},
    "lists-of-halves": {"index": "ivfflat", "quantization": "halfvec", "lists": 20},
}
INDEXES: Final = {
    "halves": "video__halves_hnsw",
    "bits": "video__bits_hnsw",
    "lists": "video__lists_ivf",
    "lists_of_halves": "video__lists_of_halves_ivf",
}
ORDER: Final = {
    "halves": "embedding::halfvec(256) <=> '{}'::halfvec(256)",
    "bits": "binary_quantize(embedding)::bit(256) <~> binary_quantize('{}'::vector(256))::bit(256)",
    "lists": "embedding <=> '{}'",
    "lists_of_halves": "embedding::halfvec(256) <=> '{}'::halfvec(256)",
}


class Loaded(NamedTuple):
    """A connection that finds the data without a prefix, and a vector that is near some of it."""

    sql: Sql
    query: str


@pytest.fixture(scope="module", params=family(["postgres_url", "other_postgres_url"]))
def loaded(request: pytest.FixtureRequest) -> Iterator[Loaded]:
    """The same clustered vectors under four names, each with an index of its own kind, built as a sync does it."""
    url, schema = request.getfixturevalue(request.param), f"t_{uuid.uuid4().hex[:12]}"
    random = np.random.default_rng(3)
    centres = random.standard_normal((CENTRES, DIMENSION))
    noise = random.standard_normal((ROWS, DIMENSION))
    vectors = (centres[np.arange(ROWS) % CENTRES] + 0.5 * noise).astype(np.float32)
    with closing(PgvectorDestination(schema, url)) as destination:
        destination.prepare(SchemaMapping.model_validate({"video": {"vectors": VECTORS}}))
        features = [
            feature(f"f{row}", dict.fromkeys(VECTORS, vectors[row]), start_time=float(row % SEGMENTS))
            for row in range(ROWS)
        ]
        firsts = range(0, ROWS, SEGMENTS)
        destination.apply(batch(*(asset(f"a{first}", *features[first : first + SEGMENTS]) for first in firsts)))
        destination.build_indexes()
    with psycopg.connect(url, autocommit=True) as sql:
        sql.execute(f"SET search_path = {schema}, public")
        yield Loaded(sql, str((centres[0] + 0.1 * random.standard_normal(DIMENSION)).round(5).tolist()))
        sql.execute(f"DROP SCHEMA {schema} CASCADE")


@pytest.mark.parametrize("name", INDEXES)
def test_a_query_of_the_view_goes_along_the_index(loaded: Loaded, name: str) -> None:
    question = f"SELECT feature_id FROM video_{name} ORDER BY {ORDER[name].format(loaded.query)} LIMIT 10"
    plan = "\n".join(row[0] for row in loaded.sql.execute(f"EXPLAIN (COSTS OFF) {question}"))
    assert f"Index Scan using {INDEXES[name]}" in plan


@pytest.mark.parametrize("name", INDEXES)
@pytest.mark.parametrize(
    "how", ["k => 10", """filter => '{"start_time": {"gte": 5}}'""", "per_asset => 2", "effort => 40"]
)
def test_a_search_goes_along_the_index(loaded: Loaded, name: str, how: str) -> None:
    asked = f"SELECT way, plan FROM explain_search('video_{name}', %s, {how})"
    way, plan = loaded.sql.execute(asked, [loaded.query]).fetchall()[0]
    assert way == "index"
    assert f"Index Scan using {INDEXES[name]}" in plan


@pytest.mark.parametrize("effort", [40, 1000])
@pytest.mark.parametrize("name", ["lists", "lists_of_halves"])
def test_a_plan_that_is_told_is_that_of_the_search(loaded: Loaded, name: str, effort: int) -> None:
    """The more lists are looked at the dearer the index: then Postgres compares what the filter leaves instead."""
    asked = f"SELECT way, plan FROM explain_search('video_{name}', %s, 10, %s, mode => 'index', effort => %s)"
    filters = json.dumps({"start_time": {"gte": 15}})
    ((way, plan),) = loaded.sql.execute(asked, [loaded.query, filters, effort]).fetchall()
    assert (way == "index") == (f"Index Scan using {INDEXES[name]}" in plan)


@pytest.mark.parametrize("name", INDEXES)
@pytest.mark.parametrize("mode", ["auto", "index"])
def test_distances_and_order_are_those_of_the_whole_vectors(loaded: Loaded, name: str, mode: str) -> None:
    rows = loaded.sql.execute(
        f"SELECT hit.distance, v.embedding <=> %s::vector FROM search_video_{name}(%s, 20, mode => %s) hit "
        f"JOIN video__{name} v USING (asset_id, feature_id)",
        [loaded.query, loaded.query, mode],
    ).fetchall()
    assert len(rows) == 20
    assert [row[0] for row in rows] == pytest.approx([row[1] for row in rows], abs=1e-6)
    found = loaded.sql.execute(f"SELECT distance FROM search_video_{name}(%s, 20)", [loaded.query]).fetchall()
    assert found == sorted(found)


@pytest.mark.parametrize("k", [10, 100])
@pytest.mark.parametrize("name", INDEXES)
@pytest.mark.long
def test_recall_is_known_and_no_answer_is_short(loaded: Loaded, name: str, k: int) -> None:
    for filters in ({}, {"start_time": {"gte": 18}}):
        asked = "SELECT recall, missing FROM evaluate_recall(%s, 100, %s, %s)"
        recall, missing = loaded.sql.execute(asked, [f"video_{name}", k, json.dumps(filters)]).fetchone() or (0, 1)
        assert missing == 0
        assert recall >= 0.95


def test_a_caller_keeps_their_own_settings(loaded: Loaded) -> None:
    with loaded.sql.transaction():
        loaded.sql.execute("SET LOCAL ivfflat.probes = 3")
        loaded.sql.execute("SELECT * FROM search_video_lists(%s)", [loaded.query])
        assert loaded.sql.execute("SHOW ivfflat.probes").fetchone() == ("3",)
        assert loaded.sql.execute("SHOW ivfflat.iterative_scan").fetchone() == ("off",)


def test_whoever_may_only_read_searches_like_everybody(loaded: Loaded) -> None:
    (schema,) = loaded.sql.execute("SELECT current_schema").fetchone() or ("",)
    reader = f"{schema}_reader"
    loaded.sql.execute(f"CREATE ROLE {reader}; GRANT USAGE ON SCHEMA {schema} TO {reader}")
    for name in INDEXES:
        loaded.sql.execute(f"GRANT SELECT ON video_{name} TO {reader}")
    try:
        with loaded.sql.transaction():
            loaded.sql.execute(f"SET LOCAL ROLE {reader}")
            for name in INDEXES:
                asked = f"SELECT count(*) FROM search_video_{name}(%s, 5)"
                assert loaded.sql.execute(asked, [loaded.query]).fetchone() == (5,)
    finally:
        loaded.sql.execute(f"DROP OWNED BY {reader}; DROP ROLE {reader}")


@pytest.mark.parametrize(("name", "words"), [("halves", "halfvec(256)"), ("bits", "binary_quantize"), ("lists", "")])
def test_a_view_says_what_its_index_is_used_by(loaded: Loaded, name: str, words: str) -> None:
    said = loaded.sql.execute("SELECT obj_description(%s::regclass)", [f"video_{name}"]).fetchone()
    assert said is not None
    assert words in said[0]
    assert ("ORDER BY" in said[0]) == bool(words)
