"""The destination in memory keeps the protocol's promises that a run does not show."""

from __future__ import annotations

import numpy as np
import pytest

from tests.connector.worlds import asset, feature
from vectorferry.connector._engine._mapper import Mapper
from vectorferry.connector.plugin import (
    MODALITIES,
    Batch,
    Counts,
    DestinationError,
    MappedAsset,
    Modality,
    Reason,
    Rejected,
    SchemaMapping,
    SearchQuery,
)
from vectorferry.connector.testing import MemoryDestination, MemorySource, sync

NAME = "multimodal-v1"


async def filled() -> MemoryDestination:
    near = feature("near", vectors={NAME: np.array([1, 0.1], dtype=np.float32)}, transcription="yes")
    far = feature("far", vectors={NAME: np.array([-1, 0], dtype=np.float32)})
    other = feature("other", vectors={NAME: np.array([1, 0, 0], dtype=np.float32)})
    store = MemoryDestination()
    await sync(
        MemorySource({"c": [asset("a", features=[near, far, other, feature("n", vectors={})])]}), [store], name="m"
    )
    return store


async def test_search_finds_the_nearest_of_the_same_shape() -> None:
    store = await filled()
    vector = np.array([1, 0], dtype=np.float32)
    found = store.search(SearchQuery(Modality.VIDEO, NAME, vector)).rows
    assert [row["feature_id"] for row in found] == ["near", "far"]
    assert found[1]["distance"] == pytest.approx(2)
    assert len(store.search(SearchQuery(Modality.VIDEO, NAME, vector, limit=1)).rows) == 1
    only = store.search(SearchQuery(Modality.VIDEO, NAME, vector, filters={"transcription": "yes"})).rows
    assert [row["feature_id"] for row in only] == ["near"]
    assert [r["feature_id"] for r in store.search(SearchQuery(Modality.VIDEO, NAME, like="far")).rows] == [
        "far",
        "near",
    ]


async def test_a_search_by_nothing_says_what_to_give() -> None:
    store = await filled()
    with pytest.raises(DestinationError, match="give a dense vector"):
        store.search(SearchQuery(Modality.VIDEO, NAME, like="no such feature"))


async def test_status_counts_what_is_there() -> None:
    status = (await filled()).status()
    assert status.assets == {"c": 1}
    assert {table.name: table.rows for table in status.tables} == {"video": 4, "image": 0, "text": 0, "audio": 0}


async def test_the_same_batch_again_changes_nothing() -> None:
    store = MemoryDestination()
    item = Mapper(SchemaMapping(), frozenset(MODALITIES)).map(asset("a")).record
    assert isinstance(item, MappedAsset)
    batch = Batch("c", frozenset(MODALITIES), (item,), (Rejected("b", Reason.UNREADABLE, "no"),))
    assert store.apply(batch).assets == Counts(inserted=1, quarantined=1)
    again = store.apply(batch)
    assert again.assets == Counts(unchanged=1, quarantined=1)
    assert again.features == {Modality.VIDEO: Counts(unchanged=2), Modality.IMAGE: Counts(unchanged=1)}
    assert store.quarantined("c") == 1


async def test_removing_twice_removes_once() -> None:
    store = await filled()
    assert store.remove("c", ["a", "never there"]).assets == Counts(deleted=1)
    assert store.remove("c", ["a"]).assets == Counts()
    assert list(store.asset_ids("c")) == []
