"""Views and functions that somebody has replaced by others of their name: searches would show something else."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import psycopg
import pytest

from tests.examples import family
from vectorferry.connector.plugin import SchemaMapping
from vectorferry.destinations import PgvectorDestination

from ...builders import asset, batch, dense, feature
from ...tables import layers
from ...urls import as_user
from .conftest import Prepared

Sql = psycopg.Connection[Any]

FEWER = """DO $$ BEGIN EXECUTE
    'CREATE OR REPLACE VIEW {0} AS ' || rtrim(pg_get_viewdef('{0}'::regclass), ';') || ' AND false'; END $$"""
NOTHING = """DO $$ BEGIN EXECUTE replace(
    pg_get_functiondef((SELECT oid FROM pg_proc WHERE proname = '{0}' AND pronamespace = '{1}'::regnamespace)),
    'BEGIN', 'BEGIN RETURN;'); END $$"""
OTHERS = [
    (FEWER, "video_model_v1", "video_model_v1: the view, or its function search_video_model_v1, is not as it was made"),
    (NOTHING, "search_video_model_v1", "video_model_v1: the view, or its function search_video_model_v1, is not as"),
    (NOTHING, "_sync_search", "_sync_search: somebody has replaced this function by another one of its name"),
    (FEWER, "video_model_v1_2", "video_model_v1_2: the view, or its function search_video_model_v1_2, is not as"),
    (NOTHING, "search_video_model_v1_2", "video_model_v1_2: the view, or its function"),
]


@pytest.mark.parametrize(("how", "name", "note"), family(OTHERS, (0, 2)))
def test_what_shows_vectors_is_made_anew_where_somebody_has_replaced_it(
    prepared: Prepared, sql: Sql, schema: str, caplog: pytest.LogCaptureFixture, how: str, name: str, note: str
) -> None:
    destination = prepared({})
    destination.apply(batch(asset("a", feature("f1")), asset("b", feature("f2", {"model-v1": dense(dimension=2)}))))
    prepared({})
    before = layers(sql, schema)
    sql.execute("GRANT SELECT ON video_model_v1 TO pg_monitor")
    sql.execute(how.format(name, schema).encode())
    assert layers(sql, schema) != before
    caplog.clear()
    prepared({})
    assert layers(sql, schema) == before
    assert note in caplog.text
    assert sql.execute("SELECT has_table_privilege('pg_monitor', 'video_model_v1', 'SELECT')").fetchone() == (True,)
    caplog.clear()
    written = "SELECT max(xmin::text::bigint) FROM _sync_vectors"
    once = sql.execute(written).fetchone()
    prepared({})
    assert (sql.execute(written).fetchone(), caplog.text) == (once, "")


@pytest.mark.long
def test_a_plan_says_so_before(prepared: Prepared, postgres_url: str, sql: Sql, schema: str) -> None:
    prepared({}).apply(batch(asset("a", feature("f1"))))
    sql.execute(FEWER.format("video_model_v1").encode())
    with closing(PgvectorDestination(schema, postgres_url)) as destination:
        assert "video_model_v1: the view" in "\n".join(destination.planned(SchemaMapping()).notes)


@pytest.mark.long
def test_what_belongs_to_somebody_else_by_now_stays_and_is_told(
    postgres_url: str, sql: Sql, schema: str, caplog: pytest.LogCaptureFixture
) -> None:
    sql.execute(f"CREATE ROLE {schema}_loader LOGIN; CREATE SCHEMA {schema} AUTHORIZATION {schema}_loader".encode())
    loader = as_user(postgres_url, f"{schema}_loader")
    with closing(PgvectorDestination(schema, loader)) as destination:
        destination.prepare(SchemaMapping())
        destination.apply(batch(asset("a", feature("f1"))))
        for name, how, kind in (("video_model_v1", FEWER, "VIEW"), ("_sync_search", NOTHING, "FUNCTION")):
            sql.execute(how.format(name, schema).encode())
            sql.execute(f"ALTER {kind} {name} OWNER TO {sql.info.user}".encode())
        others = layers(sql, schema)
    with closing(PgvectorDestination(schema, loader)) as destination:
        destination.prepare(SchemaMapping())
    assert layers(sql, schema) == others
    stays = f"Since it belongs to {sql.info.user}, it stays as it is: have it dropped, and sync again"
    assert caplog.text.count(stays) == 2


@pytest.mark.long
def test_what_an_earlier_version_made_is_made_anew_and_nothing_is_said(
    prepared: Prepared, sql: Sql, caplog: pytest.LogCaptureFixture
) -> None:
    """It kept no digest of how Postgres words it."""
    prepared({}).apply(batch(asset("a", feature("f1"))))
    sql.execute("UPDATE _sync_vectors SET sql_digest = split_part(sql_digest, '.', 1)")
    sql.execute(FEWER.format("video_model_v1").encode())
    prepared({})
    assert sql.execute("SELECT count(*) FROM video_model_v1").fetchone() == (1,)
    assert caplog.text == ""


MORE = """DO $$ BEGIN EXECUTE 'CREATE OR REPLACE VIEW {0} AS SELECT q.*, 1 AS bonus FROM ('
    || rtrim(pg_get_viewdef('{0}'::regclass), ';') || ') q'; END $$"""
BUILT_UPON = [
    (f"{MORE}; CREATE VIEW theirs AS SELECT bonus FROM {{0}}", "view {1}.theirs depends on it"),
    (f"{MORE}; CREATE FUNCTION f() RETURNS SETOF {{0}} LANGUAGE sql AS 'SELECT * FROM {{0}}'", "f() depends on it"),
]


@pytest.mark.parametrize(("how", "why"), family(BUILT_UPON, (0,)))
def test_what_others_have_built_upon_stays_and_is_told(
    prepared: Prepared, sql: Sql, schema: str, caplog: pytest.LogCaptureFixture, how: str, why: str
) -> None:
    """What a sync writes is not kept back for it."""
    prepared({}).apply(batch(asset("a", feature("f1"))))
    sql.execute(how.format("video_model_v1").encode())
    before = layers(sql, schema)
    for _ in range(2):
        caplog.clear()
        prepared({}).apply(batch(asset("b", feature("f2"))))
        assert f"{why.format('', schema)}, it stays as it is: have it dropped, and sync again" in caplog.text
        assert layers(sql, schema) == before


def test_nobody_waits_for_a_table_that_is_being_rewritten(
    prepared: Prepared, postgres_url: str, sql: Sql, schema: str
) -> None:
    """Postgres locks what it words."""
    prepared({}).apply(batch(asset("a", feature("f1"))))
    with sql.transaction(), closing(PgvectorDestination(schema, impatient(postgres_url))) as destination:
        sql.execute("LOCK TABLE video__model_v1 IN ACCESS EXCLUSIVE MODE")
        destination.prepare(SchemaMapping())


def impatient(url: str) -> str:
    """With which whoever waits for a lock fails."""
    return f"{url}&options=-c%20lock_timeout%3D1ms"
