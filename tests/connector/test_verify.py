"""A check of a sync: what it compares, what it says about what it cannot, and what a repair reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.connector.worlds import Scripted, asset, assets, content, feature, incomplete, settings_for
from vectorferry import Verification
from vectorferry.connector._engine import run_verify
from vectorferry.connector._engine._mapper import Mapper
from vectorferry.connector.plugin import (
    MODALITIES,
    Asset,
    AssetState,
    Batch,
    Capability,
    CollectionError,
    ConfigurationError,
    DeleteGuard,
    Difference,
    Discrepancy,
    Listing,
    MappedAsset,
    Reason,
    Rejected,
    SchemaMapping,
    SourceError,
    Vector,
)
from vectorferry.connector.testing import MemoryDestination, MemorySource, sync, verify

MISSING, EXTRA, DIFFERENT = Difference.MISSING, Difference.EXTRA, Difference.DIFFERENT


@pytest.fixture
def source() -> Scripted:
    """Thirty assets."""
    return Scripted({"c": assets(30)})


async def filled(source: MemorySource, name: str = "memory") -> MemoryDestination:
    """A destination after a sync."""
    destination = MemoryDestination(name)
    await sync(source, [destination], name="media")
    return destination


def counts(found: Verification, collection: str = "c") -> dict[tuple[str, str, Difference], int]:
    return dict(found.collections[collection].counts)


def damage(destination: MemoryDestination, asset_id: str) -> None:
    """Change a number of a vector behind the destination's back."""
    damage_in(destination, "c", asset_id)


def damage_in(destination: MemoryDestination, collection: str, asset_id: str) -> None:
    """The same in any collection."""
    held = destination.assets[collection][asset_id]
    first, *rest = held.features
    wrong = replace(first, vectors={name: np.zeros(3, np.float32) for name in first.vectors})
    destination.assets[collection][asset_id] = replace(held, features=(wrong, *rest))


async def test_what_was_synced_is_in_step_and_no_asset_is_read(source: Scripted) -> None:
    destination = await filled(source)
    source.pulled.clear()
    found = await verify(source, [destination], name="media")
    assert (found.exit_code, found.in_step, counts(found)) == (0, True, {})
    assert found.collections["c"].assets == 30
    assert source.pulled == []


async def test_the_ledger_is_compared_with_the_listing(source: Scripted) -> None:
    destination = await filled(source)
    held = source.assets["c"]
    held["new"], held["a0001"] = asset("new"), asset("a0001", version=2)
    del held["a0002"]
    found = await verify(source, [destination], name="media")
    assert found.exit_code == 1
    assert [finding.record for finding in found.collections["c"].findings] == [
        Discrepancy(DIFFERENT, "a0001", detail="changed at the source, or in what is asked of it, since it was synced"),
        Discrepancy(MISSING, "new"),
        Discrepancy(EXTRA, "a0002"),
    ]
    assert {finding.against for finding in found.collections["c"].findings} == {"source"}


async def test_an_asset_whose_turn_to_be_read_again_has_come_is_no_difference(source: Scripted) -> None:
    """It had been called changed, for no other reason than that time had passed."""
    destination = await filled(source)
    held = source.assets["c"]
    held["a0001"], held["a0002"] = replace(held["a0001"], turn="1"), replace(held["a0002"], turn="1")
    held["a0003"] = replace(asset("a0003", version=2), turn="1")
    found = await verify(source, [destination], name="media")
    assert [one.record.asset_id for one in found.collections["c"].findings] == ["a0003"]
    assert found.collections["c"].notes == ["2 assets are due to be read again, in their turn; the next sync does it"]


async def test_assets_that_are_not_ready_are_neither_missing_nor_extra(source: Scripted) -> None:
    destination = await filled(source)
    source.assets["c"]["new"] = asset("new")
    source.states = {"new": AssetState.PENDING, "a0001": AssetState.FAILED}
    assert (await verify(source, [destination], name="media")).in_step


