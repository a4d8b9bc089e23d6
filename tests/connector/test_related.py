"""Tables of metadata beside the assets: when they are read, when they are replaced, and what one that fails costs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest
from pydantic import ValidationError

from tests.connector.worlds import Scripted, Unreliable, assets, content, incomplete
from vectorferry import SyncOptions
from vectorferry.connector._engine.sync import _related
from vectorferry.connector.plugin import (
    Capability,
    ConfigurationError,
    Counts,
    DeleteGuard,
    DestinationError,
    LimitReachedError,
    RelatedRow,
    RelatedSummary,
    RelatedTable,
    RetryableError,
    SchemaMapping,
    SourceError,
    VectorferryError,
)
from vectorferry.connector.testing import MemoryDestination, plan, sync

PEOPLE = RelatedTable(name="people", key="id", columns={"id": "text", "name": "text", "age": "integer"})
GROUPS = RelatedTable(name="groups", key="id", columns={"id": "text"})

Rows = list[Mapping[str, Any]]


class Peopled(Scripted):
    """Two assets, two people and a group; `related_errors` are raised at the end of a table's rows."""

    def __init__(self) -> None:
        super().__init__({"c": assets(2)})
        self.people: Rows = [{"id": "p1", "name": "Ada", "age": 36}, {"id": "p2", "name": "Bo"}]
        self.related = {"people": (PEOPLE, self.people), "groups": (GROUPS, [{"id": "g1"}])}
        self.related_errors: dict[str, VectorferryError] = {}

    async def related_rows(self, table: RelatedTable) -> AsyncIterator[Mapping[str, Any]]:
        async for row in super().related_rows(table):
            yield row
        if error := self.related_errors.get(table.name):
            raise error


class Refusing(MemoryDestination):
    """Takes every table of metadata but the people."""

    def replace_related(self, table: RelatedTable, rows: Sequence[RelatedRow], *, complete: bool) -> Counts:
        if table is PEOPLE:
            raise ConfigurationError("there is a table of that name already")
        return super().replace_related(table, rows, complete=complete)


class OnlyAssets(MemoryDestination):
    """Holds no such tables."""

    capabilities = MemoryDestination.capabilities - {Capability.RELATED_TABLES}


def held(store: MemoryDestination) -> dict[str, dict[str, Any]]:
    return {key: dict(row.columns) for key, row in store.related["people"].items()}


async def people_of(source: Peopled, store: MemoryDestination, **more: Any) -> RelatedSummary:
    return (await sync(source, [store], name="m", **more)).related["people"]


async def test_they_follow_the_source() -> None:
    source, store = Peopled(), MemoryDestination()
    first = await people_of(source, store)
    assert first == RelatedSummary(2, complete=True, destinations={"memory": Counts(inserted=2)})
    assert held(store)["p1"] == {"id": "p1", "name": "Ada", "age": 36}
    source.people[:] = [{"id": "p2", "name": "Bob"}, {"id": "p3"}]
    assert (await people_of(source, store)).destinations == {"memory": Counts(1, 1, 0, 1)}
    assert set(held(store)) == {"p2", "p3"}
    assert (await people_of(source, store)).destinations == {"memory": Counts(unchanged=2)}


async def test_a_row_that_is_missing_once_stays() -> None:
    class Forgetful(Peopled):
        forgets = 0

        async def related_rows(self, table: RelatedTable) -> AsyncIterator[Mapping[str, Any]]:
            forgotten, self.forgets = bool(self.forgets and table is PEOPLE), max(0, self.forgets - (table is PEOPLE))
            async for row in super().related_rows(table):
                if not (forgotten and row["id"] == "p1"):
                    yield row

    source, store = Forgetful(), MemoryDestination()
    await people_of(source, store)
    source.forgets = 1
    assert (await people_of(source, store)).destinations == {"memory": Counts(unchanged=2)}
    source.forgets = 2
    assert (await people_of(source, store)).destinations == {"memory": Counts(unchanged=1, deleted=1)}


@pytest.mark.parametrize(
    ("collections", "related", "read"),
    [(None, None, True), (["c"], None, False), (["c"], True, True), (None, False, False)],
)
async def test_they_are_read_in_runs_of_all_collections_or_as_told(
    collections: list[str] | None, related: bool | None, read: bool
) -> None:
    source, store = Peopled(), MemoryDestination()
    summary = await sync(source, [store], SyncOptions(collections=collections, related=related), name="m")
    assert bool(summary.related) == bool(store.related) == read


