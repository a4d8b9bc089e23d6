"""Which scan a run makes, why, and what would be passed over if it were chosen wrongly."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest

from tests.connector.changing import Changing
from tests.connector.worlds import Crashing, Scripted, asset, assets, content, feature, incomplete, settings_for
from vectorferry import Summary, SyncOptions, run_sync
from vectorferry.connector._engine import Selection, run_replay
from vectorferry.connector.plugin import (
    MODALITIES,
    Applied,
    Batch,
    BatchLimits,
    Capability,
    ColumnMapping,
    DeleteGuard,
    DestinationError,
    IncompleteScanError,
    IncrementalScans,
    Listing,
    Modality,
    ModalityMapping,
    Reason,
    Rejected,
    SchemaMapping,
)
from vectorferry.connector.testing import MemoryDestination, refill, sync, verify

EVERYTHING = DeleteGuard(max_share=1)
OTHER_MAPPING = SchemaMapping(video=ModalityMapping(columns={"heard": ColumnMapping(path="text")}))
DEFAULTS = SyncOptions()
NEVER_COMPLETE = "no earlier run has left this collection wholly up to date"


async def synced(source: Any, *stores: MemoryDestination, options: SyncOptions = DEFAULTS, **more: Any) -> Summary:
    return await sync(source, stores, options, name="m", **{"deletes": EVERYTHING, **more})


def scan_of(summary: Summary) -> tuple[str, str | None]:
    seen = summary.to_dict()["collections"]["c"]
    return seen["scan"], seen["why_full"]


async def is_right(source: Changing, *stores: MemoryDestination) -> bool:
    right = MemoryDestination()
    await synced(Scripted({"c": list(source.assets["c"].values())}), right)
    return all(content(store) == content(right) for store in stores)


async def test_a_run_for_some_assets_leaves_the_cursor_where_it_was() -> None:
    source, store = Changing({"c": assets(5)}), MemoryDestination()
    await synced(source, store)
    before = store.cursors["c"]
    source.put("c", asset("a0001", 2))
    source.put("c", asset("a0002", 2))
    narrow = await synced(source, store, options=SyncOptions(collections=["c"], only=frozenset({"a0001"})))
    assert scan_of(narrow)[0] == "full"
    assert store.cursors["c"] == before
    summary = await synced(source, store)
    assert scan_of(summary) == ("incremental", None)
    assert await is_right(source, store)


async def test_only_what_has_changed_is_listed_and_read() -> None:
    source, store = Changing({"c": assets(20)}), MemoryDestination()
    assert scan_of(await synced(source, store)) == ("full", NEVER_COMPLETE)
    source.put("c", asset("a0003", 2))
    summary = await synced(source, store)
    assert scan_of(summary) == ("incremental", None)
    assert summary.collections["c"].listed == 2  # with the one before, which might have hidden a late one
    assert summary.collections["c"].pulled == 1
    assert summary.collections["c"].complete
    assert await is_right(source, store)


async def test_a_source_without_a_cursor_is_always_listed_in_full() -> None:
    source, store = Scripted({"c": assets(3)}), MemoryDestination()
    for _ in range(2):
        summary = await synced(source, store, options=SyncOptions(full=True))
        assert scan_of(summary) == ("full", "the source has no changed-since cursor that can be trusted")
    assert store.cursors == {}


async def test_a_source_is_told_beforehand_what_would_be_followed_when_that_is_everything() -> None:
    expected: list[dict[str, str]] = []

    class Expecting(Changing):
        def expect(self, cursors: Mapping[str, str]) -> None:
            expected.append(dict(cursors))

        async def identity(self, collection: str) -> dict[str, str]:
            return {"key": key, "collection": collection}

    key = "mine"
    source, store, other = Expecting({"c": assets(3), "d": assets(2)}), MemoryDestination(), MemoryDestination("other")
    few = IncrementalScans(full_every=3)
    await synced(source, store)
    await synced(source, store, incremental=few)
    both = {name: cursor.since for name, cursor in store.cursors.items()}
    assert expected == [{}, both]
    assert both.keys() == {"c", "d"}
    source.put("c", asset("a0001", 2))
    await synced(source, store, incremental=few)
    await synced(source, store, incremental=few)  # one in three lists everything
    await synced(source, store, other)  # of which one has nothing yet
    key = "another"
    await synced(source, store, other)
    await synced(source, store, other, options=SyncOptions(full=True))
    assert [told.keys() for told in expected[2:]] == [both.keys(), set(), set(), set()]


async def test_a_change_that_is_shown_late_is_seen() -> None:
    source, store = Changing({"c": assets(9)}), MemoryDestination()
    await synced(source, store)
    source.put("c", asset("late"), late=1)
    await synced(source, store)
    assert await is_right(source, store)


async def test_deletes_are_found_by_every_nth_run() -> None:
    source, store = Changing({"c": assets(9)}), MemoryDestination()
    await synced(source, store)
    del source.assets["c"]["a0001"]
    scans = [scan_of(await synced(source, store, incremental=IncrementalScans(full_every=3))) for _ in range(4)]
    once, full = ("incremental", None), ("full", "one run in 3 looks for deletes")
    assert scans == [once, once, full, once]
    assert await is_right(source, store)
    every = await synced(source, store, incremental=IncrementalScans(full_every=1))
    assert scan_of(every) == ("full", "every run looks for deletes")


async def test_an_incremental_run_deletes_nothing() -> None:
    source, store = Changing({"c": assets(9)}), MemoryDestination()
    await synced(source, store)
    source.assets["c"].clear()
    summary = await synced(source, store)
    assert scan_of(summary) == ("incremental", None)
    assert len(store.assets["c"]) == 9


async def test_a_full_scan_can_be_asked_for() -> None:
    source, store = Changing({"c": assets(9)}), MemoryDestination()
    await synced(source, store)
    del source.assets["c"]["a0001"]
    assert scan_of(await synced(source, store, options=SyncOptions(full=True))) == ("full", "a full scan was asked for")
    assert await is_right(source, store)
    assert scan_of(await synced(source, store)) == ("incremental", None)


async def test_another_mapping_and_other_modalities_need_a_full_scan() -> None:
    source, store = Changing({"c": assets(3)}), MemoryDestination()
    await synced(source, store)
    mapped = await synced(source, store, mapping=OTHER_MAPPING)
    assert scan_of(mapped) == ("full", "the mapping is not the one of the last run")
    narrow = await synced(
        source, store, options=SyncOptions(modalities=frozenset({Modality.VIDEO})), mapping=OTHER_MAPPING
    )
    assert scan_of(narrow) == ("full", "the last run was for other modalities")
    wide = await synced(source, store, options=SyncOptions(modalities=frozenset(MODALITIES)), mapping=OTHER_MAPPING)
    assert scan_of(wide) == ("full", "the last run was for other modalities")


async def test_a_new_destination_and_one_that_missed_a_run_need_a_full_scan() -> None:
    source, first, second = Changing({"c": assets(9)}), MemoryDestination("first"), Crashing("second")
    await synced(source, first)
    apart = ("full", "the destinations are not equally up to date")
    assert scan_of(await synced(source, first, second)) == apart
    assert scan_of(await synced(source, first, second)) == ("incremental", None)
    second.arm(0, late=False)
    for number in range(5):
        source.put("c", asset(f"a{number:04}", 2))
    assert (await synced(source, first, second)).exit_code == 1
    second.arm(None, late=False)
    assert scan_of(await synced(source, first, second)) == apart
    assert await is_right(source, first, second)


class Plain(MemoryDestination):
    """A destination that keeps no cursors."""

    capabilities = MemoryDestination.capabilities - {Capability.CURSORS}


async def test_a_destination_that_keeps_no_cursor_is_named() -> None:
    source, plain = Changing({"c": assets(3)}), Plain("plain")
    for _ in range(2):
        summary = await sync(source, [MemoryDestination(), plain], name="m")
        assert scan_of(summary) == ("full", "no cursor can be kept in plain")


UNREADABLE = Rejected("a0003", Reason.UNREADABLE, "garbage")


@pytest.mark.parametrize("instead", [None, UNREADABLE])
async def test_what_did_not_arrive_is_listed_again(instead: Rejected | None) -> None:
    source, store = Changing({"c": assets(9)}), MemoryDestination()
    await synced(source, store)
    source.put("c", asset("a0003", 2))
    source.instead["a0003"] = instead
    for number in (4, 5, 6):
        source.put("c", asset(f"a000{number}", 2))
        assert scan_of(await synced(source, store)) == ("incremental", None)
    source.instead.clear()
    assert scan_of(await synced(source, store)) == ("incremental", None)
    assert await is_right(source, store)
    assert len({cursor for cursor in source.scans if cursor}) == 1
    assert (await synced(source, store)).collections["c"].listed == 1


@pytest.mark.parametrize("instead", [None, UNREADABLE])
async def test_after_a_full_scan_that_left_something_out_comes_another_one(instead: Rejected | None) -> None:
    source, store = Changing({"c": assets(9)}), MemoryDestination()
    source.instead["a0003"] = instead
    for _ in range(2):
        assert scan_of(await synced(source, store)) == ("full", NEVER_COMPLETE)


async def test_an_id_that_nobody_can_take_does_not_stand_in_the_way() -> None:
    source, store = Changing({"c": [*assets(3), asset("\0")]}), MemoryDestination()
    assert (await synced(source, store)).exit_code == 3
    assert scan_of(await synced(source, store)) == ("incremental", None)


async def test_a_full_scan_that_was_incomplete_or_refused_leaves_no_cursor() -> None:
    source, store = Changing({"c": assets(9)}), MemoryDestination()
    await synced(source, store)
    source.scan_error = incomplete(unknowable=True)
    await synced(source, store, options=SyncOptions(full=True))
    source.scan_error = None
    assert scan_of(await synced(source, store)) == ("full", NEVER_COMPLETE)
    source.assets["c"].clear()
    await synced(source, store, options=SyncOptions(full=True), deletes=DeleteGuard(max_share=0))
    assert scan_of(await synced(source, store)) == ("full", NEVER_COMPLETE)


class Forgetting(Changing):
    """A service that does not remember changes."""

    async def scan_changed(self, collection: str, since: str) -> AsyncIterator[Listing]:  # noqa: ARG002
        self.scans.append(since)
        raise IncompleteScanError(f"changes since {since} are forgotten")
        yield


async def test_a_cursor_that_the_source_refuses_leads_to_a_full_scan_at_once() -> None:
    source, store = Forgetting({"c": assets(9)}), MemoryDestination()
    await synced(source, store)
    source.put("c", asset("a0003", 2))
    del source.assets["c"]["a0001"]
    summary = await synced(source, store)
    assert scan_of(summary) == ("full", "changes since 8 are forgotten")
    assert summary.exit_code == 0
    assert await is_right(source, store)


async def test_a_full_run_that_was_stopped_leaves_no_cursor() -> None:
    """It had begun to map all assets anew, also those that have not changed at the source."""
    source, store = Changing({"c": assets(9)}), Crashing()
    await synced(source, store)
    store.arm(1, late=False)
    with pytest.raises(DestinationError):
        await synced(source, store, mapping=OTHER_MAPPING, batch=BatchLimits(rows=3))
    store.arm(None, late=False)
    await synced(source, store)
    assert await is_right(source, store)


async def test_what_changes_between_two_listings_of_a_run_is_seen_by_the_next() -> None:
    source, store = Changing({"c": assets(9)}), MemoryDestination()
    await synced(source, store)
    del source.assets["c"]["a0008"]

    def edit() -> None:
        for number in range(8):
            source.put("c", asset(f"a{number:04}", 2))

    source.meanwhile = [edit]
    await synced(source, store, options=SyncOptions(full=True))
    assert source.scans[-2:] == [None, None]
    await synced(source, store)
    assert await is_right(source, store)


async def test_a_replay_and_a_repair_need_a_full_scan() -> None:
    source, store = Changing({"c": assets(9)}), MemoryDestination()
    await synced(source, store)
    store.read_again("c", ["a0003"])
    assert scan_of(await synced(source, store)) == ("full", NEVER_COMPLETE)
    store.ledger["c"].pop("a0004")
    found = await verify(source, [store], name="m", repair=True)
    assert found.repair is not None
    assert scan_of(found.repair) == ("full", "a full scan was asked for")


def test_a_sync_that_ends_while_a_replay_waits_for_it_does_not_take_the_replay_away() -> None:
    class Overtaken(MemoryDestination):
        def read_again(self, collection: str, asset_ids: Sequence[str], *, in_run: bool = False) -> int:
            held, known = self.cursor(collection), super().read_again(collection, asset_ids, in_run=in_run)
            self.record_cursor(collection, held)  # the last thing that another sync does, of an early version
            return known

    source, store = Changing({"c": [asset("odd", features=[feature("f0", "smell")]), *assets(9)]}), Overtaken()
    settings = settings_for(source, store)
    assert run_sync(settings).exit_code == 3
    assert scan_of(run_sync(settings)) == ("incremental", None)
    source.pulled.clear()
    run_replay(settings, Selection())
    assert source.pulled == ["odd"]


async def test_after_a_refill_from_a_store_that_is_behind_comes_a_full_scan() -> None:
    source, store, target = Changing({"c": assets(9)}), MemoryDestination("store"), MemoryDestination("target")
    await synced(source, store)
    source.put("c", asset("a0003", 2))
    source.put("c", asset("a0004", 2))
    await synced(source, target)
    await refill(store, target, name="m", deletes=EVERYTHING)
    await synced(source, target)
    assert await is_right(source, target)


@pytest.mark.parametrize("cursor", [None, "", "\0", "x" * 4_001])
async def test_a_cursor_that_cannot_be_kept_is_none(cursor: str | None) -> None:
    class Odd(Changing):
        async def cursor(self, collection: str) -> str | None:  # noqa: ARG002
            return cursor

    source, store = Odd({"c": assets(3)}), MemoryDestination()
    await synced(source, store)
    assert scan_of(await synced(source, store)) == ("full", NEVER_COMPLETE)


async def test_the_assets_that_a_destination_refuses_are_listed_again() -> None:
    class Refusing(MemoryDestination):
        def apply(self, batch: Batch) -> Applied:
            applied = super().apply(batch)
            applied.rejected.append(Rejected("a0003", Reason.REFUSED, "too odd"))
            return applied

    source, store = Changing({"c": assets(9)}), Refusing()
    await synced(source, store)
    assert scan_of(await synced(source, store)) == ("full", NEVER_COMPLETE)