async def test_a_row_that_one_listing_has_skipped_is_not_extra(source: Scripted) -> None:
    destination = await filled(source)

    class Skipping(MemorySource):
        scans = 0

        async def scan(self, collection: str) -> AsyncIterator[Listing]:
            self.scans += 1
            async for listing in super().scan(collection):
                if self.scans > 1 or listing.asset_id != "a0007":
                    yield listing

    assert (await verify(Skipping({"c": assets(30)}), [destination], name="media")).in_step


async def test_nothing_is_extra_when_the_listing_is_not_complete(source: Scripted) -> None:
    destination = await filled(source)
    del source.assets["c"]["a0002"]
    source.scan_error = incomplete()
    found = await verify(source, [destination], name="media")
    assert counts(found) == {}
    assert found.collections["c"].notes == [f"what the source does not have cannot be told: {incomplete()}"]


async def test_a_repair_reads_only_what_was_found(source: Scripted) -> None:
    destination = await filled(source)
    whole = content(destination)
    damage(destination, "a0003")
    del destination.assets["c"]["a0004"]
    source.pulled.clear()
    found = await verify(source, [destination], name="media", repair=True)
    assert counts(found) == {("memory", "ledger", DIFFERENT): 1, ("memory", "ledger", MISSING): 1}
    assert sorted(source.pulled) == ["a0003", "a0004"]
    assert (found.exit_code, content(destination)) == (0, whole)
    assert (await verify(source, [destination], name="media")).in_step


async def test_without_repair_nothing_is_written_or_remembered(source: Scripted) -> None:
    destination = await filled(source)
    damage(destination, "a0003")
    source.pulled.clear()
    await verify(source, [destination], name="media")
    await sync(source, [destination], name="media")
    assert source.pulled == []


async def test_a_repair_deletes_under_the_guard(source: Scripted) -> None:
    destination = await filled(source)
    for number in range(20):
        del source.assets["c"][f"a{number:04}"]
    found = await verify(source, [destination], name="media", repair=True)
    assert (found.exit_code, len(destination.assets["c"])) == (4, 30)
    allowed = DeleteGuard(max_share=1)
    assert (await verify(source, [destination], name="media", repair=True, deletes=allowed)).exit_code == 0
    assert len(destination.assets["c"]) == 10


async def test_only_collections_with_a_finding_are_repaired() -> None:
    source = Scripted({"c": assets(3), "d": assets(3)})
    destination = await filled(source)
    damage(destination, "a0001")
    found = await verify(source, [destination], name="media", repair=True)
    assert found.repair is not None
    assert found.repair.collections.keys() == {"c"}


async def test_two_destinations_are_compared_by_what_both_were_given(source: Scripted) -> None:
    one, other = await filled(source, "one"), await filled(source, "other")
    changed = Scripted({"c": [asset("a0001", version=2), *assets(30)[2:]]})
    changed.assets["c"]["a0001"] = replace(changed.assets["c"]["a0001"], fingerprint="v1")
    third = await filled(changed, "third")
    assert (await verify(source, [one, other], name="media")).in_step
    found = await verify(source, [one, third], name="media")
    # Each asset has its own row and three features, each of them a row and a vector.
    assert counts(found) == {
        ("third", "source", MISSING): 1,
        ("third", "one", MISSING): 7,
        ("third", "one", DIFFERENT): 7,
    }
    repaired = await verify(source, [one, third], name="media", repair=True)
    assert (repaired.exit_code, content(third)) == (0, content(one))


async def test_what_one_of_two_has_in_quarantine_is_no_difference(source: Scripted) -> None:
    one, other = await filled(source, "one"), await filled(source, "other")
    held = other.assets["c"]["a0001"]
    feature, *rest = held.features
    other.apply(_batch(replace(held, features=tuple(rest), rejected=(_zero(held.asset_id, feature.feature_id),))))
    assert (await verify(source, [one, other], name="media")).in_step


