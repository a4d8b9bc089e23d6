"""Which collections to read: those that are configured, or all that the service lists."""

from __future__ import annotations

from collections.abc import Sequence

from connector._errors import SourceError
from connector.sources._collections import Names, chosen
from connector.sources._tally import Tally
from connector.sources.mixpeek._api import MixpeekApi

__all__ = ["collection_ids"]


async def collection_ids(api: MixpeekApi, wanted: Sequence[str]) -> Sequence[str]:
    """The ids of the wanted collections, in their order; of all of them, sorted, when none is wanted.

    Raises `ConfigurationError` for a name that the service does not have, or has twice, and `SourceError` when the
    list of all collections is needed and does not come completely, or is empty.
    """
    names = await _names(api, wanted)
    if not names and not wanted:
        raise SourceError(f"{api.host} lists no collection; check source.namespace and the key.")
    return chosen(names, wanted)


async def _names(api: MixpeekApi, wanted: Sequence[str]) -> Names:
    """Ids with names. Asked for once more when the list is not complete: a collection may have come or gone."""
    problem: str | None = None
    for _ in range(2):
        names, problem = await _listed(api)
        if problem is None or (wanted and names.keys() >= set(wanted)):
            return names
    raise SourceError(
        f"{api.host} did not list its collections completely: {problem}. "
        "Run again, or set source.collections to the ids of those to sync."
    )


async def _listed(api: MixpeekApi) -> tuple[Names, str | None]:
    tally = Tally("collections", "collection_id")
    rows = [row async for page in api.collections() for row in tally.fresh(page)]
    return {row["collection_id"]: row.get("collection_name") for row in rows}, tally.problem()
