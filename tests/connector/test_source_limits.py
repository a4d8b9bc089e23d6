"""A source that makes more than anybody would want: what is beyond its budgets is set aside, and makes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from vectorferry.connector._engine._mapper import Mapper
from vectorferry.connector._model._last_good import with_last_good
from vectorferry.connector._model._limits import REMAINDER
from vectorferry.connector.plugin import (
    MODALITIES,
    Asset,
    Feature,
    MappedAsset,
    Reason,
    Rejected,
    SchemaMapping,
    SourceLimits,
    Vector,
)
from vectorferry.connector.testing import MemoryDestination, MemorySource, sync


def vector(dimension: int = 2) -> Vector:
    return np.ones(dimension, dtype=np.float32)


def asset(asset_id: str, features: Iterable[Feature], rejected: Iterable[Rejected] = ()) -> Asset:
    return Asset(asset_id, "1", modality="video", features=tuple(features), rejected=tuple(rejected))


def feature(feature_id: str, vectors: dict[str, Vector] | None = None, **fields: Any) -> Feature:
    return Feature(feature_id, "video", fields, vectors or {})


def mapped(one: Asset, limits: SourceLimits | None = None, mapping: SchemaMapping | None = None) -> MappedAsset:
    record = Mapper(mapping or SchemaMapping(), frozenset(MODALITIES), limits).map(one).record
    assert isinstance(record, MappedAsset)
    return record


async def stored_kinds(store: MemoryDestination, assets: Iterable[Asset], **settings: Any) -> set[Any]:
    await sync(MemorySource({"c": list(assets)}), [store], name="media", **settings)
    return set(store.vector_kinds())


async def test_three_hundred_named_vectors_make_no_more_places_than_the_budget_has() -> None:
    store = MemoryDestination()
    many = [asset(f"a{n}", [feature("f", {f"v{n}-{each}": vector() for each in range(60)})]) for n in range(5)]
    assert len(await stored_kinds(store, many)) == 32
    rejected = [record for _, record, _ in store.rejected()]
    assert {record.reason for record in rejected} == {Reason.OVER_LIMIT}
    assert all("limits.vectors_per_modality" in record.detail for record in rejected)
    assert len(rejected) == 300 - 32


async def test_a_later_run_counts_what_is_stored() -> None:
    store, limits = MemoryDestination(), SourceLimits(vectors_per_modality=2, dimensions_per_vector=2)
    await stored_kinds(store, [asset("a", [feature("f", {"one": vector(), "two": vector()})])], limits=limits)
    later = asset("b", [feature("f", {"three": vector(), "two": vector(3), "one": vector()})])
    first = asset("a", [feature("f", {"one": vector(), "two": vector()})])
    kinds = await stored_kinds(store, [first, later], limits=limits)
    assert {name for _, name, _ in kinds} == {"one", "two"}
    assert {(name, size) for _, name, size in kinds} == {("one", 2), ("two", 2), ("two", 3)}


async def test_a_hundred_and_fifty_dimensions_of_a_name_make_no_more_places_than_the_budget_has() -> None:
    store = MemoryDestination()
    many = [asset(f"a{size}", [feature("f", {"v": vector(size)})]) for size in range(1, 151)]
    assert len(await stored_kinds(store, many)) == 4
    assert all("limits.dimensions_per_vector" in record.detail for _, record, _ in store.rejected())


def test_a_vector_that_the_mapping_names_is_let_in_beyond_the_budget() -> None:
    mapping = SchemaMapping.model_validate({"video": {"vectors": {"mine": {}}}})
    one = asset("a", [feature("f", {"other": vector(), "third": vector(), "mine": vector()})])
    names = mapped(one, SourceLimits(vectors_per_modality=1), mapping).features[0].vectors
    assert set(names) == {"other", "mine"}


@pytest.mark.parametrize("setting", ["features_per_asset", "rows_per_asset"])
def test_an_asset_with_more_than_its_budget_is_set_aside_as_a_whole(setting: str) -> None:
    one = asset("a", [feature(f"f{n}") for n in range(4)])
    record = Mapper(SchemaMapping(), frozenset(MODALITIES), SourceLimits(**{setting: 3})).map(one).record
    assert isinstance(record, Rejected)
    assert (record.reason, record.feature_id) == (Reason.OVER_LIMIT, "")
    assert f"limits.{setting}" in record.detail


def test_of_many_rejected_records_quarantine_has_some_and_the_number_of_the_rest() -> None:
    bad = [Rejected("a", Reason.MALFORMED, "bad", f"bad{n}", "video") for n in range(10)]
    bad += [Rejected("a", Reason.UNKNOWN_MODALITY, "bad", f"odd{n}", f"modality{n}") for n in range(10)]
    rejected = mapped(asset("a", [feature("f")], bad), SourceLimits(quarantine_per_asset=4)).rejected
    assert [record.feature_id for record in rejected[:4]] == ["bad0", "bad1", "bad2", "bad3"]
    assert {record.modality: record.detail for record in rejected[4:]} == {
        "": "and 10 more records of this asset; limits.quarantine_per_asset is 4",
        "video": "and 6 more records of this asset; limits.quarantine_per_asset is 4",
    }


def test_what_is_stored_of_records_beyond_the_budget_stays() -> None:
    """Of whole features, and of a vector and a column of one that was read."""
    limits = SourceLimits(quarantine_per_asset=1)
    mapping = SchemaMapping.model_validate({"video": {"columns": {"n": {"path": "n", "type": "integer"}}}})
    before = mapped(
        asset("a", [feature(f"f{n}", {"v": vector()}, n=n) for n in range(4)]), SourceLimits(), mapping
    ).features
    nan = np.full(2, np.nan, dtype=np.float32)
    now = [feature(f"f{n}", {"v": nan}, n="x") for n in range(2)]
    bad = [Rejected("a", Reason.ZERO_VECTOR, "bad", f"f{n}", "video") for n in range(2, 4)]
    after = with_last_good(mapped(asset("a", now, bad), limits, mapping), before, mapping)
    assert [each.feature_id for each in after.features] == ["f0", "f1", "f2", "f3"]
    assert all(set(each.vectors) == {"v"} for each in after.features)
    assert [each.columns["n"] for each in after.features] == [0, 1, 2, 3]
    assert [each.kept for each in after.rejected if each.feature_id == REMAINDER] == [True]
