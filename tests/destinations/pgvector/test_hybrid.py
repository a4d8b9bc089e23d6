"""Words and vectors in one search, and the indexes that the mapping asks for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from vectorferry.connector.plugin import ConfigurationError, SchemaMapping
from vectorferry.destinations import PgvectorDestination

from ...builders import asset, batch, dense, feature
from .conftest import Prepared

Sql = psycopg.Connection[Any]

ROWS = 2_000
COLUMNS: dict[str, dict[str, Any]] = {
    "text": {"path": "text", "full_text": "english", "index": True},
    "description": {"path": "description", "full_text": "german"},
    "start_time": {"path": "start_time", "type": "double precision", "index": True},
    "detect": {"path": "detect", "type": "jsonb", "index": True},
}
MAPPING = {"video": {"columns": COLUMNS}}
NEAR = "[0,1,1,1,1,1,1,1]"
INDEXES = "SELECT indexdef FROM pg_indexes WHERE schemaname = %s AND indexname LIKE '\\_sync\\_by\\_%%' ORDER BY 1"


@pytest.fixture(scope="module")
def sql(postgres_url: str, common_schema: str) -> Iterator[Sql]:
    """Features whose distance grows with their number; every hundredth speaks of surfing, one of a house."""
    mapping = SchemaMapping.model_validate(MAPPING)
    with closing(PgvectorDestination(common_schema, postgres_url)) as destination:
        destination.prepare(mapping)
        features = [
            feature(
                f"f{n:04}",
                {"model-v1": dense(n / 10), "other-v1": dense(-n / 10)},
                mapping=mapping,
                text="a man is surfing waves" if n % 100 == 50 else f"nothing of note in number {n}",
                description="viele alte Häuser" if n == 1_950 else None,
                start_time=float(n),
                detect={"n": n},
            )
            for n in range(ROWS)
        ]
        destination.apply(batch(*(asset(f"a{n // 20}", *features[n : n + 20]) for n in range(0, ROWS, 20))))
        destination.build_indexes()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"SET search_path = {common_schema}, public")
        yield connection


def found(sql: Sql, *arguments: Any, **named: Any) -> list[tuple[Any, ...]]:
    listed = ", ".join(["%s"] * len(arguments) + [f"{name} => %s" for name in named])
    question = f"SELECT feature_id, ranks, feature ->> 'text' FROM hybrid_video({listed})"
    return sql.execute(question, [*arguments, *named.values()]).fetchall()


def test_words_are_found_in_their_language(sql: Sql) -> None:
    assert {row[0] for row in found(sql, "surfed", k=50)} == {f"f{n:04}" for n in range(50, ROWS, 100)}
    assert [row[0] for row in found(sql, "haus")] == ["f1950"]
    assert found(sql, "'; DROP TABLE video; --") == []


def test_what_both_find_comes_first(sql: Sql) -> None:
    near = found(sql, "surfing", '{"model_v1": [5,1,1,1,1,1,1,1]}', k=1)
    assert [(row[0], row[1].keys(), row[2]) for row in near] == [
        ("f0050", {"model_v1", "query_text"}, "a man is surfing waves")
    ]


def test_weights_say_what_counts(sql: Sql) -> None:
    queries = f'{{"model_v1": {NEAR}, "other_v1": [-5,1,1,1,1,1,1,1]}}'
    assert found(sql, None, queries, k=1, weights='{"other_v1": 0}')[0][0] == "f0000"
    assert found(sql, None, queries, k=1, weights='{"model_v1": 0}')[0][0] == "f0050"
    words = found(sql, "surfing", queries, k=20, weights='{"query_text": 100}')
    assert {row[2] for row in words} == {"a man is surfing waves"}


def test_a_filter_holds_for_words_and_vectors(sql: Sql) -> None:
    rows = found(sql, "surfing", f'{{"model_v1": {NEAR}}}', k=50, filter='{"start_time": {"gte": 100, "lt": 200}}')
    assert {int(row[0][1:]) // 100 for row in rows} == {1}
    assert "f0150" in {row[0] for row in rows}


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"query_text": None}, "nothing to search for"),
        ({"query_text": " "}, "nothing to search for"),
        ({"query_text": "x", "k": 0}, "k is 0"),
        ({"query_text": "x", "rrf_k": -1}, "rrf_k is -1"),
        ({"query_text": "x", "queries": "[1]"}, "are JSON objects"),
        ({"query_text": "x", "queries": '{"nope": [1]}'}, 'no named vector "video_nope"'),
        ({"query_text": "x", "queries": '{"model_v1": [1]}'}, "the query has 1 dimensions"),
        ({"query_text": "x", "weights": '{"nope": 1}'}, 'weights has "nope"'),
        ({"query_text": "x", "weights": '{"query_text": -1}'}, 'weights has "query_text", which is -1'),
        ({"query_text": "x", "filter": '{"nope": 1}'}, 'no column "nope"'),
    ],
    ids=str,
)
def test_what_cannot_be_answered_says_why(sql: Sql, arguments: dict[str, Any], why: str) -> None:
    with pytest.raises(psycopg.Error, match=why):
        found(sql, **arguments)


def test_a_modality_without_words_says_how_to_get_them(sql: Sql) -> None:
    with pytest.raises(psycopg.Error, match="no words of image can be searched") as refusal:
        sql.execute("SELECT * FROM hybrid_image('x')")
    assert "full_text: english" in str(refusal.value.diag.message_hint)


@pytest.mark.parametrize(
    "where",
    [
        "(to_tsvector('pg_catalog.english', coalesce(text, '')) || to_tsvector('pg_catalog.german', "
        "coalesce(description, ''))) @@ websearch_to_tsquery('pg_catalog.english', 'house')",
        "text = 'number 3'",
        "start_time BETWEEN 3 AND 4",
        "detect @> '{\"n\": 7}'",
    ],
)
def test_a_filter_of_the_view_goes_along_its_index(sql: Sql, where: str) -> None:
    """Under default settings, as Postgres knows the tables after a sync."""
    plan = "\n".join(row[0] for row in sql.execute(f"EXPLAIN (COSTS OFF) SELECT * FROM video_model_v1 WHERE {where}"))
    assert "_sync_by_" in plan


@pytest.mark.long
def test_indexes_go_when_they_are_not_wanted_any_more(prepared: Prepared, postgres_url: str, schema: str) -> None:
    destination = prepared(MAPPING)
    mapping = SchemaMapping.model_validate(MAPPING)
    destination.apply(batch(asset("a", feature("f", mapping=mapping, text="surfing"))))
    with psycopg.connect(postgres_url, autocommit=True) as own:
        destination.build_indexes()
        methods = [index.split(" USING ")[1].split(" ")[0] for (index,) in own.execute(INDEXES, [schema])]
        assert sorted(methods) == ["btree", "gin", "gin", "hash"]
        changed = {
            "video": {"columns": {"text": {"path": "text", "full_text": "simple"}, "detect": {"path": "detect"}}}
        }
        planned = destination.planned(SchemaMapping.model_validate(changed)).statements
        assert sum(words.startswith("DROP INDEX") for words in planned) == 4
        destination = prepared(changed)
        destination.build_indexes()
        assert len(own.execute(INDEXES, [schema]).fetchall()) == 1
        own.execute(f"SET search_path = {schema}, public")
        assert own.execute("SELECT feature_id FROM hybrid_video('surfing')").fetchall() == [("f",)]
        for words in ("surf", "surfing -surfing"):
            assert own.execute("SELECT feature_id FROM hybrid_video(%s)", [words]).fetchall() == []


def test_a_language_that_the_server_does_not_know_is_refused(prepared: Prepared) -> None:
    with pytest.raises(
        ConfigurationError, match=r"video\.columns\.text\.full_text: .* no language klingon; choose one of"
    ):
        prepared({"video": {"columns": {"text": {"path": "text", "full_text": "klingon"}}}})


def test_what_is_indexed_changes_no_row() -> None:
    """So that no asset is read again for it."""
    assert (
        SchemaMapping.model_validate(MAPPING).digest()
        == SchemaMapping.model_validate(
            {
                "video": {
                    "columns": {
                        name: {"path": name, "type": each.get("type", "text")} for name, each in COLUMNS.items()
                    }
                }
            }
        ).digest()
    )
