"""Sources that read a sandboxed TwelveLabs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from pydantic import SecretStr

from vectorferry.connector.http import RetryPolicy
from vectorferry.connector.plugin import Asset, IncompleteScanError, Listing, Rejected
from vectorferry.connector.sandbox import Sandbox, SandboxSettings, TwelveLabsDialect
from vectorferry.connector.sources.twelvelabs import TwelveLabsSettings, TwelveLabsSource

QUICK = RetryPolicy(attempts=2, first_wait=0.01, longest_wait=0.05)
LIST, READ = "twelvelabs.indexed_assets.list", "twelvelabs.indexed_assets.get"


def source_for(sandbox: Sandbox, **settings: Any) -> TwelveLabsSource:
    """A source with quick retries that never reads again what seems unchanged."""
    given = {"api_key": SecretStr(sandbox.api_key), "retry": QUICK, "reread_days": None, **settings}
    return TwelveLabsSettings(base_url=sandbox.twelvelabs_url, **given).open()


@asynccontextmanager
async def reading(
    served: SandboxSettings | TwelveLabsDialect | None = None, **settings: Any
) -> AsyncIterator[tuple[TwelveLabsSource, Sandbox]]:
    """A source and the sandbox it reads: the described account, in a dialect."""
    if isinstance(served, TwelveLabsDialect):
        served = SandboxSettings(twelvelabs=served)
    async with Sandbox(served) as sandbox:
        source = source_for(sandbox, **settings)
        try:
            yield source, sandbox
        finally:
            await source.aclose()


async def listed(source: TwelveLabsSource, collection: str) -> dict[str, Listing]:
    """A scan by asset id; one that can never be complete is taken as it is."""
    found: dict[str, Listing] = {}
    try:
        async for listing in source.scan(collection):
            found[listing.asset_id] = listing
    except IncompleteScanError as error:
        if not error.unknowable:
            raise
    return found


async def read(source: TwelveLabsSource, collection: str, asset_ids: Iterable[str]) -> dict[str, Asset | Rejected]:
    """What a pull of these assets gives."""

    async def listings() -> AsyncIterator[Listing]:
        for asset_id in asset_ids:
            yield Listing(asset_id, f"fingerprint of {asset_id}")

    return {result.asset_id: result async for result in source.pull(collection, listings())}


async def read_asset(source: TwelveLabsSource, collection: str, asset_id: str) -> Asset:
    """The one asset that it has to be."""
    result = (await read(source, collection, [asset_id]))[asset_id]
    assert isinstance(result, Asset), result
    return result
