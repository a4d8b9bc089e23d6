"""A sync's source and destinations: named as the user names them, opened, and closed whatever happens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, closing, contextmanager
from os import environ as process_environ
from typing import Protocol, TypeGuard, TypeVar

from vectorferry.connector._config import resolve_part
from vectorferry.connector._config._registry import DestinationSettings
from vectorferry.connector._config._settings import SyncSettings
from vectorferry.connector._model._errors import ConfigurationError
from vectorferry.connector._model._mapping import SchemaMapping
from vectorferry.connector._protocols._capabilities import Plannable, VectorTables
from vectorferry.connector._protocols._destination import Destination
from vectorferry.connector._protocols._source import Source

__all__ = [
    "Keeper",
    "able_ones",
    "destination_label",
    "destinations_called",
    "keepers",
    "open_destinations",
    "open_source",
    "prepare_untouched",
]


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


# What resolved settings describe, opened for a block and closed whatever happens in it.


@contextmanager
def open_destinations(settings: SyncSettings) -> Iterator[Sequence[Destination]]:
    """All of a sync's destinations, in their order."""
    with ExitStack() as stack:
        yield [stack.enter_context(closing(each.open(settings.name))) for each in settings.destinations]


@asynccontextmanager
async def open_source(settings: SyncSettings) -> AsyncIterator[Source]:
    """A sync's source, for one event loop."""
    source = settings.source.open()
    try:
        yield source
    finally:
        await source.aclose()


# The destinations of a configured sync that can do what is asked for, opened for a block.


SomeDestination = TypeVar("SomeDestination")


def able_ones(
    settings: SyncSettings,
    is_able: Callable[[Destination], TypeGuard[SomeDestination]],
    otherwise: str,
    called: str | None = None,
    environ: Mapping[str, str] = process_environ,
) -> AbstractContextManager[list[SomeDestination]]:
    """Those of this name or type (None: of all) that are able. Only their own ``${NAME}`` are resolved.

    Raises `ConfigurationError` when there is none; `otherwise` says what the others do not do.
    """

    @contextmanager
    def able() -> Iterator[list[SomeDestination]]:
        places = range(len(settings.destinations)) if called is None else destinations_called(settings, called)
        with ExitStack() as stack:
            opened: list[Destination] = []
            for place in places:
                resolved = resolve_part(settings.destinations[place], environ, settings.where, ("destinations", place))
                opened.append(resolved.open(settings.name))
                stack.callback(opened[-1].close)
            if not (found := [destination for destination in opened if is_able(destination)]):
                labels = ", ".join(destination_label(settings.destinations[place]) for place in places)
                raise ConfigurationError(f"{labels}: {otherwise}")
            yield found

    return able()


# Destinations that keep a table for each dimension of a named vector, opened to look and to tidy up.


class Keeper(Destination, VectorTables, Protocol):
    """A destination that can list and drop such tables."""


def keepers(
    settings: SyncSettings, called: str | None = None, environ: Mapping[str, str] = process_environ
) -> AbstractContextManager[list[Keeper]]:
    """The destinations of this name or type (None: all that can), open meanwhile. Raises `ConfigurationError` when
    there is none."""
    return able_ones(settings, _is_keeper, "keeps no table for each dimension of a vector", called, environ)


def _is_keeper(destination: Destination) -> TypeGuard[Keeper]:
    return isinstance(destination, VectorTables)


# Keeps commands that only look from doing what belongs to a sync.


def prepare_untouched(destination: Destination, mapping: SchemaMapping) -> None:
    """Prepare it. Raises `ConfigurationError` where that would change what is there, which only a sync may do."""
    if isinstance(destination, Plannable) and destination.planned(mapping).reshapes:
        raise ConfigurationError(
            f"{destination.name}: the mapping has changed since the last sync, which has columns or indexes changed. "
            "See what with `vectorferry plan`, and run `vectorferry sync` first."
        )
    destination.prepare(mapping)
