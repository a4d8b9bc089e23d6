"""Which collections to read: those that are configured, or all that the service lists."""

from __future__ import annotations

from collections.abc import Sequence

from vectorferry.connector._errors import SourceError
from vectorferry.connector.sources._collections import Found, Listed, find_collections
from vectorferry.connector.sources._tally import Tally
from vectorferry.connector.sources.mixpeek._api import MixpeekApi

__all__ = ["wanted_collections"]


async def wanted_collections(api: MixpeekApi, wanted: Sequence[str]) -> Found:
    """Raises `ConfigurationError` when none of those configured is there, and `SourceError` when the list does not come
    completely, or is empty while none was configured."""

    async def listed() -> Listed:
        tally = Tally("collections", "collection_id")
        rows = [row async for page in api.collections() for row in tally.fresh(page)]
        return {row["collection_id"]: row.get("collection_name") for row in rows}, tally.problem()

    found = await find_collections(api.host, listed, wanted)
    found.check_any()
    if not found.ids:
        raise SourceError(f"{api.host} lists no collection; check source.namespace and the key.")
    return found
