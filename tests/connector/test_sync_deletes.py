"""What goes, and when nothing may."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest

from tests.connector.worlds import Scripted, asset, assets, content, incomplete
from vectorferry import DeleteGuard, sync
from vectorferry.connector._engine.sync import _prune as prune
from vectorferry.connector.plugin import (
    Applied,
    Asset,
    AssetState,
    Counts,
    Listing,
    Modality,
    SourceError,
    VectorferryError,
)
from vectorferry.connector.testing import MemoryDestination


async def test_assets_that_a_complete_scan_did_not_see_go_with_all_they_have() -> None:
    source, store = Scripted({"c": assets(10), "d": assets(10)}), MemoryDestination()
    await sync(source, [store], name="media")
    del source.assets["c"]["a0003"], source.assets["c"]["a0007"]
    summary = await sync(source, [store], name="media")
    assert "a0003" not in store.assets["c"]
    assert len(store.assets["d"]) == 10
    told = summary.destinations["memory"].applied
    assert told.assets == Counts(unchanged=18, deleted=2)
    assert told.features[Modality.VIDEO] == Counts(unchanged=36, deleted=4)
    assert (await sync(source, [store], name="media")).destinations["memory"].applied.assets == Counts(unchanged=18)


async def test_too_many_deletes_are_refused_for_that_collection_only() -> None:
    source, store = Scripted({"c": assets(3), "d": assets(3)}), MemoryDestination()
    await sync(source, [store], name="media")
    del source.assets["c"]["a0000"]
    source.assets["c"]["a0009"] = asset("a0009")
    source.assets["d"]["a0009"] = asset("a0009")
    summary = await sync(source, [store], name="media")
    assert summary.exit_code == 4
    assert summary.collections["c"].refused
    assert summary.collections["c"].note == (
        "memory: nothing was deleted: the source listed 3 assets, so 1 of 4 assets would go, and at most 20% may, "
        "which is less than one of 4. If they are really gone, allow it once with --allow-deletes 1, "
        "or set deletes.max_share."
    )
    assert set(store.assets["c"]) == {"a0000", "a0001", "a0002", "a0009"}
    assert set(store.assets["d"]) == {"a0000", "a0001", "a0002", "a0009"}
    allowed = await sync(source, [store], name="media", deletes=DeleteGuard(max_share=0.25))
    assert allowed.exit_code == 0
    assert set(store.assets["c"]) == {"a0001", "a0002", "a0009"}


async def test_an_empty_listing_deletes_nothing_unless_everything_may_go() -> None:
    source, store = Scripted({"c": assets(5)}), MemoryDestination()
    await sync(source, [store], name="media")
    source.assets["c"].clear()
    assert (await sync(source, [store], name="media", deletes=DeleteGuard(max_share=0.9))).exit_code == 4
    assert len(store.assets["c"]) == 5
    assert (await sync(source, [store], name="media", deletes=DeleteGuard(max_share=1))).exit_code == 0
    assert store.assets["c"] == {}


async def test_a_refusal_for_one_destination_deletes_in_none() -> None:
    source, full, partial = Scripted({"c": assets(10)}), MemoryDestination("full"), MemoryDestination("partial")
    await sync(source, [full], name="media")
    source.states = {f"a{n:04}": AssetState.PENDING for n in range(2, 10)}
    await sync(source, [full, partial], name="media")
    del source.assets["c"]["a0001"]  # one of ten here, one of two there
    summary = await sync(source, [full, partial], name="media")
    assert summary.exit_code == 4
    assert str(summary.collections["c"].note).startswith("partial: ")
    assert "a0001" in full.assets["c"]
    assert "a0001" in partial.assets["c"]


class Shifting(Scripted):
    """Serves another listing at each scan: `scans` says which assets are left out, and what is raised at the end."""

    def __init__(self, assets: dict[str, list[Asset]]) -> None:
        super().__init__(assets)
        self.scans: list[tuple[set[str], VectorferryError | None]] = []
        self.scanned = 0

    async def scan(self, collection: str) -> AsyncIterator[Listing]:
        self.scanned += 1
        without, error = self.scans.pop(0) if collection == "c" and self.scans else (set[str](), None)
        async for listing in super().scan(collection):
            if listing.asset_id not in without:
                yield listing
        if error:
            raise error


async def shifting() -> tuple[Shifting, MemoryDestination]:
    """A synced collection of ten, of which a0000 is gone by now and a0010 is new."""
    source, store = Shifting({"c": assets(10)}), MemoryDestination()
    await sync(source, [store], name="media")
    assert source.scanned == 1
    del source.assets["c"]["a0000"]
    source.assets["c"]["a0010"] = asset("a0010")
    source.pulled, source.scanned = [], 0
    return source, store


async def test_only_what_two_complete_scans_missed_goes() -> None:
    source, store = await shifting()
    source.scans = [({"a0005"}, None)]  # the totals agree, but a row moved to a page that was read already
    summary = await sync(source, [store], name="media")
    assert (summary.exit_code, source.scanned) == (0, 2)
    assert set(store.assets["c"]) == set(source.assets["c"])
    assert summary.destinations["memory"].applied.assets == Counts(inserted=1, unchanged=9, deleted=1)
    assert (summary.collections["c"].listed, summary.collections["c"].note) == (10, None)


async def test_the_guard_judges_what_both_scans_missed() -> None:
    source, store = await shifting()
    source.scans = [({"a0005", "a0006", "a0007"}, None), ({"a0008"}, None)]
    assert (await sync(source, [store], name="media", deletes=DeleteGuard(max_share=0.1))).exit_code == 0
    assert set(store.assets["c"]) == set(source.assets["c"])


async def test_what_only_the_second_scan_lists_is_synced_as_well() -> None:
    source, store = await shifting()
    source.scans = [({"a0010"}, None)]
    await sync(source, [store], name="media")
    assert source.pulled == ["a0010"]
    assert "a0010" in store.assets["c"]


@pytest.mark.parametrize("error", [incomplete(), SourceError("503 for an hour")])
async def test_nothing_goes_when_the_second_scan_fails(error: VectorferryError) -> None:
    source, store = await shifting()
    source.assets["d"] = {}
    source.scans = [(set(), None), (set(), error), (set(), error)]
    summary = await sync(source, [store], name="media")
    assert (summary.exit_code, summary.collections["c"].complete) == (1, False)
    assert {"a0000", "a0010"} <= set(store.assets["c"])


async def test_a_run_without_deletes_scans_once() -> None:
    source, store = Shifting({"c": assets(10)}), MemoryDestination()
    await sync(source, [store], name="media")
    source.assets["c"]["a0010"] = asset("a0010")
    await sync(source, [store], name="media")
    assert source.scanned == 2


async def test_an_incomplete_scan_is_repeated_and_only_what_it_left_out_is_read() -> None:
    source, store = await shifting()
    source.scans = [({"a0010", "a0003"}, incomplete())]
    summary = await sync(source, [store], name="media")
    assert (summary.exit_code, summary.collections["c"].error) == (0, None)
    assert summary.collections["c"].complete
    assert source.pulled == ["a0010"]
    assert set(store.assets["c"]) == set(source.assets["c"])
    assert (summary.collections["c"].listed, summary.collections["c"].unchanged) == (10, 9)


async def test_a_scan_that_stays_incomplete_syncs_what_it_saw_deletes_nothing_and_fails() -> None:
    source, store = await shifting()
    source.scan_error = incomplete()
    summary = await sync(source, [store], name="media")
    assert (summary.exit_code, source.scanned) == (1, 2)
    told = summary.collections["c"]
    assert (told.complete, told.note) == (False, None)
    assert told.error == "8 assets were counted, 10 announced, so nothing is deleted"
    assert {"a0000", "a0010"} <= set(store.assets["c"])


async def test_a_source_that_cannot_know_whether_its_listing_is_complete_deletes_nothing_and_says_so() -> None:
    source, store = await shifting()
    source.scan_error = incomplete(unknowable=True)
    summary = await sync(source, [store], name="media")
    assert (summary.exit_code, source.scanned) == (0, 1)
    told = summary.collections["c"]
    assert (told.complete, told.error) == (False, None)
    assert told.note == "8 assets were counted, 10 announced, so nothing is deleted"
    assert {"a0000", "a0010"} <= set(store.assets["c"])


@pytest.mark.parametrize("where", ["scan_error", "pull_error"])
async def test_a_failing_source_stops_the_run_keeps_what_was_read_and_deletes_nothing(where: str) -> None:
    source, store = Scripted({"c": assets(10)}), MemoryDestination()
    await sync(source, [store], name="media")
    del source.assets["c"]["a0000"]
    source.assets["c"]["a0010"] = asset("a0010")
    setattr(source, where, SourceError("503 for an hour"))
    with pytest.raises(SourceError, match="503"):
        await sync(source, [store], name="media")
    assert {"a0000", "a0010"} <= set(store.assets["c"])


async def test_a_source_that_does_not_read_its_whole_listing_deletes_nothing() -> None:
    class Lazy(Scripted):
        async def pull(self, collection, listings):  # type: ignore[no-untyped-def]
            async for listing in listings:
                yield self.assets[collection][listing.asset_id]
                return

    first, store = Scripted({"c": assets(800)}), MemoryDestination()
    await sync(first, [store], name="media")
    lazy = Lazy({"c": assets(799, version=2)})
    summary = await sync(lazy, [store], name="media")
    assert summary.exit_code == 1
    assert summary.collections["c"].error == (
        "the source did not read its own listing to the end, so nothing is deleted"
    )
    assert len(store.assets["c"]) == 800


async def test_more_deletes_than_are_remembered_at_once_all_happen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune, "REMEMBERED", 7)
    monkeypatch.setattr(prune, "REMOVED_AT_ONCE", 3)
    calls: list[int] = []

    class Counting(MemoryDestination):
        def remove(self, collection: str, asset_ids: Sequence[str]) -> Applied:
            calls.append(len(asset_ids))
            return super().remove(collection, asset_ids)

    source, store = Scripted({"c": assets(40)}), Counting()
    await sync(source, [store], name="media")
    source.assets["c"] = {each.asset_id: each for each in assets(20)}
    summary = await sync(source, [store], name="media", deletes=DeleteGuard(max_share=0.5))
    assert len(store.assets["c"]) == 20
    assert summary.destinations["memory"].applied.assets.deleted == 20
    assert max(calls) == 3


async def test_deletes_do_not_care_for_modalities() -> None:
    source, store = Scripted({"c": assets(10)}), MemoryDestination()
    await sync(source, [store], name="media")
    del source.assets["c"]["a0004"]
    await sync(source, [store], name="media", modalities=frozenset({Modality.IMAGE}))
    undisturbed = MemoryDestination()
    await sync(source, [undisturbed], name="media")
    assert content(store) == content(undisturbed)
