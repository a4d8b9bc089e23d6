"""The collections that a command names, among those that the source has."""

from __future__ import annotations

import os
from collections.abc import Sequence

from vectorferry.connector._config import resolve_part
from vectorferry.connector._errors import ConfigurationError
from vectorferry.connector._listed import list_collections, naming_option
from vectorferry.connector._plugins import SourceSettings
from vectorferry.connector._settings import SyncSettings

__all__ = ["chosen_collections"]

SHOWN = 20


def chosen_collections(settings: SyncSettings, wanted: Sequence[str] | None) -> Sequence[str] | None:
    """The ids of the collections that a command names, by id or by name; None for all, when it names none.

    Raises `ConfigurationError` for one that this sync does not have: a typo would else list nothing.
    """
    if not wanted:
        return None
    source = resolve_part(settings.source, os.environ, settings.where, ("source",))
    known = list_collections(source)
    chosen = {name: name if name in known else _id_called(name, source) for name in wanted}
    if unknown := [name for name, collection in chosen.items() if collection not in known]:
        there = ", ".join(known[:SHOWN]) + (f" and {len(known) - SHOWN:,} more" if len(known) > SHOWN else "")
        raise ConfigurationError(f"--collection {unknown[0]}: not in this sync's source, which has: {there or 'none'}")
    return [collection for collection in dict.fromkeys(chosen.values()) if collection is not None]


def _id_called(name: str, source: SourceSettings) -> str | None:
    """The id of the one collection of this name, in a source that takes names in its settings; where there is none, or
    several, the source names those that there are."""
    if "collections" not in type(source).model_fields:
        return None
    with naming_option(name):
        return next(iter(list_collections(source.model_copy(update={"collections": (name,)}))), None)
