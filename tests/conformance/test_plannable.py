"""Whoever can be planned for tells what a sync will find, and what a plan announces, a sync does; the destination in
memory is the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from vectorferry import Plan, Summary
from vectorferry.connector.plugin import (
    Asset,
    Capability,
    DeleteGuard,
    Destination,
    Planned,
    Reason,
    Rejected,
    SchemaMapping,
)
from vectorferry.connector.testing import MemorySource, plan, sync

from ..builders import asset, batch, dense, feature
from ..connector import worlds
from ..examples import family
from .conftest import NewPlace, Open

NAMES = ["a", "b", "c", "d"]
RELATIONS = (
    "SELECT c.oid, c.xmin::text, relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
    "WHERE starts_with(nspname, %s) ORDER BY 1"
)


pinecone_is_long = pytest.mark.parametrize(
    "open_one", family(["memory", "pgvector", "pinecone"], always=(0, 1)), indirect=True
)
"""For what is decided alike for both stores, and takes several syncs."""


@pytest.fixture(params=["memory", "pgvector", "pinecone"])
def open_one(request: pytest.FixtureRequest, new_place: NewPlace) -> Open:
    """Opens one of each kind, as often as the test likes; the first time it is empty, and never prepared."""
    return new_place(request.param)


@pytest.fixture
def relations(postgres_url: str, schema: str) -> Iterator[Callable[[], list[Any]]]:
    """Everything in the test's schemas, with the transaction that changed its entry last."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        yield lambda: connection.execute(RELATIONS, [schema]).fetchall()


def prepared(target: Destination) -> Destination:
    target.prepare(SchemaMapping())
    return target


def found(planned: Planned | Destination) -> object:
    return dict(planned.known("ads", NAMES)), sorted(planned.asset_ids("ads"))


def test_it_is_one(open_one: Open) -> None:
    assert Capability.PLAN in open_one().capabilities


def test_before_the_first_sync_nothing_is_known_and_nothing_made(
    open_one: Open, relations: Callable[[], list[Any]]
) -> None:
    planned = open_one().planned(SchemaMapping())
    assert found(planned) == ({}, [])
    assert planned.averages is None
    assert list(planned.indexes) == []
    assert relations() == []


def test_planning_finds_what_a_prepared_one_finds_and_changes_nothing(
    open_one: Open, relations: Callable[[], list[Any]]
) -> None:
    target = prepared(open_one())
    aside = Rejected("b", Reason.NOT_FINITE, "NaN", "g", "video")
    target.apply(batch(asset("a", feature("f1"), feature("f2")), asset("b", feature("f"), rejected=[aside])))
    target.apply(batch(asset("d"), rejected=[Rejected("c", Reason.UNREADABLE, "500")]))
    target.remove("ads", ["d"])
    before = relations()
    planned = open_one().planned(SchemaMapping())
    assert found(planned) == found(target)
    assert list(planned.statements) == []
    assert relations() == before
    assert dict(planned.known("films", NAMES)) == {}
    assert list(planned.asset_ids("films")) == []


def test_averages_are_those_of_what_is_stored(open_one: Open) -> None:
    target = prepared(open_one())
    target.apply(batch(asset("a", feature("f1"), feature("f2"), feature("f3", {"model-v1": dense(2)})), asset("b")))
    averages = open_one().planned(SchemaMapping()).averages
    assert averages is not None
    assert averages.features_per_asset == 1.5
    assert averages.rows_per_feature in (1, 2)
    assert averages.bytes_per_feature >= 4 * 8


def edited(source: MemorySource, *changed: str, gone: int = 0) -> None:
    held = source.assets["ads"]
    for name in changed:
        held[name] = worlds.asset(name, 2)
    for name in list(held)[:gone]:
        del held[name]


ASSETS: list[Asset] = worlds.assets(6)
HISTORIES: dict[str, Callable[[MemorySource], None]] = {
    "nothing new": edited,
    "changed and new": lambda source: edited(source, "a0001", "a0002", "new"),
    "gone": lambda source: edited(source, gone=1),
    "too many gone": lambda source: edited(source, "a0005", "new", gone=4),
    "all gone": lambda source: edited(source, gone=6),
}


@pytest.mark.parametrize("history", family(HISTORIES, always=(2,)))
@pinecone_is_long
async def test_what_is_announced_is_done_number_for_number(open_one: Open, history: str) -> None:
    source, guard = MemorySource({"ads": ASSETS, "films": ASSETS[:2]}), DeleteGuard(max_share=0.5)
    first = await plan(source, [open_one()], name="m", deletes=guard)
    assert [each.to_pull for each in first.collections.values()] == [6, 2]
    await sync(source, [open_one()], name="m", deletes=guard)
    HISTORIES[history](source)
    told = await plan(source, [open_one()], name="m", deletes=guard)
    done = await sync(source, [open_one()], name="m", deletes=guard)
    same(told, done)


@pinecone_is_long
async def test_a_changed_mapping_is_announced_as_assets_to_read_again(open_one: Open) -> None:
    source = MemorySource({"ads": ASSETS})
    await sync(source, [open_one()], name="m")
    more = SchemaMapping.model_validate({"video": {"columns": {"author": {"path": "metadata.author"}}}})
    told = await plan(source, [open_one()], name="m", mapping=more)
    assert (told.collections["ads"].new, told.collections["ads"].changed) == (0, 6)
    same(told, await sync(source, [open_one()], name="m", mapping=more))


def same(told: Plan, done: Summary) -> None:
    """Number for number."""
    for name, seen in done.collections.items():
        collection = told.collections[name]
        assert (collection.listed, collection.unchanged, collection.to_pull) == (
            seen.listed,
            seen.unchanged,
            seen.pulled,
        )
        assert (collection.complete, collection.refused) == (seen.complete, seen.refused)
    ((announced,), (written,)) = told.destinations.values(), done.destinations.values()
    assets = written.applied.assets
    assert (announced.new, announced.deleted) == (assets.inserted, assets.deleted)
    assert announced.changed + announced.unchanged == assets.updated + assets.unchanged
    assert told.exit_code == done.exit_code
    assert done.usage.requests == told.reads.listing + (told.reads.reading or 0)
