"""A source that is read as somebody else may see less: what it does not list then is not taken for deleted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tests.connector.changing import Changing
from tests.connector.worlds import asset, assets
from vectorferry import Plan, Summary
from vectorferry.connector._engine.sync._guard import refusal
from vectorferry.connector._engine.sync._origins import guard_for, origin_changes, origin_of
from vectorferry.connector.plugin import Capability, DeleteGuard, Destination, RelatedTable, Source
from vectorferry.connector.testing import MemoryDestination, MemorySource, plan, refill, sync, verify

GENEROUS = DeleteGuard(max_share=1)
MINE = {"namespace": "default", "organization": "org_1", "key": "0123"}
OTHERS = {
    "a key that sees less": {"key": "4567"},
    "a namespace": {"namespace": "staging"},
    "an account": {"organization": "org_2", "key": "4567"},
    "a source": {"source": "twelvelabs"},
}


def without(count: int, gone: int) -> MemorySource:
    """A source of so many assets, the first of which it does not list."""
    source = MemorySource({"c": assets(count)[gone:]})
    source.account = dict(MINE)
    return source


async def run(source: MemorySource, *stores: Destination, **more: Any) -> Summary:
    return await sync(source, stores, name="media", **more)


@pytest.mark.parametrize("gone", [1, 5, 19, 100])
@pytest.mark.parametrize("who", OTHERS)
async def test_nothing_goes_when_somebody_else_reads(who: str, gone: int) -> None:
    store = MemoryDestination()
    await run(without(100, 0), store)
    source = without(100, gone)
    source.account |= OTHERS[who]
    source.assets["c"]["new"] = asset("new")
    summary = await run(source, store, deletes=GENEROUS)
    assert (summary.exit_code, len(store.assets["c"])) == (4, 101)
    told = summary.collections["c"]
    assert told.refused
    assert told.note is not None
    assert f"{gone} of 101 assets would go" in told.note
    assert f"--allow-deletes {-(-100 * gone // 101) / 100:g}" in told.note
    for value in ("0123", "4567"):
        assert value not in repr(summary.to_dict())
    again = await run(source, store, deletes=GENEROUS)
    assert (again.exit_code, len(store.assets["c"])) == (4, 101)


@pytest.mark.parametrize("mode", ["prune", "tombstone"])
async def test_it_says_what_is_different_and_what_to_do(mode: str) -> None:
    store, deletes = MemoryDestination(), DeleteGuard.model_validate({"mode": mode, "max_share": 1})
    await run(without(100, 0), store, deletes=deletes)
    source = without(100, 5)
    source.account |= {"namespace": "staging", "key": "4567"}
    summary = await run(source, store, deletes=deletes)
    assert summary.collections["c"].note == (
        "memory: nothing was deleted: 5 of 100 assets would go, but the source is not read as it was when this was "
        "last complete (another key; namespace: default -> staging): it may only not see them. Check its settings, "
        "and that no other sync fills the same tables; or if they are really gone, allow it once with "
        "--allow-deletes 0.05."
    )
    assert summary.to_dict()["collections"]["c"]["origin_changes"] == {
        "memory": ["another key", "namespace: default -> staging"]
    }
    assert len(store.assets["c"]) == 100
    allowed = await run(source, store, deletes=deletes.allowing(0.05))
    assert (allowed.exit_code, len(store.assets["c"])) == (0, 95)
    assert store.origins["c"]["namespace"] == "staging"
    del source.assets["c"]["a0007"]
    assert (await run(source, store, deletes=deletes)).exit_code == 0
    assert len(store.assets["c"]) == 94


async def test_too_few_allowed_deletes_are_still_too_few() -> None:
    store = MemoryDestination()
    await run(without(100, 0), store)
    source = without(100, 5)
    source.account["key"] = "4567"
    summary = await run(source, store, deletes=DeleteGuard().allowing(0.04))
    assert (summary.exit_code, len(store.assets["c"])) == (4, 100)
    assert store.origins["c"]["key"] == "0123"


@pytest.mark.parametrize("gone", [1, 5, 19])
async def test_deletes_go_on_when_the_same_reads(gone: int) -> None:
    store = MemoryDestination()
    await run(without(100, 0), store)
    summary = await run(without(100, gone), store)
    assert (summary.exit_code, len(store.assets["c"])) == (0, 100 - gone)
    assert summary.collections["c"].note is None


async def test_a_new_key_that_sees_everything_is_simply_recorded() -> None:
    store = MemoryDestination()
    await run(without(100, 0), store)
    source = without(100, 0)
    source.account["key"] = "4567"
    summary = await run(source, store)
    assert summary.exit_code == 0
    assert summary.collections["c"].note == (
        "the source is not read as it was when this was last complete (another key)"
    )
    assert (await run(source, store)).collections["c"].note is None
    del source.assets["c"]["a0001"]
    assert (await run(source, store)).exit_code == 0
    assert len(store.assets["c"]) == 99


async def test_going_back_to_who_read_before_deletes_again() -> None:
    store = MemoryDestination()
    await run(without(100, 0), store)
    other = without(100, 5)
    other.account["namespace"] = "staging"
    assert (await run(other, store)).exit_code == 4
    assert (await run(without(100, 1), store)).exit_code == 0
    assert len(store.assets["c"]) == 99


async def test_assets_of_a_version_that_recorded_nobody_are_taken_for_the_readers_own() -> None:
    store = MemoryDestination()
    await run(without(100, 0), store)
    store.origins.clear()
    assert (await run(without(100, 5), store)).exit_code == 0
    assert store.origins["c"] == {"source": "memory", **MINE}
    assert len(store.assets["c"]) == 95


async def test_a_first_run_that_is_stopped_has_recorded_who_it_was() -> None:
    class Stopping(MemorySource):
        def pull(self, collection: str, listings: Any) -> Any:
            return _stopped(super().pull(collection, listings))

    async def _stopped(pulled: Any) -> Any:
        for _ in range(50):
            yield await anext(pulled)
        raise KeyboardInterrupt

    store, source = MemoryDestination(), Stopping({"c": assets(100)})
    source.account = dict(MINE)
    with pytest.raises(KeyboardInterrupt):
        await run(source, store)
    assert store.origins["c"]["key"] == "0123"


async def test_a_destination_that_holds_nothing_has_nothing_to_lose() -> None:
    store = MemoryDestination()
    mistyped = without(0, 0)
    mistyped.account["namespace"] = "defualt"
    await run(mistyped, store)
    summary = await run(without(100, 0), store)
    assert (summary.collections["c"].note, summary.collections["c"].origin_changes) == (None, {})
    assert store.origins["c"]["namespace"] == "default"


async def test_each_destination_has_a_record_of_its_own() -> None:
    late, early = MemoryDestination("late"), MemoryDestination("early")
    await run(without(100, 0), early)
    source = without(100, 2)
    source.account["key"] = "4567"
    await run(source, late)
    refused = await run(source, early, late)
    assert (refused.exit_code, len(early.assets["c"]), len(late.assets["c"])) == (4, 100, 98)
    assert refused.collections["c"].note is not None
    assert refused.collections["c"].note.startswith("early: ")
    assert refused.collections["c"].origin_changes == {"early": ("another key",)}
    del source.assets["c"]["a0050"]
    both = await run(source, early, late)
    assert (both.exit_code, len(late.assets["c"])) == (4, 98)
    allowed = await run(source, early, late, deletes=DeleteGuard().allowing(0.05))
    assert (allowed.exit_code, len(early.assets["c"]), len(late.assets["c"])) == (0, 97, 97)


async def test_a_destination_with_another_record_and_nothing_to_lose_stops_nobody() -> None:
    other, mine = MemoryDestination("other"), MemoryDestination("mine")
    source = without(100, 5)
    source.account["key"] = "4567"
    await run(source, other)
    await run(without(100, 0), mine)
    assert (await run(without(100, 5), other, mine)).exit_code == 0
    assert (len(other.assets["c"]), len(mine.assets["c"])) == (95, 95)


async def test_a_collection_that_is_gone_for_another_account_stays() -> None:
    source, store = MemorySource({"c": assets(10), "d": assets(10)}), MemoryDestination()
    await run(source, store)
    del source.assets["d"]
    source.account["organization"] = "org_2"
    store.origins["d"] = {"source": "memory", "organization": "org_1"}
    summary = await run(source, store, deletes=GENEROUS)
    assert (summary.exit_code, len(store.assets["d"])) == (4, 10)
    told = summary.collections["d"]
    assert told.note is not None
    assert "organization: org_1 -> org_2" in told.note
    allowed = await run(source, store, deletes=DeleteGuard().allowing(1))
    assert (allowed.exit_code, store.assets["d"], "d" in store.origins) == (0, {}, False)


def table(rows: int) -> tuple[RelatedTable, list[Mapping[str, Any]]]:
    kind = RelatedTable(name="people", key="id", columns={"id": "text"})
    return kind, [{"id": f"p{number}"} for number in range(rows)]


async def test_rows_of_tables_of_metadata_stay_as_well() -> None:
    source, store = MemorySource({"c": assets(3)}), MemoryDestination()
    source.related["people"] = table(10)
    await run(source, store)
    source.account["key"] = "4567"
    store.origins[""] = {"source": "memory", "key": "0123"}
    source.related["people"] = (source.related["people"][0], [{"id": "p1"}, {"id": "new"}])
    planned = await plan(source, [store], name="media", deletes=GENEROUS)
    assert planned.exit_code == 4
    summary = await run(source, store, deletes=GENEROUS)
    assert (summary.exit_code, len(store.related["people"])) == (4, 11)
    assert summary.related["people"].note == planned_note(planned)
    assert summary.related["people"].note == (
        "memory: nothing was deleted: 9 of 10 rows would go, but the source is not read as it was when this was last "
        "complete (another key): it may only not see them. Check its settings, or if they are really gone, allow it "
        "once with --allow-deletes 1."
    )
    assert (await run(source, store, deletes=DeleteGuard().allowing(1))).exit_code == 0
    assert set(store.related["people"]) == {"p1", "new"}
    source.related["people"] = (source.related["people"][0], [{"id": "p1"}])
    assert (await run(source, store)).exit_code == 0


def planned_note(planned: Plan) -> str | None:
    note = planned.related["people"].note
    return note and note.replace("would be deleted", "was deleted")


async def test_a_plan_says_it_beforehand() -> None:
    store = MemoryDestination()
    await run(without(100, 0), store)
    source = without(100, 5)
    source.account["namespace"] = "staging"
    planned = await plan(source, [store], name="media", deletes=GENEROUS)
    assert planned.exit_code == 4
    refusal_told = planned.collections["c"].deletes["memory"].refusal
    assert refusal_told is not None
    summary = await run(source, store, deletes=GENEROUS)
    assert summary.collections["c"].note == f"memory: nothing was deleted: {refusal_told}"
    allowed = await plan(source, [store], name="media", deletes=DeleteGuard().allowing(0.05))
    assert (allowed.exit_code, allowed.destinations["memory"].deleted) == (0, 5)
    assert store.origins["c"]["namespace"] == "default"


async def test_verify_says_it_of_what_it_calls_extra_and_repairs_nothing() -> None:
    store = MemoryDestination()
    await run(without(100, 0), store)
    source = without(100, 5)
    assert (await verify(source, [store], name="media")).collections["c"].notes == []
    source.account["namespace"] = "staging"
    found = await verify(source, [store], name="media", deletes=GENEROUS, repair=True)
    assert found.collections["c"].notes == [
        "memory: what the source does not have may only not be seen: it is not read as it was when this was last "
        "complete (namespace: default -> staging). A repair deletes nothing unless --allow-deletes is given"
    ]
    assert (found.exit_code, len(store.assets["c"])) == (4, 100)


async def test_what_is_kept_is_not_taken_for_seen() -> None:
    store, keeping = MemoryDestination(), DeleteGuard(mode="keep")
    await run(without(100, 0), store)
    source = without(100, 5)
    source.account["key"] = "4567"
    assert (await run(source, store, deletes=keeping)).exit_code == 0
    assert store.origins["c"]["key"] == "0123"
    assert (await run(source, store, deletes=GENEROUS)).exit_code == 4


async def test_a_refilled_destination_has_been_read_as_its_store_was() -> None:
    store, other = MemoryDestination("store"), MemoryDestination("other")
    await run(without(100, 0), store)
    await refill(store, other, name="media")
    assert other.origins["c"] == store.origins["c"]


async def test_somebody_else_follows_no_changes() -> None:
    source, store = Changing({"c": assets(10)}), MemoryDestination()
    source.account["key"] = "0123"
    assert Capability.CURSORS in store.capabilities
    await run(source, store)
    source.account["key"] = "4567"
    del source.assets["c"]["a0000"]
    summary = await run(source, store)
    told = summary.collections["c"]
    assert (told.scan, told.why_full) == ("full", "the source is not read as it was in the last run")
    assert (summary.exit_code, len(store.assets["c"])) == (4, 10)


async def test_a_source_that_says_nothing_is_known_by_its_class() -> None:
    class Plain(MemorySource):
        identity = Source.identity

    assert await origin_of(Plain({}), "c") == {"source": "Plain"}


@dataclass
class Told(MemorySource):
    """Says anything."""

    parts: Mapping[Any, Any]

    async def identity(self, collection: str) -> Any:  # noqa: ARG002
        return self.parts


async def test_what_a_source_says_is_bounded_and_storable() -> None:
    told = await origin_of(Told({f"p{n:03}": "x" for n in range(500)}), "c")
    assert len(told) == 20
    long = await origin_of(Told({"organization": "o" * 100_000}), "c")
    other = await origin_of(Told({"organization": "o" * 100_001}), "c")
    assert len(long["organization"]) < 200
    assert long != other
    odd = await origin_of(Told({"na\0me": "a\0\ud800b", 5: 7}), "c")
    assert all("\0" not in text and text.encode() for pair in odd.items() for text in pair)


def test_the_words_hold_no_hash_and_no_line_break() -> None:
    changes = origin_changes({"key": "aaa", "namespace": "a\nb", "organization": "o" * 500}, {"namespace": "c -> d"})
    assert changes[0] == "key: not told any more"
    assert changes[1] == r"namespace: 'a\nb' -> 'c -> d'"
    assert len(changes[2]) < 200
    assert origin_changes(None, MINE) == origin_changes({}, MINE) == ()
    assert origin_changes({"key": "a"}, {"key": "a", "organization": "told now"}) == ()


def test_the_guard_is_the_same_one_unless_something_has_changed() -> None:
    guard = DeleteGuard(max_share=1)
    assert guard_for(guard, ()) is guard
    allowed = guard.allowing(0.1)
    assert guard_for(allowed, ("another key",)) is allowed
    strict = guard_for(guard, ("another key",))
    assert refusal(strict, 100, 0, 100) is None
    assert refusal(strict, 100, 1, 99) is not None
    assert refusal(guard_for(DeleteGuard(mode="keep"), ("another key",)), 100, 100, 0) is None
