"""A source's neighbours beside a destination's: what counts as the same, and what is told of the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.connector.worlds import asset, feature, settings_for
from vectorferry.connector._engine import Comparison, run_compare
from vectorferry.connector.plugin import (
    Asset,
    Capability,
    ConfigurationError,
    Modality,
    Neighbours,
    NotSupportedError,
    Probe,
    SearchAnswer,
    SearchQuery,
    SourceError,
    SparseVector,
    StopError,
    Vector,
)
from vectorferry.connector.testing import MemoryDestination, MemorySource, sync

NAME = "multimodal-v1"


def at(degrees: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], dtype=np.float32)


def circle(count: int, modality: str = "video") -> list[Asset]:
    """One feature each, a degree apart, so that neighbours are those beside it."""
    made = [feature(f"f{number:02}", modality, f"at {number}", {NAME: at(number)}) for number in range(count)]
    return [asset(f"a{number:02}", features=[each]) for number, each in enumerate(made)]


def _distance(one: Vector, other: Vector) -> float:
    assert isinstance(one, np.ndarray)
    assert isinstance(other, np.ndarray)
    return -float(np.dot(one, other))


class Searching(MemorySource):
    """Finds what is nearest by its own vectors. `wrong` answers stand in the place of those to a feature."""

    capabilities = frozenset({Capability.NEIGHBOURS})

    def __init__(self, assets: dict[str, list[Asset]]) -> None:
        super().__init__(assets)
        self.wrong: dict[str, Sequence[str] | Exception | None] = {}
        self.probes: list[Probe] = []

    async def neighbours(self, collection: str, probe: Probe, *, limit: int) -> Neighbours | None:
        self.probes.append(probe)
        features = [each for asset in self.assets[collection].values() for each in asset.features]
        if (answer := self.wrong.get(probe.feature_id, "")) == "":
            near = sorted(features, key=lambda each: _distance(each.vectors[NAME], probe.vector))
            answer = [each.feature_id for each in near if each.modality == probe.modality][:limit]
        if isinstance(answer, Exception):
            raise answer
        return None if answer is None else Neighbours(probe.vector, answer)


async def synced(source: MemorySource) -> MemoryDestination:
    store = MemoryDestination()
    assert (await sync(source, [store], name="m")).exit_code == 0
    return store


def compared(source: MemorySource, store: MemoryDestination, **options: Any) -> Comparison:
    return run_compare(settings_for(source, store), **options)


@pytest.fixture
def source() -> Searching:
    return Searching({"c": circle(30)})


async def test_the_same_neighbours_agree_wholly(source: Searching) -> None:
    comparison = compared(source, await synced(source), sample=12, k=5)
    (vector,) = comparison.vectors
    assert (vector.modality, vector.vector_name, vector.compared, vector.exact) == (Modality.VIDEO, NAME, 12, True)
    assert (vector.overlap, vector.differences, comparison.exit_code) == (1.0, [], 0)
    assert all(probe.text.startswith("at ") for probe in source.probes)


async def test_what_only_one_side_has_is_named(source: Searching) -> None:
    store = await synced(source)
    source.wrong = {f"f{number:02}": ["f10", "strange"] for number in range(30)}
    (vector,) = compared(source, store, sample=30, k=3).vectors
    (middle,) = [each for each in vector.differences if each.feature_id == "f10"]
    assert middle.overlap == pytest.approx(1 / 3)
    assert middle.only_source == ["strange"]
    # Those on either side are equally far away: neither is missing more than the other.
    assert middle.only_stored == ["f10"][1:]
    first = next(each for each in vector.differences if each.feature_id == "f00")
    assert (first.only_source, first.only_stored) == (["f10", "strange"], ["f00", "f01"])
    told = compared(source, store, sample=30, k=3).to_dict()["vectors"][0]
    assert told["overlap"] == vector.overlap
    assert told["overlap"] < 0.4
    assert {each["feature_id"] for each in told["differences"]} == {each.feature_id for each in vector.differences}


@pytest.mark.parametrize("count", [9, 200])
async def test_features_that_are_equally_near_may_stand_in_each_other_s_place(count: int) -> None:
    twins = [
        replace(each, features=tuple(replace(f, vectors={NAME: at(1)}) for f in each.features))
        for each in circle(count)
    ]
    source = Searching({"c": twins})
    store = await synced(source)
    source.wrong = {f"f{number:02}": ["f08", "f07", "f06"] for number in range(count)}
    (vector,) = compared(source, store, k=3).vectors
    assert (vector.overlap, vector.differences) == (1.0, [])


async def test_an_empty_answer_agrees_with_nothing(source: Searching) -> None:
    store = await synced(source)
    source.wrong = {f"f{number:02}": [] for number in range(30)}
    (vector,) = compared(source, store, sample=4, k=1).vectors
    assert vector.overlap == 0
    assert all(each.only_stored == [each.feature_id] for each in vector.differences)


async def test_each_modality_is_compared_by_itself_and_each_collection(source: Searching) -> None:
    source.assets["c"] |= {
        f"i{each.asset_id}": replace(each, asset_id=f"i{each.asset_id}") for each in circle(4, "image")
    }
    source.assets["d"] = {each.asset_id: each for each in circle(30)}
    store = await synced(source)
    comparison = compared(source, store, collection="c", sample=3, k=4)
    assert [(each.modality, each.compared, each.overlap) for each in comparison.vectors] == [
        (Modality.IMAGE, 3, 1.0),
        (Modality.VIDEO, 3, 1.0),
    ]
    with pytest.raises(ConfigurationError, match="say which collection"):
        compared(source, store)


async def test_the_sample_is_the_same_each_time(source: Searching) -> None:
    store = await synced(source)
    for _ in range(2):
        compared(source, store, sample=5)
    ids = [probe.feature_id for probe in source.probes]
    assert (len(ids), ids[:5]) == (10, ids[5:])


async def test_what_cannot_be_asked_is_told_and_the_rest_is_compared(source: Searching) -> None:
    store = await synced(source)
    source.wrong = {"f00": None, "f01": SourceError("503 for an hour")}
    comparison = compared(source, store, sample=30)
    (vector,) = comparison.vectors
    assert (vector.compared, vector.wordless, vector.error, vector.overlap) == (28, 1, "503 for an hour", 1.0)
    assert comparison.exit_code == 1


async def test_sparse_vectors_that_a_search_does_not_take_are_not_called_wordless() -> None:
    sparse = SparseVector(np.array([1], np.int32), np.array([1], np.float32))
    source = Searching({"c": [asset("a", features=[feature("f", "text", "at 1", {"splade": sparse})])]})
    source.wrong = {"f": None}
    comparison = compared(source, await synced(source))
    (vector,) = comparison.vectors
    assert (vector.compared, vector.wordless, vector.sparse, comparison.exit_code) == (0, 0, 1, 0)
    assert comparison.to_dict()["vectors"][0]["sparse"] == 1


class Scored(MemoryDestination):
    """Keeps records, not whole assets, and answers with scores, as Pinecone does."""

    capabilities = MemoryDestination.capabilities - {Capability.STORED_ASSETS}

    def search(self, query: SearchQuery) -> SearchAnswer:
        rows = [{"feature_id": row["feature_id"], "score": 1 - row["distance"]} for row in super().search(query).rows]
        return SearchAnswer("a call", rows, "python")


async def test_a_destination_that_keeps_no_whole_assets_is_asked_for_a_sample_of_another(source: Searching) -> None:
    store, scored = MemoryDestination(), Scored("scored")
    assert (await sync(source, [scored, store], name="m")).exit_code == 0
    comparison = run_compare(settings_for(source, scored, store), destination_name="scored", sample=3)
    (vector,) = comparison.vectors
    assert (comparison.destination, vector.overlap, vector.exact) == ("scored", 1.0, False)
    assert run_compare(settings_for(source, scored, store), sample=3).destination == "memory"


async def test_there_has_to_be_a_search_and_something_to_compare(source: Searching) -> None:
    with pytest.raises(NotSupportedError, match="nothing to compare with"):
        compared(MemorySource({"c": circle(1)}), MemoryDestination())
    with pytest.raises(StopError, match="memory holds no vector of c; run `vectorferry sync` first"):
        compared(source, MemoryDestination())
