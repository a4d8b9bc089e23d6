"""Tables of metadata beside the assets, as Postgres sees them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import psycopg
import pytest

from vectorferry.connector._model._rows import hash_row
from vectorferry.connector.plugin import ConfigurationError, RelatedRow, RelatedTable, SchemaMapping
from vectorferry.destinations import PgvectorDestination

from ...examples import family
from .conftest import Prepared

PEOPLE = RelatedTable(name="people", key="id", columns={"id": "text", "name": "text", "tags": "jsonb"})

Sql = psycopg.Connection[Any]


def person(key: str, **columns: Any) -> RelatedRow:
    values = {"id": key, "name": None, "tags": None} | columns
    return RelatedRow(key, values, hash_row(values, {}, {})[0])


def versions(sql: Sql) -> Mapping[str, str]:
    """By key, the transaction that wrote the row."""
    return dict(sql.execute("SELECT id, xmin::text FROM people").fetchall())


def test_the_columns_have_the_types_that_were_asked_for(destination: PgvectorDestination, sql: Sql) -> None:
    destination.replace_related(PEOPLE, [person("a", name="Ada", tags=["x", 1])], complete=True)
    assert sql.execute("SELECT id, name, tags ->> 0, tags ? 'x', row_hash IS NULL FROM people").fetchall() == [
        ("a", "Ada", "x", True, False)
    ]


def test_a_row_that_has_not_changed_is_not_written(destination: PgvectorDestination, sql: Sql) -> None:
    destination.replace_related(PEOPLE, [person("a"), person("b")], complete=True)
    before = versions(sql)
    destination.replace_related(PEOPLE, [person("a"), person("b", name="Bo")], complete=True)
    after = versions(sql)
    assert (after["a"] == before["a"], after["b"] == before["b"]) == (True, False)


def test_a_table_of_somebody_else_is_left_alone(destination: PgvectorDestination, sql: Sql, schema: str) -> None:
    sql.execute("CREATE TABLE people (id text, name text, tags jsonb, row_hash bytea); INSERT INTO people VALUES ('z')")
    refused = f"the table {re.escape(schema)}.people exists and was not made by Vectorferry: rename it"
    with pytest.raises(ConfigurationError, match=refused):
        destination.replace_related(PEOPLE, [person("a")], complete=True)
    assert destination.related_hashes(PEOPLE) == {}
    assert sql.execute("SELECT id FROM people").fetchall() == [("z",)]


def test_a_column_that_a_later_version_has_is_added(destination: PgvectorDestination, sql: Sql) -> None:
    destination.replace_related(PEOPLE, [person("a")], complete=True)
    later = RelatedTable(name="people", key="id", columns={**PEOPLE.columns, "age": "integer"})
    row = RelatedRow("a", {"id": "a", "name": None, "tags": None, "age": 36}, b"2")
    assert destination.replace_related(later, [row], complete=True).updated == 1
    assert sql.execute("SELECT id, age FROM people").fetchall() == [("a", 36)]


def test_another_sync_into_the_schema_finds_the_table(prepared: Prepared) -> None:
    prepared({}).replace_related(PEOPLE, [person("a")], complete=True)
    assert set(prepared({}).related_hashes(PEOPLE)) == {"a"}


def test_a_dropped_table_is_made_again(prepared: Prepared, sql: Sql) -> None:
    prepared({}).replace_related(PEOPLE, [person("a")], complete=True)
    sql.execute("DROP TABLE people")
    again = prepared({})
    assert (again.related_hashes(PEOPLE), again.status().related) == ({}, {})
    assert again.replace_related(PEOPLE, [person("a")], complete=True).inserted == 1


@pytest.mark.parametrize("column", family(["id", "row_hash"]))
def test_without_its_key_a_table_has_to_be_dropped(prepared: Prepared, sql: Sql, column: str) -> None:
    destination, rows = prepared({}), [person("a"), person("b")]
    destination.replace_related(PEOPLE, rows, complete=True)
    sql.execute(f"ALTER TABLE people DROP COLUMN {column}".encode())
    refused = rf"people has lost its column {column}\..*next sync makes it anew: (.*;)"
    replacing = partial(destination.replace_related, rows=rows, complete=True)
    for ask in (destination.planned(SchemaMapping()).related_hashes, destination.related_hashes, replacing):
        with pytest.raises(ConfigurationError, match=refused) as caught:
            ask(PEOPLE)
    (advice,) = re.findall(refused, str(caught.value))
    sql.execute(advice.encode())
    assert prepared({}).replace_related(PEOPLE, rows, complete=True).inserted == 2


def test_a_row_that_somebody_has_changed_is_written_again(destination: PgvectorDestination, sql: Sql) -> None:
    rows = [person("a", name="Ada", tags=[1, 1.5, {"x": None}, "é"]), person("b")]
    destination.replace_related(PEOPLE, rows, complete=True)
    assert destination.replace_related(PEOPLE, rows, complete=True).unchanged == 2
    sql.execute("UPDATE people SET name = 'Eve' WHERE id = 'a'")
    assert destination.related_hashes(PEOPLE) == {"a": b"", "b": rows[1].row_hash}
    assert destination.replace_related(PEOPLE, rows, complete=True).updated == 1
    assert sql.execute("SELECT name FROM people ORDER BY id").fetchall() == [("Ada",), (None,)]
