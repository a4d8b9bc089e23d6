"""A sync's source and destinations: named as the user names them, opened, and closed whatever happens."""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from os import environ as process_environ
from threading import Lock
from typing import Final, TypeVar

from vectorferry.connector._cancellation import run_cancellable
from vectorferry.connector._config import resolve, resolve_part
from vectorferry.connector._config._registry import DestinationSettings
from vectorferry.connector._config._settings import SyncSettings
from vectorferry.connector._model._errors import ConfigurationError, NoSuchCollectionError
from vectorferry.connector._model._mapping import SchemaMapping
from vectorferry.connector._model._near import closest
from vectorferry.connector._protocols._capabilities import Capability
from vectorferry.connector._protocols._destination import Destination
from vectorferry.connector._protocols._source import Source, SourceSettings
from vectorferry.connector._reports._summary import first_of

T = TypeVar("T")
SETTING: Final = "source.collections: "
SHOWN: Final = 20


class RareGarbage:
    """While any block of this lasts, Python looks for garbage in cycles less often than it does by itself.

    A run makes some thirty objects of each asset, all of which live until their batch is written (200,000 of small
    assets), and none of which is in a cycle. Looking at them again and again took a quarter of a run's CPU (10,000
    assets of one feature); every 50,000 allocations, it still was a tenth.
    """

    def __init__(self, allocations: int) -> None:
        self._allocations = allocations
        self._lock = Lock()
        self._blocks = 0
        self._before = gc.get_threshold()

    def __enter__(self) -> None:
        with self._lock:
            self._blocks += 1
            if self._blocks == 1:
                self._before = gc.get_threshold()
                often, *others = self._before
                gc.set_threshold(max(often, self._allocations) if often else 0, *others)  # 0: somebody wants none

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._blocks -= 1
            if not self._blocks:
                gc.set_threshold(*self._before)


RARE_GARBAGE: Final = RareGarbage(300_000)


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
    with ExitStack() as stack:
        destinations = [stack.enter_context(closing(each.open(resolved.name))) for each in resolved.destinations]
        source = resolved.source.open()
        stack.enter_context(RARE_GARBAGE)
        return run_closing(source, lambda: work(resolved, source, destinations))


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
        near = closest(name, labels)
        raise ConfigurationError(
            f"{settings.where}: no destination is called {name!r}; it has: {', '.join(labels)}{near}"
        )
    return places


def prepare_untouched(destination: Destination, mapping: SchemaMapping) -> None:
    """Prepare it for a command that only looks. Raises `ConfigurationError` where that would change what is there,
    which only a sync may do."""
    if Capability.PLAN in destination.capabilities and destination.planned(mapping).reshapes:
        raise ConfigurationError(
            f"{destination.name}: the mapping has changed since the last sync, which has columns or indexes changed. "
            "See what with `vectorferry plan`, and run `vectorferry sync` first."
        )
    destination.prepare(mapping)


def run_in_collection(
    settings: SyncSettings,
    collection: str | None,
    environ: Mapping[str, str],
    work: Callable[[Source, str], Awaitable[T]],
    *,
    perhaps_new: bool = False,
) -> T:
    """What `work` makes of the sync's source and the id of the collection that is meant, by id or by name; None: the
    only one. No destination is opened, and the source is closed again. `perhaps_new`: it may not be there yet, where
    the source makes such.

    Raises `ConfigurationError` when it is not clear which collection is meant, and what the source raises.
    """
    configured = resolve_part(settings.source, environ, settings.where, ("source",))
    narrowed = collection is not None and "collections" in type(configured).model_fields
    source = (configured.model_copy(update={"collections": (collection,)}) if narrowed else configured).open()

    async def find_and_work() -> T:
        named: Sequence[str] = getattr(configured, "collections", ()) if collection is None else (collection,)
        try:
            where = await _collection_id(source, collection, narrowed=narrowed)
        except NoSuchCollectionError:
            if not (perhaps_new and source.makes_collections and len(named) == 1):
                raise
            where = named[0]
        return await work(source, where)

    return run_closing(source, find_and_work)


async def _collection_id(source: Source, name: str | None, *, narrowed: bool) -> str:
    """The id of the collection that is meant; a source that was `narrowed` to it names it first.

    Raises `ConfigurationError` when several could be, or none.
    """
    with naming_option(name or ""):
        ids = await source.collections()
    if name is not None and name in ids:
        return name
    if len(ids) == 1 or (ids and name is not None and narrowed):
        return ids[0]
    problem = (
        "say which collection with --collection, by id or by name"
        if name is None
        else f"--collection {name}: not there"
    )
    kind = ConfigurationError if name is None else NoSuchCollectionError
    raise kind(f"{problem}; this sync's source has: {first_of(ids, SHOWN) or 'none'}")


def list_collections(settings: SourceSettings) -> Sequence[str]:
    """The ids of the collections that a source with these settings is for, every ``${NAME}`` already resolved.

    Raises what the source raises. Not for use inside a running event loop.
    """
    source = settings.open()
    return run_closing(source, source.collections)


def run_closing(source: Source, work: Callable[[], Awaitable[T]]) -> T:
    async def run() -> T:
        try:
            return await work()
        finally:
            await source.aclose()

    return run_cancellable(run())


@contextmanager
def naming_option(name: str) -> Iterator[None]:
    """A collection that was named with an option is not to be looked for in the file."""
    try:
        yield
    except ConfigurationError as error:
        message = str(error)
        if not message.startswith(SETTING):
            raise
        raise type(error)(f"--collection {name}: {message.removeprefix(SETTING)}") from error
