"""One similarity query, to one destination of a configured sync."""

from __future__ import annotations

from collections.abc import Mapping
from os import environ as process_environ

from vectorferry.connector._config._settings import SyncSettings
from vectorferry.connector._engine._opening import destinations_called, opened_at
from vectorferry.connector._protocols._destination import SearchAnswer, SearchQuery


def run_search(
    settings: SyncSettings,
    query: SearchQuery,
    destination_name: str | None = None,
    *,
    environ: Mapping[str, str] = process_environ,
) -> SearchAnswer:
    """Ask the first destination of this name, or of this type; None: the very first one.

    Only its own ``${NAME}`` are resolved. Raises `ConfigurationError` for a question that it cannot be asked, and what
    destinations raise.
    """
    place = 0 if destination_name is None else destinations_called(settings, destination_name)[0]
    with opened_at(settings, place, environ) as destination:
        return destination.search(query)
