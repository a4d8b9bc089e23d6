"""What is planned for a schema is what preparing it does, and looking changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, event

from vectorferry.connector.plugin import ConfigurationError, Modality, Planned, Reason, Rejected, SchemaMapping
from vectorferry.destinations import PgvectorDestination

from ...builders import asset, batch, dense, feature
from ...urls import as_user, in_database
from .conftest import Prepared

DEFINING = ("CREATE ", "ALTER ", "DROP ", "COMMENT ")
MORE: dict[str, Any] = {
    "video": {
        "columns": {"author": {"path": "metadata.author"}, "takes": {"path": "takes", "type": "bigint"}},
        "vectors": {"model-v1": {"metric": "l2"}, "model-v2": {}},
    }
}


@pytest.fixture
def planned(postgres_url: str, schema: str) -> Iterator[Callable[[dict[str, Any]], Planned]]:
    """Plans for the test's schema under a mapping."""
    with closing(PgvectorDestination(schema, postgres_url)) as destination:
        yield lambda mapping: destination.planned(SchemaMapping.model_validate(mapping))


@contextmanager
def defined() -> Iterator[list[str]]:
    """The statements meanwhile that define something."""
    found: list[str] = []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        if statement.strip().startswith(DEFINING):
            found.append(statement.strip())

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def catalogue_of(sql: psycopg.Connection[Any], schema: str) -> list[Any]:
    """Every relation and function of the schema, with the transaction that wrote its entry last."""
    return sql.execute(
        "SELECT relname, c.xmin::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = %s "
        "UNION SELECT proname, p.xmin::text FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace "
        "WHERE nspname = %s ORDER BY 1",
        [schema, schema],
    ).fetchall()


def test_the_statements_for_a_new_schema_are_those_of_prepare(
    planned: Callable[[dict[str, Any]], Planned], prepared: Prepared, sql: psycopg.Connection[Any], schema: str
) -> None:
    told = planned({})
    assert catalogue_of(sql, schema) == []
    assert (told.known("ads", ["a"]), list(told.asset_ids("ads")), told.averages) == ({}, [], None)
    with defined() as made:
        prepared({})
    assert [each for each in made if "EXTENSION" not in each] == [s for s in told.statements if "EXTENSION" not in s]
    assert planned({}).statements == []


def test_the_statements_for_another_mapping_are_those_of_prepare(
    planned: Callable[[dict[str, Any]], Planned], prepared: Prepared, sql: psycopg.Connection[Any], schema: str
) -> None:
    destination = prepared({})
    destination.apply(batch(asset("a", feature("f"))))
    destination.build_indexes()
    sql.execute(f'ALTER TABLE "{schema}"._sync_ledger DROP COLUMN IF EXISTS contents')  # as an earlier version left it
    before = catalogue_of(sql, schema)
    told = planned(MORE)
    assert catalogue_of(sql, schema) == before
    with defined() as made:
        prepared(MORE)
    assert made == told.statements
    assert len(made) >= 3
    assert any("model-v2 are made when the first one arrives" in note for note in told.notes)
    assert any("video__model_v1: its index is dropped" in note for note in told.notes)


def test_assets_that_a_new_layout_has_read_again_are_known_without_a_fingerprint(
    planned: Callable[[dict[str, Any]], Planned], prepared: Prepared
) -> None:
    aside = Rejected("a", Reason.DIMENSION, "another dimension", "g", "video")
    prepared({}).apply(batch(asset("a", feature("f"), rejected=[aside]), asset("b", feature("f"))))
    assert {name: each.fingerprint for name, each in planned({}).known("ads", ["a", "b", "c"]).items()} == {
        "a": "1",
        "b": "1",
    }
    told = planned(MORE)
    assert {name: each.fingerprint for name, each in told.known("ads", ["a", "b", "c"]).items()} == {"a": "", "b": "1"}
    assert sorted(told.asset_ids("ads")) == ["a", "b"]
    assert prepared(MORE).known("ads", ["a", "b", "c"]) == told.known("ads", ["a", "b", "c"])


