"""A sync's source and destinations: named as the user names them, opened, and closed whatever happens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from os import environ as process_environ
from typing import TypeVar

from vectorferry.connector._cancellation import run_cancellable
from vectorferry.connector._config import resolve, resolve_part
from vectorferry.connector._config._registry import DestinationSettings
from vectorferry.connector._config._settings import SyncSettings
from vectorferry.connector._model._errors import ConfigurationError
from vectorferry.connector._model._mapping import SchemaMapping
from vectorferry.connector._protocols._capabilities import Capability
from vectorferry.connector._protocols._destination import Destination
from vectorferry.connector._protocols._source import Source

__all__ = [
    "destination_label",
    "destinations_called",
    "opened",
    "opened_at",
    "prepare_untouched",
    "run_opened",
]

T = TypeVar("T")


def destination_label(settings: DestinationSettings) -> str:
    """The destination's `name`, where its settings have one, else its type."""
    return getattr(settings, "name", None) or settings.type


def destinations_called(settings: SyncSettings, name: str | None) -> list[int]:
    """The places in the file of the destinations of this name, or else of this type; None: of all.

    Raises `ConfigurationError` when there is none.
    """
    labels = [destination_label(each) for each in settings.destinations]
    if name is None:
        return list(range(len(labels)))
    types = [each.type for each in settings.destinations]
    places = [place for place, label in enumerate(labels) if label == name]
    places = places or [place for place, type_ in enumerate(types) if type_ == name]
    if not places:
        raise ConfigurationError(f"{settings.where}: no destination is called {name!r}; it has: {', '.join(labels)}")
    return places


@contextmanager
def opened(
    settings: SyncSettings,
    *,
    needs: Capability | None = None,
    name: str | None = None,
    environ: Mapping[str, str] = process_environ,
) -> Iterator[list[Destination]]:
    """The destinations of this name or type (None: all) that have what is needed, in their order, for a block.

    Only their own ``${NAME}`` are resolved. Raises `NotSupportedError` when none of them has what is needed, and
    `ConfigurationError` when there is none of this name.
    """
    places = destinations_called(settings, name)
    with ExitStack() as stack:
        destinations = [stack.enter_context(opened_at(settings, place, environ)) for place in places]
        capable = [destination for destination in destinations if needs is None or needs in destination.capabilities]
        if needs is not None and not capable:
            raise needs.missing(", ".join(destination_label(settings.destinations[place]) for place in places))
        yield capable


@contextmanager
def opened_at(
    settings: SyncSettings, place: int, environ: Mapping[str, str] = process_environ
) -> Iterator[Destination]:
    """The destination at this place in the file, for a block. Only its own ``${NAME}`` are resolved."""
    resolved = resolve_part(settings.destinations[place], environ, settings.where, ("destinations", place))
    with closing(resolved.open(settings.name)) as destination:
        yield destination


def run_opened(
    settings: SyncSettings,
    environ: Mapping[str, str],
    work: Callable[[SyncSettings, Source, Sequence[Destination]], Awaitable[T]],
) -> T:
    """What `work` makes of the resolved settings, their source and all of their destinations, which are closed again.

    Raises `ConfigurationError` for a variable that is not set, before anything is opened. Not for use inside a running
    event loop.
    """
    resolved = resolve(settings, environ)

    async def run() -> T:
        source = resolved.source.open()
        try:
            return await work(resolved, source, destinations)
        finally:
            await source.aclose()

    with ExitStack() as stack:
        destinations = [stack.enter_context(closing(each.open(resolved.name))) for each in resolved.destinations]
        return run_cancellable(run())


def prepare_untouched(destination: Destination, mapping: SchemaMapping) -> None:
    """Prepare it for a command that only looks. Raises `ConfigurationError` where that would change what is there,
    which only a sync may do."""
    if Capability.PLAN in destination.capabilities and destination.planned(mapping).reshapes:
        raise ConfigurationError(
            f"{destination.name}: the mapping has changed since the last sync, which has columns or indexes changed. "
            "See what with `vectorferry plan`, and run `vectorferry sync` first."
        )
    destination.prepare(mapping)
