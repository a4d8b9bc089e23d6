"""Which collections to read: those that are configured, or all that the service lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from connector._errors import ConfigurationError, SourceError
from connector.http import one_line
from connector.sources.mixpeek._api import MixpeekApi
from connector.sources.mixpeek._tally import Tally

__all__ = ["collection_ids"]

Names: TypeAlias = Mapping[str, str | None]


async def collection_ids(api: MixpeekApi, wanted: Sequence[str]) -> Sequence[str]:
    """The ids of the wanted collections, in their order; of all of them, sorted, when none is wanted.

    Raises `ConfigurationError` for a name that the service does not have, or has twice, and `SourceError` when the
    list of all collections is needed and does not come completely, or is empty.
    """
    names = await _names(api, wanted)
    if wanted:
        return list(dict.fromkeys(_id_of(name, names) for name in wanted))
    if not names:
        raise SourceError(f"{api.host} lists no collection; check source.namespace and the key.")
    return sorted(names)


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


def _id_of(name: str, names: Names) -> str:
    if name in names:
        return name
    ids = [collection for collection, label in names.items() if label == name]
    if len(ids) == 1:
        return ids[0]
    if ids:
        raise ConfigurationError(
            f"source.collections: {len(ids)} collections are named {name}; use one of their ids: "
            + one_line(", ".join(ids))
        )
    there = one_line(", ".join(f"{label} ({found})" if label else found for found, label in names.items()))
    raise ConfigurationError(f"source.collections: there is no collection {name}; there are: {there or 'none'}")
