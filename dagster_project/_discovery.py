"""Which collections a sync has: those its file names, else those its source lists."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from connector import SourceSettings, SyncSettings
from connector._config import resolve_part
from dagster_project._partitions import named_collections, partition_key

__all__ = ["collections_of", "discovered_keys"]


def discovered_keys(settings: SyncSettings, environ: Mapping[str, str]) -> list[str]:
    """The partition key of every collection, sorted, each once. The source is asked only where the file names none.

    `settings` still hold ``${NAME}``. Raises `VectorferryError`.
    """
    return sorted({partition_key(collection) for collection in collections_of(settings, environ)})


def collections_of(settings: SyncSettings, environ: Mapping[str, str]) -> Sequence[str]:
    """The ids of the sync's collections. Raises `VectorferryError`."""
    if named := named_collections(settings):
        return named
    return asyncio.run(_listed(resolve_part(settings.source, environ, settings.where, ("source",))))


async def _listed(settings: SourceSettings) -> Sequence[str]:
    source = settings.open()
    try:
        return await source.collections()
    finally:
        await source.aclose()
