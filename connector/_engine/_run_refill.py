"""A refill as settings describe it: which destinations are meant, opened and closed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from os import environ as process_environ
from typing import TypeGuard

from vectorferry.connector._cancellation import run_cancellable
from vectorferry.connector._config import resolve_part
from vectorferry.connector._destination import Destination, StoredAssets
from vectorferry.connector._engine._named import destination_label, destinations_called
from vectorferry.connector._engine._progress import ProgressCallback
from vectorferry.connector._engine._refill import refill
from vectorferry.connector._engine._store import Store
from vectorferry.connector._errors import ConfigurationError
from vectorferry.connector._settings import SyncSettings
from vectorferry.connector._summary import Summary

__all__ = ["run_refill"]


def run_refill(
    settings: SyncSettings,
    target: str,
    store: str | None = None,
    *,
    collections: Sequence[str] | None = None,
    environ: Mapping[str, str] = process_environ,
    progress: ProgressCallback | None = None,
    wait_visible: float = 0,
) -> Summary:
    """Fill the destination called `target` from the one called `store` (None: the only other one that can be read).

    Both are called by `name` or type. Only their ``${NAME}`` are resolved: no source's key is needed. Raises what
    `refill` raises, and `ConfigurationError` when it is not clear which destinations are meant.
    """
    to = _only(settings, target)
    candidates = _candidates(settings, to, store)
    with ExitStack() as stack:

        def opened(place: int) -> Destination:
            resolved = resolve_part(settings.destinations[place], environ, settings.where, ("destinations", place))
            destination = resolved.open(settings.name)
            stack.callback(destination.close)
            return destination

        into = opened(to)
        chosen = _store(settings, {place: opened(place) for place in candidates})
        return run_cancellable(
            refill(
                chosen,
                into,
                name=settings.name,
                mapping=settings.modalities,
                collections=collections,
                batch=settings.batch,
                deletes=settings.deletes,
                progress=progress,
                wait_visible=wait_visible,
            )
        )


def _only(settings: SyncSettings, word: str) -> int:
    places = destinations_called(settings, word)
    if len(places) > 1:
        raise ConfigurationError(
            f"{settings.where}: {len(places)} destinations are called {word!r}; give each a `name` of its own"
        )
    return places[0]


def _candidates(settings: SyncSettings, target: int, store: str | None) -> list[int]:
    """The one that was named, or all but the target."""
    if store is None:
        others = [place for place in range(len(settings.destinations)) if place != target]
        if not others:
            raise ConfigurationError(f"{settings.where}: there is no other destination to refill this one from")
        return others
    named = _only(settings, store)
    if named == target:
        raise ConfigurationError(f"--from {store}: a destination cannot be refilled from itself")
    return [named]


def _store(settings: SyncSettings, opened: Mapping[int, Destination]) -> Store:
    stores = {place: destination for place, destination in opened.items() if _is_store(destination)}
    if not stores:
        labels = ", ".join(destination_label(settings.destinations[place]) for place in opened)
        raise ConfigurationError(f"{labels}: does not keep whole assets, so nothing can be refilled from it")
    if len(stores) > 1:
        labels = ", ".join(destination_label(settings.destinations[place]) for place in stores)
        raise ConfigurationError(f"it can be refilled from each of {labels}: say which with --from")
    return next(iter(stores.values()))


def _is_store(destination: Destination) -> TypeGuard[Store]:
    return isinstance(destination, StoredAssets)
