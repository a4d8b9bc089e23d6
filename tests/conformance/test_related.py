"""Tables of metadata beside the assets: every destination that can hold them does so alike."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.examples import examples
from vectorferry.connector._model._rows import hash_row
from vectorferry.connector.plugin import (
    Capability,
    Counts,
    Destination,
    RelatedRow,
    RelatedTable,
    SchemaMapping,
)
from vectorferry.connector.testing import MemoryDestination, MemorySource, sync

from .conftest import NewPlace

TABLE = RelatedTable(
    name="people",
    key="person_id",
    columns={
        "person_id": "text",
        "name": "text",
        "age": "integer",
        "asset_ids": "jsonb",
        "metadata": "jsonb",
        "created_at": "timestamptz",
    },
)


def row(key: str, name: str | None = "Ada", **more: Any) -> RelatedRow:
    """A row whose other columns are empty."""
    columns = {column: more.get(column) for column in TABLE.columns} | {"person_id": key, "name": name}
    return RelatedRow(key, columns, hash_row(columns, {}, {})[0])


Makes = Callable[[], Destination]


@pytest.fixture(params=["memory", "pgvector"])
def makes(request: pytest.FixtureRequest, new_place: NewPlace) -> Makes:
    """Makes empty destinations of one kind."""

    def one() -> Destination:
        made: Destination = new_place(request.param)()
        made.prepare(SchemaMapping())
        return made

    return one


@pytest.fixture
def store(makes: Makes) -> Destination:
    made = makes()
    assert Capability.RELATED_TABLES in made.capabilities
    return made


def test_a_table_that_was_never_given_is_empty(store: Destination) -> None:
    assert store.related_hashes(TABLE) == {}


def test_rows_are_replaced_where_they_differ(store: Destination) -> None:
    first = [row("a"), row("b", age=7), row("c", metadata={"team": "x"})]
    assert store.replace_related(TABLE, first, complete=True) == Counts(inserted=3)
    assert store.replace_related(TABLE, first, complete=True) == Counts(unchanged=3)
    later = [row("b", age=8), row("c", metadata={"team": "x"}), row("d")]
    assert store.replace_related(TABLE, later, complete=True) == Counts(1, 1, 1, 1)
    assert store.related_hashes(TABLE) == {one.key: one.row_hash for one in later}


def test_rows_that_an_incomplete_list_does_not_hold_stay(store: Destination) -> None:
    store.replace_related(TABLE, [row("a"), row("b")], complete=True)
    assert store.replace_related(TABLE, [row("b", "Bo"), row("c")], complete=False) == Counts(inserted=1, updated=1)
    assert set(store.related_hashes(TABLE)) == {"a", "b", "c"}


def test_every_type_and_every_text_fits(store: Destination) -> None:
    moment = datetime(2026, 1, 9, 11, 11, 20, 463_000, tzinfo=UTC)
    odd = row("k'\"; DROP", "näme 名", age=-1, asset_ids=["1", "2"], metadata={"n": [1, None]}, created_at=moment)
    assert store.replace_related(TABLE, [odd, row("z", None)], complete=True) == Counts(inserted=2)
    assert store.replace_related(TABLE, [odd, row("z", None)], complete=True) == Counts(unchanged=2)


def test_tables_are_apart(store: Destination) -> None:
    store.replace_related(TABLE, [row("a")], complete=True)
    other = RelatedTable(name="groups", key="person_id", columns=TABLE.columns)
    assert store.replace_related(other, [row("a"), row("b")], complete=True) == Counts(inserted=2)
    assert store.replace_related(TABLE, [], complete=True) == Counts(deleted=1)
    assert set(store.related_hashes(other)) == {"a", "b"}


def test_status_and_plan_tell_of_them(makes: Makes) -> None:
    destination = makes()
    assert Capability.RELATED_TABLES in destination.capabilities
    assert Capability.PLAN in destination.capabilities
    assert destination.status().related == {}
    assert destination.planned(SchemaMapping()).related_hashes(TABLE) == {}
    destination.replace_related(TABLE, [row("a"), row("b")], complete=True)
    assert destination.status().related == {"people": 2}
    assert destination.planned(SchemaMapping()).related_hashes(TABLE) == destination.related_hashes(TABLE)


PEOPLE: st.SearchStrategy[Mapping[str, Any]] = st.fixed_dictionaries(
    {"person_id": st.sampled_from(["a", "b", "c"])},
    optional={
        "name": st.sampled_from(["Ada", "Bo", None]),
        "age": st.sampled_from([1, 2]),
        "metadata": st.sampled_from([{}, {"team": "x"}]),
    },
)


@pytest.mark.long
@settings(max_examples=examples(6), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.lists(PEOPLE, max_size=3, unique_by=lambda one: one["person_id"]), min_size=1, max_size=5))
def test_any_history_of_syncs_leaves_what_it_leaves_in_memory(
    makes: Makes, steps: list[list[Mapping[str, Any]]]
) -> None:
    source, model, destination = MemorySource({}), MemoryDestination("model"), makes()
    assert Capability.RELATED_TABLES in destination.capabilities
    for people in steps:
        source.related = {"people": (TABLE, people)}
        told = asyncio.run(sync(source, [model, destination], name="m")).related["people"]
        assert told.error is None
        assert told.destinations.get(destination.name) == told.destinations.get("model")
    assert destination.related_hashes(TABLE) == model.related_hashes(TABLE)
