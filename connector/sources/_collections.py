"""Which collections to read: those that are configured, or all that the service lists."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeAlias

from connector._errors import ConfigurationError, SourceError
from connector.http import one_line

__all__ = ["Listed", "Names", "collection_ids"]

Names: TypeAlias = Mapping[str, str | None]
"""The ids of collections, each with its name if it has one."""

Listed: TypeAlias = tuple[Names, str | None]
"""What one walk over the list found, and what shows that it was not all; None when nothing does."""


async def collection_ids(host: str, listed: Callable[[], Awaitable[Listed]], wanted: Sequence[str]) -> Sequence[str]:
    """The ids of the wanted collections, in their order; of all of them, sorted, when none is wanted.

    Raises `ConfigurationError` for an id or name that is not there, or a name that is there twice, and `SourceError`
    when the list does not come completely.
    """
    names = await _names(host, listed, wanted)
    if wanted:
        return list(dict.fromkeys(_id_of(name, names) for name in wanted))
    return sorted(names)


async def _names(host: str, listed: Callable[[], Awaitable[Listed]], wanted: Sequence[str]) -> Names:
    """Ids with names. Asked for once more when the list is not complete: a collection may have come or gone."""
    problem: str | None = None
    for _ in range(2):
        names, problem = await listed()
        if problem is None or (wanted and names.keys() >= set(wanted)):
            return names
    raise SourceError(
        f"{host} did not list its collections completely: {problem}. "
        "Run again, or set source.collections to the ids of those to sync."
    )


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
    there = one_line(
        ", ".join(f"{label} ({found})" if label and label != found else found for found, label in names.items())
    )
    raise ConfigurationError(f"source.collections: there is no collection {name}; there are: {there or 'none'}")
