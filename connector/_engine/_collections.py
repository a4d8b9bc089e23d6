"""Which collections a source has, and the one that a command works in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, TypeVar

from vectorferry.connector._cancellation import run_cancellable
from vectorferry.connector._config import resolve_part
from vectorferry.connector._config._settings import SyncSettings
from vectorferry.connector._model._errors import ConfigurationError
from vectorferry.connector._protocols._source import Source, SourceSettings
from vectorferry.connector._reports._summary import first_of

__all__ = ["asking", "list_collections", "naming_option"]

SETTING: Final = "source.collections: "

SHOWN: Final = 20

T = TypeVar("T")


def list_collections(settings: SourceSettings) -> Sequence[str]:
    """The ids of the collections that a source with these settings is for, every ``${NAME}`` already resolved.

    Raises what the source raises. Not for use inside a running event loop.
    """
    return run_cancellable(_listed(settings))


@contextmanager
def naming_option(name: str) -> Iterator[None]:
    """A collection that was named with an option is not to be looked for in the file."""
    try:
        yield
    except ConfigurationError as error:
        message = str(error)
        if not message.startswith(SETTING):
            raise
        raise ConfigurationError(f"--collection {name}: {message.removeprefix(SETTING)}") from error


async def _listed(settings: SourceSettings) -> Sequence[str]:
    source = settings.open()
    try:
        return await source.collections()
    finally:
        await source.aclose()


def asking(
    settings: SyncSettings,
    collection: str | None,
    environ: Mapping[str, str],
    work: Callable[[Source, str], Awaitable[T]],
) -> T:
    """What `work` makes of the sync's source and the id of the collection that is meant, by id or by name; None: the
    only one. No destination is opened, and the source is closed again.

    Raises `ConfigurationError` when it is not clear which collection is meant, and what the source raises.
    """
    configured = resolve_part(settings.source, environ, settings.where, ("source",))
    narrowed = collection is not None and "collections" in type(configured).model_fields
    opened = (configured.model_copy(update={"collections": (collection,)}) if narrowed else configured).open()

    async def run() -> T:
        try:
            return await work(opened, await _meant(opened, collection, narrowed=narrowed))
        finally:
            await opened.aclose()

    return run_cancellable(run())


async def _meant(source: Source, name: str | None, *, narrowed: bool) -> str:
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
    raise ConfigurationError(f"{problem}; this sync's source has: {first_of(ids, SHOWN) or 'none'}")
