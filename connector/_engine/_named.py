"""Destinations of a sync by the words that a user calls them."""

from __future__ import annotations

from vectorferry.connector._errors import ConfigurationError
from vectorferry.connector._plugins import DestinationSettings
from vectorferry.connector._settings import SyncSettings

__all__ = ["destination_label", "destinations_called"]


def destination_label(settings: DestinationSettings) -> str:
    """The destination's `name`, where its settings have one, else its type."""
    return getattr(settings, "name", None) or settings.type


def destinations_called(settings: SyncSettings, word: str) -> list[int]:
    """The places in the file of the destinations of this name, or else of this type.

    Raises `ConfigurationError` when there is none.
    """
    labels = [destination_label(each) for each in settings.destinations]
    types = [each.type for each in settings.destinations]
    found = [place for place, label in enumerate(labels) if label == word]
    found = found or [place for place, type_ in enumerate(types) if type_ == word]
    if not found:
        raise ConfigurationError(f"{settings.where}: no destination is called {word!r}; it has: {', '.join(labels)}")
    return found
