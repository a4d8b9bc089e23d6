"""After a load that changed much the planner knows the tables as they are, whether autovacuum comes or not."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from vectorferry.destinations import PgvectorDestination

from ...builders import asset, batch, dense, feature
from ...waiting import wait_until
from .conftest import Prepared

Sql = psycopg.Connection[Any]
TABLES = {"assets", "video", "video__model_v1"}


def load(destination: PgvectorDestination, assets: int, value: float = 1) -> None:
    features = [feature("f", {"model-v1": dense(value)}, start_time=value) for _ in range(assets)]
    destination.apply(batch(*(asset(f"a{number}", one) for number, one in enumerate(features))))


def analyzed(sql: Sql, schema: str) -> dict[str, Any]:
    """By table, when it was analyzed last."""
    question = "SELECT relname, last_analyze FROM pg_stat_all_tables WHERE schemaname = %s AND last_analyze IS NOT NULL"
    return dict(sql.execute(question, [schema]).fetchall())


@pytest.fixture
def unattended(destination: PgvectorDestination, sql: Sql) -> PgvectorDestination:
    """A destination with a hundred features that were analyzed, and no autovacuum."""
    load(destination, 100)
    for table in TABLES:
        sql.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)".encode())
    destination.build_indexes()
    return destination


def test_a_first_load_ends_with_statistics_of_what_it_filled(
    unattended: PgvectorDestination, sql: Sql, schema: str
) -> None:
    del unattended
    assert analyzed(sql, schema).keys() == TABLES
    distinct = sql.execute(
        "SELECT n_distinct FROM pg_stats WHERE schemaname = %s AND attname = 'feature_key'", [schema]
    )
    assert distinct.fetchall() == [(-1,), (-1,)]


def test_nothing_is_analyzed_again_until_much_has_changed(
    unattended: PgvectorDestination, sql: Sql, schema: str
) -> None:
    before = analyzed(sql, schema)
    unattended.build_indexes()
    load(unattended, 50, value=2)
    unattended.build_indexes()
    assert analyzed(sql, schema) == before
    load(unattended, 90, value=3)
    unattended.build_indexes()
    after = analyzed(sql, schema)
    assert {table for table in after if after[table] > before[table]} == {"video", "video__model_v1"}


def test_removing_and_hiding_much_count_as_well(unattended: PgvectorDestination, sql: Sql, schema: str) -> None:
    before = analyzed(sql, schema)
    unattended.remove("ads", [f"a{number}" for number in range(40)])
    unattended.tombstone("ads", [f"a{number}" for number in range(40, 80)])
    unattended.build_indexes()
    after = analyzed(sql, schema)
    assert {table for table in after if after[table] > before[table]} == {"assets", "video"}


def test_what_a_process_left_that_ended_too_soon_is_analyzed_by_the_next(
    prepared: Prepared, sql: Sql, schema: str
) -> None:
    first = prepared({})
    load(first, 1)
    first.close()
    prepared({}).build_indexes()
    assert analyzed(sql, schema).keys() == TABLES


@pytest.mark.long
def test_much_that_such_a_process_changed_is_too(
    unattended: PgvectorDestination, prepared: Prepared, sql: Sql, schema: str
) -> None:
    before = analyzed(sql, schema)
    load(unattended, 90, value=2)
    unattended.close()
    changed = "SELECT n_mod_since_analyze >= 90 FROM pg_stat_all_tables WHERE relid = 'video'::regclass"
    wait_until(lambda: sql.execute(changed).fetchone() == (True,))
    prepared({}).build_indexes()
    assert analyzed(sql, schema)["video"] > before["video"]


@pytest.mark.long
def test_a_table_that_somebody_works_on_is_passed_over(
    unattended: PgvectorDestination, postgres_url: str, sql: Sql, schema: str
) -> None:
    before = analyzed(sql, schema)
    load(unattended, 90, value=2)
    with psycopg.connect(postgres_url) as other:
        other.execute(f"LOCK TABLE {schema}.video IN SHARE UPDATE EXCLUSIVE MODE".encode())  # as VACUUM does
        unattended.build_indexes()
        after = analyzed(sql, schema)
    assert {table for table in after if after[table] > before[table]} == {"video__model_v1"}
