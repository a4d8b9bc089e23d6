from __future__ import annotations

import pytest

from vectorferry import SyncSettings, parse_settings
from vectorferry.connector.plugin import Asset, ConfigurationError, source_settings
from vectorferry.connector.sources.sandbox import SandboxSettings
from vectorferry.connector.testing import MemoryDestination, sync


async def test_it_is_found_by_its_name_and_read_without_a_key() -> None:
    assert source_settings("sandbox") is SandboxSettings
    settings: SyncSettings = parse_settings(
        {
            "name": "media",
            "source": {"type": "sandbox", "collections": ["example"]},
            "destinations": [{"type": "pgvector"}],
        },
        "here",
    )
    source, memory = settings.source.open(), MemoryDestination()
    summary = await sync(source, [memory], name="media")
    await source.aclose()
    assert summary.exit_code == 0
    assert memory.assets.keys() == {"example"}
    assert summary.usage.requests > len(memory.assets["example"])
    assert summary.usage.bytes > 0


@pytest.mark.long
async def test_two_of_them_serve_the_same() -> None:
    first, second = [await _quickstart() for _ in range(2)]
    assert first == second != {}


async def _quickstart() -> dict[str, str]:
    source = SandboxSettings(collections=("quickstart",)).open()
    pulled = [asset async for asset in source.pull("quickstart", source.scan("quickstart"))]
    await source.aclose()
    return {asset.asset_id: asset.fingerprint for asset in pulled if isinstance(asset, Asset)}


async def test_a_collection_that_it_does_not_have_is_refused() -> None:
    source = SandboxSettings(collections=("no such",)).open()
    with pytest.raises(ConfigurationError, match=r"there is no collection no such; there are: .*quickstart"):
        await source.collections()
    await source.aclose()
    await source.aclose()


async def test_nothing_is_started_before_it_is_read() -> None:
    source = SandboxSettings().open()
    assert (source.usage.requests, source.usage.bytes) == (0, 0)
    await source.aclose()


async def test_it_stands_in_for_twelvelabs_too() -> None:
    source, memory = SandboxSettings(service="twelvelabs").open(), MemoryDestination()
    first, second = [await sync(source, [memory], name="media") for _ in range(2)]
    await source.aclose()
    assert (first.exit_code, second.exit_code) == (0, 0)
    held = {table: len(rows) for table, rows in memory.related.items()}
    assert held == {"indexes": 3, "entity_collections": 3, "entities": 8}
    assert all(seen.pulled == 0 for seen in second.collections.values())
