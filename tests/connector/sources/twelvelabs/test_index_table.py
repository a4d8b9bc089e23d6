"""The indexes as a table: what a collection's id stands for, without a request of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from pydantic import SecretStr

from vectorferry import Summary
from vectorferry.connector.sandbox import Fault, GeneratedIndexes, Sandbox, SandboxSettings, SetField
from vectorferry.connector.sources.twelvelabs import INDEXES, TwelveLabsSettings, TwelveLabsSource
from vectorferry.connector.testing import MemoryDestination, sync


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    generated = GeneratedIndexes(assets=2, segments_per_asset=1, dimension=4, indexes=("ads", "films"))
    async with Sandbox(SandboxSettings(generate_twelvelabs=generated)) as running:
        yield running


def source_of(sandbox: Sandbox, **settings: Any) -> TwelveLabsSource:
    key = SecretStr(sandbox.api_key)
    return TwelveLabsSettings(
        base_url=sandbox.twelvelabs_url, api_key=key, entities=False, reread_days=None, **settings
    ).open()


async def synced(sandbox: Sandbox, store: MemoryDestination, **settings: Any) -> Summary:
    async with aclosing(source_of(sandbox, **settings)) as source:
        return await sync(source, [store], name="m")


def names(store: MemoryDestination) -> set[str]:
    return {row.columns["name"] for row in store.related["indexes"].values()}


async def test_each_index_is_a_row_from_the_list_that_is_made_anyway(sandbox: Sandbox) -> None:
    store = MemoryDestination()
    summary = await synced(sandbox, store)
    assert summary.exit_code == 0
    assert store.related["indexes"].keys() == summary.collections.keys()
    assert names(store) == {"ads", "films"}
    (row, *_) = [dict(row.columns) for row in store.related["indexes"].values()]
    assert (row["model_name"], row["options"]) == ("marengo3.0", ["visual", "audio", "transcription"])
    assert row["created_at"] is not None
    assert not {"index_name", "created_at", "_id"} & row["extra"].keys()
    assert sandbox.requests.counts()["twelvelabs.indexes.list"] == 1


async def test_a_new_name_is_written_and_assets_are_read_for_its_column(sandbox: Sandbox) -> None:
    store = MemoryDestination()
    await synced(sandbox, store)
    sandbox.faults.add(Fault(route="twelvelabs.indexes.list", do=SetField(field="index_name", value="trailers")))
    summary = await synced(sandbox, store)
    assert names(store) == {"trailers"}
    assert [(seen.pulled, seen.listed) for seen in summary.collections.values() if seen.pulled != seen.listed] == []


async def test_a_list_that_is_not_whole_deletes_no_row(sandbox: Sandbox) -> None:
    store = MemoryDestination()
    await synced(sandbox, store)
    wanted = sorted(store.related["indexes"])[:1]
    sandbox.twelvelabs.remove_index(next(iter(store.related["indexes"].keys() - set(wanted))))
    sandbox.faults.add(Fault(route="twelvelabs.indexes.list", do=SetField(field="total_results", value=2)))
    summary = await synced(sandbox, store, collections=wanted)
    assert "not complete" in (summary.related["indexes"].error or "")
    assert len(store.related["indexes"]) == 2
    sandbox.faults.clear()
    await synced(sandbox, store, collections=wanted)
    assert store.related["indexes"].keys() == set(wanted)


async def test_who_has_not_listed_the_collections_lists_them_for_the_table(sandbox: Sandbox) -> None:
    async with aclosing(source_of(sandbox)) as source:
        rows = [row async for row in source.related_rows(INDEXES)]
    assert {row["name"] for row in rows} == {"ads", "films"}


def test_an_index_has_a_page_in_the_playground_and_a_list_of_tasks_has_none() -> None:
    settings = TwelveLabsSettings(api_key=SecretStr("k"))
    assert settings.console("66f0c1d2e3") == "https://playground.twelvelabs.io/indexes/66f0c1d2e3"
    assert settings.console("a/b?c") == "https://playground.twelvelabs.io/indexes/a%2Fb%3Fc"
    assert settings.console("embed-tasks") is None
    elsewhere = TwelveLabsSettings(api_key=SecretStr("k"), base_url="https://twelvelabs.example/v1.3")
    assert elsewhere.console("66f0c1d2e3") is None
