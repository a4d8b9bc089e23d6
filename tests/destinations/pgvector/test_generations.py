"""A named vector that changes its dimension gets a table of its own beside the old one, and both can be asked."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vectorferry.connector.plugin import (
    Batch,
    ConfigurationError,
    Discrepancy,
    MappedAsset,
    MappedFeature,
    Modality,
    RetryableError,
    SchemaMapping,
    SearchQuery,
    Vector,
    vector_hash,
)
from vectorferry.connector.testing import MemoryDestination
from vectorferry.destinations import PgvectorDestination
from vectorferry.destinations.pgvector import _prepare

from ...builders import asset, batch, dense, feature, sparse
from ...examples import examples
from .conftest import ApplyAndCount

Sql = psycopg.Connection[Any]
NAME = "model-v1"


def of(feature_id: str, dimension: int, first: float = 0.5, **columns: Any) -> MappedFeature:
    return feature(feature_id, {NAME: dense(first, dimension=dimension)}, **columns)


def column(sql: Sql, query: str) -> list[Any]:
    return [row[0] for row in sql.execute(query)]


def wrong_vectors(destination: PgvectorDestination) -> list[Discrepancy]:
    """The rows of features that these tests make have no true hash."""
    return [one for one in destination.discrepancies("ads") if one.vector_name]


def ones(dimension: int) -> str:
    return str([1] * dimension)


def test_each_dimension_has_its_table_view_and_function(destination: PgvectorDestination, sql: Sql) -> None:
    destination.apply(batch(asset("a", of("f1", 8))))
    destination.apply(batch(asset("b", of("f2", 3))))
    for view, dimension, found in [
        ("video_model_v1", 8, "f1"),
        ("video_model_v1_8", 8, "f1"),
        ("video_model_v1_3", 3, "f2"),
    ]:
        assert column(sql, f"SELECT feature_id FROM {view}") == [found]
        assert column(sql, f"SELECT feature_id FROM search_{view}('{ones(dimension)}')") == [found]
    assert column(sql, "SELECT feature_id FROM video__model_v1") == ["f1"]
    assert column(sql, "SELECT feature_id FROM video__model_v1_3") == ["f2"]


def test_the_plain_function_answers_whoever_asks_in_whichever_dimension(
    destination: PgvectorDestination, sql: Sql
) -> None:
    destination.apply(batch(asset("a", of("f1", 8)), asset("b", of("f2", 3))))
    for dimension, found in ((8, "f1"), (3, "f2")):
        assert column(sql, f"SELECT feature_id FROM search_video_model_v1('{ones(dimension)}')") == [found]


@pytest.mark.long
def test_both_get_their_index(destination: PgvectorDestination) -> None:
    destination.apply(batch(asset("a", of("f1", 8)), asset("b", of("f2", 3))))
    built = [(build.table, build.rows) for build in destination.build_indexes()]
    assert sorted(built) == [("video__model_v1", 1), ("video__model_v1_3", 1)]
    assert destination.build_indexes() == []


def test_while_one_fills_beside_the_other_nothing_is_missing_in_the_old(
    destination: PgvectorDestination, sql: Sql
) -> None:
    destination.apply(batch(asset("a", of("f1", 8)), asset("b", of("f2", 8))))
    destination.apply(batch(asset("a", of("f1", 3), fingerprint="2")))
    assert column(sql, "SELECT feature_id FROM video_model_v1 ORDER BY 1") == ["f1", "f2"]
    assert column(sql, "SELECT feature_id FROM video_model_v1_3") == ["f1"]
    (loaded,) = destination.stored("ads", ["a"])
    assert loaded.features[0].vector_hashes[NAME] == vector_hash(dense(0.5, dimension=3))
    assert wrong_vectors(destination) == []


def test_a_feature_that_goes_goes_from_both(destination: PgvectorDestination, sql: Sql) -> None:
    destination.apply(batch(asset("a", of("f1", 8), of("f2", 8)), asset("b", of("f3", 8))))
    destination.apply(batch(asset("a", of("f1", 3), of("f2", 3)), asset("b", of("f3", 3))))
    destination.apply(batch(asset("a", of("f1", 3), fingerprint="3")))
    destination.remove("ads", ["b"])
    for table in ("video__model_v1", "video__model_v1_3"):
        assert column(sql, f"SELECT feature_id FROM {table}") == ["f1"]


def test_one_dimension_costs_no_statement_and_no_row_more(apply_and_count: ApplyAndCount) -> None:
    apply_and_count(batch(asset("a", of("f1", 8)), asset("b", of("f2", 3))))
    _, written = apply_and_count(batch(asset("a", of("f1", 8)), asset("b", of("f2", 3))))
    assert written == {}


@pytest.mark.long
def test_names_that_look_like_a_dimension_stay_apart(destination: PgvectorDestination, sql: Sql) -> None:
    destination.apply(batch(asset("a", feature("f1", {f"{NAME}-3": dense(1)}), of("f2", 8))))
    destination.apply(batch(asset("b", of("f3", 3))))
    assert column(sql, "SELECT feature_id FROM video_model_v1_3") == ["f1"]
    found = {table.name: table.rows for table in destination.status().tables if table.vector_name == NAME}
    assert len(found) == 2
    assert set(found.values()) == {1}


def test_dense_becomes_sparse(destination: PgvectorDestination, sql: Sql) -> None:
    destination.apply(batch(asset("a", of("f1", 8), of("f2", 8))))
    destination.apply(batch(asset("a", feature("f1", {NAME: sparse({3: 1.0})}), of("f2", 8), fingerprint="2")))
    assert column(sql, "SELECT feature_id FROM search_video_model_v1_sparse('{4:1}/1000000000')") == ["f1"]
    found = destination.search(SearchQuery(Modality.VIDEO, vector=sparse({3: 1.0})))
    assert [row["feature_id"] for row in found.rows] == ["f1"]


@pytest.mark.long
def test_a_search_goes_where_such_vectors_are(destination: PgvectorDestination) -> None:
    destination.apply(batch(asset("a", of("f1", 8), of("f2", 8, 2.0)), asset("b", of("f3", 3), of("f4", 3, 2.0))))
    for query, found in [
        (SearchQuery(Modality.VIDEO, like="f1"), ["f2"]),
        (SearchQuery(Modality.VIDEO, like="f3"), ["f4"]),
        (SearchQuery(Modality.VIDEO, vector=dense(0.5, dimension=8), limit=1), ["f1"]),
        (SearchQuery(Modality.VIDEO, vector=dense(0.5, dimension=3), limit=1), ["f3"]),
    ]:
        assert [row["feature_id"] for row in destination.search(query).rows] == found
    with pytest.raises(ConfigurationError, match="no video feature nobody"):
        destination.search(SearchQuery(Modality.VIDEO, like="nobody"))


def test_grants_are_those_of_the_plain_view_and_the_earlier_table(
    destination: PgvectorDestination, sql: Sql, schema: str
) -> None:
    destination.apply(batch(asset("a", of("f1", 8))))
    sql.execute(f"CREATE ROLE reader_of_{schema}")
    sql.execute(f"GRANT SELECT ON video_model_v1, video__model_v1 TO reader_of_{schema}")
    destination.apply(batch(asset("b", of("f2", 3))))
    sql.execute(f"GRANT USAGE ON SCHEMA {schema} TO reader_of_{schema}; SET ROLE reader_of_{schema}")
    for view in ("video_model_v1", "video_model_v1_8", "video_model_v1_3", "video__model_v1_3"):
        assert len(column(sql, f"SELECT feature_id FROM {view}")) == 1
    assert column(sql, f"SELECT feature_id FROM search_video_model_v1('{ones(3)}')") == ["f2"]


def test_who_may_read_some_rows_of_the_earlier_table_may_read_these_of_the_new_one(
    destination: PgvectorDestination, sql: Sql, schema: str
) -> None:
    reader = f"reader_of_{schema}"
    destination.apply(batch(asset("a", of("f1", 8)), asset("b", of("f2", 8)), asset("c", of("f3", 8))))
    sql.execute(f"CREATE ROLE {reader}; CREATE TABLE mine (asset text); INSERT INTO mine VALUES ('a'), ('b')")
    sql.execute("ALTER TABLE video__model_v1 ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    sql.execute("CREATE POLICY everybody ON video__model_v1 USING (true) WITH CHECK (asset_id <> '100 %')")
    sql.execute(
        f'CREATE POLICY "only mine" ON video__model_v1 AS RESTRICTIVE FOR SELECT TO {reader} '
        "USING (EXISTS (SELECT 1 FROM mine WHERE mine.asset = video__model_v1.asset_id))"
    )
    sql.execute(f"GRANT USAGE ON SCHEMA {schema} TO {reader}; GRANT SELECT ON mine, video__model_v1 TO {reader}")
    destination.apply(batch(asset("b", of("f2", 3)), asset("c", of("f3", 3))))
    sql.execute(f"SET ROLE {reader}")
    assert column(sql, "SELECT feature_id FROM video__model_v1") == ["f1", "f2"]
    assert column(sql, "SELECT feature_id FROM video__model_v1_3") == ["f2"]
    sql.execute("RESET ROLE")
    policies = (
        "SELECT policyname, permissive, roles, cmd, with_check FROM pg_policies "
        "WHERE tablename = %s AND schemaname = %s ORDER BY 1"
    )
    before, after = (
        sql.execute(policies, [name, schema]).fetchall() for name in ("video__model_v1", "video__model_v1_3")
    )
    assert before == after
    switches = "SELECT DISTINCT relrowsecurity, relforcerowsecurity FROM pg_class WHERE oid = ANY(%s::regclass[])"
    assert sql.execute(switches, [["video__model_v1", "video__model_v1_3"]]).fetchall() == [(True, True)]


VECTORS: st.SearchStrategy[Vector] = st.one_of(
    st.builds(lambda n, dimension: dense(float(n), dimension=dimension), st.integers(0, 1), st.sampled_from([2, 3, 8])),
    st.just(sparse({1: 0.5})),
)
FEATURES: st.SearchStrategy[MappedFeature] = st.builds(
    feature,
    st.sampled_from(["f1", "f2"]),
    st.dictionaries(st.sampled_from([NAME, "other"]), VECTORS, max_size=2),
)
ASSETS: st.SearchStrategy[MappedAsset] = st.builds(
    lambda name, features: asset(name, *features),
    st.sampled_from(["a", "b"]),
    st.lists(FEATURES, max_size=2, unique_by=lambda one: one.feature_id),
)
SOME = st.sets(st.sampled_from(["a", "b"]), min_size=1)
STEPS: st.SearchStrategy[Batch | list[str] | set[str] | None] = st.one_of(
    SOME,
    st.builds(
        lambda assets: batch(*assets),
        st.lists(ASSETS, min_size=1, max_size=2, unique_by=lambda one: one.asset_id),
    ),
    st.lists(st.sampled_from(["a", "b"]), min_size=1, unique=True),
    st.none(),
)


def stored(destination: PgvectorDestination | MemoryDestination) -> object:
    return [
        (loaded.asset_id, one.feature_id, sorted(one.vector_hashes.items()))
        for loaded in destination.stored("ads", ["a", "b"])
        for one in loaded.features
    ]


@settings(max_examples=examples(2, 60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, min_size=1, max_size=8))
def test_any_history_of_dimensions_leaves_what_it_leaves_in_memory(
    postgres_url: str, steps: Sequence[Batch | list[str] | set[str] | None]
) -> None:
    """A list of assets is removed, a set hidden; None stands for the end of a run."""
    model, hidden = MemoryDestination(), set[str]()
    with closing(PgvectorDestination(f"t_{uuid.uuid4().hex[:12]}", postgres_url)) as destination:
        destination.prepare(SchemaMapping())
        for step in steps:
            if step is None:
                destination.build_indexes()
            elif isinstance(step, set):
                destination.tombstone("ads", sorted(step))
                model.tombstone("ads", sorted(step))
                hidden |= step
            elif isinstance(step, list):
                told, wanted = destination.remove("ads", step), model.remove("ads", step)
                assert told.assets == wanted.assets
            else:
                told, wanted = destination.apply(step), model.apply(step)
                changed = {key: counts for key, counts in told.vectors.items() if key in wanted.vectors}
                assert hidden or changed == wanted.vectors, "of what was hidden, vectors were never gone"
            assert list(destination.digests("ads")) == list(model.digests("ads"))
            assert stored(destination) == stored(model)
            assert wrong_vectors(destination) == []


def test_a_table_whose_making_failed_is_made_by_the_next_attempt(
    destination: PgvectorDestination, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RetryableError("deadlock")

    with monkeypatch.context() as broken:
        broken.setattr(_prepare, "layer_steps", fail)
        with pytest.raises(RetryableError):
            destination.apply(batch(asset("a", of("f1", 8))))
    destination.apply(batch(asset("a", of("f1", 8))))
    assert column(sql, "SELECT feature_id FROM video_model_v1") == ["f1"]