async def test_nobody_reads_what_no_destination_holds() -> None:
    source = Peopled()
    assert Capability.RELATED_TABLES not in OnlyAssets().capabilities
    summary = await sync(source, [OnlyAssets()], name="m")
    assert summary.related == {}
    assert summary.usage.requests == 1


async def test_those_that_hold_them_get_them_beside_others_that_do_not() -> None:
    store = MemoryDestination()
    summary = await sync(Peopled(), [OnlyAssets("plain"), store], name="m")
    assert summary.related["people"].destinations == {"memory": Counts(inserted=2)}
    assert summary.exit_code == 0


async def test_one_that_cannot_be_read_stays_as_it_was_and_costs_only_itself() -> None:
    source, store = Peopled(), MemoryDestination()
    await sync(source, [store], name="m")
    source.people[:] = [{"id": "p9"}]
    source.assets["c"] = {each.asset_id: each for each in assets(3, version=2)}
    source.related["groups"] = (GROUPS, [{"id": "g1"}, {"id": "g2"}])
    source.related_errors["people"] = SourceError("the source is down")
    summary = await sync(source, [store], name="m")
    assert summary.related["people"] == RelatedSummary(error="the source is down")
    assert summary.related["groups"].destinations == {"memory": Counts(inserted=1, unchanged=1)}
    assert (set(held(store)), len(content(store)["c"])) == ({"p1", "p2"}, 3)
    assert summary.exit_code == 1
    assert summary.to_dict()["notes"] == ["people: the source is down"]


async def test_a_source_whose_quota_is_used_up_is_asked_no_more() -> None:
    source, store = Peopled(), MemoryDestination()
    source.related_errors["people"] = LimitReachedError("the daily quota is used up")
    summary = await sync(source, [store], name="m")
    assert (summary.exit_code, list(summary.related)) == (5, ["people"])
    source.scan_error = LimitReachedError("the daily quota is used up")
    again = await sync(source, [store], name="m")
    assert (again.exit_code, again.related, store.related) == (5, {}, {})


async def test_an_incomplete_list_deletes_nothing() -> None:
    source, store = Peopled(), MemoryDestination()
    await sync(source, [store], name="m")
    source.people[:] = [{"id": "p2", "name": "Bob"}, {"id": "p3"}]
    source.related_errors["people"] = incomplete()
    told = await people_of(source, store)
    assert (told.complete, told.destinations) == (False, {"memory": Counts(inserted=1, updated=1)})
    assert "nothing is deleted" in str(told.error)
    assert set(held(store)) == {"p1", "p2", "p3"}


async def test_a_list_that_is_never_known_to_be_complete_is_no_error() -> None:
    source, store = Peopled(), MemoryDestination()
    source.related_errors["people"] = incomplete(unknowable=True)
    summary = await sync(source, [store], name="m")
    assert (summary.exit_code, summary.related["people"].complete) == (0, False)
    assert "nothing is deleted" in str(summary.related["people"].note)


async def test_an_empty_list_is_not_believed_unless_everything_may_go() -> None:
    source, store = Peopled(), MemoryDestination()
    await sync(source, [store], name="m")
    source.people.clear()
    announced = await plan(source, [store], name="m")
    summary = await sync(source, [store], name="m")
    assert summary.related["people"].refused
    assert summary.related["people"].note == (
        "memory: nothing was deleted: the source listed no row at all, so all 2 would go. If they are really gone, "
        "allow it once with --allow-deletes 1, or set deletes.max_share."
    )
    assert (announced.exit_code, summary.exit_code, len(held(store))) == (4, 4, 2)
    assert announced.related["people"].refused
    allowed = await people_of(source, store, deletes=DeleteGuard(max_share=1))
    assert allowed.destinations == {"memory": Counts(deleted=2)}
    assert (await people_of(source, store)).refused is False


