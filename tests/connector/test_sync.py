"""A run, as its user sees it: what arrives, what is left alone, and what the summary says."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterable, Mapping, Sequence

import pytest

from tests.connector.worlds import ReadOnly, Scripted, asset, assets, content, feature
from vectorferry import Progress, SyncOptions
from vectorferry.connector.plugin import (
    MODALITIES,
    Applied,
    Asset,
    AssetState,
    Batch,
    BatchLimits,
    ColumnMapping,
    ConfigurationError,
    Counts,
    Known,
    Listing,
    Modality,
    ModalityMapping,
    Reason,
    Rejected,
    SchemaMapping,
    SourceError,
)
from vectorferry.connector.testing import MemoryDestination, MemorySource, sync

VIDEO = frozenset({Modality.VIDEO})


async def test_a_first_run_brings_everything_and_counts_it() -> None:
    source, store = MemorySource({"c": assets(3), "d": assets(1)}), MemoryDestination()
    summary = await sync(source, [store], name="media")
    assert summary.exit_code == 0
    assert set(store.assets["c"]) == {"a0000", "a0001", "a0002"}
    assert store.assets["c"]["a0001"].features[1].columns["text"] == "a0001 v1"
    assert summary.collections["c"].complete
    assert (summary.collections["c"].listed, summary.collections["c"].pulled) == (3, 3)
    told = summary.destinations["memory"]
    assert told.applied.assets == Counts(inserted=4)
    assert told.applied.features == {Modality.VIDEO: Counts(inserted=8), Modality.IMAGE: Counts(inserted=4)}
    assert told.applied.vectors[Modality.VIDEO, "multimodal-v1"] == Counts(inserted=8)
    assert told.by_collection["d"].features[Modality.IMAGE] == Counts(inserted=1)
    assert summary.usage.requests == 6


async def test_a_second_run_writes_nothing_and_counts_what_is_unchanged() -> None:
    source, store = MemorySource({"c": assets(1_200)}), MemoryDestination()
    await sync(source, [store], name="media")
    untouched = ReadOnly()
    untouched.assets, untouched.ledger = store.assets, store.ledger
    summary = await sync(source, [untouched], name="media")
    assert summary.exit_code == 0
    assert (summary.collections["c"].unchanged, summary.collections["c"].pulled) == (1_200, 0)
    told = summary.destinations["memory"].applied
    assert told.assets == Counts(unchanged=1_200)
    assert told.features == {Modality.VIDEO: Counts(unchanged=2_400), Modality.IMAGE: Counts(unchanged=1_200)}
    assert summary.usage.requests == 1


async def test_only_what_changed_is_read_and_vanished_features_go() -> None:
    source, store = Scripted({"c": assets(5)}), MemoryDestination()
    await sync(source, [store], name="media")
    source.assets["c"]["a0002"] = asset("a0002", 2, [feature("s0", text="new"), feature("s7")])
    source.pulled.clear()
    summary = await sync(source, [store], name="media")
    assert source.pulled == ["a0002", "a0002"]  # it has no image any more, which is not believed at once
    assert {f.feature_id for f in store.assets["c"]["a0002"].features} == {"s0", "s7"}
    told = summary.destinations["memory"].applied
    assert told.assets == Counts(updated=1, unchanged=4)
    assert told.features[Modality.VIDEO] == Counts(inserted=1, updated=1, deleted=1, unchanged=8)
    assert told.features[Modality.IMAGE] == Counts(deleted=1, unchanged=4)


async def test_a_changed_mapping_maps_again() -> None:
    source, store = (
        MemorySource({"c": [asset("a", features=[feature("s", metadata={"by": "Ann"})])]}),
        MemoryDestination(),
    )
    await sync(source, [store], name="media")
    mapping = SchemaMapping(video=ModalityMapping(columns={"author": ColumnMapping(path="metadata.by")}))
    await sync(source, [store], name="media", mapping=mapping)
    assert store.assets["c"]["a"].features[0].columns["author"] == "Ann"


async def test_modalities_can_be_synced_one_after_the_other() -> None:
    source, store = Scripted({"c": assets(2)}), MemoryDestination()
    await sync(source, [store], SyncOptions(modalities=VIDEO), name="media")
    assert {f.modality for f in store.assets["c"]["a0000"].features} == {"video"}
    await sync(source, [store], SyncOptions(modalities=frozenset(MODALITIES) - VIDEO), name="media")
    source.pulled.clear()
    await sync(source, [store], name="media")
    assert source.pulled == []
    undisturbed = MemoryDestination()
    await sync(source, [undisturbed], name="media")
    assert content(store) == content(undisturbed)


async def test_unchanged_features_are_counted_for_the_wanted_modalities_only() -> None:
    source, store = Scripted({"c": assets(2)}), MemoryDestination()
    await sync(source, [store], name="media")
    summary = await sync(source, [store], SyncOptions(modalities=VIDEO), name="media")
    assert summary.destinations["memory"].applied.features == {Modality.VIDEO: Counts(unchanged=4)}


async def test_a_modality_that_was_left_behind_is_read_again() -> None:
    source, store = Scripted({"c": assets(1)}), MemoryDestination()
    await sync(source, [store], name="media")
    source.assets["c"]["a0000"] = asset("a0000", 2)
    await sync(source, [store], SyncOptions(modalities=VIDEO), name="media")
    summary = await sync(source, [store], name="media")
    assert summary.collections["c"].pulled == 1
    assert {f.columns["text"] for f in store.assets["c"]["a0000"].features} == {"a0000 v2"}


async def test_each_destination_gets_only_what_it_lacks_from_one_read() -> None:
    class Recording(MemoryDestination):
        given: list[str]

        def apply(self, batch: Batch) -> Applied:
            self.given += [each.asset_id for each in batch.assets]
            return super().apply(batch)

    source, old, new = Scripted({"c": assets(3)}), Recording("old"), Recording("new")
    old.given = new.given = []
    await sync(source, [old], name="media")
    source.assets["c"]["a0003"] = asset("a0003")
    source.pulled.clear()
    old.given, new.given = [], []
    summary = await sync(source, [old, new], name="media")
    assert sorted(source.pulled) == ["a0000", "a0001", "a0002", "a0003"]
    assert old.given == ["a0003"]
    assert sorted(new.given) == ["a0000", "a0001", "a0002", "a0003"]
    assert content(old) == content(new)
    assert summary.destinations["old"].applied.assets == Counts(inserted=1, unchanged=3)
    assert summary.collections["c"].unchanged == 0


async def test_unfinished_assets_are_named_not_read_and_keep_their_rows() -> None:
    source, store = Scripted({"c": assets(60)}), MemoryDestination()
    await sync(source, [store], name="media")
    before = content(store)
    source.assets["c"] = {each.asset_id: each for each in assets(60, version=2)}
    source.states = {f"a{n:04}": AssetState.PENDING if n < 25 else AssetState.FAILED for n in range(60)}
    source.pulled.clear()
    summary = await sync(source, [store], name="media")
    told = summary.collections["c"]
    assert source.pulled == []
    assert content(store) == before
    assert (told.pending_count, told.failed_count) == (25, 35)
    assert told.pending == [f"a{n:04}" for n in range(20)]
    assert told.failed == [f"a{n:04}" for n in range(25, 45)]
    assert summary.exit_code == 0


async def test_bad_records_are_set_aside_and_the_exit_code_says_so() -> None:
    source = Scripted(
        {"c": [asset("good"), asset("half", features=[feature("s"), feature("x", "smell")]), asset("no")]}
    )
    source.listed_first = [Listing("bad\0id", "v1")]
    source.instead = {"no": Rejected("no", Reason.MALFORMED, "nested too deeply")}
    store = MemoryDestination()
    summary = await sync(source, [store], name="media")
    assert summary.exit_code == 3
    assert {record.reason for record in store.quarantine["c"].values()} == {
        Reason.BAD_ID,
        Reason.MALFORMED,
        Reason.UNKNOWN_MODALITY,
    }
    assert summary.destinations["memory"].quarantined == 3
    assert set(store.assets["c"]) == {"good", "half"}
    assert "bad\0id" not in source.pulled


async def test_an_asset_that_is_set_aside_keeps_its_rows_and_leaves_quarantine_once_it_is_good() -> None:
    source, store = Scripted({"c": assets(3)}), MemoryDestination()
    await sync(source, [store], name="media")
    before = content(store)
    source.assets["c"]["a0001"] = asset("a0001", 2)
    source.instead["a0001"] = Rejected("a0001", Reason.MALFORMED, "no")
    assert (await sync(source, [store], name="media")).exit_code == 3
    assert content(store) == before
    source.instead.clear()
    assert (await sync(source, [store], name="media")).exit_code == 0
    assert store.assets["c"]["a0001"].features[0].columns["text"] == "a0001 v2"


async def test_a_record_that_only_reached_quarantine_leaves_it_when_its_asset_is_gone() -> None:
    source, store = Scripted({"c": [*assets(9), asset("no")]}), MemoryDestination()
    source.instead = {"no": Rejected("no", Reason.MALFORMED, "no")}
    assert (await sync(source, [store], name="media")).exit_code == 3
    del source.assets["c"]["no"]
    assert (await sync(source, [store], name="media")).exit_code == 0


async def test_replaced_characters_are_counted() -> None:
    source = MemorySource({"c": [asset("a", features=[feature("s", text="a\0b\0")])]})
    summary = await sync(source, [MemoryDestination()], name="media")
    assert summary.destinations["memory"].replaced_nul == 2


async def test_an_asset_that_vanished_after_it_was_listed_is_simply_not_there() -> None:
    source, store = Scripted({"c": assets(3)}), MemoryDestination()
    source.instead = {"a0001": None}
    summary = await sync(source, [store], name="media")
    assert set(store.assets["c"]) == {"a0000", "a0002"}
    assert summary.exit_code == 0


async def test_an_asset_listed_twice_is_read_and_counted_once() -> None:
    source, store = Scripted({"c": assets(700)}), MemoryDestination()
    source.listed_first = [Listing("a0003", "v1"), Listing("a0650", "v1")]
    summary = await sync(source, [store], name="media")
    assert len(source.pulled) == 700
    assert summary.collections["c"].listed == 700


async def test_only_the_named_collections_are_synced() -> None:
    source, store = MemorySource({"c": assets(1), "d": assets(1)}), MemoryDestination()
    summary = await sync(source, [store], SyncOptions(collections=["d", "d"]), name="media")
    assert list(summary.collections) == ["d"]
    assert list(store.assets) == ["d"]


async def test_of_a_collection_only_the_named_assets_are_synced_and_nothing_is_deleted() -> None:
    source, store = Scripted({"c": assets(9)}), MemoryDestination()
    await sync(source, [store], name="media")
    source.assets["c"].pop("a0008")
    source.assets["c"] |= {each.asset_id: each for each in (asset("a0001", 2), asset("a0002", 2), asset("new"))}
    source.pulled.clear()
    options = SyncOptions(collections=["c"], only=frozenset({"a0001", "a0003", "new", "nobody"}))
    seen = (await sync(source, [store], options, name="media")).collections["c"]
    assert sorted(source.pulled) == ["a0001", "new"]
    assert (seen.listed, seen.unchanged, seen.pulled) == (3, 1, 2)
    assert seen.note == "not listed anywhere, so not read: nobody"
    assert "a0008" in store.assets["c"]
    assert store.assets["c"]["a0002"].metadata == {"version": 1}
    # What was left out is as the next run would have found it.
    after = (await sync(source, [store], name="media")).collections["c"]
    assert (after.unchanged, after.pulled, "a0008" in store.assets["c"]) == (8, 1, False)


async def test_a_collection_whose_id_cannot_be_stored_is_refused() -> None:
    with pytest.raises(SourceError, match="cannot be synced"):
        await sync(MemorySource({"c\0": []}), [MemoryDestination()], name="media")


async def test_two_destinations_of_one_name_are_a_mistake() -> None:
    with pytest.raises(ConfigurationError, match="'memory'"):
        await sync(MemorySource({}), [MemoryDestination(), MemoryDestination()], name="media")


async def test_progress_counts_up_to_the_whole() -> None:
    seen: list[Progress] = []
    source = MemorySource({"c": assets(1_100)})
    await sync(source, [MemoryDestination()], name="media", batch=BatchLimits(rows=100), progress=seen.append)
    for name in ("listed", "to_pull", "pulled", "written"):
        counts = [getattr(each, name) for each in seen]
        assert counts == sorted(counts)
    assert seen[0].total is None
    assert seen[-1] == Progress("c", 1_100, 1_100, to_pull=1_100, pulled=1_100, written=3_300, number=1, collections=1)


async def test_reading_begins_before_the_listing_ends() -> None:
    order: list[str] = []

    class Slow(MemorySource):
        async def scan(self, collection: str):  # type: ignore[no-untyped-def]
            async for listing in super().scan(collection):
                order.append("listed")
                yield listing

    class Watched(MemoryDestination):
        def known(self, collection: str, asset_ids: Sequence[str]) -> Mapping[str, Known]:
            order.append("looked up")
            return super().known(collection, asset_ids)

        def apply(self, batch: Batch) -> Applied:
            order.append("applied")
            return super().apply(batch)

    store = Watched()
    await sync(Slow({"c": assets(2_000)}), [store], name="media", batch=BatchLimits(rows=30))
    assert "looked up" not in order  # there was nothing to find, and a lookup waits for the batch before it
    assert order.index("applied") < len(order) - 1 - order[::-1].index("listed")
    await sync(Slow({"c": assets(2_000)}), [store], name="media")
    assert order.count("looked up") == 4


async def test_a_first_load_is_read_on_while_a_batch_is_written() -> None:
    read_on = threading.Event()

    class Source(MemorySource):
        async def pull(self, collection: str, listings: AsyncIterable[Listing]):  # type: ignore[no-untyped-def]
            async for item in super().pull(collection, listings):
                if item.asset_id == "a1000":  # the first of the third page of the listing
                    read_on.set()
                yield item

    class Store(MemoryDestination):
        def apply(self, batch: Batch) -> Applied:
            assert read_on.wait(60)
            return super().apply(batch)

    summary = await sync(Source({"c": assets(1_600)}), [Store()], name="media", batch=BatchLimits(rows=1_500))
    assert summary.collections["c"].pulled == 1_600


async def test_batches_hold_whole_assets_within_the_limits() -> None:
    sizes: list[int] = []

    class Measuring(MemoryDestination):
        def apply(self, batch: Batch) -> Applied:
            sizes.append(sum(len(each.features) for each in batch.assets))
            return super().apply(batch)

    big: Asset = asset("big", features=[feature(f"s{n}") for n in range(25)])
    await sync(MemorySource({"c": [*assets(9), big]}), [Measuring()], name="media", batch=BatchLimits(rows=10))
    assert sizes == [9, 9, 9, 25]
