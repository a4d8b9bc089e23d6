"""An asset that comes with less than is stored of it is read twice, and what goes then goes under the guard."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable
from dataclasses import replace

import numpy as np
import pytest

from tests.connector.worlds import Scripted, asset, assets, content, feature, incomplete
from vectorferry import Reread, SyncOptions
from vectorferry.connector._engine._mapper import Mapper
from vectorferry.connector._engine.sync import _losses
from vectorferry.connector._engine.sync._losses import losses
from vectorferry.connector.plugin import (
    MODALITIES,
    Asset,
    Batch,
    ColumnMapping,
    Counts,
    DeleteGuard,
    Feature,
    Listing,
    MappedAsset,
    Modality,
    ModalityMapping,
    Reason,
    Rejected,
    SchemaMapping,
    SourceError,
)
from vectorferry.connector.testing import MemoryDestination, sync, verify

MAPPED_ANEW = SchemaMapping(video=ModalityMapping(columns={"author": ColumnMapping(path="metadata.by")}))
"""Has every asset read again."""

NAMES = (("s0", "video"), ("s1", "video"), ("i0", "image"))
"""The features of an asset."""

Spoil = Callable[[Asset], Asset]


class Forgetful(Scripted):
    """Gives (or raises) what `first` says, once each, and then what a scripted source does."""

    def __init__(self, assets: dict[str, list[Asset]]) -> None:
        super().__init__(assets)
        self.first: dict[str, list[Asset | SourceError]] = {}

    async def pull(self, collection: str, listings: AsyncIterable[Listing]) -> AsyncIterator[Asset | Rejected]:
        async for listing in listings:
            if not (answers := self.first.get(listing.asset_id)):
                async for item in super().pull(collection, _only(listing)):
                    yield item
                continue
            self.pulled.append(listing.asset_id)
            answer = answers.pop(0)
            if isinstance(answer, SourceError):
                raise answer
            yield answer


async def _only(listing: Listing) -> AsyncIterator[Listing]:
    yield listing


def empty(one: Asset) -> Asset:
    return replace(one, features=())


def without_images(one: Asset) -> Asset:
    return replace(one, features=tuple(each for each in one.features if each.modality != "image"))


def without_the_last_feature(one: Asset) -> Asset:
    return replace(one, features=one.features[:1] + one.features[2:])


def without_vectors(one: Asset) -> Asset:
    return replace(one, features=(replace(one.features[0], vectors={}), *one.features[1:]))


def with_a_shorter_vector(one: Asset) -> Asset:
    short = {name: np.ones(2, dtype=np.float32) for name in one.features[0].vectors}
    return replace(one, features=(replace(one.features[0], vectors=short), *one.features[1:]))


SPOILS: list[Spoil] = [empty, without_images, without_the_last_feature, without_vectors, with_a_shorter_vector]


async def stored(count: int = 10) -> tuple[Forgetful, MemoryDestination]:
    """So many assets at the source and in a destination, each with two video segments and an image."""
    source, store = Forgetful({"c": assets(count)}), MemoryDestination()
    await sync(source, [store], name="media")
    source.pulled.clear()
    return source, store


@pytest.mark.parametrize("spoil", SPOILS)
async def test_what_is_missing_once_stays(spoil: Spoil) -> None:
    source, store = await stored()
    source.assets["c"]["a0003"] = asset("a0003", 2)
    source.first["a0003"] = [spoil(asset("a0003", 2))]
    summary = await sync(source, [store], name="media")
    assert source.pulled == ["a0003", "a0003"]
    assert (summary.exit_code, summary.collections["c"].second_looks, summary.collections["c"].held_back) == (0, 1, {})
    told = summary.destinations["memory"].applied
    assert (told.assets, told.features[Modality.VIDEO].deleted) == (Counts(updated=1, unchanged=9), 0)
    fresh = MemoryDestination()
    await sync(source, [fresh], name="media")
    assert content(store) == content(fresh)


@pytest.mark.parametrize("spoil", SPOILS)
async def test_what_is_missing_twice_goes(spoil: Spoil) -> None:
    source, store = await stored()
    source.assets["c"]["a0003"] = spoil(asset("a0003", 2))
    summary = await sync(source, [store], name="media")
    assert (summary.exit_code, source.pulled) == (0, ["a0003", "a0003"])
    fresh = MemoryDestination()
    await sync(source, [fresh], name="media")
    assert content(store) == content(fresh)
    source.pulled.clear()
    assert (await sync(source, [store], name="media")).exit_code == 0
    assert source.pulled == []


@pytest.mark.parametrize("spoil", [empty, without_images, without_the_last_feature, without_vectors])
@pytest.mark.parametrize("mode", ["prune", "tombstone", "keep"])
async def test_nothing_goes_when_much_is_missing_for_a_whole_run(spoil: Spoil, mode: str) -> None:
    source, store = await stored()
    guard = DeleteGuard.model_validate({"mode": mode})
    before = content(store)
    source.instead = {name: spoil(one) for name, one in source.assets["c"].items()}
    summary = await sync(source, [store], name="media", mapping=MAPPED_ANEW, deletes=guard)
    seen = summary.collections["c"]
    assert (summary.exit_code, seen.refused, seen.held_back, seen.second_looks) == (4, True, {"memory": 10}, 10)
    assert content(store) == before
    source.instead = {}
    healthy = await sync(source, [store], name="media", mapping=MAPPED_ANEW, deletes=guard)
    assert (healthy.exit_code, healthy.collections["c"].pulled) == (0, 10)
    assert [len(each.features) for each in store.assets["c"].values()] == [3] * 10


async def test_the_summary_names_what_was_held_back_and_how_to_allow_it() -> None:
    source, store = await stored()
    for number in range(7):
        source.assets["c"][f"a{number:04}"] = without_images(asset(f"a{number:04}", 2))
    refused = await sync(source, [store], name="media")
    assert refused.collections["c"].note == (
        "memory: 7 assets were left as stored: the source gave less of them twice, so 7 of 10 image features, "
        "7 of 10 image vectors multimodal-v1 would go, and at most 20% may: a0000, a0001, a0002, a0003, a0004 and "
        "2 more. If that is right, allow it once with --allow-deletes 0.7, or set deletes.max_share."
    )
    assert refused.to_dict()["collections"]["c"]["held_back"] == {"memory": 7}
    allowed = await sync(source, [store], name="media", deletes=DeleteGuard(max_share=0.7))
    assert (allowed.exit_code, allowed.destinations["memory"].applied.features[Modality.IMAGE].deleted) == (0, 7)


async def test_what_was_held_back_is_read_again_though_it_seems_unchanged() -> None:
    source, store = await stored(3)
    source.instead = {name: empty(one) for name, one in source.assets["c"].items()}
    assert (await sync(source, [store], SyncOptions(reread=Reread(everything=True)), name="media")).exit_code == 4
    assert (await sync(source, [store], name="media")).exit_code == 4
    source.instead = {}
    assert (await sync(source, [store], name="media")).collections["c"].pulled == 3


async def test_the_share_is_one_of_features_and_not_of_assets() -> None:
    large = asset("large", features=[feature(f"s{number}") for number in range(90)])
    source, store = Forgetful({"c": [large, *assets(9)]}), MemoryDestination()
    await sync(source, [store], name="media")
    source.assets["c"]["large"] = replace(empty(large), fingerprint="v2")
    summary = await sync(source, [store], name="media")
    assert (summary.exit_code, len(store.assets["c"]["large"].features)) == (4, 90)
    assert "90 of 108 video features" in str(summary.collections["c"].note)


async def test_assets_that_go_and_what_goes_within_others_share_the_share() -> None:
    source, store = await stored(20)
    for number in range(3):
        source.assets["c"][f"a{number:04}"] = replace(empty(asset(f"a{number:04}")), fingerprint="v2")
    del source.assets["c"]["a0010"], source.assets["c"]["a0011"]
    summary = await sync(source, [store], name="media")
    assert summary.exit_code == 4
    assert "2 of 20 assets would go, and at most 5% may" in str(summary.collections["c"].note)
    assert (len(store.assets["c"]["a0000"].features), "a0010" in store.assets["c"]) == (0, True)
    assert (await sync(source, [store], name="media")).exit_code == 0
    assert "a0010" not in store.assets["c"]


async def test_when_others_were_complete_at_the_second_look_the_rest_waits_for_the_next_run() -> None:
    source, store = await stored()
    source.assets["c"] = {one.asset_id: one for one in assets(10, 2)}
    source.first = {name: [empty(one)] for name, one in source.assets["c"].items()}
    source.assets["c"]["a0003"] = empty(asset("a0003", 2))
    summary = await sync(source, [store], name="media")
    assert (summary.exit_code, summary.collections["c"].held_back) == (0, {"memory": 1})
    assert "the next run looks again: a0003" in str(summary.collections["c"].note)
    assert len(store.assets["c"]["a0003"].features) == 3
    assert (await sync(source, [store], name="media")).exit_code == 0
    assert len(store.assets["c"]["a0003"].features) == 0


async def test_each_destination_is_asked_for_itself() -> None:
    source, full = await stored()
    fresh, short = MemoryDestination("fresh"), MemoryDestination("short")
    await sync(Scripted({"c": [without_images(one) for one in assets(10)]}), [short], name="media")
    source.assets["c"] = {one.asset_id: without_images(one) for one in assets(10, 2)}
    summary = await sync(source, [full, fresh, short], name="media")
    assert (summary.exit_code, summary.collections["c"].held_back) == (4, {"memory": 10})
    assert [len(each.assets["c"]["a0001"].features) for each in (full, fresh, short)] == [3, 2, 2]
    assert [summary.destinations[name].applied.assets.inserted for name in ("memory", "fresh", "short")] == [0, 10, 0]
    assert summary.destinations["short"].applied.assets.updated == 10


async def test_a_first_load_and_a_new_version_are_read_once() -> None:
    source, store = await stored()
    source.assets["c"] = {one.asset_id: one for one in assets(10, 2)}
    summary = await sync(source, [store], name="media")
    assert (len(source.pulled), summary.collections["c"].second_looks) == (10, 0)


async def test_other_segments_and_another_model_are_believed() -> None:
    source, store = await stored()
    cut_anew = [feature("t0"), feature("t1"), feature("i0", "image", vectors={"model-v2": np.ones(4, np.float32)})]
    source.assets["c"] = {name: asset(name, 2, cut_anew) for name in source.assets["c"]}
    summary = await sync(source, [store], name="media")
    assert (summary.exit_code, summary.collections["c"].second_looks) == (0, 10)
    assert {each.feature_id for each in store.assets["c"]["a0003"].features} == {"t0", "t1", "i0"}


async def test_another_model_is_believed_beside_much_that_is_missing() -> None:
    source, store = await stored()
    source.assets["c"] = {name: empty(one) for name, one in source.assets["c"].items()}
    other = [feature(name, kind, vectors={"model-v2": np.ones(4, np.float32)}) for name, kind in NAMES]
    source.assets["c"]["a0003"] = asset("a0003", 2, other)
    summary = await sync(source, [store], SyncOptions(reread=Reread(everything=True)), name="media")
    assert (summary.exit_code, summary.collections["c"].held_back) == (4, {"memory": 9})
    assert {name for each in store.assets["c"]["a0003"].features for name in each.vectors} == {"model-v2"}


async def test_a_listing_that_is_never_known_to_be_complete_has_a_second_look_too() -> None:
    source, store = await stored()
    source.scan_error = incomplete(unknowable=True)
    source.assets["c"]["a0003"] = asset("a0003", 2)
    source.first["a0003"] = [empty(asset("a0003", 2))]
    summary = await sync(source, [store], name="media")
    assert (summary.exit_code, summary.collections["c"].second_looks) == (0, 1)
    assert len(store.assets["c"]["a0003"].features) == 3


async def test_a_source_that_fails_at_the_second_look_has_removed_nothing() -> None:
    source, store = await stored()
    before = content(store)
    source.assets["c"]["a0003"] = asset("a0003", 2)
    source.first["a0003"] = [empty(asset("a0003", 2)), SourceError("it is down")]
    with pytest.raises(SourceError, match="it is down"):
        await sync(source, [store], name="media")
    assert (content(store), len(source.pulled)) == (before, 2)


async def test_what_is_gone_or_unreadable_at_the_second_look_stays() -> None:
    source, store = await stored()
    for name in ("a0003", "a0004"):
        source.assets["c"][name] = asset(name, 2)
        source.first[name] = [empty(asset(name, 2))]
    source.instead = {"a0003": None, "a0004": Rejected("a0004", Reason.UNREADABLE, "503")}
    summary = await sync(source, [store], name="media")
    stored_features = [len(store.assets["c"][name].features) for name in ("a0003", "a0004")]
    assert (summary.exit_code, summary.collections["c"].unread, stored_features) == (1, ["a0004"], [3, 3])


async def test_more_than_can_be_remembered_waits_for_the_next_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_losses, "REMEMBERED", 4)
    source, store = await stored()
    source.first = {name: [empty(one)] for name, one in source.assets["c"].items()}
    await sync(source, [store], SyncOptions(reread=Reread(everything=True)), name="media")
    assert [len(each.features) for each in store.assets["c"].values()] == [3] * 10
    source.pulled.clear()
    await sync(source, [store], name="media")
    assert len(source.pulled) == 6


async def test_a_repair_removes_nothing_that_is_missing_once() -> None:
    source, store = await stored()
    held = store.assets["c"]["a0003"]
    store.assets["c"]["a0003"] = replace(held, features=held.features[1:])
    source.first["a0003"] = [empty(asset("a0003"))]
    repaired = await verify(source, [store], name="media", repair=True)
    assert (repaired.exit_code, len(store.assets["c"]["a0003"].features)) == (0, 3)


def test_what_is_set_aside_is_not_lost() -> None:
    vector = np.ones(3, dtype=np.float32)
    names = {"one": vector, "two": vector}
    whole = asset("a", features=[Feature(name, "video", {}, names) for name in ("s0", "s1")])
    held = MemoryDestination()
    held.apply(_batch(whole))
    stored_contents = held.contents("c", ["a"])["a"]
    bad = (
        Rejected("a", Reason.NOT_FINITE, "NaN", "s0", "video", "two"),
        Rejected("a", Reason.MALFORMED, "no object", "s1", "video"),
    )
    rest = replace(whole, features=(Feature("s0", "video", {}, {"one": vector}),), rejected=bad)
    assert losses(stored_contents, _loaded(rest), frozenset(MODALITIES)) is None
    both = losses(stored_contents, _loaded(replace(rest, rejected=())), frozenset(MODALITIES))
    assert both == {(Modality.VIDEO, None): 1, (Modality.VIDEO, "one"): 1, (Modality.VIDEO, "two"): 2}
    assert losses(stored_contents, _loaded(rest), frozenset({Modality.IMAGE})) is None
    twice = Rejected("a", Reason.DUPLICATE_ID, "there is another one", "s0", "video")
    assert losses(stored_contents, _loaded(replace(rest, rejected=(twice,))), frozenset(MODALITIES)) == both


def _loaded(one: Asset) -> MappedAsset:
    record = Mapper(SchemaMapping(), frozenset(MODALITIES)).map(one).record
    assert isinstance(record, MappedAsset)
    return record


def _batch(one: Asset) -> Batch:
    return Batch("c", frozenset(MODALITIES), (_loaded(one),))