async def test_only_one_of_two_may_have_an_earlier_version_of_what_is_in_quarantine(source: Scripted) -> None:
    infinite: dict[str, Vector] = {"multimodal-v1": np.full(3, np.inf, np.float32)}
    parts = [feature("s0", start_time="soon"), feature("s1", vectors=infinite), feature("i0", "image")]
    good = [feature("s0", start_time=1.5), *(feature(one.feature_id, one.modality) for one in parts[1:])]
    source.assets["c"]["a0001"] = asset("a0001", 1, good)
    one = await filled(source, "one")
    source.assets["c"]["a0001"] = asset("a0001", 2, parts)
    other = await filled(source, "other")
    await sync(source, [one], name="media")
    assert [[record.kept for _, record, _ in each.rejected()] for each in (one, other)] == [[True] * 2, [False] * 2]
    assert (await verify(source, [one, other], name="media")).in_step
    held = other.assets["c"]["a0001"]
    changed = [replace(part, row_hash=b"other") if part.feature_id == "i0" else part for part in held.features]
    other.apply(_batch(replace(held, features=tuple(changed))))
    assert ("other", "one", DIFFERENT) in counts(await verify(source, [one, other], name="media"))


async def test_of_each_count_a_hundred_are_named(source: Scripted) -> None:
    source.assets["c"] |= {name.asset_id: name for name in assets(250)}
    destination = await filled(source)
    for asset_id in list(destination.assets["c"]):
        damage(destination, asset_id)
    told = (await verify(source, [destination], name="media")).to_dict()
    assert told["exit_code"] == 1
    (count,) = told["collections"]["c"]["counts"]
    assert count == {"where": "memory", "against": "ledger", "kind": "different", "records": 250}
    assert Counter(one["kind"] for one in told["collections"]["c"]["findings"]) == {"different": 100}


def test_a_destination_that_cannot_be_checked_is_named(source: Scripted) -> None:
    class Plain(MemoryDestination):
        capabilities = MemoryDestination.capabilities - {Capability.VERIFY}

    settings = settings_for(source, Plain("plain"))
    with pytest.raises(ConfigurationError, match="plain: this destination cannot be checked"):
        run_verify(settings)


def _as_any(value: Any) -> Any:
    return value


def _zero(asset_id: str, feature_id: str) -> Rejected:
    return Rejected(asset_id, Reason.ZERO_VECTOR, "all zero", feature_id, "video")


def _loaded(one: Asset) -> MappedAsset:
    record = Mapper(SchemaMapping(), frozenset(MODALITIES)).map(one).record
    assert isinstance(record, MappedAsset)
    return record


def _batch(*loaded: MappedAsset) -> Batch:
    return Batch("c", frozenset(MODALITIES), loaded)


async def test_an_asset_that_is_set_aside_is_explained_and_not_missing_for_ever(source: Scripted) -> None:
    source.instead = {"a0003": Rejected("a0003", Reason.BAD_ID, "the asset id cannot be part of an address")}
    destination = await filled(source)
    source.assets["c"]["a0004"] = asset("a0004", version=2)
    source.instead["a0004"] = Rejected("a0004", Reason.MALFORMED, "nested too deeply")
    assert (await sync(source, [destination], name="media")).exit_code == 3
    source.assets["c"]["new"] = asset("new")
    found = await verify(source, [destination], name="media")
    assert [finding.record for finding in found.collections["c"].findings] == [Discrepancy(MISSING, "new")]
    assert found.collections["c"].notes == [
        "memory: 2 assets are in quarantine, and not as at the source for that reason: vectorferry quarantine list"
    ]


class PartlyDown(Scripted):
    """Cannot list these collections, and does not have another that its settings name."""

    down: Mapping[str, SourceError]
    not_found: Mapping[str, str] = {"lost": "source.collections: there is no collection lost"}

    async def scan(self, collection: str) -> AsyncIterator[Listing]:
        if collection in self.down:
            raise self.down[collection]
        async for listing in super().scan(collection):
            yield listing


