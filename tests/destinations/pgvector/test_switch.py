"""Once a newer dimension is complete the plain view shows it, in one transaction, and nobody who asks notices more."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from threading import Event
from typing import Any

import psycopg
import pytest

from vectorferry.connector.plugin import Asset, Feature, Modality, SchemaMapping, SearchQuery, Vector
from vectorferry.connector.testing import MemorySource, sync, verify
from vectorferry.destinations import PgvectorDestination
from vectorferry.destinations._postgres import run
from vectorferry.destinations.pgvector import _generations as _switch
from vectorferry.destinations.pgvector._functions import arguments

from ...builders import asset, batch, dense, feature, sparse
from ...examples import family
from ...waiting import wait_until
from .conftest import Prepared

Sql = psycopg.Connection[Any]
NAME = "model-v1"
TYPE = (
    "SELECT format_type(atttypid, atttypmod) FROM pg_attribute "
    "WHERE attrelid = 'video_model_v1'::regclass AND attname = 'embedding'"
)
ASSETS = [f"a{number}" for number in range(20)]


def column(sql: Sql, query: str) -> list[Any]:
    return [row[0] for row in sql.execute(query.encode())]


def load(destination: PgvectorDestination, vector: Vector, assets: list[str] = ASSETS) -> None:
    """One batch for each asset, as a slow source would bring them."""
    for name in assets:
        destination.apply(batch(asset(name, feature("f", {NAME: vector}), fingerprint=str(id(vector)))))


def shown(sql: Sql, view: str = "video_model_v1") -> list[int]:
    return column(sql, f"SELECT DISTINCT vector_dims(embedding) FROM {view}")


def states(sql: Sql) -> dict[int, str]:
    return dict(sql.execute("SELECT dimension, state FROM _sync_vectors").fetchall())


@contextmanager
def asking(url: str, schema: str, ask: Callable[[Sql], None]) -> Iterator[None]:
    """Somebody asks again and again meanwhile, and has asked at least once before and after."""
    done, asked = Event(), Event()

    def keep_asking() -> None:
        with psycopg.connect(url, autocommit=True) as sql:
            sql.execute(f"SET search_path = {schema}, public".encode())
            while not done.is_set():
                ask(sql)
                asked.set()
            ask(sql)

    with ThreadPoolExecutor() as pool:
        asker = pool.submit(keep_asking)
        try:
            while not asked.wait(0.01):
                if asker.done():
                    break
            yield
        finally:
            done.set()
        asker.result()


@pytest.mark.long
def test_whoever_asks_meanwhile_sees_no_error_and_one_dimension_at_a_time(
    destination: PgvectorDestination, sql: Sql, postgres_url: str, schema: str
) -> None:
    seen: list[int] = []

    def ask(reader: Sql) -> None:
        found = reader.execute("SELECT vector_dims(embedding), count(*) FROM video_model_v1 GROUP BY 1").fetchall()
        assert [count for _, count in found] == [len(ASSETS)], "all of one dimension, and none of the other"
        seen.append(found[0][0])
        hits = reader.execute("SELECT * FROM search_video_model_v1('[1,1,1,1,1,1,1,1]', 30)").fetchall()
        assert len(hits) == len(ASSETS)

    load(destination, dense(1, dimension=8))
    destination.build_indexes()
    with asking(postgres_url, schema, ask):
        load(destination, dense(1, dimension=3))
        assert set(seen) == {8}
        destination.build_indexes()
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] == 3
    assert states(sql) == {8: "retired", 3: "current"}


@pytest.mark.long
def test_whoever_waits_for_the_switch_is_answered_by_the_dimension_of_the_question(
    destination: PgvectorDestination, sql: Sql, postgres_url: str, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(destination, dense(1, dimension=8))
    load(destination, dense(1, dimension=3))
    answers: list[Future[psycopg.Cursor[Any]]] = []

    with ThreadPoolExecutor() as pool, psycopg.connect(postgres_url, autocommit=True) as reader:
        reader.execute(f"SET search_path = {schema}, public".encode())
        waiting = f"SELECT 1 WHERE pg_blocking_pids({reader.info.backend_pid}) <> '{{}}'"

        def run_and_be_asked(*arguments: Any) -> None:
            run(*arguments)
            question = "SELECT * FROM search_video_model_v1('[1,1,1,1,1,1,1,1]', 30)"
            answers.append(pool.submit(reader.execute, question))
            wait_until(lambda: column(sql, waiting) or answers[0].done())

        monkeypatch.setattr(_switch, "run", run_and_be_asked)
        destination.build_indexes()
        assert [len(answer.result().fetchall()) for answer in answers] == [len(ASSETS)]
    assert shown(sql) == [3]


@pytest.mark.long
def test_it_waits_until_the_newer_one_has_everything(destination: PgvectorDestination, sql: Sql) -> None:
    load(destination, dense(dimension=8))
    load(destination, dense(dimension=3), ASSETS[1:])
    destination.build_indexes()
    assert (shown(sql), states(sql)) == ([8], {8: "current", 3: "filling"})
    destination.remove("ads", ASSETS[:1])
    destination.build_indexes()
    assert (shown(sql), states(sql)) == ([3], {8: "retired", 3: "current"})
    assert shown(sql, "video_model_v1_8") == [8]


@pytest.mark.long
def test_collections_of_different_dimensions_stay_beside_each_other(destination: PgvectorDestination, sql: Sql) -> None:
    for collection, dimension in (("ads", 8), ("films", 3)):
        destination.apply(batch(asset("a", feature("f", {NAME: dense(dimension=dimension)})), collection=collection))
        destination.build_indexes()
    assert (shown(sql), shown(sql, "video_model_v1_3")) == ([8], [3])
    assert states(sql) == {8: "current", 3: "filling"}


@pytest.mark.long
def test_a_hidden_asset_does_not_keep_the_old_one(destination: PgvectorDestination, sql: Sql) -> None:
    load(destination, dense(dimension=8))
    destination.tombstone("ads", ASSETS[:1])
    load(destination, dense(dimension=3), ASSETS[1:])
    destination.build_indexes()
    assert states(sql) == {8: "retired", 3: "current"}


@pytest.mark.long
def test_the_view_goes_over_to_the_dimension_that_has_vectors_to_show(
    destination: PgvectorDestination, sql: Sql
) -> None:
    load(destination, dense(dimension=8))
    load(destination, dense(dimension=3), ASSETS[:1])
    destination.tombstone("ads", ASSETS[:1])
    load(destination, dense(dimension=5), ASSETS[1:])
    destination.build_indexes()
    assert (shown(sql), states(sql)) == ([5], {8: "retired", 3: "retired", 5: "current"})


@pytest.mark.long
def test_while_another_sync_writes_nothing_is_switched(
    destination: PgvectorDestination, prepared: Prepared, sql: Sql
) -> None:
    other = prepared({})
    with other.lock("films"):
        load(destination, dense(dimension=8))
        load(destination, dense(dimension=3))
        destination.build_indexes()
        assert shown(sql) == [8]
    destination.build_indexes()
    assert shown(sql) == [3]
    with other.lock("films"):  # it takes note of what has happened since it was prepared
        other.apply(batch(asset("a", feature("f", {NAME: dense(dimension=8)})), collection="films"))
    assert states(sql) == {8: "filling", 3: "current"}
    assert column(sql, "SELECT feature_id FROM video_model_v1_8") == ["f"]


@pytest.mark.long
@pytest.mark.parametrize(("before", "after"), family([(8, 2_500), (2_500, 8), (8, 5_000)]))
def test_whoever_asks_in_either_dimension_is_answered_whatever_the_type(
    destination: PgvectorDestination, sql: Sql, before: int, after: int
) -> None:
    load(destination, dense(0.5, dimension=before), ["a"])
    load(destination, dense(0.25, dimension=after), ["a"])
    for _ in range(2):
        for dimension, value in ((before, 0.5), (after, 0.25)):
            question = str(dense(value, dimension=dimension).tolist())
            (found,) = sql.execute("SELECT feature_id, distance FROM search_video_model_v1(%s)", [question]).fetchall()
            assert found == ("f", pytest.approx(0, abs=1e-6))
        destination.build_indexes()
    assert states(sql)[after] == "current"


@pytest.mark.parametrize(
    ("before", "after", "question"),
    family(
        [
            (dense(dimension=3), dense(dimension=2_500), str([1] * 2_500)),
            (dense(dimension=2_500), dense(dimension=3), "[1,1,1]"),
            (dense(dimension=3), sparse({3: 1.0}), "{4:1}/1000000000"),
            (sparse({3: 1.0}), dense(dimension=3), "[1,1,1]"),
        ],
        always=(2,),
    ),
)
def test_another_type_of_vector_takes_the_place_with_every_grant(
    destination: PgvectorDestination, sql: Sql, schema: str, before: Vector, after: Vector, question: str
) -> None:
    load(destination, before, ["a"])
    sql.execute(
        f"CREATE ROLE {schema}_reader; CREATE ROLE {schema}_column; "
        f"GRANT USAGE ON SCHEMA {schema} TO {schema}_reader; "
        f"GRANT SELECT ON video_model_v1 TO {schema}_reader WITH GRANT OPTION; "
        f"GRANT SELECT (feature_id) ON video_model_v1 TO {schema}_column; "
        "REVOKE EXECUTE ON FUNCTION search_video_model_v1 FROM PUBLIC; "
        f"GRANT EXECUTE ON FUNCTION search_video_model_v1 TO {schema}_reader".encode()
    )
    before_acl = acl(sql)
    load(destination, after, ["a"])
    destination.build_indexes()
    assert acl(sql) == before_acl
    sql.execute(f"SET ROLE {schema}_reader".encode())
    found = sql.execute("SELECT feature_id FROM search_video_model_v1(%s)", [question]).fetchall()
    assert found == [("f",)]
    assert len(destination.search(SearchQuery(Modality.VIDEO, like="f", limit=1)).rows) == 0


def acl(sql: Sql) -> list[Any]:
    return sql.execute(
        "SELECT (SELECT relacl::text FROM pg_class WHERE oid = 'video_model_v1'::regclass), "
        "(SELECT attacl::text FROM pg_attribute "
        "WHERE attrelid = 'video_model_v1'::regclass AND attname = 'feature_id'), "
        "(SELECT proacl::text FROM pg_proc WHERE proname = 'search_video_model_v1' "
        "AND pronamespace = current_schema()::regnamespace)"
    ).fetchall()


def test_what_somebody_built_on_the_view_stays_when_only_the_dimension_changes(
    destination: PgvectorDestination, sql: Sql
) -> None:
    load(destination, dense(dimension=8), ["a"])
    sql.execute("CREATE VIEW mine AS SELECT feature_id, vector_dims(embedding) AS dims FROM video_model_v1")
    load(destination, dense(dimension=3), ["a"])
    destination.build_indexes()
    assert sql.execute("SELECT * FROM mine").fetchall() == [("f", 3)]


@pytest.mark.parametrize(
    ("kind", "built"),
    family(
        [
            ("VIEW", "mine AS SELECT feature_id, embedding FROM video_model_v1"),
            ("FUNCTION", "mine() RETURNS SETOF video_model_v1 LANGUAGE sql AS 'SELECT * FROM video_model_v1'"),
        ]
    ),
)
def test_what_somebody_built_on_a_view_that_must_be_made_anew_puts_it_off(
    destination: PgvectorDestination, sql: Sql, caplog: pytest.LogCaptureFixture, kind: str, built: str
) -> None:
    load(destination, dense(dimension=3), ["a"])
    sql.execute(f"CREATE {kind} {built}".encode())
    load(destination, sparse({3: 1.0}), ["a"])
    with caplog.at_level(logging.WARNING, "vectorferry"):
        destination.build_indexes()
    assert re.search(rf"depends on it: {kind.lower()} \S*mine(\(\))?\. Drop that", caplog.text)
    assert states(sql)[3] == "current"
    assert len(column(sql, f"SELECT feature_id FROM {'mine()' if kind == 'FUNCTION' else 'mine'}")) == 1
    sql.execute(f"DROP {kind} mine".encode())
    destination.build_indexes()
    assert states(sql)[3] == "retired"


@pytest.mark.long
def test_a_function_that_somebody_gave_the_same_name_is_left_alone(prepared: Prepared, sql: Sql, schema: str) -> None:
    destination = prepared({})
    load(destination, dense(dimension=3), ["a"])
    sql.execute(
        "CREATE FUNCTION search_video_model_v1(words text) RETURNS SETOF video_model_v1_match LANGUAGE sql "
        f"AS $$SELECT * FROM search_video_model_v1('[1,1,1]'::vector)$$; CREATE ROLE {schema}_reader; "
        f"GRANT EXECUTE ON FUNCTION search_video_model_v1({arguments('named_search')}) TO {schema}_reader".encode()
    )
    changed = {"video": {"columns": {"more": {"path": "more"}}}}
    destination = prepared(changed)
    assert len(column(sql, "SELECT feature_id FROM search_video_model_v1('words')")) == 1
    planned = destination.planned(SchemaMapping.model_validate(changed))
    assert planned.statements == []
    mapping = SchemaMapping.model_validate(changed)
    destination.apply(batch(asset("a", feature("f", {NAME: dense(dimension=2_500)}, mapping=mapping))))
    destination.build_indexes()
    assert states(sql) == {3: "retired", 2_500: "current"}
    granted = "SELECT count(*) FROM pg_proc WHERE proname = 'search_video_model_v1' AND proacl::text LIKE %s"
    assert sql.execute(granted, [f"%{schema}_reader=X%"]).fetchall() == [(1,)]
    destination.drop_vector_tables(["video__model_v1"])
    assert states(sql) == {2_500: "current"}


@pytest.mark.long
def test_a_query_that_does_not_end_puts_it_off(
    destination: PgvectorDestination,
    sql: Sql,
    postgres_url: str,
    schema: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load(destination, dense(dimension=8), ["a"])
    load(destination, dense(dimension=3), ["a"])
    with psycopg.connect(postgres_url) as reader, monkeypatch.context() as patches:
        patches.setattr(_switch, "_PATIENCE", 0.0)
        reader.execute(f"SELECT FROM {schema}.video_model_v1".encode())
        destination.build_indexes()
    assert "somebody uses it in a transaction that does not end" in caplog.text
    assert shown(sql) == [8]
    destination.build_indexes()
    assert shown(sql) == [3]


@pytest.mark.long
def test_collections_of_different_dimensions_are_synced_without_being_configured(
    postgres_url: str, schema: str, sql: Sql
) -> None:
    source = MemorySource(
        {
            collection: [
                Asset(f"a{n}", "1", "video", features=(Feature("f", "video", {}, {NAME: dense(n, dimension=size)}),))
                for n in range(3)
            ]
            for collection, size in (("marengo-2", 1024), ("marengo-3", 512))
        }
    )
    with closing(PgvectorDestination(schema, postgres_url)) as destination:
        summary = asyncio.run(sync(source, [destination], name="media"))
        again = asyncio.run(sync(source, [destination], name="media"))
        rows = {table.name: table.collections for table in destination.status().tables if table.vector_name}
    assert (summary.exit_code, again.exit_code) == (0, 0)
    assert sorted(built.table for built in summary.destinations["pgvector"].indexes) == sorted(rows)
    assert rows == {"video__model_v1": {"marengo-2": 3}, "video__model_v1_512": {"marengo-3": 3}}
    assert (shown(sql), shown(sql, "video_model_v1_1024"), shown(sql, "video_model_v1_512")) == ([1024], [1024], [512])
    for size in (1024, 512):
        asked = f"SELECT DISTINCT collection FROM search_video_model_v1('{[1] * size}')"
        assert column(sql, asked) == ["marengo-2" if size == 1024 else "marengo-3"]


def test_a_sync_of_what_was_embedded_anew_ends_with_the_new_vectors_shown_and_everything_in_step(
    postgres_url: str, schema: str, sql: Sql
) -> None:
    def embedded(dimension: int) -> dict[str, list[Asset]]:
        features = (Feature("f", "video", {}, {NAME: dense(dimension=dimension)}),)
        return {"ads": [Asset(name, f"v{dimension}", "video", features=features) for name in ASSETS]}

    with closing(PgvectorDestination(schema, postgres_url)) as destination:
        for dimension in (8, 3):
            source = MemorySource(embedded(dimension))
            summary = asyncio.run(sync(source, [destination], name="media"))
            assert shown(sql) == [dimension]
        changed = summary.destinations["pgvector"].applied.vectors[Modality.VIDEO, NAME]
        assert (changed.updated, changed.inserted, changed.deleted) == (len(ASSETS), 0, 0)
        assert asyncio.run(verify(source, [destination], name="media", sample=None)).in_step


@pytest.mark.long
def test_who_comes_back_to_a_retired_dimension_begins_it_anew(destination: PgvectorDestination, sql: Sql) -> None:
    load(destination, dense(1, dimension=8))
    load(destination, dense(1, dimension=3))
    destination.build_indexes()
    load(destination, dense(2, dimension=8), ASSETS[:1])
    assert (shown(sql), states(sql)) == ([3], {8: "filling", 3: "current"})
    assert column(sql, "SELECT count(*) FROM video_model_v1_8") == [1]
    load(destination, dense(2, dimension=8), ASSETS[1:])
    destination.build_indexes()
    assert (shown(sql), states(sql)) == ([8], {8: "current", 3: "retired"})


@pytest.mark.long
def test_preparing_afterwards_changes_nothing(prepared: Prepared, sql: Sql, schema: str) -> None:
    destination = prepared({})
    load(destination, dense(dimension=8), ["a"])
    load(destination, dense(dimension=3), ["a"])
    destination.build_indexes()
    relations = "SELECT oid, xmin FROM pg_class WHERE relnamespace = %s::regnamespace"
    before = sql.execute(relations, [schema]).fetchall()
    planned = destination.planned(SchemaMapping())
    assert (planned.statements, planned.indexes) == ([], [])
    prepared({}).build_indexes()
    assert sql.execute(relations, [schema]).fetchall() == before
