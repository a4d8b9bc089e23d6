"""Embedding tasks as collections: what was embedded without an index, for as long as it is kept."""

from __future__ import annotations

from typing import Any

import pytest

from vectorferry.connector.plugin import Asset, AssetState, IncompleteScanError, Reason, Rejected
from vectorferry.connector.sandbox import DropField, Fault, SetField, TwelveLabsDialect

from .worlds import listed, read, reading, source_for

SCOPES = {"embed-tasks": "video", "embed-v2-tasks": "asset"}


async def test_tasks_are_collections_when_asked_for() -> None:
    async with reading(embed_tasks=True, collections=("films",)) as (source, sandbox):
        films = sandbox.twelvelabs.index_id("films")
        assert list(await source.collections()) == [films, "embed-tasks", "embed-v2-tasks"]


async def test_tasks_are_enough_where_there_is_no_index() -> None:
    async with reading(embed_tasks=True) as (source, sandbox):
        for index in sandbox.twelvelabs.index_ids():
            sandbox.twelvelabs.remove_index(index)
        assert list(await source.collections()) == ["embed-tasks", "embed-v2-tasks"]


@pytest.mark.parametrize("collection", SCOPES)
async def test_a_list_of_tasks_never_promises_to_be_complete(collection: str) -> None:
    async with reading() as (source, _):
        with pytest.raises(IncompleteScanError, match="seven days only") as raised:
            _ = [listing async for listing in source.scan(collection)]
        states = [listing.state for listing in (await listed(source, collection)).values()]
    assert raised.value.unknowable
    assert states.count(AssetState.READY) == 4
    assert states.count(AssetState.PENDING) == states.count(AssetState.FAILED) == 1


@pytest.mark.parametrize("collection", SCOPES)
async def test_a_task_is_an_asset_with_a_vector_for_each_option(collection: str) -> None:
    async with reading() as (source, _):
        found = await listed(source, collection)
        ready = [name for name, listing in found.items() if listing.state is AssetState.READY]
        results = await read(source, collection, ready)
        assert await listed(source, collection) == found
    assert sorted(results) == sorted(ready)
    for asset in results.values():
        assert isinstance(asset, Asset)
        assert asset.rejected == ()
        assert {feature.modality for feature in asset.features} == {asset.modality}
        assert {feature.fields["embedding_scope"] for feature in asset.features} == {"clip", SCOPES[collection]}
        assert asset.url is not None
        assert asset.fields["model_name"] == "marengo3.0"
        for feature in asset.features:
            ((name, vector),) = feature.vectors.items()
            assert name == f"marengo3.0-{feature.fields['embedding_option']}"
            assert len(vector) == 512  # type: ignore[arg-type]
            assert feature.fields["start_time"] < feature.fields["end_time"]


async def test_the_model_of_the_second_generation_is_found_without_a_scan() -> None:
    async with reading() as (source, sandbox):
        found = await listed(source, "embed-v2-tasks")
        another = source_for(sandbox)
        results = await read(another, "embed-v2-tasks", found)
        assert [type(result) for result in results.values()] == [Asset] * 4
        # Once by `listed`, once for the models, and once since the one that failed is not given though it was listed.
        assert sandbox.requests.counts()["twelvelabs.embed_v2_tasks.list"] == 3
        await another.aclose()


async def test_a_list_that_names_no_model_is_walked_over_once() -> None:
    """It was, for each task."""
    async with reading() as (source, sandbox):
        found = await listed(source, "embed-v2-tasks")
        sandbox.faults.add(Fault(route="twelvelabs.embed_v2_tasks.list", do=DropField(field="model_name")))
        another = source_for(sandbox)
        results = await read(another, "embed-v2-tasks", found)
        assert [result.reason for result in results.values() if isinstance(result, Rejected)] == [Reason.UNREADABLE] * 4
        # Once by `listed`, once for the models, and once since the one that failed is not given though it was listed.
        assert sandbox.requests.counts()["twelvelabs.embed_v2_tasks.list"] == 3
        await another.aclose()


