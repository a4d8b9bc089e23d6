"""Reading assets as fast as a source does, with nobody to store them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from vectorferry.connector.plugin import Asset, Listing, Source

__all__ = ["Pulled", "pull_all"]


@dataclass(frozen=True)
class Pulled:
    """What came of one round."""

    assets: int
    vectors: int
    requests: int
    seconds: float


async def pull_all(source: Source, collection: str, listings: Sequence[Listing]) -> Pulled:
    """Pull these assets, each of which must be readable."""

    async def given() -> AsyncIterator[Listing]:
        for listing in listings:
            yield listing

    before, began = source.usage.requests, time.perf_counter()
    assets = vectors = 0
    async for asset in source.pull(collection, given()):
        assert isinstance(asset, Asset)
        assets += 1
        vectors += sum(len(feature.vectors) for feature in asset.features)
    seconds = time.perf_counter() - began
    print(f"\n{vectors:,} vectors of {assets:,} assets in {seconds:.2f} s", end="")
    return Pulled(assets, vectors, source.usage.requests - before, seconds)