async def test_a_collection_that_cannot_be_listed_is_named_and_the_others_are_checked() -> None:
    source, destination = PartlyDown({name: assets(3) for name in "abcd"}), MemoryDestination()
    source.down = {}
    assert (await sync(source, [destination], name="media")).exit_code == 1
    source.down = {"a": SourceError("503"), "b": CollectionError("403")}
    damage_in(destination, "b", "a0001")
    damage_in(destination, "d", "a0001")
    found = await verify(source, [destination], name="media", repair=True)
    assert found.exit_code == 1
    assert {name: report.error for name, report in found.collections.items()} == {
        "a": "503",
        "b": "403",
        "c": None,
        "d": None,
        "lost": "source.collections: there is no collection lost",
    }
    assert found.repair is not None
    assert (list(found.repair.collections), found.repair.exit_code) == (["d"], 0)
    assert found.to_dict()["collections"]["a"]["error"] == "503"


async def test_a_source_that_is_down_is_not_asked_for_every_collection() -> None:
    source = PartlyDown({name: [] for name in "abcdef"})
    source.down = {name: CollectionError(f"403 {name}") for name in "ab"} | {n: SourceError(f"503 {n}") for n in "cdef"}
    with pytest.raises(SourceError, match="503 e"):
        await verify(source, [MemoryDestination()], name="media")


async def test_a_sample_of_the_source_is_compared_row_by_row_and_mended(source: Scripted) -> None:
    destination = await filled(source)
    size = len(source.assets["c"])
    first, second = source.assets["c"]["a0001"], source.assets["c"]["a0002"]
    wrong = asset("a0001", version=7)
    renamed = replace(second, features=(*second.features[:2], feature("i9", "image")))
    destination.apply(_batch(*(_loaded(replace(one, fingerprint="v1")) for one in (wrong, renamed))))
    assert (await verify(source, [destination], name="media")).in_step
    found = await verify(source, [destination], name="media", source_sample=size)
    # The first has other metadata, and its features other rows and vectors; the second has another image.
    assert counts(found) == {
        ("memory", "source", DIFFERENT): 1 + 2 * len(first.features),
        ("memory", "source", MISSING): 2,
        ("memory", "source", EXTRA): 2,
    }
    repaired = await verify(source, [destination], name="media", source_sample=size, repair=True)
    assert repaired.exit_code == 0
    assert (await verify(source, [destination], name="media", source_sample=size)).in_step
    assert content(destination) == content(await filled(source, "fresh"))


async def test_a_sample_of_the_source_is_another_one_each_time(source: Scripted) -> None:
    destination, samples = await filled(source), set[tuple[str, ...]]()
    for _ in range(20):
        source.pulled.clear()
        assert (await verify(source, [destination], name="media", source_sample=3)).in_step
        assert len(set(source.pulled)) == 3
        samples.add(tuple(sorted(source.pulled)))
    assert len(samples) > 1


async def test_what_a_destination_does_not_keep_is_no_difference_to_the_source(source: Scripted) -> None:
    destination = await filled(source)
    one = source.assets["c"]["a0001"]
    other = {**one.features[0].vectors, "words": np.ones(4, dtype=np.float32)}
    source.assets["c"]["a0001"] = replace(one, features=(replace(one.features[0], vectors=other), *one.features[1:]))
    found = await verify(source, [destination], name="media", source_sample=100)
    assert (found.in_step, found.collections["c"].notes) == (True, ["memory keeps no vector words"])


async def test_collections_that_no_book_names_are_told_in_order(source: Scripted) -> None:
    store = MemoryDestination()
    await sync(source, [store], name="m")
    others = [f"other{number}" for number in range(9)]
    store.assets.update(dict.fromkeys(others, store.assets["c"]))
    assert [*(await verify(source, [store], name="m")).collections] == ["c", *others]
