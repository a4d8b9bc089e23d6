"""Which collections to read: those that are configured, or all that the service lists."""

from __future__ import annotations

from collections.abc import Sequence

from connector._errors import SourceError
from connector.sources._collections import Listed, collection_ids
from connector.sources._tally import Tally
from connector.sources.mixpeek._api import MixpeekApi

__all__ = ["wanted_ids"]


async def wanted_ids(api: MixpeekApi, wanted: Sequence[str]) -> Sequence[str]:
    """Raises like `collection_ids`, and `SourceError` when the list is empty while none was configured."""

    async def listed() -> Listed:
        tally = Tally("collections", "collection_id")
        rows = [row async for page in api.collections() for row in tally.fresh(page)]
        return {row["collection_id"]: row.get("collection_name") for row in rows}, tally.problem()

    ids = await collection_ids(api.host, listed, wanted)
    if not ids:
        raise SourceError(f"{api.host} lists no collection; check source.namespace and the key.")
    return ids
