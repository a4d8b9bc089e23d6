"""What is planned for a schema is what preparing it does, and looking changes nothing."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event

from vectorferry.connector.plugin import (
    ConfigurationError,
    Modality,
    Planned,
    Reason,
    Rejected,
    RelatedTable,
    SchemaMapping,
)
from vectorferry.connector.testing import MemorySource, sync
from vectorferry.destinations import PgvectorDestination

from ...builders import DIMENSION, asset, batch, dense, feature
from ...connector.worlds import assets
from ...examples import examples, family
from ...urls import as_user, in_database
from .conftest import Prepared, defined, message

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


def catalogue_of(sql: psycopg.Connection[Any], schema: str) -> list[Any]:
    """Every relation and function of the schema, with the transaction that wrote its entry last."""
    return sql.execute(
        "SELECT relname, c.xmin::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = %s "
        "UNION SELECT proname, p.xmin::text FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace "
        "WHERE nspname = %s ORDER BY 1",
        [schema, schema],
    ).fetchall()


def test_the_statements_for_a_new_database_are_those_of_prepare(postgres_url: str, schema: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {schema}")
    with closing(PgvectorDestination("media", in_database(postgres_url, schema))) as destination:
        told = destination.planned(SchemaMapping())
        assert (told.known("ads", ["a"]), list(told.asset_ids("ads")), told.averages) == ({}, [], None)
        with defined() as made:
            destination.prepare(SchemaMapping())
        assert message(made) == message(told.statements)
        assert told.statements[:2] == ["CREATE EXTENSION IF NOT EXISTS vector SCHEMA public", "CREATE SCHEMA media"]
        assert destination.planned(SchemaMapping()).statements == []


@pytest.mark.long
def test_the_statements_for_another_mapping_are_those_of_prepare(
    planned: Callable[[dict[str, Any]], Planned], prepared: Prepared, sql: psycopg.Connection[Any], schema: str
) -> None:
    """Rights and options of what is made anew among them, and whatever the defaults for new things are."""
    destination = prepared({"video": {"columns": {"gone": {"path": "gone"}}}})
    destination.apply(batch(asset("a", feature("f", gone="x"))))
    destination.apply(batch(asset("b", feature("f", {"model-v1": dense(1, dimension=3)}, gone="x"))))
    destination.build_indexes()
    sql.execute(
        f"CREATE ROLE {schema}; GRANT SELECT (feature_id, gone) ON video_model_v1 TO {schema}; "
        f"GRANT SELECT ON video_model_v1_3 TO {schema} WITH GRANT OPTION; "
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT SELECT ON TABLES TO {schema}; "
        "ALTER VIEW video_model_v1 SET (security_invoker)"
    )
    rights = (
        "SELECT relname, coalesce(relacl, acldefault('r', relowner))::text, reloptions FROM pg_class "
        "WHERE relnamespace = current_schema()::regnamespace AND relname LIKE 'video!_model%' ESCAPE '!'"
    )
    before, granted = catalogue_of(sql, schema), sql.execute(rights).fetchall()
    told = planned(MORE)
    assert catalogue_of(sql, schema) == before
    with defined() as made:
        prepared(MORE)
    assert message(made) == message(told.statements)
    assert sorted(sql.execute(rights).fetchall()) == sorted(granted)
    for begun in ("ALTER TABLE", "DROP INDEX", "DROP VIEW", "CREATE OR REPLACE VIEW", "CREATE OR REPLACE FUNCTION"):
        assert any(statement.startswith(begun) for statement in told.statements)
    assert any("model-v2 are made when the first one arrives" in note for note in told.notes)
    assert any("video__model_v1: its index is dropped" in note for note in told.notes)
    assert planned(MORE).statements == []


COLUMNS = st.dictionaries(
    st.sampled_from(["a", "b", "order"]),
    st.fixed_dictionaries(
        {"path": st.sampled_from(["x", "y"]), "type": st.sampled_from(["text", "integer", "jsonb", "timestamptz"])}
    ),
    max_size=2,
)
MAPPINGS = st.builds(
    lambda columns, metric, index: {
        "video": {"columns": columns, "vectors": {"model-v1": {"metric": metric, "index": index}}}
    },
    COLUMNS,
    st.sampled_from(["cosine", "l2"]),
    st.sampled_from(["hnsw", "none"]),
)


@settings(max_examples=examples(2, 60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mappings=st.lists(MAPPINGS, min_size=2, max_size=3), dimensions=st.sets(st.sampled_from([3, 8]), min_size=1))
def test_the_statements_from_any_mapping_to_any_other_are_those_of_prepare(
    postgres_url: str, mappings: list[dict[str, Any]], dimensions: set[int]
) -> None:
    schema = f"t_{uuid.uuid4().hex[:12]}"
    for tree in mappings:
        mapping = SchemaMapping.model_validate(tree)
        with closing(PgvectorDestination(schema, postgres_url)) as destination:
            told = destination.planned(mapping)
            with defined() as made:
                destination.prepare(mapping)
            assert message(made) == message(told.statements)
            assert destination.planned(mapping).statements == []
            for size in dimensions:
                one = feature("f", {"model-v1": dense(1, dimension=size)}, mapping=mapping)
                destination.apply(batch(asset(f"a{size}", one)))


def test_the_statements_of_a_whole_sync_are_those_of_the_plan(
    planned: Callable[[dict[str, Any]], Planned], postgres_url: str, schema: str
) -> None:
    """But for the indexes, which the plan names with their memory."""
    source = MemorySource({"c": assets(3)})
    changed: dict[str, Any] = {"video": {"columns": {"author": {"path": "metadata.author"}}}}
    for number, tree in enumerate(({}, changed, changed)):
        told, mapping = planned(tree), SchemaMapping.model_validate(tree)
        with closing(PgvectorDestination(schema, postgres_url)) as destination, defined() as found:
            asyncio.run(sync(source, [destination], name="media", mapping=mapping))
        made = [statement for statement in found if "CONCURRENTLY" not in statement]
        # What vectors arrive in the first one, nobody knows before.
        announced = message(told.statements)
        assert message(made).startswith(announced) if number == 0 else message(made) == announced
        assert bool(made) == (number < 2)


@pytest.mark.long
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


@pytest.mark.parametrize("book", family(["_sync_origins", "_sync_cursors", "_sync_quarantine", "_sync_related"]))
def test_a_book_that_was_dropped_is_planned_as_it_will_be(
    prepared: Prepared, planned: Callable[[dict[str, Any]], Planned], sql: psycopg.Connection[Any], book: str
) -> None:
    """Empty: a plan is not less than a sync, which makes it again."""
    prepared({}).apply(batch(asset("a", feature("f"))))
    sql.execute(f"DROP TABLE {book}")
    told = planned({})
    assert any(book in statement for statement in told.statements)
    assert (told.cursor("ads"), told.origin("ads")) == (None, None)
    assert (list(told.asset_ids("ads")), told.collections()) == (["a"], ["ads"])
    assert told.related_hashes(RelatedTable(name="entities", key="id", columns={"id": "text"})) == {}


@pytest.mark.long
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
    family(
        [
            ({"video": {"table": "clips"}}, "already has its video features in the table video"),
            (
                {"video": {"columns": {"text": {"path": "text", "type": "bigint"}}}},
                "text cannot become bigint: feature f of",
            ),
            ({"video": {"vectors": {"model-v1": {"storage": "halfvec"}}}}, "already stores vector"),
        ]
    ),
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
    assert told.statements[:2] == ["CREATE EXTENSION IF NOT EXISTS vector SCHEMA public", "CREATE SCHEMA media"]


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
        assert (told.refusal or "").endswith(f'run: GRANT "postgres" TO "{schema}";')


def test_an_embedded_server_that_has_never_run_is_not_started(tmp_path: Path, schema: str) -> None:
    with closing(PgvectorDestination(schema, directory=tmp_path / "data")) as destination:
        told = destination.planned(SchemaMapping())
    assert not (tmp_path / "data").exists()
    assert told.statements[:2] == ["CREATE EXTENSION IF NOT EXISTS vector SCHEMA public", f"CREATE SCHEMA {schema}"]
    assert (told.known("ads", ["a"]), list(told.asset_ids("ads"))) == ({}, [])


def test_a_table_of_vectors_is_counted_once(prepared: Prepared) -> None:
    destination = prepared({})
    destination.apply(batch(asset("a", feature("f1"))))
    destination.build_indexes()
    statements: list[str] = []

    def remember(*execution: Any) -> None:
        statements.append(execution[2])

    event.listen(Engine, "before_cursor_execute", remember)
    try:
        destination.planned(SchemaMapping())
    finally:
        event.remove(Engine, "before_cursor_execute", remember)
    assert sum("count(" in statement and "video__model_v1" in statement for statement in statements) == 1


def test_each_named_vector_comes_with_what_its_index_takes(prepared: Prepared) -> None:
    mapping = {"video": {"vectors": {"model-v1": {"index": "ivfflat", "quantization": "halfvec"}}}}
    destination = prepared(mapping)
    destination.apply(batch(asset("a", feature("f1"))))
    (advice,) = destination.planned(SchemaMapping.model_validate(mapping)).index_advice
    assert (advice.table, advice.rows, advice.dimension) == ("video__model_v1", 1, DIMENSION)
    assert (advice.index, advice.index_bytes, advice.fine) == ("ivfflat, halfvec", 8192, False)
    assert advice.advice.endswith("index: hnsw")
    (advice,) = destination.planned(SchemaMapping()).index_advice
    assert (advice.index, advice.fine, advice.advice) == ("hnsw", True, "fine")
