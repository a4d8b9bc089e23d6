"""Indexes come after the load, once, and a broken build is repaired."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.examples import family
from vectorferry import parse_settings, run_sync
from vectorferry.connector.plugin import Modality, SchemaMapping, Vector
from vectorferry.connector.sandbox import GeneratedCatalogue, SandboxSettings, running_sandbox
from vectorferry.destinations import PgvectorDestination
from vectorferry.destinations._postgres import driver_of
from vectorferry.destinations.pgvector import _indexes
from vectorferry.destinations.pgvector._indexes import only_builder

from ...builders import DIMENSION, asset, batch, dense, feature, sparse
from ...urls import as_user
from .conftest import Prepared

Sql = psycopg.Connection[Any]

MANY_LISTS = {"video": {"vectors": {"model-v1": {"index": "ivfflat", "lists": 2_000}}}}


def indexes(sql: Sql, schema: str) -> dict[str, str]:
    rows = sql.execute(
        "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = %s AND indexdef LIKE '%%hnsw%%'", [schema]
    )
    return {row[0]: row[1] for row in rows}


def test_the_index_is_built_after_the_load_and_only_once(
    destination: PgvectorDestination, sql: Sql, schema: str
) -> None:
    destination.apply(batch(asset("a", feature("f1"))))
    assert indexes(sql, schema) == {}
    (build,) = destination.build_indexes()
    assert (build.table, build.rows) == ("video__model_v1", 1)
    assert destination.build_indexes() == []
    assert "vector_cosine_ops" in indexes(sql, schema)["video__model_v1_hnsw"]


def test_every_storage_gets_the_operator_class_that_fits(
    destination: PgvectorDestination, sql: Sql, schema: str
) -> None:
    vectors: dict[str, Vector] = {
        "large": dense(dimension=2_500),
        "words": sparse({3: 1.0}),
        "huge": dense(dimension=5_000),
    }
    destination.apply(batch(asset("a", feature("f1", vectors))))
    destination.build_indexes()
    built = indexes(sql, schema)
    assert "halfvec_cosine_ops" in built["video__large_hnsw"]
    assert "sparsevec_cosine_ops" in built["video__words_hnsw"]
    assert set(built) == {"video__large_hnsw", "video__words_hnsw"}


def test_what_finds_rows_by_their_key_comes_after_the_load_too(
    destination: PgvectorDestination, sql: Sql, schema: str
) -> None:
    def lookups() -> set[str]:
        built = "SELECT indexdef FROM pg_indexes WHERE schemaname = %s AND indexdef NOT LIKE '%%hnsw%%'"
        definitions = {str(row[0]).partition(f"{schema}.")[2] for row in sql.execute(built, [schema])}
        return {
            each for each in definitions if each.endswith(("(feature_key)", "(feature_id)")) and "_sync" not in each
        }

    destination.apply(batch(asset("a", feature("f1"))))
    assert lookups() == set()
    destination.build_indexes()
    found = {
        "video USING btree (feature_id)",
        "video USING btree (feature_key)",
        "video__model_v1 USING btree (feature_key)",
    }
    assert lookups() == found
    sql.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = '_sync_video_feature_key'::regclass")
    destination.build_indexes()
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = '_sync_video_feature_key'::regclass"
    assert sql.execute(valid).fetchone() == (True,)
    assert lookups() == found


def test_an_index_can_be_left_out(prepared: Prepared, sql: Sql, schema: str) -> None:
    destination = prepared({"video": {"vectors": {"model-v1": {"index": "none"}}}})
    destination.apply(batch(asset("a", feature("f1"))))
    assert destination.build_indexes() == []
    assert indexes(sql, schema) == {}


def test_an_index_that_was_left_out_can_come_later(prepared: Prepared, sql: Sql, schema: str) -> None:
    prepared({"video": {"vectors": {"model-v1": {"index": "none"}}}}).apply(batch(asset("a", feature("f1"))))
    assert [build.index for build in prepared({}).build_indexes()] == ["video__model_v1_hnsw"]
    assert set(indexes(sql, schema)) == {"video__model_v1_hnsw"}


def test_what_another_process_is_building_is_left_to_it(
    destination: PgvectorDestination, prepared: Prepared, sql: Sql, schema: str
) -> None:
    destination.apply(batch(asset("a", feature("f1"))))
    builder = prepared({})._prepared()
    index = builder.catalogue[Modality.VIDEO, "model-v1", DIMENSION].index
    with only_builder(builder.database, schema, index) as alone:
        assert alone
        assert destination.build_indexes() == []
    assert len(destination.build_indexes()) == 1
    assert set(indexes(sql, schema)) == {"video__model_v1_hnsw"}


def test_a_build_leaves_no_setting_on_its_connection(destination: PgvectorDestination) -> None:
    destination.apply(batch(asset("a", feature("f1"))))
    destination.build_indexes()
    with destination._server.database.plain_transaction() as connection:
        driver = driver_of(connection)
        driver.rollback()  # a transaction has its own
        changed = driver.execute("SELECT name FROM pg_settings WHERE source = 'session'")
        assert changed.fetchall() == []


def test_configured_parameters_reach_the_index(prepared: Prepared, sql: Sql, schema: str) -> None:
    destination = prepared({"video": {"vectors": {"model-v1": {"m": 8, "ef_construction": 32}}}})
    destination.apply(batch(asset("a", feature("f1"))))
    destination.build_indexes()
    assert "m='8'" in indexes(sql, schema)["video__model_v1_hnsw"]


@pytest.mark.long
def test_an_index_becomes_another_one(prepared: Prepared, sql: Sql, schema: str) -> None:
    def defined(mapping: dict[str, Any]) -> list[str]:
        destination = prepared({"video": {"vectors": {"model-v1": mapping}}})
        destination.build_indexes()
        rows = sql.execute(
            "SELECT indexdef FROM pg_indexes WHERE schemaname = %s AND tablename = 'video__model_v1' "
            "AND indexdef NOT LIKE '%%btree%%'",
            [schema],
        )
        return [str(row[0]).partition(" USING ")[2] for row in rows]

    prepared({}).apply(batch(asset("a", feature("f1"))))
    (graph,) = defined({})
    assert graph.startswith("hnsw (embedding ")
    (halves,) = defined({"quantization": "halfvec"})
    assert "halfvec_cosine_ops" in halves
    (lists,) = defined({"index": "ivfflat"})
    assert lists.startswith("ivfflat (embedding ")
    assert "lists='1'" in lists
    assert defined({"index": "none"}) == []
    assert defined({}) == [graph]
    assert sql.execute("SELECT count(*) FROM search_video_model_v1(like_feature => 'f1')").fetchone() == (0,)


def test_lists_that_somebody_chose_are_built_in_the_memory_that_they_need(schema: str, postgres_url: str) -> None:
    """pgvector refuses to build them in less."""
    destination = PgvectorDestination(schema, postgres_url, index_memory_mb=1)
    destination.prepare(SchemaMapping.model_validate(MANY_LISTS))
    destination.apply(batch(asset("a", feature("f1"))))
    (build,) = destination.build_indexes()
    destination.close()
    assert (build.method, build.index) == ("ivfflat", "video__model_v1_ivf")


def test_a_broken_build_is_done_again(destination: PgvectorDestination, sql: Sql, schema: str) -> None:
    destination.apply(batch(asset("a", feature("f1"))))
    destination.build_indexes()
    sql.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'video__model_v1_hnsw'::regclass")
    (build,) = destination.build_indexes()
    valid = sql.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = 'video__model_v1_hnsw'::regclass")
    assert build.index == "video__model_v1_hnsw"
    assert valid.fetchone() == (True,)
    assert "video__model_v1_hnsw" in indexes(sql, schema)


UNUSABLE = (
    "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n "
    "ON n.oid = c.relnamespace WHERE n.nspname = %s AND NOT i.indisvalid"
)


@pytest.mark.parametrize("has_read_it", family([False, True]), ids=["elsewhere", "this table"])
@pytest.mark.long
def test_a_build_that_a_stranger_holds_up_is_left_to_the_next_run(
    postgres_url: str, sql: Sql, schema: str, monkeypatch: pytest.MonkeyPatch, has_read_it: bool
) -> None:
    monkeypatch.setattr(_indexes, "_PATIENCE", 0.5)
    stranger = f"{schema}_stranger"
    sql.execute(f"CREATE ROLE {stranger} LOGIN")
    catalogue = GeneratedCatalogue(assets=3, features_per_asset=2, dimension=8)
    with running_sandbox(SandboxSettings(generate=catalogue)) as sandbox:
        settings = parse_settings(
            {
                "name": "media",
                "source": {"type": "mixpeek", "base_url": sandbox.url, "api_key": sandbox.api_key},
                "destinations": [{"type": "pgvector", "url": postgres_url, "schema": schema}],
            },
            "test",
        )
        with psycopg.connect(as_user(postgres_url, stranger)) as reader:
            if has_read_it:
                run_sync(settings)
                sql.execute(f"GRANT USAGE ON SCHEMA {schema} TO {stranger}")
                sql.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {stranger}")
                ((index, definition),) = indexes(sql, schema).items()
                vector_table = definition.partition(" ON ")[2].partition(" ")[0]
                sql.execute(f"DROP INDEX {index}")
            reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            reader.execute(f"SELECT count(*) FROM {vector_table}" if has_read_it else "SELECT 1")
            held_up = run_sync(settings).destinations["pgvector"]
            unusable, pid = sql.execute(UNUSABLE, [schema]).fetchall(), reader.info.backend_pid
        built = run_sync(settings).destinations["pgvector"]
    (note,) = held_up.notes
    assert "was not built" in note
    assert f"role {stranger}, process {pid} of the server" in note
    assert (held_up.error, held_up.indexes) == (None, [])
    assert (built.notes, len(built.indexes)) == ([], 1)
    assert has_read_it or unusable == []
    assert sql.execute(UNUSABLE, [schema]).fetchall() == []
    sql.execute(f"DROP OWNED BY {stranger}; DROP ROLE {stranger}")


HNSW = "video__model_v1_hnsw", "video__model_v1 USING hnsw"
REPLACED = [
    (HNSW[0], f"{HNSW[1]} (embedding {{0}}.vector_l2_ops)"),
    ("video__model_v1_key", "video__model_v1 (asset_id)"),
    (HNSW[0], f"{HNSW[1]} (embedding {{0}}.vector_cosine_ops) WHERE asset_id > 'b'"),
    (HNSW[0], f"{HNSW[1]} ((embedding::{{0}}.halfvec(8)) {{0}}.halfvec_cosine_ops)"),
    (HNSW[0], "video__model_v1 USING ivfflat (embedding {0}.vector_cosine_ops) WITH (lists = 1)"),
    (HNSW[0], "video__model_v1 (asset_id)"),
    (HNSW[0], "assets (asset_id)"),
    ("_sync_video_feature_id", "video USING hash (feature_id)"),
    (None, "video (description)"),
]
"""Names of indexes of ours (None: the one of words), and what somebody makes under them."""


@pytest.mark.parametrize(("name", "other"), family(REPLACED, (0, 1)))
def test_another_index_under_the_name_of_ours_is_replaced(
    prepared: Prepared, sql: Sql, schema: str, name: str | None, other: str
) -> None:
    """No search would use it, and each would compare all vectors."""
    words = {"video": {"columns": {"description": {"path": "description", "full_text": "english"}}}}
    destination = prepared(words)
    destination.apply(batch(asset("a", feature("f1"))))
    destination.build_indexes()
    before = definitions(sql, schema)
    extension = sql.execute("SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'vector'").fetchone()
    name = name or next(name for name in before if name.startswith("_sync_by_"))
    sql.execute(f"DROP INDEX {name}; CREATE INDEX {name} ON {other.format(*extension or ())}".encode())
    assert definitions(sql, schema) != before
    destination.build_indexes()
    assert definitions(sql, schema) == before
    assert destination.build_indexes() == []


@pytest.mark.long
def test_an_index_that_is_tuned_otherwise_stays(destination: PgvectorDestination, sql: Sql, schema: str) -> None:
    destination.apply(batch(asset("a", feature("f1"))))
    destination.build_indexes()
    sql.execute("ALTER INDEX video__model_v1_hnsw SET (m = 24, ef_construction = 100)")
    tuned = definitions(sql, schema)
    assert destination.build_indexes() == []
    assert definitions(sql, schema) == tuned


def definitions(sql: Sql, schema: str) -> dict[str, str]:
    rows = sql.execute("SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = %s", [schema])
    return dict(rows)
