"""The one collection that a command works in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from connector._config import resolve_part
from connector._errors import ConfigurationError
from connector._plugins import SourceSettings
from connector._settings import SyncSettings
from connector._source import Source

__all__ = ["chosen_collection", "source_for"]

SHOWN: Final = 20


def source_for(settings: SyncSettings, collection: str | None, environ: Mapping[str, str]) -> SourceSettings:
    """The sync's source, resolved, for one collection only (by id or by name; None: as the file says)."""
    source = resolve_part(settings.source, environ, settings.where, ("source",))
    return source.model_copy(update={"collections": (collection,)}) if collection else source


async def chosen_collection(source: Source, wanted: str | None) -> str:
    """The id of the collection that is meant. Raises `ConfigurationError` when several could be, or none."""
    ids = await source.collections()
    if wanted is not None and wanted in ids:
        return wanted
    if len(ids) == 1:
        return ids[0]
    there = ", ".join(ids[:SHOWN]) + (f" and {len(ids) - SHOWN:,} more" if len(ids) > SHOWN else "")
    said = "say which collection with --collection" if wanted is None else f"--collection {wanted}: not there"
    raise ConfigurationError(f"{said}; this sync's source has: {there or 'none'}")