@pytest.mark.parametrize("collection", SCOPES)
async def test_a_task_that_is_nested_too_deeply_is_set_aside(collection: str) -> None:
    deep: list[Any] = []
    for _ in range(150):
        deep = [deep]
    async with reading() as (source, sandbox):
        found = await listed(source, collection)
        sandbox.faults.add(Fault(route="/v1.3/embed.*/tasks/.+", do=SetField(field="input_url", value=deep)))
        results = await read(source, collection, [name for name in found if found[name].state is AssetState.READY])
    assert [result.reason for result in results.values() if isinstance(result, Rejected)] == [Reason.MALFORMED] * 4


@pytest.mark.parametrize(
    ("collection", "action"),
    [
        ("embed-tasks", DropField(field="segments")),
        ("embed-tasks", SetField(field="segments", value=[])),
        ("embed-v2-tasks", SetField(field="data", value=None)),
    ],
)
async def test_a_task_whose_vectors_are_gone_is_left_out(collection: str, action: DropField | SetField) -> None:
    async with reading() as (source, sandbox):
        found = await listed(source, collection)
        await read(source, collection, [])
        sandbox.faults.add(Fault(route="/v1.3/embed.*/tasks/.+", do=action))
        assert await read(source, collection, found) == {}


@pytest.mark.parametrize("collection", SCOPES)
async def test_both_kinds_may_be_in_one_list(collection: str) -> None:
    async with reading(TwelveLabsDialect(shared_tasks=True)) as (source, _):
        found = await listed(source, collection)
        ready = [name for name, listing in found.items() if listing.state is AssetState.READY]
        results = await read(source, collection, ready)
        assert len(results) == 8
        assert all(isinstance(asset, Asset) and asset.features for asset in results.values())


def row(number: int, option: str | None, scope: str, **more: Any) -> dict[str, Any]:
    """A row of Marengo 3.5, whose second array is as long as the vector."""
    vector = [float(number), 1.0, 2.0, 3.0]
    return {
        "embedding": vector,
        "embedding_uncertainty": [0.5] * 4,
        "embedding_option": option,
        "embedding_scope": scope,
        **more,
    }


async def test_parts_of_one_page_and_chunks_of_one_text_are_features_of_their_own() -> None:
    """Marengo 3.5 tells them apart by neither time nor scope."""
    page = {"start_page_number": 2, "end_page_number": 2}
    rows = [
        row(0, "visual", "page", **page),
        *(row(number, "visual", "page", **page, quadrant=f"q{number}") for number in range(1, 5)),
        *(row(5 + number, "text", "chunk", **page, chunk_index=number) for number in range(3)),
        row(8, "fused", "clip", start_sec=0, end_sec=5.4),
        row(9, "visual", "clip", start_sec=0, end_sec=5.4),
    ]
    async with reading() as (source, sandbox):
        found = await listed(source, "embed-v2-tasks")
        name = next(name for name, listing in found.items() if listing.state is AssetState.READY)
        sandbox.faults.add(Fault(route="/v1.3/embed-v2/tasks/.+", do=SetField(field="data", value=rows)))
        both = [(await read(source, "embed-v2-tasks", [name]))[name] for _ in range(2)]
    for asset in both:
        assert isinstance(asset, Asset)
        assert asset.rejected == ()
        by_number = {int(vector[0]): f for f in asset.features for vector in f.vectors.values()}  # type: ignore[index]
        assert len({feature.feature_id for feature in asset.features}) == len(by_number) == 10
        assert {name.rpartition("-")[2] for feature in asset.features for name in feature.vectors} == {
            "visual",
            "text",
            "fused",
        }
        assert all(len(feature.vectors) == 1 for feature in asset.features)
        assert by_number[3].fields["quadrant"] == "q3"
        assert by_number[7].fields["chunk_index"] == 2
        assert by_number[8].fields["embedding_uncertainty"] == [0.5] * 4
    first, second = both
    assert isinstance(first, Asset)
    assert isinstance(second, Asset)
    assert [f.feature_id for f in first.features] == [f.feature_id for f in second.features]


@pytest.mark.parametrize("collection", SCOPES)
async def test_an_answer_about_another_task_is_not_taken(collection: str) -> None:
    async with reading() as (source, sandbox):
        ready = [name for name, task in (await listed(source, collection)).items() if task.state is AssetState.READY]
        sandbox.faults.add(Fault(route="twelvelabs.*tasks.get", do=SetField(field="_id", value=ready[1])))
        result = (await read(source, collection, ready[:1]))[ready[0]]
        assert isinstance(result, Rejected)
        assert "another task" in result.detail
