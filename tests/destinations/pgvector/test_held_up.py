"""Somebody who may read goes home with a transaction open: what has to change a table gives up, and says who it is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import psycopg
import pytest

from tests.examples import family
from vectorferry.connector.plugin import LockedError, RelatedTable, SchemaMapping
from vectorferry.destinations import PgvectorDestination
from vectorferry.destinations._postgres import _ddl

from ...builders import asset, batch, dense, feature
from ...urls import as_user
from ...waiting import wait_until
from .conftest import Prepared
from .test_related import PEOPLE, person

Sql = psycopg.Connection[Any]
ADDED = {"video": {"columns": {"author": {"path": "metadata.author", "type": "text"}}}}
BEFORE = {"video": {"columns": {"title": {"path": "metadata.title", "type": "text"}}}}
WAITING = (
    "SELECT FROM pg_locks l JOIN pg_class c ON c.oid = l.relation "
    "WHERE NOT granted AND relnamespace = CAST(%s AS regnamespace)"
)


def load(destination: PgvectorDestination, mapping: dict[str, Any], dimension: int = 3) -> None:
    vectors = {"model-v1": dense(dimension=dimension)}
    destination.apply(
        batch(
            asset("a", feature("f", vectors, mapping=SchemaMapping.model_validate(mapping)), fingerprint=str(dimension))
        )
    )


@pytest.fixture
def reader(postgres_url: str, prepared: Prepared, sql: Sql, schema: str) -> Iterator[Sql]:
    """A role that may only read, in a transaction in which it has read everything."""
    destination = prepared(BEFORE)
    load(destination, BEFORE)
    destination.replace_related(PEOPLE, [person("a")], complete=True)
    role = f"{schema}_reader"
    sql.execute(f"CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA {schema} TO {role}")
    sql.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}")
    with psycopg.connect(as_user(postgres_url, role)) as connection:
        for name in ("video", "video_model_v1", "people"):
            connection.execute(f"SELECT FROM {schema}.{name}".encode())
        yield connection
    sql.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def prepare_added(destination: PgvectorDestination) -> None:
    destination.prepare(SchemaMapping.model_validate({"video": {"columns": {**columns(ADDED), **columns(BEFORE)}}}))


def columns(mapping: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = mapping["video"]["columns"]
    return found


def prepare_dropped(destination: PgvectorDestination) -> None:
    destination.prepare(SchemaMapping())


def meet_new_dimension(destination: PgvectorDestination) -> None:
    destination.prepare(SchemaMapping.model_validate(BEFORE))
    load(destination, BEFORE, dimension=4)


def extend_related(destination: PgvectorDestination) -> None:
    destination.prepare(SchemaMapping.model_validate(BEFORE))
    wider = RelatedTable(name="people", key="id", columns={**PEOPLE.columns, "age": "integer"})
    destination.replace_related(wider, [], complete=True)


@pytest.mark.parametrize("change", family([prepare_added, prepare_dropped, meet_new_dimension, extend_related]))
def test_a_change_gives_up_and_names_the_reader(
    reader: Sql,
    postgres_url: str,
    schema: str,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[PgvectorDestination], None],
) -> None:
    monkeypatch.setattr(_ddl, "_PATIENCE", 0.0)
    pid = reader.info.backend_pid
    with closing(PgvectorDestination(schema, postgres_url)) as destination:
        with pytest.raises(LockedError, match=rf"role {schema}_reader, process {pid} of the server") as refused:
            change(destination)
        assert "End that transaction" in str(refused.value)
        reader.rollback()
        change(destination)


def test_whoever_asks_meanwhile_does_not_wait_for_the_one_who_stays(
    reader: Sql, postgres_url: str, schema: str, sql: Sql
) -> None:
    """While a change waits for one reader, all others would queue behind it."""
    with closing(PgvectorDestination(schema, postgres_url)) as destination:
        changing = threading.Thread(target=prepare_added, args=(destination,))
        changing.start()
        wait_until(lambda: sql.execute(WAITING, [schema]).fetchall())
        assert sql.execute("SELECT feature_id FROM video").fetchall() == [("f",)]
        reader.rollback()
        changing.join()
    assert sql.execute("SELECT author FROM video").fetchall() == [(None,)]


@pytest.mark.parametrize(
    "mapping", family([{"columns": columns(BEFORE) | columns(ADDED)}, {"vectors": {"model-v1": {"metric": "l2"}}}])
)
def test_a_change_and_a_search_do_not_wait_for_each_other(
    postgres_url: str,
    schema: str,
    prepared: Prepared,
    sql: Sql,
    monkeypatch: pytest.MonkeyPatch,
    mapping: dict[str, Any],
) -> None:
    """A search has locked the view when it comes to the tables; where searches never end, a change never would."""
    monkeypatch.setattr(_ddl, "_LOCK_TIMEOUT", psycopg.sql.Literal("10min"))
    destination = prepared(BEFORE)
    load(destination, BEFORE)
    destination.build_indexes()
    with (
        psycopg.connect(postgres_url) as earlier,
        psycopg.connect(postgres_url) as later,
        closing(PgvectorDestination(schema, postgres_url)) as changing,
        ThreadPoolExecutor(2) as threads,
    ):
        for table in ("video", "video__model_v1"):
            earlier.execute(f"SELECT FROM {schema}.{table}".encode())
        change = threads.submit(
            changing.prepare, SchemaMapping.model_validate({"video": {"columns": columns(BEFORE)} | mapping})
        )
        wait_until(lambda: len(sql.execute(WAITING, [schema]).fetchall()) == 1)
        search = threads.submit(later.execute, f"SELECT feature_id FROM {schema}.video_model_v1".encode())
        wait_until(lambda: len(sql.execute(WAITING, [schema]).fetchall()) == 2)
        earlier.rollback()
        change.result()
        assert search.result().fetchall() == [("f",)]


def test_a_lock_that_somebody_who_may_write_keeps_is_given_up_on(postgres_url: str, schema: str) -> None:
    impatient = f"{postgres_url}{'&' if '?' in postgres_url else '?'}options=-c%20lock_timeout%3D50ms"
    with (
        closing(PgvectorDestination(schema, impatient)) as destination,
        psycopg.connect(postgres_url, application_name="a vacuum") as other,
    ):
        destination.prepare(SchemaMapping())
        load(destination, {})
        other.execute(f"LOCK TABLE {schema}.video".encode())
        named = rf"a vacuum, since .*, process {other.info.backend_pid} of the server"
        with pytest.raises(LockedError, match=named):
            load(destination, {}, dimension=3)
        with pytest.raises(LockedError, match=named):
            destination.status()
        other.rollback()
        load(destination, {})
