"""Keeps commands that only look from doing what belongs to a sync."""

from __future__ import annotations

from vectorferry.connector._destination import Destination
from vectorferry.connector._errors import ConfigurationError
from vectorferry.connector._mapping import SchemaMapping
from vectorferry.connector._planned import Plannable

__all__ = ["prepare_untouched"]


def prepare_untouched(destination: Destination, mapping: SchemaMapping) -> None:
    """Prepare it. Raises `ConfigurationError` where that would change what is there, which only a sync may do."""
    if isinstance(destination, Plannable) and destination.planned(mapping).reshapes:
        raise ConfigurationError(
            f"{destination.name}: the mapping has changed since the last sync, which has columns or indexes changed. "
            "See what with `vectorferry plan`, and run `vectorferry sync` first."
        )
    destination.prepare(mapping)
