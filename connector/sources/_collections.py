"""Which collections to read: those that are configured, or all that the service lists."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from vectorferry.connector._model._errors import ConfigurationError, SourceError
from vectorferry.connector.http import one_line

__all__ = ["Found", "Listed", "Names", "find_collections"]

Names: TypeAlias = Mapping[str, str | None]
"""The ids of collections, each with its name if it has one."""

Listed: TypeAlias = tuple[Names, str | None]
"""What one walk over the list found, and what shows that it was not all; None when nothing does."""


@dataclass(frozen=True, slots=True)
class Found:
    """The ids of collections, and of those that are configured and not there the names, each with why."""

    ids: Sequence[str]
    missing: Mapping[str, str]

    def check_any(self) -> None:
        """Raise `ConfigurationError` when nothing that is configured was found: then it is the file that is wrong."""
        if self.missing and not self.ids:
            raise ConfigurationError(next(iter(self.missing.values())))


async def find_collections(host: str, listed: Callable[[], Awaitable[Listed]], wanted: Sequence[str]) -> Found:
    """Those that are wanted by id or name, in their order; all of them, sorted, when none is wanted.

    Raises `SourceError` when the list does not come completely.
    """
    names = await _names(host, listed, wanted)
    if not wanted:
        return Found(sorted(names), {})
    found = {name: _ids_called(name, names) for name in wanted}
    ids = dict.fromkeys(ids[0] for ids in found.values() if len(ids) == 1)
    return Found(list(ids), {name: _why_not(name, ids, names) for name, ids in found.items() if len(ids) != 1})


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


def _ids_called(name: str, names: Names) -> list[str]:
    return [name] if name in names else [collection for collection, label in names.items() if label == name]


def _why_not(name: str, ids: Sequence[str], names: Names) -> str:
    if ids:
        return f"source.collections: {len(ids)} collections are named {name}; use one of their ids: " + one_line(
            ", ".join(ids)
        )
    there = one_line(
        ", ".join(f"{label} ({found})" if label and label != found else found for found, label in names.items())
    )
    return f"source.collections: there is no collection {name}; there are: {there or 'none'}"