async def test_a_table_that_was_always_empty_is_no_surprise() -> None:
    source, store = Peopled(), MemoryDestination()
    source.people.clear()
    assert (await people_of(source, store)) == RelatedSummary(complete=True, destinations={"memory": Counts()})


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ({"id": "p9", "age": "old"}, "column age: 'old' does not fit integer"),
        ({"name": "nobody"}, "the id id is empty"),
        ({"id": "x" * 600}, "the id id is longer than 512 bytes"),
    ],
)
async def test_a_bad_row_costs_only_itself_and_then_nothing_is_deleted(bad: Mapping[str, Any], told: str) -> None:
    source, store = Peopled(), MemoryDestination()
    await sync(source, [store], name="m")
    source.people[:] = [bad, {"id": "p2", "name": "Bob"}]
    seen = await people_of(source, store)
    assert seen.error == f"1 row was left out, so no row was deleted: {told}"
    assert seen.destinations == {"memory": Counts(updated=1)}
    assert set(held(store)) == {"p1", "p2"}


async def test_a_row_that_is_listed_twice_is_one_row() -> None:
    source, store = Peopled(), MemoryDestination()
    source.people += source.people
    assert (await people_of(source, store)).destinations == {"memory": Counts(inserted=2)}


async def test_text_that_no_store_can_hold_is_replaced() -> None:
    source, store = Peopled(), MemoryDestination()
    source.people[:] = [{"id": "p1", "name": "A\0da"}]
    await people_of(source, store)
    assert held(store)["p1"]["name"] == "A\ufffdda"


async def test_more_rows_than_a_small_table_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_related, "MOST_ROWS", 1)
    told = await people_of(Peopled(), MemoryDestination())
    assert told.error == "the source lists more than 1 rows"


async def test_a_destination_that_refuses_a_table_goes_on_with_the_rest() -> None:
    store, other = Refusing("strict"), MemoryDestination()
    summary = await sync(Peopled(), [store, other], name="m")
    assert summary.related["people"].error == "strict: there is a table of that name already"
    assert summary.related["people"].destinations == {"memory": Counts(inserted=2)}
    assert summary.related["groups"].destinations["strict"] == Counts(inserted=1)
    assert summary.destinations["strict"].error is None


async def test_what_may_pass_is_tried_again() -> None:
    class Busy(MemoryDestination):
        tried = 0

        def replace_related(self, table: RelatedTable, rows: Sequence[RelatedRow], *, complete: bool) -> Counts:
            self.tried += 1
            if self.tried == 1:
                raise RetryableError("deadlock detected", after=0)
            return super().replace_related(table, rows, complete=complete)

    assert (await people_of(Peopled(), Busy())).destinations == {"memory": Counts(inserted=2)}


async def test_a_dead_destination_is_not_asked_again() -> None:
    dead, store = Unreliable("dead", {"apply": [DestinationError("gone")]}), MemoryDestination()
    summary = await sync(Peopled(), [dead, store], name="m")
    assert summary.related["people"].destinations == {"memory": Counts(inserted=2)}
    assert dead.related == {}


async def test_a_plan_announces_them_and_writes_nothing() -> None:
    source, store = Peopled(), MemoryDestination()
    await sync(source, [store], name="m")
    source.people[:] = [{"id": "p2", "name": "Bob"}, {"id": "p3"}]
    announced = await plan(source, [store], name="m")
    assert set(held(store)) == {"p1", "p2"}
    summary = await sync(source, [store], name="m")
    assert announced.related == summary.related
    assert announced.reads.listing == summary.usage.requests
    assert announced.to_dict()["related"] == summary.to_dict()["related"]


async def test_no_modality_may_have_the_name_of_such_a_table() -> None:
    source, store = Peopled(), MemoryDestination()
    mapping = SchemaMapping.model_validate({"text": {"table": "people"}})
    with pytest.raises(ConfigurationError, match=r"modalities\.text\.table: people is a table that the source brings"):
        await sync(source, [store], name="m", mapping=mapping)
    assert source.usage.requests == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "People"},
        {"name": "_sync_ledger"},
        {"name": "assets"},
        {"key": "name2"},
        {"key": "age"},
        {"columns": {"id": "text", "row_hash": "text"}},
        {"columns": {"id": "text", "xmin": "text"}},
        {"columns": {"id": "text", "a b": "text"}},
        {"columns": {"id": "varchar"}},
    ],
)
def test_what_a_plug_in_calls_a_table_is_checked(wrong: Mapping[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RelatedTable.model_validate(
            {"name": "people", "key": "id", "columns": {"id": "text", "age": "integer"}, **wrong}
        )
