"""A collection is gone where the settings name none; else it may only be left out."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import SecretStr

from vectorferry import Summary
from vectorferry.connector.plugin import ConfigurationError, SourceSettings
from vectorferry.connector.sandbox import Sandbox
from vectorferry.connector.sources.mixpeek import MixpeekSettings
from vectorferry.connector.sources.sandbox import SandboxSettings
from vectorferry.connector.sources.twelvelabs import TwelveLabsSettings
from vectorferry.connector.testing import MemoryDestination, plan, sync, verify

KEY = SecretStr("key")


def is_gone(settings: SourceSettings, collection: str) -> bool:
    source = settings.open()
    try:
        return source.is_gone(collection)
    finally:
        asyncio.run(source.aclose())


@pytest.mark.parametrize("made", [MixpeekSettings, TwelveLabsSettings])
def test_nothing_is_gone_that_the_settings_leave_out(made: type[MixpeekSettings] | type[TwelveLabsSettings]) -> None:
    assert is_gone(made(api_key=KEY), "films")
    assert not is_gone(made(api_key=KEY, collections=("ads",)), "films")


def test_the_sandbox_is_like_what_it_serves() -> None:
    assert is_gone(SandboxSettings(), "films")
    assert not is_gone(SandboxSettings(collections=("ads",)), "films")


def test_embedding_tasks_are_never_gone() -> None:
    assert not is_gone(TwelveLabsSettings(api_key=KEY), "embed-tasks")


SERVICES = [
    (MixpeekSettings, {"namespace": None}),
    (TwelveLabsSettings, {"entities": False, "reread_days": None}),
]


async def _synced(settings: SourceSettings, store: MemoryDestination) -> Summary:
    source = settings.open()
    try:
        return await sync(source, [store], name="m")
    finally:
        await source.aclose()


@pytest.mark.parametrize(("made", "more"), SERVICES)
async def test_a_named_collection_that_is_not_there_fails_alone(made: type[Any], more: dict[str, Any]) -> None:
    async with Sandbox() as sandbox:
        url = sandbox.url if made is MixpeekSettings else sandbox.twelvelabs_url
        given = {"base_url": url, "api_key": SecretStr(sandbox.api_key), **more}
        source = made(**given).open()
        first, second = (await source.collections())[:2]
        await source.aclose()
        settings, store = made(**given, collections=(first, "lost", second)), MemoryDestination()
        for _ in range(2):
            told = await _synced(settings, store)
            assert told.exit_code == 1
            assert {name for name, seen in told.collections.items() if not seen.error} == {first, second}
            assert "source.collections: there is no collection lost; there are: " in str(told.collections["lost"].error)
            assert all(store.assets[name] for name in (first, second))
        opened = settings.open()
        planned = await plan(opened, [store], name="m")
        checked = await verify(opened, [store], name="m")
        await opened.aclose()
        assert planned.collections["lost"].error == checked.collections["lost"].error == told.collections["lost"].error
        assert checked.exit_code == 1
        assert not checked.collections[first].error
        with pytest.raises(ConfigurationError, match="there is no collection lost; there are: "):
            await _synced(made(**given, collections=("lost",)), store)


async def test_an_index_that_is_deleted_between_two_runs_fails_alone() -> None:
    """The file names both; all of it was refused."""
    async with Sandbox() as sandbox:
        kept, gone = sandbox.twelvelabs.put_index("kept"), sandbox.twelvelabs.put_index("gone")
        for index in (kept, gone):
            sandbox.twelvelabs.put_asset(index, {})
        settings = TwelveLabsSettings(
            base_url=sandbox.twelvelabs_url,
            api_key=SecretStr(sandbox.api_key),
            collections=(gone, kept),
            entities=False,
        )
        store = MemoryDestination()
        assert (await _synced(settings, store)).exit_code == 0
        sandbox.twelvelabs.remove_index(gone)
        new = sandbox.twelvelabs.put_asset(kept, {})
        told = await _synced(settings, store)
    assert (told.exit_code, bool(told.collections[gone].error), told.collections[kept].error) == (1, True, None)
    assert new in store.assets[kept]
    assert len(store.assets[gone]) == 1