def test_an_index_is_due_until_it_is_built_and_again_for_another_metric(
    planned: Callable[[dict[str, Any]], Planned], prepared: Prepared
) -> None:
    destination = prepared({})
    destination.apply(batch(asset("a", feature("f1"), feature("f2"))))
    (due,) = planned({}).indexes
    assert (due.table, due.index, due.method, due.rows) == ("video__model_v1", "video__model_v1_hnsw", "hnsw", 2)
    assert due.memory_bytes >= due.graph_bytes > 0
    (built,) = destination.build_indexes()
    assert (built.index, built.rows) == (due.index, due.rows)
    assert planned({}).indexes == []
    assert [each.index for each in planned(MORE).indexes] == [due.index]
    assert planned({"video": {"vectors": {"model-v1": {"index": "none"}}}}).indexes == []


def test_averages_are_counted(planned: Callable[[dict[str, Any]], Planned], prepared: Prepared) -> None:
    two = feature("f1", {"model-v1": dense(1), "other": dense(2)})
    prepared({}).apply(batch(asset("a", two, feature("f2")), asset("b", feature("f", {}, modality=Modality.TEXT))))
    averages = planned({}).averages
    assert averages is not None
    assert (averages.features_per_asset, averages.rows_per_feature) == (1.5, 2)
    assert averages.bytes_per_feature > 0


@pytest.mark.parametrize(
    ("mapping", "told"),
    [
        ({"video": {"table": "clips"}}, "already has its video features in the table video"),
        (
            {"video": {"columns": {"text": {"path": "text", "type": "bigint"}}}},
            "text cannot become bigint: feature f of",
        ),
        ({"video": {"vectors": {"model-v1": {"storage": "halfvec"}}}}, "already stores vector"),
    ],
)
def test_a_mapping_that_cannot_be_applied_is_refused_as_prepare_refuses_it(
    planned: Callable[[dict[str, Any]], Planned], prepared: Prepared, mapping: dict[str, Any], told: str
) -> None:
    prepared({}).apply(batch(asset("a", feature("f", text="soon"))))
    with pytest.raises(ConfigurationError, match=told):
        planned(mapping)
    with pytest.raises(ConfigurationError, match=told):
        prepared(mapping)


def test_a_database_without_pgvector_stays_without_it(postgres_url: str, schema: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {schema}")
    url = in_database(postgres_url, schema)
    with closing(PgvectorDestination("media", url)) as destination:
        told = destination.planned(SchemaMapping())
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT 1 FROM pg_extension WHERE extname = 'vector'").fetchall() == []
    assert told.statements[:2] == ["CREATE EXTENSION IF NOT EXISTS vector", "CREATE SCHEMA media"]


def test_one_who_may_only_read_can_plan(
    postgres_url: str, schema: str, sql: psycopg.Connection[Any], prepared: Prepared
) -> None:
    prepared({}).apply(batch(asset("a", feature("f"))))
    sql.execute(
        f"CREATE ROLE {schema} LOGIN; GRANT USAGE ON SCHEMA {schema} TO {schema}; "
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {schema}"
    )
    with closing(PgvectorDestination(schema, as_user(postgres_url, schema))) as destination:
        told = destination.planned(SchemaMapping())
        assert set(told.known("ads", ["a"])) == {"a"}
        assert told.statements == []
        assert f'GRANT USAGE, CREATE ON SCHEMA "{schema}" TO "{schema}";' in (told.refusal or "")


def test_an_embedded_server_that_has_never_run_is_not_started(tmp_path: Path, schema: str) -> None:
    with closing(PgvectorDestination(schema, directory=tmp_path / "data")) as destination:
        told = destination.planned(SchemaMapping())
    assert not (tmp_path / "data").exists()
    assert told.statements[:2] == ["CREATE EXTENSION IF NOT EXISTS vector", f"CREATE SCHEMA {schema}"]
    assert (told.known("ads", ["a"]), list(told.asset_ids("ads"))) == ({}, [])
